/* SPDX-License-Identifier: Apache-2.0 */
/* A session that was fetched: what was found of it is merged into what is here. Workers. */
#include "session_fetch.h"

#include <stddef.h>
#include <string.h>

/* --- what was found ------------------------------------------------------------------------------
 */

static void note_bases(fs_fetch_t *fetch)
{
    fs_sessions_t *sessions = fetch->sessions;
    const fs_session_key_t *key = &fetch->keyed.key;

    for (unsigned i = 0; i < fetch->found_count; i++) {
        const fs_found_t *found = &fetch->found[i];

        if (found->server >= 0)
            fs_bases_set(sessions->bases, key, (unsigned)found->server, &found->item.version);
        for (unsigned j = 0;
             j < found->item.base_count && found->item.parts & FS_SESSION_PART_BASES; j++)
            for (unsigned s = 0; s < sessions->count; s++)
                if (!strcmp(sessions->servers[s].config->name, found->item.bases[j].name) &&
                    !fs_bases_get(sessions->bases, key, s))
                    fs_bases_set(sessions->bases, key, s, &found->item.bases[j].version);
    }
}

/* No lock. The copies that can be read. */
static unsigned open_found(fs_fetch_t *fetch, apr_pool_t *pool, fs_session_record_t *copies)
{
    unsigned count = 0;
    fs_result_t result;

    for (unsigned i = 0; i < fetch->found_count; i++) {
        if (!fetch->found[i].bytes)
            continue;
        if (!fs_copy_open(&fetch->found[i].item, fetch->seal, pool, &copies[count], &result))
            count++;
        else
            fs_log_result(FS_LOG_WARNING, &result);
    }
    return count;
}

/* The lock is held. Was this host asked in any round, or can't it be? */
static int is_settled(fs_fetch_t *fetch, const char *name)
{
    if (!*name || !strcmp(name, fetch->sessions->agent->config.server) ||
        !fs_peer_answers(fetch->sessions, name))
        return 1;
    for (unsigned i = 0; i < fetch->peer_count; i++)
        if (!strcmp(fetch->peers[i].name, name))
            return 1;
    return 0;
}

/*
 * The bank gave the session because it heard nothing of the owner for too long. If it is only the
 * bank that doesn't hear him, he has what is newer: he is asked, too, and who had it before.
 * Returns whether he is.
 */
static int ask_former(fs_fetch_t *fetch, apr_pool_t *pool)
{
    fs_session_record_t *copies = apr_pcalloc(pool, FS_FETCH_COPIES * sizeof(*copies));
    unsigned count = open_found(fetch, pool, copies);
    const fs_session_record_t *newest = NULL;
    const char *former = "";

    for (unsigned i = 0; i < count; i++)
        if (!newest || fs_session_stamp_compare(&copies[i].version, &newest->version) > 0)
            newest = &copies[i];
    pthread_mutex_lock(&fetch->sessions->lock);
    for (unsigned i = 0; i < fetch->candidate_count && !*former; i++)
        if (fetch->candidates[i].heard == FS_SESSION_HEARD_GRANTED &&
            !is_settled(fetch, fetch->candidates[i].owner))
            former = fetch->candidates[i].owner;
    if (!*former && newest && !is_settled(fetch, newest->owner.name))
        former = newest->owner.name;
    if (*former) {
        snprintf(fetch->former, sizeof(fetch->former), "%s", former);
        fetch->finishing = 0;
        fs_fetch_ask_peer(fetch, fetch->former);
        fs_fetch_step(fetch);
    }
    pthread_mutex_unlock(&fetch->sessions->lock);
    return *former != '\0';
}

/* --- the end -------------------------------------------------------------------------------------
 */

/* Nobody had anything newer than the copy that was held here. */
static int is_held_newest(const fs_fetch_t *fetch)
{
    for (unsigned i = 1; i < fetch->found_count; i++) /* the first one is that */
        if (fs_session_stamp_compare(&fetch->found[i].item.version, &fetch->found[0].item.version) >
            0)
            return 0;
    return 1;
}

/* No lock. Merges what was found into what is here. The HTTP status of the answer; 0: it was given
 * to another host meanwhile. */
static int adopt(fs_fetch_t *fetch, apr_pool_t *pool)
{
    fs_sessions_t *sessions = fetch->sessions;
    fs_session_record_t *copies = apr_pcalloc(pool, FS_FETCH_COPIES * sizeof(*copies)), record;
    unsigned count = open_found(fetch, pool, copies);
    fs_result_t result;
    apr_status_t status;

    if (!count && !fetch->here)
        return 503;
    status = fs_session_store_adopt(sessions->store, &fetch->keyed.key, copies, count, fetch->seal,
                                    fetch->generation, fetch->released_until,
                                    fs_sessions_farm(sessions), pool, &record, &result);
    if (status == APR_EMISMATCH)
        return 0;
    if (status) {
        if (status != APR_NOTFOUND)
            fs_log_result(FS_LOG_ERROR, &result);
        return status == APR_NOTFOUND ? 404 : 503;
    }
    pthread_mutex_lock(&sessions->lock);
    fs_release_end(&sessions->releases, &fetch->keyed.key);
    if (!fetch->here)
        fs_bases_forget(sessions->bases, &fetch->keyed.key);
    note_bases(fetch);
    pthread_mutex_unlock(&sessions->lock);
    fs_copy_send_now(sessions, &fetch->keyed.key, 1, pool); /* so that the bank knows whose it is */
    if (fetch->held)
        fs_ahead_taken(sessions, &fetch->keyed.key, &record.version, is_held_newest(fetch));
    return 200;
}

