/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/sessions/status, GET /v1/sessions, GET and DELETE /v1/sessions/{key,id,user}/..., POST
 * /v1/sessions/{drain,undrain,alone}. On agent.sock, and signed from other hosts, to whom orders
 * are passed on: those have the query's `local`, and go no further. A worker does what may take
 * long.
 */
#include "session_admin_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "reply.h"

#define LIST_DEFAULT 100
#define LIST_MOST    1000

/* --- the answer ---------------------------------------------------------------------------------
 */

static void finish(void *baton)
{
    fs_admin_t *admin = baton;

    if (admin->call && admin->json)
        fs_reply_json(admin->call, json_incref(admin->json));
    else if (admin->call)
        fs_http_call_problem(admin->call, admin->status, &admin->result);
    json_decref(admin->json);
    free(admin);
}

static void admin_gone(void *baton, fs_http_call_t *call)
{
    ((fs_admin_t *)baton)->call = NULL;
}

static void fail(fs_admin_t *admin, int status, apr_status_t error, const char *problem,
                 const char *text)
{
    admin->status = status;
    fs_result_set(&admin->result, error, problem, "%s", text);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static void admin_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                      apr_pool_t *pool)
{
    fs_admin_t *admin = (fs_admin_t *)work;

    fs_admin_act(admin, http, pool);
    fs_listen_post(sessions->agent, finish, admin);
}

static int read_key(const char *text, fs_session_key_t *key)
{
    if (strlen(text) != 2 * FS_SESSION_KEY_BYTES ||
        strspn(text, "0123456789abcdef") != 2 * FS_SESSION_KEY_BYTES)
        return 0;
    for (unsigned i = 0; i < FS_SESSION_KEY_BYTES; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};

        key->bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return 1;
}

/* The farm's key makes of an id the session's key and seal key. */
static int read_id(fs_admin_t *admin, const fs_keyring_t *ring)
{
    fs_session_secret_t secrets[FS_SESSION_SECRETS];
    fs_session_keys_t *keys;
    fs_session_id_t id;
    int good;

    for (unsigned i = 0; i < ring->count && i < FS_SESSION_SECRETS; i++) {
        secrets[i].bytes = ring->keys[i].secret;
        secrets[i].length = ring->keys[i].length;
    }
    if (!ring->count || fs_session_keys_make(&keys, secrets, ring->count, &admin->result)) {
        fail(admin, 400, APR_EINVAL, "FS1369",
             "this host has no key of the farm, and can't read ids; see FarmSyncKeyFile");
        return 0;
    }
    good = !fs_session_id_read(&id, keys, admin->what, strlen(admin->what), &admin->result) &&
           !fs_session_id_seal_key(&id, keys, admin->seal, &admin->result);
    admin->key = id.key;
    admin->has_seal = good;
    admin->status = 400;
    fs_session_keys_free(keys);
    return good;
}

static fs_admin_t *begin(fs_agent_t *agent, fs_http_call_t *call, fs_admin_act_t act,
                         const char *kind)
{
    fs_admin_t *admin = calloc(1, sizeof(*admin));

    if (!admin) {
        fs_http_call_answer(call, 503, "text/plain", "out of memory\n", 14);
        return NULL;
    }
    admin->sessions = agent->sessions;
    admin->call = call;
    admin->act = act;
    admin->kind = kind;
    admin->pass_on = !fs_http_call_query(call, "local");
    admin->work.run = admin_run;
    snprintf(admin->what, sizeof(admin->what), "%s", fs_http_call_rest(call));
    return admin;
}

static void go_on(fs_admin_t *admin)
{
    fs_http_call_defer(admin->call, admin_gone, admin);
    fs_work_add(admin->sessions, &admin->work);
}

static void by_key(fs_agent_t *agent, fs_http_call_t *call, fs_admin_act_t act)
{
    fs_admin_t *admin = begin(agent, call, act, "key");

    if (!admin)
        return;
    if (read_key(admin->what, &admin->key)) {
        go_on(admin);
        return;
    }
    fail(admin, 400, APR_EINVAL, "FS1370", "a session's key has 32 of 0-9 a-f");
    finish(admin);
}

static void by_id(fs_agent_t *agent, fs_http_call_t *call, fs_admin_act_t act)
{
    fs_admin_t *admin = begin(agent, call, act, "id");

    if (!admin)
        return;
    if (read_id(admin, &agent->ring))
        go_on(admin);
    else
        finish(admin);
}

