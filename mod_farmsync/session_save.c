/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving: what the request changed, relative to what it loaded, is applied to what is there at that
 * moment, under the store's lock. So two requests of one visitor lose nothing and don't wait for
 * each other. What another module made of the entries as a whole (mod_session_crypto) can't be
 * merged like that: requests that save such a session take turns, and each merges into what the one
 * before it left.
 */
#include "session_request.h"

#include <string.h>

#include <apr_strings.h>

#include "session_ask.h"
#include "session_change.h"
#include "session_module.h"
#include "session_reply.h"
#include "session_say.h"

#define STORE_TRIES  4
#define OPAQUE_TRIES 16

/* One saving. */
typedef struct saving_t {
    request_rec *r;
    fs_session_request_t *session;
    apr_pool_t *pool;
    fs_usec_t now;
    fs_session_delta_t delta;
    fs_session_change_t *changes; /* what the store gets */
    uint32_t count;
    fs_session_stamp_t expected; /* opaque: what the text was made from */
    fs_session_record_t record;  /* what is there afterwards */
    fs_result_t result;
} saving_t;

/* --- a text of another module --------------------------------------------------------------------
 */

static int concat(void *baton, const char *key, const char *value)
{
    char *end = *(char **)baton;

    if (end[-1])
        *end++ = '&';
    ap_escape_urlencoded_buffer(end, key);
    end += strlen(end);
    *end++ = '=';
    ap_escape_urlencoded_buffer(end, value);
    *(char **)baton = end + strlen(end);
    return 1;
}

static int measure(void *baton, const char *key, const char *value)
{
    *(size_t *)baton += 3 * (strlen(key) + strlen(value)) + 2;
    return 1;
}

/* Is it just the entries, as mod_session itself writes them? */
static int is_plain(const session_rec *z, apr_pool_t *pool)
{
    size_t length = 2;
    char *text, *end;

    apr_table_do(measure, &length, z->entries, NULL);
    text = apr_palloc(pool, length);
    text[0] = text[1] = '\0';
    end = text + 1;
    apr_table_do(concat, &end, z->entries, NULL);
    return !strcmp(text + 1, z->encoded);
}

static int encodes_otherwise(request_rec *r, session_rec *z, apr_pool_t *pool)
{
    const apr_array_header_t *encoders = ap_hook_get_session_encode();

    if (!encoders || encoders->nelts < 2)
        return 0;
    if (!z->encoded && ap_run_session_encode(r, z) != OK)
        return 0;
    return z->encoded && !is_plain(z, pool);
}

static void as_one_text(saving_t *saving, const fs_session_found_t *stored, const char *text)
{
    fs_session_change_t *change;

    saving->changes = apr_palloc(saving->pool, (stored->count + 1) * sizeof(*saving->changes));
    saving->count = 0;
    change = &saving->changes[saving->count++];
    change->key = FS_SESSION_OPAQUE_KEY;
    change->key_length = sizeof(FS_SESSION_OPAQUE_KEY) - 1;
    change->value = text;
    change->value_length = (uint32_t)strlen(text);
    for (uint32_t i = 0; i < stored->count; i++) {
        const fs_session_entry_t *entry = &stored->entries[i];

        if (!strcmp(entry->key, FS_SESSION_OPAQUE_KEY))
            continue;
        change = &saving->changes[saving->count++];
        change->key = entry->key;
        change->key_length = entry->key_length;
        change->value = NULL;
        change->value_length = 0;
    }
}

/* Makes the changes in what is stored now, and a text of that. */
static int merge_text(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    session_rec now = {.pool = saving->pool};
    fs_session_found_t stored;

    fs_session_find(session->host, &session->id, &session->rules, 0, saving->pool, &stored);
    if (stored.what != FS_SESSION_FOUND_LIVE)
        return 0;
    fs_session_fill(&now, &stored);
    if (now.encoded && ap_run_session_decode(saving->r, &now) != OK)
        return 0;
    fs_session_change_table(now.entries, &saving->delta);
    now.expiry = session->z->expiry;
    now.encoded = NULL;
    if (ap_run_session_encode(saving->r, &now) != OK || !now.encoded)
        return 0;
    as_one_text(saving, &stored, now.encoded);
    saving->expected = stored.version;
    return 1;
}

/* --- the store ----------------------------------------------------------------------------------
 */

