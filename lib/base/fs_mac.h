/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC-SHA-256 (RFC 2104), through libcrypto. Any thread. Whatever fails here does so because
 * libcrypto does, or memory is out. */
#ifndef FS_MAC_H
#define FS_MAC_H

#include <stddef.h>
#include <stdint.h>

#define FS_MAC_BYTES 32

/* One key out of another: the HMAC of `label` with it. 0, or -1. */
int fs_mac_derive(const void *key, size_t length, const char *label, uint8_t derived[FS_MAC_BYTES]);

/* HMAC's two digests with the key already in them: a text pays for its own blocks only. Threads may
 * use one at the same time. */
typedef struct fs_mac_t {
    void *inner, *outer;
} fs_mac_t;

/* 0, or -1; then, too, fs_mac_drop is to be called. */
int fs_mac_begin(fs_mac_t *mac, const uint8_t key[FS_MAC_BYTES]);
/* One that is all zeros is fine. */
void fs_mac_drop(fs_mac_t *mac);
/* 0, or -1. */
int fs_mac_of(const fs_mac_t *mac, const void *data, size_t length, uint8_t out[FS_MAC_BYTES]);

#endif
