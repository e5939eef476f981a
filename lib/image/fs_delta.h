/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed between two images of one dataset, compressed: what travels instead of an image.
 *
 *   [ header | one zstd frame: removed keys, then new and changed rows, both in key order ]
 *
 * The receiver builds the new image from its old one (fs_image_builder_update) and keeps it only if
 * the digest is the one that the manifest promised; so a delta can be wrong, but it can't do harm.
 * All functions may be called from any thread.
 */
#ifndef FS_DELTA_H
#define FS_DELTA_H

#include "image/fs_image.h"

typedef struct fs_delta_info_t {
    fs_digest_t old_digest, new_digest;
    uint64_t put_rows; /* new and changed rows */
    uint64_t removed_rows;
    uint64_t raw_bytes; /* of the frame's content */
    uint64_t file_bytes;
} fs_delta_info_t;

/*
 * Writes the delta from the image at `old_path` to that at `new_path` to the file `delta_path`
 * (whole or not at all). The digests are taken from the images' names ("<hex>.fsi") where they have
 * such names, else computed. `info` may be NULL. Errors: FS0120 other dataset or columns: serve the
 * whole image; FS0102 cannot write; those of fs_image_open.
 */
apr_status_t fs_delta_make(const char *old_path, const char *new_path, const char *delta_path,
                           fs_delta_info_t *info, fs_result_t *result);

/* Reads a delta's header. Errors: FS0111 cannot read, FS0121 not a delta. */
apr_status_t fs_delta_read(const char *delta_path, fs_delta_info_t *info, fs_result_t *result);

/*
 * Builds the image that the manifest promises (`digest`, `bytes`) from the verified image at
 * `old_path` and a delta, into `dir`. Nothing is left there on failure. Errors: FS0121 not a delta
 * or damaged, FS0122 a delta between other images, FS0123 the result isn't the promised image;
 * those of the builder. After any error the whole image is to be retrieved.
 */
apr_status_t fs_delta_apply(const char *old_path, const char *delta_path, const char *dir,
                            const fs_digest_t *digest, uint64_t bytes, fs_image_made_t *made,
                            fs_result_t *result);

#endif
