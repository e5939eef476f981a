/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a child of the httpd parent. */
#ifndef FS_AGENT_PROCESS_H
#define FS_AGENT_PROCESS_H

#include <httpd.h>

#include "settings.h"

/*
 * In post_config of a server that is going to run: makes the state directory, writes agent.json and
 * starts the agent with it. A failure is logged and doesn't keep httpd from starting: requests are
 * then served from what is there.
 */
void fs_agent_start(apr_pool_t *pconf, server_rec *server);
/*
 * In child_init: with `httpd -X` the only request process is the one that started the agent. It
 * leaves without going through httpd's own end, so its child pool ends the agent.
 */
void fs_agent_child_init(apr_pool_t *pchild, server_rec *server);

/* The state directory itself: made, and given to httpd's user if root made it. Errors: FS0013,
 * FS0650.
 */
apr_status_t fs_agent_make_state_dir(const fs_settings_t *settings, fs_result_t *result);

#endif
