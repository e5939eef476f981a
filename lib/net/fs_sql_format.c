/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fs_sql_format.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text that grows; `text` is NULL once memory was short. */
typedef struct buffer_t {
    char *text;
    size_t used;
    size_t size;
} buffer_t;

static void add(buffer_t *buffer, const char *text, size_t length)
{
    if (!buffer->text)
        return;
    if (buffer->used + length + 1 > buffer->size) {
        size_t size = (buffer->used + length + 1) * 2;
        char *grown = realloc(buffer->text, size);

        if (!grown) {
            free(buffer->text);
            buffer->text = NULL;
            return;
        }
        buffer->text = grown;
        buffer->size = size;
    }
    memcpy(buffer->text + buffer->used, text, length);
    buffer->used += length;
    buffer->text[buffer->used] = '\0';
}

/* Doubles `quote` and, in strings, the backslash. */
static void add_quoted(buffer_t *buffer, const char *text, char quote)
{
    add(buffer, &quote, 1);
    for (; *text; text++) {
        if (*text == quote || (quote == '\'' && *text == '\\'))
            add(buffer, text, 1);
        add(buffer, text, 1);
    }
    add(buffer, &quote, 1);
}

static void add_string(buffer_t *buffer, const char *text)
{
    if (text)
        add_quoted(buffer, text, '\'');
    else
        add(buffer, "NULL", 4);
}

static void add_number(buffer_t *buffer, int64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRId64, number);

    add(buffer, digits, (size_t)length);
}

char *fs_sql_format(size_t *length, const char *format, va_list args)
{
    buffer_t buffer = {malloc(256), 0, 256};
    int known = 1;

    add(&buffer, "", 0);
    for (; *format && known; format++) {
        size_t plain = strcspn(format, "%");
        const char *text;

        add(&buffer, format, plain);
        format += plain;
        if (!*format)
            break;
        switch (*++format) {
        case 's':
            add_string(&buffer, va_arg(args, const char *));
            break;
        case 'd':
            add_number(&buffer, va_arg(args, int64_t));
            break;
        case 'i':
            add_quoted(&buffer, va_arg(args, const char *), '`');
            break;
        case 'r':
            text = va_arg(args, const char *);
            add(&buffer, text, strlen(text));
            break;
        case '%':
            add(&buffer, "%", 1);
            break;
        default: /* the end of the format included */
            known = 0;
            format--;
        }
    }
    if (!known) {
        free(buffer.text);
        return NULL;
    }
    *length = buffer.used;
    return buffer.text;
}
