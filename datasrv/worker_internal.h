/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a group's worker share. All of it is the worker's thread's own. */
#ifndef FS_DATASRV_WORKER_INTERNAL_H
#define FS_DATASRV_WORKER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "net/fs_sql.h"
#include "sync/fs_source.h"
#include "worker.h"

#define FS_WORKER_SAY_AGAIN   (60 * FS_USEC_PER_SEC)
#define FS_WORKER_PRUNE_PAUSE (100 * FS_USEC_PER_MSEC)

typedef struct fs_worker_said_t {
    fs_usec_t at; /* mono, 0: not said */
    char cause[FS_PROBLEM_SIZE];
} fs_worker_said_t;

struct fs_worker_t {
    fs_worker_shared_t shared;
    char group[FS_IMAGE_NAME_SIZE];
    pthread_t thread;
    fs_bell_t bell;
    atomic_int stop, ended;

    /* the thread's own */
    fs_sql_t *sql;
    fs_group_facts_t facts;
    fs_published_t *current;
    fs_worker_said_t promotion_said, image_said;
    uint64_t connects; /* of the database thread: another number means the database is back */
    int64_t epoch;     /* of `current` as last seen, to notice a change */
    int64_t pinned;    /* to which version, as last said; 0 none */
    double jitter;     /* of this cycle, 0..1 */
    unsigned promote_failures, build_failures;
    fs_usec_t promote_after; /* mono: not before, after a failure */
    fs_usec_t build_after;   /* mono: likewise */
    fs_usec_t decide_after;  /* mono: the next look at who is ready */
    fs_usec_t put_off_said;  /* mono, 0 not of the version that waits */
    fs_usec_t prune_at;      /* mono: next step, 0 none */
};

/* 0 to 1, 1 not included. */
double fs_worker_random(void);
/* Puts the worker's facts onto the board. */
void fs_worker_tell(fs_worker_t *worker);
/* Records a difficulty in `place`. Logged when its cause is another than before, and once a minute,
 * so that a full disk is a line a minute and not one per try. */
void fs_worker_problem(fs_worker_t *worker, fs_result_t *place, fs_worker_said_t *said,
                       fs_log_level_t level, const fs_result_t *cause);
void fs_worker_no_problem(fs_worker_t *worker, fs_result_t *place, fs_worker_said_t *said);

/* worker_promote.c: mono time at which to promote; INT64_MAX when it isn't this cycle's turn or
 * farm time is unknown. */
fs_usec_t fs_worker_promote_at(fs_worker_t *worker);
/* Promotes now, and sets promote_after. */
void fs_worker_promote(fs_worker_t *worker);
/* Has it decided whether what waits may become active, and sets decide_after. */
void fs_worker_decide(fs_worker_t *worker);

/* worker_images.c: the images that are known to be here, and where new ones are to be told. */
fs_source_images_t fs_worker_images(fs_worker_t *worker);
/* The first image that isn't here, of the version in force before the other, and its version; NULL.
 * Counts them all. */
const fs_manifest_dataset_t *fs_worker_missing(fs_worker_t *worker, int64_t *version);
/* Verifies or builds it; after a failure sets build_after. */
void fs_worker_bring(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version);

#endif
