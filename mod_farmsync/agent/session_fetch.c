/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request wants a session that this host doesn't have, or that is in doubt. What is to be done
 * next is decided by fs_session_take.h; here are the questions, the answers, and those who wait.
 * Parallel requests for one session share one fetch.
 *
 *   begin -> round: all candidates at once -> answers -> step -+-> wait, ask a host, round again
 *                                                              +-> finish (a worker: store) ->
 * answer
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "backplane.h"
#include "listen.h"

#define CANDIDATES 16
#define PEERS_STEP 16
#define COPIES     64
/* So much before its time is over a request gets what there is, whoever has not answered. */
#define SAYING (3 * FS_USEC_PER_MSEC) /* until an offer may have been answered */
/* Then the question goes all the same: the host that has the session since is asked, too. */
#define SAYING_MOST   (100 * FS_USEC_PER_MSEC)
#define START_FOR     (5 * FS_USEC_PER_SEC) /* a peer that hasn't answered by then is down */
#define FORMER_MARGIN (50 * FS_USEC_PER_MSEC)

typedef struct fs_waiter_t {
    struct fs_waiter_t *next;
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* NULL: the client has left */
    fs_usec_t until;
    int status;
} waiter_t;

/* What somebody has of it. */
typedef struct found_t {
    int server; /* -1: a host */
    fs_session_item_t item;
    uint8_t *bytes; /* NULL: the same as what is here */
} found_t;

struct fs_fetch_t {
    fs_keyed_t keyed;
    fs_work_t work;
    fs_sessions_t *sessions;
    unsigned references;
    unsigned round;
    uint64_t generation; /* in which the candidates were asked */
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    int here;
    int held; /* a copy that this host holds ahead for another is among those that were found */
    char released[FS_SESSION_NAME_SIZE]; /* to whom this host has released it; "": nobody */
    fs_usec_t released_until;            /* as the store has it: another one with each release */
    fs_session_stamp_t version;          /* here */
    fs_usec_t deadline;
    fs_usec_t saying; /* since when a question waits for what is being said; 0 none does */
    fs_usec_t at;     /* to be looked at again */
    int again;        /* at `at`: another round */
    fs_session_next_t next;
    int finishing;
    unsigned candidate_count, asked_count;
    unsigned servers[CANDIDATES];
    fs_session_candidate_t candidates[CANDIDATES];
    unsigned peer_count, peer_room;
    fs_session_peer_t *peers;
    int asked_all;
    int nameless; /* there are peers that could not be asked yet: this agent has just started */
    char former[FS_SESSION_NAME_SIZE]; /* who was asked because the copies name him; "" nobody */
    unsigned found_count;
    found_t found[COPIES];
    waiter_t *waiters;
};

/* --- those who wait ----------------------------------------------------------------------------
 */

static void answer_waiter(void *baton)
{
    waiter_t *waiter = baton;
    const char *text = waiter->status == 200   ? "{\"state\":\"here\"}\n"
                       : waiter->status == 404 ? "{\"state\":\"unknown\"}\n"
                                               : "{\"state\":\"unsure\"}\n";

    if (waiter->call) {
        if (waiter->status == 503)
            fs_http_call_set_header(waiter->call, "Retry-After", "1");
        fs_http_call_answer(waiter->call, waiter->status, "application/json", text, strlen(text));
    }
    free(waiter);
}

static void waiter_gone(void *baton, fs_http_call_t *call)
{
    waiter_t *waiter = baton;

    pthread_mutex_lock(&waiter->sessions->lock);
    waiter->call = NULL;
    pthread_mutex_unlock(&waiter->sessions->lock);
}

/* The lock is held. */
static void release_waiter(fs_sessions_t *sessions, waiter_t *waiter, int status)
{
    waiter->status = status;
    fs_listen_post(sessions->agent, answer_waiter, waiter);
}

