/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/sessions/status, GET /v1/sessions, GET and DELETE /v1/sessions/{key,id,user}/..., POST
 * /v1/sessions/{drain,undrain}. On agent.sock, and signed from other hosts, to whom orders are
 * passed on: those have the query's `local`, and go no further. A worker does what may take long.
 */
#include "session_admin.h"

#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#include "backplane.h"
#include "listen.h"

#define LIST_DEFAULT 100
#define LIST_MOST    1000
#define SCAN_STEP    1000
#define PASS_ON_MS   3000
#define ANSWER_LIMIT 65536

typedef enum act_t { LIST_ALL, SHOW_ONE, END_ONE, END_USER } act_t;

typedef struct admin_t {
    fs_work_t work;
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* loop's thread; NULL: the client has left */
    act_t act;
    int pass_on;
    const char *kind; /* key, id, user */
    char what[256];
    fs_session_key_t key;
    int has_key, has_seal;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    unsigned limit;
    int status;
    json_t *json; /* NULL: the result */
    fs_result_t result;
} admin_t;

/* --- the answer ---------------------------------------------------------------------------------
 */

static void answer_json(fs_http_call_t *call, int status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);

    if (text)
        fs_http_call_answer(call, status, "application/json", text, strlen(text));
    else
        fs_http_call_answer(call, 503, "text/plain", "out of memory\n", 14);
    free(text);
}

static void finish(void *baton)
{
    admin_t *admin = baton;

    if (admin->call && admin->json)
        answer_json(admin->call, 200, admin->json);
    else if (admin->call)
        fs_http_call_problem(admin->call, admin->status, &admin->result);
    json_decref(admin->json);
    free(admin);
}

static void admin_gone(void *baton, fs_http_call_t *call)
{
    ((admin_t *)baton)->call = NULL;
}

static void fail(admin_t *admin, int status, apr_status_t error, const char *problem,
                 const char *text)
{
    admin->status = status;
    fs_result_set(&admin->result, error, problem, "%s", text);
}

static void not_here(admin_t *admin)
{
    fail(admin, 404, APR_NOTFOUND, "FS1363", "this host doesn't have the session");
}

/* --- other hosts ---------------------------------------------------------------------------------
 */

/* Passes an order on to one host; what it answered, or NULL. */
static json_t *ask_peer(fs_http_client_t *http, const char *base, const char *method,
                        const char *path)
{
    char url[FS_PEER_URL_SIZE + 1024];
    fs_http_answer_t answer;
    fs_result_t result;
    json_t *json = NULL;

    snprintf(url, sizeof(url), "%s%s", base, path);
    if (fs_http_exchange(http, method, url, NULL, 0, ANSWER_LIMIT, PASS_ON_MS, &answer, &result))
        return NULL;
    if (answer.status == 200)
        json = json_loadb(answer.body, answer.length, 0, NULL);
    fs_http_answer_clear(&answer);
    return json;
}

/* To all that live. Returns the sum of what they say they have ended. */
static json_int_t pass_on(fs_sessions_t *sessions, fs_http_client_t *http, const char *method,
                          const char *path)
{
    static const unsigned room = FS_PEERS_MAX;
    fs_peer_name_t *peers = calloc(room, sizeof(*peers));
    unsigned count = peers ? fs_peers_list(sessions->agent, peers, room) : 0;
    json_int_t ended = 0;

    for (unsigned i = 0; i < count; i++) {
        json_t *json =
            peers[i].state == FS_PEER_DEAD ? NULL : ask_peer(http, peers[i].url, method, path);

        ended += json_integer_value(json_object_get(json, "ended"));
        json_decref(json);
    }
    free(peers);
    return ended;
}

