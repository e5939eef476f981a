/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other hosts ask this one for its sessions (/v1/sessions/handover), and bring what they changed
 * before they let a session go (/v1/sessions/late). Signed with the farm's key. What takes time is
 * done by a worker; the call is answered from the loop.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "session_asked.h"

#define LOOK_AGAIN   (2 * FS_USEC_PER_MSEC) /* whether requests are done */
#define RELEASED_FOR (10 * FS_USEC_PER_SEC)
#define LEFT_FOR     (100 * FS_USEC_PER_MSEC) /* of the asker's patience, for the way back */

/* --- handing over ------------------------------------------------------------------------------
 */

typedef struct handing_t {
    fs_session_key_t key;
    int asker_has; /* something of it, of this version: */
    fs_session_stamp_t asker_version;
    fs_session_stamp_t version; /* here */
    int there, doubt, done;
    int has_turn;
    fs_session_turn_t turn;
    char released[FS_SESSION_NAME_SIZE];
    fs_session_item_t answer;
    fs_sealed_t *sealed;
} handing_t;

static int there_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                      const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

static void look(fs_sessions_t *sessions, handing_t *handing)
{
    fs_session_note_t note = {.expires = 0};
    fs_result_t result;

    handing->released[0] = '\0';
    handing->there =
        !fs_session_store_look(sessions->store, &handing->key, there_look, &note, &result) &&
        note.expires > fs_sessions_farm(sessions);
    handing->version = note.version;
    handing->doubt = handing->there &&
                     !fs_session_trust_allows(sessions->trust, note.checked, fs_session_clock());
    if (handing->there && note.released)
        fs_session_store_released(sessions->store, &handing->key, handing->released, &result);
}

/*
 * Its turn among those who want it for themselves alone: also if nobody does, for somebody could
 * between a look at the queue and the release, and would work with what is another host's by then.
 */
static int has_turn(fs_asked_t *asked, handing_t *handing, fs_usec_t patience)
{
    fs_usec_t left = asked->came + patience - fs_session_clock();
    fs_result_t result;
    apr_status_t status;

    if (handing->has_turn)
        return 1;
    status = fs_session_turn_take(asked->sessions->turns, &handing->key, left > 0 ? left : 0,
                                  &handing->turn, &result);
    handing->has_turn = status == APR_SUCCESS;
    /* Where there can be no turns nobody has one. */
    return handing->has_turn || (!APR_STATUS_IS_TIMEUP(status) &&
                                 !fs_session_turn_count(asked->sessions->turns, &handing->key));
}

static void name_bases(fs_sessions_t *sessions, handing_t *handing)
{
    fs_session_item_t *item = &handing->answer;

    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < sessions->count && item->base_count < FS_SESSION_BATCH_BASES; i++) {
        const fs_session_stamp_t *base = fs_bases_get(sessions->bases, &handing->key, i);
        fs_session_base_t *named = &item->bases[item->base_count];

        if (!base)
            continue;
        snprintf(named->name, sizeof(named->name), "%s", sessions->servers[i].config->name);
        named->version = *base;
        item->base_count++;
    }
    pthread_mutex_unlock(&sessions->lock);
    if (item->base_count)
        item->parts |= FS_SESSION_PART_BASES;
}

static void add_copy(handing_t *handing)
{
    fs_session_item_t *item = &handing->answer;

    item->parts |= FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
    item->flags = handing->sealed->flags;
    item->version = handing->sealed->label.version;
    item->expires = handing->sealed->label.expires;
    item->sealed = handing->sealed->bytes;
    item->sealed_length = (uint32_t)handing->sealed->length;
}

/* From here on the asker has it: nothing of it is served here any more. */
static void give(fs_asked_t *asked, handing_t *handing, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_session_record_t record;
    fs_result_t result;
    apr_status_t status;

    name_bases(sessions, handing); /* before it is read, so that all of them are in what is read */
    status =
        fs_session_store_release(sessions->store, &handing->key, asked->from,
                                 fs_sessions_farm(sessions) + RELEASED_FOR, pool, &record, &result);
    if (!status)
        status = fs_copy_read(sessions, &handing->key, pool, &handing->sealed, NULL, &result);
    if (status) {
        handing->answer.parts = 0;
        handing->answer.what =
            status == APR_NOTFOUND ? FS_SESSION_WHAT_UNKNOWN : FS_SESSION_WHAT_REFUSED;
        if (status != APR_NOTFOUND)
            fs_log_result(FS_LOG_ERROR, &result);
        return;
    }
    handing->answer.what = FS_SESSION_WHAT_GRANTED;
    add_copy(handing);
    fs_copy_released(sessions, &handing->key, pool);
}

