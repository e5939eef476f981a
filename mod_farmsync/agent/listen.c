/* SPDX-License-Identifier: Apache-2.0 */
#include "listen.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backplane.h"
#include "base/fs_unix.h"
#include "net/fs_http_parse.h"
#include "parts.h"
#include "reply.h"

#define HANDOVER_FILE    "agent.handover"
#define HANDOVER_FOR_MS  500 /* an agent that hangs is not waited for: it will be killed */
#define HANDOVER_MODE    0600
#define HANDOVER_BACKLOG 8
#define CONNECTIONS_MAX  1024
#define RETRY_S          2
#define IDLE_S           75 /* longer than whoever keeps connections to it */

typedef struct fs_listen_t {
    fs_http_route_t routes[FS_LISTEN_ROUTES_MAX];
    unsigned route_count;
    fs_http_server_t *server;
    struct evconnlistener *handover;
    struct event *retry; /* the address could not be listened on */
    fs_trouble_t trouble;
    char url[300];
    int socket_fd; /* of the agent before this one; 0 none */
    int listen_fd;
    pthread_t thread;
    int started;
    int joined;
} fs_listen_t;

/* What goes with the descriptors: which of them there are, and what the address was configured as.
 */
typedef struct handover_t {
    char magic[8];
    char listen[256]; /* "": the only descriptor is that of agent.sock */
} handover_t;

static const char magic[8] = "fshand1";

static fs_listen_t *listen_of(fs_agent_t *agent)
{
    if (!agent->listen)
        agent->listen = calloc(1, sizeof(*agent->listen));
    return agent->listen;
}

static char *path_of(const fs_agent_t *agent, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", agent->config.state_dir, name);
    return path;
}

apr_status_t fs_agent_listen_add(fs_agent_t *agent, const fs_http_route_t *routes, unsigned count,
                                 fs_result_t *result)
{
    fs_listen_t *listen = listen_of(agent);

    if (!listen)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    if (count > FS_LISTEN_ROUTES_MAX - listen->route_count)
        return fs_result_set(result, APR_EINVAL, "FS1450",
                             "the agent has more than %d routes; report it", FS_LISTEN_ROUTES_MAX);
    memcpy(listen->routes + listen->route_count, routes, count * sizeof(*routes));
    listen->route_count += count;
    return APR_SUCCESS;
}

void fs_listen_post(fs_agent_t *agent, void (*fn)(void *), void *baton)
{
    fs_http_server_post(agent->listen->server, fn, baton);
}

struct event_base *fs_listen_base(fs_agent_t *agent)
{
    return fs_http_server_base(agent->listen->server);
}

const char *fs_listen_url(const fs_agent_t *agent)
{
    return agent->listen ? agent->listen->url : "";
}

/* --- take-over, the new agent's side ---------------------------------------------------------- */

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* Waits for the one message of the agent before this one. Returns how many descriptors came. */
static unsigned receive(int fd, handover_t *said, int fds[FS_UNIX_FDS])
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    unsigned count = 0;
    ssize_t got = 0;

    if (poll(&ready, 1, HANDOVER_FOR_MS) == 1)
        got = fs_unix_receive(fd, said, sizeof(*said), fds, &count);
    if (got == (ssize_t)sizeof(*said) && !memcmp(said->magic, magic, sizeof(magic)) &&
        memchr(said->listen, '\0', sizeof(said->listen)) && count == (said->listen[0] ? 2u : 1u))
        return count;
    close_all(fds, count);
    return 0;
}

/* Whether who connects by the name comes to this socket: another agent may have replaced it since.
 */
static int is_behind_name(const fs_agent_t *agent, int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char path[PATH_MAX];
    int caller = fs_unix_connect(path_of(agent, FS_LISTEN_SOCKET, path));
    int reached = caller >= 0 && poll(&ready, 1, 0) == 1;

    if (caller >= 0)
        close(caller);
    return reached;
}

/* A socket whose name somebody took away is of no use. */
static int is_there(const fs_agent_t *agent)
{
    char path[PATH_MAX];
    struct stat info;

    return !lstat(path_of(agent, FS_LISTEN_SOCKET, path), &info) && S_ISSOCK(info.st_mode);
}

