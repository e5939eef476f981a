/* SPDX-License-Identifier: Apache-2.0 */
/* What has changed in the store, and when it is sent. */
#include "session.h"

#include <apr_strings.h>

#define COLLECT_MOST  512
#define COLLECT_BYTES (8u << 20)
#define QUEUE_AT_ONCE 64
#define PENDING_PACE  (20 * FS_USEC_PER_MSEC) /* while requests are at what has changed */
#define BUSY_PACE     (5 * FS_USEC_PER_MSEC)
#define BUSY_PARTS    10 /* of the flush time, while there is always something to send */

typedef struct due_t {
    fs_session_key_t key;
    fs_session_note_t note;
    void *bytes;
    size_t length;
    fs_sealed_t *sealed; /* NULL: that failed */
} due_t;

typedef struct collect_t {
    fs_sessions_t *sessions;
    apr_pool_t *pool;
    fs_usec_t now, farm;
    fs_usec_t rested; /* when the first of those that rest may be sent */
    unsigned resting;
    unsigned count;
    size_t bytes;
    due_t due[COLLECT_MOST];
} collect_t;

static int is_under_way(fs_sessions_t *sessions, const fs_session_key_t *key,
                        const fs_session_stamp_t *version, int released)
{
    const fs_flight_t *flight;
    int same;

    pthread_mutex_lock(&sessions->lock);
    flight = fs_flight_find(&sessions->flights, key);
    same = flight && !fs_session_stamp_compare(&flight->copy->label.version, version);
    /* A session whose owner is in question isn't claimed. */
    same |= !released && fs_key_table_find(&sessions->fetches, key) != NULL;
    pthread_mutex_unlock(&sessions->lock);
    return same;
}

static fs_usec_t flush_of(const fs_sessions_t *sessions)
{
    return sessions->config->flush_ms * FS_USEC_PER_MSEC;
}

static int is_overdue(const collect_t *collect, const fs_session_note_t *note)
{
    return note->dirty_since + flush_of(collect->sessions) <= collect->farm;
}

/* It was sent just now, and isn't late. */
static int rests(collect_t *collect, const fs_session_key_t *key, const fs_session_note_t *note)
{
    fs_sessions_t *sessions = collect->sessions;
    fs_usec_t until = fs_pace_until(&sessions->pace, key, flush_of(sessions));

    if (until <= collect->now || is_overdue(collect, note) || sessions->draining)
        return 0;
    collect->resting++;
    if (until < collect->rested)
        collect->rested = until;
    return 1;
}

static int collect_one(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                       const void *bytes, size_t length)
{
    collect_t *collect = baton;
    due_t *due = &collect->due[collect->count];

    if (rests(collect, key, note) ||
        is_under_way(collect->sessions, key, &note->version, note->released != 0))
        return 0;
    due->key = *key;
    due->note = *note;
    due->bytes = apr_pmemdup(collect->pool, bytes, length);
    due->length = length;
    collect->bytes += length;
    return ++collect->count == COLLECT_MOST || collect->bytes >= COLLECT_BYTES;
}

static void seal_one(fs_sessions_t *sessions, due_t *due, apr_pool_t *pool)
{
    fs_result_t result;

    if (fs_copy_seal(sessions, &due->key, &due->note, due->bytes, due->length, pool, &due->sealed,
                     &result))
        fs_log_result(FS_LOG_ERROR, &result);
}

static void queue_one(fs_sessions_t *sessions, const collect_t *collect, const due_t *due)
{
    if (!due->sealed)
        return;
    fs_copy_send(sessions, due->sealed, is_overdue(collect, &due->note));
    fs_pace_sent(&sessions->pace, &due->key, collect->now);
}

/* Many are queued before the lock is let go: a sender that is woken by the first would begin with
 * that alone, and each of its requests costs more than what is in it. */
static void send_collected(fs_sessions_t *sessions, collect_t *collect, apr_pool_t *pool)
{
    for (unsigned from = 0, to; from < collect->count; from = to) {
        to = collect->count - from < QUEUE_AT_ONCE ? collect->count : from + QUEUE_AT_ONCE;
        for (unsigned i = from; i < to; i++)
            seal_one(sessions, &collect->due[i], pool);
        pthread_mutex_lock(&sessions->lock);
        for (unsigned i = from; i < to; i++)
            queue_one(sessions, collect, &collect->due[i]);
        pthread_mutex_unlock(&sessions->lock);
    }
}

/* Something was sent just now: the more is gathered the less each costs, here and on the bank. */
static fs_usec_t busy_pace(const fs_sessions_t *sessions)
{
    fs_usec_t part = flush_of(sessions) / BUSY_PARTS;

    return part < BUSY_PACE ? BUSY_PACE : part < PENDING_PACE ? part : PENDING_PACE;
}

/* When to look again, if nothing rings before; `next` is when the store says. */
static fs_usec_t look_again(const collect_t *collect, fs_usec_t next)
{
    fs_usec_t wait = next == INT64_MAX ? FS_USEC_PER_SEC : PENDING_PACE;

    if (collect->count)
        return collect->count == COLLECT_MOST ? 0 : busy_pace(collect->sessions);
    if (next - collect->farm < wait)
        wait = next > collect->farm ? next - collect->farm : BUSY_PACE;
    if (collect->resting && collect->rested - collect->now < wait)
        wait = collect->rested - collect->now;
    return collect->resting && wait > PENDING_PACE ? PENDING_PACE : wait;
}

/* Is there room, and anybody to send to? `under_way` how many sessions are on their way. */
static int may_collect(fs_sessions_t *sessions, unsigned *under_way)
{
    int may = 0;

    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < sessions->count; i++)
        may |= sessions->up[i];
    *under_way = sessions->flights.table.count;
    if (*under_way >= FS_SESSION_FLIGHTS || sessions->flights.bytes >= FS_SESSION_FLIGHT_SIZE)
        may = 0;
    pthread_mutex_unlock(&sessions->lock);
    return may;
}

fs_usec_t fs_copy_collect(fs_sessions_t *sessions, apr_pool_t *pool)
{
    collect_t *collect = apr_pcalloc(pool, sizeof(*collect));
    fs_usec_t next;
    unsigned under_way, shown;
    fs_result_t result;
    apr_status_t status;

    if (!may_collect(sessions, &under_way))
        return under_way ? BUSY_PACE : FS_USEC_PER_SEC;
    collect->sessions = sessions;
    collect->pool = pool;
    collect->now = fs_session_clock();
    collect->farm = fs_sessions_farm(sessions);
    collect->rested = INT64_MAX;
    status = fs_session_store_due(sessions->store, collect->farm,
                                  under_way + sessions->resting + COLLECT_MOST, collect_one,
                                  collect, &shown, &next, &result);
    fs_agent_trouble(&sessions->store_trouble, FS_LOG_ERROR, status ? &result : NULL, "FS1352",
                     "the session store can be read again");
    if (status)
        return FS_USEC_PER_SEC;
    sessions->resting = collect->resting;
    send_collected(sessions, collect, pool);
    return look_again(collect, next);
}
