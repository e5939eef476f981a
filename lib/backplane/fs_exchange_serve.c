/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that came in. Nothing of one counts before all of its head was checked. */
#include <string.h>

#include "backplane/fs_exchange_internal.h"

/* --- serving ------------------------------------------------------------------------------------
 */

typedef struct fs_serving_t {
    fs_exchange_t *exchange;
    fs_moment_t now;
    fs_peer_t *peer;
    fs_message_t message;
    uint8_t *out;
    fs_refused_t *cause;
} fs_serving_t;

static uint8_t *answer_head(fs_serving_t *serving, unsigned type, const char *to, uint64_t known)
{
    fs_message_t head;

    fs_exchange_head(serving->exchange, serving->now, to, known, type, serving->message.sequence,
                     &head);
    return fs_message_write(&head, serving->out);
}

static size_t refuse(fs_serving_t *serving, fs_refused_t cause, int answer)
{
    uint8_t *at;

    *serving->cause = cause;
    fs_exchange_refused(serving->exchange, cause,
                        serving->message.from ? serving->message.from : "");
    if (!answer)
        return 0;
    at = answer_head(serving, FS_MESSAGE_REFUSED, serving->message.from,
                     serving->peer ? serving->peer->generation : 0);
    at = fs_bytes_put(at, cause, 1);
    return (size_t)(at - serving->out);
}

static size_t serve_push(fs_serving_t *serving)
{
    fs_intake_t intake;
    uint8_t *at;

    fs_exchange_take_records(serving->exchange, serving->peer, &serving->message, serving->now,
                             &intake);
    at = answer_head(serving, FS_MESSAGE_PUSH | FS_MESSAGE_ANSWER, serving->message.from,
                     serving->peer->generation);
    at = fs_bytes_put(at, intake.taken, 2);
    at = fs_bytes_put(at, intake.refused, 2);
    at = fs_bytes_put(at, intake.cause, 1);
    return (size_t)(at - serving->out);
}

typedef struct fs_listing_t {
    uint8_t *at;
    const uint8_t *end;
    unsigned count;
} fs_listing_t;

static int list_one(void *baton, const fs_record_t *record)
{
    fs_listing_t *listing = baton;
    fs_message_entry_t entry = {.hash = fs_record_key_hash(record->kind, record->key),
                                .fingerprint = fs_record_fingerprint(record),
                                .when = record->stamp.when,
                                .priority = (unsigned)record->priority};

    if (listing->end - listing->at < FS_MESSAGE_ENTRY)
        return -1;
    listing->at = fs_message_put_entry(listing->at, &entry);
    listing->count++;
    return 0;
}

/* One bucket with all its entries. Returns where it ends, NULL if it doesn't fit. */
static uint8_t *list_bucket(const fs_map_t *map, unsigned bucket, uint8_t *at, const uint8_t *end)
{
    fs_listing_t listing = {.at = at + 3, .end = end};

    if (end - at < 3 || fs_map_each_in(map, bucket, list_one, &listing))
        return NULL;
    fs_bytes_put(at, bucket, 1);
    fs_bytes_put(at + 1, listing.count, 2);
    return listing.at;
}

static size_t serve_compare(fs_serving_t *serving)
{
    const fs_map_t *map = serving->exchange->map;
    uint8_t *head = answer_head(serving, FS_MESSAGE_COMPARE | FS_MESSAGE_ANSWER,
                                serving->message.from, serving->peer->generation);
    uint8_t *at = head + 4, *next;
    unsigned differing = 0, listed = 0;

    for (unsigned i = 0; i < FS_BUCKETS; i++) {
        uint64_t theirs = fs_bytes_get(&serving->message.body, 8);

        if (theirs == map->digests[i])
            continue;
        differing++;
        next = listed + 1 == differing ? list_bucket(map, i, at, serving->out + FS_MESSAGE_LIMIT)
                                       : NULL;
        if (next) {
            at = next;
            listed++;
        }
    }
    if (differing)
        serving->exchange->info.compared++;
    fs_bytes_put(head, !differing, 1);
    fs_bytes_put(head + 1, listed < differing, 1);
    fs_bytes_put(head + 2, listed, 2);
    return (size_t)(at - serving->out);
}

