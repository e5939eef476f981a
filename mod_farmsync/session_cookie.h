/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cookie: finding it in what the visitor sent, and what is sent (RFC 6265).
 *
 * Whatever the configuration leaves out is added as is safe: HttpOnly, Secure over TLS,
 * SameSite=Lax, Path=/. No attribute is sent twice. Pure; any thread.
 */
#ifndef FS_SESSION_COOKIE_H
#define FS_SESSION_COOKIE_H

#include <stddef.h>

#include <apr_pools.h>

/*
 * The next cookie of this name in a Cookie header: `*at` is where to look, and moves behind it. The
 * value borrows the header, quotes taken off. Returns 1, or 0 if there is none any more. A comma
 * parts cookies too, for httpd joins several Cookie lines by it.
 */
int fs_cookie_next(const char **at, const char *name, const char **value, size_t *length);

typedef struct fs_cookie_t {
    const char *name;
    const char *plain;       /* attributes, beginning with a semicolon, without TLS */
    const char *secure;      /* over TLS */
    const char *clear_plain; /* of a cookie that is taken back */
    const char *clear_secure;
    int lasts; /* it has Max-Age or Expires: sent again with each use that is noted */
} fs_cookie_t;

/*
 * What a name and attributes ("Path=/app; SameSite=Strict", or NULL) amount to. "!HttpOnly" leaves
 * that out. Returns NULL, or what is wrong with them.
 */
const char *fs_cookie_make(fs_cookie_t *cookie, const char *name, const char *attributes,
                           apr_pool_t *pool);

/* The values of Set-Cookie. `id` NULL: takes the cookie back. */
const char *fs_cookie_text(const fs_cookie_t *cookie, const char *id, int tls, apr_pool_t *pool);

#endif
