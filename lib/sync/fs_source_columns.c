/* SPDX-License-Identifier: Apache-2.0 */
/* What farmsync.dataset says of a dataset's columns, as the image's schema and as a list in SQL. */
#include "sync/fs_source_image.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_json_field.h"

/* The names that procedure add_dataset writes, in the order of fs_column_type_t. */
static const char *const type_names[] = {"text", "integer", "decimal", "float",
                                         "time", "json",    "binary"};
#define TYPE_COUNT (sizeof(type_names) / sizeof(type_names[0]))

static int parse_type(const char *name, fs_column_type_t *type)
{
    for (unsigned i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            *type = (fs_column_type_t)i;
            return 0;
        }
    }
    return -1;
}

static int parse_column(fs_column_t *column, const json_t *json, fs_json_cursor_t *cursor)
{
    char type[16];
    int64_t key;

    cursor->object = json;
    if (fs_json_text(cursor, "name", 0, column->name, sizeof(column->name)) ||
        fs_json_text(cursor, "type", 0, type, sizeof(type)) || parse_type(type, &column->type) ||
        fs_json_integer(cursor, "key", 0, FS_IMAGE_MAX_KEYS, &key))
        return -1;
    column->key = (int)key;
    return 0;
}

static apr_status_t refuse(fs_result_t *result, const char *dataset, size_t column,
                           const char *field)
{
    return fs_result_set(result, APR_EINVAL, "FS0373",
                         "dataset '%s': its description in farmsync.dataset cannot be used (column "
                         "%zu, field '%s'); drop the dataset and add it again",
                         dataset, column + 1, field);
}

static apr_status_t parse_columns(fs_image_schema_t *schema, const char *dataset,
                                  const json_t *list, fs_result_t *result)
{
    size_t count = json_array_size(list); /* 0 if it is no array */
    fs_json_cursor_t cursor = {NULL, "columns"};

    if (count == 0 || count > FS_IMAGE_MAX_COLUMNS)
        return refuse(result, dataset, 0, cursor.field);
    schema->columns = calloc(count, sizeof(*schema->columns));
    if (!schema->columns)
        return fs_result_set(result, APR_ENOMEM, "FS0378",
                             "dataset '%s': no memory for its columns", dataset);
    schema->column_count = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        if (parse_column(&schema->columns[i], json_array_get(list, i), &cursor))
            return refuse(result, dataset, i, cursor.field);
        schema->key_count += schema->columns[i].key != 0;
    }
    return APR_SUCCESS;
}

apr_status_t fs_source_columns(fs_image_schema_t *schema, const char *dataset, const char *json,
                               size_t length, fs_result_t *result)
{
    json_error_t error;
    json_t *list = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    apr_status_t status;

    schema->columns = NULL;
    schema->column_count = schema->key_count = 0;
    status = parse_columns(schema, dataset, list, result);
    json_decref(list);
    if (status) {
        free(schema->columns);
        schema->columns = NULL;
    }
    return status;
}

char *fs_source_column_list(const fs_image_schema_t *schema)
{
    /* Each name may double all its characters; with quotes and a comma. */
    char *list = malloc(schema->column_count * (2 * (size_t)FS_IMAGE_NAME_SIZE + 3) + 1);
    char *end = list;

    if (!list)
        return NULL;
    for (unsigned i = 0; i < schema->column_count; i++) {
        if (i)
            *end++ = ',';
        *end++ = '`';
        for (const char *name = schema->columns[i].name; *name; name++) {
            if (*name == '`')
                *end++ = '`';
            *end++ = *name;
        }
        *end++ = '`';
    }
    *end = '\0';
    return list;
}
