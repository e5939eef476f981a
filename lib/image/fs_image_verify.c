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
    return NULL;
}

/* One bucket: its rows in hash order, one after the other; adds up rows and their bytes. */
static const char *check_bucket(const fs_image_t *image, uint64_t number, fs_bucket_t *bucket,
                                uint64_t *rows, uint64_t *row_bytes)
{
    uint64_t at = fs_bucket_head(bucket->rows, bucket->wide), last = 0;

    if (bucket->rows == 0 || bucket->wide > 1)
        return "a bucket is damaged";
    for (unsigned i = 0; i < bucket->rows; i++) {
        fs_row_shape_t shape;
        uint64_t hash;
        const char *problem;

        if (fs_bucket_offset(bucket, i) != at || at >= bucket->room)
            return "a bucket doesn't lead to its rows";
        problem = check_row(image, bucket->data + at, bucket->room - at, &shape, &hash);
        if (problem)
            return problem;
        if (fs_hash_bucket(hash, image->buckets) != number || hash < last ||
            bucket->data[FS_IMAGE_BUCKET_HEAD + i] != fs_hash_fingerprint(hash))
            return "a row is where no look-up finds it";
        last = hash;
        at += fs_row_bytes(&shape);
        *row_bytes += fs_row_bytes(&shape);
    }
    *rows += bucket->rows;
    return fs_round_up(at, FS_IMAGE_UNIT) == bucket->room ? NULL : "a bucket has gaps";
}

/* Walks the buckets, which must follow each other through the whole heap. */
static const char *check_heap(const fs_image_t *image)
{
    uint64_t rows = 0, row_bytes = 0, end = 0;

    for (uint64_t i = 0; i < image->buckets; i++) {
        uint64_t from, to;
        fs_bucket_t bucket;
        const char *problem;

        fs_directory_load(image, i, &from, &to);
        if (from != end || to < from || to > image->heap_units)
            return "its directory doesn't lead to the rows";
        end = to;
        if (from == to)
            continue;
        if (!fs_bucket_parse(image->heap + from * FS_IMAGE_UNIT, (to - from) * FS_IMAGE_UNIT,
                             image->longest_probe, &bucket))
            return "a bucket is damaged";
        problem = check_bucket(image, i, &bucket, &rows, &row_bytes);
        if (problem)
            return problem;
    }
    if (end != image->heap_units || rows != image->rows || row_bytes != image->row_bytes)
        return "it has other rows than its header says";
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
        shape = fs_row_shape(&row);
        /* a batch looks through the buckets, not through an index that is made of the order */
        if (!fs_row_key((const uint8_t *)row.data, &shape, image->key_count, key) ||
            !fs_image_find_batch(image, key, image->key_count, 1, &found) || found.data != row.data)
            return "its order doesn't lead to the rows";
        if (i && fs_key_compare(keys[(i & 1) ^ 1], key, image->key_count) >= 0)
            return "its rows aren't in key order";
    }
    return NULL;
}

const char *fs_image_problem(const fs_image_t *image)
{
    const char *problem = check_heap(image);

    return problem ? problem : check_order(image);
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
        problem = fs_image_problem(image);
        if (problem)
            status = fs_result_set(result, APR_EINVAL, "FS0113",
                                   "cannot use %s: %s; remove it, it will be retrieved again", path,
                                   problem);
    }
    fs_image_close(image);
    return status;
}
