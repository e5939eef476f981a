/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What routing signs with: keys derived from the farm's (net/fs_key.h). The first signs, both are
 * accepted, so that the farm's key can be changed without anybody losing his home.
 *
 * A signed text is base64url (RFC 4648 §5, no padding) of
 *   [ kind 1 | key 1 | whatever it says | mac 16 ]
 * kind tells what it is, and its version; key tells which of the farm's keys it was signed with;
 * mac is HMAC-SHA-256 of all before it, by the key HMAC(farm's key, "farmsync-route-1"), cut off at
 * 16 bytes. Each text has one spelling only.
 */
#ifndef FS_ROUTE_KEYS_H
#define FS_ROUTE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"
#include "route/fs_route.h"

#define FS_ROUTE_KEYS      2
#define FS_ROUTE_MAC_BYTES 16

/* A secret of the farm; borrowed. */
typedef struct fs_route_secret_t {
    const void *bytes;
    size_t length;
} fs_route_secret_t;

/* Never changes once it is made: any number of threads may use it. */
typedef struct fs_route_keys_t fs_route_keys_t;

/* `count` 1 or 2; the caller frees. Errors: FS1602. */
apr_status_t fs_route_keys_make(fs_route_keys_t **keys, const fs_route_secret_t *secrets,
                                unsigned count, fs_result_t *result);
void fs_route_keys_free(fs_route_keys_t *keys);
/* For fs_known.h: another one with each set of keys. */
uint64_t fs_route_keys_epoch(const fs_route_keys_t *keys);
unsigned fs_route_keys_count(const fs_route_keys_t *keys);

/* 0, or -1: libcrypto has no random numbers. */
int fs_route_id_random(fs_route_id_t *id);
/*
 * The id of a visitor who is known by `text`: the same on every server of the farm. `key` 0 is the
 * one to use; who isn't found by it may be known by key 1 still. 0, or -1: libcrypto failed.
 */
int fs_route_id_of(fs_route_id_t *id, const fs_route_keys_t *keys, unsigned key, const void *text,
                   size_t length);

/*
 * Signs `data`, whose first two bytes are the kind and room for the key's mark, and which has
 * FS_ROUTE_MAC_BYTES of room behind `length`; writes the text and its NUL. 0, or -1: libcrypto
 * failed.
 */
int fs_route_sign(const fs_route_keys_t *keys, uint8_t *data, size_t length, char *text);
/*
 * Reads a text of `length` characters back into `data`, which has room for `room` bytes. Returns
 * how many were signed (those of the mac aren't counted); 0: it isn't of this kind, or was not made
 * by this farm.
 */
size_t fs_route_check(const fs_route_keys_t *keys, uint8_t kind, const char *text, size_t length,
                      uint8_t *data, size_t room);

/* Characters of the text of `bytes`, with its NUL. */
#define FS_ROUTE_TEXT_SIZE(bytes) (((bytes) + FS_ROUTE_MAC_BYTES) * 4 / 3 + 3)

/* --- what the two kinds of text are put together with -------------------------------------------
 */

/* Writing, `at` moves on; reading likewise, -1 where there isn't so much left or it is no name. */
uint8_t *fs_route_put_number(uint8_t *at, uint64_t number, unsigned bytes);
uint8_t *fs_route_put_name(uint8_t *at, const char *name);

typedef struct fs_route_reader_t {
    const uint8_t *at, *end;
    int bad; /* something was missing or wrong */
} fs_route_reader_t;

uint64_t fs_route_get_number(fs_route_reader_t *reader, unsigned bytes);
void fs_route_get_bytes(fs_route_reader_t *reader, uint8_t *bytes, size_t count);
/* A name of a server, or what has its characters; "" only if `optional`. */
void fs_route_get_name(fs_route_reader_t *reader, char *name, size_t size, int optional);

#endif
