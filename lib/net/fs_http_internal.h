/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP server share. All of it belongs to the loop's thread, except the queue
 * of posted functions, which has its own lock.
 *
 * A connection's life:
 *
 *   accept -> HEAD -> BODY -> HANDLING -> SENDING -+-> HEAD (next request)
 *               \       \                          +-> closed
 *                \-------\--- refused --> SENDING --> LINGERING -> closed
 *
 * One call at a time: what a client sends ahead (pipelining) waits in the input buffer, which a
 * watermark bounds. Reading stays on while a call is handled or deferred, so that the client's
 * leaving is seen.
 */
#ifndef FS_HTTP_INTERNAL_H
#define FS_HTTP_INTERNAL_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/queue.h>

#include "net/fs_http_parse.h"
#include "net/fs_http_server.h"

#define FS_HTTP_HEAD_LIMIT 16384

typedef enum fs_http_state_t {
    FS_HTTP_HEAD,
    FS_HTTP_BODY,
    FS_HTTP_HANDLING,
    FS_HTTP_SENDING,
    FS_HTTP_LINGERING
} fs_http_state_t;

typedef struct fs_http_connection_t {
    LIST_ENTRY(fs_http_connection_t) link;
    fs_http_server_t *server;
    struct bufferevent *events;
    struct event *timer;
    fs_http_call_t *call; /* in BODY and HANDLING */
    fs_http_state_t state;
    int begun;      /* HEAD: some of it is there */
    int keep_alive; /* after the answer that is being sent */
    int unread;     /* closing with input left unread: linger, or a reset overtakes the answer */
    int file;       /* a file is being sent */
    int local;      /* came over the unix socket */
    int served;     /* had a request */
    char peer[64];
} fs_http_connection_t;

struct fs_http_call_t {
    fs_http_connection_t *connection;
    const fs_http_route_t *route; /* NULL: no such path or method */
    fs_http_head_t head;
    char *text;  /* holds `head` */
    char *path;  /* decoded copy of the target's path */
    char *query; /* holds `params` */
    char *rest;  /* in `path` */
    int param_count;
    fs_http_field_t params[FS_HTTP_MAX_PARAMS];
    char *body;
    size_t length;
    char allow[64]; /* for 405 */
    char origin[FS_ORIGIN_SIZE];
    char nonce[FS_NONCE_SIZE]; /* "" = not signed, and so is the answer */
    int whole;                 /* a range isn't looked at */
    struct evbuffer *extra;    /* header fields of the answer */
    void (*gone)(void *baton, fs_http_call_t *call);
    void *gone_baton;
};

typedef struct fs_http_post_t {
    STAILQ_ENTRY(fs_http_post_t) link;
    void (*fn)(void *);
    void *baton;
} fs_http_post_t;

/* What a server listens on: an address, a unix socket, or one of each. */
typedef struct fs_http_listener_t {
    fs_http_server_t *server;
    struct evconnlistener *events; /* NULL: it doesn't, or not any more */
    int local;                     /* unix: neither TLS nor signatures */
} fs_http_listener_t;

enum { FS_HTTP_ADDRESS, FS_HTTP_SOCKET, FS_HTTP_LISTENERS };

struct fs_http_server_t {
    struct event_base *base;
    fs_http_listener_t listeners[FS_HTTP_LISTENERS];
    SSL_CTX *tls; /* NULL: plain */
    fs_keyring_t ring;
    fs_http_route_t *routes;
    unsigned route_count;
    void *baton;
    void (*refused)(void *baton, const char *problem, const fs_http_route_t *route);
    unsigned port;
    unsigned max_connections;
    struct timeval idle;
    unsigned connection_count;
    unsigned file_count; /* of connections that send a file */
    LIST_HEAD(, fs_http_connection_t) connections;
    struct event *wake;   /* runs the posted functions */
    struct event *reopen; /* listens again after accept failed */
    pthread_mutex_t lock; /* of `posts` */
    STAILQ_HEAD(, fs_http_post_t) posts;
    int stopping;
    fs_usec_t complained; /* mono time of the last warning about a refused signature */
};

/* fs_http_tls.c */
SSL_CTX *fs_http_tls_create(const fs_http_server_settings_t *settings, fs_result_t *result);

/* fs_http_connection.c */
void fs_http_connection_open(fs_http_server_t *server, evutil_socket_t fd, int local,
                             const char *peer);
void fs_http_connection_close(fs_http_connection_t *connection);
/* The answer is in the output buffer. */
void fs_http_connection_sending(fs_http_connection_t *connection);
/* ... with a file in it. */
void fs_http_connection_sending_file(fs_http_connection_t *connection);
/* The server stops: lets go of what need not be waited for. May close the connection. */
void fs_http_connection_stop(fs_http_connection_t *connection);

/* fs_http_server.c */
void fs_http_server_closed(fs_http_server_t *server); /* a connection less */

/* fs_http_admit.c: of a call whose head is there */
/* Path and parameters of the target, decoded. Returns 0, or -1 if malformed or memory is short. */
int fs_http_call_split(fs_http_call_t *call);
/* Finds the route and what of the path it leaves over. */
void fs_http_call_find_route(fs_http_call_t *call);
/* 1 if it must be signed and isn't: it was refused, its body need not be read. */
int fs_http_call_is_unsigned(fs_http_call_t *call);
/* With its body: checks the signature, if there is one, and if there must be. Returns 0 if the call
 * was refused. */
int fs_http_call_authenticate(fs_http_call_t *call);
/* Tells the server's owner of a call that was refused (`refused` in the settings). */
void fs_http_call_tell_refused(const fs_http_call_t *call, const char *problem);

/* fs_http_call.c */
fs_http_call_t *fs_http_call_create(fs_http_connection_t *connection);
void fs_http_call_free(fs_http_call_t *call);
/* A problem of the server's own; `connection->unread` and keep_alive are the caller's to set. */
void fs_http_call_refuse(fs_http_call_t *call, int status, const char *problem, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

#endif
