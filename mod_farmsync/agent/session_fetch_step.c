/* SPDX-License-Identifier: Apache-2.0 */
/* A session that is fetched: what is to be done next, as fs_session_take.h says. The lock is held.
 */
#include "session_fetch.h"

#include <string.h>

#define FORMER_MARGIN (50 * FS_USEC_PER_MSEC) /* for what comes after he was asked */

/* The former owner was asked, has not answered yet, and there is time left. */
static int awaits_former(const fs_fetch_t *fetch)
{
    if (fs_session_clock() >= fetch->deadline - FORMER_MARGIN)
        return 0;
    for (unsigned i = 0; fetch->former[0] && i < fetch->peer_count; i++)
        if (!strcmp(fetch->peers[i].name, fetch->former))
            return fetch->peers[i].said == FS_SESSION_SAID_NOTHING;
    return 0;
}

/* Nobody but this host's bank can know it, and there is none. */
static int is_hopeless(const fs_fetch_t *fetch)
{
    return !fetch->sessions->count && fetch->asked_all;
}

/*
 * No bank server answers, and what this host or others hold of it is all there is: nothing is to be
 * waited for, unless somebody takes it, too.
 */
static int is_all_there_is(const fs_fetch_t *fetch)
{
    int copies = 0;

    if (!fetch->sessions->vouching.trusted.alone || !fetch->asked_all ||
        fs_fetch_somebody_answered(fetch))
        return 0;
    for (unsigned i = 0; i < fetch->found_count; i++)
        copies += fetch->found[i].bytes != NULL;
    for (unsigned i = 0; i < fetch->peer_count; i++)
        if (fetch->peers[i].said == FS_SESSION_SAID_NOTHING ||
            fetch->peers[i].said == FS_SESSION_SAID_TAKING)
            return 0;
    return copies > 0;
}

void fs_fetch_step(fs_fetch_t *fetch)
{
    const fs_sessions_t *sessions = fetch->sessions;
    char told[FS_DISCLAIMED_HOSTS][FS_SESSION_NAME_SIZE];
    fs_session_taking_t taking = {.self = sessions->agent->config.server,
                                  .released = fetch->released,
                                  .told = told,
                                  .own = (fetch->here && !fetch->released[0]) || fetch->held,
                                  .deadline = fetch->deadline};

    if (!fetch->here)
        taking.told_count =
            fs_disclaimed_to(&sessions->disclaimed, &fetch->keyed.key, fs_session_clock(), told);
    while (!fetch->finishing && !fetch->again) {
        for (unsigned i = 0; i < fetch->candidate_count; i++)
            fetch->candidates[i].up = sessions->vouching.servers[fetch->servers[i]].up;
        taking.candidates = fetch->candidates;
        taking.candidate_count = fetch->candidate_count;
        taking.peers = fetch->peers;
        taking.peer_count = fetch->peer_count;
        taking.asked_all = fetch->asked_all;
        taking.missing = (fetch->asked_all && fetch->nameless) ||
                         (sessions->others_missing && !sessions->vouching.trusted.until);
        taking.stale = fetch->generation != sessions->vouching.trusted.generation;
        fetch->next = fs_session_take_next(&taking, fs_session_clock());
        switch (fetch->next.step) {
        case FS_SESSION_STEP_WAIT:
            fs_fetch_look_again_at(fetch, fetch->next.at);
            return;
        case FS_SESSION_STEP_ASK:
            fs_fetch_ask_peer(fetch, fetch->next.whom);
            break;
        case FS_SESSION_STEP_ASK_ALL:
            fs_fetch_ask_all_peers(fetch);
            break;
        case FS_SESSION_STEP_TAKE:
            if (is_hopeless(fetch)) {
                fetch->next.step = FS_SESSION_STEP_UNKNOWN;
                fs_fetch_finish(fetch);
            } else if (is_all_there_is(fetch)) {
                fetch->next.step = FS_SESSION_STEP_ADOPT;
                fs_fetch_finish(fetch);
            } else if (fetch->next.at > fs_session_clock()) {
                fetch->again = 1;
                fs_fetch_look_again_at(fetch, fetch->next.at);
            } else {
                fs_fetch_ask_round(fetch, fetch->next.whom, fetch->next.wanted);
            }
            break;
        default:
            if (fetch->next.step == FS_SESSION_STEP_ADOPT && awaits_former(fetch)) {
                fs_fetch_look_again_at(fetch, fetch->deadline - FORMER_MARGIN);
                return;
            }
            fs_fetch_finish(fetch);
            break;
        }
    }
}

int fs_fetch_is_taking(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *rank)
{
    const fs_fetch_t *fetch = (fs_fetch_t *)fs_key_table_find(&sessions->fetches, key);
    fs_session_taking_t taking;

    *rank = FS_SESSION_NO_RANK;
    if (!fetch)
        return 0;
    memset(&taking, 0, sizeof(taking));
    taking.candidates = fetch->candidates;
    taking.candidate_count = fetch->candidate_count;
    *rank = fs_session_take_rank(&taking);
    return 1;
}

int fs_fetch_void(fs_sessions_t *sessions, const fs_session_key_t *key)
{
    fs_fetch_t *fetch = (fs_fetch_t *)fs_key_table_find(&sessions->fetches, key);

    if (!fetch || fetch->finishing)
        return !fetch;
    fetch->generation = 0; /* as if it had risen since */
    fs_fetch_step(fetch);
    return 1;
}
