/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_base64url.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *fs_base64url_write(const uint8_t *data, size_t length, char *text)
{
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0);

        *text++ = alphabet[bits >> 18];
        *text++ = alphabet[bits >> 12 & 63];
        if (left > 1)
            *text++ = alphabet[bits >> 6 & 63];
        if (left > 2)
            *text++ = alphabet[bits & 63];
    }
    return text;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

size_t fs_base64url_read(const char *text, size_t length, uint8_t *data, size_t room)
{
    size_t bytes = length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0), out = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    if (length % 4 == 1 || bytes > room)
        return 0;
    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i]);

        if (value < 0)
            return 0;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            data[out++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    return bits ? 0 : out;
}
