/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The web servers' agents, as far as they can be asked: their addresses from farmsync.member, and
 * which of them answered last. What was learned is kept while the database is away. The addresses
 * are any thread's; each thread that asks has a client of its own.
 */
#ifndef FS_DATASRV_AGENTS_H
#define FS_DATASRV_AGENTS_H

#include "net/fs_http_client.h"
#include "net/fs_sql.h"

#define FS_AGENTS_MAX 1024

typedef struct fs_agents_t fs_agents_t;

/* How this data server speaks to agents; strings are borrowed, the keyring is copied. */
typedef struct fs_agents_settings_t {
    const fs_keyring_t *ring;
    const char *origin;
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
} fs_agents_settings_t;

fs_agents_t *fs_agents_create(const fs_agents_settings_t *settings);
void fs_agents_destroy(fs_agents_t *agents);
/* The end: whoever asks tries no more. */
void fs_agents_stop(fs_agents_t *agents);
void fs_agents_set_ring(fs_agents_t *agents, const fs_keyring_t *ring);

/* Reads the addresses of those that reported just now. The thread of `sql`. */
apr_status_t fs_agents_read(fs_agents_t *agents, fs_sql_t *sql, fs_result_t *result);

/* The addresses as JSON, {"members": [{"listen": URL}, ...]}; malloc'ed, NULL when memory is short.
 */
char *fs_agents_json(fs_agents_t *agents);

/* One thread's way to ask. */
typedef struct fs_agents_asker_t {
    fs_agents_t *agents;
    fs_http_client_t *client;
    unsigned ring_changes;
} fs_agents_asker_t;

void fs_agents_asker_clear(fs_agents_asker_t *asker);

/*
 * Asks the one that answered last, else one after the other until one does; an answer of 5xx is
 * none, unless all say that. `until` (mono) bounds it all. Errors: FS0881 nobody can be asked,
 * those of fs_http_exchange. Free with fs_http_answer_clear.
 */
apr_status_t fs_agents_ask(fs_agents_asker_t *asker, const char *method, const char *path,
                           const void *body, size_t length, fs_usec_t until,
                           fs_http_answer_t *answer, fs_result_t *result);

/* Appends `value` to a URL's query as "&name=value" ("?" before the first). Returns 0 if there is
 * no room; then nothing is changed. */
int fs_agents_add_query(char *path, size_t size, const char *name, const char *value);
/* Appends a part of a path, percent-encoded. */
int fs_agents_add_part(char *path, size_t size, const char *part);

#endif
