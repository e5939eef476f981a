/* SPDX-License-Identifier: Apache-2.0 */
#include "data.h"

#include <string.h>

#include <apr_strings.h>

#include "child.h"
#include "module.h"
#include "reuse.h"

#define UNAVAILABLE_NOTE "farmsync-unavailable"

static int hex_digit(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return -1;
}

/* Decodes a part that has escapes; 0 if one of them is broken. */
static int decode(apr_pool_t *pool, fs_slice_t *part)
{
    char *out = apr_palloc(pool, part->length + 1);
    uint32_t used = 0;

    for (uint32_t i = 0; i < part->length; i++) {
        int high, low;

        if (part->data[i] != '%') {
            out[used++] = part->data[i];
            continue;
        }
        if (part->length - i < 3 || (high = hex_digit(part->data[i + 1])) < 0 ||
            (low = hex_digit(part->data[i + 2])) < 0)
            return 0;
        out[used++] = (char)(high << 4 | low);
        i += 2;
    }
    out[used] = '\0';
    part->data = out;
    part->length = used;
    return 1;
}

int fs_data_split(apr_pool_t *pool, const char *path, fs_slice_t parts[FS_DATA_PARTS])
{
    int count = 0;

    for (;;) {
        size_t length = strcspn(path, "/");

        if (count == FS_DATA_PARTS || length > FS_IMAGE_MAX_ROW)
            return -1;
        parts[count].data = path;
        parts[count].length = (uint32_t)length;
        if (memchr(path, '%', length) && !decode(pool, &parts[count]))
            return -1;
        count++;
        if (!path[length])
            return count;
        path += length + 1;
    }
}

/* --- finding ------------------------------------------------------------------------------------
 */

fs_data_status_t fs_data_group(request_rec *r, int group, fs_data_t *data)
{
    fs_pin_t *pin = fs_view_pin(r, group);

    data->pin = pin;
    if (!pin || !pin->pin.view) {
        apr_table_setn(r->notes, UNAVAILABLE_NOTE, "no data");
        return data->status = FS_DATA_UNAVAILABLE;
    }
    if (pin->stale && fs_settings_on_stale(r) == FS_STALE_REFUSE) {
        pin->refused = 1;
        apr_table_setn(r->notes, UNAVAILABLE_NOTE, "stale");
        return data->status = FS_DATA_STALE;
    }
    return data->status = FS_DATA_FOUND;
}

fs_data_status_t fs_data_dataset(request_rec *r, const char *name, apr_size_t length,
                                 fs_data_t *data)
{
    const fs_child_t *child = fs_child();
    fs_data_status_t missing = child ? FS_DATA_NO_DATASET : FS_DATA_UNAVAILABLE;

    memset(data, 0, sizeof(*data));
    data->column = -1;
    for (int i = 0; child && i < child->settings->groups->nelts; i++) {
        fs_data_status_t status = fs_data_group(r, i, data);

        if (!data->pin || !data->pin->pin.view) {
            missing = status; /* the dataset may be one of this group */
            continue;
        }
        data->image = fs_view_image(data->pin->pin.view, name, length);
        if (data->image) {
            fs_reuse_known_read(r, name, length);
            return data->status = status;
        }
    }
    return data->status = missing;
}

static fs_data_status_t find_row(const fs_slice_t *parts, int count, fs_data_t *data)
{
    int keys = (int)fs_image_schema(data->image)->key_count;
    const fs_slice_t *column = parts + 1 + keys;

    if (count != 1 + keys && count != 2 + keys)
        return FS_DATA_BAD_PATH;
    if (count == 2 + keys) {
        data->column = fs_image_column(data->image, column->data, column->length);
        if (keys == 1 && data->column >= 0)
            data->value = fs_image_value(data->image, parts[1], (unsigned)data->column);
        if (data->value.data)
            return FS_DATA_FOUND;
    }
    if (!fs_image_find(data->image, parts + 1, (unsigned)keys, &data->row))
        return FS_DATA_NO_ROW;
    if (count == 1 + keys)
        return FS_DATA_FOUND;
    if (data->column < 0)
        return FS_DATA_NO_COLUMN;
    data->value = fs_row_value(&data->row, (unsigned)data->column);
    return FS_DATA_FOUND;
}

fs_data_status_t fs_data_find(request_rec *r, const fs_slice_t *parts, int count, fs_data_t *data)
{
    fs_data_status_t status = fs_data_dataset(r, parts[0].data, parts[0].length, data);
    fs_pin_t *pin = (fs_pin_t *)data->pin;

    if (status == FS_DATA_FOUND)
        status = find_row(parts, count, data);
    if (pin) {
        pin->lookups++;
        pin->misses += status != FS_DATA_FOUND;
    }
    return data->status = status;
}

fs_data_status_t fs_data_get(request_rec *r, const char *path, fs_data_t *data)
{
    fs_slice_t parts[FS_DATA_PARTS];
    int count = fs_data_split(r->pool, path, parts);

    memset(data, 0, sizeof(*data));
    data->column = -1;
    if (count < 0)
        return data->status = FS_DATA_BAD_PATH;
    return fs_data_find(r, parts, count, data);
}

/* --- giving -------------------------------------------------------------------------------------
 */

void fs_data_row_json(fs_text_t *text, const fs_image_t *image, const fs_row_t *row)
{
    const fs_image_schema_t *schema = fs_image_schema(image);

    for (unsigned i = 0; i < schema->column_count; i++) {
        fs_text_puts(text, i ? "," : "{");
        fs_text_json_string(text, schema->columns[i].name);
        fs_text_puts(text, ":");
        fs_text_json_value(text, fs_row_value(row, i), schema->columns[i].type);
    }
    fs_text_puts(text, "}");
}

/*
 * Where such texts end up, in headers and in URLs, httpd itself sends whatever it is given, and no
 * client, proxy or backend takes a header of megabytes. So the server's own limit on the header
 * fields that it accepts holds for them, too.
 */
static int is_too_long(request_rec *r, const fs_data_t *data, const char *path, apr_size_t length)
{
    static _Atomic fs_usec_t said;
    apr_size_t limit = (apr_size_t)r->server->limit_req_fieldsize;

    if (length <= limit)
        return 0;
    apr_table_setn(r->notes, UNAVAILABLE_NOTE, "too long");
    if (fs_child_says_again(&said))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "FS0671: %.200s of group %s has %" APR_SIZE_T_FMT
                      " bytes; as it may go into a header or a URL, an expression or RewriteMap "
                      "gives it only up to LimitRequestFieldSize (%" APR_SIZE_T_FMT
                      "): it is empty. Raise that, or read it with farmsync-data or "
                      "mod_farmsync.h. Said once a minute",
                      path, data->pin->group, length, limit);
    return 1;
}

const char *fs_data_string(request_rec *r, const char *path)
{
    fs_data_t data;
    fs_text_t text;

    if (fs_data_get(r, path, &data) != FS_DATA_FOUND)
        return NULL;
    if (data.column >= 0) {
        if (!data.value.data)
            return "";
        return is_too_long(r, &data, path, data.value.length) ? NULL : data.value.data;
    }
    fs_text_init(&text, r->pool);
    fs_data_row_json(&text, data.image, &data.row);
    return is_too_long(r, &data, path, text.length) ? NULL : text.data;
}
