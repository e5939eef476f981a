/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pages depend on has changed: told here by applications and people (POST /v1/invalidate),
 * told to all servers by the backplane (records of kind "invalidate", a name each), and told to the
 * request processes in StateDir/reuse-names.
 */
#ifndef FS_AGENT_REUSE_H
#define FS_AGENT_REUSE_H

#include "agent.h"

typedef struct fs_agent_reuse_t fs_agent_reuse_t;

/* After the backplane's. */
apr_status_t fs_reuse_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_reuse_start(fs_agent_t *agent, fs_result_t *result);
void fs_reuse_wake(fs_agent_t *agent);
int fs_reuse_join(fs_agent_t *agent);
/* Now and then, in any one thread: sees that what is written is still what is read. */
void fs_reuse_look(fs_agent_t *agent);

#endif
