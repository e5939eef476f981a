/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check values of pages: strong entity tags (RFC 9110 §8.8.3) that are made of a page's bytes and
 * of a secret of the farm, so that all its servers give the same tag to the same bytes, whoever
 * asked, and nobody without the secret learns anything from a tag or makes two pages with one.
 *
 * A tag is AES-256 of the page's GHASH, each with a key of its own. GHASH (here through AES-256-GCM
 * with nothing but additional data and one nonce for all, which makes it GHASH and a constant; NIST
 * SP 800-38D) reads a page five times as fast as SHA-256 does. By itself, with one nonce, it would
 * give its key away. Behind a block cipher that nobody can undo, all that is ever seen of it is
 * whether two pages have the same tag, and until they do, every answer is as random as the one
 * before and says nothing about the key (a universal hash, then a pseudo-random permutation).
 *
 * How sure that is: two pages of up to n bytes have one tag with a probability of n / 2^132
 * (2^-114 for 300 KB), whatever they are, and any two of m pages with m^2 / 2 times that: a client
 * that has a farm make 2^40 pages of its choice succeeds once in 2^35 times.
 */
#ifndef FS_REUSE_SUM_H
#define FS_REUSE_SUM_H

#include <stddef.h>

#include "base/fs_result.h"

#define FS_REUSE_TAG_SIZE 25 /* quotes, 22 characters of base64url, a NUL */

/*
 * What is derived from the farm's secret, with contexts of libcrypto that are used again and again:
 * to prepare one costs more than a small page. Any number of threads; also after fork(), if no sum
 * is being made at that moment.
 */
typedef struct fs_reuse_key_t fs_reuse_key_t;

/* The caller frees, after all sums. Errors: FS1700 the secret is shorter than 16 bytes, or
 * libcrypto fails. */
apr_status_t fs_reuse_key_make(fs_reuse_key_t **key, const void *secret, size_t length,
                               fs_result_t *result);
void fs_reuse_key_free(fs_reuse_key_t *key);

/* A tag being made; one thread at a time. */
typedef struct fs_reuse_sum_t fs_reuse_sum_t;

/* NULL if memory is short or libcrypto fails: then the page goes out without a tag. */
fs_reuse_sum_t *fs_reuse_sum_begin(fs_reuse_key_t *key);
/* `sum` may be NULL. */
void fs_reuse_sum_add(fs_reuse_sum_t *sum, const void *bytes, size_t length);
/* Writes the tag with its quotes and drops `sum`; 0, or -1 if it can't be made. */
int fs_reuse_sum_end(fs_reuse_sum_t *sum, char tag[FS_REUSE_TAG_SIZE]);
void fs_reuse_sum_drop(fs_reuse_sum_t *sum);

#endif
