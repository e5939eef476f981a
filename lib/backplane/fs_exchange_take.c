/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that came in, and those that didn't. */
#include <stdio.h>
#include <string.h>

#include "backplane/fs_exchange_internal.h"

#define BACKOFF_FIRST (100 * FS_USEC_PER_MSEC)
#define BACKOFF_LAST  (5 * FS_USEC_PER_SEC)
#define MISSED_TOLD   3 /* so many are told at once that a peer wasn't reached */

/* --- answers ------------------------------------------------------------------------------------
 */

static fs_peer_t *in_flight(const fs_exchange_t *exchange, uint64_t id, fs_flight_t **flight)
{
    for (unsigned i = 0; i < exchange->peer_count && id; i++)
        for (unsigned lane = 0; lane < FS_LANES; lane++)
            if (exchange->peers[i]->flights[lane].id == id) {
                *flight = &exchange->peers[i]->flights[lane];
                return exchange->peers[i];
            }
    return NULL;
}

/* Others are told now that this peer wasn't reached, so that one of them may reach it. */
static void tell_missed(fs_exchange_t *exchange, const fs_peer_t *missed, fs_moment_t now)
{
    unsigned told = 0;

    for (unsigned i = 0; i < exchange->peer_count && told < MISSED_TOLD; i++) {
        fs_peer_t *peer = exchange->peers[(exchange->next_peer + i) % exchange->peer_count];

        if (peer != missed && !peer->alias && !peer->failures &&
            fs_peer_state(exchange, peer, now) == FS_PEER_ALIVE) {
            peer->contact = 0;
            told++;
        }
    }
}

static void failed(fs_exchange_t *exchange, fs_moment_t now, fs_peer_t *peer, fs_flight_t *flight,
                   const char *why)
{
    fs_usec_t wait = BACKOFF_FIRST;
    int urgent = flight->to[FS_PRIORITY_OPERATOR] != 0;

    memset(flight, 0, sizeof(*flight));
    for (unsigned i = 0; i < peer->failures && wait < BACKOFF_LAST; i++)
        wait *= 2;
    if (wait > BACKOFF_LAST)
        wait = BACKOFF_LAST;
    peer->failures++;
    peer->retry_at =
        now.mono + wait / 2 + (fs_usec_t)fs_exchange_random(exchange, (uint64_t)wait / 2);
    snprintf(peer->problem, sizeof(peer->problem), "%s", why);
    if (peer->compare.running && !peer->flights[FS_LANE_OTHER].id)
        fs_peer_end_compare(peer);
    if (peer->failures >= 2)
        fs_exchange_synced(exchange, peer, 0, now);
    if (urgent && peer->failures == 1)
        tell_missed(exchange, peer, now);
}

void fs_exchange_failed(fs_exchange_t *exchange, fs_moment_t now, uint64_t id, const char *why)
{
    fs_flight_t *flight;
    fs_peer_t *peer = in_flight(exchange, id, &flight);

    fs_exchange_pass(exchange, now);
    if (peer)
        failed(exchange, now, peer, flight, why);
}

static void confirm_push(fs_exchange_t *exchange, fs_peer_t *peer, const fs_flight_t *flight,
                         fs_message_t *message)
{
    unsigned taken = (unsigned)fs_bytes_get(&message->body, 2);
    unsigned refused = (unsigned)fs_bytes_get(&message->body, 2);
    unsigned cause = (unsigned)fs_bytes_get(&message->body, 1);

    for (unsigned p = 0; p < FS_PRIORITIES; p++) {
        if (flight->to[p] <= peer->place[p])
            continue;
        if (refused) {
            peer->refused_from[p] = peer->place[p];
            peer->refused_to[p] = flight->to[p];
        }
        peer->place[p] = flight->to[p];
    }
    if (refused)
        snprintf(peer->problem, sizeof(peer->problem), "it refused %u records: %s", refused,
                 fs_refused_name((fs_refused_t)cause));
    if (flight->listed && peer->compare.running) {
        peer->compare.bring_at += flight->listed;
        peer->compare.moved |= taken > 0;
    }
}

/* --- whose answer it is -------------------------------------------------------------------------
 */

/* A peer that was known by its address only, or that has another name now. */
static void name_peer(fs_exchange_t *exchange, fs_peer_t *peer, const char *name)
{
    fs_peer_t *named = fs_exchange_named(exchange, name);

    if (named && named != peer) {
        if (!named->url[0])
            memcpy(named->url, peer->url, sizeof(named->url));
        named->configured |= peer->configured;
        peer->alias = 1;
    }
    if (strcmp(peer->name, name) != 0) {
        strcpy(peer->name, name);
        fs_peer_begin_life(peer, 0);
    }
}

/* An alias answers, so the address that is known doesn't: from now on it is this one. */
static fs_peer_t *real_peer(fs_exchange_t *exchange, fs_peer_t *peer)
{
    fs_peer_t *real = peer->alias ? fs_exchange_named(exchange, peer->name) : peer;
    char url[FS_PEER_URL_SIZE];

    if (!real || real == peer)
        return peer;
    memcpy(url, real->url, sizeof(url));
    memcpy(real->url, peer->url, sizeof(url));
    memcpy(peer->url, url, sizeof(url));
    real->retry_at = 0;
    real->failures = 0;
    fs_peer_end_compare(peer);
    return real;
}

