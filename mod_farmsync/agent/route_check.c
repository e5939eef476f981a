/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FarmSyncAgentCheck: HAProxy's agent-check. Whoever connects gets one line of ASCII and the end of
 * the connection. It is plain TCP without a key, so it says nothing but that, and who doesn't take
 * his line or end within CLIENT_S, or comes when CLIENTS_MOST are there, is cut.
 *
 * An agent that follows on another one can't listen before that has ended; HAProxy goes on with
 * what it knew, as a check that can't connect changes nothing.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "listen.h"
#include "net/fs_http_parse.h"
#include "route_internal.h"

#define CLIENTS_MOST 64
#define CLIENT_S     2
#define CLIENT_BYTES 4096 /* HAProxy's agent-send, which is not read for what it says */
#define RETRY_FIRST  5    /* while the agent before this one may still end: each RETRY_FAST us */
#define RETRY_FAST   (100 * 1000)
#define RETRY_SLOW_S 2
#define BACKLOG      64

typedef struct client_t {
    struct fs_route_check_t *check;
    evutil_socket_t fd;
    struct event *ready;
    size_t taken;
} client_t;

struct fs_route_check_t {
    fs_agent_t *agent;
    struct evconnlistener *listener;
    struct event *retry;
    unsigned failures;
    fs_trouble_t trouble;
    unsigned clients;
};

static void end_client(client_t *client)
{
    client->check->clients--;
    event_free(client->ready);
    evutil_closesocket(client->fd);
    free(client);
}

/* Reads what the client sends until it ends: closing before that would take the line back. */
static void on_client(evutil_socket_t fd, short what, void *baton)
{
    client_t *client = baton;
    char ignored[256];
    ssize_t got;

    if (what & EV_TIMEOUT) {
        end_client(client);
        return;
    }
    got = recv(fd, ignored, sizeof(ignored), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        client->taken += (size_t)got;
    if (got <= 0 || client->taken > CLIENT_BYTES)
        end_client(client);
}

/* A line is shorter than any socket's buffer: it is taken whole, or the client isn't there. */
static int send_line(fs_routing_t *routing, evutil_socket_t fd)
{
    char line[FS_ROUTING_LINE_SIZE];
    size_t length;

    pthread_mutex_lock(&routing->lock);
    memcpy(line, routing->line, sizeof(line));
    pthread_mutex_unlock(&routing->lock);
    length = strlen(line);
    return send(fd, line, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length &&
                   !shutdown(fd, SHUT_WR)
               ? 0
               : -1;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *baton)
{
    static const struct timeval patience = {CLIENT_S, 0};
    fs_route_check_t *check = baton;
    client_t *client = NULL;

    if (check->clients < CLIENTS_MOST && !send_line(check->agent->routing, fd))
        client = calloc(1, sizeof(*client));
    if (client) {
        client->check = check;
        client->fd = fd;
        client->ready =
            event_new(fs_listen_base(check->agent), fd, EV_READ | EV_PERSIST, on_client, client);
    }
    if (!client || !client->ready) {
        free(client);
        evutil_closesocket(fd);
        return;
    }
    check->clients++;
    event_add(client->ready, &patience);
}

/* --- listening ----------------------------------------------------------------------------------
 */

static int bind_to(fs_route_check_t *check, const struct addrinfo *found)
{
    for (; found && !check->listener; found = found->ai_next)
        check->listener = evconnlistener_new_bind(fs_listen_base(check->agent), on_accept, check,
                                                  LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
                                                      LEV_OPT_REUSEABLE,
                                                  BACKLOG, found->ai_addr, (int)found->ai_addrlen);
    return check->listener ? 0 : -1;
}

static int try_listen(fs_route_check_t *check, fs_result_t *result)
{
    const char *where = check->agent->config.route.agent_check;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[256], service[16];
    unsigned port;
    int error;

    if (fs_http_parse_listen(where, host, sizeof(host), &port) || !port) {
        fs_result_set(result, APR_EINVAL, "FS1671",
                      "FarmSyncAgentCheck %s: give host:port, or [address]:port", where);
        return -1;
    }
    snprintf(service, sizeof(service), "%u", port);
    error = getaddrinfo(host, service, &hints, &found);
    if (error)
        fs_result_set(result, APR_EINVAL, "FS1671",
                      "FarmSyncAgentCheck %s: the name can't be resolved (%s)", where,
                      gai_strerror(error));
    else if ((error = bind_to(check, found)))
        fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS1671",
                      "HAProxy's agent-check can't be answered on %s: %s; give FarmSyncAgentCheck "
                      "an address of this host and a port that nobody else has",
                      where, strerror(errno));
    if (found)
        freeaddrinfo(found);
    return error ? -1 : 0;
}

static void on_retry(evutil_socket_t fd, short what, void *baton)
{
    fs_route_check_t *check = baton;
    struct timeval later = {0, RETRY_FAST};
    fs_result_t result;

    if (!try_listen(check, &result)) {
        if (check->trouble.now.problem[0])
            fs_agent_trouble(&check->trouble, FS_LOG_ERROR, NULL, "FS1672",
                             "answers HAProxy's agent-check on %s now",
                             check->agent->config.route.agent_check);
        return;
    }
    if (++check->failures > RETRY_FIRST) {
        fs_agent_trouble(&check->trouble, FS_LOG_ERROR, &result, NULL, "%s", "");
        later = (struct timeval){RETRY_SLOW_S, 0};
    }
    event_add(check->retry, &later);
}

apr_status_t fs_route_check_start(fs_agent_t *agent, fs_result_t *result)
{
    static const struct timeval at_once = {0, 0};
    fs_route_check_t *check;

    if (!agent->config.route.agent_check)
        return APR_SUCCESS;
    check = calloc(1, sizeof(*check));
    if (check)
        check->retry = evtimer_new(fs_listen_base(agent), on_retry, check);
    if (!check || !check->retry) {
        free(check);
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    }
    check->agent = agent;
    agent->routing->check = check;
    event_add(check->retry, &at_once);
    return APR_SUCCESS;
}
