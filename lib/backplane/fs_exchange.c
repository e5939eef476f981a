/* SPDX-License-Identifier: Apache-2.0 */
/* Peers, who lives, whether this server is up to date, and what others are told of all that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_exchange_internal.h"

#define BEAT_DEFAULT       (1 * FS_USEC_PER_SEC)
#define COMPARE_DEFAULT    (5 * FS_USEC_PER_SEC)
#define SUSPECT_DEFAULT    (3 * FS_USEC_PER_SEC)
#define DEAD_DEFAULT       (10 * FS_USEC_PER_SEC)
#define FORGET_DEFAULT     (24 * 3600 * FS_USEC_PER_SEC)
#define TIMEOUT_DEFAULT    (1 * FS_USEC_PER_SEC)
#define PATIENCE_DEFAULT   (5 * FS_USEC_PER_SEC)
#define REFERENCES_DEFAULT 3
#define RATE_DEFAULT       500
#define RELEASED_FOR       (600 * FS_USEC_PER_SEC) /* a mass start is over after this */
#define TRY_SOON           (500 * FS_USEC_PER_MSEC)

static fs_usec_t or_default(fs_usec_t value, fs_usec_t otherwise)
{
    return value ? value : otherwise;
}

fs_exchange_t *fs_exchange_create(const fs_exchange_settings_t *settings, fs_map_t *map)
{
    fs_exchange_t *exchange = calloc(1, sizeof(*exchange));

    if (!exchange)
        return NULL;
    exchange->set = *settings;
    snprintf(exchange->name, sizeof(exchange->name), "%s", settings->name);
    snprintf(exchange->url, sizeof(exchange->url), "%s", settings->url ? settings->url : "");
    exchange->set.name = exchange->name;
    exchange->set.url = exchange->url;
    exchange->set.beat = or_default(settings->beat, BEAT_DEFAULT);
    exchange->set.compare = or_default(settings->compare, COMPARE_DEFAULT);
    exchange->set.suspect = or_default(settings->suspect, SUSPECT_DEFAULT);
    exchange->set.dead = or_default(settings->dead, DEAD_DEFAULT);
    exchange->set.forget = or_default(settings->forget, FORGET_DEFAULT);
    exchange->set.timeout = or_default(settings->timeout, TIMEOUT_DEFAULT);
    exchange->set.patience = or_default(settings->patience, PATIENCE_DEFAULT);
    exchange->set.references = settings->references ? settings->references : REFERENCES_DEFAULT;
    exchange->set.rate = settings->rate ? settings->rate : RATE_DEFAULT;
    exchange->generation = settings->generation;
    exchange->random = settings->seed ^ UINT64_C(0x9e3779b97f4a7c15);
    exchange->map = map;
    return exchange;
}

static void free_peer(fs_peer_t *peer)
{
    fs_peer_end_compare(peer);
    free(peer);
}

void fs_exchange_destroy(fs_exchange_t *exchange)
{
    if (!exchange)
        return;
    for (unsigned i = 0; i < exchange->peer_count; i++)
        free_peer(exchange->peers[i]);
    free(exchange);
}

void fs_exchange_set_url(fs_exchange_t *exchange, const char *url)
{
    snprintf(exchange->url, sizeof(exchange->url), "%s", url);
    for (unsigned i = 0; i < exchange->peer_count; i++)
        exchange->peers[i]->self |= url[0] && !strcmp(exchange->peers[i]->url, url);
}

uint64_t fs_exchange_random(fs_exchange_t *exchange, uint64_t below)
{
    uint64_t x = exchange->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return below ? (x ^ x >> 31) % below : 0;
}

/* --- peers --------------------------------------------------------------------------------------
 */

fs_peer_t *fs_exchange_named(const fs_exchange_t *exchange, const char *name)
{
    for (unsigned i = 0; i < exchange->peer_count; i++)
        if (!exchange->peers[i]->alias && !strcmp(exchange->peers[i]->name, name))
            return exchange->peers[i];
    return NULL;
}

static fs_peer_t *at_url(const fs_exchange_t *exchange, const char *url)
{
    for (unsigned i = 0; i < exchange->peer_count; i++)
        if (!strcmp(exchange->peers[i]->url, url))
            return exchange->peers[i];
    return NULL;
}

