/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building an image from rows in any order.
 *
 * fs_image_builder_add writes each row, already in its final form, to a temporary file and keeps 16
 * bytes of it in memory. fs_image_builder_finish sorts those 16 bytes by the key's hash and copies
 * the rows in that order; then sorts them again by eight bytes of the key, taken after whatever all
 * keys begin with, and writes the order. Nothing depends on the order in which rows came.
 *
 * The seed is a function of the schema, not of the rows, so that a row keeps its neighbours from
 * one version to the next and the next image can be made by merging (fs_image_merge.c). Only when
 * some bucket is too full, which takes keys made for it, is the next seed tried.
 */
#include "image/fs_image_key.h"
#include "image/fs_image_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED_ATTEMPTS 16

struct fs_image_builder_t {
    char dir[4096];
    fs_image_schema_t schema;
    uint16_t stored_at[FS_IMAGE_MAX_COLUMNS];
    int64_t version;
    uint8_t *schema_data;
    size_t schema_bytes;
    fs_image_file_t temporary;
    fs_stream_t stream;
    fs_sort_entry_t *entries; /* place: byte of the temporary file */
    size_t count, capacity;
    uint64_t row_bytes;
    uint8_t *row; /* the row being encoded */
    size_t row_capacity;
    size_t shared; /* bytes with which all encoded keys begin */
    uint8_t first_key[FS_KEY_ENCODED_SIZE];
};

static apr_status_t copy_schema(fs_image_builder_t *builder, const fs_image_schema_t *schema,
                                fs_result_t *result)
{
    const char *problem = fs_schema_problem(schema);

    if (problem)
        return fs_result_set(result, APR_EINVAL, "FS0101",
                             "cannot build an image of dataset %.64s: %s", schema->dataset,
                             problem);
    builder->schema = *schema;
    builder->schema.columns = malloc(schema->column_count * sizeof(*schema->columns));
    builder->schema_data = malloc(FS_IMAGE_SCHEMA_LIMIT);
    if (!builder->schema.columns || !builder->schema_data)
        return fs_image_file_failed(&builder->temporary, ENOMEM, result);
    memcpy(builder->schema.columns, schema->columns,
           schema->column_count * sizeof(*schema->columns));
    builder->schema_bytes = fs_schema_write(schema, builder->schema_data);
    fs_schema_stored(schema, builder->stored_at);
    return APR_SUCCESS;
}

apr_status_t fs_image_builder_create(fs_image_builder_t **builder, const char *dir,
                                     const fs_image_schema_t *schema, int64_t version,
                                     fs_result_t *result)
{
    fs_image_builder_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    *builder = NULL;
    if (!made)
        return fs_result_set(result, APR_ENOMEM, "FS0102", "cannot write in %s: out of memory",
                             dir);
    made->temporary.fd = -1;
    made->version = version;
    snprintf(made->dir, sizeof(made->dir), "%s", dir);
    snprintf(made->temporary.path, sizeof(made->temporary.path), "%s", made->dir);
    status = copy_schema(made, schema, result);
    if (status == APR_SUCCESS)
        status = fs_image_file_create(&made->temporary, dir, result);
    if (status == APR_SUCCESS && fs_stream_open(&made->stream, &made->temporary))
        status = fs_image_file_failed(&made->temporary, ENOMEM, result);
    if (status == APR_SUCCESS)
        *builder = made;
    else
        fs_image_builder_cancel(made);
    return status;
}

void fs_image_builder_cancel(fs_image_builder_t *builder)
{
    if (!builder)
        return;
    fs_stream_free(&builder->stream);
    fs_image_file_drop(&builder->temporary);
    free(builder->schema.columns);
    free(builder->schema_data);
    free(builder->entries);
    free(builder->row);
    free(builder);
}

/* --- adding -------------------------------------------------------------------------------------
 */

