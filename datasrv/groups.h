/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The groups this data server serves: those configured, or all that farmsync.sync has. One cheap
 * query reads the state of all of them; only a group whose row differs from what is on the board is
 * read whole. Owns the groups' threads. Database thread, except fs_groups_set_wanted.
 */
#ifndef FS_DATASRV_GROUPS_H
#define FS_DATASRV_GROUPS_H

#include "net/fs_sql.h"
#include "settings.h"
#include "worker.h"

typedef struct fs_groups_t fs_groups_t;

/* `published` is called (database thread) after a group's manifest on the board has changed. */
fs_groups_t *fs_groups_create(const fs_worker_shared_t *shared, void (*published)(void *baton),
                              void *baton);
/* Which groups to serve from the next poll on; any thread. Reads only the groups of `settings`. */
void fs_groups_set_wanted(fs_groups_t *groups, const fs_settings_t *settings);

/* Asks the database once and acts on what has changed. Errors: those of fs_sql and
 * fs_source_manifest. */
apr_status_t fs_groups_poll(fs_groups_t *groups, fs_sql_t *sql, fs_result_t *result);
/* Wakes all groups' threads: the database is back. */
void fs_groups_wake(fs_groups_t *groups);

/* Asks all groups' threads to end, and says whether they have. */
void fs_groups_stop(fs_groups_t *groups);
int fs_groups_ended(fs_groups_t *groups);
/* After fs_groups_ended. */
void fs_groups_destroy(fs_groups_t *groups);

#endif
