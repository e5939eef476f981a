/* SPDX-License-Identifier: Apache-2.0 */
/* What the directives of mod_session_farmsync say. doc/configuration.md describes them. */
#ifndef FS_SESSION_SETTINGS_H
#define FS_SESSION_SETTINGS_H

#include <httpd.h>
#include <http_config.h>

#include "net/fs_key.h"
#include "parts.h"
#include "session_cookie.h"

#define FS_UNSET (-1)

/* Of a place in the configuration. */
typedef struct fs_session_place_t {
    const fs_cookie_t *cookie; /* NULL: sessions are not ours here */
    int ack;                   /* copies that are waited for */
    int lock;                  /* FS_SESSION_LOCK_* */
    int lock_ms;
    int timeout_ms;
    int on_unknown; /* FS_SESSION_UNKNOWN_* */
    int idle_s;     /* FS_UNSET: SessionMaxAge, or FS_SESSION_IDLE_DEFAULT */
    int lifetime_s; /* 0: no limit */
    int alias_s;
} fs_session_place_t;
#define FS_SESSION_LOCK_NONE       0
#define FS_SESSION_LOCK_EXCLUSIVE  1
#define FS_SESSION_UNKNOWN_NEW     0
#define FS_SESSION_UNKNOWN_503     1
#define FS_SESSION_UNKNOWN_DEFAULT FS_SESSION_UNKNOWN_503
#define FS_SESSION_IDLE_DEFAULT    1800

typedef struct fs_session_bank_server_t {
    const char *url;
    const char *name;
    const char *rack; /* NULL: none */
} fs_session_bank_server_t;

/* Of the whole server: one for all of its virtual hosts. */
typedef struct fs_session_farm_t {
    apr_array_header_t *bank; /* of fs_session_bank_server_t; NULL: the data servers */
    int copies;
    int flush_ms;
    int lease_ms;
    apr_int64_t session_bytes;
    apr_int64_t sessions;
    apr_int64_t store_bytes;
    /* Not directives: */
    int used;                    /* a place has a cookie */
    int longest_ms;              /* of all SessionFarmSyncTimeout */
    const farmsync_host_t *host; /* from check_config on */
    const char *store_dir;
    fs_keyring_t *ring; /* from post_config on */
} fs_session_farm_t;

extern const command_rec fs_session_commands[];

void *fs_session_create_farm(apr_pool_t *pool, server_rec *server);
void *fs_session_merge_farm(apr_pool_t *pool, void *base, void *add);
void *fs_session_create_place(apr_pool_t *pool, char *path);
void *fs_session_merge_place(apr_pool_t *pool, void *base, void *add);

fs_session_farm_t *fs_session_farm(const server_rec *main_server);
/* The place that a request is in; FS_UNSET where nothing was said, except by the functions below.
 */
const fs_session_place_t *fs_session_place(const request_rec *r);
const fs_session_place_t *fs_session_main_place(const server_rec *main_server);
int fs_session_or(int value, int otherwise);
#define FS_SESSION_ACK_DEFAULT     0
#define FS_SESSION_TIMEOUT_DEFAULT 500
#define FS_SESSION_LOCK_MS_DEFAULT 10000
#define FS_SESSION_ALIAS_DEFAULT   10

/* Fills in defaults once everything was read; returns what is wrong, NULL if nothing. */
const char *fs_session_complete(apr_pool_t *pool, server_rec *main_server);
/* The object "sessions" of agent.json. */
const char *fs_session_agent_json(apr_pool_t *pool, const fs_session_farm_t *farm);

#endif