/* "u16 how many of the hashes were looked at · u16 n · n records". */
static size_t serve_fetch(fs_serving_t *serving)
{
    fs_bytes_t *body = &serving->message.body;
    unsigned asked = (unsigned)fs_bytes_get(body, 2), done, count = 0;
    uint8_t *head = answer_head(serving, FS_MESSAGE_FETCH | FS_MESSAGE_ANSWER,
                                serving->message.from, serving->peer->generation);
    uint8_t *at = head + 4;

    for (done = 0; done < asked; done++) {
        uint64_t hash = fs_bytes_get(body, 8);
        fs_record_t record;

        if (body->bad)
            break;
        if (!fs_map_get_hashed(serving->exchange->map, hash, &record))
            continue;
        if ((size_t)(at - serving->out) + fs_record_bytes(&record) > FS_MESSAGE_LIMIT)
            break;
        at += fs_record_write(&record, at);
        count++;
    }
    fs_bytes_put(head, done, 2);
    fs_bytes_put(head + 2, count, 2);
    return (size_t)(at - serving->out);
}

static int within_rate(const fs_exchange_t *exchange, fs_peer_t *peer, fs_usec_t now)
{
    double most = 2.0 * exchange->set.rate;

    peer->tokens += (double)(now - peer->tokens_at) * exchange->set.rate / FS_USEC_PER_SEC;
    if (!peer->tokens_at || peer->tokens > most)
        peer->tokens = most;
    peer->tokens_at = now;
    if (peer->tokens < 1)
        return 0;
    peer->tokens -= 1;
    return 1;
}

/* Whether the sender may be believed. Returns 1, or 0 with the length of the answer. */
static int admit(fs_serving_t *serving, const char *signer, size_t *length)
{
    fs_exchange_t *exchange = serving->exchange;
    const fs_message_t *message = &serving->message;
    fs_refused_t clock;

    *length = 0;
    if (signer[0] && strcmp(signer, message->from) != 0)
        return refuse(serving, FS_REFUSED_FOREIGN, 0), 0;
    if (!strcmp(message->from, exchange->name)) {
        if (message->generation != exchange->generation)
            exchange->info.others_with_name++;
        *length = refuse(serving, FS_REFUSED_FOREIGN, 1);
        return 0;
    }
    serving->peer = fs_exchange_named(exchange, message->from);
    clock = fs_message_clock(message, serving->now);
    if (message->to[0] && strcmp(message->to, exchange->name) != 0)
        *length = refuse(serving, FS_REFUSED_FOREIGN, 1);
    else if (clock != FS_REFUSED_CAUSES)
        *length = refuse(serving, clock, 1);
    else if (!serving->peer && !(serving->peer = fs_exchange_new_peer(exchange, message->from, "")))
        *length = refuse(serving, FS_REFUSED_FULL, 0);
    else if (message->generation < serving->peer->generation)
        *length = refuse(serving, FS_REFUSED_GENERATION, 1);
    else {
        if (message->generation > serving->peer->generation)
            fs_peer_begin_life(serving->peer, message->generation);
        if (!fs_replay_take(&serving->peer->replay, message->sequence))
            *length = refuse(serving, FS_REFUSED_REPLAYED, 0);
        else if (!within_rate(exchange, serving->peer, serving->now.mono))
            *length = refuse(serving, FS_REFUSED_RATE, 1);
        else
            return 1;
    }
    return 0;
}

size_t fs_exchange_serve(fs_exchange_t *exchange, fs_moment_t now, const char *signer,
                         const void *bytes, size_t length, uint8_t out[FS_MESSAGE_LIMIT],
                         fs_refused_t *cause)
{
    fs_serving_t serving = {.exchange = exchange, .now = now, .out = out, .cause = cause};
    size_t answer;

    fs_exchange_pass(exchange, now);
    *cause = FS_REFUSED_CAUSES;
    if (length > FS_MESSAGE_LIMIT)
        return refuse(&serving, FS_REFUSED_OVERSIZED, 0);
    if (fs_message_read(&serving.message, bytes, length) ||
        serving.message.type >= FS_MESSAGE_TYPES) {
        serving.message.from = NULL;
        return refuse(&serving, FS_REFUSED_MALFORMED, 0);
    }
    if (!admit(&serving, signer, &answer))
        return answer;
    fs_exchange_heard(exchange, serving.peer, &serving.message, now);
    switch (serving.message.type) {
    case FS_MESSAGE_PUSH:
        return serve_push(&serving);
    case FS_MESSAGE_COMPARE:
        return serve_compare(&serving);
    case FS_MESSAGE_FETCH:
        return serve_fetch(&serving);
    default:
        return (size_t)(answer_head(&serving, FS_MESSAGE_PING | FS_MESSAGE_ANSWER,
                                    serving.message.from, serving.peer->generation) -
                        out);
    }
}
