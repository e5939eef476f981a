/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The farm key: one secret that proves a message comes from this farm. HMAC-SHA-256 (RFC 2104).
 *
 * Key file, mode 0600: one key a line, "ID HEX" with ID 1..32 of [A-Za-z0-9_-] and HEX at least 64
 * hex digits; '#' starts a comment. The first key signs, the first two are accepted (rotation).
 *
 * Signed requests carry
 *   FarmSync-Auth: key=ID, origin=NAME, time=FARM_OR_MONO_US, nonce=32HEX, mac=64HEX
 * mac = HMAC(key, "farmsync-request-1" \n METHOD \n PATH_AND_QUERY \n origin \n time \n nonce \n
 *            hex sha256(body))
 * and answers, so that nobody else can speak for a data server,
 *   FarmSync-Auth: key=ID, nonce=<that of the request>, mac=HMAC(key, "farmsync-answer-1" \n STATUS \n
 *            nonce \n hex sha256(body))        (image bodies: digest of the empty body; the image's own
 *                                               digest is in the signed manifest)
 */
#ifndef FS_KEY_H
#define FS_KEY_H

#include <stddef.h>

#include "base/fs_result.h"

#define FS_KEY_ID_SIZE   33
#define FS_KEY_MAX_BYTES 64
#define FS_AUTH_SIZE     320
#define FS_NONCE_SIZE    33

typedef struct fs_key_t {
    char id[FS_KEY_ID_SIZE];
    unsigned char secret[FS_KEY_MAX_BYTES];
    size_t length;
} fs_key_t;

typedef struct fs_keyring_t {
    unsigned count; /* 0: no key configured */
    fs_key_t keys[2];
} fs_keyring_t;

/* Errors: FS0201 cannot read, FS0202 readable by others, FS0203 bad line (numbered). */
apr_status_t fs_keyring_read(fs_keyring_t *ring, const char *path, fs_result_t *result);

/* Writes the header's value for a request; makes a nonce (returned). `ring->count` must be > 0. */
void fs_auth_sign_request(const fs_keyring_t *ring, const char *origin, const char *method,
                          const char *path, const void *body, size_t length,
                          char nonce[FS_NONCE_SIZE], char header[FS_AUTH_SIZE]);
/* Errors: FS0210 no or malformed header, FS0211 unknown key, FS0212 MAC differs. origin: 65 bytes. */
apr_status_t fs_auth_check_request(const fs_keyring_t *ring, const char *header, const char *method,
                                   const char *path, const void *body, size_t length,
                                   char nonce[FS_NONCE_SIZE], char origin[65], fs_result_t *result);
void fs_auth_sign_answer(const fs_keyring_t *ring, int status, const char *nonce, const void *body,
                         size_t length, char header[FS_AUTH_SIZE]);
apr_status_t fs_auth_check_answer(const fs_keyring_t *ring, const char *header, int status,
                                  const char *nonce, const void *body, size_t length,
                                  fs_result_t *result);

#endif
