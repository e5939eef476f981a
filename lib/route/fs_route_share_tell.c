/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the others from the own log, and being told. */
#include "route/fs_route_share_internal.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_FIRST (200 * FS_USEC_PER_MSEC)
#define AGAIN_MOST  (10 * FS_USEC_PER_SEC)
#define PACE        (50 * FS_USEC_PER_MSEC) /* what comes meanwhile goes out together */

/* --- telling -------------------------------------------------------------------------------------
 */

typedef struct collecting_t {
    fs_route_visitor_t visitors[FS_ROUTE_DELTA_VISITORS];
    unsigned count;
} collecting_t;

static int collect(void *baton, const fs_route_visitor_t *visitor)
{
    collecting_t *collecting = baton;

    collecting->visitors[collecting->count++] = *visitor;
    return 0;
}

static size_t write_body(fs_route_share_t *share, fs_route_delta_kind_t kind, uint64_t first,
                         uint64_t last, int more, collecting_t *collected)
{
    fs_route_delta_t delta = {.kind = kind,
                              .from = share->self,
                              .of = "",
                              .generation = share->generation,
                              .first = first,
                              .last = last,
                              .more = more,
                              .count = collected->count,
                              .visitors = collected->visitors};

    return fs_route_delta_write(&delta, share->body);
}

/* What it is to be reminded of, as it is now. 0 if there is nothing. */
static size_t write_reminds(fs_route_share_t *share, fs_share_peer_t *peer)
{
    collecting_t collected;
    fs_result_t ignored;

    collected.count = peer->sent_reminds = 0;
    while (peer->sent_reminds < peer->remind_count && collected.count < FS_ROUTE_DELTA_VISITORS) {
        fs_route_visitor_t *visitor = &collected.visitors[collected.count];

        if (!fs_route_store_find(share->store, peer->reminds[peer->sent_reminds++], visitor,
                                 &ignored) &&
            visitor->confirmed)
            collected.count++;
    }
    if (!collected.count) {
        peer->remind_count = peer->sent_reminds = 0;
        return 0;
    }
    return write_body(share, FS_ROUTE_DELTA_TOLD, 0, 0, 0, &collected);
}

/* What it doesn't know; or, until it has said how far it is, nothing but a question. */
static size_t write_changes(fs_route_share_t *share, fs_share_peer_t *peer)
{
    collecting_t collected;
    fs_result_t ignored;
    uint64_t to;
    apr_status_t status;

    collected.count = 0;
    if (!peer->knows) {
        peer->sent = share->sequence;
        return write_body(share, FS_ROUTE_DELTA_CHANGES, share->sequence, share->sequence, 0,
                          &collected);
    }
    if (peer->told >= share->sequence)
        return 0;
    status = fs_route_store_changes(share->store, peer->told, FS_ROUTE_DELTA_VISITORS, collect,
                                    &collected, &to, &ignored);
    if (status && ignored.problem[0])
        return 0;
    if (status) { /* the log doesn't reach back */
        collected.count = 0;
        peer->sent = share->sequence;
        return write_body(share, FS_ROUTE_DELTA_CHANGES, share->sequence, share->sequence, 1,
                          &collected);
    }
    peer->sent = to;
    return write_body(share, FS_ROUTE_DELTA_CHANGES, peer->told, to, 0, &collected);
}

int fs_share_tell_next(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                       fs_route_share_request_t *request)
{
    if (!peer->reachable || peer->telling || now.mono < peer->tell_at)
        return 0;
    peer->sent_reminds = 0;
    request->length = peer->remind_count ? write_reminds(share, peer) : 0;
    if (!request->length)
        request->length = write_changes(share, peer);
    if (!request->length)
        return 0;
    request->body = share->body;
    memcpy(request->peer, peer->name, sizeof(request->peer));
    return 1;
}

/* Not before a while; longer each time. */
static void try_later(fs_share_peer_t *peer, fs_usec_t mono)
{
    fs_usec_t wait = AGAIN_FIRST << (peer->failures < 6 ? peer->failures : 6);

    peer->failures++;
    peer->tell_at = mono + (wait < AGAIN_MOST ? wait : AGAIN_MOST);
}

static void drop_reminds(fs_share_peer_t *peer)
{
    peer->remind_count -= peer->sent_reminds;
    memmove(peer->reminds, peer->reminds + peer->sent_reminds,
            peer->remind_count * sizeof(*peer->reminds));
    peer->sent_reminds = 0;
}

void fs_share_tell_answer(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                          const void *bytes, size_t length)
{
    fs_route_delta_t delta;

    if (!bytes || fs_route_delta_read(&delta, bytes, length)) {
        peer->knows = 0; /* it may have merged it all the same, or begun anew */
        try_later(peer, now.mono);
        return;
    }
    if (delta.kind != FS_ROUTE_DELTA_HEARD || strcmp(delta.from, peer->name) != 0) {
        try_later(peer, now.mono);
    } else if (delta.more || delta.generation != share->generation) {
        peer->knows = 0; /* it copies, or is about to */
        peer->tell_at = now.mono + AGAIN_FIRST;
    } else {
        peer->failures = 0;
        if (peer->sent_reminds) {
            share->info.reminded += peer->sent_reminds;
            drop_reminds(peer);
        } else if (peer->knows && delta.last > peer->told) {
            share->info.told += delta.last - peer->told;
        }
        peer->knows = 1;
        peer->told = delta.last;
        if (share->sequence < peer->told + FS_ROUTE_DELTA_VISITORS)
            peer->tell_at = now.mono + PACE;
    }
    fs_route_delta_clear(&delta);
}

