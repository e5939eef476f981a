/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of an image, for the files of this folder only. doc/image-format.md explains them.
 *
 *   [ header | schema | directory | order | heap | 8 zero bytes ]
 *
 * heap       the rows, sorted by the hash of their key, each at a multiple of FS_IMAGE_UNIT
 * directory  where each bucket's rows begin; a bucket is a range of hashes, about one row wide, so
 * the directory is small enough for the caches and the only far access is the row itself order
 * where the rows are, in key order, for listing and prefix scans
 *
 * A row: u16 of fingerprint and width, one end offset a column (1, 2 or 4 bytes wide), the values.
 * The key columns come first, so that header and key lie together. Each value ends with a NUL; NULL
 * takes no byte at all, not even the NUL, which tells it from an empty string.
 *
 * Nothing in a file is trusted: opening proves the layout, and whoever follows an offset that
 * opening could not see checks it against the region it must lie in. The 8 zero bytes at the end
 * let a row's numbers be loaded four bytes at a time, and end any C string.
 */
#ifndef FS_IMAGE_FORMAT_H
#define FS_IMAGE_FORMAT_H

#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "image/fs_image.h"

#define FS_IMAGE_MAGIC       "FSIMAGE\n"
#define FS_IMAGE_BYTE_ORDER  0x01020304u
#define FS_IMAGE_FORMAT      1u
#define FS_IMAGE_UNIT        8u      /* rows begin at multiples of this many bytes */
#define FS_IMAGE_GUARD       8u      /* zero bytes at the end of the file */
#define FS_IMAGE_TEMPORARY   ".tmp-" /* how names of unfinished files begin */
#define FS_IMAGE_REGION      64u     /* regions begin at multiples of this: a cache line */
#define FS_IMAGE_PROBE_LIMIT 32u     /* rows in a bucket; a table with more takes another seed */
#define FS_IMAGE_MAX_ROWS    (UINT64_C(1) << 31)
#define FS_IMAGE_ROW_HEAD    2u /* bytes before the end offsets */
#define FS_IMAGE_WIDTH_BITS  3u /* of the row's first two bytes: log2 of the width of the offsets  \
                                 */

typedef struct fs_image_header_t {
    char magic[8];
    uint32_t byte_order;
    uint32_t format;
    uint64_t file_bytes;
    uint64_t rows;
    int64_t version;
    uint64_t seed;
    uint64_t buckets;
    uint64_t schema_bytes;
    uint64_t directory_place; /* bytes from the start of the file; so are the next two */
    uint64_t order_place;
    uint64_t heap_place;
    uint64_t heap_bytes;
    uint32_t longest_probe; /* rows of the fullest bucket */
    uint32_t place_width;   /* bytes of an entry of directory and order: 4 or 8 */
    uint64_t reserved[2];
    uint64_t
        checksum; /* XXH3 of the header before this field, then of the schema with it as seed */
} fs_image_header_t;

_Static_assert(sizeof(fs_image_header_t) == 128, "the header is part of the file format");

struct fs_image_t {
    const uint8_t *heap;
    const uint8_t *directory;
    uint64_t seed;
    uint64_t buckets;
    uint64_t heap_bytes;
    unsigned column_count;
    unsigned key_count;
    unsigned wide; /* places are 8 bytes wide, not 4 */
    unsigned longest_probe;
    const uint16_t *stored_at; /* column of the schema -> column of the row */
    const uint8_t *order;
    uint64_t rows;
    const uint8_t *base;
    uint64_t bytes;
    int64_t version;
    fs_image_schema_t schema;
    uint16_t *names; /* hash table of column numbers + 1 by name; 0 is free */
    unsigned name_mask;
};

/* Where a row's parts are, checked against the room it has. */
typedef struct fs_row_shape_t {
    uint32_t code;  /* log2 of the width of the end offsets */
    uint32_t table; /* bytes before the values */
    uint32_t total; /* bytes of the values */
} fs_row_shape_t;

