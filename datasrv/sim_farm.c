/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_farm.h"

#include <inttypes.h>
#include <stdlib.h>

#define NONE UINT16_MAX

typedef struct visitor_t {
    uint16_t primary; /* NONE: it was refused */
    uint16_t alternate;
} visitor_t;

struct fs_sim_farm_t {
    fs_sim_settings_t settings;
    fs_route_server_t *servers; /* count tables of count servers, one table each */
    uint64_t *primaries;        /* as it is */
    uint64_t *alternates;
    uint8_t *lives;
    uint64_t *noticed;  /* when a death is known to all; 0: it is, or there is none */
    uint64_t *returned; /* at which request; 0: never away */
    double *credit;
    visitor_t *visitors;
    uint64_t count; /* visitors */
    uint64_t at;
    uint64_t told; /* when the last status was sent */
    uint64_t had;  /* visitors with a home then */
    double rate;   /* new ones by request before that */
    uint64_t random;
    fs_sim_counts_t counts;
};

/* splitmix64. */
static uint64_t draw(fs_sim_farm_t *farm)
{
    uint64_t z = farm->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static fs_route_table_t table_of(const fs_sim_farm_t *farm, uint32_t self)
{
    uint32_t count = farm->settings.count;

    /* What the others took since the last status, were it as before. */
    double others = farm->rate * (double)(farm->at - farm->told) * (count - 1) / count;

    return (fs_route_table_t){farm->servers + (size_t)self * count, count, self, others};
}

static void prepare_tables(fs_sim_farm_t *farm)
{
    const fs_sim_settings_t *settings = &farm->settings;

    for (uint32_t self = 0; self < settings->count; self++) {
        fs_route_table_t table = table_of(farm, self);

        for (uint32_t i = 0; i < settings->count; i++)
            table.servers[i] = (fs_route_server_t){.capacity = settings->capacity[i],
                                                   .rack = settings->rack ? settings->rack[i] : 0,
                                                   .state = FS_ROUTE_ALIVE,
                                                   .ramp = 1};
        farm->lives[self] = 1;
    }
}

apr_status_t fs_sim_create(fs_sim_farm_t **made, const fs_sim_settings_t *settings,
                           fs_result_t *result)
{
    size_t count = settings->count;
    fs_sim_farm_t *farm = calloc(1, sizeof(*farm));

    *made = farm;
    if (farm) {
        farm->settings = *settings;
        farm->random = settings->seed;
        farm->servers = calloc(count * count, sizeof(*farm->servers));
        farm->primaries = calloc(count, sizeof(*farm->primaries));
        farm->alternates = calloc(count, sizeof(*farm->alternates));
        farm->lives = calloc(count, sizeof(*farm->lives));
        farm->noticed = calloc(count, sizeof(*farm->noticed));
        farm->returned = calloc(count, sizeof(*farm->returned));
        farm->credit = calloc(count, sizeof(*farm->credit));
        farm->visitors = malloc((settings->visitors + 1) * sizeof(*farm->visitors));
        if (farm->servers && farm->primaries && farm->alternates && farm->lives && farm->noticed &&
            farm->returned && farm->credit && farm->visitors) {
            prepare_tables(farm);
            return APR_SUCCESS;
        }
    }
    fs_sim_destroy(farm);
    *made = NULL;
    return fs_result_set(result, APR_ENOMEM, "FS1600",
                         "there is not enough memory for %zu servers and %" PRIu64
                         " visitors; simulate fewer",
                         count, settings->visitors);
}

void fs_sim_destroy(fs_sim_farm_t *farm)
{
    if (!farm)
        return;
    free(farm->servers);
    free(farm->primaries);
    free(farm->alternates);
    free(farm->lives);
    free(farm->noticed);
    free(farm->returned);
    free(farm->credit);
    free(farm->visitors);
    free(farm);
}

static void measure_rate(fs_sim_farm_t *farm)
{
    uint64_t have = 0;

    for (uint32_t i = 0; i < farm->settings.count; i++)
        have += farm->primaries[i];
    if (farm->at > farm->told)
        farm->rate = (double)(have - farm->had) / (double)(farm->at - farm->told);
    farm->had = have;
    farm->told = farm->at;
}

/* All tell all what they have. */
static void tell_status(fs_sim_farm_t *farm)
{
    uint32_t count = farm->settings.count;

    measure_rate(farm);
    for (uint32_t self = 0; self < count; self++) {
        fs_route_table_t table = table_of(farm, self);

        for (uint32_t i = 0; i < count; i++) {
            fs_route_server_t *server = &table.servers[i];

            server->primaries = farm->primaries[i];
            server->sent = 0;
            server->ramp = farm->returned[i]
                               ? fs_route_ramp((int64_t)(farm->at - farm->returned[i]),
                                               (int64_t)farm->settings.ramp)
                               : 1;
            if (!farm->noticed[i])
                server->state = farm->lives[i] ? FS_ROUTE_ALIVE : FS_ROUTE_DEAD;
        }
    }
}

static void notice_deaths(fs_sim_farm_t *farm)
{
    uint32_t count = farm->settings.count;

    for (uint32_t i = 0; i < count; i++) {
        if (!farm->noticed[i] || farm->at < farm->noticed[i])
            continue;
        farm->noticed[i] = 0;
        for (uint32_t self = 0; self < count; self++)
            table_of(farm, self).servers[i].state = FS_ROUTE_DEAD;
    }
}

static void pass(fs_sim_farm_t *farm)
{
    farm->at++;
    notice_deaths(farm);
    if (farm->settings.status && farm->at % farm->settings.status == 0)
        tell_status(farm);
}

/* The server at which a request comes in: one that lives, for a balancer finds that out. */
static uint32_t door(fs_sim_farm_t *farm, fs_sim_door_t which)
{
    uint32_t count = farm->settings.count, from = 0;

    if (which == FS_SIM_DOOR_ROUND_ROBIN)
        from = (uint32_t)(farm->at % count);
    else if (which == FS_SIM_DOOR_RANDOM)
        from = (uint32_t)(draw(farm) % count);
    for (uint32_t i = 0; i < count; i++)
        if (farm->lives[(from + i) % count])
            return (from + i) % count;
    return FS_ROUTE_NOBODY;
}

static void count_home(fs_sim_farm_t *farm, const visitor_t *visitor, int by)
{
    uint32_t server = visitor->primary;

    farm->primaries[server] += (uint64_t)by;
    table_of(farm, server).servers[server].primaries = farm->primaries[server];
    if (visitor->alternate != NONE)
        farm->alternates[visitor->alternate] += (uint64_t)by;
}

/* The visitor becomes one of `server`'s, who names an alternate. */
static void settle(fs_sim_farm_t *farm, visitor_t *visitor, uint32_t server)
{
    fs_route_table_t table = table_of(farm, server);
    uint32_t alternate =
        fs_route_alternate(&table, &farm->settings.route, FS_ROUTE_NOBODY, draw(farm));

    visitor->primary = (uint16_t)server;
    visitor->alternate = alternate == FS_ROUTE_NOBODY ? NONE : (uint16_t)alternate;
    if (alternate == FS_ROUTE_NOBODY)
        farm->counts.alone++;
    count_home(farm, visitor, 1);
}

/* A visitor's home forgets it; a dead one, too: who took it over tells so when it returns. */
static void leave(fs_sim_farm_t *farm, visitor_t *visitor)
{
    fs_route_table_t table;

    if (visitor->primary == NONE)
        return;
    table = table_of(farm, visitor->primary);
    if (visitor->alternate != NONE)
        fs_route_alternate_gone(&table, visitor->alternate);
    count_home(farm, visitor, -1);
}

/* From server to server until one serves; NOBODY if it is refused. A dead one, whose death isn't
 * known yet, doesn't answer: the sender then takes it for dead. */
static uint32_t walk(fs_sim_farm_t *farm, const fs_route_home_t *home, uint32_t from,
                     uint64_t *sent)
{
    uint32_t here = from;

    for (unsigned hops = 0;;) {
        fs_route_table_t table = table_of(farm, here);
        fs_route_choice_t choice =
            home ? fs_route_request(&table, &farm->settings.route, home, hops, draw(farm))
                 : fs_route_assign(&table, &farm->settings.route, hops, draw(farm));

        if (choice.act == FS_ROUTE_REFUSE)
            return FS_ROUTE_NOBODY;
        if (choice.act == FS_ROUTE_SERVE)
            return here;
        if (!farm->lives[choice.server]) {
            table.servers[choice.server].state = FS_ROUTE_DEAD;
            continue;
        }
        here = choice.server;
        hops++;
        ++*sent;
    }
}

static void arrive(fs_sim_farm_t *farm, visitor_t *visitor)
{
    fs_sim_door_t which = farm->settings.door;
    uint32_t from = door(farm, which), home;

    *visitor = (visitor_t){NONE, NONE};
    farm->counts.arrivals++;
    pass(farm);
    if (from == FS_ROUTE_NOBODY) {
        farm->counts.refused++;
        return;
    }
    if (which == FS_SIM_DOOR_WEIGHTED) {
        fs_route_table_t table = table_of(farm, from);

        from = fs_route_next(&table, farm->credit);
        if (!farm->lives[from])
            from = door(farm, which);
    }
    home = walk(farm, NULL, from, &farm->counts.bounces);
    if (home == FS_ROUTE_NOBODY)
        farm->counts.refused++;
    else
        settle(farm, visitor, home);
}

void fs_sim_arrive(fs_sim_farm_t *farm, uint64_t count)
{
    for (; count && farm->count < farm->settings.visitors; count--)
        arrive(farm, &farm->visitors[farm->count++]);
}

static void request(fs_sim_farm_t *farm, visitor_t *visitor)
{
    fs_route_home_t home = {visitor->primary == NONE ? FS_ROUTE_NOBODY : visitor->primary,
                            visitor->alternate == NONE ? FS_ROUTE_NOBODY : visitor->alternate};
    uint32_t from = door(farm, FS_SIM_DOOR_RANDOM), to;
    uint64_t sent = 0;

    pass(farm);
    to = from == FS_ROUTE_NOBODY ? from : walk(farm, &home, from, &sent);
    farm->counts.forwarded += sent;
    if (to == FS_ROUTE_NOBODY) {
        farm->counts.refused++;
        return;
    }
    if (to == home.primary) {
        /* A home whose alternate died names another one. */
        if (home.alternate != FS_ROUTE_NOBODY && !farm->lives[home.alternate]) {
            leave(farm, visitor);
            settle(farm, visitor, to);
        }
        return;
    }
    farm->counts.moved++;
    farm->counts.astray += home.primary != FS_ROUTE_NOBODY && farm->lives[home.primary];
    farm->counts.to_alternate += to == home.alternate;
    leave(farm, visitor);
    visitor->alternate = NONE;
    settle(farm, visitor, to);
}

void fs_sim_round(fs_sim_farm_t *farm)
{
    for (uint64_t i = 0; i < farm->count; i++)
        request(farm, &farm->visitors[i]);
}

int fs_sim_kill(fs_sim_farm_t *farm, uint32_t server)
{
    if (server >= farm->settings.count || !farm->lives[server])
        return 0;
    farm->lives[server] = 0;
    farm->noticed[server] = farm->at + farm->settings.detect;
    notice_deaths(farm);
    return 1;
}

int fs_sim_return(fs_sim_farm_t *farm, uint32_t server)
{
    if (server >= farm->settings.count || farm->lives[server])
        return 0;
    farm->lives[server] = 1;
    farm->noticed[server] = 0;
    farm->returned[server] = farm->at ? farm->at : 1;
    tell_status(farm);
    return 1;
}

uint64_t fs_sim_at(const fs_sim_farm_t *farm)
{
    return farm->at;
}

const fs_sim_counts_t *fs_sim_counts(const fs_sim_farm_t *farm)
{
    return &farm->counts;
}

int fs_sim_lives(const fs_sim_farm_t *farm, uint32_t server)
{
    return farm->lives[server];
}

uint64_t fs_sim_primaries(const fs_sim_farm_t *farm, uint32_t server)
{
    return farm->primaries[server];
}

uint64_t fs_sim_alternates(const fs_sim_farm_t *farm, uint32_t server)
{
    return farm->alternates[server];
}

double fs_sim_imbalance(const fs_sim_farm_t *farm, uint32_t *worst)
{
    double visitors = 0, capacity = 0, most = -1;

    *worst = 0;
    for (uint32_t i = 0; i < farm->settings.count; i++) {
        double ratio = (double)farm->primaries[i] / farm->settings.capacity[i];

        if (!farm->lives[i])
            continue;
        visitors += (double)farm->primaries[i];
        capacity += farm->settings.capacity[i];
        if (ratio > most) {
            most = ratio;
            *worst = i;
        }
    }
    return visitors > 0 ? most / (visitors / capacity) : 0;
}

uint64_t fs_sim_bytes(const fs_sim_farm_t *farm)
{
    uint64_t count = farm->settings.count;

    return count * count * sizeof(*farm->servers) + count * (4 * 8 + 8 + 1) +
           farm->settings.visitors * sizeof(*farm->visitors);
}