/* Everything but letters, digits and "._-" as %XX. */
static const char *escape(const char *text, apr_pool_t *pool)
{
    char *out = apr_palloc(pool, 3 * strlen(text) + 1), *at = out;

    for (; *text; text++)
        at += (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                      (*text >= '0' && *text <= '9') || strchr("._-", *text)
                  ? snprintf(at, 2, "%c", *text)
                  : snprintf(at, 4, "%%%02X", (unsigned char)*text);
    *at = '\0';
    return out;
}

static json_int_t pass_order_on(admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
{
    const char *path =
        apr_psprintf(pool, "/v1/sessions/%s/%s?local=1", admin->kind, escape(admin->what, pool));

    return admin->pass_on ? pass_on(admin->sessions, http, "DELETE", path) : 0;
}

/* --- looking -------------------------------------------------------------------------------------
 */

typedef struct listing_t {
    json_t *list;
    fs_session_key_t last;
    apr_pool_t *pool;
} listing_t;

static int list_one(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                    const void *bytes, size_t length)
{
    listing_t *listing = baton;
    fs_session_record_t record;
    fs_result_t result;

    listing->last = *key;
    if (!fs_session_record_decode(&record, bytes, length, listing->pool, &result))
        json_array_append_new(listing->list, fs_session_one_json(key, note, &record, length));
    return 0;
}

static void list_all(admin_t *admin, apr_pool_t *pool)
{
    listing_t listing = {.list = json_array(), .pool = pool};
    char next[FS_SESSION_KEY_TEXT];
    unsigned shown;

    if (fs_session_store_each(admin->sessions->store, admin->has_key ? &admin->key : NULL,
                              admin->limit, list_one, &listing, &shown, &admin->result)) {
        json_decref(listing.list);
        admin->status = 503;
        return;
    }
    fs_session_key_text(&listing.last, next);
    admin->json = json_pack("{s:o, s:s?}", "sessions", listing.list, "next",
                            shown == admin->limit ? next : NULL);
}

static void show_one(admin_t *admin, apr_pool_t *pool)
{
    listing_t listing = {.list = json_array(), .pool = pool};

    if (fs_session_store_look(admin->sessions->store, &admin->key, list_one, &listing,
                              &admin->result) ||
        !json_array_size(listing.list))
        not_here(admin);
    else
        admin->json = json_incref(json_array_get(listing.list, 0));
    json_decref(listing.list);
}

/* --- ending --------------------------------------------------------------------------------------
 */

static int end_key(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal,
                   apr_pool_t *pool)
{
    fs_result_t result;

    if (fs_session_store_end(sessions->store, key, seal, fs_sessions_farm(sessions), pool,
                             &result)) {
        fs_log_result(FS_LOG_ERROR, &result);
        return 0;
    }
    return 1;
}

static int note_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

/* Whoever has it ends it; the tombstone reaches all copies. Who knows the id can end it even if
 * nobody has it but the bank. */
static void end_one(admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
{
    fs_sessions_t *sessions = admin->sessions;
    fs_session_note_t note;
    int here =
        !fs_session_store_look(sessions->store, &admin->key, note_look, &note, &admin->result) &&
        !note.released;
    json_int_t ended;

    if (here) {
        ended = end_key(sessions, &admin->key, note.seal, pool);
    } else {
        ended = pass_order_on(admin, http, pool);
        if (!ended && admin->has_seal && admin->pass_on)
            ended = end_key(sessions, &admin->key, admin->seal, pool);
    }
    if (ended)
        admin->json = json_pack("{s:I}", "ended", ended);
    else
        not_here(admin);
}

typedef struct found_t {
    const char *user;
    apr_pool_t *pool;
    unsigned count;
    fs_session_key_t last, keys[SCAN_STEP];
} found_t;

static int find_user(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    found_t *found = baton;
    const fs_session_entry_t *user;
    fs_session_record_t record;
    fs_result_t result;

    found->last = *key;
    if (note->released || fs_session_record_decode(&record, bytes, length, found->pool, &result))
        return 0;
    user = fs_session_user(&record);
    if (user && user->value_length == strlen(found->user) &&
        !memcmp(user->value, found->user, user->value_length))
        found->keys[found->count++] = *key;
    return 0;
}

static void end_user(admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
{
    fs_sessions_t *sessions = admin->sessions;
    found_t *found = calloc(1, sizeof(*found));
    fs_session_key_t after;
    json_int_t ended = 0;
    unsigned shown = SCAN_STEP;
    int begun = 0;
    apr_status_t status = APR_SUCCESS;

    while (found && shown == SCAN_STEP && !status) {
        found->user = admin->what;
        found->count = 0;
        apr_pool_create(&found->pool, pool);
        status = fs_session_store_each(sessions->store, begun ? &after : NULL, SCAN_STEP, find_user,
                                       found, &shown, &admin->result);
        for (unsigned i = 0; i < found->count && !status; i++)
            ended += end_key(sessions, &found->keys[i], NULL, found->pool);
        apr_pool_destroy(found->pool);
        after = found->last;
        begun = 1;
    }
    free(found);
    if (status) {
        admin->status = 503;
        return;
    }
    ended += pass_order_on(admin, http, pool);
    admin->json = json_pack("{s:I}", "ended", ended);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static void admin_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                      apr_pool_t *pool)
{
    admin_t *admin = (admin_t *)work;

    switch (admin->act) {
    case LIST_ALL:
        list_all(admin, pool);
        break;
    case SHOW_ONE:
        show_one(admin, pool);
        break;
    case END_ONE:
        end_one(admin, http, pool);
        break;
    case END_USER:
        end_user(admin, http, pool);
        break;
    }
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
static int read_id(admin_t *admin, const fs_keyring_t *ring)
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

static admin_t *begin(fs_agent_t *agent, fs_http_call_t *call, act_t act, const char *kind)
{
    admin_t *admin = calloc(1, sizeof(*admin));

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

static void go_on(admin_t *admin)
{
    fs_http_call_defer(admin->call, admin_gone, admin);
    fs_work_add(admin->sessions, &admin->work);
}

static void by_key(fs_agent_t *agent, fs_http_call_t *call, act_t act)
{
    admin_t *admin = begin(agent, call, act, "key");

    if (!admin)
        return;
    if (read_key(admin->what, &admin->key)) {
        go_on(admin);
        return;
    }
    fail(admin, 400, APR_EINVAL, "FS1370", "a session's key has 32 of 0-9 a-f");
    finish(admin);
}

static void by_id(fs_agent_t *agent, fs_http_call_t *call, act_t act)
{
    admin_t *admin = begin(agent, call, act, "id");

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
        answer_json(call, 200, json);
    else
        fs_http_call_problem(call, 503, &result);
    json_decref(json);
}

static void get_list(void *agent, fs_http_call_t *call)
{
    const char *limit = fs_http_call_query(call, "limit"),
               *after = fs_http_call_query(call, "after");
    admin_t *admin = begin(agent, call, LIST_ALL, "");

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
    by_key(agent, call, SHOW_ONE);
}

static void delete_key(void *agent, fs_http_call_t *call)
{
    by_key(agent, call, END_ONE);
}

static void get_id(void *agent, fs_http_call_t *call)
{
    by_id(agent, call, SHOW_ONE);
}

static void delete_id(void *agent, fs_http_call_t *call)
{
    by_id(agent, call, END_ONE);
}

static void delete_user(void *agent, fs_http_call_t *call)
{
    admin_t *admin = begin(agent, call, END_USER, "user");

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
