/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of sessions, in the thread of a worker: looking, ending, passing on. */
#include "session_admin_internal.h"

#include <apr_strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane.h"

#define SCAN_STEP    1000
#define PASS_ON_MS   3000
#define ANSWER_LIMIT 65536

static void not_here(fs_admin_t *admin)
{
    admin->status = 404;
    fs_result_set(&admin->result, APR_NOTFOUND, "FS1363", "this host doesn't have the session");
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

static json_int_t pass_order_on(fs_admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
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

static void list_all(fs_admin_t *admin, apr_pool_t *pool)
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

static void show_one(fs_admin_t *admin, apr_pool_t *pool)
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
static void end_one(fs_admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
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

static void end_user(fs_admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
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

void fs_admin_act(fs_admin_t *admin, fs_http_client_t *http, apr_pool_t *pool)
{
    switch (admin->act) {
    case FS_ADMIN_LIST_ALL:
        list_all(admin, pool);
        break;
    case FS_ADMIN_SHOW_ONE:
        show_one(admin, pool);
        break;
    case FS_ADMIN_END_ONE:
        end_one(admin, http, pool);
        break;
    case FS_ADMIN_END_USER:
        end_user(admin, http, pool);
        break;
    }
}
