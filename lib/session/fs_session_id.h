/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of sessions: what the cookie holds, and what everybody else may know instead of it.
 *
 * - id: 160 random bits and a tag of 32, as 32 characters of base64url (RFC 4648 §5). Only the
 *   visitor and the host that serves a request know it.
 * - key: 128 bits by which stores and the bank find the session. It does not lead back to the id,
 *   so that a dump of either is no list of usable cookies.
 * - seal key: 256 bits that encrypt the session's copies on the bank (fs_session_seal.h).
 *
 * mac = HMAC-SHA-256(secret of the farm, the 160 bits): its first 4 bytes are the tag, its last 16
 * the key. The tag tells ids of this farm from guessed and foreign ones without looking anything
 * up. An id belongs to the secret it was made with: while a farm has two (rotation) both are tried,
 * and a session keeps its key until its secret is retired, which ends it.
 */
#ifndef FS_SESSION_ID_H
#define FS_SESSION_ID_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"

#define FS_SESSION_ID_LENGTH  32 /* characters */
#define FS_SESSION_KEY_BYTES  16
#define FS_SESSION_SEAL_BYTES 32
#define FS_SESSION_SECRETS    2

typedef struct fs_session_key_t {
    uint8_t bytes[FS_SESSION_KEY_BYTES];
} fs_session_key_t;

/* A secret of the farm, of 16 bytes or more; borrowed. */
typedef struct fs_session_secret_t {
    const void *bytes;
    size_t length;
} fs_session_secret_t;

/* What is derived from the secrets, once a process. Never changes: any number of threads may use
 * it. */
typedef struct fs_session_keys_t fs_session_keys_t;

typedef struct fs_session_id_t {
    char text[FS_SESSION_ID_LENGTH + 1];
    fs_session_key_t key;
    unsigned secret; /* which one it was made with */
} fs_session_id_t;

/*
 * `count` 1 or 2; the first makes new ids, both are accepted. The caller frees with
 * fs_session_keys_free. Errors: FS1200.
 */
apr_status_t fs_session_keys_make(fs_session_keys_t **keys, const fs_session_secret_t *secrets,
                                  unsigned count, fs_result_t *result);
void fs_session_keys_free(fs_session_keys_t *keys);

/* A new id. Errors: FS1202 (no random numbers). */
apr_status_t fs_session_id_make(fs_session_id_t *id, const fs_session_keys_t *keys,
                                fs_result_t *result);

/*
 * Reads what a visitor sent, `length` characters. The time it takes does not depend on how much of
 * the tag is right. Errors: FS1201 it isn't an id of this farm (APR_EINVAL), and nothing is to be
 * looked up.
 */
apr_status_t fs_session_id_read(fs_session_id_t *id, const fs_session_keys_t *keys,
                                const char *text, size_t length, fs_result_t *result);

/* The seal key of a session, from its id. Errors: FS1202 (libcrypto). */
apr_status_t fs_session_id_seal_key(const fs_session_id_t *id, const fs_session_keys_t *keys,
                                    uint8_t seal[FS_SESSION_SEAL_BYTES], fs_result_t *result);

/* Less than, equal to or greater than 0, in the order of the bytes. */
int fs_session_key_compare(const fs_session_key_t *a, const fs_session_key_t *b);

#endif
