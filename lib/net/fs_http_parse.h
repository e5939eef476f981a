/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading HTTP/1.1 requests (RFC 9110, RFC 9112). Pure; any thread. Used by the server.
 * Strict where two readers of the same bytes could disagree: that is how requests are smuggled.
 */
#ifndef FS_HTTP_PARSE_H
#define FS_HTTP_PARSE_H

#include <stddef.h>
#include <stdint.h>

#define FS_HTTP_MAX_FIELDS 64
#define FS_HTTP_MAX_PARAMS 32

typedef struct fs_http_field_t {
    const char *name;
    const char *value;
} fs_http_field_t;

typedef struct fs_http_head_t {
    const char *method;
    const char *target; /* path and query as they came: what a signature covers */
    unsigned field_count;
    fs_http_field_t fields[FS_HTTP_MAX_FIELDS];
    uint64_t content_length; /* 0 if there is no body */
    int keep_alive;
    int expects_continue;
} fs_http_head_t;

/*
 * Parses a whole head, CRLF CRLF included, in place: `head` points into `text`, which must end with
 * a NUL. Returns 0, or the HTTP status to refuse it with: 400 malformed, 411 a body without a
 * length (transfer codings aren't taken), 417 an unknown expectation, 431 too many fields, 505 not
 * HTTP/1.x.
 */
int fs_http_parse_head(fs_http_head_t *head, char *text, size_t length);

/* The value of a field, NULL if there is none. `name` in any case. */
const char *fs_http_head_field(const fs_http_head_t *head, const char *name);

/* Decodes %XX in place, and '+' as a space if `plus`. Returns 0, or -1 on bad %XX or a NUL. */
int fs_http_decode(char *text, int plus);

/* Splits and decodes "a=1&b=2" in place. Returns the count, or -1 if malformed or too many. */
int fs_http_parse_query(char *query, fs_http_field_t params[FS_HTTP_MAX_PARAMS]);

/*
 * Range for a file of `size` bytes. Returns 1 with the first and last byte, 0 to serve the whole
 * (no range, several, or not understood: RFC 9110 section 14.2), -1 if it can't be satisfied.
 */
int fs_http_parse_range(const char *value, uint64_t size, uint64_t *first, uint64_t *last);

/* If-None-Match: weak comparison of a list or "*" with `etag`, quotes included. */
int fs_http_etag_matches(const char *list, const char *etag);

/* "host:port", "[address]:port". Returns 0, or -1 if it is something else. Port 0 is any free one.
 */
int fs_http_parse_listen(const char *listen, char *host, size_t host_size, unsigned *port);

#endif