static int find_again(saving_t *saving, fs_session_save_t *save)
{
    fs_session_request_t *session = saving->session;
    fs_session_found_t found;

    fs_session_find(session->host, &session->id, &session->rules, 0, saving->pool, &found);
    if (found.what != FS_SESSION_FOUND_LIVE)
        return 0;
    save->key = found.key;
    return 1;
}

/* Saves, or with a target moves. A session that was handed over meanwhile is fetched again. */
static apr_status_t put(saving_t *saving, fs_session_save_t *save,
                        const fs_session_target_t *target)
{
    fs_session_store_t *store = saving->session->host->store;
    apr_status_t status = APR_NOTFOUND;

    for (unsigned tries = 0; tries < STORE_TRIES; tries++) {
        fs_result_clear(&saving->result);
        status = target ? fs_session_store_move(store, save, target, saving->now, saving->pool,
                                                &saving->record, &saving->result)
                        : fs_session_store_save(store, save, saving->now, saving->pool,
                                                &saving->record, &saving->result);
        if (status != APR_NOTFOUND || save->fresh || !find_again(saving, save))
            break;
    }
    return status;
}

static void complain(saving_t *saving, apr_status_t status)
{
    const fs_session_host_t *host = saving->session->host;
    const char *problem = saving->result.problem;

    if (status == APR_NOTFOUND || !strcmp(problem, "FS1205")) {
        /* It has ended, or nobody has it any more: that isn't undone by a late change. */
        fs_session_counters_add(host->counters, FS_SESSION_DROPPED);
        return;
    }
    fs_session_say(host, saving->r,
                   !strcmp(problem, "FS1213")                                 ? FS_SESSION_FULL
                   : !strcmp(problem, "FS1214") || !strcmp(problem, "FS1203") ? FS_SESSION_TOO_LARGE
                                                                              : FS_SESSION_FAILED,
                   APLOG_ERR, &saving->result);
}

/* What was stored is what this request's next changes are relative to. */
static void take_as_loaded(saving_t *saving)
{
    fs_session_found_t *found = &saving->session->found;

    fs_session_counters_add(saving->session->host->counters, FS_SESSION_SAVED);
    found->what = FS_SESSION_FOUND_LIVE;
    found->version = saving->record.version;
    found->used = saving->now;
    found->entries = saving->delta.after;
    found->count = saving->delta.after_count;
    saving->session->noted = 1;
}

/* --- copies -------------------------------------------------------------------------------------
 */

static void confirm(saving_t *saving, const fs_session_key_t *key,
                    const fs_session_stamp_t *version, int copies)
{
    const fs_session_host_t *host = saving->session->host;

    if (!copies || !host->farm->bank->nelts)
        return;
    if (fs_session_ack(host, key, version, copies, saving->session->rules.timeout_ms) ==
        FS_SESSION_YES)
        return;
    fs_result_set(&saving->result, APR_TIMEUP, "FS1310",
                  "a change of a session was answered without the %d copies that it was to have "
                  "on the bank within %d ms; see FarmSyncAgent's messages and the bank servers",
                  copies, saving->session->rules.timeout_ms);
    fs_session_say(host, saving->r, FS_SESSION_UNCONFIRMED, APLOG_WARNING, &saving->result);
}

static int look_for_version(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                            const void *bytes, size_t length)
{
    *(fs_session_stamp_t *)baton = note->version;
    return 0;
}

/* Of what isn't live any more: an alias, or a session that has ended. */
static void confirm_what_remains(saving_t *saving, const fs_session_key_t *key, int copies)
{
    fs_session_stamp_t version;

    if (copies && fs_session_store_look(saving->session->host->store, key, look_for_version,
                                        &version, NULL) == APR_SUCCESS)
        confirm(saving, key, &version, copies);
}

static int at_least_one(const fs_session_request_t *session)
{
    return session->rules.ack > 1 ? session->rules.ack : 1;
}

/* --- the ways to save ---------------------------------------------------------------------------
 */

static int new_id(saving_t *saving, fs_session_target_t *target, fs_session_id_t *id)
{
    const fs_session_host_t *host = saving->session->host;

    if (fs_session_id_make(id, host->keys, &saving->result) != APR_SUCCESS ||
        fs_session_id_seal_key(id, host->keys, target->seal, &saving->result) != APR_SUCCESS) {
        fs_session_say(host, saving->r, FS_SESSION_FAILED, APLOG_ERR, &saving->result);
        return 0;
    }
    target->key = id->key;
    return 1;
}

