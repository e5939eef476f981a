/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A farm of servers with the backplane's exchange, under a simulated clock and network, in the
 * manner of Tarantool's swim test harness: each link has loss, delay and duplication, and can be
 * cut in one direction; each server has a clock of its own that can be wrong and can be set, a
 * disk, and a life that can end at any moment. The same seed gives the same course of events.
 */
#ifndef FS_TEST_BACKPLANE_H
#define FS_TEST_BACKPLANE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_exchange.h"

#define SIM_NODES 100
#define SIM_SEC   FS_USEC_PER_SEC
#define SIM_MS    FS_USEC_PER_MSEC
#define SIM_EPOCH (INT64_C(1800000000) * SIM_SEC) /* farm time at the beginning */

typedef struct sim_event_t {
    fs_usec_t at;
    uint64_t order; /* of the same time: as they were made */
    enum { SIM_WAKE, SIM_REQUEST, SIM_ANSWER, SIM_TIMEOUT } kind;
    unsigned from, to; /* `to` is where it happens */
    unsigned life;     /* of `to` (WAKE, TIMEOUT, ANSWER): for nobody if it has ended */
    uint64_t id;
    uint8_t *bytes;
    size_t length;
} sim_event_t;

typedef struct sim_node_t {
    char name[16], url[32];
    fs_map_t *map;
    fs_exchange_t *exchange; /* NULL: it is down */
    unsigned life;
    uint8_t *disk;
    size_t disk_length;
    fs_usec_t skew; /* of its clock */
    fs_usec_t wake;
    int paused;
} sim_node_t;

typedef struct sim_t {
    unsigned count;
    sim_node_t nodes[SIM_NODES];
    fs_usec_t now;
    uint64_t random, order;
    sim_event_t *heap;
    size_t heap_count, heap_size;
    fs_usec_t delay_min, delay_max;
    unsigned loss;                           /* of 1000 messages, each way */
    unsigned duplicate;                      /* of 1000 */
    unsigned char cut[SIM_NODES][SIM_NODES]; /* from, to */
    fs_exchange_settings_t set;              /* for new lives */
    fs_usec_t outage;
    size_t state_limit;
    unsigned seeds; /* each node is configured with so many of the first nodes; 0: all */
    uint64_t messages;
    uint64_t bytes;
    /* Tests may look at each request on its way, change it, or drop it (return 0). */
    int (*tap)(struct sim_t *sim, unsigned from, unsigned to, uint8_t *bytes, size_t *length);
    void *tap_baton;
    fs_map_t *oracle; /* everything that was put, merged */
} sim_t;

static fs_request_t sim_request;

static inline uint64_t sim_random(sim_t *sim, uint64_t below)
{
    uint64_t x = sim->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return below ? x % below : 0;
}

static inline int sim_chance(sim_t *sim, unsigned of_1000)
{
    return of_1000 && sim_random(sim, 1000) < of_1000;
}

/* --- events -------------------------------------------------------------------------------------
 */

