/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One keep-alive HTTP/1.1 connection for the prober: a GET, the whole answer, and when each was.
 * Not a general client: plain HTTP to a literal address or name, answers of at most 1 MiB.
 */
#ifndef FS_PROBER_HTTP_H
#define FS_PROBER_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define PROBER_BODY_LIMIT (1024u * 1024)

typedef struct prober_link_t {
    char host[128];
    char port[8];
    int timeout_ms;
    int fd; /* -1: not connected */
    char *buffer;
    size_t length; /* bytes in buffer */
} prober_link_t;

typedef struct prober_answer_t {
    int64_t sent_ns;     /* CLOCK_MONOTONIC just before the request was given to the kernel */
    int64_t first_ns;    /* when the first byte of the answer was here */
    int64_t received_ns; /* when all of it was here */
    int status;
    const char
        *head; /* status line and header lines, NUL at its end; valid until the next request */
    const char *body; /* NUL at its end; chunked bodies are joined */
    size_t body_length;
    int closed;      /* the server closed the connection before the first byte of an answer */
    char error[160]; /* why there is no answer */
} prober_answer_t;

/* Nanoseconds of CLOCK_MONOTONIC, the prober's one clock. */
int64_t prober_now(void);

/* Takes "http://HOST:PORT"; returns 0, or -1 if it isn't one. */
int prober_link_init(prober_link_t *link, const char *url, int timeout_ms);
void prober_link_free(prober_link_t *link);

/*
 * Sends `request` (complete text) and reads the answer. Returns 0, or -1 with answer->error set and
 * the connection closed. A connection that the server closed is not tried again here.
 */
int prober_ask(prober_link_t *link, const char *request, size_t length, prober_answer_t *answer);

/* Value of a header of the answer, copied into `out` and trimmed; 0, or -1 if it isn't there. */
int prober_header(const prober_answer_t *answer, const char *name, char *out, size_t size);

#endif
