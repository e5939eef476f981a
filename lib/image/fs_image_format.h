/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of an image, for the files of this folder only. doc/image-format.md explains them.
 *
 *   [ header | schema | heap | order | directory | zero bytes ]
 *
 * heap       the buckets, each a range of hashes with about four rows, in hash order
 * order      where the rows are, in key order, for listing and prefix scans
 * directory  where the buckets begin, in half a byte a row
 *
 * A bucket: u8 rows, u8 width of its offsets, a fingerprint byte a row, an offset a row, the rows.
 * A row: u8 width, one end offset a column (1, 2 or 4 bytes wide), the values. The key columns come
 * first, so that they lie beside the bucket's fingerprints. Each value ends with a NUL; NULL takes
 * no byte at all, not even the NUL, which tells it from an empty string.
 *
 * Why so: what a look-up waits for is memory outside the second-level cache, about 150 ns each
 * time. Offsets of single rows (4 bytes a row) don't fit in that cache at a million rows, those of
 * buckets do; and the lines of one bucket, asked for together, arrive in the time of one.
 *
 * Nothing in a file is trusted: opening proves the layout, and whoever follows an offset that
 * opening could not see checks it against the region it must lie in. The zero bytes at the end let
 * numbers be loaded eight bytes at a time, and end any C string.
 */
#ifndef FS_IMAGE_FORMAT_H
#define FS_IMAGE_FORMAT_H

#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "image/fs_image.h"

#define FS_IMAGE_MAGIC        "FSIMAGE\n"
#define FS_IMAGE_BYTE_ORDER   0x01020304u
#define FS_IMAGE_FORMAT       1u
#define FS_IMAGE_UNIT         16u     /* buckets begin at multiples of this many bytes */
#define FS_IMAGE_GUARD        64u     /* zero bytes at the end of the file */
#define FS_IMAGE_TEMPORARY    ".tmp-" /* how names of unfinished files begin */
#define FS_IMAGE_REGION       64u     /* regions begin at multiples of this: a cache line */
#define FS_IMAGE_BUCKET_ROWS  32u     /* at most; a table with a fuller bucket takes another seed */
#define FS_IMAGE_BUCKET_MEAN  4u      /* rows of a bucket when rows are small */
#define FS_IMAGE_BUCKET_BYTES 400u    /* of a bucket when they aren't */
#define FS_IMAGE_BUCKET_HEAD  2u      /* bytes before the fingerprints */
#define FS_IMAGE_MAX_ROWS     (UINT64_C(1) << 31)
#define FS_IMAGE_SMALL        (256u * 1024) /* a heap of which a cache holds most */
#define FS_IMAGE_ROW_HEAD     1u            /* bytes before the end offsets */

/* The compact directory: blocks of a cache line, u32 unit of the first bucket, then for this and
 * the next buckets how many units after that they end. The wide one: u64 units, one a bucket and
 * the end. */
#define FS_IMAGE_BLOCK_BYTES   64u
#define FS_IMAGE_BLOCK_BUCKETS 30u

typedef struct fs_image_header_t {
    char magic[8];
    uint32_t byte_order;
    uint32_t format;
    uint64_t file_bytes;
    uint64_t rows;
    int64_t version;
    uint64_t seed;
    uint64_t row_bytes; /* of all rows, without what buckets add */
    uint64_t schema_bytes;
    uint64_t heap_bytes;
    uint64_t heap_place; /* bytes from the start of the file; so are the next two */
    uint64_t order_place;
    uint64_t directory_place;
    uint32_t longest_probe; /* rows of the fullest bucket */
    uint8_t place_width;    /* bytes of an entry of the order: 4, 5 or 6 */
    uint8_t wide;           /* 1: the directory is the wide one */
    uint8_t reserved[10];
    uint64_t
        checksum; /* XXH3 of the header before this field, then of the schema with it as seed */
} fs_image_header_t;

_Static_assert(sizeof(fs_image_header_t) == 120, "the header is part of the file format");

