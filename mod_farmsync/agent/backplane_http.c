/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in from the other agents, and how the backplane is. Handlers run in the listeners'
 * loop. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane_internal.h"
#include "listen.h"
#include "reply.h"

#define MESSAGE_TYPE "application/vnd.farmsync.exchange"

/* --- messages -----------------------------------------------------------------------------------
 */

static int status_of(fs_refused_t cause)
{
    switch (cause) {
    case FS_REFUSED_OVERSIZED:
        return 413;
    case FS_REFUSED_FOREIGN:
        return 403;
    case FS_REFUSED_REPLAYED:
        return 409;
    case FS_REFUSED_FULL:
        return 503;
    default:
        return 400;
    }
}

static void refuse(fs_http_call_t *call, fs_refused_t cause)
{
    fs_result_t result;

    fs_result_set(&result, APR_EGENERAL, "FS1481", "the message was refused: %s",
                  fs_refused_name(cause));
    fs_http_call_problem(call, status_of(cause), &result);
}

static void take_message(void *baton, fs_http_call_t *call)
{
    static uint8_t out[FS_MESSAGE_LIMIT]; /* of the loop's thread */
    fs_agent_t *agent = baton;
    fs_backplane_t *backplane = agent->backplane;
    fs_refused_t cause = FS_REFUSED_FOREIGN;
    size_t length, answer = 0;
    const char *bytes = fs_http_call_body(call, &length);

    pthread_mutex_lock(&backplane->lock);
    if (fs_http_call_is_local(call)) /* nobody signed it */
        fs_exchange_refused(backplane->exchange, cause, "");
    else
        answer = fs_exchange_serve(backplane->exchange, fs_backplane_now(backplane),
                                   fs_http_call_origin(call), bytes, length, out, &cause);
    pthread_mutex_unlock(&backplane->lock);
    fs_backplane_deliver(backplane); /* before it is confirmed */
    if (answer)
        fs_http_call_answer(call, 200, MESSAGE_TYPE, out, answer);
    else
        refuse(call, cause);
    fs_backplane_ring(backplane);
}

void fs_backplane_refused_call(fs_agent_t *agent, const char *problem)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_refused_t cause = !strcmp(problem, "FS0211")   ? FS_REFUSED_RETIRED
                         : !strcmp(problem, "FS0242") ? FS_REFUSED_OVERSIZED
                                                      : FS_REFUSED_FOREIGN;

    pthread_mutex_lock(&backplane->lock);
    fs_exchange_refused(backplane->exchange, cause, "");
    pthread_mutex_unlock(&backplane->lock);
}

/* --- how it is ----------------------------------------------------------------------------------
 */

static const char *peer_state_name(fs_peer_state_t state)
{
    static const char *const names[] = {"unknown", "alive", "suspect", "dead"};

    return names[state];
}

static json_t *age_ms(fs_usec_t since, fs_usec_t now)
{
    return since ? json_integer((now - since) / FS_USEC_PER_MSEC) : json_null();
}

static json_t *text_or_null(const char *text)
{
    json_t *json = text[0] ? json_string(text) : json_null();

    return json ? json : json_string("?"); /* not UTF-8 */
}

static json_t *peer_json(const fs_peer_info_t *info, fs_usec_t now)
{
    return json_pack("{s:o, s:s, s:s, s:o, s:b, s:o, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
                     "name", text_or_null(info->name), "url", info->url, "state",
                     peer_state_name(info->state), "age_ms", age_ms(info->heard, now), "same",
                     info->same, "same_age_ms", age_ms(info->same_at, now), "partial",
                     info->partial, "configured", info->configured, "waiting",
                     (json_int_t)info->waiting, "failures", (json_int_t)info->failures, "sent",
                     (json_int_t)info->sent, "received", (json_int_t)info->received, "skew_ms",
                     (json_int_t)(info->skew / FS_USEC_PER_MSEC), "generation",
                     (json_int_t)info->generation, "problem", text_or_null(info->problem));
}

/* The lock is held. */
static json_t *peers_json(const fs_backplane_t *backplane, fs_moment_t now)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < fs_exchange_peer_count(backplane->exchange); i++) {
        fs_peer_info_t info;

        if (fs_exchange_peer(backplane->exchange, i, now, &info))
            json_array_append_new(list, peer_json(&info, now.mono));
    }
    return list;
}

static json_t *refused_json(const fs_exchange_info_t *info)
{
    json_t *causes = json_object();

    for (unsigned c = 0; c < FS_REFUSED_CAUSES; c++)
        json_object_set_new(causes, fs_refused_name((fs_refused_t)c),
                            json_integer((json_int_t)info->refused[c]));
    return causes;
}

/* The lock is held. */
static json_t *state_json(fs_backplane_t *backplane)
{
    static const char *const states[] = {"syncing", "ready", "alone"};
    fs_moment_t now = fs_backplane_now(backplane);
    fs_exchange_info_t info;
    char digest[20];

    fs_exchange_info(backplane->exchange, &info);
    snprintf(digest, sizeof(digest), "%016" PRIx64, fs_map_digest_total(backplane->map));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:I, s:I, s:I, s:o, s:o}",
                     "server", backplane->agent->config.server, "url", backplane->url, "state",
                     backplane->url[0] ? states[info.state] : "off", "generation",
                     (json_int_t)info.generation, "records",
                     (json_int_t)fs_map_count(backplane->map), "bytes",
                     (json_int_t)fs_map_bytes(backplane->map), "bytes_limit",
                     (json_int_t)FS_STATE_LIMIT, "held", (json_int_t)info.held, "digest", digest,
                     "saved", backplane->kept == fs_map_serial(backplane->map), "taken",
                     (json_int_t)info.taken, "differences", (json_int_t)info.compared,
                     "others_with_name", (json_int_t)info.others_with_name, "refused",
                     refused_json(&info), "peers", peers_json(backplane, now));
}

static void show(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    json_t *json;

    pthread_mutex_lock(&agent->backplane->lock);
    json = state_json(agent->backplane);
    pthread_mutex_unlock(&agent->backplane->lock);
    fs_reply_json(call, json);
}

apr_status_t fs_backplane_add_routes(fs_agent_t *agent, fs_result_t *result)
{
    static const fs_http_route_t routes[] = {
        {"POST", FS_LISTEN_EXCHANGE, 0, FS_MESSAGE_LIMIT, take_message},
        {"GET", "/v1/backplane", 0, 0, show},
    };

    return fs_agent_listen_add(agent, routes, 2, result);
}
