/* SPDX-License-Identifier: Apache-2.0 */
#include "session_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* --- writing ------------------------------------------------------------------------------------
 */

/* Length of the UTF-8 sequence (RFC 3629) at `at`, 0 if it isn't one. */
static size_t sequence(const unsigned char *at, size_t left)
{
    static const unsigned char least_second[] = {[0xe0 & 0x3f] = 0xa0, [0xf0 & 0x3f] = 0x90};
    size_t length = at[0] < 0x80                    ? 1
                    : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
                    : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                    : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                    : 0;

    if (length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if (length > 2 && (at[0] & 0x3f) < sizeof(least_second) && at[1] < least_second[at[0] & 0x3f])
        return 0;
    if ((at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return length;
}

static int is_utf8(const char *text, size_t length)
{
    for (size_t at = 0, step; at < length; at += step) {
        uint64_t word;

        step = sizeof(word);
        if (length - at >= step) { /* nearly always ASCII */
            memcpy(&word, text + at, step);
            if (!(word & UINT64_C(0x8080808080808080)))
                continue;
        }
        step = sequence((const unsigned char *)text + at, length - at);
        if (!step)
            return 0;
    }
    return 1;
}

static void write_string(fs_text_t *text, const char *data, size_t length)
{
    char *wide;
    size_t filled = 0;

    if (is_utf8(data, length)) {
        fs_text_json(text, data, length);
        return;
    }
    wide = apr_palloc(text->pool, 2 * length);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)data[i];

        if (byte >= 0x80)
            wide[filled++] = (char)(0xc0 | byte >> 6);
        wide[filled++] = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte);
    }
    fs_text_json(text, wide, filled);
}

void fs_session_json_write(fs_text_t *text, const fs_session_entry_t *entries, uint32_t count)
{
    fs_text_puts(text, "{");
    for (uint32_t i = 0; i < count; i++) {
        fs_text_puts(text, i ? "," : "");
        write_string(text, entries[i].key, entries[i].key_length);
        fs_text_puts(text, ":");
        write_string(text, entries[i].value, entries[i].value_length);
    }
    fs_text_puts(text, "}");
}

/* --- reading ------------------------------------------------------------------------------------
 */

static int compare_keys(const void *a, const void *b)
{
    const fs_session_change_t *left = a, *right = b;

    return strcmp(left->key, right->key);
}

static const char *read_member(const char *key, const json_t *value, fs_session_change_t *change,
                               apr_pool_t *pool)
{
    size_t length = strlen(key);

    if (!length || length > FS_SESSION_KEY_LIMIT)
        return apr_psprintf(pool, "a key has 1 to %d bytes", FS_SESSION_KEY_LIMIT);
    change->key = apr_pstrmemdup(pool, key, length);
    change->key_length = (uint32_t)length;
    change->value = NULL;
    change->value_length = 0;
    if (json_is_null(value))
        return NULL;
    if (!json_is_string(value))
        return apr_psprintf(pool, "the value of \"%.80s\" is neither a string nor null", key);
    change->value_length = (uint32_t)json_string_length(value);
    change->value = apr_pstrmemdup(pool, json_string_value(value), change->value_length);
    return NULL;
}

static const char *read_members(json_t *root, fs_session_change_t **changes, uint32_t *count,
                                apr_pool_t *pool)
{
    const char *key, *problem = NULL;
    json_t *value;

    if (json_object_size(root) > FS_SESSION_ENTRY_LIMIT)
        return apr_psprintf(pool, "there are more than %d entries", FS_SESSION_ENTRY_LIMIT);
    *changes = apr_palloc(pool, (json_object_size(root) + 1) * sizeof(**changes));
    json_object_foreach(root, key, value)
    {
        problem = read_member(key, value, &(*changes)[*count], pool);
        if (problem)
            return problem;
        (*count)++;
    }
    qsort(*changes, *count, sizeof(**changes), compare_keys);
    return NULL;
}

const char *fs_session_json_read(const char *json, size_t length, fs_session_change_t **changes,
                                 uint32_t *count, apr_pool_t *pool)
{
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    const char *problem;

    *count = 0;
    if (!root)
        return apr_psprintf(pool, "it is no JSON (line %d: %s)", error.line, error.text);
    problem =
        json_is_object(root) ? read_members(root, changes, count, pool) : "it is no JSON object";
    json_decref(root);
    return problem;
}
