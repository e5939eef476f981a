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
#include "image/fs_image_builder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

apr_status_t fs_image_builder_update(fs_image_builder_t **builder, const char *dir,
                                     const char *old_path, int64_t version, fs_result_t *result)
{
    fs_image_t *old;
    apr_status_t status = fs_image_open(&old, old_path, result);

    *builder = NULL;
    if (status == APR_SUCCESS)
        status = fs_image_builder_create(builder, dir, fs_image_schema(old), version, result);
    if (status == APR_SUCCESS)
        (*builder)->old = old;
    else
        fs_image_close(old);
    return status;
}

void fs_image_builder_expect(fs_image_builder_t *builder, const fs_digest_t *digest)
{
    builder->expected_digest = *digest;
    builder->expected = &builder->expected_digest;
}

void fs_image_builder_cancel(fs_image_builder_t *builder)
{
    if (!builder)
        return;
    fs_image_close(builder->old);
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

apr_status_t fs_builder_append(fs_image_builder_t *builder, const uint8_t *row, size_t length,
                               uint64_t mark, fs_result_t *result)
{
    if (builder->count >= FS_IMAGE_MAX_ROWS)
        return fs_result_set(result, APR_EINVAL, "FS0107",
                             "dataset %s has more than %llu rows; split it into several datasets",
                             builder->schema.dataset, (unsigned long long)FS_IMAGE_MAX_ROWS);
    if (remember(builder, fs_stream_place(&builder->stream) | mark))
        return fs_image_file_failed(&builder->temporary, ENOMEM, result);
    fs_stream_put(&builder->stream, row, length);
    builder->row_bytes += length;
    return builder->stream.error
               ? fs_image_file_failed(&builder->temporary, builder->stream.error, result)
               : APR_SUCCESS;
}

/* Encodes and appends; `total` is the values' bytes with their NULs. */
static apr_status_t add_row(fs_image_builder_t *builder, const fs_slice_t *values, uint64_t total,
                            uint64_t mark, fs_result_t *result)
{
    uint32_t code = total <= UINT8_MAX ? 0 : total <= UINT16_MAX ? 1 : 2;
    size_t length =
        FS_IMAGE_ROW_HEAD + ((size_t)builder->schema.column_count << code) + (size_t)total;

    if (reserve_row(builder, length))
        return fs_image_file_failed(&builder->temporary, ENOMEM, result);
    return fs_builder_append(builder, builder->row, encode_row(builder, values, code), mark,
                             result);
}

apr_status_t fs_image_builder_add(fs_image_builder_t *builder, const fs_slice_t *values,
                                  fs_result_t *result)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    uint64_t total = 0;
    apr_status_t status = take_key(builder, values, key, result);

    if (status == APR_SUCCESS)
        status = measure(builder, values, key, &total, result);
    return status ? status : add_row(builder, values, total, 0, result);
}

apr_status_t fs_image_builder_remove(fs_image_builder_t *builder, const fs_slice_t *key,
                                     fs_result_t *result)
{
    fs_slice_t values[FS_IMAGE_MAX_COLUMNS] = {{NULL, 0}}, checked[FS_IMAGE_MAX_KEYS];
    uint64_t total = 0;
    apr_status_t status;

    for (unsigned i = 0; i < builder->schema.column_count; i++)
        if (builder->schema.columns[i].key)
            values[i] = key[builder->schema.columns[i].key - 1];
    status = take_key(builder, values, checked, result);
    for (unsigned i = 0; i < builder->schema.key_count && status == APR_SUCCESS; i++)
        total += checked[i].length + 1;
    return status ? status : add_row(builder, values, total, FS_ENTRY_REMOVED, result);
}

/* --- finishing ----------------------------------------------------------------------------------
 */

apr_status_t fs_builder_map(fs_image_builder_t *builder, fs_rows_t *rows, fs_result_t *result)
{
    apr_status_t status;
    void *data;

    fs_stream_zero(&builder->stream, FS_IMAGE_GUARD); /* numbers are loaded eight bytes at a time */
    rows->bytes = fs_stream_place(&builder->stream);
    status = fs_stream_flush(&builder->stream, result);
    if (status != APR_SUCCESS)
        return status;
    data = mmap(NULL, (size_t)rows->bytes, PROT_READ, MAP_SHARED, builder->temporary.fd, 0);
    if (data == MAP_FAILED)
        return fs_image_file_failed(&builder->temporary, errno, result);
    rows->data = data;
    return APR_SUCCESS;
}

void fs_builder_unmap(fs_rows_t *rows)
{
    if (rows->data)
        munmap((void *)(uintptr_t)rows->data, (size_t)rows->bytes);
    rows->data = NULL;
}

apr_status_t fs_image_builder_finish(fs_image_builder_t *builder, fs_image_made_t *made,
                                     fs_result_t *result)
{
    fs_rows_t rows = {NULL, 0};
    apr_status_t status = fs_builder_map(builder, &rows, result);
    int full = !builder->old;

    memset(made, 0, sizeof(*made));
    if (status == APR_SUCCESS && builder->old) {
        status = fs_builder_update(builder, &rows, &full, made, result);
        if (status == APR_SUCCESS && full)
            status = fs_builder_absorb(builder, &rows, result);
    }
    if (status == APR_SUCCESS && full)
        status = fs_builder_write(builder, &rows, made, result);
    fs_builder_unmap(&rows);
    fs_image_builder_cancel(builder);
    return status;
}
