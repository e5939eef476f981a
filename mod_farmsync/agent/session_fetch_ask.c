/* SPDX-License-Identifier: Apache-2.0 */
/* A session that is fetched: who is asked for it, and what they say. The lock is held. */
#include "session_fetch.h"

#include <stdlib.h>
#include <string.h>

#include "backplane.h"

#define PEERS_STEP 16
#define SAYING     (3 * FS_USEC_PER_MSEC) /* until an offer may have been answered */
/* Then the question goes all the same: the host that has the session since is asked, too. */
#define SAYING_MOST (100 * FS_USEC_PER_MSEC)
#define START_FOR   (5 * FS_USEC_PER_SEC) /* a peer that hasn't answered by then is down */

/* --- questions -----------------------------------------------------------------------------------
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
        if (j == fetch->candidate_count && j < FS_FETCH_CANDIDATES)
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

void fs_fetch_ask_round(fs_fetch_t *fetch, const char *from, int wanted)
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
        fs_fetch_look_again_at(fetch, fs_session_clock() + SAYING);
        return;
    }
    fetch->saying = 0;
    for (unsigned i = 0; i < fetch->candidate_count; i++)
        ask_server(fetch, i, from, wanted);
}

void fs_fetch_ask_peer(fs_fetch_t *fetch, const char *name)
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

void fs_fetch_ask_all_peers(fs_fetch_t *fetch)
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
            fs_fetch_ask_peer(fetch, names[i]);
    }
}

/* --- answers -------------------------------------------------------------------------------------
 */

void fs_fetch_forget_found(fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->found_count; i++)
        free(fetch->found[i].bytes);
    fetch->found_count = 0;
}

void fs_fetch_keep_found(fs_fetch_t *fetch, int server, const fs_session_item_t *item)
{
    fs_found_t *found = &fetch->found[fetch->found_count];

    if (fetch->found_count == FS_FETCH_COPIES || !(item->parts & FS_SESSION_PART_VERSION))
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

int fs_fetch_somebody_answered(const fs_fetch_t *fetch)
{
    for (unsigned i = 0; i < fetch->candidate_count; i++)
        if (fetch->candidates[i].heard >= FS_SESSION_HEARD_UNKNOWN)
            return 1;
    return 0;
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
        if (candidate->heard >= FS_SESSION_HEARD_GRANTED) {
            candidate->epoch = item->parts & FS_SESSION_PART_VERSION ? item->version.epoch : 0;
            fs_fetch_keep_found(fetch, (int)server, item);
        }
        if (aside)
            fs_fetch_keep_found(fetch, -1, aside);
        fs_fetch_step(fetch);
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
        fs_fetch_keep_found(fetch, -1, item);
    if (round != fetch->round)
        return;
    for (unsigned i = 0; i < fetch->peer_count; i++) {
        fs_session_peer_t *peer = &fetch->peers[i];

        if (strcmp(peer->name, name) != 0)
            continue;
        peer->said = said_what(item);
        if (peer->said == FS_SESSION_SAID_NONE)
            fs_disclaimed_drop(&sessions->disclaimed, &fetch->keyed.key, name);
        if (peer->said == FS_SESSION_SAID_NAMED)
            memcpy(peer->named, item->owner, sizeof(peer->named));
        if (peer->said == FS_SESSION_SAID_TAKING)
            peer->rank = item->lease;
        peer->has = item && item->parts & FS_SESSION_PART_SEALED ? 1 : 0;
    }
    fs_fetch_step(fetch);
}
