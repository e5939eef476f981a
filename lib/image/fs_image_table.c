/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fs_image_table.h"

#include <errno.h>

apr_status_t fs_table_open(fs_table_t *table, const fs_image_file_t *file,
                           fs_image_header_t *header, fs_result_t *result)
{
    memset(table, 0, sizeof(*table));
    table->header = header;
    header->longest_probe = 0;
    if (fs_stream_open(&table->directory, file, header->directory_place) ||
        fs_stream_open(&table->heap, file, header->heap_place))
        return fs_image_file_failed(file, ENOMEM, result);
    return APR_SUCCESS;
}

/* Writes where all buckets up to `last` begin that have no beginning yet: here. */
static void begin_buckets(fs_table_t *table, uint64_t last)
{
    for (; table->next_bucket <= last; table->next_bucket++)
        fs_stream_place_put(&table->directory, table->unit, table->header->place_width);
}

uint64_t fs_table_put(fs_table_t *table, uint64_t hash, const uint8_t *row, size_t length)
{
    uint64_t bucket = fs_hash_bucket(hash, table->header->buckets), unit = table->unit;
    uint16_t head = (uint16_t)(fs_hash_fingerprint(hash) | (row[0] & FS_IMAGE_WIDTH_BITS));
    size_t padded = (size_t)fs_round_up(length, FS_IMAGE_UNIT);

    table->probe = table->next_bucket <= bucket ? 1 : table->probe + 1;
    if (table->probe > table->header->longest_probe)
        table->header->longest_probe = table->probe;
    begin_buckets(table, bucket);
    fs_stream_put(&table->heap, &head, sizeof(head));
    fs_stream_put(&table->heap, row + sizeof(head), length - sizeof(head));
    fs_stream_zero(&table->heap, padded - length);
    table->unit += padded / FS_IMAGE_UNIT;
    table->rows++;
    return unit;
}

apr_status_t fs_table_close(fs_table_t *table, fs_result_t *result)
{
    apr_status_t status, heap_status;

    if (table->directory.buffer)
        begin_buckets(table, table->header->buckets);
    status = fs_stream_close(&table->directory, result);
    heap_status = fs_stream_close(&table->heap, result);
    return status ? status : heap_status;
}
