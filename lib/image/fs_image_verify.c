/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proving a whole image: its digest, and that every row is where look-ups, listings and merges
 * expect it, so that an image from a builder that errs is refused like a damaged one.
 */
#include "image/fs_image_format.h"

/* A row's shape, key and hash; NULL, or what is wrong with the row. */
static const char *check_row(const fs_image_t *image, const uint8_t *row, uint64_t room,
                             fs_row_shape_t *shape, uint64_t *hash)
{
    const fs_image_schema_t *schema = &image->schema;
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    uint16_t head;
    uint32_t start = 0;

    if (!fs_row_parse(row, room, image->column_count, shape))
        return "a row is cut short";
    for (unsigned i = 0; i < image->column_count; i++) {
        uint32_t end = fs_row_end(row, shape->code, i);

        if (end < start || end > shape->total)
            return "a row's values overlap";
        if (end > start && row[shape->table + end - 1])
            return "a value doesn't end with a NUL";
        start = end;
    }
    for (unsigned i = 0; i < image->column_count; i++) {
        fs_slice_t value = fs_row_stored(row, shape, image->stored_at[i]);

        if (value.data && schema->columns[i].type != FS_COLUMN_BINARY &&
            !fs_utf8_valid(value.data, value.length))
            return "a text isn't UTF-8";
    }
    if (!fs_row_key(row, shape, image->key_count, key))
        return "a row has no key";
    *hash = fs_key_hash(key, image->key_count, image->seed);
    memcpy(&head, row, sizeof(head));
    if ((head & ~FS_IMAGE_WIDTH_BITS) != fs_hash_fingerprint(*hash))
        return "a row's fingerprint is wrong";
    return NULL;
}

/* Walks the heap: rows in hash order, each in the bucket that the directory says. */
static const char *check_heap(const fs_image_t *image)
{
    uint64_t at = 0, rows = 0, last = 0, next = 0;

    while (at < image->heap_bytes) {
        fs_row_shape_t shape;
        uint64_t hash, bucket;
        const char *problem =
            check_row(image, image->heap + at, image->heap_bytes - at, &shape, &hash);

        if (problem)
            return problem;
        if (hash < last)
            return "its rows aren't in hash order";
        bucket = fs_hash_bucket(hash, image->buckets);
        for (; next <= bucket; next++)
            if (fs_place_load(image->directory, image->wide, next) != at / FS_IMAGE_UNIT)
                return "its directory doesn't lead to the rows";
        last = hash;
        at += fs_round_up(fs_row_bytes(&shape), FS_IMAGE_UNIT);
        rows++;
    }
    for (; next <= image->buckets; next++)
        if (fs_place_load(image->directory, image->wide, next) != image->heap_bytes / FS_IMAGE_UNIT)
            return "its directory doesn't lead to the rows";
    if (at != image->heap_bytes || rows != image->rows)
        return "it has another number of rows than its header says";
    return NULL;
}

/* Walks the order: keys rise, and each is the row that a look-up of its key finds. */
static const char *check_order(const fs_image_t *image)
{
    fs_slice_t keys[2][FS_IMAGE_MAX_KEYS];

    for (uint64_t i = 0; i < image->rows; i++) {
        fs_slice_t *key = keys[i & 1];
        fs_row_shape_t shape;
        fs_row_t row, found;

        if (!fs_image_at(image, i, &row))
            return "its order leads out of the rows";
        shape = (fs_row_shape_t){(uint32_t)(row.opaque[0] & 0xFF), (uint32_t)(row.opaque[0] >> 8),
                                 (uint32_t)row.opaque[1]};
        if (!fs_row_key((const uint8_t *)row.data, &shape, image->key_count, key) ||
            !fs_image_find(image, key, image->key_count, &found) || found.data != row.data)
            return "its order doesn't lead to the rows";
        if (i && fs_key_compare(keys[(i & 1) ^ 1], key, image->key_count) >= 0)
            return "its rows aren't in key order";
    }
    return NULL;
}

static apr_status_t check_digest(const fs_image_t *image, const char *path,
                                 const fs_digest_t *expected, fs_result_t *result)
{
    char want[FS_DIGEST_HEX_SIZE], have[FS_DIGEST_HEX_SIZE];
    fs_digest_t digest;

    fs_digest_of(&digest, image->base, (size_t)image->bytes);
    if (fs_digest_equal(&digest, expected))
        return APR_SUCCESS;
    return fs_result_set(
        result, APR_EINVAL, "FS0114",
        "cannot use %s: its digest is %.16s..., not %.16s...; it was altered or is "
        "another image",
        path, fs_digest_hex(&digest, have), fs_digest_hex(expected, want));
}

apr_status_t fs_image_verify(const char *path, const fs_digest_t *expected, fs_result_t *result)
{
    fs_image_t *image;
    apr_status_t status = fs_image_open(&image, path, result);
    const char *problem;

    if (status != APR_SUCCESS)
        return status;
    if (expected)
        status = check_digest(image, path, expected, result);
    if (status == APR_SUCCESS) {
        problem = check_heap(image);
        if (!problem)
            problem = check_order(image);
        if (problem)
            status = fs_result_set(result, APR_EINVAL, "FS0113",
                                   "cannot use %s: %s; remove it, it will be retrieved again", path,
                                   problem);
    }
    fs_image_close(image);
    return status;
}