/* --- being told ----------------------------------------------------------------------------------
 */

/* fs_route_visitor_fn: what is here and later than what a peer said. */
static int remind(void *baton, const fs_route_visitor_t *visitor)
{
    fs_share_peer_t *peer = baton;

    if (!peer->reminds)
        peer->reminds = calloc(FS_SHARE_REMINDS, sizeof(*peer->reminds));
    if (!peer->reminds || peer->remind_count == FS_SHARE_REMINDS)
        return 0;
    for (unsigned i = 0; i < peer->remind_count; i++)
        if (!memcmp(peer->reminds[i], visitor->id, FS_ROUTE_ID_BYTES))
            return 0;
    memcpy(peer->reminds[peer->remind_count++], visitor->id, FS_ROUTE_ID_BYTES);
    return 0;
}

apr_status_t fs_share_merge(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                            const fs_route_news_t *news, fs_result_t *result)
{
    fs_route_merged_t merged;
    apr_status_t status;

    do {
        status = fs_route_store_merge(share->store, news, now.farm, remind, peer, &merged, result);
        share->info.heard += merged.taken;
        share->info.given += merged.given;
    } while (!status && merged.more);
    return status;
}

static size_t answer_heard(fs_route_share_t *share, const fs_route_total_t *total, int later,
                           uint8_t *out)
{
    fs_route_delta_t delta = {.kind = FS_ROUTE_DELTA_HEARD,
                              .from = share->self,
                              .of = "",
                              .generation = total->generation,
                              .last = total->sequence,
                              .more = later};

    return fs_route_delta_write(&delta, out);
}

/* Changes from a peer's log. 1 if they are merged, or were before; 0: later, after a copy. */
static int take_changes(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                        const fs_route_delta_t *delta, fs_route_total_t *total,
                        apr_status_t *status, fs_result_t *result)
{
    fs_route_news_t news = {.from = peer->name,
                            .visitors = delta->visitors,
                            .count = delta->count,
                            .generation = delta->generation,
                            .sequence = delta->last};

    *status = APR_SUCCESS;
    if (peer->copies)
        return 0;
    if (delta->generation != total->generation || delta->more) {
        peer->wants_copy = peer->ready || !share->ready;
        return 0;
    }
    peer->tells = 1;
    peer->end = delta->last > peer->end ? delta->last : peer->end;
    /* A gap: whoever tells goes back. */
    if (delta->first > total->sequence)
        return 1;
    if (delta->last <= total->sequence) /* merged before: what is here may be newer */
        return 1;
    *status = fs_share_merge(share, peer, now, &news, result);
    if (!*status)
        total->sequence = delta->last;
    return 1;
}

size_t fs_route_share_serve(fs_route_share_t *share, fs_moment_t now, const char *origin,
                            const void *bytes, size_t length, uint8_t out[FS_ROUTE_DELTA_LIMIT],
                            fs_result_t *result)
{
    fs_route_news_t told = {.whole = 0};
    fs_share_peer_t *peer = NULL;
    fs_route_total_t total;
    fs_route_delta_t delta;
    apr_status_t status;
    size_t answer = 0;
    int merged = 1;

    if (fs_route_delta_read(&delta, bytes, length)) {
        fs_result_set(result, APR_EINVAL, "FS1618",
                      "a message about visitors can't be read; let all servers run the same "
                      "release");
        return 0;
    }
    if ((delta.kind == FS_ROUTE_DELTA_CHANGES || delta.kind == FS_ROUTE_DELTA_TOLD) &&
        (!origin || !strcmp(delta.from, origin)))
        peer = fs_share_peer(share, delta.from);
    if (!peer || peer->self) {
        fs_result_set(result, APR_EINVAL, "FS1618",
                      "a message about visitors that says it is from %s was refused: it is from "
                      "%s, or there are too many servers",
                      delta.from, origin && origin[0] ? origin : "this host");
        fs_route_delta_clear(&delta);
        return 0;
    }
    status = fs_route_store_total(share->store, peer->name, &total, result);
    if (!status && delta.kind == FS_ROUTE_DELTA_CHANGES) {
        merged = take_changes(share, peer, now, &delta, &total, &status, result);
    } else if (!status) {
        told.from = peer->name;
        told.visitors = delta.visitors;
        told.count = delta.count;
        status = fs_share_merge(share, peer, now, &told, result);
        /* Of the sender's log nothing is said: what it knows of it stays. */
        merged = total.generation == delta.generation && !peer->copies;
    }
    if (!status)
        answer = answer_heard(share, &total, !merged, out);
    fs_route_delta_clear(&delta);
    return answer;
}

size_t fs_route_share_page(fs_route_store_t *store, const char *self, const char *of,
                           const uint8_t *after, uint8_t out[FS_ROUTE_DELTA_LIMIT],
                           fs_result_t *result)
{
    collecting_t collected;
    fs_route_total_t total;
    fs_route_delta_t delta = {.kind = FS_ROUTE_DELTA_PAGE,
                              .from = self,
                              .of = of ? of : self,
                              .visitors = collected.visitors};
    apr_status_t status;

    collected.count = 0;
    /* The log's end first: what changes from here on is told from there. */
    status = fs_route_store_total(store, delta.of, &total, result);
    if (!status)
        status = fs_route_store_each(store, delta.of, after, FS_ROUTE_DELTA_VISITORS, 0, collect,
                                     &collected, result);
    if (status)
        return 0;
    delta.generation = total.generation;
    delta.last = total.sequence;
    delta.count = collected.count;
    delta.more = collected.count == FS_ROUTE_DELTA_VISITORS;
    return fs_route_delta_write(&delta, out);
}
