/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk: compares all sessions of this host with the bank servers that keep them, piece by
 * piece, whenever the generation rises (somebody else may have taken some) or a bank server wants
 * to be brought what it missed. What a server lacks is sent after all that is new; what another
 * host took is let go; the rest is marked as compared in this generation, so that requests need not
 * ask.
 *
 * The keeper reads a piece from the store and hands it to the askers of the servers concerned; when
 * all have answered, it acts on what they said and goes on with the next piece.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#define PACE (10 * FS_USEC_PER_MSEC) /* while too much is on its way */

_Static_assert(FS_AGENT_BANK_MAX <= 64, "a bit for each bank server");

typedef enum found_t { SAME, FETCH, LET_GO } found_t;

typedef struct one_t {
    fs_session_key_t key;
    fs_session_stamp_t version;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    uint64_t asked;  /* servers, as bits */
    uint64_t lacks;  /* those to whom it is to be sent */
    uint64_t failed; /* those that didn't answer */
    found_t found;
    char owner[FS_SESSION_NAME_SIZE]; /* LET_GO */
} one_t;

struct fs_compare_t {
    unsigned outstanding; /* servers that have not answered; the lock */
    uint64_t generation;
    uint64_t pass; /* servers that want a pass */
    int whole;
    uint64_t up;
    unsigned count;
    one_t all[FS_SESSION_WALK_BATCH];
};

void fs_compare_want(fs_sessions_t *sessions, int all)
{
    sessions->walk_wanted = sessions->walk + 1;
    sessions->walk_all_wanted |= all;
}

/* --- what is asked; no lock ---------------------------------------------------------------------
 */

apr_status_t fs_compare_write(fs_compare_t *compare, unsigned server,
                              fs_session_batch_writer_t *writer, fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_VERSIONS};
    apr_status_t status = fs_session_batch_begin(writer, &head, result);

    for (unsigned i = 0; i < compare->count && !status; i++) {
        fs_session_item_t item = {.key = compare->all[i].key,
                                  .parts = FS_SESSION_PART_VERSION,
                                  .version = compare->all[i].version};

        if (compare->all[i].asked >> server & 1)
            status = fs_session_batch_add(writer, &item, result);
    }
    return status;
}