static void answer_now(fs_http_call_t *call, int status)
{
    waiter_t *waiter = calloc(1, sizeof(*waiter));

    if (!waiter) {
        fs_http_call_answer(call, 503, "text/plain", "out of memory\n", 14);
        return;
    }
    waiter->call = call;
    waiter->status = status;
    answer_waiter(waiter);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void forget_found(fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->found_count; i++)
        free(fetch->found[i].bytes);
    fetch->found_count = 0;
}

void fs_fetch_hold(fs_fetch_t *fetch)
{
    fetch->references++;
}

void fs_fetch_drop(fs_fetch_t *fetch)
{
    if (--fetch->references)
        return;
    forget_found(fetch);
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

static void look_again_at(fs_fetch_t *fetch, fs_usec_t at)
{
    fs_sessions_t *sessions = fetch->sessions;

    for (const waiter_t *waiter = fetch->waiters; waiter; waiter = waiter->next)
        if (waiter->until < at)
            at = waiter->until;
    fetch->at = at;
    if (at >= sessions->fetch_at)
        return;
    sessions->fetch_at = at;
    fs_sessions_nudge(sessions);
}

static void keep_found(fs_fetch_t *fetch, int server, const fs_session_item_t *item)
{
    found_t *found = &fetch->found[fetch->found_count];

    if (fetch->found_count == COPIES || !(item->parts & FS_SESSION_PART_VERSION))
        return;
    found->server = server;
    found->item = *item;
    found->bytes = NULL;
    if (item->parts & FS_SESSION_PART_SEALED) {
        found->bytes = malloc(item->sealed_length + 1);
        if (!found->bytes)
            return;
        memcpy(found->bytes, item->sealed, item->sealed_length);
        found->item.sealed = found->bytes;
    }
    fetch->found_count++;
}

/* --- questions ---------------------------------------------------------------------------------
 */

static void ask_server(fs_fetch_t *fetch, unsigned index, const char *from, int wanted)
{
    fs_bank_server_t *server = &fetch->sessions->servers[fetch->servers[index]];
    fs_ask_t *ask = server->failures ? NULL : calloc(1, sizeof(*ask));

    memset(&fetch->candidates[index], 0, sizeof(fetch->candidates[index]));
    if (!ask) {
        fetch->candidates[index].heard = FS_SESSION_HEARD_FAILED;
        return;
    }
    ask->fetch = fetch;
    fetch->references++;
    ask->round = fetch->round;
    ask->has_version = fetch->here || fetch->held;
    ask->version = fetch->version;
    ask->wanted = wanted;
    snprintf(ask->from, sizeof(ask->from), "%s", from);
    STAILQ_INSERT_TAIL(&server->asks, ask, link);
    fs_ask_wake(server);
}

/* Those where it belongs, and those where it is now that one of these is missing. */
static void choose_candidates(fs_fetch_t *fetch)
{
    fs_sessions_t *sessions = fetch->sessions;
    unsigned targets[FS_AGENT_BANK_MAX], count;

    fetch->candidate_count = fs_up_places(sessions, &fetch->keyed.key, fetch->servers);
    count = fs_up_targets(sessions, &fetch->keyed.key, targets);
    for (unsigned i = 0; i < count; i++) {
        unsigned j = 0;

        while (j < fetch->candidate_count && fetch->servers[j] != targets[i])
            j++;
        if (j == fetch->candidate_count && j < CANDIDATES)
            fetch->servers[fetch->candidate_count++] = targets[i];
    }
}

/* What this host said of the session's owner before must not arrive after the question. */
static int is_being_said(const fs_fetch_t *fetch)
{
    fs_sessions_t *sessions = fetch->sessions;
    const fs_session_key_t *key = &fetch->keyed.key;
    const fs_flight_t *flight = fs_flight_find(&sessions->flights, key);

    for (unsigned i = 0; i < fetch->candidate_count; i++) {
        unsigned server = fetch->servers[i];

        if (!sessions->vouching.servers[server].up)
            continue;
        if (fetch->here && fetch->released[0] &&
            !fs_release_is_told(&sessions->releases, key, server))
            return 1;
        for (unsigned j = 0; flight && j < flight->count; j++)
            if (flight->targets[j].server == server && flight->targets[j].state == FS_TARGET_SENT)
                return 1;
    }
    return 0;
}

/* Whether what is being said has had its time. */
static int said_for_long(fs_fetch_t *fetch)
{
    fs_usec_t now = fs_session_clock();

    if (!fetch->saying)
        fetch->saying = now;
    return now - fetch->saying > SAYING_MOST;
}

static void ask_round(fs_fetch_t *fetch, const char *from, int wanted)
{
    fetch->round++;
    fetch->again = 0;
    fetch->asked_all = 0;
    fetch->peer_count = 0;
    fetch->generation = fetch->sessions->vouching.trusted.generation;
    choose_candidates(fetch);
    if (is_being_said(fetch) && !said_for_long(fetch)) {
        fetch->candidate_count = 0;
        fetch->again = 1;
        fetch->next.step = FS_SESSION_STEP_TAKE;
        fetch->next.wanted = wanted;
        if (from != fetch->next.whom)
            snprintf(fetch->next.whom, sizeof(fetch->next.whom), "%s", from);
        look_again_at(fetch, fs_session_clock() + SAYING);
        return;
    }
    fetch->saying = 0;
    for (unsigned i = 0; i < fetch->candidate_count; i++)
        ask_server(fetch, i, from, wanted);
}

static void ask_peer(fs_fetch_t *fetch, const char *name)
{
    fs_session_peer_t *peer;

    if (fetch->peer_count == fetch->peer_room) {
        unsigned room = fetch->peer_room + PEERS_STEP;
        fs_session_peer_t *peers = realloc(fetch->peers, room * sizeof(*peers));

        if (!peers)
            return;
        fetch->peers = peers;
        fetch->peer_room = room;
    }
    peer = &fetch->peers[fetch->peer_count++];
    memset(peer, 0, sizeof(*peer));
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    peer->rank = FS_SESSION_NO_RANK;
    if (!fs_peer_ask(fetch->sessions, fetch, fetch->round, name))
        peer->said = FS_SESSION_SAID_FAILED;
}

static void ask_all_peers(fs_fetch_t *fetch)
{
    static char names[FS_PEERS_MAX][FS_SESSION_NAME_SIZE]; /* under the lock */
    unsigned count = fs_peer_names(fetch->sessions, names, FS_PEERS_MAX);

    fetch->asked_all = 1;
    fetch->nameless = fs_session_clock() - fetch->sessions->started < START_FOR &&
                      fs_peers_nameless(fetch->sessions->agent);
    for (unsigned i = 0; i < count; i++) {
        unsigned j = 0;

        while (j < fetch->peer_count && strcmp(fetch->peers[j].name, names[i]) != 0)
            j++;
        if (j == fetch->peer_count)
            ask_peer(fetch, names[i]);
    }
}

/* --- what is here ---------------------------------------------------------------------------- */

typedef struct here_t {
    int is;
    fs_session_note_t note;
    char released[FS_SESSION_NAME_SIZE];
    int held;               /* and it isn't here */
    fs_session_item_t copy; /* `held`: its bytes are malloc'ed */
} here_t;

static int note_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    *(fs_session_note_t *)baton = *note;
    return 0;
}

