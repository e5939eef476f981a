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

#include "session_alternate.h"
#include "session_change.h"
#include "session_module.h"
#include "session_put.h"
#include "session_reply.h"

#define OPAQUE_TRIES 16

/* One saving. */
typedef struct saving_t {
    fs_session_act_t act;
    fs_session_request_t *session;
    fs_session_delta_t delta;
    fs_session_change_t *changes; /* what the store gets */
    uint32_t count;
    int is_text;                 /* ... is a text of another module */
    fs_session_stamp_t expected; /* that it was made from */
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

/* Is there anybody but mod_session who encodes sessions? */
static int others_encode(void)
{
    const apr_array_header_t *encoders = ap_hook_get_session_encode();

    return encoders && encoders->nelts > 1;
}

static int encodes_otherwise(request_rec *r, session_rec *z, apr_pool_t *pool)
{
    if (!others_encode())
        return 0;
    if (!z->encoded && ap_run_session_encode(r, z) != OK)
        return 0;
    return z->encoded && !is_plain(z, pool);
}

static void as_one_text(saving_t *saving, const fs_session_found_t *stored, const char *text)
{
    fs_session_change_t *change;

    saving->changes = apr_palloc(saving->act.pool, (stored->count + 1) * sizeof(*saving->changes));
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

/* Instead of the text, the entries: nobody encodes them here any more. */
static void as_entries(saving_t *saving)
{
    uint32_t count = saving->delta.after_count;
    fs_session_change_t *change =
        apr_pcalloc(saving->act.pool, (count + 1) * sizeof(*saving->changes));

    saving->changes = change;
    saving->count = count + 1;
    change->key = FS_SESSION_OPAQUE_KEY;
    change->key_length = sizeof(FS_SESSION_OPAQUE_KEY) - 1;
    for (uint32_t i = 0; i < count; i++) {
        const fs_session_entry_t *entry = &saving->delta.after[i];

        change++;
        change->key = entry->key;
        change->key_length = entry->key_length;
        change->value = entry->value;
        change->value_length = entry->value_length;
    }
}

/* Makes the changes in what is stored now, and a text of that. */
static int merge_text(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    session_rec now = {.pool = saving->act.pool};
    fs_session_found_t stored;

    fs_session_find(session->host, &session->id, &session->rules, 0, saving->act.pool, &stored);
    fs_session_found_done(session->host, &stored); /* this request holds it itself */
    if (stored.what != FS_SESSION_FOUND_LIVE)
        return 0;
    fs_session_fill(&now, &stored);
    if (now.encoded && ap_run_session_decode(saving->act.r, &now) != OK)
        return 0;
    fs_session_change_table(now.entries, &saving->delta);
    now.expiry = session->z->expiry;
    now.encoded = NULL;
    if (ap_run_session_encode(saving->act.r, &now) != OK || !now.encoded)
        return 0;
    as_one_text(saving, &stored, now.encoded);
    saving->expected = stored.version;
    return 1;
}

/* --- the ways to save ---------------------------------------------------------------------------
 */

/* What was stored is what this request's next changes are relative to. */
static void take_as_loaded(saving_t *saving)
{
    fs_session_found_t *found = &saving->session->found;

    found->what = FS_SESSION_FOUND_LIVE;
    found->version = saving->act.record.version;
    found->used = saving->act.now;
    found->entries = saving->delta.after;
    found->count = saving->delta.after_count;
    saving->session->noted = 1;
}

static void give_id(saving_t *saving, const fs_session_id_t *id)
{
    fs_session_request_t *session = saving->session;

    session->id = *id;
    session->has_id = 1;
    session->found.key = id->key;
    session->found.by_alias = 0;
    fs_session_set_cookie(saving->act.r, session->cookie, session->id.text);
}

static void has_ended(saving_t *saving, const fs_session_key_t *key)
{
    fs_session_request_t *session = saving->session;

    session->ended = 1;
    fs_session_set_cookie(saving->act.r, session->cookie, NULL);
    fs_session_confirm_end(&saving->act, key, fs_session_copies_of_act(&session->rules));
}

static void create(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    const fs_session_rules_t *rules = &session->rules;
    fs_session_id_t id;
    apr_status_t status = fs_session_put_new(&saving->act, saving->changes, saving->count, &id);

    if (status != APR_SUCCESS) {
        fs_session_complain(&saving->act, status);
        return;
    }
    take_as_loaded(saving);
    session->found.created = saving->act.now;
    session->found.idle = rules->idle;
    give_id(saving, &id);
    fs_session_confirm(&saving->act, &id.key, &saving->act.record.version,
                       saving->delta.privilege ? fs_session_copies_of_act(rules) : rules->ack);
}

static void move(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    int copies = fs_session_copies_of_act(&session->rules);
    fs_session_save_t save = {
        .key = session->found.key, .changes = saving->changes, .count = saving->count};
    fs_session_id_t id;
    apr_status_t status = fs_session_put_moved(&saving->act, &save, &id);

    if (status != APR_SUCCESS) {
        fs_session_complain(&saving->act, status);
        return;
    }
    take_as_loaded(saving);
    give_id(saving, &id);
    fs_session_confirm(&saving->act, &id.key, &saving->act.record.version, copies);
    fs_session_confirm_end(&saving->act, &save.key, copies);
}

static apr_status_t put(saving_t *saving, fs_session_save_t *save)
{
    apr_status_t status = fs_session_put(&saving->act, save);

    for (unsigned tries = 1; status == APR_EMISMATCH && tries < OPAQUE_TRIES; tries++) {
        if (!merge_text(saving))
            break;
        save->changes = saving->changes;
        save->count = saving->count;
        status = fs_session_put(&saving->act, save);
    }
    if (status == APR_EMISMATCH)
        fs_result_set(&saving->act.result, status, "FS1311",
                      "a session was changed by others again and again while this request merged "
                      "its changes into it; with mod_session_crypto use SessionFarmSyncLock "
                      "exclusive");
    return status;
}

static void update(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    fs_session_save_t save = {.key = session->found.key,
                              .changes = saving->changes,
                              .count = saving->count,
                              .urgent = session->rules.ack > 0,
                              .end_if_empty = saving->delta.count && !saving->delta.after_count,
                              .expected = saving->is_text ? &saving->expected : NULL};
    apr_status_t status = put(saving, &save);

    if (status != APR_SUCCESS) {
        fs_session_complain(&saving->act, status);
    } else if (saving->act.record.state == FS_SESSION_ENDED) {
        has_ended(saving, &save.key);
    } else {
        take_as_loaded(saving);
        if (session->cookie->lasts && !session->found.by_alias)
            fs_session_set_cookie(saving->act.r, session->cookie, session->id.text);
        fs_session_confirm(&saving->act, &save.key, &saving->act.record.version,
                           session->rules.ack);
    }
}

static void end(saving_t *saving)
{
    fs_session_key_t key = saving->session->found.key;
    apr_status_t status = fs_session_put_end(&saving->act, &saving->session->found);

    if (status != APR_SUCCESS)
        fs_session_complain(&saving->act, status);
    else
        has_ended(saving, &key);
}

/* Nothing is left of what this request knows; others may have added to it. */
static void empty(saving_t *saving)
{
    if (saving->session->opaque) {
        end(saving);
        return;
    }
    update(saving);
    if (saving->session->ended || !saving->delta.privilege)
        return;
    saving->count = 0;
    move(saving);
}

/* --- save and finish ----------------------------------------------------------------------------
 */

/* It was used when it was looked up. */
static int use_is_due(const fs_session_request_t *session)
{
    const fs_session_found_t *found = &session->found;

    return found->what == FS_SESSION_FOUND_LIVE && !session->noted && !session->ended &&
           found->at - found->used >= session->rules.refresh;
}

static void prepare(saving_t *saving, request_rec *r, fs_session_request_t *session)
{
    memset(saving, 0, sizeof(*saving));
    saving->session = session;
    saving->act.host = session->host;
    saving->act.r = r;
    saving->act.id = session->has_id ? &session->id : NULL;
    saving->act.rules = &session->rules;
    saving->act.pool = session->first->pool;
    saving->act.now = fs_session_now();
}

/* What the store is to get: the changes, or the text of another module. */
static int as_stored(saving_t *saving)
{
    fs_session_request_t *session = saving->session;
    const fs_session_found_t *found = &session->found;

    saving->changes = saving->delta.changes;
    saving->count = saving->delta.count;
    if (!saving->delta.count && found->what == FS_SESSION_FOUND_LIVE)
        return 1;
    saving->is_text = encodes_otherwise(saving->act.r, session->z, saving->act.pool);
    if (!saving->is_text) {
        if (session->opaque)
            as_entries(saving);
        return 1;
    }
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
    if (session->found.what == FS_SESSION_FOUND_UNANSWERED && session->rules.refuse_unknown) {
        /* The page that says so: the visitor keeps the id of his session, which may be alive. */
        fs_session_counters_add(session->host->counters, FS_SESSION_DROPPED);
        return;
    }
    if (is_live && !delta->count && !wish && !use_is_due(session))
        return;
    if (is_live && !delta->after_count && delta->count) {
        saving->changes = delta->changes;
        saving->count = delta->count;
        empty(saving);
    } else if (!as_stored(saving)) {
        fs_result_set(&saving->act.result, APR_EGENERAL, "FS1312",
                      "the changes of a session could not be merged into what another module made "
                      "of it; see its messages");
        fs_session_complain(&saving->act, APR_EGENERAL);
    } else if (!is_live) {
        create(saving);
    } else if ((delta->privilege || wish == FS_SESSION_WISH_RENEW)) {
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
                             z->entries, saving.act.pool);
            store(&saving, wish);
        }
        session->unsure |= saving.act.unsure;
    }
    z->dirty = 0;
    z->encoded = NULL; /* or the next look at it would bring the entries back as they are now */
}

