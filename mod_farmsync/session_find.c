/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking a session up. The quick path is one read of the store: an id that was checked, a record
 * that is live, and a trust page that says that it may be served. Everything else asks the agent,
 * once for each id on the way.
 */
#include "session_request.h"

#include <string.h>

#include "base/fs_log.h"
#include "session_ask.h"
#include "session_module.h"

#define ALIAS_HOPS 4
#define IDLE_PARTS 20 /* a use is noted when so small a part of the idle time has passed */
#define IDLE_MOST  (60 * FS_USEC_PER_SEC)

/* --- rules --------------------------------------------------------------------------------------
 */

static const session_dir_conf *mod_session_conf(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &session_module);
}

static int begins_with_any(const char *uri, const apr_array_header_t *prefixes)
{
    for (int i = 0; i < prefixes->nelts; i++) {
        const char *prefix = APR_ARRAY_IDX(prefixes, i, const char *);

        if (!strncmp(uri, prefix, strlen(prefix)))
            return 1;
    }
    return 0;
}

int fs_session_is_on(const request_rec *r)
{
    const session_dir_conf *conf = mod_session_conf(r);

    return conf && conf->enabled &&
           (!conf->includes->nelts || begins_with_any(r->uri, conf->includes)) &&
           !begins_with_any(r->uri, conf->excludes);
}

static fs_usec_t idle_of(const fs_session_place_t *place, const session_dir_conf *conf)
{
    fs_usec_t idle = place->idle_s == FS_UNSET ? INT64_MAX : place->idle_s * FS_USEC_PER_SEC;
    fs_usec_t maxage = conf && conf->maxage > 0 && conf->maxage < INT32_MAX
                           ? conf->maxage * FS_USEC_PER_SEC
                           : INT64_MAX;

    if (maxage < idle)
        idle = maxage;
    return idle != INT64_MAX ? idle : 0;
}

void fs_session_rules_of(fs_session_rules_t *rules, const request_rec *r)
{
    const fs_session_place_t *place = fs_session_place(r);
    const session_dir_conf *conf = mod_session_conf(r);

    rules->strict = idle_of(place, conf);
    rules->idle = rules->strict ? rules->strict : FS_SESSION_IDLE_DEFAULT * FS_USEC_PER_SEC;
    rules->lifetime = fs_session_or(place->lifetime_s, 0) * FS_USEC_PER_SEC;
    rules->refresh = rules->idle / IDLE_PARTS < IDLE_MOST ? rules->idle / IDLE_PARTS : IDLE_MOST;
    if (conf && conf->maxage > 0 && conf->expiry_update_time > 0)
        rules->refresh = conf->expiry_update_time;
    rules->alias = fs_session_or(place->alias_s, FS_SESSION_ALIAS_DEFAULT) * FS_USEC_PER_SEC;
    rules->ack = fs_session_or(place->ack, FS_SESSION_ACK_DEFAULT);
    rules->timeout_ms = fs_session_or(place->timeout_ms, FS_SESSION_TIMEOUT_DEFAULT);
    rules->lock_ms = fs_session_or(place->lock_ms, FS_SESSION_LOCK_MS_DEFAULT);
    rules->exclusive = place->lock == FS_SESSION_LOCK_EXCLUSIVE;
    rules->refuse_unknown =
        fs_session_or(place->on_unknown, FS_SESSION_UNKNOWN_DEFAULT) == FS_SESSION_UNKNOWN_503;
}

/* --- reading the store --------------------------------------------------------------------------
 */

typedef struct looking_t {
    const fs_session_host_t *host;
    const fs_session_rules_t *rules;
    fs_usec_t now;
    int asks;                           /* there is an agent that knows more */
    enum { CHECK, SAID, AWAY } believe; /* the agent has just said that it may be served; is away */
    apr_pool_t *pool;
    fs_session_found_t *found;
    fs_session_target_t target;
    enum { NOT_HERE, DOUBTED, LIVE, ALIAS, GONE } seen;
} looking_t;

