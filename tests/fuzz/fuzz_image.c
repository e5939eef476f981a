/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image from anybody: refused, or everything that can be done with it stays inside it. What
 * guards the header (magic, size, checksum) is put right first, as somebody who wants to do harm
 * would.
 */
#include <stdlib.h>
#include <string.h>

#include "image/fs_image_format.h"

#define LOOK_UPS 500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t kept; /* so that nothing that is read is left out */

/* Reads all of a value, as C string too. */
static uint64_t read_value(fs_slice_t value)
{
    return value.data ? strlen(value.data) + XXH3_64bits(value.data, value.length) : 0;
}

static void read_row(const fs_image_t *image, const fs_row_t *row, fs_slice_t *key)
{
    const fs_image_schema_t *schema = fs_image_schema(image);

    for (unsigned i = 0; i <= schema->column_count; i++)
        kept += read_value(fs_row_value(row, i));
    for (unsigned i = 0; i < schema->column_count; i++)
        if (schema->columns[i].key)
            key[schema->columns[i].key - 1] = fs_row_value(row, i);
}

static void exercise(const fs_image_t *image)
{
    unsigned keys = fs_image_schema(image)->key_count;
    fs_slice_t key[2 * FS_IMAGE_MAX_KEYS] = {{NULL, 0}};
    fs_row_t row, rows[2];

    for (uint64_t i = 0; i < fs_image_rows(image) && i < LOOK_UPS; i++) {
        if (!fs_image_at(image, i, &row))
            continue;
        read_row(image, &row, key);
        memcpy(key + keys, key, keys * sizeof(*key));
        if (fs_image_find(image, key, keys, &row))
            read_row(image, &row, key + keys);
        for (unsigned c = 0; c < fs_image_schema(image)->column_count; c++)
            kept += read_value(fs_image_value(image, key[0], c));
        fs_image_find_batch(image, key, keys, 2, rows);
        fs_image_seek(image, key, keys);
        fs_image_seek(image, key, 1);
    }
    fs_image_problem(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    fs_image_header_t *header = (fs_image_header_t *)copy;
    fs_image_t *image;
    fs_result_t result;

    memcpy(copy, data, size);
    if (size >= sizeof(*header)) {
        memcpy(header->magic, FS_IMAGE_MAGIC, sizeof(header->magic));
        header->byte_order = FS_IMAGE_BYTE_ORDER;
        header->format = FS_IMAGE_FORMAT;
        header->file_bytes = size;
        if (header->schema_bytes <= size - sizeof(*header))
            header->checksum = fs_image_checksum(header, copy + sizeof(*header));
    }
    if (fs_image_attach(&image, copy, size, "input", &result) == APR_SUCCESS) {
        exercise(image);
        fs_image_close(image);
    } else if (image || strncmp(result.problem, "FS011", 5) != 0) {
        abort();
    }
    free(copy);
    return 0;
}
