/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing with the others, and copying from them. */
#include "route/fs_route_share_internal.h"

#include <stdio.h>
#include <string.h>

#define LOG_FIRST    FS_USEC_PER_SEC        /* for so long its log is waited for at the start */
#define LOG_WAIT     (5 * FS_USEC_PER_SEC)  /* and later */
#define DIGEST_WAIT  (5 * FS_USEC_PER_SEC)  /* what a third one said may be on its way to it */
#define HEAL_AGAIN   (30 * FS_USEC_PER_SEC) /* after a copy, whatever the digests say */
#define FAILED_AGAIN (500 * FS_USEC_PER_MSEC)
#define FAILURES     3                      /* then whoever is asked for is done without */
#define HEARD_WAIT   (5 * FS_USEC_PER_SEC)  /* until others are heard after a start */
#define DEAD_WAIT    (2 * FS_USEC_PER_SEC)  /* until somebody is there who knows of others */
#define READY_WAIT   (30 * FS_USEC_PER_SEC) /* then it goes on without */
#define REQUESTS     4                      /* for pages, at the same time */

/* --- comparing -----------------------------------------------------------------------------------
 */

static int waited(fs_share_peer_t *peer, fs_usec_t mono, fs_usec_t wait)
{
    if (!peer->differs_since)
        peer->differs_since = mono;
    return mono - peer->differs_since >= wait;
}

apr_status_t fs_share_compare(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                              fs_result_t *result)
{
    fs_route_total_t total;
    apr_status_t status;
    uint64_t end;

    if (!peer->generation || peer->copies || peer->wants_copy)
        return APR_SUCCESS;
    if (!peer->ready && (share->ready || peer->compared)) {
        peer->differs_since = 0;
        return APR_SUCCESS;
    }
    status = fs_route_store_total(share->store, peer->name, &total, result);
    if (status)
        return status;
    end = peer->end > peer->sequence ? peer->end : peer->sequence;
    if (total.generation != peer->generation) {
        peer->wants_copy = 1;
    } else if (total.sequence < end || (!peer->compared && !peer->tells)) {
        peer->wants_copy = waited(peer, now.mono, peer->compared ? LOG_WAIT : LOG_FIRST);
    } else if (total.sequence == peer->sequence && total.digest != peer->digest) {
        peer->wants_copy = peer->heals =
            waited(peer, now.mono, peer->compared ? DIGEST_WAIT : LOG_FIRST);
    } else { /* what it told may be newer than what it says of itself */
        peer->compared = 1;
        peer->differs_since = 0;
    }
    return APR_SUCCESS;
}

static int is_waited_for(const fs_route_share_t *share, const fs_share_peer_t *peer, fs_usec_t mono,
                         int others)
{
    if (peer->compared || !peer->known)
        return 0;
    /* Somebody may know of whom a dead one took over; and who seems to be may only not be heard
     * yet.
     */
    if (peer->dead)
        return others || mono - share->began < DEAD_WAIT;
    return peer->heard || peer->reachable || mono - share->began < HEARD_WAIT;
}

void fs_share_judge_ready(fs_route_share_t *share, fs_moment_t now)
{
    unsigned waiting = share->partial;
    int others = 0;

    if (share->ready)
        return;
    for (unsigned i = 0; i < share->count; i++)
        others |= share->peers[i].reachable;
    for (unsigned i = 0; i < share->count; i++)
        waiting += is_waited_for(share, &share->peers[i], now.mono, others) != 0;
    share->late = waiting && now.mono - share->began >= READY_WAIT;
    share->ready = !waiting || share->late;
}

/* --- asking --------------------------------------------------------------------------------------
 */

/*
 * What a server said last before it died may have reached only some of the others. As its log was
 * told in order, whoever heard the most of it knows all that the others know.
 */
static int is_surveyed(const fs_route_share_t *share, const fs_share_peer_t *peer)
{
    return share->ready && peer->known && peer->dead && !peer->self;
}

/* Whose answer is awaited, or who is asked next. */
static const fs_share_peer_t *next_surveyed(const fs_route_share_t *share, fs_share_peer_t *peer)
{
    for (; peer->asked < share->count; peer->asked++)
        if (share->peers[peer->asked].reachable)
            return &share->peers[peer->asked];
    return NULL;
}

/* Of a dead server, and of this one itself, another one is asked, while this one isn't ready. */
static const fs_share_peer_t *choose_source(fs_route_share_t *share, fs_share_peer_t *peer)
{
    if (peer->reachable)
        return peer->wants_copy || peer->copies ? peer : NULL;
    if (is_surveyed(share, peer))
        return next_surveyed(share, peer);
    if (share->ready || peer->compared || !peer->known || !peer->dead)
        return NULL;
    for (unsigned i = 0; i < share->count; i++) {
        const fs_share_peer_t *other = &share->peers[(share->turn + i) % share->count];

        if (other->reachable && other->serves)
            return other;
    }
    for (unsigned i = 0; i < share->count; i++)
        if (share->peers[i].reachable)
            return &share->peers[i];
    return NULL;
}

static unsigned requests(const fs_route_share_t *share)
{
    unsigned count = 0;

    for (unsigned i = 0; i < share->count; i++)
        count += share->peers[i].copying != 0;
    return count;
}

static void end_copy(fs_share_peer_t *peer)
{
    peer->copies = peer->goes_on = peer->behind = 0;
    peer->source[0] = '\0';
}

void fs_share_back(fs_share_peer_t *peer)
{
    end_copy(peer);
    peer->asked = 0;
}

