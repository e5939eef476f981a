/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bank keeps of a session: AES-256-GCM (NIST SP 800-38D) of its record.
 *
 * The key is the session's own (fs_session_id_seal_key), which neither the bank nor a thief of its
 * files can compute. The session's key, version and expiry, which the bank sees and acts on, are
 * associated data: a copy that is given out under another of these is refused.
 *
 *   1 byte format (1) · 12 bytes nonce, random · the encrypted record · 16 bytes tag
 *
 * Functions may be called from any thread. The caller frees nothing: what is made is the pool's.
 */
#ifndef FS_SESSION_SEAL_H
#define FS_SESSION_SEAL_H

#include "session/fs_session_record.h"

#define FS_SESSION_SEAL_OVERHEAD 29 /* bytes */

/* What the bank sees of a session. */
typedef struct fs_session_label_t {
    fs_session_key_t key;
    fs_session_stamp_t version;
    fs_usec_t expires; /* farm time; INT64_MAX: never */
} fs_session_label_t;

/* Errors: FS1250 too large, or libcrypto fails. */
apr_status_t fs_session_seal(const uint8_t seal[FS_SESSION_SEAL_BYTES],
                             const fs_session_label_t *label, const void *bytes, size_t length,
                             apr_pool_t *pool, const uint8_t **sealed, size_t *sealed_length,
                             fs_result_t *result);

/* Errors: FS1251 it was altered, has another label, or is sealed with another key. */
apr_status_t fs_session_unseal(const uint8_t seal[FS_SESSION_SEAL_BYTES],
                               const fs_session_label_t *label, const void *sealed,
                               size_t sealed_length, apr_pool_t *pool, const uint8_t **bytes,
                               size_t *length, fs_result_t *result);

#endif
