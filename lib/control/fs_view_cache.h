/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The views that a request process has mapped, shared by its threads.
 *
 *   slot: [ id | state = OPEN / CLOSED / BUSY + count of pins | view ]     x FS_VIEW_SLOTS
 *
 * Pinning a view that is mapped takes no lock: find the slot with its id, count one up if it is
 * open, look at the id again. Closing a slot only clears OPEN; whoever takes the last pin away
 * unmaps. A view that isn't mapped is mapped by whoever needs it first, without anybody waiting;
 * two threads may do so at once, and one of the two copies is then dropped.
 */
#ifndef FS_VIEW_CACHE_H
#define FS_VIEW_CACHE_H

#include "control/fs_control.h"

#define FS_VIEW_SLOTS 64

/* A view with its images open. Immutable; any number of threads may read it while it is pinned. */
typedef struct fs_view_t {
    uint64_t id;
    int64_t version;
    char group[FS_IMAGE_NAME_SIZE];
    unsigned dataset_count;
    fs_view_dataset_t *datasets; /* ordered by name */
    fs_image_t **images;         /* of the dataset at the same place */
} fs_view_t;

/* The image of a dataset, or NULL. */
const fs_image_t *fs_view_image(const fs_view_t *view, const char *name, size_t length);
const fs_digest_t *fs_view_digest(const fs_view_t *view, const fs_image_t *image);

typedef struct fs_view_cache_t fs_view_cache_t;

typedef struct fs_view_pin_t {
    const fs_view_t *view; /* NULL: nothing pinned */
    int slot;              /* -1: a copy of its own, because all slots were taken */
} fs_view_pin_t;

/* NULL if out of memory. Nothing may be pinned any more when it is destroyed. */
fs_view_cache_t *fs_view_cache_create(const char *state_dir);
void fs_view_cache_destroy(fs_view_cache_t *cache);

/*
 * Pins view `id`, mapping it first if need be. A view that could not be mapped is not tried again
 * for FS_VIEW_RETRY. Any thread. Errors: FS0505, FS0011, FS0111..FS0113; FS0508: an image is of
 * something else, or out of memory; FS0509: it failed a moment ago, or it failed again and the
 * reason was given less than FS_VIEW_SAY_AGAIN ago.
 */
#define FS_VIEW_RETRY     FS_USEC_PER_SEC
#define FS_VIEW_SAY_AGAIN (60 * FS_USEC_PER_SEC)
apr_status_t fs_view_cache_pin(fs_view_cache_t *cache, uint64_t id, fs_view_pin_t *pin,
                               fs_result_t *result);
/* Lets go; may be called once per pin, from any thread. */
void fs_view_cache_unpin(fs_view_cache_t *cache, fs_view_pin_t *pin);
/* Drops all views but these; those that are pinned go with their last pin. Any thread. */
void fs_view_cache_keep(fs_view_cache_t *cache, const uint64_t *ids, unsigned count);
/* Views that are mapped now, and their pins. */
unsigned fs_view_cache_count(const fs_view_cache_t *cache, unsigned *pins);

#endif
