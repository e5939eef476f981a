/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection from accept to close; its states are drawn in fs_http_internal.h.
 *
 * evhttp would do most of this, but libevent 2.1's answers its own errors in HTML, has one body
 * limit for all paths and none for connections, and doesn't tell a handler that waits that its
 * client left.
 */
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/fs_http_internal.h"

#define LINGER_S          1
#define FRESH_MS          200   /* a server that ends waits for a new connection's request */
#define SPARE_CONNECTIONS 64    /* above the limit: enough to say 503 to */
#define UNROUTED_BODY     65536 /* read to check its signature, before 404 or 405 */

static void process(fs_http_connection_t *connection);

static void set_timer(fs_http_connection_t *connection, const struct timeval *after)
{
    if (after)
        event_add(connection->timer, after);
    else
        event_del(connection->timer);
}

static void set_input_limit(fs_http_connection_t *connection, size_t limit)
{
    if (limit < FS_HTTP_HEAD_LIMIT)
        limit = FS_HTTP_HEAD_LIMIT;
    bufferevent_setwatermark(connection->events, EV_READ, 0, limit);
}

static void begin_head(fs_http_connection_t *connection)
{
    connection->state = FS_HTTP_HEAD;
    connection->begun = 0;
    set_input_limit(connection, 0);
    set_timer(connection, &connection->server->idle);
}

/* Tells a handler that waits with this call that nobody will hear the answer. */
static void tell_gone(fs_http_connection_t *connection)
{
    fs_http_call_t *call = connection->call;

    if (call && call->gone) {
        void (*gone)(void *, fs_http_call_t *) = call->gone;

        call->gone = NULL;
        gone(call->gone_baton, call);
    }
}

static void file_sent(fs_http_connection_t *connection)
{
    connection->server->file_count -= connection->file != 0;
    connection->file = 0;
}

void fs_http_connection_close(fs_http_connection_t *connection)
{
    fs_http_server_t *server = connection->server;

    file_sent(connection);
    tell_gone(connection);
    fs_http_call_free(connection->call);
    LIST_REMOVE(connection, link);
    if (connection->events)
        bufferevent_free(connection->events);
    if (connection->timer)
        event_free(connection->timer);
    free(connection);
    fs_http_server_closed(server);
}

/* --- answering ----------------------------------------------------------------------------------
 */

void fs_http_connection_sending(fs_http_connection_t *connection)
{
    connection->state = FS_HTTP_SENDING;
    set_timer(connection, NULL); /* the write timeout watches from here on */
}

void fs_http_connection_sending_file(fs_http_connection_t *connection)
{
    connection->server->file_count += connection->file == 0;
    connection->file = 1;
}

/* Says that no more will come and reads on for a moment, so that the answer isn't lost to a reset.
 */
static void linger(fs_http_connection_t *connection)
{
    static const struct timeval moment = {LINGER_S, 0};
    SSL *ssl = connection->server->tls && !connection->local
                   ? bufferevent_openssl_get_ssl(connection->events)
                   : NULL;

    connection->state = FS_HTTP_LINGERING;
    if (ssl)
        SSL_shutdown(ssl);
    shutdown(bufferevent_getfd(connection->events), SHUT_WR);
    set_timer(connection, &moment);
    process(connection);
}

static void on_written(struct bufferevent *events, void *baton)
{
    fs_http_connection_t *connection = baton;

    if (connection->state != FS_HTTP_SENDING || evbuffer_get_length(bufferevent_get_output(events)))
        return;
    file_sent(connection);
    if (connection->keep_alive) {
        begin_head(connection);
        process(connection);
    } else if (connection->unread) {
        linger(connection);
    } else {
        fs_http_connection_close(connection);
    }
}

