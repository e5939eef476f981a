/* SPDX-License-Identifier: Apache-2.0 */
/* Listening, the loop and its end. */
#include <errno.h>
#include <event2/thread.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs_log.h"
#include "base/fs_unix.h"
#include "net/fs_http_internal.h"

#define MAX_CONNECTIONS 4096
#define IDLE_TIMEOUT_S  60
#define STOP_S          2
#define REOPEN_S        1
#define BACKLOG         511
#define SOCKET_MODE     0660
#define SOCKET_PREFIX   "unix:"

static void use_threads(void)
{
    signal(SIGPIPE, SIG_IGN);
    evthread_use_pthreads();
}

static apr_status_t out_of_memory(fs_result_t *result)
{
    return fs_result_set(result, APR_ENOMEM, "FS0234",
                         "cannot set up the HTTP server: out of memory or file descriptors");
}

/* --- listening ----------------------------------------------------------------------------------
 */

static void name_peer(const struct sockaddr *address, socklen_t length, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?", port[8] = "?";

    getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* Who is at the other end of a unix socket, as the kernel knows it. */
static void name_user(int fd, char *out, size_t size)
{
    struct ucred user;
    socklen_t length = sizeof(user);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &length))
        snprintf(out, size, "a process of this host");
    else
        snprintf(out, size, "uid %u", (unsigned)user.uid);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *baton)
{
    const fs_http_listener_t *on = baton;
    char peer[64];

    if (on->local)
        name_user(fd, peer, sizeof(peer));
    else
        name_peer(address, (socklen_t)length, peer, sizeof(peer));
    fs_http_connection_open(on->server, fd, on->local, peer);
}

/* Out of file descriptors or memory: trying again at once would only burn the processor. */
static void on_accept_failed(struct evconnlistener *listener, void *baton)
{
    static const struct timeval later = {REOPEN_S, 0};
    const fs_http_listener_t *on = baton;
    fs_http_server_t *server = on->server;

    if (on->local)
        fs_log(FS_LOG_ERROR, "FS0254",
               "cannot accept connections on the unix socket: %s; trying again each second",
               strerror(errno));
    else
        fs_log(FS_LOG_ERROR, "FS0238",
               "cannot accept connections on port %u: %s; trying again each second", server->port,
               strerror(errno));
    evconnlistener_disable(listener);
    event_add(server->reopen, &later);
}

static void on_reopen(evutil_socket_t fd, short what, void *baton)
{
    fs_http_server_t *server = baton;

    for (unsigned i = 0; i < FS_HTTP_LISTENERS; i++)
        if (server->listeners[i].events)
            evconnlistener_enable(server->listeners[i].events);
}

static int is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void read_port(fs_http_server_t *server)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);

    if (getsockname(fs_http_server_listen_fd(server), (struct sockaddr *)&address, &length))
        return;
    server->port =
        ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                            : ((struct sockaddr_in *)&address)->sin_port);
}

/* Takes connections from a socket that listens. Returns 0, or -1: then `fd` is still the caller's.
 */
static int accept_from(fs_http_server_t *server, unsigned which, int fd)
{
    fs_http_listener_t *on = &server->listeners[which];

    on->server = server;
    on->local = which == FS_HTTP_SOCKET;
    on->events = evconnlistener_new(server->base, on_accept, on,
                                    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!on->events)
        return -1;
    evconnlistener_set_error_cb(on->events, on_accept_failed);
    return 0;
}

static int open_listening(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0)
        return -1;
    if (!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
        !bind(fd, address->ai_addr, address->ai_addrlen) && !listen(fd, BACKLOG))
        return fd;
    on = errno;
    close(fd);
    errno = on;
    return -1;
}

static apr_status_t bind_to(fs_http_server_t *server, const char *listen, int fd,
                            const struct addrinfo *address, fs_result_t *result)
{
    int inherited = fd > 0;

    if (!server->ring.count && !is_loopback(address->ai_addr))
        return fs_result_set(result, APR_EACCES, "FS0231",
                             "refusing to listen on %s without a farm key: anybody who reaches it "
                             "could speak for the farm; give a key file or listen on 127.0.0.1",
                             listen);
    if (!inherited)
        fd = open_listening(address);
    if (fd < 0 || accept_from(server, FS_HTTP_ADDRESS, fd)) {
        fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0232", "cannot listen on %s: %s", listen,
                      strerror(errno));
        if (fd >= 0 && !inherited)
            close(fd);
        return result ? result->status : APR_EGENERAL;
    }
    read_port(server);
    return APR_SUCCESS;
}

