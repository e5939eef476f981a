/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The affinity cookie: which server is home to its holder, and which one stands by.
 *
 *   base64url(kind 1, key, id 12, generation 4, made 4, primary, alternate, mac) "." primary
 *
 * Numbers are big-endian, names have their length in front of them. What stands after the dot is
 * for balancers: mod_proxy_balancer and mod_jk take it for the route, HAProxy can be told to. Only
 * the signed part is believed.
 */
#ifndef FS_ROUTE_COOKIE_H
#define FS_ROUTE_COOKIE_H

#include "base/fs_time.h"
#include "route/fs_route_keys.h"

typedef struct fs_route_cookie_t {
    fs_route_id_t id;
    uint32_t generation;
    uint32_t made; /* minutes since 1970 */
    char primary[FS_ROUTE_NAME_SIZE];
    char alternate[FS_ROUTE_NAME_SIZE]; /* "": there is none */
} fs_route_cookie_t;

#define FS_ROUTE_COOKIE_BYTES                                                                      \
    (2 + FS_ROUTE_ID_BYTES + 4 + 4 + 2 * FS_ROUTE_NAME_SIZE + FS_ROUTE_MAC_BYTES)
#define FS_ROUTE_COOKIE_SIZE (FS_ROUTE_TEXT_SIZE(FS_ROUTE_COOKIE_BYTES) + FS_ROUTE_NAME_SIZE)

/* 0, or -1: libcrypto failed. */
int fs_route_cookie_write(const fs_route_keys_t *keys, const fs_route_cookie_t *cookie,
                          char text[FS_ROUTE_COOKIE_SIZE]);

/* The part of a cookie's value that is signed: up to the dot. */
size_t fs_route_cookie_signed(const char *text, size_t length);
/* Reads the signed part. 0, or -1: it was not made by this farm. */
int fs_route_cookie_read(const fs_route_keys_t *keys, const char *text, size_t length,
                         fs_route_cookie_t *cookie);

/* When it was made, in microseconds since 1970. */
fs_usec_t fs_route_cookie_made(const fs_route_cookie_t *cookie);
uint32_t fs_route_cookie_minutes(fs_usec_t time);

#endif