/* What is here of it, whatever that is worth. No lock. */
static void look_here(fs_sessions_t *sessions, const fs_session_key_t *key, here_t *here)
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

static void forget_here(here_t *here)
{
    if (here->held)
        free((void *)here->copy.sealed);
    here->held = 0;
}

/* The lock is held. */
static void note_here(fs_fetch_t *fetch, const here_t *here)
{
    fetch->here = here->is;
    fetch->version = here->note.version;
    fetch->released_until = here->is ? here->note.released : 0;
    memcpy(fetch->released, here->released, sizeof(fetch->released));
}

/* The lock is held. Once at the beginning: what is held for another host. */
static void note_held(fs_fetch_t *fetch, const here_t *here)
{
    if (!here->held)
        return;
    fetch->held = 1;
    fetch->version = here->copy.version;
    keep_found(fetch, -1, &here->copy);
}

static void step(fs_fetch_t *fetch);

/* --- the end -----------------------------------------------------------------------------------
 */

static void note_bases(fs_fetch_t *fetch)
{
    fs_sessions_t *sessions = fetch->sessions;
    const fs_session_key_t *key = &fetch->keyed.key;

    for (unsigned i = 0; i < fetch->found_count; i++) {
        const found_t *found = &fetch->found[i];

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
    fs_session_record_t *copies = apr_pcalloc(pool, COPIES * sizeof(*copies));
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
        ask_peer(fetch, fetch->former);
        step(fetch);
    }
    pthread_mutex_unlock(&fetch->sessions->lock);
    return *former != '\0';
}

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
    fs_session_record_t *copies = apr_pcalloc(pool, COPIES * sizeof(*copies)), record;
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

