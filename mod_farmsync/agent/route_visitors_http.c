/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to other agents, and theirs. Handlers run in the listeners' loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "route_visitors_internal.h"

#define TIMEOUT_MS 5000

/* --- to others ----------------------------------------------------------------------------------
 */

static void write_hex(const uint8_t *bytes, char *text)
{
    for (unsigned i = 0; i < FS_ROUTE_ID_BYTES; i++)
        sprintf(text + 2 * (size_t)i, "%02x", bytes[i]);
}

static const char *agent_of(const fs_route_visitors_t *visitors, const char *name)
{
    for (unsigned i = 0; i < FS_ROUTE_SERVERS; i++)
        if (!strcmp(visitors->peers[i].name, name))
            return visitors->peers[i].agent;
    return "";
}

/* A server's name as part of a query. */
static void write_name(const char *name, char out[3 * FS_ROUTE_NAME_SIZE])
{
    for (; *name; name++)
        out += sprintf(out, "%%%02X", (unsigned char)*name);
    *out = '\0';
}

apr_status_t fs_visitors_send(fs_route_visitors_t *visitors,
                              const fs_route_share_request_t *request, fs_result_t *result)
{
    char url[FS_PEER_URL_SIZE + 4 * FS_ROUTE_NAME_SIZE + 128], of[3 * FS_ROUTE_NAME_SIZE],
        after[2 * FS_ROUTE_ID_BYTES + 1] = "";
    const char *agent = agent_of(visitors, request->peer);
    fs_http_fan_request_t sent = {.id = request->id,
                                  .method = request->asks ? "GET" : "POST",
                                  .url = url,
                                  .content_type = request->asks ? NULL : FS_VISITORS_TYPE,
                                  .body = request->asks ? NULL : request->body,
                                  .length = request->length,
                                  .limit = FS_ROUTE_DELTA_LIMIT,
                                  .timeout_ms = TIMEOUT_MS};

    if (!agent[0])
        return fs_result_set(result, APR_NOTFOUND, "FS1690", "%s has no address", request->peer);
    write_name(request->of, of);
    if (request->goes_on)
        write_hex(request->after, after);
    if (request->asks)
        snprintf(url, sizeof(url), "%s" FS_VISITORS_PAGES "?of=%s%s%s", agent, of,
                 request->goes_on ? "&after=" : "", after);
    else
        snprintf(url, sizeof(url), "%s" FS_VISITORS_CHANGES, agent);
    return fs_http_fan_start(visitors->fan, &sent, result);
}

/* --- what others tell ----------------------------------------------------------------------------
 */

static void on_gone(void *baton, fs_http_call_t *call)
{
    (void)call;
    ((fs_told_call_t *)baton)->call = NULL;
}

static void free_told(fs_told_call_t *told)
{
    free(told->body);
    free(told->answer);
    free(told);
}

/* In the loop. */
static void finish(void *baton)
{
    fs_told_call_t *told = baton;

    if (told->call && told->answer_length)
        fs_http_call_answer(told->call, 200, FS_VISITORS_TYPE, told->answer, told->answer_length);
    else if (told->call)
        fs_http_call_problem(told->call, told->result.status == APR_EINVAL ? 400 : 503,
                             &told->result);
    free_told(told);
}

static fs_told_call_t *next_told(fs_route_visitors_t *visitors)
{
    fs_told_call_t *told;

    pthread_mutex_lock(&visitors->lock);
    told = STAILQ_FIRST(&visitors->told);
    if (told) {
        STAILQ_REMOVE_HEAD(&visitors->told, link);
        visitors->told_count--;
    }
    pthread_mutex_unlock(&visitors->lock);
    return told;
}

void fs_visitors_serve(fs_route_visitors_t *visitors, fs_moment_t now)
{
    fs_told_call_t *told;

    while ((told = next_told(visitors))) {
        told->answer_length =
            fs_route_share_serve(visitors->share, now, told->has_origin ? told->origin : NULL,
                                 told->body, told->length, told->answer, &told->result);
        fs_listen_post(visitors->agent, finish, told);
    }
}

