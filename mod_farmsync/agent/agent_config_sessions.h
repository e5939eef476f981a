/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object "sessions" of agent.json: what mod_session_farmsync's directives say to the agent.
 * Without it no session is kept on this host.
 */
#ifndef FS_AGENT_CONFIG_SESSIONS_H
#define FS_AGENT_CONFIG_SESSIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"

#define FS_AGENT_BANK_MAX 64 /* bank servers */

typedef struct fs_agent_bank_server_t {
    char *url;  /* base URL, without a slash at the end */
    char *name; /* its identity in the choice of copies; each once */
    char *rack; /* NULL: none is known */
} fs_agent_bank_server_t;

typedef struct fs_agent_sessions_t {
    int enabled;
    unsigned bank_count;
    fs_agent_bank_server_t bank[FS_AGENT_BANK_MAX];
    unsigned copies;
    unsigned flush_ms;
    unsigned lease_ms;
    unsigned timeout_ms;  /* the longest that a request may wait */
    uint64_t sessions;    /* on this host; 0: no limit */
    size_t session_bytes; /* of one record */
    uint64_t store_bytes; /* of all */
} fs_agent_sessions_t;

struct json_t;
/* `json` is the object, or NULL if there is none. Errors: FS0552. */
apr_status_t fs_agent_config_read_sessions(fs_agent_sessions_t *sessions, const struct json_t *json,
                                           const char *path, fs_result_t *result);
void fs_agent_config_clear_sessions(fs_agent_sessions_t *sessions);

#endif
