/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sessions of this host, as a request process has them: the store, the keys, the trust page.
 *
 * httpd's parent prepares the store before there are children (fs_session_host_prepare), each child
 * opens it for itself after its fork and keeps it to its end. When httpd stops, whoever closes it
 * last settles it: the parent here, or the agent.
 */
#ifndef FS_SESSION_HOST_H
#define FS_SESSION_HOST_H

#include <httpd.h>

#include "session/fs_session_store.h"
#include "session/fs_session_trust.h"
#include "session/fs_session_turn.h"
#include "session_counters.h"
#include "session_settings.h"

typedef struct fs_session_host_t {
    server_rec *server; /* the main one */
    const fs_session_farm_t *farm;
    char agent_socket[1024];
    fs_session_keys_t *keys;
    fs_session_store_t *store;
    fs_session_trust_t *trust; /* NULL: it can't be mapped, and the agent is asked each time */
    fs_session_turns_t *turns; /* NULL: it can't be mapped, and nobody gets a turn */
    fs_session_counters_t *counters;
} fs_session_host_t;

/* In post_config of a server that is going to run. OK, or why httpd can't start is logged. */
int fs_session_host_prepare(apr_pool_t *pconf, server_rec *server);
void fs_session_host_child_init(apr_pool_t *pchild, server_rec *server);
/* NULL: this process has no sessions. */
const fs_session_host_t *fs_session_host(void);

/* Farm time; the wall clock where farm time isn't known. */
fs_usec_t fs_session_now(void);

#endif
