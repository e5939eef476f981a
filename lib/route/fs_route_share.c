/* SPDX-License-Identifier: Apache-2.0 */
/* Peers, and what is done with time. */
#include "route/fs_route_share_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETURN_SHARE 4    /* of `idle`: who wasn't seen for so long may go back */
#define SWEEP_SHARE  16   /* of `idle`: in which all own visitors are looked at */
#define SWEEP_LEAST  256  /* at once */
#define FORGET_MOST  1024 /* of one server, at once */

fs_share_peer_t *fs_share_find(fs_route_share_t *share, const char *name)
{
    for (unsigned i = 0; i < share->count; i++)
        if (!strcmp(share->peers[i].name, name))
            return &share->peers[i];
    return NULL;
}

fs_share_peer_t *fs_share_peer(fs_route_share_t *share, const char *name)
{
    fs_share_peer_t *peer = fs_share_find(share, name);

    if (peer || share->count == FS_SHARE_PEERS || !strcmp(name, share->self))
        return peer;
    peer = &share->peers[share->count++];
    memset(peer, 0, sizeof(*peer));
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    return peer;
}

static apr_status_t look(fs_route_share_t *share, fs_result_t *result)
{
    fs_route_total_t total;
    apr_status_t status = fs_route_store_total(share->store, share->self, &total, result);

    if (!status) {
        share->generation = total.generation;
        share->sequence = total.sequence;
    }
    return status;
}

/* --- life ----------------------------------------------------------------------------------------
 */

/* A store whose log is empty is new: what others know of this server's visitors was in the old one.
 */
static void ask_for_own(fs_route_share_t *share)
{
    fs_result_t ignored;

    if (look(share, &ignored) || share->sequence)
        return;
    share->peers[0] = (fs_share_peer_t){.self = 1, .known = 1, .dead = 1};
    memcpy(share->peers[0].name, share->self, sizeof(share->self));
    share->count = 1;
}

fs_route_share_t *fs_route_share_create(fs_route_store_t *store,
                                        const fs_route_share_settings_t *settings, fs_moment_t now)
{
    fs_route_share_t *share = calloc(1, sizeof(*share));

    if (!share || !(share->peers = calloc(FS_SHARE_PEERS, sizeof(*share->peers)))) {
        free(share);
        return NULL;
    }
    share->store = store;
    share->settings = *settings;
    snprintf(share->self, sizeof(share->self), "%s", settings->self);
    share->settings.self = share->self;
    share->began = now.mono;
    ask_for_own(share);
    return share;
}

void fs_route_share_destroy(fs_route_share_t *share)
{
    if (!share)
        return;
    for (unsigned i = 0; i < share->count; i++)
        free(share->peers[i].reminds);
    free(share->peers);
    free(share);
}

void fs_route_share_again(fs_route_share_t *share, fs_moment_t now)
{
    share->began = now.mono;
    share->ready = share->late = 0;
    for (unsigned i = 0; i < share->count; i++) {
        share->peers[i].heard = share->peers[i].tells = share->peers[i].compared = 0;
        share->peers[i].differs_since = 0;
        share->peers[i].end = 0;
    }
}

int fs_route_share_ready(const fs_route_share_t *share)
{
    return share->ready;
}

void fs_route_share_info(const fs_route_share_t *share, fs_route_share_info_t *info)
{
    *info = share->info;
    info->copying = info->behind = 0;
    info->late = share->late;
    for (unsigned i = 0; i < share->count; i++) {
        const fs_share_peer_t *peer = &share->peers[i];

        info->copying += peer->copies != 0;
        info->behind += peer->reachable && (!peer->knows || peer->told < share->sequence);
    }
}

/* --- peers ---------------------------------------------------------------------------------------
 */

static void take_status(fs_share_peer_t *peer, const fs_route_peer_status_t *status, fs_usec_t mono)
{
    if (status->reachable && !peer->reachable) {
        peer->knows = 0; /* it may have lost what it had */
        peer->failures = peer->copy_failures = 0;
        peer->tell_at = mono;
        peer->copy_at = mono < peer->copy_at ? peer->copy_at : mono;
    }
    peer->known = 1;
    if (peer->dead && !status->dead)
        fs_share_back(peer);
    peer->dead = status->dead;
    peer->reachable = status->reachable;
    peer->serves = status->serves;
    peer->ready = status->ready;
    peer->generation = status->generation;
    peer->sequence = status->sequence;
    peer->digest = status->digest;
    if (status->reachable && status->generation)
        peer->heard = 1;
}

void fs_route_share_partial(fs_route_share_t *share, fs_moment_t now, int partial)
{
    if (share->partial && !partial)
        share->began = now.mono;
    share->partial = partial;
}

void fs_route_share_peers(fs_route_share_t *share, fs_moment_t now,
                          const fs_route_peer_status_t *peers, unsigned count)
{
    fs_result_t ignored;

    for (unsigned i = 0; i < share->count; i++)
        share->peers[i].known = share->peers[i].self;
    for (unsigned i = 0; i < count; i++) {
        fs_share_peer_t *peer = fs_share_peer(share, peers[i].name);

        if (peer && !peer->self)
            take_status(peer, &peers[i], now.mono);
    }
    for (unsigned i = 0; i < share->count; i++) {
        fs_share_peer_t *peer = &share->peers[i];

        if (!peer->known)
            peer->reachable = peer->serves = peer->heard = 0;
        if (peer->self || (peer->known && !peer->dead))
            peer->gone_since = 0;
        else if (!peer->gone_since)
            peer->gone_since = now.mono;
        if (peer->reachable)
            fs_share_compare(share, peer, now, &ignored);
    }
    fs_share_judge_ready(share, now);
}

