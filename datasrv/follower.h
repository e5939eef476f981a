/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database thread: follows the database with one connection of short statements only. Measures
 * farm time and polls the groups' state. Both only read, and nothing else is done here: an agent
 * that asks whether there is anything new is sent away if the database hasn't confirmed that for
 * long. What writes or may take its time is the scribe's.
 *
 *   8 quick samples, then 1 a second    farm time
 *   every 250 ms, at once when rung     state of all groups: one statement
 *
 * While the database is away everything stays as it was last known; the connection is tried again
 * within a second.
 */
#ifndef FS_DATASRV_FOLLOWER_H
#define FS_DATASRV_FOLLOWER_H

#include "groups.h"

/* All owned by the caller and outliving the follower. */
typedef struct fs_follower_parts_t {
    fs_worker_shared_t shared; /* its `changed` bell is this thread's */
    fs_groups_t *groups;
} fs_follower_parts_t;

typedef struct fs_follower_t fs_follower_t;

/* Starts the thread; FS0302 and others of fs_sql_create, FS0812 no thread. */
apr_status_t fs_follower_start(fs_follower_t **follower, const fs_follower_parts_t *parts,
                               fs_result_t *result);
/* Asks the thread to end, which stops the groups' threads first. */
void fs_follower_stop(fs_follower_t *follower);
/* Waits until it and the groups' threads have ended, at most until mono time `until`. 0 if they
 * haven't. */
int fs_follower_join(fs_follower_t *follower, fs_usec_t until);

#endif
