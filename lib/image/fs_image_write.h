/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing an image's file from front to back, in aligned pieces of 2 MiB: file systems with large
 * folios then keep it in huge pages, which a mapping shows with one entry instead of 512.
 */
#ifndef FS_IMAGE_WRITE_H
#define FS_IMAGE_WRITE_H

#include "image/fs_image_format.h"

/* A temporary file in an image folder; names begin with FS_IMAGE_TEMPORARY, see the datasrv and
 * agent cleaners. */
typedef struct fs_image_file_t {
    int fd; /* -1: none */
    char path[4096];
} fs_image_file_t;

/* FS0102; then nothing is open. */
apr_status_t fs_image_file_create(fs_image_file_t *file, const char *dir, fs_result_t *result);
/* Closes and removes it; one that isn't open is fine. */
void fs_image_file_drop(fs_image_file_t *file);
/* FS0102 with errno's text. */
apr_status_t fs_image_file_failed(const fs_image_file_t *file, int error, fs_result_t *result);

typedef struct fs_stream_t {
    const fs_image_file_t *file;
    uint64_t place; /* in the file, of the buffer's first byte */
    size_t used;
    int error; /* the first errno; nothing is written after it */
    uint8_t *buffer;
} fs_stream_t;

/* Writes from the file's beginning. 0, or -1 without memory. */
int fs_stream_open(fs_stream_t *stream, const fs_image_file_t *file);
void fs_stream_put(fs_stream_t *stream, const void *data, size_t length);
void fs_stream_zero(fs_stream_t *stream, size_t length);
/* Zeros up to `place`, which is not before fs_stream_place. */
void fs_stream_zero_to(fs_stream_t *stream, uint64_t place);
/* Place of the next byte in the file. */
uint64_t fs_stream_place(const fs_stream_t *stream);
/* Writes what is buffered; FS0102 if anything went wrong since fs_stream_open. */
apr_status_t fs_stream_flush(fs_stream_t *stream, fs_result_t *result);
/* Frees the buffer; what is in it is lost. */
void fs_stream_free(fs_stream_t *stream);

/*
 * Completes an image whose directory, order and heap have been written: header, guard, sync,
 * digest, rename to its name in `dir`. The file is dropped on failure, and if its digest isn't
 * `expected` (unless NULL), FS0109.
 */
apr_status_t fs_image_file_finish(fs_image_file_t *file, fs_image_header_t *header,
                                  const void *schema, const char *dir, const fs_digest_t *expected,
                                  fs_image_made_t *made, fs_result_t *result);

#endif