fs_peer_t *fs_exchange_new_peer(fs_exchange_t *exchange, const char *name, const char *url)
{
    fs_peer_t *peer;

    if (exchange->peer_count == FS_EXCHANGE_PEERS || strlen(url) >= FS_PEER_URL_SIZE ||
        strlen(name) >= FS_MEMBER_SIZE)
        return NULL;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    strcpy(peer->name, name);
    strcpy(peer->url, url);
    peer->added = exchange->last;
    for (unsigned p = 0; p < FS_PRIORITIES; p++)
        peer->place[p] = exchange->map->places[p]; /* what there is already, a comparison brings */
    exchange->peers[exchange->peer_count++] = peer;
    return peer;
}

/* A named peer says where it is now. */
static void move_peer(fs_peer_t *peer, const char *url)
{
    if (!strcmp(peer->url, url) || strlen(url) >= sizeof(peer->url))
        return;
    strcpy(peer->url, url);
    peer->retry_at = 0;
    peer->failures = 0;
}

apr_status_t fs_exchange_add_peer(fs_exchange_t *exchange, const char *name, const char *url,
                                  int configured, fs_result_t *result)
{
    fs_peer_t *peer = NULL, *there;

    if ((name && !strcmp(name, exchange->name)) || !url[0] || !strcmp(url, exchange->url))
        return APR_SUCCESS;
    there = at_url(exchange, url);
    if (name && name[0])
        peer = fs_exchange_named(exchange, name);
    if (!peer && there && !there->name[0] && name && strlen(name) < sizeof(there->name)) {
        strcpy(there->name, name);
        peer = there;
    }
    if (!peer)
        peer = there;
    if (!peer)
        peer = fs_exchange_new_peer(exchange, name ? name : "", url);
    if (!peer)
        return fs_result_set(result, APR_ENOSPC, "FS1472",
                             "there is no room for the peer %s at %.200s: at most %d are kept",
                             name ? name : "", url, FS_EXCHANGE_PEERS);
    if (!there && name)
        move_peer(peer, url);
    peer->configured |= configured;
    return APR_SUCCESS;
}

fs_peer_state_t fs_peer_state(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now)
{
    fs_usec_t silent = now.mono - (peer->heard ? peer->heard : peer->added);

    if (!peer->heard)
        return peer->failures > 2 && silent > exchange->set.dead ? FS_PEER_DEAD : FS_PEER_UNKNOWN;
    return silent > exchange->set.dead      ? FS_PEER_DEAD
           : silent > exchange->set.suspect ? FS_PEER_SUSPECT
                                            : FS_PEER_ALIVE;
}

int fs_peer_is_asked(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now)
{
    const fs_peer_t *real;

    if (peer->self || !peer->url[0])
        return 0;
    if (!peer->alias)
        return 1;
    real = fs_exchange_named(exchange, peer->name); /* the other address doesn't answer: this may */
    return !real || fs_peer_state(exchange, real, now) == FS_PEER_DEAD;
}

/* Not heard of for long and configured by nobody; or listed twice with one address. */
static int is_needless(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now)
{
    const fs_peer_t *real = peer->alias ? fs_exchange_named(exchange, peer->name) : NULL;

    if (peer->flights[FS_LANE_URGENT].id || peer->flights[FS_LANE_OTHER].id)
        return 0;
    if (real)
        return !strcmp(real->url, peer->url);
    return !peer->configured &&
           now.mono - (peer->heard ? peer->heard : peer->added) > exchange->set.forget;
}

static void forget_peers(fs_exchange_t *exchange, fs_moment_t now)
{
    for (unsigned i = exchange->peer_count; i-- > 0;) {
        if (!is_needless(exchange, exchange->peers[i], now))
            continue;
        free_peer(exchange->peers[i]);
        exchange->peers[i] = exchange->peers[--exchange->peer_count];
    }
}

/* --- comparisons --------------------------------------------------------------------------------
 */

void fs_peer_compare_at(fs_peer_t *peer, fs_usec_t at)
{
    if (!peer->compare_at || at < peer->compare_at)
        peer->compare_at = at;
}

void fs_peer_end_compare(fs_peer_t *peer)
{
    free(peer->compare.bring);
    memset(&peer->compare, 0, sizeof(peer->compare));
}

void fs_exchange_synced(fs_exchange_t *exchange, fs_peer_t *peer, int whole, fs_moment_t now)
{
    peer->tried_sync = 1;
    if (!whole)
        return;
    peer->synced = 1;
    peer->compared = now.mono;
    if (exchange->held && !(peer->flags & (FS_MESSAGE_PARTIAL | FS_MESSAGE_HELD))) {
        exchange->held = 0;
        fs_map_drop_held(exchange->map);
    }
}

/* --- whether this server is up to date ----------------------------------------------------------
 */