int fs_share_copy_next(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                       fs_route_share_request_t *request)
{
    const fs_share_peer_t *source;

    if (peer->copying || now.mono < peer->copy_at || requests(share) >= REQUESTS)
        return 0;
    source = choose_source(share, peer);
    if (!source) {
        end_copy(peer);
        return 0;
    }
    if (strcmp(peer->source, source->name) != 0) {
        end_copy(peer);
        memcpy(peer->source, source->name, sizeof(peer->source));
    }
    if (!peer->copies)
        peer->whole = source == peer && peer->ready;
    peer->copies = 1;
    request->asks = 1;
    memcpy(request->peer, source->name, sizeof(request->peer));
    memcpy(request->of, peer->name, sizeof(request->of));
    request->goes_on = peer->goes_on;
    memcpy(request->after, peer->after, sizeof(request->after));
    if (is_surveyed(share, peer) && !peer->behind) { /* for an empty page */
        request->goes_on = 1;
        memset(request->after, 0xff, sizeof(request->after));
    }
    return 1;
}

/* --- pages ---------------------------------------------------------------------------------------
 */

static void copy_failed(fs_share_peer_t *peer, fs_usec_t mono)
{
    end_copy(peer);
    peer->copy_at = mono + (FAILED_AGAIN << (peer->copy_failures < 5 ? peer->copy_failures : 5));
    /* A dead one isn't waited for for ever: others may not know of it either. */
    if (++peer->copy_failures < FAILURES || !peer->dead)
        return;
    if (peer->compared) {
        peer->asked++;
        peer->copy_failures = 0;
    }
    peer->compared = 1;
}

static void copy_done(fs_route_share_t *share, fs_share_peer_t *peer, fs_usec_t mono)
{
    end_copy(peer);
    share->info.copies++;
    share->info.healed += peer->heals != 0;
    peer->copy_at = peer->heals ? mono + HEAL_AGAIN : mono;
    peer->wants_copy = peer->heals = 0;
    peer->differs_since = 0;
    peer->compared = 1;
    peer->copy_failures = 0;
}

/* Whether a page is the one that was asked for, of the same log as the first. */
static int page_fits(const fs_share_peer_t *peer, const fs_route_delta_t *page)
{
    if (page->kind != FS_ROUTE_DELTA_PAGE || strcmp(page->from, peer->source) != 0 ||
        strcmp(page->of, peer->name) != 0)
        return 0;
    if (!page->generation && !strcmp(page->from, page->of))
        return 0;
    if (!peer->goes_on)
        return 1;
    return page->generation == peer->copy_generation &&
           (!page->count || memcmp(page->visitors[0].id, peer->after, FS_ROUTE_ID_BYTES) > 0);
}

/* As far as whoever was asked has heard the log of a dead server, this one has, too. */
static apr_status_t note_heard(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                               fs_result_t *result)
{
    fs_route_news_t news = {
        .from = peer->name, .generation = peer->copy_generation, .sequence = peer->copy_sequence};

    peer->asked++;
    return fs_share_merge(share, peer, now, &news, result);
}

static apr_status_t take_page(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                              const fs_route_delta_t *page, fs_result_t *result)
{
    int own = !strcmp(peer->source, peer->name);
    fs_share_peer_t *source = own ? peer : fs_share_find(share, peer->source);
    const uint8_t *last = page->count ? page->visitors[page->count - 1].id : NULL;
    fs_route_news_t news = {.from = peer->source,
                            .visitors = page->visitors,
                            .count = page->count,
                            .whole = peer->whole,
                            .after = peer->goes_on ? peer->after : NULL,
                            .upto = page->more ? last : NULL};
    apr_status_t status;

    if (!peer->goes_on) {
        peer->copy_generation = page->generation;
        peer->copy_sequence = page->last;
    }
    if (peer->whole && !page->more) {
        news.generation = peer->copy_generation;
        news.sequence = peer->copy_sequence;
    }
    status = fs_share_merge(share, source ? source : peer, now, &news, result);
    if (status) {
        copy_failed(peer, now.mono);
    } else if (page->more) {
        peer->goes_on = 1;
        memcpy(peer->after, last, FS_ROUTE_ID_BYTES);
    } else {
        if (!own && share->ready)
            status = note_heard(share, peer, now, result);
        copy_done(share, peer, now.mono);
    }
    return status;
}

/* How far whoever was asked has heard the log of a dead server. */
static apr_status_t take_survey(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                                const fs_route_delta_t *page, fs_result_t *result)
{
    fs_route_total_t total;
    apr_status_t status = fs_route_store_total(share->store, peer->name, &total, result);

    if (status) {
        copy_failed(peer, now.mono);
        return status;
    }
    peer->behind =
        page->generation && (page->generation != total.generation || page->last > total.sequence);
    if (!peer->behind) {
        end_copy(peer);
        peer->asked++;
    }
    return APR_SUCCESS;
}

apr_status_t fs_share_copy_answer(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                                  const void *bytes, size_t length, fs_result_t *result)
{
    fs_route_delta_t page;
    apr_status_t status = APR_SUCCESS;

    if (!bytes || fs_route_delta_read(&page, bytes, length)) {
        copy_failed(peer, now.mono);
        return APR_SUCCESS;
    }
    if (!peer->copies || !page_fits(peer, &page))
        copy_failed(peer, now.mono);
    else if (is_surveyed(share, peer) && !peer->behind)
        status = take_survey(share, peer, now, &page, result);
    else
        status = take_page(share, peer, now, &page, result);
    fs_route_delta_clear(&page);
    return status;
}