/* Picks the key values in key order. FS0103, FS0104. */
static apr_status_t take_key(const fs_image_builder_t *builder, const fs_slice_t *values,
                             fs_slice_t *key, fs_result_t *result)
{
    const fs_image_schema_t *schema = &builder->schema;
    char text[128];
    uint64_t bytes = 0;

    for (unsigned i = 0; i < schema->column_count; i++)
        if (schema->columns[i].key)
            key[schema->columns[i].key - 1] = values[i];
    for (unsigned i = 0; i < schema->column_count; i++) {
        if (!schema->columns[i].key)
            continue;
        if (!values[i].data) {
            for (unsigned j = 0; j < schema->key_count; j++)
                if (!key[j].data)
                    key[j] = (fs_slice_t){"NULL", 4};
            return fs_result_set(result, APR_EINVAL, "FS0103",
                                 "dataset %s: key column %s is NULL in the row with key %s; "
                                 "declare it NOT NULL or take it out of the key",
                                 schema->dataset, schema->columns[i].name,
                                 fs_key_text(key, schema->key_count, text, sizeof(text)));
        }
        bytes += values[i].length;
    }
    if (bytes > FS_IMAGE_MAX_KEY)
        return fs_result_set(
            result, APR_EINVAL, "FS0104",
            "dataset %s: the key of row %s... has %llu bytes, more than the %u that "
            "are allowed",
            schema->dataset, fs_key_text(key, schema->key_count, text, sizeof(text)),
            (unsigned long long)bytes, FS_IMAGE_MAX_KEY);
    return APR_SUCCESS;
}

/* Checks the values and adds up their bytes, NULs included. FS0104, FS0105. */
static apr_status_t measure(const fs_image_builder_t *builder, const fs_slice_t *values,
                            const fs_slice_t *key, uint64_t *total, fs_result_t *result)
{
    const fs_image_schema_t *schema = &builder->schema;
    uint64_t bytes = 0, nuls = 0;
    char text[128];

    for (unsigned i = 0; i < schema->column_count; i++) {
        if (!values[i].data)
            continue;
        bytes += values[i].length;
        nuls++;
        if (schema->columns[i].type != FS_COLUMN_BINARY && bytes <= FS_IMAGE_MAX_ROW &&
            !fs_utf8_valid(values[i].data, values[i].length))
            return fs_result_set(result, APR_EINVAL, "FS0105",
                                 "dataset %s: column %s of the row with key %s isn't valid UTF-8; "
                                 "convert the column "
                                 "to utf8mb4, or to a binary type if it isn't text",
                                 schema->dataset, schema->columns[i].name,
                                 fs_key_text(key, schema->key_count, text, sizeof(text)));
    }
    if (bytes > FS_IMAGE_MAX_ROW)
        return fs_result_set(
            result, APR_EINVAL, "FS0104",
            "dataset %s: the row with key %s has %llu bytes, more than the %u that "
            "are allowed",
            schema->dataset, fs_key_text(key, schema->key_count, text, sizeof(text)),
            (unsigned long long)bytes, FS_IMAGE_MAX_ROW);
    *total = bytes + nuls;
    return APR_SUCCESS;
}

static int reserve_row(fs_image_builder_t *builder, size_t bytes)
{
    uint8_t *bigger;

    if (bytes <= builder->row_capacity)
        return 0;
    bigger = realloc(builder->row, 2 * bytes);
    if (!bigger)
        return -1;
    builder->row = bigger;
    builder->row_capacity = 2 * bytes;
    return 0;
}

/* Writes the row's bytes to builder->row, returns their number. */
static size_t encode_row(const fs_image_builder_t *builder, const fs_slice_t *values, uint32_t code)
{
    unsigned columns = builder->schema.column_count;
    size_t table = FS_IMAGE_ROW_HEAD + ((size_t)columns << code);
    const fs_slice_t *stored[FS_IMAGE_MAX_COLUMNS];
    uint32_t end = 0;

    for (unsigned i = 0; i < columns; i++)
        stored[builder->stored_at[i]] = &values[i];
    builder->row[0] = (uint8_t)code;
    for (unsigned i = 0; i < columns; i++) {
        if (stored[i]->data) {
            if (stored[i]->length)
                memcpy(builder->row + table + end, stored[i]->data, stored[i]->length);
            end += stored[i]->length;
            builder->row[table + end++] = '\0';
        }
        memcpy(builder->row + FS_IMAGE_ROW_HEAD + ((size_t)i << code), &end, (size_t)1 << code);
    }
    return table + end;
}

static int remember(fs_image_builder_t *builder, uint64_t place)
{
    if (builder->count == builder->capacity) {
        size_t capacity = builder->capacity ? builder->capacity + builder->capacity / 2 : 1024;
        fs_sort_entry_t *bigger = realloc(builder->entries, capacity * sizeof(*bigger));

        if (!bigger)
            return -1;
        builder->entries = bigger;
        builder->capacity = capacity;
    }
    builder->entries[builder->count++].place = place;
    return 0;
}

