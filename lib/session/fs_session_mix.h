/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing of keys that are random already. All hosts compute the same, whatever their byte order.
 */
#ifndef FS_SESSION_MIX_H
#define FS_SESSION_MIX_H

#include <stdint.h>
#include <string.h>

/* The finalizer of splitmix64: every bit of the result depends on every bit of x. */
static inline uint64_t fs_session_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 8 bytes, little endian. */
static inline uint64_t fs_session_mix_load(const uint8_t bytes[8])
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t number;

    memcpy(&number, bytes, sizeof(number));
#else
    uint64_t number = 0;

    for (int i = 7; i >= 0; i--)
        number = number << 8 | bytes[i];
#endif
    return number;
}

#endif