static apr_status_t listen_on_socket(fs_http_server_t *server, const char *path, unsigned mode,
                                     int fd, fs_result_t *result)
{
    int inherited = fd > 0;

    if (!inherited)
        fd = fs_unix_listen(path, mode ? (mode_t)mode : SOCKET_MODE, BACKLOG, result);
    if (fd < 0)
        return APR_EGENERAL;
    if (!accept_from(server, FS_HTTP_SOCKET, fd))
        return APR_SUCCESS;
    if (!inherited)
        close(fd);
    return out_of_memory(result);
}

static apr_status_t listen_on(fs_http_server_t *server, const char *listen, int fd,
                              fs_result_t *result)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char host[256], service[8];
    apr_status_t status;
    unsigned port;
    int error;

    if (fs_http_parse_listen(listen, host, sizeof(host), &port))
        return fs_result_set(result, APR_EINVAL, "FS0230",
                             "\"%s\" is no address to listen on; write it like 10.0.0.1:4470 or "
                             "[::1]:4470",
                             listen);
    snprintf(service, sizeof(service), "%u", port);
    error = getaddrinfo(host, service, &hints, &found);
    if (error)
        return fs_result_set(result, APR_EINVAL, "FS0230", "cannot listen on \"%s\": %s", listen,
                             gai_strerror(error));
    status = bind_to(server, listen, fd, found, result);
    freeaddrinfo(found);
    return status;
}

/* --- posted functions ---------------------------------------------------------------------------
 */

static fs_http_post_t *take_post(fs_http_server_t *server)
{
    fs_http_post_t *post;

    pthread_mutex_lock(&server->lock);
    post = STAILQ_FIRST(&server->posts);
    if (post)
        STAILQ_REMOVE_HEAD(&server->posts, link);
    pthread_mutex_unlock(&server->lock);
    return post;
}

static void on_wake(evutil_socket_t fd, short what, void *baton)
{
    fs_http_server_t *server = baton;
    fs_http_post_t *post;

    while ((post = take_post(server))) {
        post->fn(post->baton);
        free(post);
    }
}

void fs_http_server_post(fs_http_server_t *server, void (*fn)(void *), void *baton)
{
    fs_http_post_t *post = malloc(sizeof(*post));

    if (!post) {
        fs_log(FS_LOG_ERROR, "FS0237", "out of memory: an event of the HTTP server was lost");
        return;
    }
    post->fn = fn;
    post->baton = baton;
    pthread_mutex_lock(&server->lock);
    STAILQ_INSERT_TAIL(&server->posts, post, link);
    pthread_mutex_unlock(&server->lock);
    event_active(server->wake, EV_TIMEOUT, 0);
}

/* --- life ---------------------------------------------------------------------------------------
 */

apr_status_t fs_http_server_listen(fs_http_server_t *server, const char *listen,
                                   fs_result_t *result)
{
    return server->stopping ? APR_EOF : listen_on(server, listen, 0, result);
}

static apr_status_t open_listeners(fs_http_server_t *server,
                                   const fs_http_server_settings_t *settings, fs_result_t *result)
{
    const char *listen = settings->listen, *path = settings->socket;
    apr_status_t status = APR_SUCCESS;

    if (listen && !strncmp(listen, SOCKET_PREFIX, strlen(SOCKET_PREFIX))) {
        path = listen + strlen(SOCKET_PREFIX);
        listen = NULL;
    }
    if (listen)
        status = listen_on(server, listen, settings->listen_fd, result);
    if (!status && path)
        status = listen_on_socket(server, path, settings->socket_mode, settings->socket_fd, result);
    return status;
}