/* Refuses what can't be read any further. */
static void refuse_and_close(fs_http_connection_t *connection, int status, const char *problem,
                             const char *text)
{
    if (!connection->call)
        connection->call = fs_http_call_create(connection);
    if (!connection->call) {
        fs_http_connection_close(connection);
        return;
    }
    connection->keep_alive = 0;
    connection->unread = 1;
    fs_http_call_refuse(connection->call, status, problem, "%s", text);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static void refuse_stopping(fs_http_call_t *call)
{
    fs_http_call_set_header(call, "Retry-After", "1");
    fs_http_call_refuse(call, 503, "FS0252", "this server is stopping; ask another one");
}

/* The request is whole. */
static void dispatch(fs_http_connection_t *connection)
{
    fs_http_call_t *call = connection->call;

    connection->state = FS_HTTP_HANDLING;
    connection->served = 1;
    connection->keep_alive = call->head.keep_alive && !connection->server->stopping;
    connection->unread = 0;
    set_timer(connection, NULL);
    set_input_limit(connection, 0);
    if (!fs_http_call_authenticate(call))
        return;
    if (connection->server->stopping) {
        refuse_stopping(call); /* nobody would wait for what takes time */
    } else if (call->route) {
        call->route->handler(connection->server->baton, call);
    } else if (call->allow[0]) {
        fs_http_call_set_header(call, "Allow", call->allow);
        fs_http_call_refuse(call, 405, "FS0244", "%s isn't possible here; use %s",
                            call->head.method, call->allow);
    } else {
        fs_http_call_refuse(call, 404, "FS0243", "there is nothing at %s", call->head.target);
    }
}

/* The head is parsed: what can be refused without the body is refused here. */
static void begin_body(fs_http_connection_t *connection)
{
    fs_http_call_t *call = connection->call;
    size_t limit = call->route ? call->route->body_limit : UNROUTED_BODY;

    if (call->head.content_length > limit) {
        fs_http_call_tell_refused(call, "FS0242");
        refuse_and_close(connection, 413, "FS0242", "the request's body is too large");
        return;
    }
    connection->unread = call->head.content_length > 0;
    connection->keep_alive = call->head.keep_alive && !connection->unread;
    if (fs_http_call_is_unsigned(call))
        return;
    connection->state = FS_HTTP_BODY;
    set_input_limit(connection, (size_t)call->head.content_length);
    if (call->head.expects_continue && call->head.content_length)
        bufferevent_write(connection->events, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    set_timer(connection, &connection->server->idle);
}

static void head_refused(fs_http_connection_t *connection, int status)
{
    switch (status) {
    case 411:
        refuse_and_close(connection, status, "FS0246",
                         "a body must have a Content-Length; transfer codings aren't taken");
        break;
    case 417:
        refuse_and_close(connection, status, "FS0250", "the only known Expect is 100-continue");
        break;
    case 431:
        refuse_and_close(connection, status, "FS0241",
                         "the request's header is larger than 16 KiB or has more than 64 fields");
        break;
    case 505:
        refuse_and_close(connection, status, "FS0251",
                         "only HTTP/1.1 and HTTP/1.0 are spoken here");
        break;
    default:
        refuse_and_close(connection, 400, "FS0240", "this is no well-formed HTTP request");
    }
}

/* Takes the head out of the input, once it is whole. Returns 1 if there is something more to do. */
static int read_head(fs_http_connection_t *connection)
{
    struct evbuffer *in = bufferevent_get_input(connection->events);
    struct evbuffer_ptr end;
    fs_http_call_t *call;
    size_t length;
    int status;

    while (!connection->begun && evbuffer_get_length(in) >= 2 &&
           !memcmp(evbuffer_pullup(in, 2), "\r\n", 2))
        evbuffer_drain(in, 2); /* RFC 9112 section 2.2 */
    end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    if (end.pos < 0 || end.pos + 4 > FS_HTTP_HEAD_LIMIT) {
        if (evbuffer_get_length(in) >= FS_HTTP_HEAD_LIMIT)
            head_refused(connection, 431);
        else if (evbuffer_get_length(in) && !connection->begun) {
            connection->begun = 1;
            set_timer(connection, &connection->server->idle);
        }
        return 0;
    }
    length = (size_t)end.pos + 4;
    call = connection->call = fs_http_call_create(connection);
    if (call)
        call->text = malloc(length + 1);
    if (!call || !call->text) {
        fs_http_connection_close(connection);
        return 0;
    }
    evbuffer_remove(in, call->text, length);
    call->text[length] = '\0';
    status = fs_http_parse_head(&call->head, call->text, length);
    if (status || fs_http_call_split(call)) {
        head_refused(connection, status);
        return 0;
    }
    fs_http_call_find_route(call);
    begin_body(connection);
    return connection->state == FS_HTTP_BODY;
}

static void read_body(fs_http_connection_t *connection)
{
    struct evbuffer *in = bufferevent_get_input(connection->events);
    fs_http_call_t *call = connection->call;
    size_t length = (size_t)call->head.content_length;

    if (evbuffer_get_length(in) < length)
        return;
    call->body = malloc(length + 1);
    if (!call->body) {
        fs_http_connection_close(connection);
        return;
    }
    evbuffer_remove(in, call->body, length);
    call->body[length] = '\0';
    call->length = length;
    dispatch(connection);
}

/* Does what the input allows. May close the connection. */
static void process(fs_http_connection_t *connection)
{
    struct evbuffer *in = bufferevent_get_input(connection->events);

    if (connection->state == FS_HTTP_LINGERING)
        evbuffer_drain(in, evbuffer_get_length(in));
    else if (connection->state == FS_HTTP_BODY ||
             (connection->state == FS_HTTP_HEAD && read_head(connection)))
        read_body(connection);
}

/* --- events -------------------------------------------------------------------------------------
 */

static void on_readable(struct bufferevent *events, void *baton)
{
    process(baton);
}

static void on_event(struct bufferevent *events, short what, void *baton)
{
    fs_http_connection_t *connection = baton;

    if (what & BEV_EVENT_CONNECTED) /* TLS is up */
        return;
    if (what & BEV_EVENT_EOF && connection->state == FS_HTTP_SENDING &&
        evbuffer_get_length(bufferevent_get_output(events)))
        connection->keep_alive = connection->unread = 0; /* it may have closed its own side only */
    else
        fs_http_connection_close(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *baton)
{
    fs_http_connection_t *connection = baton;

    if (connection->state == FS_HTTP_BODY ||
        (connection->state == FS_HTTP_HEAD && connection->begun))
        refuse_and_close(connection, 408, "FS0249", "the request did not come in time");
    else
        fs_http_connection_close(connection);
}

static struct bufferevent *new_events(fs_http_server_t *server, evutil_socket_t fd, int local)
{
    struct bufferevent *events;
    SSL *ssl;

    if (!server->tls || local)
        return bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    ssl = SSL_new(server->tls);
    if (!ssl)
        return NULL;
    events = bufferevent_openssl_socket_new(server->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                            BEV_OPT_CLOSE_ON_FREE);
    if (events)
        bufferevent_openssl_set_allow_dirty_shutdown(events, 1);
    else
        SSL_free(ssl);
    return events;
}

/* Above the limit of connections: the client is told, for as long as that is cheap. */
static void turn_away(fs_http_connection_t *connection)
{
    fs_http_server_t *server = connection->server;

    if ((server->tls && !connection->local) ||
        server->connection_count > server->max_connections + SPARE_CONNECTIONS) {
        fs_http_connection_close(connection);
        return;
    }
    connection->call = fs_http_call_create(connection);
    if (connection->call)
        fs_http_call_set_header(connection->call, "Retry-After", "1");
    refuse_and_close(connection, 503, "FS0247", "this server has all the connections it may have");
}

void fs_http_connection_open(fs_http_server_t *server, evutil_socket_t fd, int local,
                             const char *peer)
{
    fs_http_connection_t *connection = calloc(1, sizeof(*connection));
    int on = 1;

    if (!connection) {
        evutil_closesocket(fd);
        return;
    }
    if (!local) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    snprintf(connection->peer, sizeof(connection->peer), "%s", peer);
    connection->server = server;
    connection->local = local;
    server->connection_count++;
    LIST_INSERT_HEAD(&server->connections, connection, link);
    connection->timer = evtimer_new(server->base, on_timer, connection);
    connection->events = new_events(server, fd, local);
    if (!connection->events)
        evutil_closesocket(fd);
    if (!connection->events || !connection->timer) {
        fs_http_connection_close(connection);
        return;
    }
    bufferevent_setcb(connection->events, on_readable, on_written, on_event, connection);
    bufferevent_set_timeouts(connection->events, NULL, &server->idle);
    bufferevent_enable(connection->events, EV_READ | EV_WRITE);
    begin_head(connection);
    if (server->connection_count > server->max_connections)
        turn_away(connection);
}

void fs_http_connection_stop(fs_http_connection_t *connection)
{
    static const struct timeval moment = {0, FRESH_MS * 1000};
    fs_http_call_t *call = connection->call;

    if (connection->state == FS_HTTP_HANDLING) {
        tell_gone(connection);
        connection->keep_alive = 0;
        refuse_stopping(call);
    } else if (connection->state == FS_HTTP_SENDING) {
        connection->keep_alive = 0;
    } else if (connection->state == FS_HTTP_HEAD && !connection->begun && !connection->served) {
        set_timer(connection, &moment); /* its first request is on its way */
    } else if (connection->state == FS_HTTP_LINGERING || !(connection->begun || call)) {
        fs_http_connection_close(connection);
    }
}
