/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image directory of one datasrv: which images are here, whole and verified.
 *
 * Nothing is served that was not made or verified by this process: what an earlier one left is read
 * whole and compared with its name (its digest) when a manifest first asks for it, so that a start
 * isn't delayed by images nobody needs any more. Files are removed only after nobody has named them
 * for a while, and never while a promotion is being built, whose images are named only once it is
 * committed. Any thread; one lock, never held across I/O.
 */
#ifndef FS_DATASRV_STORE_H
#define FS_DATASRV_STORE_H

#include <stdint.h>

#include "base/fs_digest.h"
#include "base/fs_result.h"
#include "base/fs_time.h"
#include "image/fs_image.h"

typedef struct fs_store_t fs_store_t;

/*
 * Makes and locks `dir` and removes what a killed builder left. Errors: FS0013, FS0809.
 */
apr_status_t fs_store_open(fs_store_t **store, const char *dir, fs_result_t *result);
void fs_store_close(fs_store_t *store);
const char *fs_store_dir(const fs_store_t *store);

/* Whether the image is here and verified. */
int fs_store_has(fs_store_t *store, const fs_digest_t *digest);
/*
 * Verifies an image file and takes it in. APR_ENOENT: it isn't there. Another error (FS0857): it
 * was damaged and has been removed. Reads the whole file.
 */
apr_status_t fs_store_take(fs_store_t *store, const fs_digest_t *digest, fs_result_t *result);
/* Takes in an image that this process has just made: its digest is that of what was written. */
void fs_store_accept(fs_store_t *store, const fs_image_made_t *made);
/*
 * Opens a verified image for sending; the caller closes. -1 if it isn't here; one that vanished or
 * changed its size on disk is forgotten, so that it is built again.
 */
int fs_store_image(fs_store_t *store, const fs_digest_t *digest, uint64_t *size);

/* Between these two nothing is removed. */
void fs_store_hold(fs_store_t *store);
void fs_store_release(fs_store_t *store);

/*
 * Removes images for which named() was 0 for FS_STORE_GRACE. One thread at a time, every second or
 * so.
 */
#define FS_STORE_GRACE (10 * FS_USEC_PER_SEC)
void fs_store_tidy(fs_store_t *store, fs_usec_t now,
                   int (*named)(void *baton, const fs_digest_t *digest), void *baton);

/* How many verified images of how many bytes, and what the disk has left. */
void fs_store_totals(fs_store_t *store, unsigned *images, uint64_t *bytes, uint64_t *disk_free);

#endif
