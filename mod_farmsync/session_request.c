/* SPDX-License-Identifier: Apache-2.0 */
/* From the request to its session: the cookie, the first look, the turn. */
#include "session_request.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "session_change.h"
#include "session_module.h"
#include "session_say.h"

#define COOKIES_TRIED 8 /* of our name, in one request */
#define TABLE_SPARE   4

/* The first request of a chain of subrequests and internal redirects. */
static request_rec *first_request(request_rec *r)
{
    while (r->main || r->prev)
        r = r->main ? r->main : r->prev;
    return r;
}

fs_session_request_t *fs_session_loaded(request_rec *r)
{
    return ap_get_module_config(first_request(r)->request_config, &session_farmsync_module);
}

/* --- the id -------------------------------------------------------------------------------------
 */

/* The first of the cookies that is an id of this farm; any other is as if it weren't there. */
static void read_cookie(fs_session_request_t *session)
{
    const char *at = apr_table_get(session->first->headers_in, "Cookie"), *value;
    int foreign = 0;
    size_t length;

    for (unsigned tried = 0; tried < COOKIES_TRIED && !session->has_id; tried++) {
        if (!at || !fs_cookie_next(&at, session->cookie->name, &value, &length))
            break;
        if (fs_session_id_read(&session->id, session->host->keys, value, length, NULL) ==
            APR_SUCCESS)
            session->has_id = 1;
        else
            foreign = 1;
    }
    if (foreign && !session->has_id)
        fs_session_counters_add(session->host->counters, FS_SESSION_FOREIGN);
}

/* --- the turn and the pending request -----------------------------------------------------------
 */

static apr_status_t end_of_request(void *data)
{
    fs_session_let_go(data);
    return APR_SUCCESS;
}

void fs_session_let_go(fs_session_request_t *session)
{
    if (session->host)
        fs_session_found_done(session->host, &session->pending);
    if (session->turn.entry && session->host->turns)
        fs_session_turn_leave(session->host->turns, &session->turn);
    memset(&session->turn, 0, sizeof(session->turn));
}

int fs_session_take_turn(fs_session_request_t *session, const fs_session_key_t *key)
{
    fs_result_t result;

    if (!session->host->turns)
        return 0;
    fs_session_turn_leave(session->host->turns, &session->turn);
    if (fs_session_turn_take(session->host->turns, key, session->rules.lock_ms * FS_USEC_PER_MSEC,
                             &session->turn, &result) == APR_SUCCESS) {
        fs_session_counters_add(session->host->counters, FS_SESSION_TURNS);
        return 1;
    }
    memset(&session->turn, 0, sizeof(session->turn));
    fs_session_say(session->host, session->first, FS_SESSION_TURNS_LATE, APLOG_ERR, &result);
    return 0;
}

/* The count of a look before is let go only when the next one is held. */
static void find_and_hold(fs_session_request_t *session, int counts)
{
    fs_session_found_t before = session->pending;

    fs_session_find(session->host, &session->id, &session->rules, counts, session->first->pool,
                    &session->found);
    session->pending = session->found;
    session->found.pending = 0;
    fs_session_found_done(session->host, &before);
}

/* Looks at the session when it is this request's turn, for whoever had it before changed it. */
static void find_exclusively(fs_session_request_t *session)
{
    fs_session_key_t key = session->found.key;

    for (unsigned tries = 0; session->found.what == FS_SESSION_FOUND_LIVE && tries < 4; tries++) {
        /* Who only waits doesn't keep the session from being handed over. */
        fs_session_found_done(session->host, &session->pending);
        if (!fs_session_take_turn(session, &key)) {
            session->late = 1;
            return;
        }
        find_and_hold(session, 0);
        if (!fs_session_key_compare(&key, &session->found.key))
            return;
        key = session->found.key; /* it was moved to another id while this one waited */
    }
}

/* --- the record that mod_session has -------------------------------------------------------------
 */

static const fs_session_entry_t *opaque_entry(const fs_session_found_t *found)
{
    for (uint32_t i = 0; i < found->count; i++)
        if (!strcmp(found->entries[i].key, FS_SESSION_OPAQUE_KEY))
            return &found->entries[i];
    return NULL;
}

void fs_session_fill(session_rec *z, const fs_session_found_t *found)
{
    const fs_session_entry_t *opaque = opaque_entry(found);

    z->entries = apr_table_make(z->pool, (int)found->count + TABLE_SPARE);
    if (opaque) {
        z->encoded = opaque->value;
        return;
    }
    for (uint32_t i = 0; i < found->count; i++)
        apr_table_addn(z->entries, found->entries[i].key, found->entries[i].value);
}