static inline uint32_t fs_load32(const void *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t fs_load64(const void *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t fs_round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* Entry `index` of directory or order: a place in the heap, in units. */
static inline uint64_t fs_place_load(const uint8_t *places, unsigned wide, uint64_t index)
{
    return wide ? fs_load64(places + index * 8) : fs_load32(places + index * 4);
}

/* Values of a row end at offset...; reads up to three bytes past the table, which the guard allows.
 */
static inline uint32_t fs_row_end(const uint8_t *row, uint32_t code, unsigned stored)
{
    uint32_t keep = UINT32_MAX >> (32 - (8u << code));

    return fs_load32(row + FS_IMAGE_ROW_HEAD + ((size_t)stored << code)) & keep;
}

/* 1 if a whole row with `columns` columns lies in the `room` bytes at `row`. */
static inline int fs_row_parse(const uint8_t *row, uint64_t room, unsigned columns,
                               fs_row_shape_t *shape)
{
    uint32_t code = row[0] & FS_IMAGE_WIDTH_BITS;
    uint32_t table = FS_IMAGE_ROW_HEAD + (columns << code);

    if (code > 2 || table > room)
        return 0;
    shape->code = code;
    shape->table = table;
    shape->total = fs_row_end(row, code, columns - 1);
    return shape->total <= room - table;
}

static inline uint64_t fs_row_bytes(const fs_row_shape_t *shape)
{
    return (uint64_t)shape->table + shape->total;
}

/* A value by its place in the row; data NULL for NULL and for offsets that make no sense. */
static inline fs_slice_t fs_row_stored(const uint8_t *row, const fs_row_shape_t *shape,
                                       unsigned stored)
{
    uint32_t start = stored ? fs_row_end(row, shape->code, stored - 1) : 0;
    uint32_t end = fs_row_end(row, shape->code, stored);
    fs_slice_t value = {NULL, 0};

    if (start < end && end <= shape->total) {
        value.data = (const char *)row + shape->table + start;
        value.length = end - start - 1;
    }
    return value;
}

/* Hash of a key. Each column's hash seeds the next, so that ("ab","c") isn't ("a","bc"). */
static inline uint64_t fs_key_hash(const fs_slice_t *key, unsigned count, uint64_t seed)
{
    uint64_t hash = seed;

    for (unsigned i = 0; i < count; i++)
        hash = XXH3_64bits_withSeed(key[i].data, key[i].length, hash);
    return hash;
}

/* Buckets are ranges of hashes: rows in hash order are in bucket order, for any number of buckets.
 */
static inline uint64_t fs_hash_bucket(uint64_t hash, uint64_t buckets)
{
    return (uint64_t)(((unsigned __int128)hash * buckets) >> 64);
}

/* The row's first two bytes without the width; the bucket is made of the hash's other end. */
static inline uint16_t fs_hash_fingerprint(uint64_t hash)
{
    return (uint16_t)(hash & ~(uint64_t)FS_IMAGE_WIDTH_BITS);
}

/* How many buckets a table of `rows` rows has. */
static inline uint64_t fs_image_buckets(uint64_t rows)
{
    return rows ? rows : 1;
}

/* Seed number `attempt` of a schema; all builders begin with 0. */
static inline uint64_t fs_image_seed(const void *schema, size_t length, unsigned attempt)
{
    return XXH3_64bits_withSeed(schema, length, attempt);
}

/* Sets the header's places and sizes from its rows, buckets, schema_bytes and heap_bytes. */
void fs_image_layout(fs_image_header_t *header);
uint64_t fs_image_checksum(const fs_image_header_t *header, const void *schema);

/* A row's key values in key order; 0 if one of them is missing. */
int fs_row_key(const uint8_t *row, const fs_row_shape_t *shape, unsigned key_count,
               fs_slice_t *key);
/* Bytewise, column by column: <0, 0, >0. */
int fs_key_compare(const fs_slice_t *a, const fs_slice_t *b, unsigned count);
/* Writes a key for a message: "a/b", cut and with strange bytes as dots. */
char *fs_key_text(const fs_slice_t *key, unsigned count, char *out, size_t size);

/* --- schema (fs_image_schema.c) ----------------------------------------------------------------
 */

#define FS_IMAGE_SCHEMA_LIMIT (2 * FS_IMAGE_NAME_SIZE + 8 + FS_IMAGE_MAX_COLUMNS * 68u)

/* NULL if the schema is sound, else what is wrong with it, in words. */
const char *fs_schema_problem(const fs_image_schema_t *schema);
/* Writes the schema's bytes, at most FS_IMAGE_SCHEMA_LIMIT; returns how many. */
size_t fs_schema_write(const fs_image_schema_t *schema, uint8_t *out);
/* Reads what fs_schema_write wrote; `columns` is malloc'ed. 0, or -1 if it isn't a sound schema. */
int fs_schema_read(fs_image_schema_t *schema, const uint8_t *data, size_t length);
/* Fills stored_at[column_count]: key columns first in key order, then the others in schema order.
 */
void fs_schema_stored(const fs_image_schema_t *schema, uint16_t *stored_at);

/* 1 if the bytes are UTF-8 (RFC 3629). */
int fs_utf8_valid(const char *data, size_t length);

#endif