/*
 * Not this host's to give; what is here of it, be it only held ahead for another host, comes along,
 * in case nobody else has it.
 */
static void show(fs_asked_t *asked, handing_t *handing, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_session_item_t *item = &handing->answer, held;
    fs_result_t result;

    if (handing->there) {
        if (!fs_copy_read(sessions, &handing->key, pool, &handing->sealed, NULL, &result))
            add_copy(handing);
    } else if (sessions->held &&
               !fs_session_held_get(sessions->held, &handing->key, fs_sessions_farm(sessions), pool,
                                    &held, &result)) {
        item->parts |= held.parts;
        item->flags = held.flags;
        item->version = held.version;
        item->expires = held.expires;
        item->sealed = held.sealed;
        item->sealed_length = held.sealed_length;
    }
}

/*
 * This host doesn't have it, or may not have it any more: then it is the asker's now, and what is
 * here of it comes along. If it is asked for here within the moment, the asker is asked first: the
 * bank may still take this host for the owner.
 */
static void disclaim(fs_asked_t *asked, handing_t *handing, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_usec_t until = fs_session_clock() + sessions->config->timeout_ms * FS_USEC_PER_MSEC;

    if (handing->there)
        give(asked, handing, pool);
    else
        show(asked, handing, pool);
    handing->answer.what = FS_SESSION_WHAT_UNKNOWN;
    handing->answer.parts &= ~(unsigned)FS_SESSION_PART_BASES;
    pthread_mutex_lock(&sessions->lock);
    fs_disclaimed_add(&sessions->disclaimed, &handing->key, asked->from, until);
    pthread_mutex_unlock(&sessions->lock);
}

static void name(handing_t *handing)
{
    handing->answer.what = FS_SESSION_WHAT_OWNED;
    handing->answer.parts = FS_SESSION_PART_OWNER;
    memcpy(handing->answer.owner, handing->released, sizeof(handing->answer.owner));
}

/* What a fetch has heard is void from when the asker is given the session. */
static fs_session_hand_t decide(const fs_asked_t *asked, const handing_t *handing,
                                fs_session_mine_t *mine)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_session_hand_t hand;

    pthread_mutex_lock(&sessions->lock);
    mine->taking = fs_fetch_is_taking(sessions, &handing->key, &mine->rank);
    hand = fs_session_hand_over(mine, asked->from, fs_session_clock());
    if (mine->taking && mine->there &&
        (hand == FS_SESSION_HAND_GIVE || hand == FS_SESSION_HAND_NONE) &&
        !fs_fetch_void(sessions, &handing->key))
        hand = FS_SESSION_HAND_WAIT;
    pthread_mutex_unlock(&sessions->lock);
    return hand;
}

/* Decides about one session; 0 if it has to wait. */
static int hand_over(fs_asked_t *asked, handing_t *handing, fs_usec_t patience, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_session_mine_t mine = {.asked = asked->came, .patience = patience};

    look(sessions, handing);
    mine.there = handing->there;
    mine.doubt = handing->doubt;
    mine.released = handing->released;
    mine.version = handing->version;
    mine.asker_version = handing->asker_has ? &handing->asker_version : NULL;
    mine.pending = fs_session_store_pending(sessions->store, &handing->key);
    mine.turn = !mine.there || mine.released[0] || has_turn(asked, handing, patience);
    switch (decide(asked, handing, &mine)) {
    case FS_SESSION_HAND_WAIT:
        return 0;
    case FS_SESSION_HAND_GIVE:
        give(asked, handing, pool);
        break;
    case FS_SESSION_HAND_NAME:
        name(handing);
        show(asked, handing, pool);
        break;
    case FS_SESSION_HAND_TAKING:
        handing->answer.what = FS_SESSION_WHAT_TAKING;
        handing->answer.parts = FS_SESSION_PART_LEASE;
        handing->answer.lease = mine.rank;
        show(asked, handing, pool);
        break;
    case FS_SESSION_HAND_NONE:
        disclaim(asked, handing, pool);
        break;
    }
    if (handing->has_turn)
        fs_session_turn_leave(sessions->turns, &handing->turn);
    return 1;
}

static void hand_all_over(fs_asked_t *asked, handing_t *handings, unsigned count, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_usec_t patience = fs_session_handover_ms(sessions) * FS_USEC_PER_MSEC - LEFT_FOR;
    unsigned waiting;
    int said = 0;

    do {
        waiting = 0;
        for (unsigned i = 0; i < count; i++) {
            if (!handings[i].done)
                handings[i].done = hand_over(asked, &handings[i], patience, pool);
            waiting += !handings[i].done;
        }
        if (waiting && !said++)
            fs_log(FS_LOG_DEBUG, "FS1374",
                   "%s asked for %u sessions that requests are still at: it waits for them",
                   asked->from, waiting);
        if (waiting)
            fs_time_sleep_until(fs_time_mono() + LOOK_AGAIN);
    } while (waiting && !fs_agent_stopping(sessions->agent));
}