static void let_go(int *fd)
{
    if (*fd > 0)
        close(*fd);
    *fd = 0;
}

int fs_listen_take_over(void *baton, int another)
{
    fs_agent_t *agent = baton;
    fs_listen_t *listen = listen_of(agent);
    const char *wanted = agent->config.listen ? agent->config.listen : "";
    int fds[FS_UNIX_FDS], fd;
    char path[PATH_MAX];
    handover_t said;
    unsigned count;

    if (listen && another) {
        let_go(&listen->socket_fd);
        let_go(&listen->listen_fd);
    }
    if (!listen || listen->socket_fd)
        return listen != NULL;
    fd = fs_unix_connect(path_of(agent, HANDOVER_FILE, path));
    if (fd < 0)
        return 0;
    count = receive(fd, &said, fds);
    close(fd);
    if (count && is_there(agent))
        listen->socket_fd = fds[0];
    else if (count)
        close(fds[0]);
    if (count == 2 && !strcmp(said.listen, wanted))
        listen->listen_fd = fds[1];
    else if (count == 2)
        close(fds[1]);
    return listen->socket_fd > 0;
}

/* --- take-over, the old agent's side ---------------------------------------------------------- */

static int is_own_user(int fd)
{
    struct ucred user;
    socklen_t length = sizeof(user);

    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &length) &&
           (user.uid == geteuid() || user.uid == 0);
}

static void on_successor(struct evconnlistener *listener, evutil_socket_t fd,
                         struct sockaddr *address, int length, void *baton)
{
    fs_agent_t *agent = baton;
    const fs_http_server_t *server = agent->listen->server;
    int fds[2] = {fs_http_server_socket_fd(server), fs_http_server_listen_fd(server)};
    handover_t said;

    memset(&said, 0, sizeof(said));
    memcpy(said.magic, magic, sizeof(magic));
    if (fds[1] >= 0)
        snprintf(said.listen, sizeof(said.listen), "%s", agent->config.listen);
    if (fds[0] >= 0 && is_own_user(fd))
        fs_unix_send(fd, &said, sizeof(said), fds, fds[1] >= 0 ? 2 : 1);
    close(fd);
}

