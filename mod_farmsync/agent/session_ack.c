/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that answer their visitors only when the change is on the bank (SessionFarmSyncAck). */
#include "session.h"

#include <stdlib.h>

#include "listen.h"

#define LOOK_AGAIN (50 * FS_USEC_PER_MSEC) /* whether an alternate still answers */

struct fs_ack_t {
    struct fs_ack_t *next;
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* loop's thread; NULL: the client has left */
    fs_session_key_t key;
    fs_session_stamp_t version;
    unsigned wanted;
    uint64_t alternate; /* that is to have it, too; 0: none, or it has it */
    fs_usec_t until;
    unsigned copies, possible;
    int status;
};

static void answer_ack(void *baton)
{
    struct fs_ack_t *ack = baton;
    char text[96];
    int length = snprintf(text, sizeof(text), "{\"copies\":%u,\"possible\":%u}\n", ack->copies,
                          ack->possible);

    if (ack->call)
        fs_http_call_answer(ack->call, ack->status, "application/json", text, (size_t)length);
    free(ack);
}

static void ack_gone(void *baton, fs_http_call_t *call)
{
    ((struct fs_ack_t *)baton)->call = NULL;
}

/* The lock is held. How many copies there are, and how many there can be. */
static void count_copies(fs_sessions_t *sessions, struct fs_ack_t *ack)
{
    const fs_flight_t *flight = fs_flight_find(&sessions->flights, &ack->key);
    unsigned servers[FS_AGENT_BANK_MAX];
    unsigned copies = flight ? fs_flight_copies(flight, &ack->version) : 0;

    if (copies > ack->copies)
        ack->copies = copies;
    ack->possible = flight ? fs_flight_wanted(flight) : fs_up_targets(sessions, &ack->key, servers);
}

/* The lock is held. */
static int is_answered(fs_sessions_t *sessions, const struct fs_ack_t *ack)
{
    /* One that is slow is waited for by nobody if the bank has it; without a bank it is all there
     * is. One that doesn't take it at all is waited for by nobody in any case. */
    if (ack->alternate && fs_alternates_answers(sessions, ack->alternate, !ack->possible))
        return 0;
    if (ack->copies >= ack->wanted)
        return 1;
    if (ack->possible)
        return ack->copies >= ack->possible;
    return sessions->vouching.trusted.alone;
}

/* The lock is held. `key` NULL: all. */
static void look(fs_sessions_t *sessions, const fs_session_key_t *key, fs_usec_t now,
                 fs_usec_t *next)
{
    struct fs_ack_t **at = &sessions->acks;

    while (*at) {
        struct fs_ack_t *ack = *at;

        if (!key || !fs_session_key_compare(&ack->key, key))
            count_copies(sessions, ack);
        if (is_answered(sessions, ack) || ack->until <= now) {
            *at = ack->next;
            ack->status = is_answered(sessions, ack) ? 200 : 504;
            fs_listen_post(sessions->agent, answer_ack, ack);
            continue;
        }
        if (ack->until < *next)
            *next = ack->until;
        if (ack->alternate && now + LOOK_AGAIN < *next)
            *next = now + LOOK_AGAIN;
        at = &ack->next;
    }
}

void fs_ack_look(fs_sessions_t *sessions, const fs_session_key_t *key)
{
    fs_usec_t next = INT64_MAX;

    if (sessions->acks)
        look(sessions, key, 0, &next);
}

void fs_ack_carried(fs_sessions_t *sessions, const fs_session_key_t *key,
                    const fs_session_stamp_t *version)
{
    for (struct fs_ack_t *ack = sessions->acks; ack; ack = ack->next)
        if (!fs_session_key_compare(&ack->key, key) &&
            fs_session_stamp_compare(version, &ack->version) >= 0)
            ack->alternate = 0;
    fs_ack_look(sessions, key);
}

fs_usec_t fs_ack_step(fs_sessions_t *sessions, fs_usec_t now)
{
    fs_usec_t next = INT64_MAX;

    if (sessions->acks)
        look(sessions, NULL, now, &next);
    return next;
}

static int ack_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                    const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

/* The server that is to have this version, and has it not yet. */
static uint64_t awaited_alternate(const fs_session_note_t *note)
{
    return note->each == 1 && note->ahead ? note->alternate : 0;
}

/* It was confirmed before anybody asked. */
static int is_safe(const struct fs_ack_t *ack, const fs_session_note_t *note)
{
    return !note->dirty_since && !awaited_alternate(note) &&
           fs_session_stamp_compare(&note->version, &ack->version) >= 0;
}

void fs_ack_request(fs_sessions_t *sessions, fs_http_call_t *call, const fs_session_key_t *key,
                    const fs_session_stamp_t *version, unsigned copies, fs_usec_t wait)
{
    struct fs_ack_t *ack = calloc(1, sizeof(*ack));
    fs_session_note_t note = {.dirty_since = 1};
    apr_pool_t *pool;
    fs_result_t result;
    int was_carried;

    if (!ack || fs_session_store_look(sessions->store, key, ack_look, &note, &result)) {
        free(ack);
        fs_result_set(&result, APR_NOTFOUND, "FS1363", "this host doesn't have the session");
        fs_http_call_problem(call, 404, &result);
        return;
    }
    ack->sessions = sessions;
    ack->call = call;
    ack->key = *key;
    ack->version = *version;
    ack->wanted = copies;
    ack->alternate = awaited_alternate(&note);
    ack->until = fs_session_clock() + wait;
    if (is_safe(ack, &note)) {
        ack->copies = ack->possible = note.copies;
        ack->status = 200;
        answer_ack(ack);
        return;
    }
    fs_http_call_defer(call, ack_gone, ack);
    pthread_mutex_lock(&sessions->lock);
    ack->next = sessions->acks;
    sessions->acks = ack;
    pthread_mutex_unlock(&sessions->lock);
    apr_pool_create(&pool, NULL);
    fs_copy_send_now(sessions, key, 1, pool);
    apr_pool_destroy(pool);
    /* It may have been carried before this one waited for it. */
    was_carried = !fs_session_store_look(sessions->store, key, ack_look, &note, &result) &&
                  !awaited_alternate(&note);
    pthread_mutex_lock(&sessions->lock);
    if (was_carried)
        fs_ack_carried(sessions, key, &note.version);
    fs_ack_look(sessions, key);
    pthread_mutex_unlock(&sessions->lock);
    fs_sessions_nudge(sessions);
}
