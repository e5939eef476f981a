/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mirrors on their way to another server:
 *
 *   "fsmirro1" | each: id 12, generation u32, version u64, flags u8 (1: open), count u8,
 *                      count × (url u32, tag u64)                       all little-endian
 */
#include <string.h>

#include "reuse/fs_reuse_mirrors.h"

#define MAGIC      "fsmirro1"
#define MAGIC_SIZE 8
#define HEAD_SIZE  26
#define PAGE_SIZE  12
#define OPEN       1

static uint8_t *write_number(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(number >> (8 * i));
    return at;
}

static uint64_t read_number(const uint8_t *at, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

size_t fs_reuse_carry_write(const fs_reuse_carry_t *carries, unsigned count,
                            uint8_t bytes[FS_REUSE_CARRY_BYTES])
{
    uint8_t *at = bytes;

    memcpy(at, MAGIC, MAGIC_SIZE);
    at += MAGIC_SIZE;
    for (unsigned i = 0; i < count && i < FS_REUSE_CARRY_MOST; i++) {
        const fs_reuse_carry_t *carry = &carries[i];

        memcpy(at, carry->id, FS_REUSE_CLIENT_BYTES);
        at = write_number(at + FS_REUSE_CLIENT_BYTES, carry->generation, 4);
        at = write_number(at, carry->version, 8);
        *at++ = carry->open ? OPEN : 0;
        *at++ = (uint8_t)carry->mirror.count;
        for (unsigned j = 0; j < carry->mirror.count; j++) {
            at = write_number(at, carry->mirror.pages[j].url, 4);
            at = write_number(at, carry->mirror.pages[j].tag, 8);
        }
    }
    return (size_t)(at - bytes);
}

/* Moves `*at` behind one; 0 if it isn't whole. */
static int read_one(const uint8_t **at, const uint8_t *end, fs_reuse_carry_t *carry)
{
    const uint8_t *from = *at;

    memset(carry, 0, sizeof(*carry));
    if (end - from < HEAD_SIZE)
        return 0;
    memcpy(carry->id, from, FS_REUSE_CLIENT_BYTES);
    carry->generation = (uint32_t)read_number(from + 12, 4);
    carry->version = read_number(from + 16, 8);
    if (from[24] & ~OPEN || from[25] > FS_REUSE_MIRROR_PAGES)
        return 0;
    carry->open = from[24] & OPEN;
    carry->mirror.count = from[25];
    from += HEAD_SIZE;
    if ((size_t)(end - from) < (size_t)carry->mirror.count * PAGE_SIZE)
        return 0;
    for (unsigned i = 0; i < carry->mirror.count; i++, from += PAGE_SIZE)
        carry->mirror.pages[i] =
            (fs_reuse_held_t){(uint32_t)read_number(from, 4), read_number(from + 4, 8)};
    *at = from;
    return 1;
}

int fs_reuse_carry_read(const void *bytes, size_t length,
                        fs_reuse_carry_t carries[FS_REUSE_CARRY_MOST])
{
    const uint8_t *at = bytes, *end = at + length;
    int count = 0;

    if (length < MAGIC_SIZE || memcmp(at, MAGIC, MAGIC_SIZE) != 0)
        return -1;
    for (at += MAGIC_SIZE; at < end; count++)
        if (count == FS_REUSE_CARRY_MOST || !read_one(&at, end, &carries[count]))
            return -1;
    return count;
}
