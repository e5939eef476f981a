/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server says to the one that it sends a request to: who the visitor is, how often he was
 * sent on, and what was found out about his home. A client carries it in a redirect's URL, or the
 * server that passes the request on puts it into a header.
 *
 *   base64url(kind, key, id 12, generation 4, hops 1, flags 1, expires 8, nonce 12,
 *             from, to, primary, alternate, address, mac)
 *
 * It says nothing that counts for anybody but `to`. A redirect's counts once: whoever accepts it
 * remembers its nonce until it has expired.
 */
#ifndef FS_ROUTE_TOKEN_H
#define FS_ROUTE_TOKEN_H

#include "base/fs_time.h"
#include "route/fs_route_keys.h"

#define FS_ROUTE_TOKEN_NONCE 12

typedef enum fs_route_token_kind_t {
    FS_ROUTE_TOKEN_REDIRECT = 2, /* in the URL of a redirect */
    FS_ROUTE_TOKEN_PROXY = 3     /* in the header of a request that is passed on */
} fs_route_token_kind_t;

#define FS_ROUTE_TOKEN_NEW  1 /* the visitor has no home: `to` is asked to be it */
#define FS_ROUTE_TOKEN_GONE 2 /* `primary` can't be reached: `to` takes its place */
#define FS_ROUTE_TOKEN_TLS  4 /* the client speaks TLS with `from` */
#define FS_ROUTE_TOKEN_NAMED                                                                       \
    8 /* the visitor is known by what the administrator named: he needn't have a cookie */

typedef struct fs_route_token_t {
    fs_route_id_t id;
    uint32_t generation; /* of what the cookie or the store of `from` says; 0: a new visitor */
    uint8_t hops;        /* servers that have sent the request on, `from` included */
    uint8_t flags;
    fs_usec_t expires; /* farm time, or wall clock */
    uint8_t nonce[FS_ROUTE_TOKEN_NONCE];
    char from[FS_ROUTE_NAME_SIZE], to[FS_ROUTE_NAME_SIZE];
    char primary[FS_ROUTE_NAME_SIZE], alternate[FS_ROUTE_NAME_SIZE]; /* "": none */
    char address[FS_ROUTE_NAME_SIZE]; /* the client's IP address; "": not said */
} fs_route_token_t;

#define FS_ROUTE_TOKEN_BYTES                                                                       \
    (2 + FS_ROUTE_ID_BYTES + 4 + 2 + 8 + FS_ROUTE_TOKEN_NONCE + 5 * FS_ROUTE_NAME_SIZE +           \
     FS_ROUTE_MAC_BYTES)
#define FS_ROUTE_TOKEN_SIZE FS_ROUTE_TEXT_SIZE(FS_ROUTE_TOKEN_BYTES)

/* Makes its nonce. 0, or -1: libcrypto failed. */
int fs_route_token_write(const fs_route_keys_t *keys, fs_route_token_kind_t kind,
                         fs_route_token_t *token, char text[FS_ROUTE_TOKEN_SIZE]);

typedef enum fs_route_token_is_t {
    FS_ROUTE_TOKEN_GOOD,
    FS_ROUTE_TOKEN_FORGED,  /* not made by this farm: nothing of it is believed */
    FS_ROUTE_TOKEN_EXPIRED, /* or from a time to come: a clock is wrong */
} fs_route_token_is_t;

/* Reads what came at `now`; whether it is for this server, and came before, is up to the caller. An
 * expired one is filled in, too. */
fs_route_token_is_t fs_route_token_read(const fs_route_keys_t *keys, fs_route_token_kind_t kind,
                                        const char *text, size_t length, fs_usec_t now,
                                        fs_route_token_t *token);

/* How long each counts. */
#define FS_ROUTE_REDIRECT_SPAN (10 * FS_USEC_PER_SEC)
#define FS_ROUTE_PROXY_SPAN    (60 * FS_USEC_PER_SEC)
fs_usec_t fs_route_token_span(fs_route_token_kind_t kind);

#endif