typedef struct fs_tally_t {
    unsigned asked, heard, tried, synced, sure, held;
} fs_tally_t;

static void take_tally(const fs_exchange_t *exchange, fs_moment_t now, fs_tally_t *tally)
{
    memset(tally, 0, sizeof(*tally));
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        const fs_peer_t *peer = exchange->peers[i];

        if (peer->alias || !fs_peer_is_asked(exchange, peer, now))
            continue;
        tally->asked++;
        tally->heard += peer->heard != 0;
        tally->tried += peer->tried_sync;
        tally->synced += peer->synced;
        tally->held += peer->heard && peer->flags & FS_MESSAGE_HELD;
        tally->sure += peer->synced && !(peer->flags & (FS_MESSAGE_PARTIAL | FS_MESSAGE_HELD));
    }
}

/*
 * The whole farm was away: nobody can tell what was removed meanwhile, as nothing was. Each says so
 * for a while, so that the last one to start decides the same.
 */
static void judge_held(fs_exchange_t *exchange, const fs_tally_t *tally, fs_moment_t now)
{
    int lonely = !tally->asked && now.mono - exchange->started > exchange->set.patience;

    if (exchange->held && !exchange->released &&
        (lonely || (tally->asked && tally->held == tally->asked))) {
        fs_map_release_held(exchange->map);
        exchange->released = now.mono;
    }
    if (exchange->released && now.mono - exchange->released > RELEASED_FOR) {
        exchange->held = 0;
        exchange->released = 0;
    }
}

static void judge(fs_exchange_t *exchange, fs_moment_t now)
{
    int waited = now.mono - exchange->started > exchange->set.patience;
    fs_tally_t tally;

    if (exchange->state == FS_EXCHANGE_READY && !exchange->held)
        return;
    take_tally(exchange, now, &tally);
    judge_held(exchange, &tally, now);
    if (exchange->state == FS_EXCHANGE_READY)
        return;
    if (tally.sure >= exchange->set.references || (tally.synced && tally.tried >= tally.asked))
        exchange->state = FS_EXCHANGE_READY;
    else if (waited && !tally.synced && tally.tried >= tally.asked)
        exchange->state = FS_EXCHANGE_ALONE;
}

/* --- time ---------------------------------------------------------------------------------------
 */

/* While this process didn't run, it could hear nobody: that is not the others' fault. */
static void excuse(fs_exchange_t *exchange, fs_usec_t gap, fs_usec_t now)
{
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        fs_peer_t *peer = exchange->peers[i];

        if (peer->heard)
            peer->heard = peer->heard + gap < now ? peer->heard + gap : now;
    }
}

void fs_exchange_pass(fs_exchange_t *exchange, fs_moment_t now)
{
    fs_usec_t gap = exchange->last ? now.mono - exchange->last : 0;

    if (!exchange->started)
        exchange->started = now.mono;
    if (gap > exchange->set.suspect / 2)
        excuse(exchange, gap, now.mono);
    if (exchange->last / FS_USEC_PER_SEC != now.mono / FS_USEC_PER_SEC)
        forget_peers(exchange, now);
    exchange->last = now.mono;
    fs_map_restamp(exchange->map, now.farm);
    fs_map_expire(exchange->map, now.farm);
    judge(exchange, now);
}

/* --- own changes --------------------------------------------------------------------------------
 */

apr_status_t fs_exchange_put(fs_exchange_t *exchange, fs_moment_t now, const char *kind,
                             const char *key, const void *value, size_t length,
                             fs_priority_t priority, fs_usec_t expires, fs_result_t *result)
{
    apr_status_t status;

    fs_exchange_pass(exchange, now);
    if (value)
        status = fs_map_put(exchange->map, now.farm, kind, key, value, length, priority, expires,
                            result);
    else
        status = fs_map_remove(exchange->map, now.farm, kind, key, priority, result);
    if (status || priority != FS_PRIORITY_OPERATOR)
        return status;
    for (unsigned i = 0; i < exchange->peer_count; i++) { /* also those that are being waited for */
        fs_peer_t *peer = exchange->peers[i];

        if (peer->retry_at > peer->tried + TRY_SOON)
            peer->retry_at = peer->tried + TRY_SOON;
    }
    return APR_SUCCESS;
}

uint64_t fs_exchange_place(const fs_exchange_t *exchange, fs_priority_t priority)
{
    return exchange->map->places[priority];
}