static inline int sim_before(const sim_event_t *a, const sim_event_t *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static inline void sim_add(sim_t *sim, sim_event_t event)
{
    size_t i;

    if (sim->heap_count == sim->heap_size) {
        sim->heap_size = sim->heap_size ? 2 * sim->heap_size : 256;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
        ck_assert_ptr_nonnull(sim->heap);
    }
    event.order = sim->order++;
    for (i = sim->heap_count++; i && sim_before(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
        sim->heap[i] = sim->heap[(i - 1) / 2];
    sim->heap[i] = event;
}

static inline sim_event_t sim_take(sim_t *sim)
{
    sim_event_t first = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t i = 0;

    for (;;) {
        size_t below = 2 * i + 1;

        if (below >= sim->heap_count)
            break;
        if (below + 1 < sim->heap_count && sim_before(&sim->heap[below + 1], &sim->heap[below]))
            below++;
        if (!sim_before(&sim->heap[below], &last))
            break;
        sim->heap[i] = sim->heap[below];
        i = below;
    }
    if (sim->heap_count)
        sim->heap[i] = last;
    return first;
}

/* --- servers ------------------------------------------------------------------------------------
 */

static inline fs_moment_t sim_moment(const sim_t *sim, unsigned i)
{
    return (fs_moment_t){.mono = sim->now, .farm = SIM_EPOCH + sim->now + sim->nodes[i].skew};
}

static inline void sim_wake_at(sim_t *sim, unsigned i, fs_usec_t at)
{
    sim_node_t *node = &sim->nodes[i];

    node->wake = at;
    sim_add(sim, (sim_event_t){.at = at, .kind = SIM_WAKE, .to = i, .life = node->life});
}

static inline void sim_send(sim_t *sim, unsigned from, unsigned to, int kind, uint64_t id,
                            unsigned life, const uint8_t *bytes, size_t length)
{
    unsigned copies = 1 + (unsigned)sim_chance(sim, sim->duplicate);

    sim->messages++;
    sim->bytes += length;
    if (sim->cut[from][to] || sim_chance(sim, sim->loss))
        return;
    while (copies--) {
        fs_usec_t delay =
            sim->delay_min +
            (fs_usec_t)sim_random(sim, (uint64_t)(sim->delay_max - sim->delay_min + 1));
        uint8_t *copy = malloc(length + 1);

        memcpy(copy, bytes, length);
        sim_add(sim, (sim_event_t){.at = sim->now + delay,
                                   .kind = kind,
                                   .from = from,
                                   .to = to,
                                   .life = life,
                                   .id = id,
                                   .bytes = copy,
                                   .length = length});
    }
}

static inline unsigned sim_at_url(const sim_t *sim, const char *url)
{
    unsigned i = 0;

    while (i < sim->count && strcmp(sim->nodes[i].url, url))
        i++;
    return i;
}

/* Sends everything that a server has to say now. */
static inline void sim_drive(sim_t *sim, unsigned i)
{
    sim_node_t *node = &sim->nodes[i];
    fs_moment_t now = sim_moment(sim, i);

    if (!node->exchange || node->paused)
        return;
    while (fs_exchange_next(node->exchange, now, &sim_request)) {
        unsigned to = sim_at_url(sim, sim_request.url);

        sim_add(sim, (sim_event_t){.at = sim->now + sim_request.timeout,
                                   .kind = SIM_TIMEOUT,
                                   .to = i,
                                   .life = node->life,
                                   .id = sim_request.id});
        if (to < sim->count &&
            (!sim->tap || sim->tap(sim, i, to, sim_request.bytes, &sim_request.length)))
            sim_send(sim, i, to, SIM_REQUEST, sim_request.id, node->life, sim_request.bytes,
                     sim_request.length);
    }
    sim_wake_at(sim, i, fs_exchange_due(node->exchange, now));
}

static inline void sim_start(sim_t *sim, unsigned i)
{
    sim_node_t *node = &sim->nodes[i];
    fs_moment_t now = sim_moment(sim, i);
    fs_exchange_settings_t set = sim->set;
    fs_map_settings_t map = {
        .origin = node->name, .outage = sim->outage, .state_limit = sim->state_limit};
    fs_result_t result;

    ck_assert_ptr_null(node->exchange);
    node->life++;
    set.name = node->name;
    set.url = node->url;
    set.seed = sim_random(sim, 0);
    set.generation = map.generation =
        fs_exchange_generation(node->disk, node->disk_length, now.farm);
    node->map = fs_map_create(&map);
    node->exchange = fs_exchange_create(&set, node->map);
    if (node->disk)
        ck_assert_int_eq(
            fs_exchange_load(node->exchange, now, node->disk, node->disk_length, &result), 0);
    for (unsigned k = 0; k < (sim->seeds ? sim->seeds : sim->count); k++)
        fs_exchange_add_peer(node->exchange, NULL, sim->nodes[k].url, 1, &result);
    sim_drive(sim, i);
}

static inline void sim_save(sim_t *sim, unsigned i)
{
    sim_node_t *node = &sim->nodes[i];

    free(node->disk);
    node->disk = fs_exchange_save(node->exchange, sim_moment(sim, i), &node->disk_length);
    ck_assert_ptr_nonnull(node->disk);
}

/* Its disk stays as it was. */
static inline void sim_kill(sim_t *sim, unsigned i)
{
    sim_node_t *node = &sim->nodes[i];

    fs_exchange_destroy(node->exchange);
    fs_map_destroy(node->map);
    node->exchange = NULL;
    node->map = NULL;
    node->life++;
}

static inline void sim_stop(sim_t *sim, unsigned i)
{
    sim_save(sim, i);
    sim_kill(sim, i);
}

static inline void sim_wipe(sim_t *sim, unsigned i)
{
    free(sim->nodes[i].disk);
    sim->nodes[i].disk = NULL;
    sim->nodes[i].disk_length = 0;
}

/* What each knows of the others' addresses, as the agents' member records say it. */
static inline void sim_learn_members(sim_t *sim, unsigned i)
{
    fs_result_t result;

    for (unsigned k = 0; k < sim->count; k++) {
        fs_record_t record;

        if (k != i && fs_map_get(sim->nodes[i].map, "member", sim->nodes[k].name, &record) &&
            !record.removed)
            fs_exchange_add_peer(sim->nodes[i].exchange, sim->nodes[k].name, sim->nodes[k].url, 0,
                                 &result);
    }
}

/* --- the course of events -----------------------------------------------------------------------
 */

static inline void sim_serve(sim_t *sim, const sim_event_t *event)
{
    static uint8_t out[FS_MESSAGE_LIMIT];
    sim_node_t *node = &sim->nodes[event->to];
    fs_refused_t cause;
    size_t length;

    if (!node->exchange)
        return;
    length =
        fs_exchange_serve(node->exchange, sim_moment(sim, event->to), sim->nodes[event->from].name,
                          event->bytes, event->length, out, &cause);
    if (length)
        sim_send(sim, event->to, event->from, SIM_ANSWER, event->id, event->life, out, length);
}

static inline void sim_happen(sim_t *sim, const sim_event_t *event)
{
    sim_node_t *node = &sim->nodes[event->to];

    if (node->paused && event->kind != SIM_WAKE) { /* waits in its sockets */
        sim_event_t later = *event;

        later.at = sim->now + 10 * SIM_MS;
        later.bytes = event->bytes ? malloc(event->length + 1) : NULL;
        if (event->bytes)
            memcpy(later.bytes, event->bytes, event->length);
        sim_add(sim, later);
        return;
    }
    if (event->kind == SIM_REQUEST) {
        sim_serve(sim, event);
    } else if (!node->exchange || event->life != node->life ||
               (event->kind == SIM_WAKE && event->at != node->wake)) {
        return;
    } else if (event->kind == SIM_ANSWER) {
        fs_exchange_answered(node->exchange, sim_moment(sim, event->to), event->id, event->bytes,
                             event->length);
    } else if (event->kind == SIM_TIMEOUT) {
        fs_exchange_failed(node->exchange, sim_moment(sim, event->to), event->id,
                           "no answer in time");
    }
    if (event->kind == SIM_WAKE && sim->seeds && node->exchange)
        sim_learn_members(sim, event->to);
    sim_drive(sim, event->to);
}

static inline void sim_run(sim_t *sim, fs_usec_t span)
{
    fs_usec_t until = sim->now + span;

    while (sim->heap_count && sim->heap[0].at <= until) {
        sim_event_t event = sim_take(sim);

        sim->now = event.at;
        sim_happen(sim, &event);
        free(event.bytes);
    }
    sim->now = until;
}

static inline int sim_agree(const sim_t *sim)
{
    const sim_node_t *first = NULL;

    for (unsigned i = 0; i < sim->count; i++) {
        const sim_node_t *node = &sim->nodes[i];
        fs_exchange_info_t info;

        if (!node->exchange)
            continue;
        if (!first)
            first = node;
        fs_exchange_info(node->exchange, &info);
        if (info.held || fs_map_count(node->map) != fs_map_count(first->map) ||
            fs_map_digest_total(node->map) != fs_map_digest_total(first->map))
            return 0;
    }
    return 1;
}

/* Runs until all that live have the same; returns how long it took, or -1. */
static inline fs_usec_t sim_converge(sim_t *sim, fs_usec_t limit)
{
    fs_usec_t start = sim->now;

    while (!sim_agree(sim)) {
        if (sim->now - start >= limit)
            return -1;
        sim_run(sim, 10 * SIM_MS);
    }
    return sim->now - start;
}

/* --- what servers do ----------------------------------------------------------------------------
 */

static inline void sim_note(sim_t *sim, unsigned i, const char *kind, const char *key)
{
    fs_record_t record;

    ck_assert(fs_map_get(sim->nodes[i].map, kind, key, &record));
    if (sim->oracle)
        fs_map_merge(sim->oracle, SIM_EPOCH + sim->now + 3600 * SIM_SEC, &record);
}

static inline apr_status_t sim_put(sim_t *sim, unsigned i, const char *key, const char *value,
                                   fs_priority_t priority)
{
    sim_node_t *node = &sim->nodes[i];
    fs_result_t result;
    apr_status_t status = fs_exchange_put(node->exchange, sim_moment(sim, i), "notice", key, value,
                                          value ? strlen(value) : 0, priority, 0, &result);

    if (!status)
        sim_note(sim, i, "notice", key);
    sim_drive(sim, i);
    return status;
}

static inline const char *sim_get(const sim_t *sim, unsigned i, const char *key)
{
    static char value[FS_RECORD_VALUE_LIMIT + 1];
    fs_record_t record;

    if (!fs_map_get(sim->nodes[i].map, "notice", key, &record) || record.removed)
        return "";
    memcpy(value, record.value, record.length);
    value[record.length] = '\0';
    return value;
}

/* Runs until every living server has this value ("" removed); returns how long it took, or -1. */
static inline fs_usec_t sim_everywhere(sim_t *sim, const char *key, const char *value,
                                       fs_usec_t limit)
{
    fs_usec_t start = sim->now;

    for (;;) {
        unsigned i = 0;

        while (i < sim->count && (!sim->nodes[i].exchange || !strcmp(sim_get(sim, i, key), value)))
            i++;
        if (i == sim->count)
            return sim->now - start;
        if (sim->now - start >= limit)
            return -1;
        sim_run(sim, 1 * SIM_MS);
    }
}

static inline fs_peer_info_t sim_peer(const sim_t *sim, unsigned i, unsigned of)
{
    fs_peer_info_t info;

    memset(&info, 0, sizeof(info));
    fs_exchange_find_peer(sim->nodes[i].exchange, sim->nodes[of].name, sim_moment(sim, i), &info);
    return info;
}

static inline fs_exchange_info_t sim_info(const sim_t *sim, unsigned i)
{
    fs_exchange_info_t info;

    fs_exchange_info(sim->nodes[i].exchange, &info);
    return info;
}

static inline void sim_cut(sim_t *sim, unsigned a, unsigned b, int cut)
{
    sim->cut[a][b] = sim->cut[b][a] = (unsigned char)cut;
}

/* Those of `set` (bits) on one side, the others on the other. */
static inline void sim_partition(sim_t *sim, uint64_t set, int cut)
{
    for (unsigned a = 0; a < sim->count; a++)
        for (unsigned b = 0; b < sim->count; b++)
            if ((set >> a % 64 ^ set >> b % 64) & 1)
                sim->cut[a][b] = (unsigned char)cut;
}

static inline sim_t *sim_create(unsigned count, uint64_t seed)
{
    sim_t *sim = calloc(1, sizeof(*sim));
    fs_map_settings_t settings = {.origin = "oracle", .generation = 1};

    sim->count = count;
    sim->random = seed;
    sim->delay_min = SIM_MS / 5;
    sim->delay_max = 2 * SIM_MS;
    sim->oracle = fs_map_create(&settings);
    for (unsigned i = 0; i < count; i++) {
        snprintf(sim->nodes[i].name, sizeof(sim->nodes[i].name), "web%u", i);
        snprintf(sim->nodes[i].url, sizeof(sim->nodes[i].url), "http://10.0.0.%u:4480", i);
    }
    return sim;
}

/* A farm that runs and agrees. */
static inline sim_t *sim_farm(unsigned count, uint64_t seed)
{
    sim_t *sim = sim_create(count, seed);

    for (unsigned i = 0; i < count; i++)
        sim_start(sim, i);
    sim_run(sim, 3 * SIM_SEC);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(sim_info(sim, i).state,
                         count > 1 ? FS_EXCHANGE_READY : sim_info(sim, i).state);
    return sim;
}

static inline void sim_destroy(sim_t *sim)
{
    for (unsigned i = 0; i < sim->count; i++) {
        if (sim->nodes[i].exchange)
            sim_kill(sim, i);
        free(sim->nodes[i].disk);
    }
    for (size_t i = 0; i < sim->heap_count; i++)
        free(sim->heap[i].bytes);
    free(sim->heap);
    fs_map_destroy(sim->oracle);
    free(sim);
}

#endif
