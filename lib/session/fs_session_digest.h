/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How two stores find out what they have differently without listing all of it: sessions fall into
 * buckets by their key, and each bucket has the exclusive or of a hash of (key, version) of its
 * sessions. Equal buckets hold the same versions but for one chance in 2^64; differing ones are
 * listed.
 *
 * A digest is kept up to date as sessions come, change and go: adding the same once more takes it
 * out. One thread at a time.
 */
#ifndef FS_SESSION_DIGEST_H
#define FS_SESSION_DIGEST_H

#include "session/fs_session_record.h"

#define FS_SESSION_BUCKETS      4096
#define FS_SESSION_DIGEST_BYTES (FS_SESSION_BUCKETS * 8) /* as sent: each 8 bytes little endian */

typedef struct fs_session_digest_t {
    uint64_t buckets[FS_SESSION_BUCKETS];
} fs_session_digest_t;

unsigned fs_session_bucket(const fs_session_key_t *key);

/* Adds a session, or takes out one that was added. */
void fs_session_digest_flip(fs_session_digest_t *digest, const fs_session_key_t *key,
                            const fs_session_stamp_t *version);

/* Writes the numbers of the buckets that differ, rising; returns how many. */
unsigned fs_session_digest_differences(const fs_session_digest_t *a, const fs_session_digest_t *b,
                                       uint16_t differing[FS_SESSION_BUCKETS]);

void fs_session_digest_write(const fs_session_digest_t *digest,
                             uint8_t bytes[FS_SESSION_DIGEST_BYTES]);
/* Errors: FS1260 another length. */
apr_status_t fs_session_digest_read(fs_session_digest_t *digest, const void *bytes, size_t length,
                                    fs_result_t *result);

#endif
