/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route.h"

#include <math.h>

/* A server that has just returned takes part with this share at once. */
#define RAMP_FIRST 0.1
/* Of the limit: who is below that has room again. */
#define SHED_UNTIL 0.75

static double capacity_of(const fs_route_server_t *server)
{
    return server->capacity ? server->capacity : 1;
}

/* Whether it can be home to anybody. */
static int is_open(const fs_route_server_t *server)
{
    return server->state == FS_ROUTE_ALIVE && server->capacity;
}

/* What it has, or would have with `more`, by what it can take of new ones now. */
static double load(const fs_route_server_t *server, double more)
{
    double ramp = server->ramp > 0 && server->ramp <= 1 ? server->ramp : 1;

    return ((double)server->primaries + (double)server->sent + more) / (capacity_of(server) * ramp);
}

double fs_route_ratio(const fs_route_server_t *server)
{
    return ((double)server->primaries + (double)server->sent) / capacity_of(server);
}

int fs_route_is_busy(const fs_route_server_t *server, double busy)
{
    return fs_route_ratio(server) >= busy || server->shed ||
           (server->workers && (double)server->busy >= busy * server->workers);
}

double fs_route_mean(const fs_route_table_t *table)
{
    double visitors = table->coming, capacity = 0;

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_route_server_t *server = &table->servers[i];

        if (server->state == FS_ROUTE_DEAD || !server->capacity)
            continue;
        visitors += (double)server->primaries + (double)server->sent;
        capacity += capacity_of(server);
    }
    return capacity > 0 ? visitors / capacity : 0;
}

int fs_route_is_willing(const fs_route_table_t *table, const fs_route_settings_t *settings)
{
    const fs_route_server_t *self = &table->servers[table->self];

    return is_open(self) && !fs_route_is_busy(self, settings->busy) &&
           load(self, 0) <= settings->slack * fs_route_mean(table);
}

/* Of two that are equal otherwise: whether `a` comes before `b` when counting from `spread` on. */
static int comes_first(const fs_route_table_t *table, uint32_t a, uint32_t b, uint64_t spread)
{
    uint32_t from = (uint32_t)(spread % table->count);

    return (a + table->count - from) % table->count < (b + table->count - from) % table->count;
}

typedef struct best_t {
    uint32_t server;
    int poor; /* busy, or in the rack that is to be avoided: less is better */
    double load;
} best_t;

/* Takes `server` for the best one if it is better than what was found until now. */
static void consider(const fs_route_table_t *table, best_t *best, uint32_t server, int poor,
                     double with, uint64_t spread)
{
    if (best->server != FS_ROUTE_NOBODY) {
        uint32_t capacity = table->servers[server].capacity;
        uint32_t other = table->servers[best->server].capacity;

        if (poor != best->poor ? poor > best->poor : with > best->load)
            return;
        if (poor == best->poor && !(with < best->load) &&
            (capacity != other ? capacity < other
                               : !comes_first(table, server, best->server, spread)))
            return;
    }
    *best = (best_t){server, poor, with};
}

uint32_t fs_route_lowest(const fs_route_table_t *table, const fs_route_settings_t *settings,
                         uint32_t but, uint64_t spread)
{
    best_t best = {FS_ROUTE_NOBODY, 0, INFINITY};

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_route_server_t *server = &table->servers[i];

        if (i != but && is_open(server))
            consider(table, &best, i, fs_route_is_busy(server, settings->busy), load(server, 0),
                     spread);
    }
    return best.server;
}

static fs_route_choice_t serve(const fs_route_table_t *table)
{
    table->servers[table->self].primaries++;
    return (fs_route_choice_t){FS_ROUTE_SERVE, table->self, 1};
}

/* Whether a visitor is better off at `other` than at `self`: so nobody is sent to and fro. */
static int is_better(const fs_route_server_t *self, const fs_route_server_t *other,
                     const fs_route_settings_t *settings)
{
    int busy = fs_route_is_busy(self, settings->busy);

    if (self->state != FS_ROUTE_ALIVE)
        return 1;
    if (fs_route_is_busy(other, settings->busy) != busy)
        return busy;
    return load(other, 0) < load(self, 0);
}

fs_route_choice_t fs_route_assign(const fs_route_table_t *table,
                                  const fs_route_settings_t *settings, unsigned hops,
                                  uint64_t spread)
{
    const fs_route_server_t *self = &table->servers[table->self];
    int busy = fs_route_is_busy(self, settings->busy);
    uint32_t lowest;

    if (fs_route_is_willing(table, settings))
        return serve(table);
    lowest = fs_route_lowest(table, settings, table->self, spread);
    if (!self->capacity && (hops > settings->bounces || lowest == FS_ROUTE_NOBODY))
        return (fs_route_choice_t){FS_ROUTE_REFUSE, table->self, 0};
    if (busy && settings->full_refuses &&
        (hops >= settings->bounces || lowest == FS_ROUTE_NOBODY ||
         fs_route_is_busy(&table->servers[lowest], settings->busy)))
        return (fs_route_choice_t){FS_ROUTE_REFUSE, table->self, 0};
    if (self->capacity && (hops >= settings->bounces || lowest == FS_ROUTE_NOBODY ||
                           !is_better(self, &table->servers[lowest], settings)))
        return serve(table);
    table->servers[lowest].sent++;
    return (fs_route_choice_t){FS_ROUTE_SEND, lowest, 1};
}