static void give_id(saving_t *saving, const fs_session_id_t *id)
{
    fs_session_request_t *session = saving->session;

    session->id = *id;
    session->has_id = 1;
    session->found.key = id->key;
    session->found.by_alias = 0;
    fs_session_set_cookie(saving->r, session->cookie, session->id.text);
}

static void has_ended(saving_t *saving, const fs_session_key_t *key)
{
    fs_session_request_t *session = saving->session;

    session->ended = 1;
    fs_session_counters_add(session->host->counters, FS_SESSION_ENDED_COUNT);
    fs_session_set_cookie(saving->r, session->cookie, NULL);
    confirm_what_remains(saving, key, at_least_one(session));
}

static void create(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    const fs_session_host_t *host = session->host;
    const fs_session_rules_t *rules = &session->rules;
    fs_session_writer_t writer = fs_session_store_writer(host->store, saving->now);
    fs_session_save_t save = {.changes = saving->changes, .count = saving->count, .urgent = 1};
    fs_session_trusted_t trusted = {0};
    fs_session_target_t target;
    fs_session_record_t fresh;
    fs_session_id_t id;
    apr_status_t status;

    if (!new_id(saving, &target, &id))
        return;
    fs_session_begin(&fresh, &writer, rules->lifetime ? saving->now + rules->lifetime : 0,
                     rules->idle);
    if (host->trust)
        fs_session_trust_read(host->trust, &trusted);
    save.key = target.key;
    save.fresh = &fresh;
    save.seal = target.seal;
    save.checked = trusted.generation;
    status = put(saving, &save, NULL);
    if (status != APR_SUCCESS) {
        complain(saving, status);
        return;
    }
    fs_session_counters_add(host->counters, FS_SESSION_CREATED);
    take_as_loaded(saving);
    session->found.created = saving->now;
    session->found.idle = rules->idle;
    give_id(saving, &id);
    confirm(saving, &id.key, &saving->record.version,
            saving->delta.privilege ? at_least_one(session) : rules->ack);
}

static void move(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    fs_session_save_t save = {
        .key = session->found.key, .changes = saving->changes, .count = saving->count, .urgent = 1};
    fs_session_target_t target = {.until = saving->now + session->rules.alias};
    fs_session_id_t id;
    apr_status_t status;

    if (!new_id(saving, &target, &id))
        return;
    status = put(saving, &save, &target);
    if (status != APR_SUCCESS) {
        complain(saving, status);
        return;
    }
    fs_session_counters_add(session->host->counters, FS_SESSION_MOVED);
    take_as_loaded(saving);
    give_id(saving, &id);
    confirm(saving, &id.key, &saving->record.version, at_least_one(session));
    confirm_what_remains(saving, &save.key, at_least_one(session));
}

static void update(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    fs_session_save_t save = {.key = session->found.key,
                              .changes = saving->changes,
                              .count = saving->count,
                              .urgent = session->rules.ack > 0,
                              .end_if_empty = !saving->delta.after_count,
                              .expected = session->opaque ? &saving->expected : NULL};
    apr_status_t status = put(saving, &save, NULL);

    for (unsigned tries = 1; status == APR_EMISMATCH && tries < OPAQUE_TRIES; tries++) {
        if (!merge_text(saving))
            break;
        save.changes = saving->changes;
        save.count = saving->count;
        status = put(saving, &save, NULL);
    }
    if (status != APR_SUCCESS) {
        if (status == APR_EMISMATCH)
            fs_result_set(&saving->result, status, "FS1311",
                          "a session was changed by others again and again while this request "
                          "merged its changes; with mod_session_crypto use SessionFarmSyncLock "
                          "exclusive");
        complain(saving, status);
        return;
    }
    if (saving->record.state == FS_SESSION_ENDED) {
        has_ended(saving, &save.key);
        return;
    }
    take_as_loaded(saving);
    if (session->cookie->lasts && !session->found.by_alias)
        fs_session_set_cookie(saving->r, session->cookie, session->id.text);
    confirm(saving, &save.key, &saving->record.version, session->rules.ack);
}

