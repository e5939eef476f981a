/* SPDX-License-Identifier: Apache-2.0 */
/* Which request goes out next, and when there will be one. */
#include <string.h>

#include "backplane/fs_exchange_internal.h"

#define GRACE (500 * FS_USEC_PER_MSEC) /* a difference may be on its way already */

/* --- what there is to say -----------------------------------------------------------------------
 */

static int has_log(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_priority_t priority)
{
    const fs_entry_t *last = TAILQ_LAST(&exchange->map->logs[priority], fs_log_list_t);

    return last && last->place > peer->place[priority];
}

/* Mono time of the next comparison with it. */
static fs_usec_t compare_due(const fs_exchange_t *exchange, const fs_peer_t *peer)
{
    fs_usec_t due = peer->compare_at ? peer->compare_at : INT64_MAX, other;

    if (!peer->differs_since)
        return due;
    /* Both sides see a difference: one is to begin, the other only if nothing comes of it. */
    other = peer->differs_since + (strcmp(exchange->name, peer->name) < 0 ? GRACE : 2 * GRACE);
    if (peer->compared && other < peer->compared + exchange->set.compare)
        other = peer->compared + exchange->set.compare;
    return other < due ? other : due;
}

/* Of two that have nothing to say, one says so first: then the other need not. */
static fs_usec_t ping_due(const fs_exchange_t *exchange, const fs_peer_t *peer)
{
    fs_usec_t beat = exchange->set.beat;

    return peer->contact + (strcmp(exchange->name, peer->name) < 0 ? beat : beat + beat / 4);
}

/* Mono time of the next request of the lane with the others' business; INT64_MAX: none. */
static fs_usec_t other_due(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now)
{
    fs_peer_state_t state = fs_peer_state(exchange, peer, now);
    fs_usec_t due = ping_due(exchange, peer), compare;

    if (peer->compare.running)
        return now.mono;
    if (!peer->alias && (state == FS_PEER_ALIVE || state == FS_PEER_SUSPECT) &&
        (has_log(exchange, peer, FS_PRIORITY_MEMBER) ||
         has_log(exchange, peer, FS_PRIORITY_MONITOR)))
        return now.mono;
    compare = peer->alias ? INT64_MAX : compare_due(exchange, peer);
    return compare < due ? compare : due;
}

/* --- writing ------------------------------------------------------------------------------------
 */

static uint8_t *begin(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now, unsigned lane,
                      unsigned type, fs_request_t *request)
{
    fs_flight_t *flight = &peer->flights[lane];
    fs_message_t message;

    memset(flight, 0, sizeof(*flight));
    flight->id = ++exchange->sequence;
    flight->type = type;
    flight->sent = now.mono;
    peer->tried = now.mono;
    peer->sent++;
    fs_map_tick(exchange->map, now.farm);
    fs_exchange_head(exchange, now, peer->name, peer->generation, type, flight->id, &message);
    request->id = flight->id;
    request->timeout = exchange->set.timeout;
    memcpy(request->url, peer->url, sizeof(request->url));
    memcpy(request->name, peer->name, sizeof(request->name));
    return fs_message_write(&message, request->bytes);
}

static int end(fs_request_t *request, const uint8_t *at)
{
    request->length = (size_t)(at - request->bytes);
    return 1;
}

/* Appends the log's records behind the peer's place, as far as they fit. */
static uint8_t *put_log(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_flight_t *flight,
                        fs_priority_t priority, const fs_request_t *request, uint8_t *at,
                        unsigned *count)
{
    const fs_entry_t *entry = fs_map_log_after(exchange->map, priority, peer->place[priority]);

    for (; entry; entry = TAILQ_NEXT(entry, in_log)) {
        if ((size_t)(at - request->bytes) + fs_record_bytes(&entry->record) > FS_MESSAGE_LIMIT)
            break;
        at += fs_record_write(&entry->record, at);
        flight->to[priority] = entry->place;
        (*count)++;
    }
    return at;
}

