/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of what may take its time: writes the members' rows, reads the dashboard's tables,
 * tidies the directory of images. It has a connection of its own, because a row that is written
 * waits for disks, other nodes and backups that lock tables, and the follower must not wait with
 * it: for as long as the groups' state isn't confirmed, agents are sent away.
 *
 *   once a second, if any               members: one statement, however many reported
 *   every 2 s while looked at           the dashboard's tables
 *   once a second                       images that nobody names
 *
 * Does nothing while the follower says that the database is away.
 */
#ifndef FS_DATASRV_SCRIBE_H
#define FS_DATASRV_SCRIBE_H

#include "deltas.h"
#include "overview.h"
#include "roster.h"
#include "worker.h"

/* All owned by the caller and outliving the scribe. */
typedef struct fs_scribe_parts_t {
    fs_worker_shared_t shared;
    fs_deltas_t *deltas;
    fs_roster_t *roster;
    fs_overview_t *overview;
    fs_bell_t *looked;   /* rung when somebody looks at the dashboard; this thread's */
    const char *address; /* of this data server, for its member rows */
} fs_scribe_parts_t;

typedef struct fs_scribe_t fs_scribe_t;

/* Starts the thread; FS0302 and others of fs_sql_create, FS0812 no thread. */
apr_status_t fs_scribe_start(fs_scribe_t **scribe, const fs_scribe_parts_t *parts,
                             fs_result_t *result);
/* Asks the thread to end after the statement it is in. */
void fs_scribe_stop(fs_scribe_t *scribe);
/* Waits until it has ended, at most until mono time `until`. 0 if it hasn't. */
int fs_scribe_join(fs_scribe_t *scribe, fs_usec_t until);

#endif