static void get_status(void *agent, fs_http_call_t *call)
{
    fs_result_t result;
    json_t *json = fs_session_status_json(((fs_agent_t *)agent)->sessions, &result);

    if (json)
        fs_reply_json(call, json);
    else
        fs_http_call_problem(call, 503, &result);
}

static void get_list(void *agent, fs_http_call_t *call)
{
    const char *limit = fs_http_call_query(call, "limit"),
               *after = fs_http_call_query(call, "after");
    fs_admin_t *admin = begin(agent, call, FS_ADMIN_LIST_ALL, "");

    if (!admin)
        return;
    admin->limit = limit ? (unsigned)strtoul(limit, NULL, 10) : LIST_DEFAULT;
    admin->has_key = after && *after;
    if (admin->limit && admin->limit <= LIST_MOST &&
        (!admin->has_key || read_key(after, &admin->key))) {
        go_on(admin);
        return;
    }
    fail(admin, 400, APR_EINVAL, "FS1371",
         "give `limit` from 1 to 1000, and `after` as the key of the last one that was shown");
    finish(admin);
}

static void get_key(void *agent, fs_http_call_t *call)
{
    by_key(agent, call, FS_ADMIN_SHOW_ONE);
}

static void delete_key(void *agent, fs_http_call_t *call)
{
    by_key(agent, call, FS_ADMIN_END_ONE);
}

static void get_id(void *agent, fs_http_call_t *call)
{
    by_id(agent, call, FS_ADMIN_SHOW_ONE);
}

static void delete_id(void *agent, fs_http_call_t *call)
{
    by_id(agent, call, FS_ADMIN_END_ONE);
}

static void delete_user(void *agent, fs_http_call_t *call)
{
    fs_admin_t *admin = begin(agent, call, FS_ADMIN_END_USER, "user");

    if (admin)
        go_on(admin);
}

static void drain_one(void *agent, fs_http_call_t *call, int drain)
{
    const char *server = fs_http_call_query(call, "server");
    fs_result_t result;

    if (!server && !fs_http_call_query(call, "self")) {
        fs_result_set(&result, APR_EINVAL, "FS1372",
                      "give `server`, the name of a bank server, or self=1 for this host");
        fs_http_call_problem(call, 400, &result);
    } else if (!fs_session_drain(((fs_agent_t *)agent)->sessions, server, drain)) {
        fs_result_set(&result, APR_NOTFOUND, "FS1373", "this host knows no bank server %.64s",
                      server);
        fs_http_call_problem(call, 404, &result);
    } else {
        get_status(agent, call);
    }
}

static void post_drain(void *agent, fs_http_call_t *call)
{
    drain_one(agent, call, 1);
}

static void post_undrain(void *agent, fs_http_call_t *call)
{
    drain_one(agent, call, 0);
}

static void post_alone(void *agent, fs_http_call_t *call)
{
    fs_result_t result;

    if (fs_others_order_alone(((fs_agent_t *)agent)->sessions, &result))
        fs_http_call_problem(call, 409, &result);
    else
        get_status(agent, call);
}

static const fs_http_route_t routes[] = {
    {"GET", "/v1/sessions/status", 0, 0, get_status},
    {"GET", "/v1/sessions", 0, 0, get_list},
    {"GET", "/v1/sessions/key/", FS_ROUTE_PREFIX, 0, get_key},
    {"DELETE", "/v1/sessions/key/", FS_ROUTE_PREFIX, 0, delete_key},
    {"GET", "/v1/sessions/id/", FS_ROUTE_PREFIX | FS_ROUTE_LOCAL, 0, get_id},
    {"DELETE", "/v1/sessions/id/", FS_ROUTE_PREFIX, 0, delete_id},
    {"DELETE", "/v1/sessions/user/", FS_ROUTE_PREFIX, 0, delete_user},
    {"POST", "/v1/sessions/drain", 0, 1024, post_drain},
    {"POST", "/v1/sessions/undrain", 0, 1024, post_undrain},
    {"POST", "/v1/sessions/alone", 0, 1024, post_alone},
};

apr_status_t fs_session_admin_open(fs_sessions_t *sessions, fs_result_t *result)
{
    fs_session_drain_load(sessions);
    return fs_agent_listen_add(sessions->agent, routes, sizeof(routes) / sizeof(routes[0]), result);
}
