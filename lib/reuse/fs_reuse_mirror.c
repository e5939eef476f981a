/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "reuse/fs_reuse_mirror.h"

#include <pthread.h>
#include <string.h>
#include <xxhash.h>

#include "base/fs_base64url.h"

#define PAGE_BYTES 12
#define PAGE_TEXT  FS_BASE64URL_LENGTH(PAGE_BYTES)

static void pack(const fs_reuse_held_t *held, uint8_t bytes[PAGE_BYTES])
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(held->url >> (8 * i));
    for (unsigned i = 0; i < 8; i++)
        bytes[4 + i] = (uint8_t)(held->tag >> (8 * i));
}

static void unpack(fs_reuse_held_t *held, const uint8_t bytes[PAGE_BYTES])
{
    *held = (fs_reuse_held_t){0, 0};
    for (unsigned i = 0; i < 4; i++)
        held->url |= (uint32_t)bytes[i] << (8 * i);
    for (unsigned i = 0; i < 8; i++)
        held->tag |= (uint64_t)bytes[4 + i] << (8 * i);
}

void fs_reuse_mirror_read(fs_reuse_mirror_t *mirror, const char *text)
{
    size_t length = text ? strlen(text) : 0;

    mirror->count = 0;
    if (length % PAGE_TEXT || length >= FS_REUSE_MIRROR_SIZE)
        return;
    for (size_t at = 0; at < length; at += PAGE_TEXT) {
        uint8_t bytes[PAGE_BYTES];

        if (fs_base64url_read(text + at, PAGE_TEXT, bytes, sizeof(bytes)) != PAGE_BYTES) {
            mirror->count = 0;
            return;
        }
        unpack(&mirror->pages[mirror->count++], bytes);
    }
}

void fs_reuse_mirror_write(const fs_reuse_mirror_t *mirror, char text[FS_REUSE_MIRROR_SIZE])
{
    uint8_t bytes[PAGE_BYTES];

    for (unsigned i = 0; i < mirror->count; i++) {
        pack(&mirror->pages[i], bytes);
        fs_base64url_write(bytes, sizeof(bytes), text + PAGE_TEXT * i);
    }
    text[PAGE_TEXT * mirror->count] = 0;
}

static fs_reuse_held_t make_held(const char *url, const char *tag)
{
    return (fs_reuse_held_t){(uint32_t)XXH3_64bits(url, strlen(url)),
                             XXH3_64bits(tag, strlen(tag))};
}

static unsigned find(const fs_reuse_mirror_t *mirror, uint32_t url)
{
    unsigned at = 0;

    while (at < mirror->count && mirror->pages[at].url != url)
        at++;
    return at;
}

int fs_reuse_mirror_holds(const fs_reuse_mirror_t *mirror, const char *url, const char *tag)
{
    fs_reuse_held_t held = make_held(url, tag);
    unsigned at = find(mirror, held.url);

    return at < mirror->count && mirror->pages[at].tag == held.tag;
}

int fs_reuse_mirror_put(fs_reuse_mirror_t *mirror, const char *url, const char *tag)
{
    fs_reuse_held_t held = make_held(url, tag);
    unsigned at = find(mirror, held.url);
    int known = at < mirror->count && mirror->pages[at].tag == held.tag;

    if (known)
        return 0; /* its place is not worth a change of the session */
    if (at == mirror->count && mirror->count < FS_REUSE_MIRROR_PAGES)
        mirror->count++;
    if (at == FS_REUSE_MIRROR_PAGES)
        at--;
    memmove(mirror->pages + 1, mirror->pages, at * sizeof(held));
    mirror->pages[0] = held;
    return 1;
}

/* crc_of[n][b]: what a byte b leaves behind when n bytes follow it. */
static uint32_t crc_of[8][256];

static void fill_crc_of(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;

        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
        crc_of[0][byte] = crc;
    }
    for (unsigned n = 1; n < 8; n++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_of[n - 1][byte];

            crc_of[n][byte] = crc >> 8 ^ crc_of[0][crc & 255];
        }
}

uint32_t fs_reuse_crc32c(uint32_t crc, const void *bytes, size_t length)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *at = bytes;

    pthread_once(&once, fill_crc_of);
    crc = ~crc;
    for (; length >= 8; length -= 8, at += 8)
        crc = crc_of[7][at[0] ^ (crc & 255)] ^ crc_of[6][at[1] ^ (crc >> 8 & 255)] ^
              crc_of[5][at[2] ^ (crc >> 16 & 255)] ^ crc_of[4][at[3] ^ crc >> 24] ^
              crc_of[3][at[4]] ^ crc_of[2][at[5]] ^ crc_of[1][at[6]] ^ crc_of[0][at[7]];
    while (length--)
        crc = crc >> 8 ^ crc_of[0][(crc ^ *at++) & 255];
    return ~crc;
}

static int read_hex(const char *text, uint32_t *number)
{
    *number = 0;
    for (unsigned i = 0; i < 8; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            *number = *number << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            *number = *number << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else
            return 0;
    }
    return 1;
}

int fs_reuse_have(const char *field, int *has_crc, uint32_t *crc)
{
    static const char name[] = ";crc32c=";
    const char *at = field + strspn(field, " \t"), *rest;

    *has_crc = 0;
    if (at[0] != '?' || at[1] != '1')
        return 0;
    at += 2;
    if (!strncmp(at, name, sizeof(name) - 1)) {
        if (!read_hex(at + sizeof(name) - 1, crc))
            return 0;
        *has_crc = 1;
        at += sizeof(name) - 1 + 8;
    }
    rest = at + strspn(at, " \t");
    return !*rest;
}
