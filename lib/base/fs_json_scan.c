/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_json_scan.h"

#include <string.h>

/* What is left to read. */
typedef struct scan_t {
    const char *at;
    const char *end;
} scan_t;

#define JSON_DEPTH_LIMIT 64

static void skip_space(scan_t *scan)
{
    while (scan->at < scan->end && *scan->at && strchr(" \t\r\n", *scan->at))
        scan->at++;
}

static int take(scan_t *scan, char character)
{
    if (scan->at == scan->end || *scan->at != character)
        return 0;
    scan->at++;
    return 1;
}

static int take_word(scan_t *scan, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return 0;
    scan->at += length;
    return 1;
}

static int take_digits(scan_t *scan)
{
    const char *begin = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > begin;
}

static int take_number(scan_t *scan)
{
    take(scan, '-');
    if (!take(scan, '0') && !take_digits(scan))
        return 0;
    if (take(scan, '.') && !take_digits(scan))
        return 0;
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '-'))
            take(scan, '+');
        return take_digits(scan);
    }
    return 1;
}

static int take_escape(scan_t *scan)
{
    if (scan->at == scan->end)
        return 0;
    if (*scan->at != 'u')
        return *scan->at && strchr("\"\\/bfnrt", *scan->at++) != NULL;
    scan->at++;
    for (int i = 0; i < 4; i++, scan->at++) {
        if (scan->at == scan->end || !*scan->at || !strchr("0123456789abcdefABCDEF", *scan->at))
            return 0;
    }
    return 1;
}

static int take_string(scan_t *scan)
{
    if (!take(scan, '"'))
        return 0;
    while (scan->at < scan->end && (unsigned char)*scan->at >= 0x20) {
        if (take(scan, '"'))
            return 1;
        if (*scan->at++ == '\\' && !take_escape(scan))
            return 0;
    }
    return 0;
}

static int take_value(scan_t *scan, int depth);

/* What is between the brackets of an array or object, and the closing one. */
static int take_members(scan_t *scan, char closing, int depth)
{
    skip_space(scan);
    if (take(scan, closing))
        return 1;
    do {
        if (closing == '}') {
            skip_space(scan);
            if (!take_string(scan))
                return 0;
            skip_space(scan);
            if (!take(scan, ':'))
                return 0;
        }
        if (!take_value(scan, depth + 1))
            return 0;
    } while (take(scan, ','));
    return take(scan, closing);
}

static int take_value(scan_t *scan, int depth)
{
    int good;

    if (depth > JSON_DEPTH_LIMIT)
        return 0;
    skip_space(scan);
    if (take(scan, '{'))
        good = take_members(scan, '}', depth);
    else if (take(scan, '['))
        good = take_members(scan, ']', depth);
    else if (scan->at < scan->end && *scan->at == '"')
        good = take_string(scan);
    else
        good = take_word(scan, "true") || take_word(scan, "false") || take_word(scan, "null") ||
               take_number(scan);
    skip_space(scan);
    return good;
}

int fs_json_is_number(const char *data, size_t length)
{
    scan_t scan = {data, data + length};

    return take_number(&scan) && scan.at == scan.end;
}

int fs_json_is_value(const char *data, size_t length)
{
    scan_t scan = {data, data + length};

    return take_value(&scan, 0) && scan.at == scan.end;
}