static apr_status_t set_up(fs_http_server_t *server, const fs_http_server_settings_t *settings,
                           const fs_http_route_t *routes, fs_result_t *result)
{
    server->base = event_base_new();
    server->routes = malloc(sizeof(*routes) * (server->route_count + 1));
    if (!server->base || !server->routes)
        return out_of_memory(result);
    if (server->route_count)
        memcpy(server->routes, routes, sizeof(*routes) * server->route_count);
    server->wake = event_new(server->base, -1, EV_PERSIST, on_wake, server);
    server->reopen = evtimer_new(server->base, on_reopen, server);
    if (!server->wake || !server->reopen)
        return out_of_memory(result);
    if (settings->ring)
        server->ring = *settings->ring;
    if (settings->cert_file) {
        server->tls = fs_http_tls_create(settings, result);
        if (!server->tls)
            return APR_EINVAL;
    }
    return open_listeners(server, settings, result);
}

apr_status_t fs_http_server_create(fs_http_server_t **server,
                                   const fs_http_server_settings_t *settings,
                                   const fs_http_route_t *routes, unsigned route_count, void *baton,
                                   fs_result_t *result)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    fs_http_server_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    *server = NULL;
    if (!made)
        return out_of_memory(result);
    pthread_once(&once, use_threads);
    pthread_mutex_init(&made->lock, NULL);
    LIST_INIT(&made->connections);
    STAILQ_INIT(&made->posts);
    made->route_count = route_count;
    made->baton = baton;
    made->refused = settings->refused;
    made->max_connections = settings->max_connections ? settings->max_connections : MAX_CONNECTIONS;
    made->idle.tv_sec = settings->idle_timeout_s ? settings->idle_timeout_s : IDLE_TIMEOUT_S;
    status = set_up(made, settings, routes, result);
    if (status == APR_SUCCESS)
        *server = made;
    else
        fs_http_server_destroy(made);
    return status;
}

void fs_http_server_closed(fs_http_server_t *server)
{
    server->connection_count--;
    if (server->stopping && !server->connection_count)
        event_base_loopbreak(server->base);
}

static void close_listeners(fs_http_server_t *server)
{
    for (unsigned i = 0; i < FS_HTTP_LISTENERS; i++) {
        if (server->listeners[i].events)
            evconnlistener_free(server->listeners[i].events);
        server->listeners[i].events = NULL;
    }
}

/* In the loop: no new connections, and no longer any that only waits. */
static void stop(void *baton)
{
    static const struct timeval patience = {STOP_S, 0};
    fs_http_server_t *server = baton;
    fs_http_connection_t *connection, *next;

    if (server->stopping)
        return;
    server->stopping = 1;
    close_listeners(server);
    for (connection = LIST_FIRST(&server->connections); connection; connection = next) {
        next = LIST_NEXT(connection, link);
        fs_http_connection_stop(connection);
    }
    if (server->connection_count)
        event_base_loopexit(server->base, &patience);
    else
        event_base_loopbreak(server->base);
}

void fs_http_server_stop(fs_http_server_t *server)
{
    fs_http_server_post(server, stop, server);
}

void fs_http_server_run(fs_http_server_t *server)
{
    event_base_loop(server->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void fs_http_server_destroy(fs_http_server_t *server)
{
    fs_http_post_t *post;

    if (!server)
        return;
    while (!LIST_EMPTY(&server->connections))
        fs_http_connection_close(LIST_FIRST(&server->connections));
    while ((post = take_post(server)))
        free(post);
    close_listeners(server);
    if (server->wake)
        event_free(server->wake);
    if (server->reopen)
        event_free(server->reopen);
    if (server->base)
        event_base_free(server->base);
    SSL_CTX_free(server->tls);
    pthread_mutex_destroy(&server->lock);
    explicit_bzero(&server->ring, sizeof(server->ring));
    free(server->routes);
    free(server);
}

void fs_http_server_set_ring(fs_http_server_t *server, const fs_keyring_t *ring)
{
    server->ring = *ring;
}

struct event_base *fs_http_server_base(fs_http_server_t *server)
{
    return server->base;
}

unsigned fs_http_server_files(const fs_http_server_t *server)
{
    return server->file_count;
}

static int fd_of(const fs_http_server_t *server, unsigned which)
{
    struct evconnlistener *events = server->listeners[which].events;

    return events ? evconnlistener_get_fd(events) : -1;
}

int fs_http_server_listen_fd(const fs_http_server_t *server)
{
    return fd_of(server, FS_HTTP_ADDRESS);
}

int fs_http_server_socket_fd(const fs_http_server_t *server)
{
    return fd_of(server, FS_HTTP_SOCKET);
}

unsigned fs_http_server_port(const fs_http_server_t *server)
{
    return server->port;
}