static apr_status_t open_handover(fs_agent_t *agent, fs_result_t *result)
{
    char path[PATH_MAX];
    int fd = fs_unix_listen(path_of(agent, HANDOVER_FILE, path), HANDOVER_MODE, HANDOVER_BACKLOG,
                            result);

    if (fd < 0)
        return APR_EGENERAL;
    agent->listen->handover =
        evconnlistener_new(fs_listen_base(agent), on_successor, agent,
                           LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (agent->listen->handover)
        return APR_SUCCESS;
    close(fd);
    return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
}

/* --- the address --------------------------------------------------------------------------------
 */

static int is_wildcard(const char *host)
{
    return !strcmp(host, "0.0.0.0") || !strcmp(host, "::");
}

/* Where others reach what listens on `config->listen`. `port` is what port 0 became. */
static void make_url(const fs_agent_config_t *config, unsigned port, char *url, size_t size)
{
    const char *scheme = config->cert_file ? "https" : "http";
    char host[256] = "", own[256];
    unsigned said, unused;

    url[0] = '\0';
    if (!config->listen)
        return;
    if (config->advertise) {
        snprintf(url, size, "%s://%s", scheme, config->advertise);
        return;
    }
    if (fs_http_parse_listen(config->listen, host, sizeof(host), &said))
        return;
    if (is_wildcard(host) && config->address &&
        !fs_http_parse_listen(config->address, own, sizeof(own), &unused))
        memcpy(host, own, sizeof(host));
    snprintf(url, size, strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host,
             said ? said : port);
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void try_again(evutil_socket_t fd, short what, void *baton)
{
    static const struct timeval later = {RETRY_S, 0};
    fs_agent_t *agent = baton;
    fs_listen_t *listen = agent->listen;
    fs_result_t result;

    if (fs_http_server_listen(listen->server, agent->config.listen, &result)) {
        event_add(listen->retry, &later);
        return;
    }
    fs_agent_trouble(&listen->trouble, FS_LOG_ERROR, NULL, "FS1453", "listens on %s now",
                     agent->config.listen);
}

/*
 * Data and this host's own requests are served although the address can't be listened on: who has
 * it may go, and an error in a certificate concerns the other servers only.
 */
static apr_status_t go_on_without(fs_agent_t *agent, fs_http_server_settings_t *settings,
                                  fs_result_t *result)
{
    static const struct timeval later = {RETRY_S, 0};
    fs_listen_t *listen = agent->listen;
    apr_status_t status;
    fs_result_t problem;

    fs_result_set(
        &problem, result->status, "FS1452",
        "the other agents can't reach this one: %s (%s); going on without the backplane's "
        "listener",
        result->detail, result->problem);
    fs_agent_trouble(&listen->trouble, FS_LOG_ERROR, &problem, NULL, "%s", "");
    settings->listen = NULL;
    status = fs_http_server_create(&listen->server, settings, listen->routes, listen->route_count,
                                   agent, result);
    if (!status) {
        listen->retry = evtimer_new(fs_listen_base(agent), try_again, agent);
        if (listen->retry)
            event_add(listen->retry, &later);
        return APR_SUCCESS;
    }
    settings->cert_file = NULL; /* it is never listened on without TLS when that is configured */
    return fs_http_server_create(&listen->server, settings, listen->routes, listen->route_count,
                                 agent, result);
}

static void answer_agent(void *baton, fs_http_call_t *call)
{
    const fs_agent_t *agent = baton;

    fs_reply_json(call,
                  json_pack("{s:s, s:s, s:i, s:s}", "server", agent->config.server, "version",
                            FARMSYNC_VERSION, "pid", (int)getpid(), "url", fs_listen_url(agent)));
}

static const fs_http_route_t own_routes[] = {{"GET", "/v1/agent", 0, 0, answer_agent}};

static void on_refused(void *baton, const char *problem, const fs_http_route_t *route)
{
    if (!strcmp(route->path, FS_LISTEN_EXCHANGE))
        fs_backplane_refused_call(baton, problem);
}

apr_status_t fs_listen_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_listen_t *listen = listen_of(agent);
    const fs_agent_config_t *config = &agent->config;
    char path[PATH_MAX];
    apr_status_t status = fs_agent_listen_add(agent, own_routes, 1, result);

    if (status)
        return status;
    if (listen->socket_fd && !is_behind_name(agent, listen->socket_fd))
        let_go(&listen->socket_fd);
    fs_http_server_settings_t settings = {.listen = config->listen,
                                          .listen_fd = listen->listen_fd,
                                          .socket = path_of(agent, FS_LISTEN_SOCKET, path),
                                          .socket_fd = listen->socket_fd,
                                          .ring = &agent->ring,
                                          .cert_file = config->listen ? config->cert_file : NULL,
                                          .client_ca_file = config->ca_file,
                                          .max_connections = CONNECTIONS_MAX,
                                          .refused = on_refused,
                                          .idle_timeout_s = IDLE_S};
    status = fs_http_server_create(&listen->server, &settings, listen->routes, listen->route_count,
                                   agent, result);
    if (status && config->listen && strcmp(result->problem, "FS0253") != 0)
        status = go_on_without(agent, &settings, result);
    else if (!status && config->listen)
        fs_log(FS_LOG_INFO, "FS1451", "listens for the other agents on %s", config->listen);
    if (status)
        return status;
    make_url(config, fs_http_server_port(listen->server), listen->url, sizeof(listen->url));
    return open_handover(agent, result);
}

static void *run(void *agent)
{
    fs_http_server_run(((fs_agent_t *)agent)->listen->server);
    return NULL;
}

apr_status_t fs_listen_start(fs_agent_t *agent, fs_result_t *result)
{
    apr_status_t status = fs_agent_start_thread(&agent->listen->thread, run, agent, result);

    agent->listen->started = !status;
    return status;
}

void fs_listen_wake(fs_agent_t *agent)
{
    if (agent->listen && agent->listen->started && !agent->listen->joined)
        fs_http_server_stop(agent->listen->server);
}

int fs_listen_join(fs_agent_t *agent)
{
    fs_listen_t *listen = agent->listen;

    if (listen && listen->started && !listen->joined)
        listen->joined = !pthread_tryjoin_np(listen->thread, NULL);
    return !listen || !listen->started || listen->joined;
}