void fs_visitors_drop_told(fs_route_visitors_t *visitors)
{
    fs_told_call_t *told;

    while ((told = next_told(visitors)))
        free_told(told);
}

static fs_told_call_t *make_told(fs_route_visitors_t *visitors, fs_http_call_t *call)
{
    fs_told_call_t *told = calloc(1, sizeof(*told));
    const char *body;

    if (!told)
        return NULL;
    told->visitors = visitors;
    told->call = call;
    body = fs_http_call_body(call, &told->length);
    told->body = malloc(told->length + 1);
    told->answer = malloc(FS_ROUTE_DELTA_LIMIT);
    told->has_origin = visitors->agent->ring.count || fs_http_call_is_local(call);
    snprintf(told->origin, sizeof(told->origin), "%s", fs_http_call_origin(call));
    if (!told->body || !told->answer) {
        free_told(told);
        return NULL;
    }
    if (told->length)
        memcpy(told->body, body, told->length);
    return told;
}

/* POST /v1/route/changes */
static void take_changes(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    fs_route_visitors_t *visitors = agent->route_visitors;
    fs_told_call_t *told = NULL;
    fs_result_t result;

    pthread_mutex_lock(&visitors->lock);
    if (visitors->told_count < FS_VISITORS_ASKED && (told = make_told(visitors, call))) {
        STAILQ_INSERT_TAIL(&visitors->told, told, link);
        visitors->told_count++;
    }
    pthread_mutex_unlock(&visitors->lock);
    if (told) {
        fs_http_call_defer(call, on_gone, told);
        fs_http_fan_wake(visitors->fan);
        return;
    }
    fs_result_set(&result, APR_ENOSPC, "FS1691",
                  "too many servers tell of their visitors at the same time; it is taken later");
    fs_http_call_problem(call, 503, &result);
}

/* --- what others ask -----------------------------------------------------------------------------
 */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_after(const char *text, uint8_t id[FS_ROUTE_ID_BYTES])
{
    if (strlen(text) != 2 * FS_ROUTE_ID_BYTES)
        return -1;
    for (unsigned i = 0; i < FS_ROUTE_ID_BYTES; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -1;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* GET /v1/route/visitors?of=NAME&after=ID: reads only, which waits for nobody. */
static void answer_page(void *baton, fs_http_call_t *call)
{
    static uint8_t out[FS_ROUTE_DELTA_LIMIT]; /* of the loop's thread */
    fs_agent_t *agent = baton;
    const char *of = fs_http_call_query(call, "of"), *after = fs_http_call_query(call, "after");
    uint8_t id[FS_ROUTE_ID_BYTES];
    fs_result_t result;
    size_t length;

    if ((after && read_after(after, id)) || (of && (!of[0] || strlen(of) >= FS_ROUTE_NAME_SIZE))) {
        fs_result_set(&result, APR_EINVAL, "FS1692",
                      "`of` has to be a server's name, `after` the 24 hex digits of a visitor");
        fs_http_call_problem(call, 400, &result);
        return;
    }
    length = fs_route_share_page(agent->route_visitors->store, agent->config.server, of,
                                 after ? id : NULL, out, &result);
    if (length)
        fs_http_call_answer(call, 200, FS_VISITORS_TYPE, out, length);
    else
        fs_http_call_problem(call, 503, &result);
}

apr_status_t fs_visitors_routes(fs_agent_t *agent, fs_result_t *result)
{
    static const fs_http_route_t routes[] = {
        {"POST", FS_VISITORS_CHANGES, 0, FS_ROUTE_DELTA_LIMIT, take_changes},
        {"GET", FS_VISITORS_PAGES, 0, 0, answer_page},
    };

    return fs_agent_listen_add(agent, routes, sizeof(routes) / sizeof(routes[0]), result);
}