/* Who asks may be wondering whether it is only he whom the bank doesn't answer. */
static int has_bank(fs_sessions_t *sessions)
{
    int has;

    pthread_mutex_lock(&sessions->lock);
    has = sessions->vouching.trusted.until && !sessions->vouching.trusted.alone;
    pthread_mutex_unlock(&sessions->lock);
    return has;
}

/* What doesn't fit any more is answered as if it couldn't be done now: the asker asks again. */
static apr_status_t write_handed(fs_asked_t *asked, handing_t *handings, unsigned count)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_HANDED,
                               .flags = has_bank(asked->sessions) ? FS_SESSION_BATCH_IN_SYNC : 0};
    apr_status_t status = fs_session_batch_begin(&asked->answer, &head, &asked->result);

    for (unsigned i = 0; i < count && !status; i++) {
        fs_session_item_t *item = &handings[i].answer;

        item->key = handings[i].key;
        if (!handings[i].done)
            item->what = FS_SESSION_WHAT_REFUSED;
        status = fs_session_batch_add(&asked->answer, item, &asked->result);
        if (status == APR_ENOSPC) {
            fs_session_item_t refused = {.key = handings[i].key, .what = FS_SESSION_WHAT_REFUSED};

            status = fs_session_batch_add(&asked->answer, &refused, &asked->result);
            if (status == APR_ENOSPC)
                return APR_SUCCESS; /* what is missing counts as refused */
        }
    }
    return status;
}

static void handover_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                         apr_pool_t *pool)
{
    fs_asked_t *asked = (fs_asked_t *)work;
    fs_session_batch_reader_t reader;
    fs_session_item_t item;
    handing_t *handings;
    unsigned count = 0;
    apr_status_t status = fs_session_batch_read(&reader, FS_SESSION_BATCH_HANDOVER, asked->body,
                                                asked->length, &asked->result);

    if (status) {
        fs_asked_end(asked, status, 400);
        return;
    }
    handings = apr_pcalloc(pool, (reader.head.count + 1) * sizeof(*handings));
    while (fs_session_batch_next(&reader, &item)) {
        handings[count].key = item.key;
        handings[count].asker_has = item.parts & FS_SESSION_PART_VERSION;
        handings[count++].asker_version = item.version;
    }
    hand_all_over(asked, handings, count, pool);
    status = write_handed(asked, handings, count);
    for (unsigned i = 0; i < count; i++)
        fs_sealed_drop(handings[i].sealed);
    fs_asked_end(asked, status, 500);
}

void fs_owner_handover(void *agent, fs_http_call_t *call)
{
    fs_asked_begin(agent, call, handover_run);
}

/* --- late changes ------------------------------------------------------------------------------
 */

static fs_session_what_t take_late(fs_sessions_t *sessions, const fs_session_item_t *item,
                                   apr_pool_t *pool)
{
    fs_session_record_t copy, merged;
    fs_session_note_t note;
    fs_result_t result;
    apr_status_t status =
        fs_session_store_look(sessions->store, &item->key, there_look, &note, &result);

    if (status)
        return FS_SESSION_WHAT_REFUSED; /* it isn't here any more: the bank has it */
    status = fs_copy_open(item, note.seal, pool, &copy, &result);
    if (!status)
        status = fs_session_store_merge(sessions->store, &item->key, &copy, NULL,
                                        fs_sessions_farm(sessions), pool, &merged, &result);
    if (!status)
        return FS_SESSION_WHAT_STORED;
    fs_log_result(FS_LOG_WARNING, &result);
    return FS_SESSION_WHAT_REFUSED;
}

static void late_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                     apr_pool_t *pool)
{
    fs_asked_t *asked = (fs_asked_t *)work;
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFERED};
    fs_session_batch_reader_t reader;
    fs_session_item_t item;
    apr_status_t status = fs_session_batch_read(&reader, FS_SESSION_BATCH_LATE, asked->body,
                                                asked->length, &asked->result);

    if (status) {
        fs_asked_end(asked, status, 400);
        return;
    }
    status = fs_session_batch_begin(&asked->answer, &head, &asked->result);
    while (!status && fs_session_batch_next(&reader, &item)) {
        fs_session_item_t answer = {.key = item.key, .what = take_late(sessions, &item, pool)};

        status = fs_session_batch_add(&asked->answer, &answer, &asked->result);
    }
    fs_asked_end(asked, status, 500);
}

void fs_owner_late(void *agent, fs_http_call_t *call)
{
    fs_asked_begin(agent, call, late_run);
}
