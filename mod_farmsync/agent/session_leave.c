/* SPDX-License-Identifier: Apache-2.0 */
/* How a session that another host has is let go. */
#include "session.h"

#include <stdlib.h>

#define RELEASED_FOR (10 * FS_USEC_PER_SEC)
#define LEAVE_AFTER  (2 * FS_USEC_PER_SEC)

static int keep_note(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

void fs_copy_leaves(fs_sessions_t *sessions, const fs_session_key_t *key)
{
    fs_leaving_t *leaving = calloc(1, sizeof(*leaving));

    if (!leaving)
        return; /* it goes when room is needed, or it expires */
    leaving->key = *key;
    leaving->at = fs_session_clock() + LEAVE_AFTER;
    STAILQ_INSERT_TAIL(&sessions->leaving, leaving, link);
}

void fs_copy_released(fs_sessions_t *sessions, const fs_session_key_t *key, apr_pool_t *pool)
{
    pthread_mutex_lock(&sessions->lock);
    fs_release_begin(&sessions->releases, key);
    fs_copy_leaves(sessions, key);
    pthread_mutex_unlock(&sessions->lock);
    fs_copy_send_now(sessions, key, 1, pool);
}

int fs_copy_let_go(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner,
                   const fs_session_stamp_t *version, apr_pool_t *pool)
{
    fs_session_note_t note;
    fs_session_record_t record;
    fs_result_t result;
    apr_status_t status = fs_session_store_look(sessions->store, key, keep_note, &note, &result);

    if (!status && (note.released || fs_session_stamp_compare(&note.version, version) != 0))
        return 0;
    if (!status)
        status = fs_session_store_release(sessions->store, key, owner,
                                          fs_sessions_farm(sessions) + RELEASED_FOR, pool, &record,
                                          &result);
    if (status) {
        if (status != APR_NOTFOUND)
            fs_log_result(FS_LOG_ERROR, &result);
        return 0;
    }
    fs_copy_released(sessions, key, pool);
    return 1;
}

void fs_copy_yield(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner,
                   apr_pool_t *pool)
{
    fs_session_note_t note;
    fs_result_t result;

    if (fs_session_store_look(sessions->store, key, keep_note, &note, &result) || note.released ||
        !fs_copy_let_go(sessions, key, owner, &note.version, pool))
        return;
    fs_log(FS_LOG_INFO, "FS1375", "a session goes to %s, which can't reach this host", owner);
}

/* How many copies there are to be, whether there are so many servers at the moment or not. The lock
 * is held. */
static unsigned copies_wanted(const fs_sessions_t *sessions)
{
    unsigned servers = 0;

    for (unsigned i = 0; i < sessions->count; i++)
        servers += !sessions->servers[i].drained;
    return servers < sessions->config->copies ? servers : sessions->config->copies;
}

/*
 * Are all its copies on the bank? The other host may not have it: the answer may have been lost,
 * and what was told the only server that can be reached now may be found by nobody, if that isn't
 * one of those where it belongs. So it is kept, and sent to those that are missing when they are
 * back.
 */
static int has_all_copies(fs_sessions_t *sessions, const fs_session_key_t *key,
                          const fs_session_note_t *note)
{
    unsigned servers[FS_AGENT_BANK_MAX], wanted, targets;
    apr_pool_t *pool;

    pthread_mutex_lock(&sessions->lock);
    wanted = copies_wanted(sessions);
    targets = fs_up_targets(sessions, key, servers);
    pthread_mutex_unlock(&sessions->lock);
    if (note->copies < wanted && note->copies < targets) {
        apr_pool_create(&pool, NULL);
        fs_copy_send_now(sessions, key, 0, pool);
        apr_pool_destroy(pool);
    }
    return note->copies >= wanted;
}

/* Another host has it; when the bank has it, too, nothing of it is needed here any more. 0: it
 * hasn't yet. */
static int forget_one(fs_sessions_t *sessions, const fs_session_key_t *key)
{
    fs_session_note_t note;
    fs_result_t result;

    if (fs_session_store_look(sessions->store, key, keep_note, &note, &result) || !note.released)
        return 1;
    if (note.dirty_since || !has_all_copies(sessions, key, &note))
        return 0;
    if (!fs_session_store_forget(sessions->store, key, &note.version, &result)) {
        pthread_mutex_lock(&sessions->lock);
        fs_release_end(&sessions->releases, key);
        fs_bases_forget(sessions->bases, key);
        pthread_mutex_unlock(&sessions->lock);
    }
    return 1;
}

void fs_copy_forget_leaving(fs_sessions_t *sessions)
{
    fs_leaving_t *leaving;
    int left;

    pthread_mutex_lock(&sessions->lock);
    while ((leaving = STAILQ_FIRST(&sessions->leaving)) && leaving->at <= fs_session_clock()) {
        STAILQ_REMOVE_HEAD(&sessions->leaving, link);
        pthread_mutex_unlock(&sessions->lock);
        left = forget_one(sessions, &leaving->key);
        pthread_mutex_lock(&sessions->lock);
        if (!left)
            fs_copy_leaves(sessions, &leaving->key);
        free(leaving);
    }
    pthread_mutex_unlock(&sessions->lock);
}
