/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notices of the farm, read once each and kept by the keys of their records, so that a change
 * of one doesn't make all of them be read again. One thread at a time.
 */
#ifndef FS_AVAIL_TABLE_H
#define FS_AVAIL_TABLE_H

#include "avail_rules.h"

typedef struct fs_avail_entry_t {
    char key[FS_NOTICE_KEY_SIZE];
    fs_notice_t *notice;
    char origin[FS_NOTICE_NAME_SIZE]; /* the server whose agent put it */
    int heeded;                       /* by the latest publication */
} fs_avail_entry_t;

typedef struct fs_avail_table_t fs_avail_table_t;

fs_avail_table_t *fs_avail_table_create(void);
void fs_avail_table_destroy(fs_avail_table_t *table);
/* Puts or replaces a notice, which becomes the table's. NULL when memory is short: it is freed. */
fs_avail_entry_t *fs_avail_table_put(fs_avail_table_t *table, const char *key, fs_notice_t *notice,
                                     const char *origin);
/* Returns whether there was one. */
int fs_avail_table_remove(fs_avail_table_t *table, const char *key);
fs_avail_entry_t *fs_avail_table_get(const fs_avail_table_t *table, const char *key);
unsigned fs_avail_table_count(const fs_avail_table_t *table);
/* All entries by their keys, malloc'ed; NULL if there are none or memory is short. */
fs_avail_entry_t **fs_avail_table_list(const fs_avail_table_t *table, unsigned *count);
/*
 * All entries by their keys, each said whether it is heeded at `farm` in a farm
 * of so many servers; malloc'ed, NULL if there are none or memory is short. *left_out is how many
 * aren't.
 */
fs_avail_entry_t **fs_avail_table_weigh(fs_avail_table_t *table, unsigned servers, unsigned percent,
                                        fs_usec_t farm, unsigned *count, unsigned *left_out);

#endif