/* The piece is in the order of the keys. */
static one_t *find(fs_compare_t *compare, const fs_session_key_t *key)
{
    unsigned from = 0, to = compare->count;

    while (from < to) {
        unsigned middle = (from + to) / 2;
        int order = fs_session_key_compare(key, &compare->all[middle].key);

        if (!order)
            return &compare->all[middle];
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

/* The lock is held. */
static void differs(fs_sessions_t *sessions, unsigned server, one_t *one,
                    const fs_session_item_t *item)
{
    const char *self = sessions->agent->config.server;
    fs_session_hold_t held = {.held = 1,
                              .granted = (item->flags & FS_SESSION_ITEM_GRANTED) != 0,
                              .version = item->version};

    if (item->what == FS_SESSION_WHAT_UNKNOWN) {
        one->lacks |= UINT64_C(1) << server;
        return;
    }
    if (!(item->parts & FS_SESSION_PART_VERSION))
        held.version = one->version;
    memcpy(held.owner, item->parts & FS_SESSION_PART_OWNER ? item->owner : "",
           item->parts & FS_SESSION_PART_OWNER ? sizeof(held.owner) : 1);
    switch (fs_session_keep(self, &held, &one->version,
                            fs_bases_get(sessions->bases, &one->key, server))) {
    case FS_SESSION_KEEP:
        if (fs_session_stamp_compare(&held.version, &one->version))
            one->lacks |= UINT64_C(1) << server;
        break;
    case FS_SESSION_LET_GO:
        one->found = LET_GO;
        memcpy(one->owner, held.owner, sizeof(one->owner));
        break;
    case FS_SESSION_FETCH:
        if (one->found == SAME)
            one->found = FETCH;
        break;
    }
}

/* The lock is held. What isn't named in the answer, the server has just as it is here. */
static void note_same(fs_sessions_t *sessions, fs_compare_t *compare, unsigned server,
                      const uint8_t *named)
{
    for (unsigned i = 0; i < compare->count; i++)
        if (compare->all[i].asked >> server & 1 && !named[i])
            fs_bases_set(sessions->bases, &compare->all[i].key, server, &compare->all[i].version);
}

void fs_compare_heard(fs_sessions_t *sessions, fs_compare_t *compare, unsigned server,
                      fs_session_batch_reader_t *reader)
{
    uint8_t named[FS_SESSION_WALK_BATCH] = {0};
    fs_session_item_t item;

    pthread_mutex_lock(&sessions->lock);
    while (reader && fs_session_batch_next(reader, &item)) {
        one_t *one = find(compare, &item.key);

        if (!one || !(one->asked >> server & 1))
            continue;
        named[one - compare->all] = 1;
        differs(sessions, server, one, &item);
    }
    if (reader)
        note_same(sessions, compare, server, named);
    for (unsigned i = 0; i < compare->count && !reader; i++)
        compare->all[i].failed |= compare->all[i].asked & UINT64_C(1) << server;
    compare->outstanding--;
    pthread_mutex_unlock(&sessions->lock);
    fs_sessions_nudge(sessions);
}

/* --- what follows; keeper's, no lock -------------------------------------------------------------
 */

static void send_to_those(fs_sessions_t *sessions, const one_t *one, apr_pool_t *pool)
{
    fs_sealed_t *sealed;
    fs_result_t result;

    if (fs_copy_read(sessions, &one->key, pool, &sealed, NULL, &result))
        return;
    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < sessions->count; i++)
        if (one->lacks >> i & 1 && sessions->up[i]) {
            sealed->references++;
            fs_copy_send_low(sessions, sealed, i);
        }
    fs_sealed_drop(sealed);
    pthread_mutex_unlock(&sessions->lock);
}

static void act_on(fs_sessions_t *sessions, const one_t *one, apr_pool_t *pool)
{
    if (one->lacks)
        send_to_those(sessions, one, pool);
    if (one->found == LET_GO) {
        if (fs_copy_let_go(sessions, &one->key, one->owner, &one->version, pool))
            fs_peer_tell_late(sessions, &one->key, one->owner);
    } else if (one->found == FETCH) {
        fs_fetch_quietly(sessions, &one->key, one->seal);
    }
}

static void act(fs_sessions_t *sessions, fs_compare_t *compare, apr_pool_t *pool)
{
    fs_session_key_t *keys = apr_palloc(pool, FS_SESSION_WALK_BATCH * sizeof(*keys));
    unsigned count = 0;
    fs_result_t result;

    for (unsigned i = 0; i < compare->count; i++) {
        const one_t *one = &compare->all[i];

        act_on(sessions, one, pool);
        if (one->found == SAME && !one->failed)
            keys[count++] = one->key;
    }
    if (count &&
        fs_session_store_checked(sessions->store, keys, count, compare->generation, &result))
        fs_log_result(FS_LOG_ERROR, &result);
}

/* --- pieces; keeper's ----------------------------------------------------------------------------
 */

typedef struct reading_t {
    fs_sessions_t *sessions;
    fs_compare_t *compare;
    fs_usec_t farm;
    fs_session_key_t last;
} reading_t;

static int read_one(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                    const void *bytes, size_t length)
{
    reading_t *reading = baton;
    fs_compare_t *compare = reading->compare;
    one_t *one = &compare->all[compare->count];
    unsigned servers[FS_AGENT_BANK_MAX], count;

    reading->last = *key;
    if (note->released || note->expires <= reading->farm)
        return 0;
    memset(one, 0, sizeof(*one));
    pthread_mutex_lock(&reading->sessions->lock);
    count = fs_up_places(reading->sessions, key, servers);
    pthread_mutex_unlock(&reading->sessions->lock);
    for (unsigned i = 0; i < count; i++)
        one->asked |= UINT64_C(1) << servers[i];
    one->asked &= compare->up;
    if (note->checked == compare->generation && !compare->whole)
        one->asked &= compare->pass;
    if (!one->asked)
        return 0;
    one->key = *key;
    one->version = note->version;
    memcpy(one->seal, note->seal, sizeof(one->seal));
    compare->count++;
    return 0;
}

/* The lock is held. Gives the piece to those whom it concerns. */
static void give_out(fs_sessions_t *sessions, fs_compare_t *compare)
{
    uint64_t asked = 0;

    for (unsigned i = 0; i < compare->count; i++)
        asked |= compare->all[i].asked;
    sessions->comparing = compare;
    for (unsigned i = 0; i < sessions->count; i++)
        if (asked >> i & 1) {
            compare->outstanding++;
            sessions->servers[i].compare = compare;
            fs_ask_wake(&sessions->servers[i]);
        }
}

/* The lock is held. The walk has come to its end. */
static void end_walk(fs_sessions_t *sessions)
{
    sessions->walking = 0;
    sessions->walk_done = sessions->walk;
}

/* The lock is held, and released for a while. Reads the next piece. */
static void read_piece(fs_sessions_t *sessions)
{
    fs_compare_t *compare = calloc(1, sizeof(*compare));
    reading_t reading = {.sessions = sessions, .compare = compare};
    unsigned shown = 0;
    fs_result_t result;
    apr_status_t status;

    if (!compare)
        return;
    compare->generation = sessions->walk_generation;
    compare->whole = sessions->walk_all;
    for (unsigned i = 0; i < sessions->count; i++) {
        compare->up |= (uint64_t)sessions->vouching.servers[i].up << i;
        compare->pass |= (uint64_t)(sessions->servers[i].pass_wanted != 0) << i;
    }
    pthread_mutex_unlock(&sessions->lock);
    reading.farm = fs_sessions_farm(sessions);
    status =
        fs_session_store_each(sessions->store, sessions->walk_begun ? &sessions->walk_after : NULL,
                              FS_SESSION_WALK_BATCH, read_one, &reading, &shown, &result);
    if (status)
        fs_log_result(FS_LOG_ERROR, &result);
    pthread_mutex_lock(&sessions->lock);
    if (shown) {
        sessions->walk_begun = 1;
        sessions->walk_after = reading.last;
    } else {
        end_walk(sessions);
    }
    if (compare->count)
        give_out(sessions, compare);
    else
        free(compare);
}

/* --- the walk; the lock is held ------------------------------------------------------------------
 */

/* Whoever wanted a pass has all that this host has, once nothing of it is on its way any more. */
static void end_passes(fs_sessions_t *sessions)
{
    for (unsigned i = 0; i < sessions->count; i++) {
        fs_bank_server_t *server = &sessions->servers[i];

        if (!server->pass_wanted || sessions->walk_done < server->pass_walk ||
            sessions->flights.low_waiting[i])
            continue;
        server->pass_done = server->pass_wanted;
        server->pass_wanted = 0;
    }
}

static int anybody_up(const fs_sessions_t *sessions)
{
    for (unsigned i = 0; i < sessions->count; i++)
        if (sessions->vouching.servers[i].up)
            return 1;
    return 0;
}

static void begin_walk(fs_sessions_t *sessions)
{
    sessions->walk = sessions->walk_wanted;
    sessions->walk_generation = sessions->vouching.trusted.generation;
    sessions->walk_all = sessions->walk_all_wanted || (sessions->walking && sessions->walk_all);
    sessions->walk_all_wanted = 0;
    sessions->walking = 1;
    sessions->walk_begun = 0;
}

fs_usec_t fs_compare_step(fs_sessions_t *sessions, apr_pool_t *pool)
{
    fs_compare_t *compare;
    fs_usec_t wait = INT64_MAX;

    pthread_mutex_lock(&sessions->lock);
    compare = sessions->comparing;
    if (compare && !compare->outstanding) {
        sessions->comparing = NULL;
        pthread_mutex_unlock(&sessions->lock);
        act(sessions, compare, pool);
        free(compare);
        pthread_mutex_lock(&sessions->lock);
    }
    if (!sessions->comparing && anybody_up(sessions)) {
        if (sessions->walk_wanted > sessions->walk)
            begin_walk(sessions);
        if (sessions->walking && sessions->flights.table.count < FS_SESSION_FLIGHTS / 2) {
            read_piece(sessions);
            wait = sessions->comparing ? INT64_MAX : 0;
        } else if (sessions->walking) {
            wait = PACE;
        }
    }
    if (!sessions->walking)
        end_passes(sessions);
    pthread_mutex_unlock(&sessions->lock);
    return wait;
}
