/* SPDX-License-Identifier: Apache-2.0 */
/* The optional functions of mod_farmsync.h. */
#include "api.h"

#include <string.h>

#include "child.h"
#include "data.h"
#include "mod_farmsync.h"

static int code_of(fs_data_status_t status)
{
    switch (status) {
    case FS_DATA_FOUND:
        return FARMSYNC_FOUND;
    case FS_DATA_BAD_PATH:
        return FARMSYNC_BAD_KEY;
    case FS_DATA_UNAVAILABLE:
    case FS_DATA_STALE:
        return FARMSYNC_UNAVAILABLE;
    case FS_DATA_NO_DATASET:
    case FS_DATA_NO_ROW:
    case FS_DATA_NO_COLUMN:
        break;
    }
    return FARMSYNC_MISSING;
}

static int farmsync_get(request_rec *r, const char *path, const char **value, apr_size_t *length)
{
    fs_data_t data;
    fs_text_t text;

    *value = NULL;
    *length = 0;
    if (fs_data_get(r, path, &data) != FS_DATA_FOUND)
        return code_of(data.status);
    if (data.column >= 0) {
        *value = data.value.data;
        *length = data.value.length;
        return FARMSYNC_FOUND;
    }
    fs_text_init(&text, fs_view_first_request(r)->pool);
    fs_data_row_json(&text, data.image, &data.row);
    *value = text.data;
    *length = text.length;
    return FARMSYNC_FOUND;
}

/* Puts dataset and key into parts; -1 if there are too many. */
static int parts_of(const char *dataset, const char *const *key, const apr_size_t *key_lengths,
                    unsigned key_count, fs_slice_t parts[FS_DATA_PARTS])
{
    if (key_count > FS_IMAGE_MAX_KEYS)
        return -1;
    parts[0].data = dataset;
    parts[0].length = (uint32_t)strlen(dataset);
    for (unsigned i = 0; i < key_count; i++) {
        apr_size_t length = key_lengths ? key_lengths[i] : strlen(key[i]);

        if (length > FS_IMAGE_MAX_KEY)
            return -1;
        parts[1 + i].data = key[i];
        parts[1 + i].length = (uint32_t)length;
    }
    return (int)key_count + 1;
}

/*
 * A path says by its length whether it ends in a column; here the caller says so, and with a wrong
 * number of key parts the column's name must not be looked for among the keys.
 */
static int has_key_of(const fs_data_t *data, unsigned key_count)
{
    return !data->image || fs_image_schema(data->image)->key_count == key_count;
}

static int farmsync_value(request_rec *r, const char *dataset, const char *const *key,
                          const apr_size_t *key_lengths, unsigned key_count, const char *column,
                          const char **value, apr_size_t *length)
{
    fs_slice_t parts[FS_DATA_PARTS];
    int count = parts_of(dataset, key, key_lengths, key_count, parts);
    fs_data_t data;

    *value = NULL;
    *length = 0;
    if (count < 0)
        return FARMSYNC_BAD_KEY;
    parts[count].data = column;
    parts[count].length = (uint32_t)strlen(column);
    fs_data_find(r, parts, count + 1, &data);
    if (!has_key_of(&data, key_count))
        return FARMSYNC_BAD_KEY;
    if (data.status != FS_DATA_FOUND)
        return code_of(data.status);
    *value = data.value.data;
    *length = data.value.length;
    return FARMSYNC_FOUND;
}

static int farmsync_row(request_rec *r, const char *dataset, const char *const *key,
                        const apr_size_t *key_lengths, unsigned key_count, farmsync_column_fn *each,
                        void *baton)
{
    fs_slice_t parts[FS_DATA_PARTS];
    int count = parts_of(dataset, key, key_lengths, key_count, parts);
    const fs_image_schema_t *schema;
    fs_data_t data;

    if (count < 0)
        return FARMSYNC_BAD_KEY;
    fs_data_find(r, parts, count, &data);
    if (!has_key_of(&data, key_count))
        return FARMSYNC_BAD_KEY;
    if (data.status != FS_DATA_FOUND)
        return code_of(data.status);
    schema = fs_image_schema(data.image);
    for (unsigned i = 0; i < schema->column_count; i++) {
        fs_slice_t value = fs_row_value(&data.row, i);

        if (each(baton, schema->columns[i].name, value.data, value.length))
            break;
    }
    return FARMSYNC_FOUND;
}

static apr_int64_t farmsync_version(request_rec *r, const char *group)
{
    const fs_child_t *child = fs_child();
    fs_data_t data = {0};

    for (int i = 0; child && i < child->settings->groups->nelts; i++) {
        if (!strcmp(fs_settings_group(child->settings, i), group))
            return fs_data_group(r, i, &data) == FS_DATA_FOUND ? data.pin->version : 0;
    }
    return 0;
}

void fs_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(farmsync_get);
    APR_REGISTER_OPTIONAL_FN(farmsync_value);
    APR_REGISTER_OPTIONAL_FN(farmsync_row);
    APR_REGISTER_OPTIONAL_FN(farmsync_version);
}
