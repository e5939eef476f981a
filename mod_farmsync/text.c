/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <apr_base64.h>

#include "base/fs_json_scan.h"

#define FIRST_ROOM 1024

void fs_text_init(fs_text_t *text, apr_pool_t *pool)
{
    text->pool = pool;
    text->length = 0;
    text->room = FIRST_ROOM;
    text->data = apr_palloc(pool, text->room);
    text->data[0] = '\0';
}

/* Makes room for `more` characters and a NUL. */
static void reserve(fs_text_t *text, apr_size_t more)
{
    char *data;

    if (text->room - text->length > more)
        return;
    while (text->room - text->length <= more)
        text->room *= 2;
    data = apr_palloc(text->pool, text->room);
    memcpy(data, text->data, text->length + 1);
    text->data = data;
}

void fs_text_add(fs_text_t *text, const char *data, apr_size_t length)
{
    reserve(text, length);
    memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void fs_text_puts(fs_text_t *text, const char *string)
{
    fs_text_add(text, string, strlen(string));
}

void fs_text_printf(fs_text_t *text, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return;
    reserve(text, (apr_size_t)length);
    va_start(args, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, args);
    va_end(args);
    text->length += (apr_size_t)length;
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static void json_escape(fs_text_t *text, unsigned char character)
{
    switch (character) {
    case '"':
        fs_text_add(text, "\\\"", 2);
        break;
    case '\\':
        fs_text_add(text, "\\\\", 2);
        break;
    case '\n':
        fs_text_add(text, "\\n", 2);
        break;
    case '\r':
        fs_text_add(text, "\\r", 2);
        break;
    case '\t':
        fs_text_add(text, "\\t", 2);
        break;
    default:
        fs_text_printf(text, "\\u%04x", character);
    }
}

static int is_plain(unsigned char character)
{
    return character >= 0x20 && character != '"' && character != '\\' && character != 0x7f;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* 0 if all 8 characters are plain. */
static uint64_t may_need_escape(const char *eight)
{
    uint64_t word, quote, slash, del;

    memcpy(&word, eight, sizeof(word));
    quote = word ^ EACH('"');
    slash = word ^ EACH('\\');
    del = word ^ EACH(0x7f);
    return (((word - EACH(0x20)) & ~word) | ((quote - EACH(1)) & ~quote) |
            ((slash - EACH(1)) & ~slash) | ((del - EACH(1)) & ~del)) &
           EACH(0x80);
}

void fs_text_json(fs_text_t *text, const char *data, apr_size_t length)
{
    apr_size_t begin = 0;

    fs_text_add(text, "\"", 1);
    for (apr_size_t i = 0; i < length; i++) {
        unsigned char character;

        while (length - i > 8 && !may_need_escape(data + i))
            i += 8;
        character = (unsigned char)data[i];
        if (is_plain(character))
            continue;
        fs_text_add(text, data + begin, i - begin);
        json_escape(text, character);
        begin = i + 1;
    }
    fs_text_add(text, data + begin, length - begin);
    fs_text_add(text, "\"", 1);
}

void fs_text_json_string(fs_text_t *text, const char *string)
{
    fs_text_json(text, string, strlen(string));
}

static void json_base64(fs_text_t *text, fs_slice_t value)
{
    int size = apr_base64_encode_len((int)value.length);

    fs_text_add(text, "\"", 1);
    reserve(text, (apr_size_t)size);
    apr_base64_encode_binary(text->data + text->length, (const unsigned char *)value.data,
                             (int)value.length);
    text->length += (apr_size_t)size - 1; /* the length counts the NUL */
    fs_text_add(text, "\"", 1);
}

void fs_text_json_value(fs_text_t *text, fs_slice_t value, fs_column_type_t type)
{
    int as_it_is = 0;

    if (!value.data) {
        fs_text_puts(text, "null");
        return;
    }
    switch (type) {
    case FS_COLUMN_INTEGER:
    case FS_COLUMN_DECIMAL:
    case FS_COLUMN_FLOAT: /* ZEROFILL makes texts that are no JSON numbers: these are strings */
        as_it_is = fs_json_is_number(value.data, value.length);
        break;
    case FS_COLUMN_JSON:
        as_it_is = fs_json_is_value(value.data, value.length);
        break;
    case FS_COLUMN_BINARY:
        json_base64(text, value);
        return;
    case FS_COLUMN_TEXT:
    case FS_COLUMN_TIME:
        break;
    }
    if (as_it_is)
        fs_text_add(text, value.data, value.length);
    else
        fs_text_json(text, value.data, value.length);
}

/* --- HTML and paths -----------------------------------------------------------------------------
 */

void fs_text_html(fs_text_t *text, const char *string)
{
    for (; *string; string++) {
        switch (*string) {
        case '&':
            fs_text_puts(text, "&amp;");
            break;
        case '<':
            fs_text_puts(text, "&lt;");
            break;
        case '>':
            fs_text_puts(text, "&gt;");
            break;
        case '"':
            fs_text_puts(text, "&quot;");
            break;
        case '\'':
            fs_text_puts(text, "&#39;");
            break;
        default:
            fs_text_add(text, string, 1);
        }
    }
}

void fs_text_part(fs_text_t *text, const char *data, apr_size_t length)
{
    for (apr_size_t i = 0; i < length; i++) {
        unsigned char character = (unsigned char)data[i];

        if ((character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
            (character >= '0' && character <= '9') ||
            (character && strchr("-._~!$'()*,;:@", character)))
            fs_text_add(text, data + i, 1);
        else
            fs_text_printf(text, "%%%02X", character);
    }
}

char *fs_text_part_of(apr_pool_t *pool, const char *value)
{
    fs_text_t text;

    fs_text_init(&text, pool);
    fs_text_part(&text, value, strlen(value));
    return text.data;
}
