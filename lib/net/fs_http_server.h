/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 server on libevent for datasrv and the agent. One event loop, one thread;
 * handlers must not block. Bounded: header 16 KiB, body as given per route, connections, idle time.
 * Without a keyring it listens on loopback only (FS0231 says so and names the remedy).
 *
 * It can listen on a unix socket as well, or instead: there the file's permissions are what
 * protects it, and nothing is signed. One loop and one thread serve both.
 */
#ifndef FS_HTTP_SERVER_H
#define FS_HTTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "net/fs_key.h"

typedef struct fs_http_server_t fs_http_server_t;
typedef struct fs_http_call_t fs_http_call_t; /* one request being answered */

typedef void fs_http_handler_fn(void *baton, fs_http_call_t *call);

#define FS_ROUTE_OPEN   1 /* no signature needed (health, metrics, dashboard) */
#define FS_ROUTE_PREFIX 2 /* path is a prefix; the rest is fs_http_call_rest() */
#define FS_ROUTE_LOCAL  4 /* exists on the unix socket only */

/* The first route that matches counts. `method` and `path` must live as long as the server. */

typedef struct fs_http_route_t {
    const char *method; /* GET (HEAD included), PUT, POST, DELETE */
    const char *path;   /* "/v1/time" */
    int flags;
    size_t body_limit; /* bytes; 0: a request with a body is refused */
    fs_http_handler_fn *handler;
} fs_http_route_t;

typedef struct fs_http_server_settings_t {
    /* "127.0.0.1:4470", "[::1]:4470", or "unix:/path" alone; NULL: `socket` only */
    const char *listen;
    const char *socket;       /* path of a unix socket to listen on, too; NULL none */
    unsigned socket_mode;     /* its permissions; 0: 0660 */
    int listen_fd, socket_fd; /* listening already: taken over, and closed at the end; 0 none */
    const fs_keyring_t *ring; /* NULL or count 0: none */
    const char *cert_file;    /* TLS if not NULL (PEM) */
    const char *key_file;
    const char *client_ca_file; /* demand client certificates if not NULL */
    unsigned max_connections;   /* 0: 4096 */
    /* Told of each request that is refused for its signature (FS0210 to FS0212) or its size
     * (FS0242), with the route it was for. In the loop's thread. NULL: nobody. */
    void (*refused)(void *baton, const char *problem, const fs_http_route_t *route);
    unsigned idle_timeout_s; /* 0: 60 */
} fs_http_server_settings_t;

/* Errors: FS0230 bad address, FS0231 unprotected off loopback, FS0232 cannot bind, FS0233 TLS
 * files, FS0253 unix socket. The file of a unix socket is left behind at the end, so that the next
 * server can replace it without a moment in which there is none. */
apr_status_t fs_http_server_create(fs_http_server_t **server,
                                   const fs_http_server_settings_t *settings,
                                   const fs_http_route_t *routes, unsigned route_count, void *baton,
                                   fs_result_t *result);
/* Begins to listen on an address after the fact, as `settings.listen`. Not while it does already.
 * Before it runs, or in the loop's thread. Errors: FS0230, FS0231, FS0232. */
apr_status_t fs_http_server_listen(fs_http_server_t *server, const char *listen,
                                   fs_result_t *result);
/* Runs the loop until fs_http_server_stop; returns when open answers are sent or 2 s have passed.
 */
void fs_http_server_run(fs_http_server_t *server);
void fs_http_server_stop(fs_http_server_t *server); /* any thread */
/* Not while it runs. Deferred calls are told `gone`; posted functions that didn't run never will.
 */
void fs_http_server_destroy(fs_http_server_t *server);
struct event_base *fs_http_server_base(fs_http_server_t *server);
unsigned fs_http_server_port(const fs_http_server_t *server);
/* What it listens on, to be handed to a successor; -1 if it doesn't. Loop's thread. */
int fs_http_server_listen_fd(const fs_http_server_t *server);
int fs_http_server_socket_fd(const fs_http_server_t *server);
/* Another keyring for the requests to come, when keys are replaced. Loop's thread. */
void fs_http_server_set_ring(fs_http_server_t *server, const fs_keyring_t *ring);
/* How many files (fs_http_call_file) are being sent now. Loop's thread. */
unsigned fs_http_server_files(const fs_http_server_t *server);
/* Runs fn(baton) in the loop's thread soon. Any thread. */
void fs_http_server_post(fs_http_server_t *server, void (*fn)(void *), void *baton);

/* All of these are valid until the call is answered or gone. */
const char *fs_http_call_rest(const fs_http_call_t *call);   /* percent-decoded */
const char *fs_http_call_peer(const fs_http_call_t *call);   /* "10.0.0.1:51234", "uid 33" */
int fs_http_call_is_local(const fs_http_call_t *call);       /* over the unix socket */
const char *fs_http_call_origin(const fs_http_call_t *call); /* signed origin, "" if open */
const char *fs_http_call_query(const fs_http_call_t *call,
                               const char *name); /* decoded, NULL none */
const char *fs_http_call_header(const fs_http_call_t *call, const char *name);
const char *fs_http_call_body(const fs_http_call_t *call, size_t *length);
/* Adds a field to the answer. Content-Length, Content-Type, Date and Connection are set anyway. */
void fs_http_call_set_header(fs_http_call_t *call, const char *name, const char *value);

/*
 * Each call is answered exactly once, now or later (from the loop's thread), and must not be
 * touched after that. `body` is copied. A HEAD request gets the header of what is answered only.
 */
void fs_http_call_answer(fs_http_call_t *call, int status, const char *content_type,
                         const void *body, size_t length);
/* application/problem+json (RFC 9457) from a result. */
void fs_http_call_problem(fs_http_call_t *call, int status, const fs_result_t *result);
/*
 * Sends a file by sendfile; honours Range (one range), If-Range and If-None-Match on `etag`, which
 * has its quotes. The file must not be changed any more. Closes fd.
 */
void fs_http_call_file(fs_http_call_t *call, int fd, uint64_t size, const char *content_type,
                       const char *etag);
/* The request's range is not of what will be sent: fs_http_call_file sends it whole. */
void fs_http_call_set_whole(fs_http_call_t *call);
/*
 * Keeps the call open; `gone` is called (once, loop thread) if the client leaves before an answer
 * or the server stops, after which the call must not be touched. There is no timeout but the
 * handler's.
 */
void fs_http_call_defer(fs_http_call_t *call, void (*gone)(void *baton, fs_http_call_t *call),
                        void *baton);

#endif