struct fs_image_t {
    /* what a look-up needs, in one cache line */
    const uint8_t *heap;
    const uint8_t *directory;
    uint64_t seed;
    uint64_t buckets;
    uint64_t heap_units;
    uint32_t column_count;
    uint16_t key_count;
    uint8_t wide;
    uint8_t longest_probe;
    uint8_t small;             /* a second-level cache holds most of it */
    const uint16_t *stored_at; /* column of the schema -> column of the row */
    const uint32_t *index;     /* of the rows of a small image, or NULL */
    uint64_t index_slots;

    const uint8_t *order;
    uint64_t place_mask; /* which bits of eight bytes are an entry of the order */
    unsigned place_width;
    uint64_t rows;
    uint64_t row_bytes;
    const uint8_t *base;
    uint64_t bytes;
    int mapped; /* base is to be unmapped */
    int64_t version;
    fs_image_schema_t schema;
    uint16_t *names; /* hash table of column numbers + 1 by name; 0 is free */
    unsigned name_mask;
};

/*
 * The index of a small image, made by each process that opens it: open addressing, each slot a
 * row's place in the heap and some bits of its hash, 0 if free. It is never full, and ends with
 * free slots.
 */
#define FS_INDEX_MOST_ROWS  4096u
#define FS_INDEX_PLACE_BITS 18u /* FS_IMAGE_SMALL */
#define FS_INDEX_PLACE      ((1u << FS_INDEX_PLACE_BITS) - 1)
#define FS_INDEX_PROBES     64u /* the furthest that a row may be from its slot */

_Static_assert(FS_IMAGE_SMALL == FS_INDEX_PLACE + 1, "a slot holds any place of a small heap");

static inline uint32_t fs_index_tag(uint64_t hash)
{
    return (uint32_t)hash & (UINT32_MAX >> FS_INDEX_PLACE_BITS);
}

/* Makes the index if the image is small and its rows are sound; without one, look-ups go through
 * the buckets. */
void fs_image_index(fs_image_t *image);

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

/* Values of a row end at offset...; reads up to three bytes past the table, which the guard allows.
 */
static inline uint32_t fs_row_end(const uint8_t *row, uint32_t code, unsigned stored)
{
    uint32_t keep = UINT32_MAX >> (32 - (8u << code));

    return fs_load32(row + FS_IMAGE_ROW_HEAD + ((size_t)stored << code)) & keep;
}

/* 1 if a whole row with `columns` columns lies in the `room` bytes at `row`, its width being
 * `code`.
 */
static inline int fs_row_parse_as(const uint8_t *row, uint64_t room, uint32_t code,
                                  unsigned columns, fs_row_shape_t *shape)
{
    uint32_t table = FS_IMAGE_ROW_HEAD + (columns << (code & 3));

    if (code > 2 || table > room)
        return 0;
    shape->code = code;
    shape->table = table;
    shape->total = fs_row_end(row, code, columns - 1);
    return shape->total <= room - table;
}