static int is_trusted(const looking_t *looking, const fs_session_note_t *note)
{
    const fs_session_host_t *host = looking->host;

    if (looking->believe == SAID || !looking->asks)
        return 1;
    if (!host->trust)
        return 0;
    return looking->believe == AWAY
               ? fs_session_trust_remembers(host->trust, note->checked)
               : fs_session_trust_allows(host->trust, note->checked, fs_session_trust_clock());
}

/* Was there an agent since this server was started? */
static int had_agent(const fs_session_host_t *host)
{
    fs_session_trusted_t trusted = {0};

    if (host->trust)
        fs_session_trust_read(host->trust, &trusted);
    return trusted.generation != 0;
}

/* Is there an agent, or was there ever one? Without, what is here is all that there is. */
static int has_agent(const fs_session_host_t *host)
{
    return host->farm->host->agent || had_agent(host);
}

/* Places have limits of their own: the narrower counts. */
static int is_over(const looking_t *looking, const fs_session_record_t *record)
{
    return (looking->rules->strict && looking->now >= record->used + looking->rules->strict) ||
           (looking->rules->lifetime && looking->now >= record->created + looking->rules->lifetime);
}

static char *copy_text(char **at, const char *text, uint32_t length)
{
    char *copy = *at;

    memcpy(copy, text, length);
    copy[length] = '\0';
    *at += length + 1;
    return copy;
}

/* The entries that have a value, copied out of the map. */
static void copy_entries(looking_t *looking, const fs_session_record_t *record)
{
    fs_session_found_t *found = looking->found;
    size_t bytes = 0;
    char *at;

    for (uint32_t i = 0; i < record->count; i++)
        if (record->entries[i].value)
            bytes += record->entries[i].key_length + record->entries[i].value_length + 2;
    at = apr_palloc(looking->pool, bytes + 1);
    found->entries = record->entries; /* decoded for us: written over, never ahead of the reading */
    found->count = 0;
    for (uint32_t i = 0; i < record->count; i++) {
        fs_session_entry_t entry = record->entries[i];

        if (!entry.value)
            continue;
        entry.key = copy_text(&at, entry.key, entry.key_length);
        entry.value = copy_text(&at, entry.value, entry.value_length);
        found->entries[found->count++] = entry;
    }
}

static void take_live(looking_t *looking, const fs_session_key_t *key,
                      const fs_session_record_t *record)
{
    fs_session_found_t *found = looking->found;

    looking->seen = LIVE;
    found->what = FS_SESSION_FOUND_LIVE;
    found->key = *key;
    found->version = record->version;
    found->created = record->created;
    found->used = record->used;
    found->idle = record->idle;
    found->ends = record->ends;
    copy_entries(looking, record);
}

static int look_at(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                   const void *bytes, size_t length)
{
    looking_t *looking = baton;
    fs_session_record_t record;

    if (note->released || !is_trusted(looking, note)) {
        looking->seen = DOUBTED;
        return 0;
    }
    if (note->expires <= looking->now ||
        fs_session_record_decode(&record, bytes, length, looking->pool, NULL) != APR_SUCCESS) {
        looking->seen = GONE;
    } else if (record.state == FS_SESSION_ALIAS) {
        looking->seen = ALIAS;
        looking->target = record.target;
    } else if (record.state == FS_SESSION_ENDED || is_over(looking, &record)) {
        looking->seen = GONE;
    } else {
        take_live(looking, key, &record);
    }
    return 0;
}

static void look(looking_t *looking, const fs_session_key_t *key, int believe)
{
    fs_result_t result;
    apr_status_t status;

    looking->seen = NOT_HERE;
    looking->believe = believe;
    status = fs_session_store_look(looking->host->store, key, look_at, looking, &result);
    if (status != APR_SUCCESS && status != APR_NOTFOUND)
        fs_log_result(FS_LOG_ERROR, &result);
}

/* --- asking -------------------------------------------------------------------------------------
 */

static int left_ms(fs_usec_t deadline)
{
    fs_usec_t left = (deadline - fs_time_mono()) / FS_USEC_PER_MSEC;

    return left > 1 ? (int)left : 1;
}

