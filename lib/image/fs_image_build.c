/* SPDX-License-Identifier: Apache-2.0 */
/* The full build: sort the builder's rows by hash, copy them, sort them by key. */
#include "image/fs_image_builder.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED_ATTEMPTS 16

size_t fs_builder_read(const fs_image_builder_t *builder, const fs_rows_t *rows, uint64_t place,
                       fs_slice_t *key)
{
    fs_row_shape_t shape = {0};

    place &= ~FS_ENTRY_REMOVED;
    fs_row_parse(rows->data + place, rows->bytes - place, builder->schema.column_count, &shape);
    fs_row_key(rows->data + place, &shape, builder->schema.key_count, key);
    return (size_t)fs_row_bytes(&shape);
}

static void hash_rows(fs_image_builder_t *builder, const fs_rows_t *rows, uint64_t seed)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];

    for (size_t i = 0; i < builder->count; i++) {
        fs_builder_read(builder, rows, builder->entries[i].place, key);
        builder->entries[i].word = fs_key_hash(key, builder->schema.key_count, seed);
    }
}

static apr_status_t twin(const fs_image_builder_t *builder, const fs_slice_t *key,
                         fs_result_t *result)
{
    char text[256];

    return fs_result_set(result, APR_EINVAL, "FS0106",
                         "dataset %s: two rows have the key %s; choose key columns that identify a "
                         "row",
                         builder->schema.dataset,
                         fs_key_text(key, builder->schema.key_count, text, sizeof(text)));
}

/*
 * Sorts entries of one hash by their keys, up to `count` of them. Two with the same key: FS0106.
 * There is one for each hash unless keys were made to collide.
 */
static apr_status_t sort_run(const fs_image_builder_t *builder, const fs_rows_t *rows,
                             fs_sort_entry_t *run, size_t count, fs_result_t *result)
{
    fs_slice_t moved[FS_IMAGE_MAX_KEYS], other[FS_IMAGE_MAX_KEYS];

    for (size_t i = 1; i < count; i++) {
        fs_sort_entry_t entry = run[i];
        size_t j = i;

        fs_builder_read(builder, rows, entry.place, moved);
        for (; j; j--) {
            int order;

            fs_builder_read(builder, rows, run[j - 1].place, other);
            order = fs_key_compare(other, moved, builder->schema.key_count);
            if (order == 0)
                return twin(builder, moved, result);
            if (order < 0)
                break;
            run[j] = run[j - 1];
        }
        run[j] = entry;
    }
    return APR_SUCCESS;
}

apr_status_t fs_builder_sort(fs_image_builder_t *builder, const fs_rows_t *rows, uint64_t seed,
                             uint64_t buckets, int *crowded, fs_result_t *result)
{
    fs_sort_entry_t *entries = builder->entries;
    apr_status_t status = APR_SUCCESS;
    uint64_t bucket = UINT64_MAX;
    unsigned probe = 0;

    *crowded = 0;
    hash_rows(builder, rows, seed);
    fs_sort_words(entries, builder->count);
    for (size_t i = 0, end; i < builder->count && status == APR_SUCCESS; i = end) {
        uint64_t here = fs_hash_bucket(entries[i].word, buckets);

        for (end = i + 1; end < builder->count && entries[end].word == entries[i].word; end++)
            ;
        probe = (unsigned)(end - i < FS_IMAGE_BUCKET_ROWS ? end - i : FS_IMAGE_BUCKET_ROWS + 1) +
                (here == bucket ? probe : 0);
        bucket = here;
        *crowded |= probe > FS_IMAGE_BUCKET_ROWS;
        if (end - i > 1)
            status = sort_run(
                builder, rows, entries + i,
                end - i < 2 * FS_IMAGE_BUCKET_ROWS ? end - i : 2 * FS_IMAGE_BUCKET_ROWS, result);
    }
    return status;
}

static apr_status_t choose_seed(fs_image_builder_t *builder, const fs_rows_t *rows,
                                fs_image_header_t *header, fs_result_t *result)
{
    uint64_t buckets = fs_image_buckets(header->rows, header->row_bytes);

    for (unsigned attempt = 0; attempt < SEED_ATTEMPTS; attempt++) {
        apr_status_t status;
        int crowded;

        header->seed = fs_image_seed(builder->schema_data, builder->schema_bytes, attempt);
        status = fs_builder_sort(builder, rows, header->seed, buckets, &crowded, result);
        if (status != APR_SUCCESS || !crowded)
            return status;
    }
    return fs_result_set(
        result, APR_EGENERAL, "FS0108",
        "dataset %s: its keys collide under every seed that was tried; they seem to "
        "be made for that",
        builder->schema.dataset);
}