static inline int fs_row_parse(const uint8_t *row, uint64_t room, unsigned columns,
                               fs_row_shape_t *shape)
{
    return fs_row_parse_as(row, room, row[0], columns, shape);
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

/* What tells rows of a bucket apart; the bucket is made of the hash's other end. */
static inline uint8_t fs_hash_fingerprint(uint64_t hash)
{
    return (uint8_t)hash;
}

/*
 * How many buckets a table has: as many as make small rows lie by FS_IMAGE_BUCKET_MEAN and larger
 * ones by FS_IMAGE_BUCKET_BYTES, but not more than rows; rounded up to four significant bits, so
 * that a few rows more or less leave all buckets as they are.
 */
static inline uint64_t fs_image_buckets(uint64_t rows, uint64_t row_bytes)
{
    uint64_t few = rows / FS_IMAGE_BUCKET_MEAN, many = row_bytes / FS_IMAGE_BUCKET_BYTES;
    uint64_t count = many > rows ? rows : many > few ? many : few;
    unsigned shift = 0;

    while (count >> shift > 15)
        shift++;
    count = (count + ((UINT64_C(1) << shift) - 1)) >> shift << shift;
    return count ? count : 1;
}

static inline uint64_t fs_directory_bytes(uint64_t buckets, unsigned wide)
{
    return wide ? (buckets + 1) * 8
                : (buckets + FS_IMAGE_BLOCK_BUCKETS - 1) / FS_IMAGE_BLOCK_BUCKETS *
                      FS_IMAGE_BLOCK_BYTES;
}

/* Units where a bucket begins and ends; untrusted. */
static inline void fs_directory_load(const fs_image_t *image, uint64_t bucket, uint64_t *from,
                                     uint64_t *to)
{
    if (__builtin_expect(image->wide, 0)) {
        *from = fs_load64(image->directory + bucket * 8);
        *to = fs_load64(image->directory + bucket * 8 + 8);
    } else {
        const uint8_t *block =
            image->directory + bucket / FS_IMAGE_BLOCK_BUCKETS * FS_IMAGE_BLOCK_BYTES;
        unsigned at = (unsigned)(bucket % FS_IMAGE_BLOCK_BUCKETS);
        uint64_t base = fs_load32(block);
        uint32_t ends = fs_load32(block + 2 + 2 * (size_t)at);

        *from = base + (at ? ends & UINT16_MAX : 0);
        *to = base + (ends >> 16);
    }
}

/* A bucket's parts, all inside its `room` bytes. */
typedef struct fs_bucket_t {
    const uint8_t *data;
    uint64_t room;
    unsigned rows;
    unsigned wide; /* offsets are 4 bytes wide, not 2 */
} fs_bucket_t;

static inline uint64_t fs_bucket_head(unsigned rows, unsigned wide)
{
    return FS_IMAGE_BUCKET_HEAD + (uint64_t)rows * (wide ? 5 : 3);
}

/* 1 if there is a sound bucket head at `data`. */
static inline int fs_bucket_parse(const uint8_t *data, uint64_t room, unsigned longest,
                                  fs_bucket_t *bucket)
{
    if (room < FS_IMAGE_UNIT)
        return 0;
    bucket->data = data;
    bucket->room = room;
    bucket->rows = data[0];
    bucket->wide = data[1];
    return bucket->rows <= longest && fs_bucket_head(bucket->rows, bucket->wide) <= room;
}

/* Where row `index` begins, from the bucket's beginning; untrusted. */
static inline uint64_t fs_bucket_offset(const fs_bucket_t *bucket, unsigned index)
{
    const uint8_t *offsets = bucket->data + FS_IMAGE_BUCKET_HEAD + bucket->rows;

    return bucket->wide ? fs_load32(offsets + 4 * (size_t)index)
                        : fs_load32(offsets + 2 * (size_t)index) & UINT16_MAX;
}

/* Row `index`; 1 if it lies whole in the bucket. */
static inline int fs_bucket_row(const fs_bucket_t *bucket, unsigned index, unsigned columns,
                                const uint8_t **row, fs_row_shape_t *shape)
{
    uint64_t offset = fs_bucket_offset(bucket, index);

    *row = bucket->data + offset;
    return offset < bucket->room && fs_row_parse(*row, bucket->room - offset, columns, shape);
}

static inline fs_row_t fs_row_make(const fs_image_t *image, const uint8_t *at,
                                   const fs_row_shape_t *shape)
{
    return (fs_row_t){
        image, (const char *)at, {(uint64_t)shape->table << 8 | shape->code, shape->total}};
}

static inline fs_row_shape_t fs_row_shape(const fs_row_t *row)
{
    return (fs_row_shape_t){(uint32_t)(row->opaque[0] & 0xFF), (uint32_t)(row->opaque[0] >> 8),
                            (uint32_t)row->opaque[1]};
}

/* Seed number `attempt` of a schema; all builders begin with 0. */
static inline uint64_t fs_image_seed(const void *schema, size_t length, unsigned attempt)
{
    return XXH3_64bits_withSeed(schema, length, attempt);
}

/* Sets the header's places and sizes from its rows, row_bytes, schema_bytes, heap_bytes and wide.
 */
void fs_image_layout(fs_image_header_t *header);
uint64_t fs_image_checksum(const fs_image_header_t *header, const void *schema);

/* As fs_image_open, of bytes that stay the caller's, at a multiple of 8: an exact allocation, in
 * which a sanitizer sees every step too far. */
apr_status_t fs_image_attach(fs_image_t **image, const void *data, size_t bytes, const char *name,
                             fs_result_t *result);
/* What is wrong with an open image's rows, NULL if nothing. */
const char *fs_image_problem(const fs_image_t *image);

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
