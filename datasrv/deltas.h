/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deltas between images of the store: made once for each pair that is asked for, by a thread of
 * their own, and kept as files beside the images. A pair is remembered also when a delta is of no
 * use: the data servers' callers then get the whole image.
 *
 * Bounded: at most FS_DELTAS_PAIRS pairs, and no more bytes than the store's images have (64 MiB
 * at least); what was asked for longest ago goes first. A delta goes with the image it leads to.
 * Any thread; one lock, held across no more I/O than the removal of a file.
 */
#ifndef FS_DATASRV_DELTAS_H
#define FS_DATASRV_DELTAS_H

#include <stdint.h>

#include "base/fs_digest.h"
#include "store.h"

#define FS_DELTAS_PAIRS 1024

typedef struct fs_deltas_t fs_deltas_t;

typedef enum fs_delta_state_t {
    FS_DELTA_HERE,
    FS_DELTA_MAKING, /* `made` will be called */
    FS_DELTA_NONE    /* serve the whole image */
} fs_delta_state_t;

typedef struct fs_deltas_totals_t {
    unsigned files;
    uint64_t bytes, made, useless, failed; /* useless: not smaller than the image */
    fs_usec_t took;                        /* for the latest one */
} fs_deltas_totals_t;

/*
 * Removes deltas that an earlier process left and starts the thread, which calls `made` after each
 * delta. NULL when it cannot.
 */
fs_deltas_t *fs_deltas_create(fs_store_t *store, void (*made)(void *baton), void *baton);
/* Ends the thread after the delta that it is making. NULL is fine. */
void fs_deltas_destroy(fs_deltas_t *deltas);

/* The delta from image `from` to `to`. HERE: *fd is open for reading, the caller closes it. */
fs_delta_state_t fs_deltas_get(fs_deltas_t *deltas, const fs_digest_t *from, const fs_digest_t *to,
                               int *fd, uint64_t *size);
/* Removes deltas to images that the store no longer has. */
void fs_deltas_tidy(fs_deltas_t *deltas);
void fs_deltas_totals(fs_deltas_t *deltas, fs_deltas_totals_t *totals);

#endif
