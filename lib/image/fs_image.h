/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dataset image: one dataset at one version as an immutable, memory-mapped file.
 *
 * doc/image-format.md describes it byte by byte. The same rows give the same bytes whoever builds
 * it. An open image is read only and may be used by any number of threads without a lock; look-ups
 * don't allocate or copy. All values are text as SQL prints them (binary columns: the bytes), each
 * followed by a NUL that doesn't count, so that a value can be handed out as a C string where it
 * lies. No look-up can leave the mapped file, whatever the file holds.
 */
#ifndef FS_IMAGE_H
#define FS_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_digest.h"
#include "base/fs_result.h"

#define FS_IMAGE_MAX_COLUMNS 1000
#define FS_IMAGE_MAX_KEYS    16
#define FS_IMAGE_MAX_ROW     (16u * 1024 * 1024) /* bytes of all values of a row */
#define FS_IMAGE_MAX_KEY     3072u               /* bytes of all key values of a row */
#define FS_IMAGE_NAME_SIZE   65 /* group, dataset and column names: 64 bytes + NUL */

/* How a value is shown in JSON and told to a reader; the stored form is always text. */
typedef enum fs_column_type_t {
    FS_COLUMN_TEXT = 0,    /* UTF-8 */
    FS_COLUMN_INTEGER = 1, /* JSON number */
    FS_COLUMN_DECIMAL = 2, /* exact; JSON number with its digits as they are */
    FS_COLUMN_FLOAT = 3,   /* JSON number */
    FS_COLUMN_TIME = 4,    /* DATE, TIME, DATETIME, TIMESTAMP, YEAR: JSON string */
    FS_COLUMN_JSON = 5,    /* JSON as it is */
    FS_COLUMN_BINARY = 6   /* bytes; JSON: base64 string */
} fs_column_type_t;

typedef struct fs_column_t {
    char name[FS_IMAGE_NAME_SIZE];
    fs_column_type_t type;
    int key; /* 1-based place in the key, 0 if not part of it */
} fs_column_t;

/* A value where it lies. `data` NULL means SQL NULL (which no key column may be). */
typedef struct fs_slice_t {
    const char *data;
    uint32_t length;
} fs_slice_t;

/* What a dataset looks like: the same for builder and reader. `columns` in the source's order. */
typedef struct fs_image_schema_t {
    char group[FS_IMAGE_NAME_SIZE];
    char dataset[FS_IMAGE_NAME_SIZE];
    unsigned column_count; /* 1 .. FS_IMAGE_MAX_COLUMNS */
    unsigned key_count;    /* 1 .. FS_IMAGE_MAX_KEYS */
    fs_column_t *columns;
} fs_image_schema_t;

/* --- building ------------------------------------------------------------------------------- */

typedef struct fs_image_builder_t fs_image_builder_t;

/*
 * Starts an image below directory `dir`; rows go to a temporary file there, so that memory grows
 * only by a small constant per row. `schema` is copied. The `version` is not part of the content
 * digest's meaning for readers: an unchanged dataset keeps its image over many versions, so
 * `version` is the version in which this content first appeared. Errors: FS0101 (bad schema),
 * FS0102 (cannot write). One thread at a time.
 */
apr_status_t fs_image_builder_create(fs_image_builder_t **builder, const char *dir,
                                     const fs_image_schema_t *schema, int64_t version,
                                     fs_result_t *result);

/*
 * Adds a row: `values[column_count]` in schema order; any order of rows. Refused with a result that
 * names the key: NULL in a key column FS0103, row or key too large FS0104, text that isn't UTF-8
 * FS0105. After a refusal the builder can only be cancelled.
 */
apr_status_t fs_image_builder_add(fs_image_builder_t *builder, const fs_slice_t *values,
                                  fs_result_t *result);

/*
 * Starts the next version of an image: its rows stay, fs_image_builder_add puts a row in the place
 * of the one with the same key or adds it, fs_image_builder_remove takes one away. The result is,
 * byte for byte, what a full build of the same rows gives, but costs little more than copying the
 * old file. A key may be named once (FS0106). Errors: as fs_image_open and fs_image_builder_create;
 * the old image, which must have been verified, is kept open until the builder is freed.
 */
apr_status_t fs_image_builder_update(fs_image_builder_t **builder, const char *dir,
                                     const char *old_path, int64_t version, fs_result_t *result);