static int somebody_answered(const fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->candidate_count; i++)
        if (fetch->candidates[i].heard >= FS_SESSION_HEARD_UNKNOWN)
            return 1;
    return 0;
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
        if (fetch->held && is_alone(fetch) && !somebody_answered(fetch))
            return adopt(fetch, pool);
        return own && !fetch->again && nobody_answered(fetch) && is_alone(fetch) ? keep_own(fetch)
                                                                                 : 503;
    }
}

/* The lock is held. */
static void finished(fs_fetch_t *fetch, int status)
{
    fs_sessions_t *sessions = fetch->sessions;
    waiter_t *next;

    fs_key_table_remove(&sessions->fetches, &fetch->keyed);
    if (status == 404)
        fs_unknown_add(&sessions->unknown, &fetch->keyed.key, fs_session_clock());
    else if (status == 200)
        fs_unknown_forget(&sessions->unknown, &fetch->keyed.key);
    for (waiter_t *waiter = fetch->waiters; waiter; waiter = next) {
        next = waiter->next;
        release_waiter(sessions, waiter, status);
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
    here_t here;

    look_here(sessions, &fetch->keyed.key, &here);
    forget_here(&here);
    if ((here.is == fetch->here && (!here.is || here.note.released == fetch->released_until)) ||
        fs_session_clock() >= fetch->deadline)
        return 0;
    pthread_mutex_lock(&sessions->lock);
    note_here(fetch, &here);
    fetch->finishing = 0;
    ask_round(fetch, "", 0);
    step(fetch);
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
static void finish(fs_fetch_t *fetch)
{
    if (fetch->finishing)
        return;
    fetch->finishing = 1;
    fetch->work.run = finish_run;
    fs_work_add(fetch->sessions, &fetch->work);
}

/* --- steps; the lock is held --------------------------------------------------------------------
 */

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

    if (!fetch->sessions->vouching.trusted.alone || !fetch->asked_all || somebody_answered(fetch))
        return 0;
    for (unsigned i = 0; i < fetch->found_count; i++)
        copies += fetch->found[i].bytes != NULL;
    for (unsigned i = 0; i < fetch->peer_count; i++)
        if (fetch->peers[i].said == FS_SESSION_SAID_NOTHING ||
            fetch->peers[i].said == FS_SESSION_SAID_TAKING)
            return 0;
    return copies > 0;
}

static void step(fs_fetch_t *fetch)
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
            look_again_at(fetch, fetch->next.at);
            return;
        case FS_SESSION_STEP_ASK:
            ask_peer(fetch, fetch->next.whom);
            break;
        case FS_SESSION_STEP_ASK_ALL:
            ask_all_peers(fetch);
            break;
        case FS_SESSION_STEP_TAKE:
            if (is_hopeless(fetch)) {
                fetch->next.step = FS_SESSION_STEP_UNKNOWN;
                finish(fetch);
            } else if (is_all_there_is(fetch)) {
                fetch->next.step = FS_SESSION_STEP_ADOPT;
                finish(fetch);
            } else if (fetch->next.at > fs_session_clock()) {
                fetch->again = 1;
                look_again_at(fetch, fetch->next.at);
            } else {
                ask_round(fetch, fetch->next.whom, fetch->next.wanted);
            }
            break;
        default:
            if (fetch->next.step == FS_SESSION_STEP_ADOPT && awaits_former(fetch)) {
                look_again_at(fetch, fetch->deadline - FORMER_MARGIN);
                return;
            }
            finish(fetch);
            break;
        }
    }
}

