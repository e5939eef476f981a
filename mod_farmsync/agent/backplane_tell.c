/* SPDX-License-Identifier: Apache-2.0 */
/* Own changes, and who has confirmed them. */
#include <stdlib.h>
#include <string.h>

#include "backplane_internal.h"

#define GIVEN_UP_AFTER 3 /* requests in a row that failed: this one isn't waited for any more */

/* --- tickets ------------------------------------------------------------------------------------
 */

/* The lock is held. All peers that there are, as nobody has confirmed anything yet. */
static int list_peers(fs_backplane_t *backplane, fs_ticket_t *ticket)
{
    unsigned count = fs_exchange_peer_count(backplane->exchange);
    fs_moment_t now = fs_backplane_now(backplane);

    ticket->peers = calloc(count + 1, sizeof(*ticket->peers));
    if (!ticket->peers)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        fs_told_peer_t *peer = &ticket->peers[ticket->peer_count];
        fs_peer_info_t info;

        if (!fs_exchange_peer(backplane->exchange, i, now, &info) || !info.url[0])
            continue;
        memcpy(peer->name, info.name, sizeof(peer->name));
        memcpy(peer->url, info.url, sizeof(peer->url));
        ticket->peer_count++;
    }
    return 0;
}

static fs_told_peer_t *listed(fs_ticket_t *ticket, const fs_peer_info_t *info)
{
    for (unsigned i = 0; i < ticket->peer_count; i++)
        if (!strcmp(ticket->peers[i].url, info->url) ||
            (info->name[0] && !strcmp(ticket->peers[i].name, info->name)))
            return &ticket->peers[i];
    return NULL;
}

/* The lock is held. Notes who has confirmed. Returns 1 if nobody is left to wait for. */
static int judge_ticket(fs_backplane_t *backplane, fs_ticket_t *ticket, fs_moment_t now)
{
    int done = backplane->kept >= ticket->serial;

    for (unsigned i = 0; i < fs_exchange_peer_count(backplane->exchange); i++) {
        fs_told_peer_t *peer;
        fs_peer_info_t info;

        if (!fs_exchange_peer(backplane->exchange, i, now, &info))
            continue;
        peer = listed(ticket, &info);
        if (!peer)
            continue;
        memcpy(peer->name, info.name, sizeof(peer->name));
        peer->state = info.state;
        peer->heard = info.heard;
        if (!peer->confirmed &&
            fs_exchange_has_confirmed(backplane->exchange, i, ticket->priority, ticket->place)) {
            peer->confirmed = 1;
            peer->took = now.mono - ticket->began;
        }
        if (!peer->confirmed && info.failures < GIVEN_UP_AFTER &&
            (info.state == FS_PEER_ALIVE || info.state == FS_PEER_SUSPECT))
            done = 0;
    }
    return done;
}

static void end_ticket(fs_backplane_t *backplane, fs_ticket_t *ticket, int saved)
{
    fs_told_t told = {.saved = saved,
                      .took = fs_time_mono() - ticket->began,
                      .peer_count = ticket->peer_count,
                      .peers = ticket->peers};

    for (unsigned i = 0; i < ticket->peer_count; i++)
        told.confirmed_count += ticket->peers[i].confirmed != 0;
    ticket->fn(ticket->baton, &told);
    free(ticket->peers);
    free(ticket);
}

fs_usec_t fs_tickets_due(const fs_backplane_t *backplane)
{
    fs_usec_t due = INT64_MAX;
    const fs_ticket_t *ticket;

    LIST_FOREACH(ticket, &backplane->tickets, link)
    {
        if (ticket->until < due)
            due = ticket->until;
    }
    return due;
}

/* Takes one that is over out of the list. NULL: none is. */
static fs_ticket_t *take_done(fs_backplane_t *backplane, int all, int *saved)
{
    fs_ticket_t *ticket;
    fs_moment_t now = fs_backplane_now(backplane);

    pthread_mutex_lock(&backplane->lock);
    LIST_FOREACH(ticket, &backplane->tickets, link)
    {
        if (judge_ticket(backplane, ticket, now) || all || now.mono >= ticket->until) {
            LIST_REMOVE(ticket, link);
            backplane->ticket_count--;
            *saved = backplane->kept >= ticket->serial;
            break;
        }
    }
    pthread_mutex_unlock(&backplane->lock);
    return ticket;
}

void fs_tickets_judge(fs_backplane_t *backplane, int all)
{
    fs_ticket_t *ticket;
    int saved = 0;

    while ((ticket = take_done(backplane, all, &saved)))
        end_ticket(backplane, ticket, saved);
}

