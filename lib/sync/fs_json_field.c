/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_json_field.h"

#include <string.h>

static const json_t *seek(fs_json_cursor_t *cursor, const char *name)
{
    cursor->field = name;
    return json_object_get(cursor->object, name);
}

static int integer_of(const json_t *json, int64_t least, int64_t most, int64_t *value)
{
    if (!json_is_integer(json))
        return -1;
    *value = json_integer_value(json);
    return *value < least || *value > most ? -1 : 0;
}

int fs_json_integer(fs_json_cursor_t *cursor, const char *name, int64_t least, int64_t most,
                    int64_t *value)
{
    return integer_of(seek(cursor, name), least, most, value);
}

int fs_json_integer_or_null(fs_json_cursor_t *cursor, const char *name, int64_t least, int64_t most,
                            int64_t if_null, int64_t *value)
{
    const json_t *json = seek(cursor, name);

    if (!json_is_null(json))
        return integer_of(json, least, most, value);
    *value = if_null;
    return 0;
}

int fs_json_string(fs_json_cursor_t *cursor, const char *name, const char **text, size_t *length)
{
    const json_t *json = seek(cursor, name);

    if (!json_is_string(json))
        return -1;
    *text = json_string_value(json);
    *length = json_string_length(json);
    return 0;
}

int fs_json_text(fs_json_cursor_t *cursor, const char *name, int may_be_empty, char *out,
                 size_t size)
{
    const char *text;
    size_t length;

    if (fs_json_string(cursor, name, &text, &length) || length >= size || !(length || may_be_empty))
        return -1;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return -1;
    }
    memcpy(out, text, length + 1);
    return 0;
}
