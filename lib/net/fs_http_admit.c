/* SPDX-License-Identifier: Apache-2.0 */
/* What a request asks for, and whether it is let in: its route and its signature. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "net/fs_http_internal.h"

#define COMPLAINT_INTERVAL (10 * FS_USEC_PER_SEC)

/* --- routing ------------------------------------------------------------------------------------
 */

static int path_matches(const fs_http_route_t *route, const char *path)
{
    return route->flags & FS_ROUTE_PREFIX ? !strncmp(path, route->path, strlen(route->path))
                                          : !strcmp(path, route->path);
}

static int method_matches(const fs_http_route_t *route, const char *method)
{
    return !strcmp(route->method, method) ||
           (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

static void add_allowed(fs_http_call_t *call, const char *method)
{
    size_t used = strlen(call->allow);

    snprintf(call->allow + used, sizeof(call->allow) - used, "%s%s%s", used ? ", " : "", method,
             strcmp(method, "GET") ? "" : ", HEAD");
}

void fs_http_call_find_route(fs_http_call_t *call)
{
    const fs_http_server_t *server = call->connection->server;

    for (unsigned i = 0; i < server->route_count; i++) {
        const fs_http_route_t *route = &server->routes[i];

        if (!path_matches(route, call->path) ||
            (route->flags & FS_ROUTE_LOCAL && !call->connection->local))
            continue;
        if (method_matches(route, call->head.method)) {
            call->route = route;
            call->rest = call->path + strlen(route->path);
            return;
        }
        add_allowed(call, route->method);
    }
}

int fs_http_call_split(fs_http_call_t *call)
{
    char *query;

    call->path = strdup(call->head.target);
    if (!call->path)
        return -1;
    query = strchr(call->path, '?');
    if (query) {
        *query++ = '\0';
        call->query = strdup(query);
        if (!call->query)
            return -1;
        call->param_count = fs_http_parse_query(call->query, call->params);
        if (call->param_count < 0) {
            call->param_count = 0;
            return -1;
        }
    }
    return fs_http_decode(call->path, 0);
}

/* --- signatures ---------------------------------------------------------------------------------
 */

static int needs_signature(const fs_http_call_t *call)
{
    return call->connection->server->ring.count && !call->connection->local &&
           !(call->route && call->route->flags & FS_ROUTE_OPEN);
}

/* Once in a while only: whoever sends wrong signatures decides how many. */
static void complain(fs_http_connection_t *connection, const fs_result_t *cause)
{
    fs_http_server_t *server = connection->server;
    fs_usec_t now = fs_time_mono();

    if (server->complained && now - server->complained < COMPLAINT_INTERVAL)
        return;
    server->complained = now;
    fs_log(FS_LOG_WARNING, "FS0239", "refused a request of %s: %s: %s", connection->peer,
           cause->problem, cause->detail);
}

void fs_http_call_tell_refused(const fs_http_call_t *call, const char *problem)
{
    const fs_http_server_t *server = call->connection->server;

    if (server->refused && call->route)
        server->refused(server->baton, problem, call->route);
}

static void unauthorized(fs_http_call_t *call, const fs_result_t *cause)
{
    complain(call->connection, cause);
    fs_http_call_tell_refused(call, cause->problem);
    fs_http_call_set_header(call, "WWW-Authenticate", "FarmSync");
    fs_http_call_problem(call, 401, cause);
}

int fs_http_call_authenticate(fs_http_call_t *call)
{
    const fs_http_server_t *server = call->connection->server;
    const char *header = fs_http_head_field(&call->head, "FarmSync-Auth");
    fs_result_t cause;

    if (!server->ring.count || call->connection->local)
        return 1;
    if (fs_auth_check_request(&server->ring, header, call->head.method, call->head.target,
                              call->body, call->length, call->nonce, call->origin,
                              &cause) == APR_SUCCESS ||
        !needs_signature(call))
        return 1;
    unauthorized(call, &cause);
    return 0;
}

int fs_http_call_is_unsigned(fs_http_call_t *call)
{
    fs_result_t cause;
    fs_auth_t none;

    if (!needs_signature(call) || fs_http_head_field(&call->head, "FarmSync-Auth"))
        return 0;
    fs_auth_parse(&none, NULL, 1, &cause);
    unauthorized(call, &cause);
    return 1;
}