void fs_session_save(request_rec *r, fs_session_request_t *session)
{
    save(r, session, wish_once(r, session));
}

/* The filter of mod_session would encode everything into a text that nobody needs, unless that may
 * be another module's, or SessionHeader has still to be read. A subrequest's comes before ours. */
static int saves_itself(const request_rec *r, const fs_session_request_t *session)
{
    const session_dir_conf *conf = ap_get_module_config(r->per_dir_config, &session_module);

    return session->host && !r->main && conf && !conf->header_set && !session->opaque &&
           !others_encode();
}

void fs_session_spare(request_rec *r, fs_session_request_t *session)
{
    session_rec *z = session->z;

    if (saves_itself(r, session)) {
        session->spared |= !z->written;
        z->written = 1;
    } else if (session->spared) {
        session->spared = 0;
        z->written = 0;
    }
}

void fs_session_finish(request_rec *r, fs_session_request_t *session)
{
    fs_session_wish_t wish;

    if (session->finished || !session->host)
        return;
    session->finished = 1;
    wish = wish_once(r, session);
    if (wish || session->z->dirty || use_is_due(session))
        save(r, session, wish);
    fs_session_alternate_tell(r, session);
    fs_session_let_go(session);
}

void fs_session_finish_late(request_rec *r, fs_session_request_t *session)
{
    if (session->host && session->z->dirty && session->has_id && !session->ended &&
        session->found.what == FS_SESSION_FOUND_LIVE)
        fs_session_save(r, session);
    fs_session_let_go(session);
}
