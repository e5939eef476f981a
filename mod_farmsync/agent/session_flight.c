/* SPDX-License-Identifier: Apache-2.0 */
#include "session_flight.h"

#include <stdlib.h>
#include <string.h>

fs_sealed_t *fs_sealed_make(const fs_session_label_t *label, const void *bytes, size_t length)
{
    fs_sealed_t *sealed = malloc(sizeof(*sealed) + length);

    if (!sealed)
        return NULL;
    memset(sealed, 0, sizeof(*sealed));
    sealed->references = 1;
    sealed->label = *label;
    sealed->length = length;
    memcpy(sealed->bytes, bytes, length);
    return sealed;
}

void fs_sealed_drop(fs_sealed_t *sealed)
{
    if (sealed && !--sealed->references)
        free(sealed);
}

apr_status_t fs_flights_init(fs_flights_t *flights, unsigned servers)
{
    memset(flights, 0, sizeof(*flights));
    flights->servers = servers;
    flights->live = calloc(servers + 1, sizeof(*flights->live));
    flights->low = calloc(servers + 1, sizeof(*flights->low));
    flights->waiting = calloc(servers + 1, sizeof(*flights->waiting));
    flights->low_waiting = calloc(servers + 1, sizeof(*flights->low_waiting));
    if (!flights->live || !flights->low || !flights->waiting || !flights->low_waiting ||
        fs_key_table_init(&flights->table)) {
        fs_flights_end(flights);
        return APR_ENOMEM;
    }
    for (unsigned i = 0; i < servers; i++) {
        TAILQ_INIT(&flights->live[i]);
        TAILQ_INIT(&flights->low[i]);
    }
    return APR_SUCCESS;
}

void fs_flights_end(fs_flights_t *flights)
{
    fs_keyed_t *keyed;

    while (flights->table.heads && (keyed = fs_key_table_any(&flights->table)))
        fs_flight_remove(flights, (fs_flight_t *)keyed);
    fs_key_table_end(&flights->table);
    free(flights->live);
    free(flights->low);
    free(flights->waiting);
    free(flights->low_waiting);
    memset(flights, 0, sizeof(*flights));
}

fs_flight_t *fs_flight_find(const fs_flights_t *flights, const fs_session_key_t *key)
{
    return (fs_flight_t *)fs_key_table_find(&flights->table, key);
}

/* --- one target ------------------------------------------------------------------------------- */

static int is_waiting(fs_target_state_t state)
{
    return state == FS_TARGET_QUEUED || state == FS_TARGET_SENT || state == FS_TARGET_LATER;
}

static void count_waiting(fs_flights_t *flights, const fs_target_t *target, int more)
{
    flights->waiting[target->server] += (unsigned)more;
    if (target->low)
        flights->low_waiting[target->server] += (unsigned)more;
}

/* Every change of a state goes through here, so that queues and numbers are right. */
static void set_state(fs_flights_t *flights, fs_target_t *target, fs_target_state_t state,
                      int urgent)
{
    fs_targets_t *queue =
        target->low ? &flights->low[target->server] : &flights->live[target->server];

    if (target->state == FS_TARGET_QUEUED)
        TAILQ_REMOVE(queue, target, link);
    count_waiting(flights, target, -is_waiting(target->state));
    count_waiting(flights, target, is_waiting(state));
    target->state = state;
    if (state != FS_TARGET_QUEUED)
        return;
    if (urgent)
        TAILQ_INSERT_HEAD(queue, target, link);
    else
        TAILQ_INSERT_TAIL(queue, target, link);
}

static fs_target_t *find_target(fs_flight_t *flight, unsigned server)
{
    for (unsigned i = 0; i < flight->count; i++)
        if (flight->targets[i].server == server)
            return &flight->targets[i];
    return NULL;
}

/* Targets are linked into queues by their address, so one that goes leaves a hole to be filled. */
static void drop_target(fs_flights_t *flights, fs_target_t *target)
{
    fs_flight_t *flight = target->flight;
    fs_target_t *last = &flight->targets[flight->count - 1];
    fs_target_state_t state = last->state;

    set_state(flights, target, FS_TARGET_IDLE, 0);
    if (target != last) {
        set_state(flights, last, FS_TARGET_IDLE, 0);
        *target = *last;
        target->state = FS_TARGET_IDLE;
        set_state(flights, target, state, 0);
    }
    flight->count--;
}

static int has_newest(const fs_target_t *target)
{
    return target->confirmed &&
           !fs_session_stamp_compare(&target->version, &target->flight->copy->label.version);
}

