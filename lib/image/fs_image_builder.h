/* SPDX-License-Identifier: Apache-2.0 */
/* What the builder's files share; see fs_image_builder.c. */
#ifndef FS_IMAGE_BUILDER_H
#define FS_IMAGE_BUILDER_H

#include "image/fs_image_key.h"
#include "image/fs_image_table.h"

/* In an entry's place: the key is to be taken away; the row holds nothing else. */
#define FS_ENTRY_REMOVED (UINT64_C(1) << 63)

struct fs_image_builder_t {
    char dir[4096];
    fs_image_t *old; /* NULL, or the image whose rows stay unless they are put or removed */
    const fs_digest_t *expected; /* NULL, or &expected_digest */
    fs_digest_t expected_digest;
    fs_image_schema_t schema;
    uint16_t stored_at[FS_IMAGE_MAX_COLUMNS];
    int64_t version;
    uint8_t *schema_data;
    size_t schema_bytes;
    fs_image_file_t temporary;
    fs_stream_t stream;
    fs_sort_entry_t *entries; /* place: byte of the temporary file, and FS_ENTRY_REMOVED */
    size_t count, capacity;
    uint64_t row_bytes;
    uint8_t *row; /* the row being encoded */
    size_t row_capacity;
};

/* The temporary file, read back: rows that this builder wrote. */
typedef struct fs_rows_t {
    const uint8_t *data;
    uint64_t bytes;
} fs_rows_t;

/* A row of the temporary file: its key; returns its length. */
size_t fs_builder_read(const fs_image_builder_t *builder, const fs_rows_t *rows, uint64_t place,
                       fs_slice_t *key);
/* Appends a row that is in its final form already. FS0102, FS0107. */
apr_status_t fs_builder_append(fs_image_builder_t *builder, const uint8_t *row, size_t length,
                               uint64_t mark, fs_result_t *result);
/* Maps the rows for reading; nothing may be added any more. */
apr_status_t fs_builder_map(fs_image_builder_t *builder, fs_rows_t *rows, fs_result_t *result);
void fs_builder_unmap(fs_rows_t *rows);

/*
 * Sorts the entries by hash, then key; words are hashes then. *crowded when a bucket would be too
 * full. Two entries with one key: FS0106.
 */
apr_status_t fs_builder_sort(fs_image_builder_t *builder, const fs_rows_t *rows, uint64_t seed,
                             uint64_t buckets, int *crowded, fs_result_t *result);
/* Makes the image of the builder's rows alone. */
apr_status_t fs_builder_write(fs_image_builder_t *builder, const fs_rows_t *rows,
                              fs_image_made_t *made, fs_result_t *result);
/*
 * Makes the image of the old image's rows with the builder's changes. *unfit instead, when the old
 * image's table can't be continued: then fs_builder_absorb makes a full build of it.
 */
apr_status_t fs_builder_update(fs_image_builder_t *builder, const fs_rows_t *rows, int *unfit,
                               fs_image_made_t *made, fs_result_t *result);
/* Appends the old image's rows that have no change, and forgets the removals. */
apr_status_t fs_builder_absorb(fs_image_builder_t *builder, fs_rows_t *rows, fs_result_t *result);

#endif
