/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing heap, order and directory from rows that come in hash order; shared by the builder and
 * the merge, so that both make the same bytes. The file is written from front to back.
 */
#ifndef FS_IMAGE_TABLE_H
#define FS_IMAGE_TABLE_H

#include "image/fs_image_write.h"

typedef struct fs_table_row_t {
    const uint8_t *data;
    size_t length;
    uint64_t *place; /* where to put the row's place in the heap */
    uint8_t fingerprint;
} fs_table_row_t;

typedef struct fs_table_t {
    fs_image_header_t *header; /* rows, row_bytes and schema_bytes are set; the rest is done here */
    fs_stream_t stream;
    uint64_t buckets;
    uint64_t begun;   /* buckets whose beginning is known: starts[0 .. begun-1] */
    uint64_t *starts; /* in units; the last is the end of the heap */
    unsigned count;   /* rows of the bucket that is being filled, the last one begun */
    unsigned crowded; /* a bucket had too many rows: what was written is no image */
    fs_table_row_t rows[FS_IMAGE_BUCKET_ROWS];
} fs_table_t;

/* Writes the schema and makes ready for rows. Errors: FS0102. fs_table_free must follow in any
 * case. */
apr_status_t fs_table_open(fs_table_t *table, const fs_image_file_t *file,
                           fs_image_header_t *header, const void *schema, fs_result_t *result);
/*
 * Adds a row; hashes never fall. `row` must stay where it is, and `*place` is set, until the next
 * bucket's first row or fs_table_end_rows.
 */
void fs_table_put(fs_table_t *table, uint64_t hash, const uint8_t *row, size_t length,
                  uint64_t *place);
/* Adds a whole bucket of `units` as it is in another image of the same seed and number of buckets.
 */
void fs_table_copy(fs_table_t *table, uint64_t number, const uint8_t *bucket, uint64_t units);
/* How long the heap is, without a bucket that is being filled. */
uint64_t fs_table_heap(const fs_table_t *table);
/* Ends the heap; all places are set, and can be read from the file. FS0102. */
apr_status_t fs_table_end_rows(fs_table_t *table, fs_result_t *result);
/* Adds the next entry of the order; all rows' places in key order. */
void fs_table_order(fs_table_t *table, uint64_t place);
/* 1 when the order has as many entries as there are rows. */
int fs_table_has_order(const fs_table_t *table);
/* Writes the directory and the rest of the header's fields. FS0102. */
apr_status_t fs_table_finish(fs_table_t *table, fs_result_t *result);
void fs_table_free(fs_table_t *table);

#endif