/* Keeps in `shared` how many bytes all encoded keys have in common at their beginning. */
static void note_shared(fs_image_builder_t *builder, const fs_slice_t *key)
{
    uint8_t encoded[FS_KEY_ENCODED_SIZE];
    size_t length = fs_key_encode(key, builder->schema.key_count, encoded), same = 0;

    if (builder->count == 1) {
        memcpy(builder->first_key, encoded, length);
        builder->shared = length;
        return;
    }
    while (same < builder->shared && same < length && encoded[same] == builder->first_key[same])
        same++;
    builder->shared = same;
}

apr_status_t fs_image_builder_add(fs_image_builder_t *builder, const fs_slice_t *values,
                                  fs_result_t *result)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    uint64_t total = 0;
    uint32_t code;
    size_t length;
    apr_status_t status = take_key(builder, values, key, result);

    if (status == APR_SUCCESS)
        status = measure(builder, values, key, &total, result);
    if (status != APR_SUCCESS)
        return status;
    if (builder->count >= FS_IMAGE_MAX_ROWS)
        return fs_result_set(result, APR_EINVAL, "FS0107",
                             "dataset %s has more than %llu rows; split it into several datasets",
                             builder->schema.dataset, (unsigned long long)FS_IMAGE_MAX_ROWS);
    code = total <= UINT8_MAX ? 0 : total <= UINT16_MAX ? 1 : 2;
    length = FS_IMAGE_ROW_HEAD + ((size_t)builder->schema.column_count << code) + (size_t)total;
    if (reserve_row(builder, length) || remember(builder, fs_stream_place(&builder->stream)))
        return fs_image_file_failed(&builder->temporary, ENOMEM, result);
    fs_stream_put(&builder->stream, builder->row, encode_row(builder, values, code));
    if (builder->stream.error)
        return fs_image_file_failed(&builder->temporary, builder->stream.error, result);
    builder->row_bytes += length;
    note_shared(builder, key);
    return APR_SUCCESS;
}

/* --- finishing ----------------------------------------------------------------------------------
 */

/* The temporary file, read back: rows that this builder wrote. */
typedef struct rows_t {
    const uint8_t *data;
    uint64_t bytes;
} rows_t;

/* A row of the temporary file: its key; returns its length. */
static size_t read_row(const fs_image_builder_t *builder, const rows_t *rows, uint64_t place,
                       fs_slice_t *key)
{
    fs_row_shape_t shape = {0};

    fs_row_parse(rows->data + place, rows->bytes - place, builder->schema.column_count, &shape);
    fs_row_key(rows->data + place, &shape, builder->schema.key_count, key);
    return (size_t)fs_row_bytes(&shape);
}

