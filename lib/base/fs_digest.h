/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 digests: names of images, and what manifests promise. FIPS 180-4, through libcrypto. */
#ifndef FS_DIGEST_H
#define FS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define FS_DIGEST_BYTES    32
#define FS_DIGEST_HEX_SIZE 65 /* 64 lower case hex digits and a NUL */

typedef struct fs_digest_t {
    uint8_t bytes[FS_DIGEST_BYTES];
} fs_digest_t;

/* Writes the 64 hex digits and a NUL; returns `out`. */
char *fs_digest_hex(const fs_digest_t *digest, char out[FS_DIGEST_HEX_SIZE]);
/* Reads exactly 64 lower case hex digits and then a NUL. Returns 0, or -1 on anything else. */
int fs_digest_parse(fs_digest_t *digest, const char *hex);
int fs_digest_equal(const fs_digest_t *a, const fs_digest_t *b);
int fs_digest_is_zero(const fs_digest_t *digest);

/* One-shot digest. */
void fs_digest_of(fs_digest_t *digest, const void *data, size_t length);

/* Streaming digest; one thread at a time. fs_digest_end frees `sum`. */
typedef struct fs_digest_sum_t fs_digest_sum_t;
fs_digest_sum_t *fs_digest_begin(void);
void fs_digest_add(fs_digest_sum_t *sum, const void *data, size_t length);
void fs_digest_end(fs_digest_sum_t *sum, fs_digest_t *digest);

#endif
