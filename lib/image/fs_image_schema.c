/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema's bytes: u8 length and text of group and of dataset, u16 columns, u8 keys, then for
 * each column u8 type, u8 place in the key, u8 length and text of its name.
 */
#include "image/fs_image_format.h"

#include <stdlib.h>

static const char *name_problem(const char *name)
{
    size_t length = strnlen(name, FS_IMAGE_NAME_SIZE);

    if (length == 0)
        return "a name is empty";
    if (length >= FS_IMAGE_NAME_SIZE)
        return "a name is longer than 64 bytes";
    return fs_utf8_valid(name, length) ? NULL : "a name isn't UTF-8";
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const fs_column_t *const *)a)->name, (*(const fs_column_t *const *)b)->name);
}

static const char *twin_problem(const fs_image_schema_t *schema)
{
    const fs_column_t *sorted[FS_IMAGE_MAX_COLUMNS];

    for (unsigned i = 0; i < schema->column_count; i++)
        sorted[i] = &schema->columns[i];
    qsort(sorted, schema->column_count, sizeof(sorted[0]), compare_names);
    for (unsigned i = 1; i < schema->column_count; i++)
        if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
            return "two columns have the same name";
    return NULL;
}

static const char *key_problem(const fs_image_schema_t *schema)
{
    uint32_t seen = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < schema->column_count; i++) {
        int key = schema->columns[i].key;

        if (!key)
            continue;
        if (key < 0 || key > (int)schema->key_count || seen & 1u << key)
            return "the places of the key columns aren't 1 to the number of key columns";
        seen |= 1u << key;
        count++;
    }
    return count == schema->key_count ? NULL : "the number of key columns is wrong";
}

const char *fs_schema_problem(const fs_image_schema_t *schema)
{
    const char *problem = name_problem(schema->group);

    if (!problem)
        problem = name_problem(schema->dataset);
    if (!problem && (schema->column_count < 1 || schema->column_count > FS_IMAGE_MAX_COLUMNS))
        problem = "there must be 1 to 1000 columns";
    if (!problem && (schema->key_count < 1 || schema->key_count > FS_IMAGE_MAX_KEYS))
        problem = "there must be 1 to 16 key columns";
    for (unsigned i = 0; !problem && i < schema->column_count; i++) {
        problem = name_problem(schema->columns[i].name);
        if (!problem && (unsigned)schema->columns[i].type > FS_COLUMN_BINARY)
            problem = "a column has an unknown type";
    }
    if (!problem)
        problem = key_problem(schema);
    return problem ? problem : twin_problem(schema);
}

static uint8_t *put_name(uint8_t *out, const char *name)
{
    size_t length = strlen(name);

    *out++ = (uint8_t)length;
    memcpy(out, name, length);
    return out + length;
}

size_t fs_schema_write(const fs_image_schema_t *schema, uint8_t *out)
{
    uint8_t *at = put_name(put_name(out, schema->group), schema->dataset);
    uint16_t columns = (uint16_t)schema->column_count;

    memcpy(at, &columns, sizeof(columns));
    at += sizeof(columns);
    *at++ = (uint8_t)schema->key_count;
    for (unsigned i = 0; i < schema->column_count; i++) {
        *at++ = (uint8_t)schema->columns[i].type;
        *at++ = (uint8_t)schema->columns[i].key;
        at = put_name(at, schema->columns[i].name);
    }
    return (size_t)(at - out);
}

/* Takes the next `length` bytes, or NULL when fewer are left. */
static const uint8_t *take(const uint8_t **at, const uint8_t *end, size_t length)
{
    const uint8_t *here = *at;

    if ((size_t)(end - here) < length)
        return NULL;
    *at += length;
    return here;
}

static int take_name(const uint8_t **at, const uint8_t *end, char name[FS_IMAGE_NAME_SIZE])
{
    const uint8_t *length = take(at, end, 1);
    const uint8_t *text = length ? take(at, end, *length) : NULL;

    if (!text || *length >= FS_IMAGE_NAME_SIZE || memchr(text, 0, *length))
        return -1;
    memcpy(name, text, *length);
    name[*length] = '\0';
    return 0;
}

static int take_columns(fs_image_schema_t *schema, const uint8_t **at, const uint8_t *end)
{
    for (unsigned i = 0; i < schema->column_count; i++) {
        const uint8_t *marks = take(at, end, 2);

        if (!marks || take_name(at, end, schema->columns[i].name))
            return -1;
        schema->columns[i].type = (fs_column_type_t)marks[0];
        schema->columns[i].key = marks[1];
    }
    return *at == end && !fs_schema_problem(schema) ? 0 : -1;
}

int fs_schema_read(fs_image_schema_t *schema, const uint8_t *data, size_t length)
{
    const uint8_t *at = data, *end = data + length, *counts;
    uint16_t columns;

    schema->columns = NULL;
    if (take_name(&at, end, schema->group) || take_name(&at, end, schema->dataset) ||
        !(counts = take(&at, end, 3)))
        return -1;
    memcpy(&columns, counts, sizeof(columns));
    schema->column_count = columns;
    schema->key_count = counts[2];
    if (columns < 1 || columns > FS_IMAGE_MAX_COLUMNS ||
        !(schema->columns = calloc(columns, sizeof(*schema->columns))))
        return -1;
    if (take_columns(schema, &at, end)) {
        free(schema->columns);
        schema->columns = NULL;
        return -1;
    }
    return 0;
}

void fs_schema_stored(const fs_image_schema_t *schema, uint16_t *stored_at)
{
    unsigned next = schema->key_count;

    for (unsigned i = 0; i < schema->column_count; i++) {
        int key = schema->columns[i].key;

        stored_at[i] = (uint16_t)(key ? (unsigned)key - 1 : next++);
    }
}

/* Length of the well-formed sequence at `at`, 0 if there is none. Table 3-7 of the Unicode
 * standard. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t length;

    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xC2 || at[0] > 0xF4)
        return 0;
    length = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (left < length)
        return 0;
    if (at[0] == 0xE0)
        low = 0xA0;
    else if (at[0] == 0xED)
        high = 0x9F;
    else if (at[0] == 0xF0)
        low = 0x90;
    else if (at[0] == 0xF4)
        high = 0x8F;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

int fs_utf8_valid(const char *data, size_t length)
{
    const uint8_t *at = (const uint8_t *)data;

    while (length) {
        size_t step;

        if (length >= 8 && !(fs_load64(at) & UINT64_C(0x8080808080808080)))
            step = 8;
        else if (!(step = utf8_sequence(at, length)))
            return 0;
        at += step;
        length -= step;
    }
    return 1;
}