/* The lock is held. Errors: FS1474. */
static apr_status_t add_ticket(fs_backplane_t *backplane, fs_priority_t priority, fs_usec_t wait,
                               fs_backplane_told_fn *fn, void *baton, fs_result_t *result)
{
    fs_ticket_t *ticket =
        backplane->ticket_count < FS_BACKPLANE_TICKETS ? calloc(1, sizeof(*ticket)) : NULL;

    if (!ticket || list_peers(backplane, ticket)) {
        free(ticket);
        return fs_result_set(result, APR_ENOSPC, "FS1474",
                             "the change was made and is being told, but too many (%d) wait for "
                             "confirmations already",
                             FS_BACKPLANE_TICKETS);
    }
    ticket->priority = priority;
    ticket->place = fs_exchange_place(backplane->exchange, priority);
    ticket->serial = fs_map_serial(backplane->map);
    ticket->began = fs_time_mono();
    ticket->until = ticket->began + wait;
    ticket->fn = fn;
    ticket->baton = baton;
    LIST_INSERT_HEAD(&backplane->tickets, ticket, link);
    backplane->ticket_count++;
    return APR_SUCCESS;
}

/* --- telling ------------------------------------------------------------------------------------
 */

apr_status_t fs_backplane_put(fs_agent_t *agent, const char *kind, const char *key,
                              const void *value, size_t length, fs_priority_t priority,
                              fs_usec_t expires, fs_usec_t wait, fs_backplane_told_fn *fn,
                              void *baton, fs_result_t *result)
{
    fs_backplane_t *backplane = agent->backplane;
    apr_status_t status;

    pthread_mutex_lock(&backplane->lock);
    status = fs_exchange_put(backplane->exchange, fs_backplane_now(backplane), kind, key, value,
                             length, priority, expires, result);
    if (!status && fn)
        status = add_ticket(backplane, priority, wait, fn, baton, result);
    pthread_mutex_unlock(&backplane->lock);
    fs_backplane_ring(backplane);
    fs_backplane_deliver(backplane);
    return status;
}

/* --- peers --------------------------------------------------------------------------------------
 */

int fs_peers_address(fs_agent_t *agent, const char *name, char url[FS_PEER_URL_SIZE],
                     fs_peer_state_t *state)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_peer_info_t info;
    int found;

    pthread_mutex_lock(&backplane->lock);
    found = fs_exchange_find_peer(backplane->exchange, name, fs_backplane_now(backplane), &info);
    pthread_mutex_unlock(&backplane->lock);
    if (found && url)
        memcpy(url, info.url, FS_PEER_URL_SIZE);
    if (found && state)
        *state = info.state;
    return found && info.url[0];
}

unsigned fs_peers_list(fs_agent_t *agent, fs_peer_name_t *peers, unsigned max)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_moment_t now = fs_backplane_now(backplane);
    unsigned count = 0;

    pthread_mutex_lock(&backplane->lock);
    for (unsigned i = 0; i < fs_exchange_peer_count(backplane->exchange) && count < max; i++) {
        fs_peer_info_t info;

        if (!fs_exchange_peer(backplane->exchange, i, now, &info) || !info.name[0] || !info.url[0])
            continue;
        memcpy(peers[count].name, info.name, sizeof(info.name));
        memcpy(peers[count].url, info.url, sizeof(info.url));
        peers[count].state = info.state;
        peers[count++].heard = info.heard;
    }
    pthread_mutex_unlock(&backplane->lock);
    return count;
}

unsigned fs_peers_nameless(fs_agent_t *agent)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_moment_t now = fs_backplane_now(backplane);
    unsigned count = 0;

    pthread_mutex_lock(&backplane->lock);
    for (unsigned i = 0; i < fs_exchange_peer_count(backplane->exchange); i++) {
        fs_peer_info_t info;

        count += fs_exchange_peer(backplane->exchange, i, now, &info) && !info.name[0];
    }
    pthread_mutex_unlock(&backplane->lock);
    return count;
}

int fs_backplane_is_syncing(fs_agent_t *agent)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_exchange_info_t info;

    if (!agent->config.peer_count && !agent->config.server_count)
        return 0;
    pthread_mutex_lock(&backplane->lock);
    fs_exchange_info(backplane->exchange, &info);
    pthread_mutex_unlock(&backplane->lock);
    if (info.state == FS_EXCHANGE_SYNCING)
        return 1;
    fs_backplane_deliver(backplane); /* what the comparison brought */
    return 0;
}
