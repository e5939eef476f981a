/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in messages and snapshots: little endian, whatever the host. For libraries only. */
#ifndef FS_BYTES_H
#define FS_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t *fs_bytes_put(uint8_t *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *out++ = (uint8_t)(number >> 8 * i);
    return out;
}

/* Text with its length in one byte, and a NUL behind. */
static inline uint8_t *fs_bytes_put_text(uint8_t *out, const char *text)
{
    size_t length = strlen(text);

    *out++ = (uint8_t)length;
    memcpy(out, text, length + 1);
    return out + length + 1;
}

/* What is being read. `bad` stays once something didn't fit: then everything read is 0 or "". */
typedef struct fs_bytes_t {
    const uint8_t *at;
    const uint8_t *end;
    int bad;
} fs_bytes_t;

static inline uint64_t fs_bytes_get(fs_bytes_t *bytes, unsigned count)
{
    uint64_t number = 0;

    if (bytes->bad || (size_t)(bytes->end - bytes->at) < count) {
        bytes->bad = 1;
        return 0;
    }
    for (unsigned i = count; i-- > 0;)
        number = number << 8 | bytes->at[i];
    bytes->at += count;
    return number;
}

/* `count` bytes with a NUL behind. */
static inline const void *fs_bytes_get_block(fs_bytes_t *bytes, size_t count)
{
    const uint8_t *block = bytes->at;

    if (bytes->bad || (size_t)(bytes->end - bytes->at) <= count || block[count]) {
        bytes->bad = 1;
        return "";
    }
    bytes->at += count + 1;
    return block;
}

/* Text of at most `limit` bytes without a NUL in it. */
static inline const char *fs_bytes_get_text(fs_bytes_t *bytes, size_t limit)
{
    size_t length = (size_t)fs_bytes_get(bytes, 1);
    const char *text = fs_bytes_get_block(bytes, length);

    if (!bytes->bad && (length > limit || strlen(text) != length))
        bytes->bad = 1;
    return bytes->bad ? "" : text;
}

#endif
