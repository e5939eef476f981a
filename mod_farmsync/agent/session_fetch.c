/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that are fetched, from their beginning on; see session_fetch.h. */
#include "session_fetch.h"

#include <stdlib.h>
#include <string.h>

/* --- life ----------------------------------------------------------------------------------------
 */

void fs_fetch_hold(fs_fetch_t *fetch)
{
    fetch->references++;
}

void fs_fetch_drop(fs_fetch_t *fetch)
{
    if (--fetch->references)
        return;
    fs_fetch_forget_found(fetch);
    free(fetch->peers);
    free(fetch);
}

const fs_session_key_t *fs_fetch_key(const fs_fetch_t *fetch)
{
    return &fetch->keyed.key;
}

int fs_fetch_version(const fs_fetch_t *fetch, fs_session_stamp_t *version)
{
    *version = fetch->version;
    return fetch->here;
}

/* --- what is here --------------------------------------------------------------------------------
 */

static int note_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

/* What is here of it, whatever that is worth. No lock. */
void fs_fetch_look_here(fs_sessions_t *sessions, const fs_session_key_t *key, fs_here_t *here)
{
    fs_result_t result;

    memset(here, 0, sizeof(*here));
    here->is = fs_session_store_look(sessions->store, key, note_look, &here->note, &result) ==
                   APR_SUCCESS &&
               here->note.expires > fs_sessions_farm(sessions);
    if (here->is && here->note.released &&
        fs_session_store_released(sessions->store, key, here->released, &result))
        here->is = 0; /* it went just now */
    here->held = !here->is && fs_ahead_get(sessions, key, &here->copy);
}

void fs_fetch_forget_here(fs_here_t *here)
{
    if (here->held)
        free((void *)here->copy.sealed);
    here->held = 0;
}

/* The lock is held. */
void fs_fetch_note_here(fs_fetch_t *fetch, const fs_here_t *here)
{
    fetch->here = here->is;
    fetch->version = here->note.version;
    fetch->released_until = here->is ? here->note.released : 0;
    memcpy(fetch->released, here->released, sizeof(fetch->released));
}

/* The lock is held. Once at the beginning: what is held for another host. */
static void note_held(fs_fetch_t *fetch, const fs_here_t *here)
{
    if (!here->held)
        return;
    fetch->held = 1;
    fetch->version = here->copy.version;
    fs_fetch_keep_found(fetch, -1, &here->copy);
}

/* --- timers --------------------------------------------------------------------------------------
 */

typedef struct timers_t {
    fs_usec_t now, next;
} timers_t;

void fs_fetch_look_again_at(fs_fetch_t *fetch, fs_usec_t at)
{
    fs_sessions_t *sessions = fetch->sessions;

    for (const fs_waiter_t *waiter = fetch->waiters; waiter; waiter = waiter->next)
        if (waiter->until < at)
            at = waiter->until;
    fetch->at = at;
    if (at >= sessions->fetch_at)
        return;
    sessions->fetch_at = at;
    fs_sessions_nudge(sessions);
}

static void end_waiters(fs_fetch_t *fetch, fs_usec_t now)
{
    fs_waiter_t **at = &fetch->waiters;

    while (*at) {
        fs_waiter_t *waiter = *at;

        if (waiter->until > now) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        fs_waiter_release(fetch->sessions, waiter, 503);
    }
}

static void give_up(fs_fetch_t *fetch)
{
    fetch->next.step = FS_SESSION_STEP_GIVE_UP;
    fs_fetch_finish(fetch);
}

static void step_one(void *baton, fs_keyed_t *keyed)
{
    fs_fetch_t *fetch = (fs_fetch_t *)keyed;
    timers_t *timers = baton;

    if (fetch->at <= timers->now && !fetch->finishing) {
        if (fetch->again && timers->now >= fetch->deadline)
            give_up(fetch);
        else if (fetch->again)
            fs_fetch_ask_round(fetch, fetch->next.whom, fetch->next.wanted);
        fs_fetch_step(fetch);
        if (!fetch->finishing && fetch->deadline + FS_USEC_PER_MSEC < timers->now)
            end_waiters(fetch, timers->now);
    }
    if (!fetch->finishing && fetch->at < timers->next)
        timers->next = fetch->at > timers->now ? fetch->at : timers->now + FS_USEC_PER_MSEC;
}

