/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP client share: the client, and one exchange while it runs. */
#ifndef FS_HTTP_TRANSFER_H
#define FS_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "net/fs_http_client.h"

struct fs_http_client_t {
    CURL *easy;
    CURLM *multi;
    fs_keyring_t ring;
    char origin[FS_ORIGIN_SIZE];
    char *ca_file;
    char *cert_file;
    char *key_file;
    long connect_timeout_ms;
    atomic_int aborted;
};

/* One exchange while it runs. */
typedef struct fs_http_transfer_t {
    fs_http_client_t *client;
    CURL *easy;               /* the client's own, but of a fan's */
    const char *content_type; /* of the request's body; NULL: JSON */
    const char *url;
    fs_http_answer_t *answer;
    fs_result_t *result;
    char nonce[FS_NONCE_SIZE]; /* of the signed request, "" if unsigned */
    char header[FS_AUTH_SIZE]; /* FarmSync-Auth of the answer, "" if none */
    char error[CURL_ERROR_SIZE];
    char range_start[24]; /* first byte of Content-Range, "" if none */
    size_t limit;         /* in memory */
    size_t size;          /* allocated */
    FILE *file;           /* NULL: to memory */
    uint64_t from;        /* bytes that the file has already */
    uint64_t file_limit;
    uint64_t written;     /* bytes that the file has now */
    int accepted;         /* the headers allow writing to the file */
    apr_status_t refused; /* why a callback ended it; `result` is set */
    fs_usec_t active;     /* mono time of the last byte */
    fs_usec_t stall;      /* 0: none */
} fs_http_transfer_t;

/* Callbacks of libcurl; `baton` is the transfer. */
#if LIBCURL_VERSION_NUM >= 0x075000
int fs_http_before_request(void *baton, char *peer, char *local, int peer_port, int local_port);
#endif
size_t fs_http_header_came(char *line, size_t one, size_t length, void *baton);
size_t fs_http_body_came(char *data, size_t one, size_t length, void *baton);

/*
 * Prepares the handle for a request: everything but who drives it. `headers` is the caller's to
 * free when it is over.
 */
apr_status_t fs_http_prepare(fs_http_transfer_t *transfer, const char *method, const void *body,
                             size_t length, unsigned timeout_ms, struct curl_slist **headers);
/* After it is over: what libcurl knows of the exchange; `start` is the mono time before it. */
void fs_http_read_facts(fs_http_transfer_t *transfer, fs_usec_t start);

/* Each fills transfer->result when it fails. */
apr_status_t fs_http_keep_in_memory(fs_http_transfer_t *transfer, const char *data, size_t length);
apr_status_t fs_http_check_signature(fs_http_transfer_t *transfer, const void *body, size_t length);
apr_status_t fs_http_cannot_write(fs_http_transfer_t *transfer); /* errno says why */

#endif