/* --- time ----------------------------------------------------------------------------------------
 */

static apr_status_t sweep(fs_route_share_t *share, fs_moment_t now, fs_result_t *result)
{
    fs_usec_t idle = share->settings.idle, round = idle / SWEEP_SHARE;
    fs_usec_t passed = share->ticked ? now.mono - share->ticked : 0;
    fs_route_total_t total;
    apr_status_t status = fs_route_store_total(share->store, share->self, &total, result);
    uint64_t most = SWEEP_LEAST;

    if (status)
        return status;
    if (round > 0 && passed > 0)
        most += (uint64_t)((double)total.primaries * (double)passed / (double)round);
    most = most < total.primaries + 1 ? most : total.primaries + 1;
    status =
        fs_route_store_sweep(share->store, now.farm, idle, (unsigned)most, &share->swept, result);
    share->info.expired += share->swept.idle;
    share->info.once += share->swept.unconfirmed;
    return status;
}

static apr_status_t give_back(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                              fs_result_t *result)
{
    int all = share->settings.return_policy == FS_ROUTE_RETURN_ALL;
    fs_usec_t before = all ? now.farm : now.farm - share->settings.idle / RETURN_SHARE;
    unsigned returned, sum = 0;
    apr_status_t status;

    do {
        status = fs_route_store_return(share->store, peer->name, before,
                                       share->settings.return_rate - sum, peer->return_after,
                                       &returned, now.farm, result);
        sum += returned;
    } while (!status && returned && sum < share->settings.return_rate);
    share->info.returned += sum;
    return status;
}

/* Who is gone for longer than a visitor is known without being seen. `empty`: of them nothing is
 * left. */
static apr_status_t forget(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                           int *empty, fs_result_t *result)
{
    unsigned removed = 0, sum = 0;
    apr_status_t status = APR_SUCCESS;

    *empty = 0;
    if (!peer->gone_since || now.mono - peer->gone_since < share->settings.idle)
        return APR_SUCCESS;
    do {
        status = fs_route_store_forget(share->store, peer->name, FORGET_MOST, &removed, result);
        sum += removed;
    } while (!status && removed && sum < FORGET_MOST);
    share->info.forgotten += sum;
    *empty = !status && !sum && !peer->known && !peer->telling && !peer->copying;
    return status;
}

static void drop(fs_route_share_t *share, unsigned index)
{
    free(share->peers[index].reminds);
    share->peers[index] = share->peers[--share->count];
}

/* Servers that nobody knows any more, but of whom there are visitors. */
static int notice_server(void *baton, const char *server, const fs_route_total_t *total)
{
    if (total->primaries)
        fs_share_peer(baton, server); /* not this server */
    return 0;
}

apr_status_t fs_route_share_tick(fs_route_share_t *share, fs_moment_t now, fs_result_t *result)
{
    apr_status_t status;
    int empty = 0;

    if (share->ticked && now.mono - share->ticked < FS_USEC_PER_SEC)
        return APR_SUCCESS;
    status = sweep(share, now, result);
    if (!status)
        status = fs_route_store_totals(share->store, notice_server, share, result);
    for (unsigned i = share->count; !status && i-- > 0;) {
        fs_share_peer_t *peer = &share->peers[i];

        if (peer->serves && share->ready && share->settings.return_policy != FS_ROUTE_RETURN_NEVER)
            status = give_back(share, peer, now, result);
        empty = 0;
        if (!status)
            status = forget(share, peer, now, &empty, result);
        if (empty)
            drop(share, i);
    }
    share->ticked = now.mono;
    return status;
}

/* --- requests ------------------------------------------------------------------------------------
 */

int fs_route_share_next(fs_route_share_t *share, fs_moment_t now, fs_route_share_request_t *request)
{
    fs_result_t ignored;

    if (look(share, &ignored))
        return 0;
    memset(request, 0, sizeof(*request));
    for (unsigned i = 0; i < share->count; i++) {
        fs_share_peer_t *peer = &share->peers[(share->turn + i) % share->count];

        if (!fs_share_copy_next(share, peer, now, request) &&
            !fs_share_tell_next(share, peer, now, request))
            continue;
        request->id = ++share->ids;
        if (request->asks)
            peer->copying = request->id;
        else
            peer->telling = request->id;
        share->turn = (share->turn + i + 1) % share->count;
        return 1;
    }
    return 0;
}

apr_status_t fs_route_share_answer(fs_route_share_t *share, fs_moment_t now, uint64_t id,
                                   const void *bytes, size_t length, fs_result_t *result)
{
    for (unsigned i = 0; id && i < share->count; i++) {
        fs_share_peer_t *peer = &share->peers[i];

        if (peer->copying == id) {
            apr_status_t status;

            peer->copying = 0;
            status = fs_share_copy_answer(share, peer, now, bytes, length, result);
            fs_share_judge_ready(share, now);
            return status;
        }
        if (peer->telling == id) {
            peer->telling = 0;
            fs_share_tell_answer(share, peer, now, bytes, length);
            return APR_SUCCESS;
        }
    }
    return APR_SUCCESS;
}
