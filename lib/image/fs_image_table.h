/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing directory and heap from rows that come in hash order; shared by the builder and the
 * merge, so that both make the same bytes.
 */
#ifndef FS_IMAGE_TABLE_H
#define FS_IMAGE_TABLE_H

#include "image/fs_image_write.h"

typedef struct fs_table_t {
    fs_image_header_t *header; /* with rows, buckets, heap_bytes and the layout set */
    fs_stream_t directory;
    fs_stream_t heap;
    uint64_t next_bucket; /* whose beginning isn't written yet */
    uint64_t unit;        /* of the heap, where the next row begins */
    uint64_t rows;
    uint32_t probe; /* rows of the current bucket */
} fs_table_t;

/* Errors: FS0102. After an error fs_table_close frees what there is. */
apr_status_t fs_table_open(fs_table_t *table, const fs_image_file_t *file,
                           fs_image_header_t *header, fs_result_t *result);
/* Adds a row of `length` bytes; its fingerprint is set here. Returns its unit. Hashes never fall.
 */
uint64_t fs_table_put(fs_table_t *table, uint64_t hash, const uint8_t *row, size_t length);
/* Ends the directory, sets the header's longest_probe. FS0102 if anything couldn't be written. */
apr_status_t fs_table_close(fs_table_t *table, fs_result_t *result);

#endif