/* How many bytes all encoded keys have in common at their beginning. */
static size_t shared_prefix(const fs_image_builder_t *builder, const fs_rows_t *rows)
{
    uint8_t first[FS_KEY_ENCODED_SIZE], other[FS_KEY_ENCODED_SIZE];
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    size_t shared = 0;

    for (size_t i = 0; i < builder->count && (i == 0 || shared); i++) {
        uint8_t *encoded = i ? other : first;
        size_t length, same = 0;

        fs_builder_read(builder, rows, builder->entries[i].place, key);
        length = fs_key_encode(key, builder->schema.key_count, encoded);
        if (i == 0)
            shared = length;
        while (same < shared && same < length && encoded[same] == first[same])
            same++;
        shared = same;
    }
    return shared;
}

/* Copies the rows in hash order; entries then hold eight bytes of the key and the place in the
 * heap. */
static apr_status_t write_rows(fs_image_builder_t *builder, const fs_rows_t *rows,
                               fs_table_t *table, size_t shared, fs_result_t *result)
{
    uint8_t encoded[FS_KEY_ENCODED_SIZE];
    fs_slice_t key[FS_IMAGE_MAX_KEYS];

    for (size_t i = 0; i < builder->count; i++) {
        fs_sort_entry_t *entry = &builder->entries[i];
        size_t length = fs_builder_read(builder, rows, entry->place, key);

        if (i + 8 < builder->count)
            __builtin_prefetch(rows->data + entry[8].place);
        fs_table_put(table, entry->word, rows->data + entry->place, length, &entry->place);
        length = fs_key_encode(key, builder->schema.key_count, encoded);
        entry->word = fs_key_word(encoded, length, shared);
    }
    return fs_table_end_rows(table, result);
}

/* Sorts by key; reads the heap back where eight bytes don't decide. */
static apr_status_t write_order(fs_image_builder_t *builder, const fs_image_file_t *file,
                                fs_table_t *table, size_t shared, fs_result_t *result)
{
    const fs_image_header_t *header = table->header;
    size_t bytes = (size_t)(header->order_place + FS_IMAGE_GUARD);
    void *base;

    /* as long as numbers are loaded eight bytes at a time, some more must be there */
    if (ftruncate(file->fd, (off_t)bytes) ||
        (base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file->fd, 0)) == MAP_FAILED)
        return fs_image_file_failed(file, errno, result);
    fs_key_sort(builder->entries, builder->count, shared,
                (const uint8_t *)base + header->heap_place, header->heap_bytes,
                builder->schema.column_count, builder->schema.key_count);
    munmap(base, bytes);
    for (size_t i = 0; i < builder->count; i++)
        fs_table_order(table, builder->entries[i].place);
    return fs_table_finish(table, result);
}

static apr_status_t write_table(fs_image_builder_t *builder, const fs_rows_t *rows,
                                const fs_image_file_t *file, fs_image_header_t *header,
                                size_t shared, fs_result_t *result)
{
    fs_table_t table;
    apr_status_t status = fs_table_open(&table, file, header, builder->schema_data, result);

    if (status == APR_SUCCESS)
        status = write_rows(builder, rows, &table, shared, result);
    if (status == APR_SUCCESS)
        status = write_order(builder, file, &table, shared, result);
    fs_table_free(&table);
    return status;
}

apr_status_t fs_builder_write(fs_image_builder_t *builder, const fs_rows_t *rows,
                              fs_image_made_t *made, fs_result_t *result)
{
    fs_image_file_t file = {.fd = -1};
    fs_image_header_t header = {.rows = builder->count,
                                .version = builder->version,
                                .row_bytes = builder->row_bytes,
                                .schema_bytes = builder->schema_bytes};
    size_t shared = shared_prefix(builder, rows);
    apr_status_t status = choose_seed(builder, rows, &header, result);

    if (status == APR_SUCCESS)
        status = fs_image_file_create(&file, builder->dir, result);
    if (status == APR_SUCCESS)
        status = write_table(builder, rows, &file, &header, shared, result);
    if (status == APR_SUCCESS)
        return fs_image_file_finish(&file, &header, builder->schema_data, builder->dir,
                                    builder->expected, made, result);
    fs_image_file_drop(&file);
    return status;
}