static void hash_rows(fs_image_builder_t *builder, const rows_t *rows, uint64_t seed)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];

    for (size_t i = 0; i < builder->count; i++) {
        read_row(builder, rows, builder->entries[i].place, key);
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
static apr_status_t sort_run(const fs_image_builder_t *builder, const rows_t *rows,
                             fs_sort_entry_t *run, size_t count, fs_result_t *result)
{
    fs_slice_t moved[FS_IMAGE_MAX_KEYS], other[FS_IMAGE_MAX_KEYS];

    for (size_t i = 1; i < count; i++) {
        fs_sort_entry_t entry = run[i];
        size_t j = i;

        read_row(builder, rows, entry.place, moved);
        for (; j; j--) {
            int order;

            read_row(builder, rows, run[j - 1].place, other);
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

/* Sorts by hash, then key; *crowded when some bucket would be too full. */
static apr_status_t sort_by_hash(fs_image_builder_t *builder, const rows_t *rows, uint64_t buckets,
                                 int *crowded, fs_result_t *result)
{
    fs_sort_entry_t *entries = builder->entries;
    apr_status_t status = APR_SUCCESS;
    uint64_t bucket = UINT64_MAX;
    unsigned probe = 0;

    *crowded = 0;
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

static apr_status_t choose_seed(fs_image_builder_t *builder, const rows_t *rows,
                                fs_image_header_t *header, fs_result_t *result)
{
    uint64_t buckets = fs_image_buckets(header->rows, header->row_bytes);

    for (unsigned attempt = 0; attempt < SEED_ATTEMPTS; attempt++) {
        apr_status_t status;
        int crowded;

        header->seed = fs_image_seed(builder->schema_data, builder->schema_bytes, attempt);
        hash_rows(builder, rows, header->seed);
        status = sort_by_hash(builder, rows, buckets, &crowded, result);
        if (status != APR_SUCCESS || !crowded)
            return status;
    }
    return fs_result_set(
        result, APR_EGENERAL, "FS0108",
        "dataset %s: its keys collide under every seed that was tried; they seem to "
        "be made for that",
        builder->schema.dataset);
}

/* Copies the rows in hash order; entries then hold eight bytes of the key and the place in the
 * heap. */
static apr_status_t write_rows(fs_image_builder_t *builder, const rows_t *rows, fs_table_t *table,
                               fs_result_t *result)
{
    uint8_t encoded[FS_KEY_ENCODED_SIZE];
    fs_slice_t key[FS_IMAGE_MAX_KEYS];

    for (size_t i = 0; i < builder->count; i++) {
        fs_sort_entry_t *entry = &builder->entries[i];
        size_t length = read_row(builder, rows, entry->place, key);

        if (i + 8 < builder->count)
            __builtin_prefetch(rows->data + entry[8].place);
        fs_table_put(table, entry->word, rows->data + entry->place, length, &entry->place);
        length = fs_key_encode(key, builder->schema.key_count, encoded);
        entry->word = fs_key_word(encoded, length, builder->shared);
    }
    return fs_table_end_rows(table, result);
}

/* Sorts by key; reads the heap back where eight bytes don't decide. */
static apr_status_t write_order(fs_image_builder_t *builder, const fs_image_file_t *file,
                                fs_table_t *table, fs_result_t *result)
{
    const fs_image_header_t *header = table->header;
    size_t bytes = (size_t)(header->order_place + FS_IMAGE_GUARD);
    void *base;

    /* as long as numbers are loaded eight bytes at a time, some more must be there */
    if (ftruncate(file->fd, (off_t)bytes) ||
        (base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file->fd, 0)) == MAP_FAILED)
        return fs_image_file_failed(file, errno, result);
    fs_key_sort(builder->entries, builder->count, builder->shared,
                (const uint8_t *)base + header->heap_place, header->heap_bytes,
                builder->schema.column_count, builder->schema.key_count);
    munmap(base, bytes);
    for (size_t i = 0; i < builder->count; i++)
        fs_table_order(table, builder->entries[i].place);
    return fs_table_finish(table, result);
}

static apr_status_t write_table(fs_image_builder_t *builder, const rows_t *rows,
                                const fs_image_file_t *file, fs_image_header_t *header,
                                fs_result_t *result)
{
    fs_table_t table;
    apr_status_t status = fs_table_open(&table, file, header, builder->schema_data, result);

    if (status == APR_SUCCESS)
        status = write_rows(builder, rows, &table, result);
    if (status == APR_SUCCESS)
        status = write_order(builder, file, &table, result);
    fs_table_free(&table);
    return status;
}

static apr_status_t write_image(fs_image_builder_t *builder, const rows_t *rows,
                                fs_image_made_t *made, fs_result_t *result)
{
    fs_image_file_t file = {.fd = -1};
    fs_image_header_t header = {.rows = builder->count,
                                .version = builder->version,
                                .row_bytes = builder->row_bytes,
                                .schema_bytes = builder->schema_bytes};
    apr_status_t status = choose_seed(builder, rows, &header, result);

    if (status == APR_SUCCESS)
        status = fs_image_file_create(&file, builder->dir, result);
    if (status == APR_SUCCESS)
        status = write_table(builder, rows, &file, &header, result);
    if (status == APR_SUCCESS)
        return fs_image_file_finish(&file, &header, builder->schema_data, builder->dir, made,
                                    result);
    fs_image_file_drop(&file);
    return status;
}

apr_status_t fs_image_builder_finish(fs_image_builder_t *builder, fs_image_made_t *made,
                                     fs_result_t *result)
{
    rows_t rows = {NULL, 0};
    apr_status_t status;

    memset(made, 0, sizeof(*made));
    fs_stream_zero(&builder->stream, FS_IMAGE_GUARD); /* rows are read four bytes at a time */
    rows.bytes = fs_stream_place(&builder->stream);
    status = fs_stream_flush(&builder->stream, result);
    if (status == APR_SUCCESS) {
        void *data =
            mmap(NULL, (size_t)rows.bytes, PROT_READ, MAP_SHARED, builder->temporary.fd, 0);

        rows.data = data;
        if (data == MAP_FAILED)
            status = fs_image_file_failed(&builder->temporary, errno, result);
        else
            status = write_image(builder, &rows, made, result);
        if (data != MAP_FAILED)
            munmap(data, (size_t)rows.bytes);
    }
    fs_image_builder_cancel(builder);
    return status;
}
