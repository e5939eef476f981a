/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entity tags that clients send: If-None-Match by RFC 9110 §13.1.2.
 *
 * A client that has seen the page compressed may hold the tag with what httpd's filters add,
 * "X-gzip" or "X-br", or a weak one, W/"X" (DeflateAlterETag, BrotliAlterETag, and caches on the
 * way). For If-None-Match these are the same page: comparison is weak, and the bytes before
 * compression are what the tag was made of (fs_reuse_sum.h).
 */
#ifndef FS_REUSE_TAG_H
#define FS_REUSE_TAG_H

#include <stddef.h>

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