int fs_fetch_wants(const fs_ask_t *ask)
{
    return ask->round == ask->fetch->round && !ask->fetch->finishing;
}

void fs_fetch_heard(fs_sessions_t *sessions, unsigned server, fs_ask_t *ask,
                    const fs_session_batch_t *head, const fs_session_item_t *item,
                    const fs_session_item_t *aside)
{
    fs_fetch_t *fetch = ask->fetch;
    unsigned i = 0;

    while (i < fetch->candidate_count && fetch->servers[i] != server)
        i++;
    if (!fetch->finishing && ask->round == fetch->round && i < fetch->candidate_count) {
        fs_session_candidate_t *candidate = &fetch->candidates[i];

        candidate->in_sync = head && head->flags & FS_SESSION_BATCH_IN_SYNC;
        candidate->heard = !item                                   ? FS_SESSION_HEARD_FAILED
                           : item->what == FS_SESSION_WHAT_UNKNOWN ? FS_SESSION_HEARD_UNKNOWN
                           : item->what == FS_SESSION_WHAT_GRANTED ? FS_SESSION_HEARD_GRANTED
                           : item->what == FS_SESSION_WHAT_OWNED   ? FS_SESSION_HEARD_OWNED
                                                                   : FS_SESSION_HEARD_FAILED;
        if (candidate->heard >= FS_SESSION_HEARD_GRANTED && item->parts & FS_SESSION_PART_OWNER) {
            memcpy(candidate->owner, item->owner, sizeof(candidate->owner));
            candidate->until = fs_session_clock() + item->lease * FS_USEC_PER_MSEC;
        }
        if (candidate->heard >= FS_SESSION_HEARD_GRANTED)
            keep_found(fetch, (int)server, item);
        if (aside)
            keep_found(fetch, -1, aside);
        step(fetch);
    }
    fs_fetch_drop(fetch);
    free(ask);
}

static fs_session_said_t said_what(const fs_session_item_t *item)
{
    switch (item ? item->what : FS_SESSION_WHAT_REFUSED) {
    case FS_SESSION_WHAT_GRANTED:
        return FS_SESSION_SAID_GAVE;
    case FS_SESSION_WHAT_OWNED:
        return FS_SESSION_SAID_NAMED;
    case FS_SESSION_WHAT_TAKING:
        return FS_SESSION_SAID_TAKING;
    case FS_SESSION_WHAT_UNKNOWN:
        return FS_SESSION_SAID_NONE;
    default:
        return FS_SESSION_SAID_FAILED;
    }
}

void fs_fetch_said(fs_sessions_t *sessions, fs_fetch_t *fetch, unsigned round, const char *name,
                   const fs_session_item_t *item)
{
    if (fetch->finishing)
        return;
    if (item && item->parts & FS_SESSION_PART_SEALED)
        keep_found(fetch, -1, item);
    if (round != fetch->round)
        return;
    for (unsigned i = 0; i < fetch->peer_count; i++) {
        fs_session_peer_t *peer = &fetch->peers[i];

        if (strcmp(peer->name, name) != 0)
            continue;
        peer->said = said_what(item);
        if (peer->said == FS_SESSION_SAID_NAMED)
            memcpy(peer->named, item->owner, sizeof(peer->named));
        if (peer->said == FS_SESSION_SAID_TAKING)
            peer->rank = item->lease;
        peer->has = item && item->parts & FS_SESSION_PART_SEALED ? 1 : 0;
    }
    step(fetch);
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
    step(fetch);
    return 1;
}