static void end(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    fs_session_key_t key = session->found.key;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    apr_status_t status;

    if (session->found.by_alias)
        memcpy(seal, session->found.seal, sizeof(seal));
    else if (fs_session_id_seal_key(&session->id, session->host->keys, seal, NULL))
        return;
    status = fs_session_store_end(session->host->store, &key, seal, saving->now, saving->pool,
                                  &saving->result);
    if (status != APR_SUCCESS)
        complain(saving, status);
    else
        has_ended(saving, &key);
}

/* --- save and finish ----------------------------------------------------------------------------
 */

static int use_is_due(const fs_session_request_t *session, fs_usec_t now)
{
    return session->found.what == FS_SESSION_FOUND_LIVE && !session->noted && !session->ended &&
           now - session->found.used >= session->rules.refresh;
}

static void prepare(saving_t *saving, request_rec *r, fs_session_request_t *session)
{
    memset(saving, 0, sizeof(*saving));
    saving->r = r;
    saving->session = session;
    saving->pool = session->first->pool;
    saving->now = fs_session_now();
}

/* What the store is to get: the changes, or the text of another module. */
static int as_stored(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    const fs_session_found_t *found = &session->found;

    saving->changes = saving->delta.changes;
    saving->count = saving->delta.count;
    session->opaque = encodes_otherwise(saving->r, session->z, saving->pool);
    if (!session->opaque || (!saving->delta.count && found->what == FS_SESSION_FOUND_LIVE))
        return 1;
    if (found->what != FS_SESSION_FOUND_LIVE) {
        as_one_text(saving, &(fs_session_found_t){0}, session->z->encoded);
        return 1;
    }
    return (session->turn.entry || fs_session_take_turn(session, &found->key)) &&
           merge_text(saving);
}

static void store(saving_t *saving, fs_session_wish_t wish)
{
    fs_session_request_t *session = saving->session;
    const fs_session_delta_t *delta = &saving->delta;
    int is_live = session->found.what == FS_SESSION_FOUND_LIVE;

    if (!is_live && !delta->after_count)
        return; /* an anonymous visitor */
    if (is_live && !delta->count && !wish && !use_is_due(session, saving->now))
        return;
    if (!as_stored(saving)) {
        fs_result_set(&saving->result, APR_EGENERAL, "FS1312",
                      "the changes of a session could not be merged into what another module made "
                      "of it; see its messages");
        complain(saving, APR_EGENERAL);
    } else if (!is_live) {
        create(saving);
    } else if (delta->after_count && (delta->privilege || wish == FS_SESSION_WISH_RENEW)) {
        move(saving);
    } else {
        update(saving);
    }
}

static fs_session_wish_t wish_once(request_rec *r, fs_session_request_t *session)
{
    fs_session_wish_t wish = fs_session_wish(r, session->first);

    if (session->wished)
        return FS_SESSION_WISH_NONE;
    session->wished = wish != FS_SESSION_WISH_NONE;
    return wish;
}

static void save(request_rec *r, fs_session_request_t *session, fs_session_wish_t wish)
{
    session_rec *z = session->z;
    saving_t saving;

    if (session->host && !session->ended) {
        prepare(&saving, r, session);
        if (wish == FS_SESSION_WISH_END) {
            if (session->found.what == FS_SESSION_FOUND_LIVE)
                end(&saving);
            session->ended = 1;
        } else {
            fs_session_delta(&saving.delta, session->found.entries, session->found.count,
                             z->entries, saving.pool);
            store(&saving, wish);
        }
    }
    z->dirty = 0;
    z->encoded = NULL; /* or the next look at it would bring the entries back as they are now */
}

void fs_session_save(request_rec *r, fs_session_request_t *session)
{
    save(r, session, wish_once(r, session));
}

void fs_session_finish(request_rec *r, fs_session_request_t *session)
{
    fs_session_wish_t wish;

    if (session->finished || !session->host)
        return;
    session->finished = 1;
    wish = wish_once(r, session);
    if (wish || session->z->dirty || use_is_due(session, fs_session_now()))
        save(r, session, wish);
    fs_session_let_go(session);
}

void fs_session_finish_late(request_rec *r, fs_session_request_t *session)
{
    if (session->host && session->z->dirty && session->has_id && !session->ended &&
        session->found.what == FS_SESSION_FOUND_LIVE)
        fs_session_save(r, session);
    fs_session_let_go(session);
}
