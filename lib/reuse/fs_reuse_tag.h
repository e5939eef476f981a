/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check values of responses: strong entity tags (RFC 9110 §8.8.3) that are a keyed digest of the
 * bytes of the page, so that all servers of a farm give the same tag to the same bytes, whoever
 * asked, and nobody who hasn't the farm's key learns anything from one.
 *
 * A tag is HMAC-SHA-256 of the page's GHASH, by two keys of the farm, cut to 128 bits. GHASH (here
 * through GMAC, NIST SP 800-38D, with one nonce for all) reads a page five times as fast as SHA-256
 * does. By itself, with one nonce, it would give its key away; behind HMAC nobody sees anything of
 * it but whether two pages have the same tag. For pages that somebody chooses who hasn't the keys,
 * of n bytes at most, that happens to two different ones with a probability of n / 2^132 (2^-113
 * for 300 KB) whatever he computes and however many tags he has seen before, and to any of many
 * with the usual one of 128 bits.
 *
 * A client that has seen the page compressed may hold the tag with what httpd's filters add,
 * "X-gzip" or "X-br", or a weak one, W/"X" (DeflateAlterETag, BrotliAlterETag, and caches on the
 * way). For If-None-Match these are the same page: comparison is weak (§13.1.2), and the bytes
 * before compression are what the tag was made of.
 */
#ifndef FS_REUSE_TAG_H
#define FS_REUSE_TAG_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"

#define FS_REUSE_TAG_SIZE 25 /* quotes, 22 characters of base64url, a NUL */

/* What is derived from the farm's secret, once a process. Any number of threads. */
typedef struct fs_reuse_key_t {
    uint8_t page[32], tag[32];
} fs_reuse_key_t;

/* Errors: FS1700 the secret is shorter than 16 bytes, or libcrypto fails. */
apr_status_t fs_reuse_key_make(fs_reuse_key_t *key, const void *secret, size_t length,
                               fs_result_t *result);

/* A tag being made; one thread at a time. */
typedef struct fs_reuse_sum_t fs_reuse_sum_t;

/* NULL if memory is short or libcrypto fails: then the page goes out without a tag. The key is
 * borrowed until the end. */
fs_reuse_sum_t *fs_reuse_sum_begin(const fs_reuse_key_t *key);
/* `sum` may be NULL. */
void fs_reuse_sum_add(fs_reuse_sum_t *sum, const void *bytes, size_t length);
/* Writes the tag with its quotes and frees `sum`; 0, or -1 if it can't be made. */
int fs_reuse_sum_end(fs_reuse_sum_t *sum, char tag[FS_REUSE_TAG_SIZE]);
void fs_reuse_sum_drop(fs_reuse_sum_t *sum);

typedef enum fs_reuse_match_t {
    FS_REUSE_DIFFERENT = 0, /* also if the field isn't a list of tags at all */
    FS_REUSE_SAME,
    FS_REUSE_ANY /* "*": whatever there is */
} fs_reuse_match_t;

/*
 * Compares an If-None-Match field (several of them joined by commas) with a tag in quotes. For
 * FS_REUSE_SAME `held` and `held_length` are the client's own form of it, which is what a 304 is to
 * carry, so that the client finds its stored page; both may be NULL.
 */
fs_reuse_match_t fs_reuse_match(const char *field, const char *tag, const char **held,
                                size_t *held_length);

/*
 * The tags of an If-None-Match field one by one, without quotes and without what compression added.
 * `at` is the field, then what was returned. Returns NULL if there is no further one, or if this
 * isn't a list of tags.
 */
const char *fs_reuse_next(const char *at, const char **opaque, size_t *length);

/*
 * Writes the field with what compression added to tags taken away ("X-gzip" → "X"), for filters and
 * handlers that know nothing of it. Returns how many were changed: 0, and `out` is "", if there was
 * nothing to take away, or the field isn't a list of tags. `out` has room for strlen(field) + 1.
 */
unsigned fs_reuse_plain(const char *field, char *out);

#endif