int fs_exchange_has_confirmed(const fs_exchange_t *exchange, unsigned index, fs_priority_t priority,
                              uint64_t place)
{
    const fs_peer_t *peer;

    if (index >= exchange->peer_count)
        return 0;
    peer = exchange->peers[index];
    return peer->place[priority] >= place &&
           !(peer->refused_from[priority] < place && place <= peer->refused_to[priority]);
}

/* --- what others are told -----------------------------------------------------------------------
 */

void fs_exchange_head(fs_exchange_t *exchange, fs_moment_t now, const char *to, uint64_t known,
                      unsigned type, uint64_t sequence, fs_message_t *message)
{
    memset(message, 0, sizeof(*message));
    message->type = type;
    message->flags = (exchange->state == FS_EXCHANGE_READY ? 0 : FS_MESSAGE_PARTIAL) |
                     (exchange->held ? FS_MESSAGE_HELD : 0);
    message->from = exchange->name;
    message->to = to;
    message->generation = exchange->generation;
    message->known = known;
    message->sequence = sequence;
    message->clock = fs_map_clock(exchange->map);
    message->farm = now.farm > 0 ? now.farm : 0;
    message->digest = fs_map_digest_total(exchange->map);
    message->count = fs_map_count(exchange->map);
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        const fs_peer_t *peer = exchange->peers[i];

        if (peer->failures && peer->name[0] && !peer->alias && !peer->self &&
            message->unreachable_count < FS_UNREACHABLE_LIMIT)
            message->unreachable[message->unreachable_count++] = peer->name;
    }
}

/* --- how it is ----------------------------------------------------------------------------------
 */

const char *fs_refused_name(fs_refused_t cause)
{
    static const char *const names[FS_REFUSED_CAUSES] = {
        "malformed",  "oversized", "foreign", "retired_key", "replayed",
        "generation", "future",    "past",    "rate",        "full"};

    return cause < FS_REFUSED_CAUSES ? names[cause] : "?";
}

void fs_exchange_refused(fs_exchange_t *exchange, fs_refused_t cause, const char *peer)
{
    fs_peer_t *known = peer[0] ? fs_exchange_named(exchange, peer) : NULL;

    exchange->info.refused[cause]++;
    if (known)
        snprintf(known->problem, sizeof(known->problem), "refused what it said: %s",
                 fs_refused_name(cause));
}

void fs_exchange_info(const fs_exchange_t *exchange, fs_exchange_info_t *info)
{
    *info = exchange->info;
    info->state = exchange->state;
    info->generation = exchange->generation;
    info->held = exchange->map->held;
}

unsigned fs_exchange_peer_count(const fs_exchange_t *exchange)
{
    return exchange->peer_count;
}

static unsigned count_waiting(const fs_exchange_t *exchange, const fs_peer_t *peer)
{
    unsigned waiting = 0;

    for (unsigned p = 0; p < FS_PRIORITIES; p++) {
        const fs_entry_t *entry = fs_map_log_after(exchange->map, (fs_priority_t)p, peer->place[p]);

        for (; entry; entry = TAILQ_NEXT(entry, in_log))
            waiting++;
    }
    return waiting;
}

int fs_exchange_peer(const fs_exchange_t *exchange, unsigned index, fs_moment_t now,
                     fs_peer_info_t *info)
{
    const fs_peer_t *peer;

    memset(info, 0, sizeof(*info));
    if (index >= exchange->peer_count)
        return 0;
    peer = exchange->peers[index];
    if (peer->self || peer->alias)
        return 0;
    memcpy(info->name, peer->name, sizeof(info->name));
    memcpy(info->url, peer->url, sizeof(info->url));
    info->state = fs_peer_state(exchange, peer, now);
    info->generation = peer->generation;
    info->heard = peer->heard;
    info->same_at = peer->same_at;
    info->same = peer->heard && peer->digest == fs_map_digest_total(exchange->map);
    info->partial = (peer->flags & FS_MESSAGE_PARTIAL) != 0;
    info->configured = peer->configured;
    info->skew = peer->skew;
    info->waiting = count_waiting(exchange, peer);
    info->failures = peer->failures;
    info->sent = peer->sent;
    info->received = peer->received;
    memcpy(info->problem, peer->problem, sizeof(info->problem));
    return 1;
}

int fs_exchange_find_peer(const fs_exchange_t *exchange, const char *name, fs_moment_t now,
                          fs_peer_info_t *info)
{
    for (unsigned i = 0; i < exchange->peer_count; i++)
        if (!strcmp(exchange->peers[i]->name, name) && fs_exchange_peer(exchange, i, now, info))
            return 1;
    return 0;
}