/*
 * Takes away the row with this key (`key[key_count]` in key order); one that isn't there is fine.
 * Only for builders from fs_image_builder_update. Errors: FS0103, FS0104.
 */
apr_status_t fs_image_builder_remove(fs_image_builder_t *builder, const fs_slice_t *key,
                                     fs_result_t *result);

/* Makes fs_image_builder_finish refuse (FS0109) an image with another digest, before it gets its
 * name. */
void fs_image_builder_expect(fs_image_builder_t *builder, const fs_digest_t *digest);

typedef struct fs_image_made_t {
    fs_digest_t digest; /* of the whole file: its name is "<hex>.fsi" */
    uint64_t bytes;
    uint64_t rows;
} fs_image_made_t;

/*
 * Completes, syncs and renames the file to `<dir>/<hex digest>.fsi` and frees the builder, also on
 * failure. Two rows with the same key: FS0106, naming it. Disk full: FS0102.
 */
apr_status_t fs_image_builder_finish(fs_image_builder_t *builder, fs_image_made_t *made,
                                     fs_result_t *result);
/* Removes the temporary files and frees the builder. NULL is fine. */
void fs_image_builder_cancel(fs_image_builder_t *builder);

/* --- opening -------------------------------------------------------------------------------- */

typedef struct fs_image_t fs_image_t;

/*
 * Maps an image and checks everything that look-ups rely on in time that doesn't grow with the
 * rows. Nothing is taken from a pool, so that any thread may open and close. Errors: FS0111 (cannot
 * open), FS0112 (not an image, other format version or byte order), FS0113 (cut short or
 * inconsistent).
 */
apr_status_t fs_image_open(fs_image_t **image, const char *path, fs_result_t *result);
void fs_image_close(fs_image_t *image);

/*
 * Reads the whole file: digest (compared with `expected` unless NULL) and every row's place, so
 * that nothing damaged is ever published. Errors: as fs_image_open, and FS0114 (digest differs).
 */
apr_status_t fs_image_verify(const char *path, const fs_digest_t *expected, fs_result_t *result);

const fs_image_schema_t *fs_image_schema(const fs_image_t *image);
int64_t fs_image_version(const fs_image_t *image);
uint64_t fs_image_rows(const fs_image_t *image);
uint64_t fs_image_bytes(const fs_image_t *image);
/* Index of a column by name, -1 if there is none. */
int fs_image_column(const fs_image_t *image, const char *name, size_t length);

/* --- reading -------------------------------------------------------------------------------- */

/* A row where it lies; valid as long as the image is open. Opaque: 4 words that may be copied. */
typedef struct fs_row_t {
    const fs_image_t *image;
    const char *data;
    uint64_t opaque[2];
} fs_row_t;

/*
 * Finds a row by its key values in key order; `key_count` must be the schema's, else nothing is
 * found. Keys are compared byte by byte. Returns 1 and fills `row`, or 0.
 */
int fs_image_find(const fs_image_t *image, const fs_slice_t *key, unsigned key_count,
                  fs_row_t *row);

/*
 * The quickest look-up, for keys of one column: the value of column `column` of the row with this
 * key. data NULL where there is no such row or column, for SQL NULL, and for other keys; ask
 * fs_image_find which it is.
 */
fs_slice_t fs_image_value(const fs_image_t *image, fs_slice_t key, unsigned column);

/*
 * Finds `count` rows at once, hiding memory latency; `keys` holds count * key_count slices.
 * rows[i].data is NULL where nothing was found. Returns how many were found.
 */
unsigned fs_image_find_batch(const fs_image_t *image, const fs_slice_t *keys, unsigned key_count,
                             unsigned count, fs_row_t *rows);

/* The value of column `column` (0-based); data NULL for SQL NULL or a column that isn't there. */
fs_slice_t fs_row_value(const fs_row_t *row, unsigned column);

/*
 * Rows in key order (bytewise, first key column first). `fs_image_at` gives the row at `place`
 * (0 .. rows-1), 0 past the end. `fs_image_seek` gives the place of the first row whose key is not
 * less than the given values; a shorter key_count compares only the leading key columns.
 */
int fs_image_at(const fs_image_t *image, uint64_t place, fs_row_t *row);
uint64_t fs_image_seek(const fs_image_t *image, const fs_slice_t *key, unsigned key_count);

#endif
