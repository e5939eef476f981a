/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part: the file that a transfer fills until it is whole. Whoever fills it holds a lock on it
 * (flock), which ends with the process, so that nobody else fills or cleans it away meanwhile. Its
 * name says what it will be: ".part-<hex>" an image, ".part-<hex>-<old hex>" a delta to it.
 * Private to lib/sync.
 */
#ifndef FS_PART_H
#define FS_PART_H

#include <limits.h>
#include <stdio.h>

#include "base/fs_digest.h"
#include "base/fs_result.h"

#define FS_PART_PREFIX ".part-"

typedef struct fs_part_t {
    char path[PATH_MAX];
    FILE *file;
    char *buffer; /* the file's; a large one, see fs_part.c */
} fs_part_t;

/*
 * Opens the part of `digest` in `dir`, or makes it, and locks it. APR_EBUSY with FS0353: somebody
 * else holds it; FS0356: it cannot be opened.
 */
apr_status_t fs_part_open(fs_part_t *part, const char *dir, const fs_digest_t *digest,
                          fs_result_t *result);
/* The same for a delta that leads from image `from` to image `digest`. */
apr_status_t fs_part_open_delta(fs_part_t *part, const char *dir, const fs_digest_t *digest,
                                const fs_digest_t *from, fs_result_t *result);
/* `delta` turned out to be an image: it takes the place of `part`, which was open, too. An error
 * number, or 0. */
int fs_part_adopt(fs_part_t *part, fs_part_t *delta);
/* Bytes in the file, what stdio still holds included. */
uint64_t fs_part_size(fs_part_t *part);
/* Throws away what was received. An error number, or 0. */
int fs_part_empty(fs_part_t *part);
/* Syncs it and gives it its final name. An error number, or 0. */
int fs_part_finish(fs_part_t *part, const char *final_path);
/* Closes and unlocks; the file is left for the next time unless `drop`. */
void fs_part_close(fs_part_t *part, int drop);

#endif
