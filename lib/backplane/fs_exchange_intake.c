/* SPDX-License-Identifier: Apache-2.0 */
/* What every message brings, request or answer: its head and its records. */
#include <string.h>

#include "backplane/fs_exchange_internal.h"

#define RETRY_HEARD    (500 * FS_USEC_PER_MSEC) /* it speaks to us: it may hear us, too */
#define LEARNED_URGENT (10 * FS_USEC_PER_MSEC)
#define LEARNED_OTHER  (100 * FS_USEC_PER_MSEC)
#define UNREACHED_GAP  (500 * FS_USEC_PER_MSEC)
#define MISSED_TELLERS 3 /* so many of those who can reach a peer tell it what it missed */

/* --- who and when -------------------------------------------------------------------------------
 */

/* The sender's clocks against ours. FS_REFUSED_CAUSES: they are right. */
fs_refused_t fs_message_clock(const fs_message_t *message, fs_moment_t now)
{
    if (message->farm > now.farm + FS_FUTURE_LIMIT ||
        message->clock.time > now.farm + FS_FUTURE_LIMIT)
        return FS_REFUSED_FUTURE;
    return message->farm < now.farm - FS_FUTURE_LIMIT ? FS_REFUSED_PAST : FS_REFUSED_CAUSES;
}

/* The sender has started again since it was heard of. */
void fs_peer_begin_life(fs_peer_t *peer, uint64_t generation)
{
    peer->generation = generation;
    fs_replay_begin(&peer->replay, 0);
}

/* What it said its state is, against what ours is now. */
static void note_digest(fs_exchange_t *exchange, fs_peer_t *peer, const fs_message_t *message,
                        fs_moment_t now)
{
    peer->digest = message->digest;
    if (peer->digest != fs_map_digest_total(exchange->map)) {
        if (!peer->differs_since)
            peer->differs_since = now.mono;
        return;
    }
    peer->same_at = now.mono;
    peer->differs_since = peer->compare_at = 0;
    if (!peer->synced || exchange->held)
        fs_exchange_synced(exchange, peer, 1, now);
}

/* Whether this server is among those that tell `target` what its author can't. */
static int is_teller(const fs_exchange_t *exchange, const fs_peer_t *target, fs_moment_t now)
{
    uint64_t own = fs_record_key_hash(exchange->name, target->name);
    unsigned before = 0;

    for (unsigned i = 0; i < exchange->peer_count; i++) {
        const fs_peer_t *peer = exchange->peers[i];

        if (peer != target && !peer->alias && !peer->self && peer->name[0] &&
            fs_peer_state(exchange, peer, now) == FS_PEER_ALIVE &&
            fs_record_key_hash(peer->name, target->name) < own)
            before++;
    }
    return before < MISSED_TELLERS;
}

/* The sender names those that it can't reach: they may have missed what it said. */
static void tell_unreached(fs_exchange_t *exchange, const fs_message_t *message, fs_moment_t now)
{
    for (unsigned i = 0; i < message->unreachable_count; i++) {
        fs_peer_t *missed = fs_exchange_named(exchange, message->unreachable[i]);

        if (missed && missed->url[0] && now.mono - missed->compared > UNREACHED_GAP &&
            missed->digest != fs_map_digest_total(exchange->map) &&
            fs_peer_state(exchange, missed, now) == FS_PEER_ALIVE &&
            is_teller(exchange, missed, now))
            fs_peer_compare_at(missed, now.mono);
    }
}

/* What the head of a message says of its sender, once it is believed. */
void fs_exchange_heard(fs_exchange_t *exchange, fs_peer_t *peer, const fs_message_t *message,
                       fs_moment_t now)
{
    int back = !peer->heard || fs_peer_state(exchange, peer, now) == FS_PEER_DEAD;

    fs_map_observe(exchange->map, now.farm, &message->clock);
    fs_map_expire(exchange->map, now.farm);
    peer->heard = peer->contact = now.mono;
    peer->received++;
    peer->flags = message->flags;
    peer->skew = message->farm - now.farm;
    if (peer->retry_at > peer->tried + RETRY_HEARD)
        peer->retry_at = peer->tried + RETRY_HEARD;
    note_digest(exchange, peer, message, now);
    if (back && peer->differs_since)
        fs_peer_compare_at(peer, now.mono);
    tell_unreached(exchange, message, now);
}

/* --- records ------------------------------------------------------------------------------------
 */

static void refuse_record(fs_exchange_t *exchange, fs_intake_t *intake, fs_refused_t cause)
{
    exchange->info.refused[cause]++;
    intake->refused++;
    intake->cause = cause;
}

static void take_record(fs_exchange_t *exchange, const char *sender, const fs_record_t *record,
                        fs_moment_t now, fs_intake_t *intake)
{
    switch (fs_map_merge(exchange->map, now.farm, record)) {
    case FS_MERGE_TAKEN:
        intake->taken++;
        exchange->info.taken++;
        if (strcmp(record->stamp.origin, sender) != 0)
            intake->learned |= record->priority == FS_PRIORITY_OPERATOR ? 2 : 1;
        break;
    case FS_MERGE_FUTURE:
        refuse_record(exchange, intake, FS_REFUSED_FUTURE);
        break;
    case FS_MERGE_FULL:
        refuse_record(exchange, intake, FS_REFUSED_FULL);
        break;
    case FS_MERGE_BAD:
        refuse_record(exchange, intake, FS_REFUSED_MALFORMED);
        break;
    case FS_MERGE_SAME:
    case FS_MERGE_OLDER:
    case FS_MERGE_EXPIRED:
        break;
    }
}

static int is_named(const fs_message_t *message, const char *name)
{
    for (unsigned i = 0; i < message->unreachable_count; i++)
        if (!strcmp(message->unreachable[i], name))
            return 1;
    return 0;
}

/* Something is new here. Who may have missed it, too? */
static void pass_on(fs_exchange_t *exchange, const fs_peer_t *sender, const fs_message_t *message,
                    const fs_intake_t *intake, fs_moment_t now)
{
    uint64_t digest = fs_map_digest_total(exchange->map);

    for (unsigned i = 0; i < exchange->peer_count; i++) {
        fs_peer_t *peer = exchange->peers[i];

        if (peer == sender || peer->alias || peer->self || !peer->name[0] ||
            peer->digest == digest || fs_peer_state(exchange, peer, now) != FS_PEER_ALIVE)
            continue;
        if (is_named(message, peer->name) && is_teller(exchange, peer, now))
            fs_peer_compare_at(peer, now.mono);
        else if (intake->learned)
            fs_peer_compare_at(peer, now.mono + (fs_usec_t)fs_exchange_random(
                                                    exchange, intake->learned & 2 ? LEARNED_URGENT
                                                                                  : LEARNED_OTHER));
    }
}

void fs_exchange_take_records(fs_exchange_t *exchange, fs_peer_t *sender, fs_message_t *message,
                              fs_moment_t now, fs_intake_t *intake)
{
    unsigned count = (unsigned)fs_bytes_get(&message->body, 2);

    memset(intake, 0, sizeof(*intake));
    for (unsigned i = 0; i < count && !intake->malformed; i++) {
        fs_record_t record;

        if (fs_record_read(&record, &message->body.at, message->body.end)) {
            refuse_record(exchange, intake, FS_REFUSED_MALFORMED);
            intake->malformed = 1;
        } else {
            take_record(exchange, message->from, &record, now, intake);
        }
    }
    if (!intake->taken)
        return;
    note_digest(exchange, sender, message, now);
    pass_on(exchange, sender, message, intake, now);
}
