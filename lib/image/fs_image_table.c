/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fs_image_table.h"

#include <errno.h>
#include <stdlib.h>

apr_status_t fs_table_open(fs_table_t *table, const fs_image_file_t *file,
                           fs_image_header_t *header, const void *schema, fs_result_t *result)
{
    memset(table, 0, sizeof(*table));
    table->header = header;
    header->longest_probe = 0;
    header->heap_bytes = 0;
    header->wide = 0;
    fs_image_layout(header);
    table->buckets = fs_image_buckets(header->rows, header->row_bytes);
    table->starts = malloc((size_t)(table->buckets + 1) * sizeof(*table->starts));
    if (!table->starts || fs_stream_open(&table->stream, file))
        return fs_image_file_failed(file, ENOMEM, result);
    fs_stream_put(&table->stream, header, sizeof(*header)); /* its final form comes at the end */
    fs_stream_put(&table->stream, schema, (size_t)header->schema_bytes);
    fs_stream_zero_to(&table->stream, header->heap_place);
    return APR_SUCCESS;
}

uint64_t fs_table_heap(const fs_table_t *table)
{
    return fs_stream_place(&table->stream) - table->header->heap_place;
}

/* Writes the bucket being filled and sets its rows' places. */
static void end_bucket(fs_table_t *table)
{
    uint8_t head[FS_IMAGE_BUCKET_HEAD + 5 * FS_IMAGE_BUCKET_ROWS];
    uint64_t start = fs_table_heap(table), at = fs_bucket_head(table->count, 0), last = at;
    unsigned wide, width;

    if (!table->count)
        return;
    for (unsigned i = 0; i + 1 < table->count; i++)
        last += table->rows[i].length;
    wide = last > UINT16_MAX;
    width = wide ? 4 : 2;
    at = fs_bucket_head(table->count, wide);
    head[0] = (uint8_t)table->count;
    head[1] = (uint8_t)wide;
    for (unsigned i = 0; i < table->count; i++) {
        head[FS_IMAGE_BUCKET_HEAD + i] = table->rows[i].fingerprint;
        memcpy(head + FS_IMAGE_BUCKET_HEAD + table->count + i * width, &at, width);
        *table->rows[i].place = start + at;
        at += table->rows[i].length;
    }
    fs_stream_put(&table->stream, head, (size_t)fs_bucket_head(table->count, wide));
    for (unsigned i = 0; i < table->count; i++)
        fs_stream_put(&table->stream, table->rows[i].data, table->rows[i].length);
    fs_stream_zero(&table->stream, (size_t)(fs_round_up(at, FS_IMAGE_UNIT) - at));
    if (table->count > table->header->longest_probe)
        table->header->longest_probe = table->count;
    table->count = 0;
}

/* All buckets up to `last` that haven't begun begin here. */
static void begin_buckets(fs_table_t *table, uint64_t last)
{
    for (; table->begun <= last; table->begun++)
        table->starts[table->begun] = fs_table_heap(table) / FS_IMAGE_UNIT;
}

void fs_table_put(fs_table_t *table, uint64_t hash, const uint8_t *row, size_t length,
                  uint64_t *place)
{
    uint64_t bucket = fs_hash_bucket(hash, table->buckets);

    if (bucket >= table->begun) {
        end_bucket(table);
        begin_buckets(table, bucket);
    }
    if (table->count == FS_IMAGE_BUCKET_ROWS)
        table->crowded = 1;
    else
        table->rows[table->count++] =
            (fs_table_row_t){row, length, place, fs_hash_fingerprint(hash)};
}

void fs_table_copy(fs_table_t *table, uint64_t number, const uint8_t *bucket, uint64_t units)
{
    end_bucket(table);
    begin_buckets(table, number);
    if (units && bucket[0] > table->header->longest_probe)
        table->header->longest_probe = bucket[0];
    fs_stream_put(&table->stream, bucket, (size_t)(units * FS_IMAGE_UNIT));
}

apr_status_t fs_table_end_rows(fs_table_t *table, fs_result_t *result)
{
    fs_image_header_t *header = table->header;

    end_bucket(table);
    begin_buckets(table, table->buckets);
    header->heap_bytes = fs_table_heap(table);
    fs_image_layout(header);
    fs_stream_zero_to(&table->stream, header->order_place);
    return fs_stream_flush(&table->stream, result);
}

void fs_table_order(fs_table_t *table, uint64_t place)
{
    fs_stream_put(&table->stream, &place, table->header->place_width);
}

int fs_table_has_order(const fs_table_t *table)
{
    const fs_image_header_t *header = table->header;

    return fs_stream_place(&table->stream) ==
           header->order_place + header->rows * header->place_width;
}

/* Writes one block of the compact directory. */
static void put_block(fs_table_t *table, uint64_t first)
{
    uint16_t ends[FS_IMAGE_BLOCK_BUCKETS];
    uint64_t base = table->starts[first], most = table->buckets - first;
    uint32_t base32 = (uint32_t)base;

    for (unsigned i = 0; i < FS_IMAGE_BLOCK_BUCKETS; i++) {
        uint64_t next = i < most ? i + 1 : most;

        ends[i] = (uint16_t)(table->starts[first + next] - base);
    }
    fs_stream_put(&table->stream, &base32, sizeof(base32));
    fs_stream_put(&table->stream, ends, sizeof(ends));
}

/* Could the compact directory hold all starts? */
static int fits_compact(const fs_table_t *table)
{
    for (uint64_t first = 0; first < table->buckets; first += FS_IMAGE_BLOCK_BUCKETS) {
        uint64_t last = first + FS_IMAGE_BLOCK_BUCKETS;

        if (last > table->buckets)
            last = table->buckets;
        if (table->starts[first] > UINT32_MAX ||
            table->starts[last] - table->starts[first] > UINT16_MAX)
            return 0;
    }
    return 1;
}

apr_status_t fs_table_finish(fs_table_t *table, fs_result_t *result)
{
    fs_image_header_t *header = table->header;

    header->wide = !fits_compact(table);
    fs_image_layout(header);
    fs_stream_zero_to(&table->stream, header->directory_place);
    if (header->wide)
        fs_stream_put(&table->stream, table->starts, (size_t)(table->buckets + 1) * 8);
    else
        for (uint64_t i = 0; i < table->buckets; i += FS_IMAGE_BLOCK_BUCKETS)
            put_block(table, i);
    fs_stream_zero(&table->stream, FS_IMAGE_GUARD);
    return fs_stream_flush(&table->stream, result);
}

void fs_table_free(fs_table_t *table)
{
    fs_stream_free(&table->stream);
    free(table->starts);
    table->starts = NULL;
}
