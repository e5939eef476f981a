/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route_cookie.h"

#include <string.h>

#define KIND   1
#define MINUTE (60 * FS_USEC_PER_SEC)

int fs_route_cookie_write(const fs_route_keys_t *keys, const fs_route_cookie_t *cookie,
                          char text[FS_ROUTE_COOKIE_SIZE])
{
    uint8_t data[FS_ROUTE_COOKIE_BYTES], *at = data;
    size_t length;

    *at++ = KIND;
    *at++ = 0;
    memcpy(at, cookie->id.bytes, sizeof(cookie->id.bytes));
    at += sizeof(cookie->id.bytes);
    at = fs_route_put_number(at, cookie->generation, 4);
    at = fs_route_put_number(at, cookie->made, 4);
    at = fs_route_put_name(at, cookie->primary);
    at = fs_route_put_name(at, cookie->alternate);
    if (fs_route_sign(keys, data, (size_t)(at - data), text))
        return -1;
    length = strlen(text);
    text[length] = '.';
    strcpy(text + length + 1, cookie->primary);
    return 0;
}

size_t fs_route_cookie_signed(const char *text, size_t length)
{
    const char *dot = memchr(text, '.', length);

    return dot ? (size_t)(dot - text) : length;
}

int fs_route_cookie_read(const fs_route_keys_t *keys, const char *text, size_t length,
                         fs_route_cookie_t *cookie)
{
    uint8_t data[FS_ROUTE_COOKIE_BYTES];
    size_t bytes = fs_route_check(keys, KIND, text, length, data, sizeof(data));
    fs_route_reader_t reader = {data + 2, data + bytes, bytes < 2};

    if (!bytes)
        return -1;
    fs_route_get_bytes(&reader, cookie->id.bytes, sizeof(cookie->id.bytes));
    cookie->generation = (uint32_t)fs_route_get_number(&reader, 4);
    cookie->made = (uint32_t)fs_route_get_number(&reader, 4);
    fs_route_get_name(&reader, cookie->primary, sizeof(cookie->primary), 0);
    fs_route_get_name(&reader, cookie->alternate, sizeof(cookie->alternate), 1);
    return reader.bad || reader.at != reader.end ? -1 : 0;
}

fs_usec_t fs_route_cookie_made(const fs_route_cookie_t *cookie)
{
    return cookie->made * MINUTE;
}

uint32_t fs_route_cookie_minutes(fs_usec_t time)
{
    return time < 0 ? 0 : (uint32_t)(time / MINUTE);
}