/* mod_session compares its own clock with `expiry`, and notes the use when it has moved enough. */
static apr_time_t expiry_of(const fs_session_request_t *session)
{
    const fs_session_found_t *found = &session->found;
    fs_usec_t idle = session->rules.strict;

    if (!idle || (found->idle && found->idle < idle))
        idle = found->idle ? found->idle : session->rules.idle;
    return apr_time_now() + found->used + idle - found->at;
}

static void make_record(fs_session_request_t *session, const request_rec *r)
{
    const session_dir_conf *conf = ap_get_module_config(r->per_dir_config, &session_module);
    session_rec *z = apr_pcalloc(session->first->pool, sizeof(*z));

    z->pool = session->first->pool;
    session->z = z;
    fs_session_fill(z, &session->found);
    session->opaque = z->encoded != NULL;
    if (session->found.what == FS_SESSION_FOUND_LIVE && conf && conf->maxage > 0)
        z->expiry = expiry_of(session);
}

void fs_session_replace(fs_session_request_t *session, session_rec *z)
{
    session_rec *copy;

    if (z == session->z)
        return;
    copy = apr_pmemdup(session->first->pool, z, sizeof(*z)); /* z may be a subrequest's */
    copy->pool = session->first->pool;
    copy->entries = apr_table_copy(copy->pool, z->entries);
    copy->encoded = z->encoded ? apr_pstrdup(copy->pool, z->encoded) : NULL;
    session->z = copy;
    memset(&session->found, 0, sizeof(session->found));
}

void fs_session_decoded(request_rec *r, session_rec *z)
{
    const session_dir_conf *conf = ap_get_module_config(r->per_dir_config, &session_module);
    fs_session_request_t *session = fs_session_loaded(r);

    while (session && session->z != z)
        session = session->next;
    if (!session || !session->opaque || session->decoded)
        return;
    session->decoded = 1;
    session->found.count =
        fs_session_entries(z->entries, &session->found.entries, session->first->pool);
    z->expiry = conf && conf->maxage > 0 ? expiry_of(session) : 0; /* the text's may be old */
}

/* --- load ---------------------------------------------------------------------------------------
 */

static void find(fs_session_request_t *session)
{
    if (!session->host) { /* whoever may have a session must not lose it for that */
        const char *at = apr_table_get(session->first->headers_in, "Cookie"), *value;
        size_t length;

        if (at && fs_cookie_next(&at, session->cookie->name, &value, &length))
            session->found.what = FS_SESSION_FOUND_UNANSWERED;
        return;
    }
    read_cookie(session);
    if (!session->has_id)
        return;
    find_and_hold(session, 1);
    if (session->rules.exclusive)
        find_exclusively(session);
}

static fs_session_request_t *make(request_rec *r, request_rec *first, const fs_cookie_t *cookie)
{
    fs_session_request_t *session = apr_pcalloc(first->pool, sizeof(*session));

    session->host = fs_session_host();
    session->first = first;
    session->cookie = cookie;
    session->next = fs_session_loaded(first);
    fs_session_rules_of(&session->rules, r);
    ap_set_module_config(first->request_config, &session_farmsync_module, session);
    if (session->host)
        apr_pool_cleanup_register(first->pool, session, end_of_request, apr_pool_cleanup_null);
    find(session);
    make_record(session, r);
    return session;
}

/* Caches in between must not give one visitor's page to another (RFC 9111). */
static void mark_response(request_rec *r, fs_session_request_t *session)
{
    if (session->marked == r)
        return;
    session->marked = r;
    if (session->found.what == FS_SESSION_FOUND_NONE)
        apr_table_mergen(r->headers_out, "Vary", "Cookie");
    else
        apr_table_mergen(r->headers_out, "Cache-Control", "no-cache, private");
}

fs_session_request_t *fs_session_load(request_rec *r)
{
    const fs_session_place_t *place = fs_session_place(r);
    request_rec *first = first_request(r);
    fs_session_request_t *session;

    if (!place->cookie)
        return NULL;
    for (session = fs_session_loaded(first); session; session = session->next)
        if (!strcmp(session->cookie->name, place->cookie->name))
            break;
    if (!session)
        session = make(r, first, place->cookie);
    mark_response(r, session);
    return session;
}