static void want(fs_flights_t *flights, fs_flight_t *flight, unsigned server, int low, int urgent)
{
    fs_target_t *target = find_target(flight, server);

    if (!target) {
        if (flight->count == FS_FLIGHT_TARGETS)
            return;
        target = &flight->targets[flight->count++];
        memset(target, 0, sizeof(*target));
        target->flight = flight;
        target->server = server;
    }
    target->wanted = 1;
    if (target->state == FS_TARGET_SENT || target->state == FS_TARGET_FULL || has_newest(target))
        return;
    set_state(flights, target, FS_TARGET_IDLE, 0);
    target->low = low;
    set_state(flights, target, FS_TARGET_QUEUED, urgent);
}

/* --- flights ---------------------------------------------------------------------------------- */

static fs_flight_t *begin(fs_flights_t *flights, const fs_session_key_t *key)
{
    fs_flight_t *flight = calloc(1, sizeof(*flight));

    if (!flight)
        return NULL;
    flight->keyed.key = *key;
    fs_key_table_add(&flights->table, &flight->keyed);
    return flight;
}

static int is_among(unsigned server, const unsigned *servers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (servers[i] == server)
            return 1;
    return 0;
}

static void leave(fs_flights_t *flights, fs_flight_t *flight, unsigned server)
{
    fs_target_t *target = find_target(flight, server);

    if (!target)
        return;
    if (target->state == FS_TARGET_SENT)
        target->wanted = 0;
    else
        drop_target(flights, target);
}

static void keep_only(fs_flights_t *flights, fs_flight_t *flight, const unsigned *servers,
                      unsigned count)
{
    for (unsigned i = flight->count; i-- > 0;)
        if (!is_among(flight->targets[i].server, servers, count) &&
            flight->targets[i].state != FS_TARGET_FULL)
            leave(flights, flight, flight->targets[i].server);
}

fs_flight_t *fs_flight_put(fs_flights_t *flights, fs_sealed_t *sealed, const unsigned *servers,
                           unsigned count, int low, int urgent)
{
    fs_flight_t *flight = fs_flight_find(flights, &sealed->label.key);

    if (!flight)
        flight = begin(flights, &sealed->label.key);
    if (!flight) {
        fs_sealed_drop(sealed);
        return NULL;
    }
    if (flight->copy && strcmp(flight->copy->owner, sealed->owner) != 0)
        for (unsigned i = 0; i < flight->count; i++) /* whose it is, nobody has been told */
            flight->targets[i].confirmed = 0;
    if (flight->copy)
        flights->bytes -= flight->copy->length;
    fs_sealed_drop(flight->copy);
    flight->copy = sealed;
    flights->bytes += sealed->length;
    if (!low)
        keep_only(flights, flight, servers, count);
    for (unsigned i = 0; i < count; i++)
        want(flights, flight, servers[i], low, urgent);
    /* What others have of it is older now. */
    for (unsigned i = 0; low && i < flight->count; i++)
        if (flight->targets[i].wanted)
            want(flights, flight, flight->targets[i].server, flight->targets[i].low, urgent);
    return flight;
}

void fs_flight_remove(fs_flights_t *flights, fs_flight_t *flight)
{
    for (unsigned i = 0; i < flight->count; i++)
        set_state(flights, &flight->targets[i], FS_TARGET_IDLE, 0);
    fs_key_table_remove(&flights->table, &flight->keyed);
    flights->bytes -= flight->copy->length;
    fs_sealed_drop(flight->copy);
    free(flight);
}

int fs_flights_has_next(const fs_flights_t *flights, unsigned server)
{
    return !TAILQ_EMPTY(&flights->live[server]) || !TAILQ_EMPTY(&flights->low[server]);
}

unsigned fs_flights_next(fs_flights_t *flights, unsigned server, fs_sealed_t **sealed,
                         unsigned room, size_t bytes)
{
    unsigned count = 0;
    size_t taken = 0;

    while (count < room && taken < bytes) {
        fs_target_t *target = TAILQ_FIRST(&flights->live[server]);

        if (!target)
            target = TAILQ_FIRST(&flights->low[server]);
        if (!target || (count && taken + target->flight->copy->length > bytes))
            break;
        set_state(flights, target, FS_TARGET_SENT, 0);
        target->flight->copy->references++;
        taken += target->flight->copy->length;
        sealed[count++] = target->flight->copy;
    }
    return count;
}