fs_usec_t fs_fetch_step_all(fs_sessions_t *sessions)
{
    timers_t timers = {fs_session_clock(), INT64_MAX};

    if (sessions->fetch_at > timers.now)
        return sessions->fetch_at;
    sessions->fetch_at = INT64_MAX;
    fs_key_table_each(&sessions->fetches, step_one, &timers);
    if (timers.next < sessions->fetch_at)
        sessions->fetch_at = timers.next;
    return sessions->fetch_at;
}

/* --- begin ---------------------------------------------------------------------------------------
 */

/* The lock is held. */
static fs_fetch_t *begin(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal,
                         const fs_here_t *here)
{
    fs_fetch_t *fetch = calloc(1, sizeof(*fetch));

    if (!fetch)
        return NULL;
    fetch->keyed.key = *key;
    fetch->sessions = sessions;
    fetch->references = 1;
    fs_fetch_note_here(fetch, here);
    note_held(fetch, here);
    memcpy(fetch->seal, seal, FS_SESSION_SEAL_BYTES);
    fs_key_table_add(&sessions->fetches, &fetch->keyed);
    return fetch;
}

static void join(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal,
                 const fs_here_t *here, fs_usec_t until, fs_waiter_t *waiter)
{
    fs_fetch_t *fetch = (fs_fetch_t *)fs_key_table_find(&sessions->fetches, key);
    int fresh = !fetch;

    if (!fetch)
        fetch = begin(sessions, key, seal, here);
    if (!fetch) {
        if (waiter)
            fs_waiter_release(sessions, waiter, 503);
        return;
    }
    if (until > fetch->deadline)
        fetch->deadline = until;
    if (waiter) {
        waiter->next = fetch->waiters;
        fetch->waiters = waiter;
    }
    if (fresh)
        fs_fetch_ask_round(fetch, "", 0);
    fs_fetch_step(fetch);
}

void fs_fetch_quietly(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal)
{
    fs_here_t here;

    fs_fetch_look_here(sessions, key, &here);
    pthread_mutex_lock(&sessions->lock);
    join(sessions, key, seal, &here,
         fs_session_clock() + sessions->config->timeout_ms * FS_USEC_PER_MSEC, NULL);
    pthread_mutex_unlock(&sessions->lock);
    fs_fetch_forget_here(&here);
}

void fs_fetch_request(fs_sessions_t *sessions, fs_http_call_t *call, const fs_session_key_t *key,
                      const uint8_t *seal, fs_usec_t wait)
{
    fs_here_t here;
    int unknown;
    fs_waiter_t *waiter;

    fs_fetch_look_here(sessions, key, &here);
    if (here.is && !here.released[0] &&
        fs_session_trust_allows(sessions->trust, here.note.checked, fs_session_clock())) {
        fs_waiter_answer_now(call, 200);
        return;
    }
    pthread_mutex_lock(&sessions->lock);
    unknown = !here.is && fs_unknown_has(&sessions->unknown, key, fs_session_clock());
    pthread_mutex_unlock(&sessions->lock);
    unknown &= !here.held;
    waiter = unknown ? NULL : calloc(1, sizeof(*waiter));
    if (!waiter) {
        fs_fetch_forget_here(&here);
        fs_waiter_answer_now(call, unknown ? 404 : 503);
        return;
    }
    waiter->sessions = sessions;
    waiter->call = call;
    waiter->until = fs_session_clock() + wait;
    fs_http_call_defer(call, fs_waiter_gone, waiter);
    pthread_mutex_lock(&sessions->lock);
    join(sessions, key, seal, &here, waiter->until, waiter);
    pthread_mutex_unlock(&sessions->lock);
    fs_fetch_forget_here(&here);
}
