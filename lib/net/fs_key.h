/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The farm key: one secret that proves a message comes from this farm. HMAC-SHA-256 (RFC 2104).
 *
 * Key file, mode 0600 or 0640: one key a line, "ID HEX" with ID 1..32 of [A-Za-z0-9_-] and HEX 64
 * to 128 hex digits; '#' starts a comment. The first key signs, the first two are accepted
 * (rotation).
 *
 * Signed requests carry
 *   FarmSync-Auth: key=ID, origin=NAME, time=WALL_CLOCK_US, nonce=32HEX, mac=64HEX
 * mac = HMAC(key, "farmsync-request-1" \n METHOD \n PATH_AND_QUERY \n origin \n time \n nonce \n
 *            hex sha256(body))
 * and answers, so that nobody else can speak for a data server,
 *   FarmSync-Auth: key=ID, nonce=<that of the request>, mac=HMAC(key, "farmsync-answer-1" \n STATUS
 * \n nonce \n hex sha256(body))        (image bodies: digest of the empty body; the image's own
 *                                               digest is in the signed manifest)
 * A signature proves who speaks, not when: a request heard on the wire can be sent again, which is
 * harmless where it only reads. `time` is carried for what changes state.
 *
 * All functions may be called from any thread.
 */
#ifndef FS_KEY_H
#define FS_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"

#define FS_KEY_ID_SIZE   33
#define FS_KEY_MAX_BYTES 64
#define FS_AUTH_SIZE     320
#define FS_NONCE_SIZE    33
#define FS_ORIGIN_SIZE   65

typedef struct fs_key_t {
    char id[FS_KEY_ID_SIZE];
    unsigned char secret[FS_KEY_MAX_BYTES];
    size_t length;
} fs_key_t;

typedef struct fs_keyring_t {
    unsigned count; /* 0: no key configured */
    fs_key_t keys[2];
} fs_keyring_t;

#define FS_KEY_FILE_LIMIT 65536 /* bytes */

/* Errors: FS0201 cannot read, FS0202 open to every user, FS0203 bad line (numbered). */
apr_status_t fs_keyring_read(fs_keyring_t *ring, const char *path, fs_result_t *result);

/* The same from text; `name` is only for messages. Errors: FS0203. */
apr_status_t fs_keyring_parse(fs_keyring_t *ring, const char *name, const char *text, size_t length,
                              fs_result_t *result);

/* What the header says, parts checked for their form only. */
typedef struct fs_auth_t {
    char key[FS_KEY_ID_SIZE];
    char origin[FS_ORIGIN_SIZE]; /* "" in an answer */
    int64_t time; /* microseconds since 1970 by the sender's wall clock; 0 in an answer */
    char nonce[FS_NONCE_SIZE];
    char mac[65];
} fs_auth_t;

/* Reads the header's value; `is_request` tells which of the two. Errors: FS0210. */
apr_status_t fs_auth_parse(fs_auth_t *auth, const char *header, int is_request,
                           fs_result_t *result);

/* 1 if `name` can be an origin: 1 to 64 printable ASCII characters without space, comma, '=' or
 * quote. */
int fs_auth_is_origin(const char *name);

/* Writes the header's value for a request; makes a nonce (returned). `ring->count` must be > 0.
 * "" if the origin isn't one or libcrypto fails. */
void fs_auth_sign_request(const fs_keyring_t *ring, const char *origin, const char *method,
                          const char *path, const void *body, size_t length,
                          char nonce[FS_NONCE_SIZE], char header[FS_AUTH_SIZE]);
/* Errors: FS0210 no or malformed header, FS0211 unknown key, FS0212 MAC differs. */
apr_status_t fs_auth_check_request(const fs_keyring_t *ring, const char *header, const char *method,
                                   const char *path, const void *body, size_t length,
                                   char nonce[FS_NONCE_SIZE], char origin[FS_ORIGIN_SIZE],
                                   fs_result_t *result);
void fs_auth_sign_answer(const fs_keyring_t *ring, int status, const char *nonce, const void *body,
                         size_t length, char header[FS_AUTH_SIZE]);
/* Errors: FS0210, FS0211, FS0212 as above; FS0213 it answers another request. */
apr_status_t fs_auth_check_answer(const fs_keyring_t *ring, const char *header, int status,
                                  const char *nonce, const void *body, size_t length,
                                  fs_result_t *result);

#endif