static void try_later(fs_flights_t *flights, fs_target_t *target, int refused, fs_usec_t now)
{
    fs_usec_t span = FS_FLIGHT_AGAIN;

    for (unsigned i = 0; refused && i < target->tries && span < FS_FLIGHT_LATEST; i++)
        span *= 2;
    target->tries += (unsigned)refused;
    if (refused)
        target->low = 0; /* nobody's pass waits for what can't be taken */
    target->later = now + span;
    set_state(flights, target, FS_TARGET_LATER, 0);
}

int fs_flight_full_again(fs_flights_t *flights, fs_flight_t *flight, fs_usec_t now)
{
    int any = 0;

    for (unsigned i = 0; i < flight->count; i++)
        if (flight->targets[i].state == FS_TARGET_FULL) {
            try_later(flights, &flight->targets[i], 1, now);
            any = 1;
        }
    return any;
}

void fs_flight_confirmed(fs_flights_t *flights, fs_flight_t *flight, unsigned server,
                         const fs_session_stamp_t *version)
{
    fs_target_t *target = find_target(flight, server);

    if (!target)
        return;
    if (!target->confirmed || fs_session_stamp_compare(version, &target->version) > 0)
        target->version = *version;
    target->confirmed = 1;
    target->tries = 0;
    if (has_newest(target) && target->state != FS_TARGET_SENT)
        set_state(flights, target, FS_TARGET_IDLE, 0);
}

fs_flight_t *fs_flights_answer(fs_flights_t *flights, const fs_session_key_t *key, unsigned server,
                               const fs_session_stamp_t *version, fs_answer_t answer, fs_usec_t now)
{
    fs_flight_t *flight = fs_flight_find(flights, key);
    fs_target_t *target = flight ? find_target(flight, server) : NULL;

    if (!target || target->state != FS_TARGET_SENT)
        return flight;
    if (!target->wanted) {
        drop_target(flights, target);
        return flight;
    }
    set_state(flights, target, FS_TARGET_IDLE, 0);
    switch (answer) {
    case FS_ANSWER_CONFIRMED:
        fs_flight_confirmed(flights, flight, server, version);
        if (!has_newest(target))
            set_state(flights, target, FS_TARGET_QUEUED, 0);
        break;
    case FS_ANSWER_AGAIN:
        set_state(flights, target, FS_TARGET_QUEUED, 1);
        break;
    case FS_ANSWER_FAILED:
    case FS_ANSWER_REFUSED:
        try_later(flights, target, answer == FS_ANSWER_REFUSED, now);
        break;
    case FS_ANSWER_FULL:
        set_state(flights, target, FS_TARGET_FULL, 0);
        break;
    }
    return flight;
}

unsigned fs_flight_copies(const fs_flight_t *flight, const fs_session_stamp_t *version)
{
    unsigned copies = 0;

    for (unsigned i = 0; i < flight->count; i++)
        copies += flight->targets[i].wanted && flight->targets[i].confirmed &&
                  fs_session_stamp_compare(&flight->targets[i].version, version) >= 0;
    return copies;
}

unsigned fs_flight_wanted(const fs_flight_t *flight)
{
    unsigned wanted = 0;

    for (unsigned i = 0; i < flight->count; i++)
        wanted += flight->targets[i].wanted && flight->targets[i].state != FS_TARGET_FULL;
    return wanted;
}

int fs_flight_is_done(const fs_flight_t *flight)
{
    for (unsigned i = 0; i < flight->count; i++) {
        const fs_target_t *target = &flight->targets[i];

        if (target->wanted && target->state != FS_TARGET_FULL && !has_newest(target))
            return 0;
    }
    return 1;
}

typedef struct again_t {
    fs_flights_t *flights;
    fs_usec_t now, next;
} again_t;

static void look_again(void *baton, fs_keyed_t *keyed)
{
    fs_flight_t *flight = (fs_flight_t *)keyed;
    again_t *again = baton;

    for (unsigned i = 0; i < flight->count; i++) {
        fs_target_t *target = &flight->targets[i];

        if (target->state != FS_TARGET_LATER)
            continue;
        if (target->later <= again->now)
            set_state(again->flights, target, FS_TARGET_QUEUED, 0);
        else if (target->later < again->next)
            again->next = target->later;
    }
}

fs_usec_t fs_flights_again(fs_flights_t *flights, fs_usec_t now)
{
    again_t again = {flights, now, INT64_MAX};

    fs_key_table_each(&flights->table, look_again, &again);
    return again.next;
}
