/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table from a session's key to whatever has one: a link that its user embeds. Keys are random,
 * so that some of their bits are hash enough. The table allocates its heads only. One thread at a
 * time.
 */
#ifndef FS_AGENT_SESSION_TABLE_H
#define FS_AGENT_SESSION_TABLE_H

#include "session/fs_session_id.h"

typedef struct fs_keyed_t {
    fs_session_key_t key;
    struct fs_keyed_t *next;
} fs_keyed_t;

typedef struct fs_key_table_t {
    fs_keyed_t **heads;
    uint32_t mask;
    uint32_t count;
} fs_key_table_t;

/* Errors: APR_ENOMEM. */
apr_status_t fs_key_table_init(fs_key_table_t *table);
void fs_key_table_end(fs_key_table_t *table); /* frees the heads; what is linked is the user's */

fs_keyed_t *fs_key_table_find(const fs_key_table_t *table, const fs_session_key_t *key);
/* `keyed->key` isn't there yet. */
void fs_key_table_add(fs_key_table_t *table, fs_keyed_t *keyed);
void fs_key_table_remove(fs_key_table_t *table, const fs_keyed_t *keyed);
/* Any one of them; NULL if there is none: to take all out, one by one. */
fs_keyed_t *fs_key_table_any(const fs_key_table_t *table);
/* Calls `look` for each; it may remove the one that it is called with. */
void fs_key_table_each(const fs_key_table_t *table, void (*look)(void *baton, fs_keyed_t *keyed),
                       void *baton);

#endif