uint32_t fs_route_alternate(const fs_route_table_t *table, const fs_route_settings_t *settings,
                            uint32_t but, uint64_t spread)
{
    uint32_t rack = table->servers[table->self].rack;
    best_t best = {FS_ROUTE_NOBODY, 0, INFINITY};

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_route_server_t *server = &table->servers[i];
        int near = rack && server->rack == rack;

        if (i == table->self || !is_open(server))
            continue;
        consider(table, &best, i,
                 4 * (i == but) + 2 * near + fs_route_is_busy(server, settings->busy),
                 load(server, (double)server->given), spread);
    }
    if (best.server != FS_ROUTE_NOBODY)
        table->servers[best.server].given++;
    return best.server;
}

void fs_route_alternate_gone(const fs_route_table_t *table, uint32_t alternate)
{
    if (alternate < table->count && table->servers[alternate].given)
        table->servers[alternate].given--;
}

/* Whether a server that is home to a visitor still serves it. Other bits of `spread` than those
 * that tell equal servers apart. */
static int keeps(const fs_route_table_t *table, uint32_t server, uint64_t spread)
{
    return server < table->count && is_open(&table->servers[server]) &&
           (spread >> 32) % FS_ROUTE_SHED_ALL >= table->servers[server].shed;
}

/* Whether a server takes the visitors that it stands by for. */
static int takes(const fs_route_table_t *table, uint32_t server)
{
    return server < table->count && is_open(&table->servers[server]) &&
           !table->servers[server].shed;
}

fs_route_choice_t fs_route_request(const fs_route_table_t *table,
                                   const fs_route_settings_t *settings, const fs_route_home_t *home,
                                   unsigned hops, uint64_t spread)
{
    uint32_t to = FS_ROUTE_NOBODY;
    int moved = 0;

    if (keeps(table, home->primary, spread)) {
        to = home->primary;
    } else if (takes(table, home->alternate) && home->alternate != home->primary) {
        to = home->alternate;
        moved = 1;
    } else if (home->primary < table->count && is_open(&table->servers[home->primary]) &&
               (home->primary == table->self || hops <= settings->bounces)) {
        to = home->primary; /* both are over their limits: nobody is better off elsewhere */
    } else {
        return fs_route_assign(table, settings, hops, spread);
    }
    if (to != table->self && hops > settings->bounces && !table->servers[table->self].capacity)
        return (fs_route_choice_t){FS_ROUTE_REFUSE, table->self, 0};
    if (to == table->self || hops > settings->bounces) {
        /* What it was sent on for may have changed on the way: who is asked last serves. */
        moved = moved || to != table->self;
        if (moved)
            table->servers[table->self].primaries++;
        return (fs_route_choice_t){FS_ROUTE_SERVE, table->self, moved};
    }
    return (fs_route_choice_t){FS_ROUTE_SEND, to, moved};
}

uint32_t fs_route_next(const fs_route_table_t *table, double *credit)
{
    uint32_t next = FS_ROUTE_NOBODY;
    double sum = 0;

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_route_server_t *server = &table->servers[i];
        double weight;

        if (!is_open(server))
            continue;
        weight = capacity_of(server) * (server->ramp > 0 && server->ramp <= 1 ? server->ramp : 1);
        credit[i] += weight;
        sum += weight;
        if (next == FS_ROUTE_NOBODY || credit[i] > credit[next])
            next = i;
    }
    if (next != FS_ROUTE_NOBODY)
        credit[next] -= sum;
    return next;
}

uint8_t fs_route_shed(fs_route_shed_t *shed, uint32_t busy, uint32_t workers, double limit,
                      int64_t now)
{
    int at_limit = workers && busy >= limit * workers;
    int below = busy < SHED_UNTIL * limit * workers || !workers;

    if (!at_limit)
        shed->at_limit = 0;
    else if (!shed->at_limit)
        shed->at_limit = now;
    if (!below)
        shed->below = 0;
    else if (!shed->below)
        shed->below = now;
    if (shed->at_limit && now - shed->at_limit >= FS_ROUTE_SHED_SPAN) {
        shed->shed += shed->shed < FS_ROUTE_SHED_ALL;
        shed->at_limit = now;
    } else if (shed->below && now - shed->below >= FS_ROUTE_SHED_SPAN) {
        shed->shed = 0;
    }
    return shed->shed;
}

double fs_route_ramp(int64_t since, int64_t span)
{
    if (span <= 0 || since >= span)
        return 1;
    if (since <= 0)
        return RAMP_FIRST;
    return RAMP_FIRST + (1 - RAMP_FIRST) * (double)since / (double)span;
}
