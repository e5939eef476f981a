/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread a group: promotes when it is due, has it decided whether a version that waits for
 * servers to be ready may become active, builds or verifies the images of the published
 * versions that aren't here, prunes what nobody can ask for any more. Its own connection, so that
 * an hour's build of one group delays neither the clock nor another group.
 *
 * Order of the work, looked at anew after each step: promotion when due (the farm waits for it),
 * images of the version in force, images of the staged one, one step of pruning.
 */
#ifndef FS_DATASRV_WORKER_H
#define FS_DATASRV_WORKER_H

#include "bell.h"
#include "board.h"
#include "store.h"

typedef struct fs_worker_t fs_worker_t;

/* What every worker of the process shares; outlives them. */
typedef struct fs_worker_shared_t {
    fs_board_t *board;
    fs_store_t *store;
    const char *option_file;         /* of the database */
    const char *who;                 /* this data server's name, for farmsync.history */
    fs_bell_t *changed;              /* rung when the database should be asked again at once */
    void (*image_made)(void *baton); /* an image has come into the store */
    void *baton;
} fs_worker_shared_t;

/* Starts the thread. NULL when it cannot. */
fs_worker_t *fs_worker_start(const fs_worker_shared_t *shared, const char *group);
/* The group's manifest on the board has changed. Any thread. */
void fs_worker_wake(fs_worker_t *worker);
/* Asks the thread to end after the step it is in. */
void fs_worker_stop(fs_worker_t *worker);
/* Whether it has ended; then fs_worker_free returns at once. */
int fs_worker_ended(const fs_worker_t *worker);
void fs_worker_free(fs_worker_t *worker);

#endif
