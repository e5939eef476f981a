/* SPDX-License-Identifier: Apache-2.0 */
/* What a request has changed, from mod_session's table. */
#ifndef FS_SESSION_CHANGE_H
#define FS_SESSION_CHANGE_H

#include <apr_tables.h>

#include "session/fs_session_merge.h"

typedef struct fs_session_delta_t {
    fs_session_entry_t *after; /* all entries, sorted by key */
    uint32_t after_count;
    fs_session_change_t *changes;
    uint32_t count;
    int privilege; /* who is logged in has changed: an entry NAME-user came, went or is another */
} fs_session_delta_t;

/*
 * What makes the table of `before`. "expiry" is mod_session's own and not an entry; of several
 * entries with one key the first counts, as for ap_session_get.
 */
void fs_session_delta(fs_session_delta_t *delta, const fs_session_entry_t *before,
                      uint32_t before_count, const apr_table_t *table, apr_pool_t *pool);

/* The entries of a table, sorted by key. */
uint32_t fs_session_entries(const apr_table_t *table, fs_session_entry_t **entries,
                            apr_pool_t *pool);

/* Makes the changes in a table. */
void fs_session_change_table(apr_table_t *table, const fs_session_delta_t *delta);

#endif