static const char *why_refused(fs_refused_t cause)
{
    switch (cause) {
    case FS_REFUSED_FUTURE:
        return "it refuses what this server says: this clock is ahead of its by more than 5 "
               "minutes";
    case FS_REFUSED_PAST:
        return "it refuses what this server says: this clock is behind its by more than 5 minutes";
    case FS_REFUSED_RATE:
        return "it refuses so many messages";
    case FS_REFUSED_GENERATION:
        return "it knows a later start of this server";
    default:
        return "it refuses what this server says";
    }
}

static void refused_by(fs_exchange_t *exchange, fs_moment_t now, fs_peer_t *peer,
                       fs_flight_t *flight, fs_message_t *message)
{
    fs_refused_t cause = (fs_refused_t)fs_bytes_get(&message->body, 1);

    failed(exchange, now, peer, flight, why_refused(cause));
    if (cause == FS_REFUSED_GENERATION && message->known >= exchange->generation) {
        exchange->generation = message->known + 1;
        exchange->map->generation = exchange->generation;
        peer->retry_at = now.mono;
    }
}

/* Whether an answer is one to this request, of somebody who may be believed. */
static const char *judge_answer(fs_exchange_t *exchange, fs_moment_t now, fs_peer_t *peer,
                                const fs_flight_t *flight, const fs_message_t *message)
{
    fs_refused_t clock = fs_message_clock(message, now);

    if (message->sequence != flight->id ||
        (message->type != FS_MESSAGE_REFUSED &&
         message->type != (flight->type | FS_MESSAGE_ANSWER)) ||
        strcmp(message->to, exchange->name) != 0) {
        exchange->info.refused[FS_REFUSED_FOREIGN]++;
        return "it answered something else";
    }
    if (!strcmp(message->from, exchange->name)) {
        peer->self = message->generation == exchange->generation;
        if (!peer->self)
            exchange->info.others_with_name++;
        return peer->self ? "this is this server" : "another server has the name of this one";
    }
    if (message->type != FS_MESSAGE_REFUSED && clock != FS_REFUSED_CAUSES) {
        exchange->info.refused[clock]++;
        return clock == FS_REFUSED_FUTURE ? "its clock is ahead by more than 5 minutes"
                                          : "its clock is behind by more than 5 minutes";
    }
    name_peer(exchange, peer, message->from);
    if (message->generation < peer->generation) {
        exchange->info.refused[FS_REFUSED_GENERATION]++;
        return "an earlier life of it answered";
    }
    return NULL;
}

static int take_answer(fs_exchange_t *exchange, fs_moment_t now, fs_peer_t *peer,
                       const fs_flight_t *flight, fs_message_t *message)
{
    switch (flight->type) {
    case FS_MESSAGE_PUSH:
        confirm_push(exchange, peer, flight, message);
        return message->body.bad ? -1 : 0;
    case FS_MESSAGE_COMPARE:
        return fs_compare_answered(exchange, peer, message, now);
    case FS_MESSAGE_FETCH:
        return fs_compare_fetched(exchange, peer, message, now);
    default:
        return 0;
    }
}

void fs_exchange_answered(fs_exchange_t *exchange, fs_moment_t now, uint64_t id, const void *bytes,
                          size_t length)
{
    fs_flight_t *flight, done;
    fs_peer_t *peer = in_flight(exchange, id, &flight);
    fs_message_t message;
    const char *problem;

    fs_exchange_pass(exchange, now);
    if (!peer)
        return;
    if (length > FS_MESSAGE_LIMIT || fs_message_read(&message, bytes, length)) {
        exchange->info
            .refused[length > FS_MESSAGE_LIMIT ? FS_REFUSED_OVERSIZED : FS_REFUSED_MALFORMED]++;
        failed(exchange, now, peer, flight, "it answered what is no message");
        return;
    }
    problem = judge_answer(exchange, now, peer, flight, &message);
    if (problem) {
        failed(exchange, now, peer, flight, problem);
        return;
    }
    if (message.type == FS_MESSAGE_REFUSED) {
        refused_by(exchange, now, peer, flight, &message);
        return;
    }
    done = *flight;
    memset(flight, 0, sizeof(*flight));
    peer->failures = 0;
    peer->problem[0] = '\0';
    peer->contact = now.mono;
    peer = real_peer(exchange, peer);
    if (message.generation > peer->generation)
        fs_peer_begin_life(peer, message.generation);
    fs_exchange_heard(exchange, peer, &message, now);
    if (take_answer(exchange, now, peer, &done, &message)) {
        exchange->info.refused[FS_REFUSED_MALFORMED]++;
        snprintf(peer->problem, sizeof(peer->problem), "it answered what is no message");
        fs_peer_end_compare(peer);
        return;
    }
    if (done.type == FS_MESSAGE_PUSH || done.type == FS_MESSAGE_FETCH)
        fs_compare_end_round(exchange, peer, now);
}