static int push_log(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now, unsigned lane,
                    fs_priority_t first, fs_priority_t last, fs_request_t *request)
{
    uint8_t *body = begin(exchange, peer, now, lane, FS_MESSAGE_PUSH, request), *at = body + 2;
    unsigned count = 0;

    for (unsigned p = first; p <= (unsigned)last; p++)
        at = put_log(exchange, peer, &peer->flights[lane], (fs_priority_t)p, request, at, &count);
    fs_bytes_put(body, count, 2);
    return end(request, at);
}

/* --- a comparison -------------------------------------------------------------------------------
 */

static int send_compare(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now,
                        fs_request_t *request)
{
    uint8_t *at = begin(exchange, peer, now, FS_LANE_OTHER, FS_MESSAGE_COMPARE, request);

    peer->compare_at = 0;
    peer->compare.running = 1;
    peer->compare.asked = peer->compare.moved = 0;
    for (unsigned i = 0; i < FS_BUCKETS; i++)
        at = fs_bytes_put(at, exchange->map->digests[i], 8);
    return end(request, at);
}

/* What it lacks. Records that are gone meanwhile are passed over. */
static int send_bring(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now,
                      fs_request_t *request)
{
    fs_compare_t *compare = &peer->compare;
    uint8_t *body = begin(exchange, peer, now, FS_LANE_OTHER, FS_MESSAGE_PUSH, request);
    uint8_t *at = body + 2;
    unsigned count = 0, i;

    for (i = compare->bring_at; i < compare->bring_count; i++) {
        fs_record_t record;

        if (!fs_map_get_hashed(exchange->map, compare->bring[i], &record))
            continue;
        if ((size_t)(at - request->bytes) + fs_record_bytes(&record) > FS_MESSAGE_LIMIT)
            break;
        at += fs_record_write(&record, at);
        count++;
    }
    peer->flights[FS_LANE_OTHER].listed = i - compare->bring_at;
    fs_bytes_put(body, count, 2);
    return end(request, at);
}

static int send_fetch(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now,
                      fs_request_t *request)
{
    fs_compare_t *compare = &peer->compare;
    uint8_t *at = begin(exchange, peer, now, FS_LANE_OTHER, FS_MESSAGE_FETCH, request);
    unsigned count = compare->want_count - compare->want_at;

    at = fs_bytes_put(at, count, 2);
    for (unsigned i = 0; i < count; i++)
        at = fs_bytes_put(at, compare->want[compare->want_at + i], 8);
    return end(request, at);
}

static int go_on_comparing(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now,
                           fs_request_t *request)
{
    if (peer->compare.asked && peer->compare.bring_at < peer->compare.bring_count)
        return send_bring(exchange, peer, now, request);
    if (peer->compare.asked && peer->compare.want_at < peer->compare.want_count)
        return send_fetch(exchange, peer, now, request);
    return send_compare(exchange, peer, now, request);
}

/* --- which --------------------------------------------------------------------------------------
 */

static int next_other(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now,
                      fs_request_t *request)
{
    fs_peer_state_t state = fs_peer_state(exchange, peer, now);
    int near = !peer->alias && (state == FS_PEER_ALIVE || state == FS_PEER_SUSPECT);

    if (near && has_log(exchange, peer, FS_PRIORITY_MEMBER))
        return push_log(exchange, peer, now, FS_LANE_OTHER, FS_PRIORITY_MEMBER, FS_PRIORITY_MEMBER,
                        request);
    if (peer->compare.running)
        return go_on_comparing(exchange, peer, now, request);
    if (!peer->alias && compare_due(exchange, peer) <= now.mono)
        return send_compare(exchange, peer, now, request);
    if (near && has_log(exchange, peer, FS_PRIORITY_MONITOR))
        return push_log(exchange, peer, now, FS_LANE_OTHER, FS_PRIORITY_MONITOR,
                        FS_PRIORITY_MONITOR, request);
    if (ping_due(exchange, peer) <= now.mono)
        return end(request, begin(exchange, peer, now, FS_LANE_OTHER, FS_MESSAGE_PING, request));
    return 0;
}

