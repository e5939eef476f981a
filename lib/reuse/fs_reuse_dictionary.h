/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differences against a page that the client holds: Compression Dictionary Transport (RFC 9842)
 * with zstd, content coding "dcz". Reading what the client says, and making the coded body. Which
 * dictionary may be used for whom is decided elsewhere.
 *
 * Functions may be called from any thread, a coder by one at a time.
 */
#ifndef FS_REUSE_DICTIONARY_H
#define FS_REUSE_DICTIONARY_H

#include "base/fs_digest.h"
#include "base/fs_result.h"

#define FS_REUSE_DCZ_HEAD       40          /* bytes before the zstd frame */
#define FS_REUSE_DICTIONARY_MAX (100 << 20) /* RFC 9842: windows end at 128 MB */

/*
 * Reads `Available-Dictionary`: a byte sequence of RFC 8941, ":base64:", of a SHA-256. 0, or -1 if
 * it is anything else.
 */
int fs_reuse_available(const char *field, fs_digest_t *digest);

/*
 * Whether an Accept-Encoding field permits dcz by name with a quality above 0; "*" doesn't count,
 * for a client that can't do it may send that.
 */
int fs_reuse_accepts_dcz(const char *field);

/* A coder with its memory, for one body after the other. */
typedef struct fs_reuse_coder_t fs_reuse_coder_t;

/* `level` 1 .. 19. NULL when memory is short. */
fs_reuse_coder_t *fs_reuse_coder_create(int level);
void fs_reuse_coder_destroy(fs_reuse_coder_t *coder);

/*
 * Codes `body` against `dictionary`, whose digest is given. `coded` is malloc'ed. What isn't
 * shorter than `worth` bytes is not returned: APR_EMISMATCH without a message, send something else.
 * Errors: FS1710 the dictionary is too large, memory, zstd.
 */
apr_status_t fs_reuse_dcz(fs_reuse_coder_t *coder, const void *dictionary, size_t dictionary_length,
                          const fs_digest_t *digest, const void *body, size_t length, size_t worth,
                          void **coded, size_t *coded_length, fs_result_t *result);

#endif
