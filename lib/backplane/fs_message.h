/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the exchange in bytes. Pure. Little endian; texts have their length before and a
 * NUL behind them.
 *
 *   "FSB1" · u8 type · u8 flags · text from · text to · u64 generation · u64 known generation of
 * the other · u64 sequence · i64 hybrid time · u32 hybrid counter · i64 clock · u64 digest · u32
 * count · u8 n · n texts (who can't be reached) · body
 *
 *   PUSH     u16 n · n records                 answer  u16 taken · u16 refused · u8 cause
 *   COMPARE  256 u64                           answer  u8 same · u8 more · u16 n · n of
 *                                                      { u8 bucket · u16 m · m entries }
 *   FETCH    u16 n · n u64 key hashes          answer  u16 n · n records
 *   PING     -                                 answer  -
 *                                              refused u8 cause
 *   entry    u64 key hash · u64 fingerprint · i64 time · u32 counter · u8 priority
 *
 * An answer has the type of its request with FS_MESSAGE_ANSWER, and its sequence.
 */
#ifndef FS_MESSAGE_H
#define FS_MESSAGE_H

#include "backplane/fs_bytes.h"
#include "backplane/fs_exchange.h"

enum {
    FS_MESSAGE_PING = 1,
    FS_MESSAGE_PUSH,
    FS_MESSAGE_COMPARE,
    FS_MESSAGE_FETCH,
    FS_MESSAGE_TYPES,
    FS_MESSAGE_ANSWER = 0x80,
    FS_MESSAGE_REFUSED = 0xff
};

#define FS_MESSAGE_PARTIAL 1 /* the sender is syncing */
#define FS_MESSAGE_HELD    2 /* it was away too long, and so far nobody told it what is true */

#define FS_MESSAGE_ENTRY 29 /* bytes of an entry */

typedef struct fs_message_t {
    unsigned type;
    unsigned flags;
    const char *from;
    const char *to; /* "" whoever is there */
    uint64_t generation;
    uint64_t known; /* the newest generation that the sender knows of the receiver; 0 none */
    uint64_t sequence;
    fs_hlc_t clock;
    fs_usec_t farm;
    uint64_t digest;
    uint32_t count;
    unsigned unreachable_count;
    const char *unreachable[FS_UNREACHABLE_LIMIT];
    fs_bytes_t body;
} fs_message_t;

/* Writes the head; returns where the body goes. `out` has FS_MESSAGE_LIMIT bytes. */
uint8_t *fs_message_write(const fs_message_t *message, uint8_t *out);
/* Reads the head; texts and body point into `bytes`. Returns 0, or -1 if it is no message. */
int fs_message_read(fs_message_t *message, const void *bytes, size_t length);

typedef struct fs_message_entry_t {
    uint64_t hash;
    uint64_t fingerprint;
    fs_hlc_t when;
    unsigned priority;
} fs_message_entry_t;

uint8_t *fs_message_put_entry(uint8_t *out, const fs_message_entry_t *entry);
void fs_message_get_entry(fs_bytes_t *body, fs_message_entry_t *entry);

#endif
