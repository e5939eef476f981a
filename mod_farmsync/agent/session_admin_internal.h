/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of sessions, between the calls (session_admin.c) and who does it
 * (session_admin_act.c). */
#ifndef FS_AGENT_SESSION_ADMIN_INTERNAL_H
#define FS_AGENT_SESSION_ADMIN_INTERNAL_H

#include "session_admin.h"

typedef enum fs_admin_act_t {
    FS_ADMIN_LIST_ALL,
    FS_ADMIN_SHOW_ONE,
    FS_ADMIN_END_ONE,
    FS_ADMIN_END_USER
} fs_admin_act_t;

typedef struct fs_admin_t {
    fs_work_t work;
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* loop's thread; NULL: the client has left */
    fs_admin_act_t act;
    int pass_on;
    const char *kind; /* key, id, user */
    char what[256];
    fs_session_key_t key;
    int has_key, has_seal;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    unsigned limit;
    int status;
    json_t *json; /* NULL: the result */
    fs_result_t result;
} fs_admin_t;

/* Does it and writes its `json`, or its `status` and `result`. A worker's thread. */
void fs_admin_act(fs_admin_t *admin, fs_http_client_t *http, apr_pool_t *pool);

#endif