static int next_of(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now, fs_request_t *request)
{
    if (peer->retry_at > now.mono || !fs_peer_is_asked(exchange, peer, now))
        return 0;
    if (!peer->alias && !peer->flights[FS_LANE_URGENT].id &&
        has_log(exchange, peer, FS_PRIORITY_OPERATOR))
        return push_log(exchange, peer, now, FS_LANE_URGENT, FS_PRIORITY_OPERATOR,
                        FS_PRIORITY_OPERATOR, request);
    if (peer->flights[FS_LANE_OTHER].id)
        return 0;
    return next_other(exchange, peer, now, request);
}

/* A start asks some of those that it hasn't heard yet, in an order of its own. */
static void choose_references(fs_exchange_t *exchange, fs_moment_t now)
{
    fs_peer_t *free_ones[FS_EXCHANGE_PEERS];
    unsigned busy = 0, count = 0;

    for (unsigned i = 0; i < exchange->peer_count; i++) {
        fs_peer_t *peer = exchange->peers[i];

        if (peer->alias || !fs_peer_is_asked(exchange, peer, now))
            continue;
        if (peer->synced && !(peer->flags & (FS_MESSAGE_PARTIAL | FS_MESSAGE_HELD)))
            busy++;
        else if (!peer->tried_sync && (peer->compare.running || peer->compare_at))
            busy++;
        else if (!peer->tried_sync)
            free_ones[count++] = peer;
    }
    while (busy < exchange->set.references && count) {
        unsigned chosen = (unsigned)fs_exchange_random(exchange, count);

        fs_peer_compare_at(free_ones[chosen], now.mono);
        free_ones[chosen] = free_ones[--count];
        busy++;
    }
}

int fs_exchange_next(fs_exchange_t *exchange, fs_moment_t now, fs_request_t *request)
{
    fs_exchange_pass(exchange, now);
    if (exchange->state != FS_EXCHANGE_READY)
        choose_references(exchange, now);
    /* What is urgent goes to everybody before anything else goes to anybody. */
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        fs_peer_t *peer = exchange->peers[i];

        if (!peer->alias && !peer->flights[FS_LANE_URGENT].id && peer->retry_at <= now.mono &&
            has_log(exchange, peer, FS_PRIORITY_OPERATOR) && next_of(exchange, peer, now, request))
            return 1;
    }
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        unsigned index = (exchange->next_peer + i) % exchange->peer_count;

        if (next_of(exchange, exchange->peers[index], now, request)) {
            exchange->next_peer = (index + 1) % exchange->peer_count;
            return 1;
        }
    }
    return 0;
}

static fs_usec_t due_of(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now)
{
    fs_usec_t due = INT64_MAX;

    if (!fs_peer_is_asked(exchange, peer, now))
        return due;
    if (!peer->alias && !peer->flights[FS_LANE_URGENT].id &&
        has_log(exchange, peer, FS_PRIORITY_OPERATOR))
        due = now.mono;
    else if (!peer->flights[FS_LANE_OTHER].id)
        due = other_due(exchange, peer, now);
    return due < peer->retry_at ? peer->retry_at : due;
}

fs_usec_t fs_exchange_due(const fs_exchange_t *exchange, fs_moment_t now)
{
    fs_usec_t due = now.mono + FS_USEC_PER_SEC; /* state is judged at least so often */

    for (unsigned i = 0; i < exchange->peer_count; i++) {
        fs_usec_t one = due_of(exchange, exchange->peers[i], now);

        if (one < due)
            due = one;
    }
    return due < now.mono ? now.mono : due;
}
