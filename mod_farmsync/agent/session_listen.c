/* SPDX-License-Identifier: Apache-2.0 */
/* What the request processes of this host ask (agent.sock, fs_session_ask.h), and the table of all
 * routes of sessions. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "session_admin.h"

#define COPIES_MOST 8u

/* A number of the query; 0 and an answer if it is none. */
static int read_number(fs_http_call_t *call, const char *name, unsigned otherwise, unsigned most,
                       unsigned *number)
{
    const char *text = fs_http_call_query(call, name);
    fs_result_t result;
    char *end;
    unsigned long value;

    *number = otherwise;
    if (!text)
        return 1;
    value = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && value <= most) {
        *number = (unsigned)value;
        return 1;
    }
    fs_result_set(&result, APR_EINVAL, "FS1364", "\"%s\" is a whole number of at most %u", name,
                  most);
    fs_http_call_problem(call, 400, &result);
    return 0;
}

static void bad_body(fs_http_call_t *call, unsigned bytes)
{
    fs_result_t result;

    fs_result_set(&result, APR_EINVAL, "FS1365",
                  "the request's body has not the %u bytes that are expected; install modules and "
                  "agent of the same release",
                  bytes);
    fs_http_call_problem(call, 400, &result);
}

static void fetch(void *baton, fs_http_call_t *call)
{
    fs_sessions_t *sessions = ((fs_agent_t *)baton)->sessions;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    fs_session_key_t key;
    unsigned wait;
    size_t length;
    const char *body = fs_http_call_body(call, &length);

    if (!read_number(call, "wait", sessions->config->timeout_ms, FS_SESSION_WAIT_LIMIT, &wait))
        return;
    if (fs_session_fetch_read(body, length, &key, seal))
        bad_body(call, FS_SESSION_FETCH_BYTES);
    else
        fs_fetch_request(sessions, call, &key, seal, wait * FS_USEC_PER_MSEC);
}

static void ack(void *baton, fs_http_call_t *call)
{
    fs_sessions_t *sessions = ((fs_agent_t *)baton)->sessions;
    fs_session_stamp_t version;
    fs_session_key_t key;
    unsigned wait, copies;
    size_t length;
    const char *body = fs_http_call_body(call, &length);

    if (!read_number(call, "wait", sessions->config->timeout_ms, FS_SESSION_WAIT_LIMIT, &wait) ||
        !read_number(call, "copies", 1, COPIES_MOST, &copies))
        return;
    if (fs_session_ack_read(body, length, &key, &version))
        bad_body(call, FS_SESSION_ACK_BYTES);
    else
        fs_ack_request(sessions, call, &key, &version, copies, wait * FS_USEC_PER_MSEC);
}

static const fs_http_route_t routes[] = {
    {"POST", "/session/fetch", FS_ROUTE_LOCAL, 64, fetch},
    {"POST", "/session/ack", FS_ROUTE_LOCAL, 64, ack},
    {"POST", "/v1/sessions/handover", 0, FS_SESSION_BATCH_LIMIT, fs_owner_handover},
    {"POST", "/v1/sessions/late", 0, FS_SESSION_BATCH_LIMIT, fs_owner_late},
    {"POST", "/v1/sessions/ahead", 0, FS_SESSION_BATCH_LIMIT, fs_ahead_take},
};

apr_status_t fs_session_listen_open(fs_sessions_t *sessions, fs_result_t *result)
{
    apr_status_t status =
        fs_agent_listen_add(sessions->agent, routes, sizeof(routes) / sizeof(routes[0]), result);

    return status ? status : fs_session_admin_open(sessions, result);
}