/* What is here is all there is, or all that can be had. */
static int keep_own(fs_fetch_t *fetch)
{
    fs_result_t result;

    if (fs_session_store_checked(fetch->sessions->store, &fetch->keyed.key, 1, fetch->generation,
                                 &result)) {
        fs_log_result(FS_LOG_ERROR, &result);
        return 503;
    }
    return 200;
}

/* The bank has just what is here. */
static int is_unchanged(const fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->found_count; i++)
        if (fetch->found[i].bytes ||
            fs_session_stamp_compare(&fetch->found[i].item.version, &fetch->version))
            return 0;
    return 1;
}

static int confirm_own(fs_fetch_t *fetch)
{
    pthread_mutex_lock(&fetch->sessions->lock);
    note_bases(fetch);
    pthread_mutex_unlock(&fetch->sessions->lock);
    return keep_own(fetch);
}

static int nobody_answered(const fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->candidate_count; i++)
        if (fetch->candidates[i].heard != FS_SESSION_HEARD_FAILED)
            return 0;
    return 1;
}

/* No lock. */
static int is_alone(const fs_fetch_t *fetch)
{
    fs_session_trusted_t trusted;

    fs_session_trust_read(fetch->sessions->trust, &trusted);
    return trusted.alone;
}

static int conclude(fs_fetch_t *fetch, apr_pool_t *pool)
{
    int own = fetch->here && !fetch->released[0];

    switch (fetch->next.step) {
    case FS_SESSION_STEP_ADOPT:
        return own && is_unchanged(fetch) ? confirm_own(fetch) : adopt(fetch, pool);
    case FS_SESSION_STEP_UNKNOWN:
        return own ? keep_own(fetch) : fetch->here || fetch->held ? adopt(fetch, pool) : 404;
    default:
        if (fetch->held && is_alone(fetch) && !fs_fetch_somebody_answered(fetch))
            return adopt(fetch, pool);
        return own && !fetch->again && nobody_answered(fetch) && is_alone(fetch) ? keep_own(fetch)
                                                                                 : 503;
    }
}

/* The lock is held. */
static void finished(fs_fetch_t *fetch, int status)
{
    fs_sessions_t *sessions = fetch->sessions;
    fs_waiter_t *next;

    fs_key_table_remove(&sessions->fetches, &fetch->keyed);
    if (status == 404)
        fs_unknown_add(&sessions->unknown, &fetch->keyed.key, fs_session_clock());
    else if (status == 200)
        fs_unknown_forget(&sessions->unknown, &fetch->keyed.key);
    for (fs_waiter_t *waiter = fetch->waiters; waiter; waiter = next) {
        next = waiter->next;
        fs_waiter_release(sessions, waiter, status);
    }
    fetch->waiters = NULL;
    fs_fetch_drop(fetch);
}

/*
 * It was given to another host while this one was asking for it: what was heard until then says
 * nothing any more. Returns whether that is so; it is asked for again then. No lock.
 */
static int was_released(fs_fetch_t *fetch)
{
    fs_sessions_t *sessions = fetch->sessions;
    fs_here_t here;

    fs_fetch_look_here(sessions, &fetch->keyed.key, &here);
    fs_fetch_forget_here(&here);
    if ((here.is == fetch->here && (!here.is || here.note.released == fetch->released_until)) ||
        fs_session_clock() >= fetch->deadline)
        return 0;
    pthread_mutex_lock(&sessions->lock);
    fs_fetch_note_here(fetch, &here);
    fetch->finishing = 0;
    fs_fetch_ask_round(fetch, "", 0);
    fs_fetch_step(fetch);
    pthread_mutex_unlock(&sessions->lock);
    return 1;
}

static void finish_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                       apr_pool_t *pool)
{
    fs_fetch_t *fetch = (fs_fetch_t *)((char *)work - offsetof(fs_fetch_t, work));
    int status;

    if (was_released(fetch) ||
        (fetch->next.step == FS_SESSION_STEP_ADOPT && ask_former(fetch, pool)))
        return;
    status = conclude(fetch, pool);
    if (!status && was_released(fetch))
        return;
    pthread_mutex_lock(&sessions->lock);
    finished(fetch, status ? status : 503);
    pthread_mutex_unlock(&sessions->lock);
}

/* The lock is held. */
void fs_fetch_finish(fs_fetch_t *fetch)
{
    if (fetch->finishing)
        return;
    fetch->finishing = 1;
    fetch->work.run = finish_run;
    fs_work_add(fetch->sessions, &fetch->work);
}