typedef struct timers_t {
    fs_usec_t now, next;
} timers_t;

static void end_waiters(fs_fetch_t *fetch, fs_usec_t now)
{
    waiter_t **at = &fetch->waiters;

    while (*at) {
        waiter_t *waiter = *at;

        if (waiter->until > now) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        release_waiter(fetch->sessions, waiter, 503);
    }
}

static void give_up(fs_fetch_t *fetch)
{
    fetch->next.step = FS_SESSION_STEP_GIVE_UP;
    finish(fetch);
}

static void step_one(void *baton, fs_keyed_t *keyed)
{
    fs_fetch_t *fetch = (fs_fetch_t *)keyed;
    timers_t *timers = baton;

    if (fetch->at <= timers->now && !fetch->finishing) {
        if (fetch->again && timers->now >= fetch->deadline)
            give_up(fetch);
        else if (fetch->again)
            ask_round(fetch, fetch->next.whom, fetch->next.wanted);
        step(fetch);
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

/* --- begin --------------------------------------------------------------------------------------
 */

/* The lock is held. */
static fs_fetch_t *begin(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal,
                         const here_t *here)
{
    fs_fetch_t *fetch = calloc(1, sizeof(*fetch));

    if (!fetch)
        return NULL;
    fetch->keyed.key = *key;
    fetch->sessions = sessions;
    fetch->references = 1;
    note_here(fetch, here);
    note_held(fetch, here);
    memcpy(fetch->seal, seal, FS_SESSION_SEAL_BYTES);
    fs_key_table_add(&sessions->fetches, &fetch->keyed);
    return fetch;
}

static void join(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal,
                 const here_t *here, fs_usec_t until, waiter_t *waiter)
{
    fs_fetch_t *fetch = (fs_fetch_t *)fs_key_table_find(&sessions->fetches, key);
    int fresh = !fetch;

    if (!fetch)
        fetch = begin(sessions, key, seal, here);
    if (!fetch) {
        if (waiter)
            release_waiter(sessions, waiter, 503);
        return;
    }
    if (until > fetch->deadline)
        fetch->deadline = until;
    if (waiter) {
        waiter->next = fetch->waiters;
        fetch->waiters = waiter;
    }
    if (fresh)
        ask_round(fetch, "", 0);
    step(fetch);
}

void fs_fetch_quietly(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal)
{
    here_t here;

    look_here(sessions, key, &here);
    pthread_mutex_lock(&sessions->lock);
    join(sessions, key, seal, &here,
         fs_session_clock() + sessions->config->timeout_ms * FS_USEC_PER_MSEC, NULL);
    pthread_mutex_unlock(&sessions->lock);
    forget_here(&here);
}

void fs_fetch_request(fs_sessions_t *sessions, fs_http_call_t *call, const fs_session_key_t *key,
                      const uint8_t *seal, fs_usec_t wait)
{
    here_t here;
    int unknown;
    waiter_t *waiter;

    look_here(sessions, key, &here);
    if (here.is && !here.released[0] &&
        fs_session_trust_allows(sessions->trust, here.note.checked, fs_session_clock())) {
        answer_now(call, 200);
        return;
    }
    pthread_mutex_lock(&sessions->lock);
    unknown = !here.is && fs_unknown_has(&sessions->unknown, key, fs_session_clock());
    pthread_mutex_unlock(&sessions->lock);
    unknown &= !here.held;
    waiter = unknown ? NULL : calloc(1, sizeof(*waiter));
    if (!waiter) {
        forget_here(&here);
        answer_now(call, unknown ? 404 : 503);
        return;
    }
    waiter->sessions = sessions;
    waiter->call = call;
    waiter->until = fs_session_clock() + wait;
    fs_http_call_defer(call, waiter_gone, waiter);
    pthread_mutex_lock(&sessions->lock);
    join(sessions, key, seal, &here, waiter->until, waiter);
    pthread_mutex_unlock(&sessions->lock);
    forget_here(&here);
}
