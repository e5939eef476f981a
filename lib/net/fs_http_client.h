/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests between farmsync parts, through libcurl, with the farm key's signatures.
 * A client keeps its connections alive; one thread at a time. fs_http_global_init once per process
 * before threads start; the process ignores SIGPIPE from then on. Nothing here may be used inside
 * httpd's children. No proxy, redirect or cookie, http and https (TLS 1.2 and later) only.
 */
#ifndef FS_HTTP_CLIENT_H
#define FS_HTTP_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "net/fs_key.h"

typedef struct fs_http_client_t fs_http_client_t;

typedef struct fs_http_settings_t {
    const fs_keyring_t *ring; /* NULL or count 0: unsigned */
    const char *origin;       /* this member's name */
    const char *ca_file;      /* for https; NULL: the system's */
    const char
        *cert_file; /* client certificate (PEM, key in the same file or key_file); NULL none */
    const char *key_file;
    unsigned connect_timeout_ms; /* 0: 2000 */
} fs_http_settings_t;

typedef struct fs_http_answer_t {
    int status;     /* HTTP status */
    char *body;     /* malloc'ed with a NUL behind; NULL if it went to a file, or on an error */
    size_t length;  /* of the body; of the whole file after a download */
    fs_usec_t sent; /* mono time just before the request left on an open connection ... */
    fs_usec_t
        received; /* ... and just after the answer's headers came: a round trip for the clock */
    int reused;   /* the connection was already open, so sent..received is one round trip */
    unsigned retry_after; /* seconds, 0 if not said */
} fs_http_answer_t;

void fs_http_global_init(void);
/* Copies `settings`. NULL when memory is short. */
fs_http_client_t *fs_http_client_create(const fs_http_settings_t *settings);
void fs_http_client_destroy(fs_http_client_t *client);

/*
 * One exchange. `body` (JSON) may be NULL. `url` must be plain: no fragment, nothing that needs
 * percent-encoding. The answer's body is read to memory up to `limit` bytes. A signed
 * client refuses an answer whose signature is missing or wrong (FS0220). Errors: FS0221 no answer
 * (names URL and cause; APR_TIMEUP for a timeout, APR_ECONNREFUSED if nobody listens there), FS0222 answer too large, FS0225 the origin can't
 * be signed. answer->status is set whenever there was one, also with FS0220. HTTP error statuses
 * are not errors here. Free with fs_http_answer_clear. `timeout_ms` bounds the whole exchange.
 */
apr_status_t fs_http_exchange(fs_http_client_t *client, const char *method, const char *url,
                              const void *body, size_t length, size_t limit, unsigned timeout_ms,
                              fs_http_answer_t *answer, fs_result_t *result);
void fs_http_answer_clear(fs_http_answer_t *answer);

/*
 * GETs `url` into `file` from byte `from` on (Range, appended). `stall_ms`: gives up when nothing
 * came for so long; there is no bound on the whole. 200 or 206 only; `limit` bytes at most. If the
 * server answers 200 to a range the file is truncated and taken from the start. Errors: FS0221,
 * FS0222, FS0223 (HTTP status named), FS0224 (cannot write: disk full).
 */
apr_status_t fs_http_download(fs_http_client_t *client, const char *url, FILE *file, uint64_t from,
                              uint64_t limit, unsigned stall_ms, fs_http_answer_t *answer,
                              fs_result_t *result);
/*
 * Makes a running exchange of this client fail at once and every later one too (shutdown): an abort
 * that comes just before an exchange begins must not be lost. From any thread.
 */
void fs_http_client_abort(fs_http_client_t *client);

#endif