/* Has the agent settle it; then what is here counts, whatever the page says. Returns 0 if nobody
 * could say. */
static int ask_for(looking_t *looking, const fs_session_key_t *key, const uint8_t *seal,
                   fs_usec_t deadline)
{
    const fs_session_host_t *host = looking->host;
    int doubted = looking->seen == DOUBTED;

    switch (fs_session_fetch(host, key, seal, left_ms(deadline))) {
    case FS_SESSION_YES:
        fs_session_counters_add(host->counters, FS_SESSION_FETCHED);
        look(looking, key, SAID);
        return 1;
    case FS_SESSION_NO:
        looking->seen = GONE;
        return 1;
    case FS_SESSION_AWAY:
        /* Works on with what is here; the changes are merged when the agent is back. */
        look(looking, key, AWAY);
        if (looking->seen == LIVE)
            fs_session_counters_add(host->counters, FS_SESSION_UNVERIFIED);
        return looking->seen == LIVE || looking->seen == ALIAS || looking->seen == GONE;
    case FS_SESSION_LATE:
        break;
    }
    looking->seen = doubted ? DOUBTED : NOT_HERE;
    return 0;
}

static void count(const looking_t *looking)
{
    fs_session_counters_add(looking->host->counters,
                            looking->seen == LIVE ? FS_SESSION_HITS
                            : looking->found->what == FS_SESSION_FOUND_UNANSWERED
                                ? FS_SESSION_UNANSWERED
                                : FS_SESSION_UNKNOWN);
}

/*
 * Has the agent settle it, again and again if other hosts take the session away before it could be
 * looked at. Returns 0 if nobody could say in time.
 */
static int settle(looking_t *looking, const fs_session_key_t *key, const uint8_t *seal,
                  fs_usec_t deadline)
{
    do {
        if (!ask_for(looking, key, seal, deadline))
            return 0;
        if (looking->seen != NOT_HERE && looking->seen != DOUBTED)
            return 1;
    } while (fs_time_mono() < deadline);
    return 0;
}

static int look_and_ask(looking_t *looking, const fs_session_id_t *id, const fs_session_key_t *key,
                        fs_usec_t *deadline)
{
    fs_session_found_t *found = looking->found;

    look(looking, key, CHECK);
    if (!looking->asks || (looking->seen != NOT_HERE && looking->seen != DOUBTED))
        return 1;
    if (!found->by_alias &&
        fs_session_id_seal_key(id, looking->host->keys, found->seal, NULL) != APR_SUCCESS)
        return 0;
    if (!*deadline)
        *deadline = fs_time_mono() + looking->rules->timeout_ms * FS_USEC_PER_MSEC;
    return settle(looking, key, found->seal, *deadline);
}

void fs_session_found_done(const fs_session_host_t *host, fs_session_found_t *found)
{
    if (found->pending)
        fs_session_store_done(host->store, &found->key);
    found->pending = 0;
}

void fs_session_find(const fs_session_host_t *host, const fs_session_id_t *id,
                     const fs_session_rules_t *rules, int counts, apr_pool_t *pool,
                     fs_session_found_t *found)
{
    looking_t looking = {
        .host = host, .rules = rules, .now = fs_session_now(), .pool = pool, .found = found};
    fs_session_key_t key = id->key;
    fs_usec_t deadline = 0;

    memset(found, 0, sizeof(*found));
    found->at = looking.now;
    looking.asks = has_agent(host);
    for (unsigned hop = 0; hop <= ALIAS_HOPS; hop++) {
        fs_session_store_begin(host->store, &key); /* from now on it isn't handed over at once */
        if (!look_and_ask(&looking, id, &key, &deadline))
            found->what = FS_SESSION_FOUND_UNANSWERED;
        found->pending = looking.seen == LIVE;
        if (!found->pending)
            fs_session_store_done(host->store, &key);
        if (looking.seen != ALIAS)
            break;
        key = looking.target.key;
        memcpy(found->seal, looking.target.seal, sizeof(found->seal));
        found->by_alias = 1;
    }
    if (counts)
        count(&looking);
}
