/* SPDX-License-Identifier: Apache-2.0 */
#include "route_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMING_MOST (1200 * FS_USEC_PER_MSEC) /* who has more visitors says so each second */
#define RATE_SPAN   0.3                       /* seconds; what was before counts less and less */

const char *fs_routing_state_name(fs_routing_state_t state)
{
    static const char *const names[] = {"dead",     "suspect", "starting",
                                        "draining", "ramping", "alive"};

    return names[state];
}

/* As lib/route knows it. */
static fs_route_state_t route_state(fs_routing_state_t state)
{
    static const fs_route_state_t states[] = {FS_ROUTE_DEAD,     FS_ROUTE_SUSPECT, FS_ROUTE_SUSPECT,
                                              FS_ROUTE_DRAINING, FS_ROUTE_ALIVE,   FS_ROUTE_ALIVE};

    return states[state];
}

/* --- who there is -------------------------------------------------------------------------------
 */

fs_routing_table_t *fs_routing_table_create(const char *own, fs_usec_t mono)
{
    fs_routing_table_t *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    snprintf(table->servers[0].name, sizeof(table->servers[0].name), "%s", own);
    table->servers[0].state = FS_ROUTING_STARTING;
    table->servers[0].ramp = 1;
    table->count = 1;
    fs_routing_table_wake(table, mono, FS_ROUTING_PATIENCE);
    return table;
}

void fs_routing_table_wake(fs_routing_table_t *table, fs_usec_t mono, fs_usec_t span)
{
    table->awake = mono;
    table->believe = mono + (span < FS_ROUTING_PATIENCE ? span : FS_ROUTING_PATIENCE);
}

fs_routing_server_t *fs_routing_table_find(fs_routing_table_t *table, const char *name)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (!strcmp(table->servers[i].name, name))
            return name[0] ? &table->servers[i] : NULL;
    return NULL;
}

/* A free place, or that of the dead one that was heard of least lately. */
static fs_routing_server_t *find_room(fs_routing_table_t *table)
{
    fs_routing_server_t *oldest = NULL;

    for (uint32_t i = 1; i < table->count; i++) {
        fs_routing_server_t *server = &table->servers[i];

        if (!server->name[0])
            return server;
        if (server->state == FS_ROUTING_DEAD && !server->ordered &&
            (!oldest || server->heard < oldest->heard))
            oldest = server;
    }
    if (table->count < FS_ROUTE_SERVERS)
        return &table->servers[table->count++];
    return oldest;
}

static fs_routing_server_t *find_or_add(fs_routing_table_t *table, const char *name)
{
    fs_routing_server_t *server = fs_routing_table_find(table, name);

    if (server || !name[0] || strlen(name) >= sizeof(server->name))
        return server;
    server = find_room(table);
    if (!server) {
        table->passed_over++;
        return NULL;
    }
    memset(server, 0, sizeof(*server));
    memcpy(server->name, name, strlen(name) + 1);
    server->ramp = 1;
    return server;
}

static void shrink(fs_routing_table_t *table)
{
    while (table->count > 1 && !table->servers[table->count - 1].name[0])
        table->count--;
}

/* --- what is heard ------------------------------------------------------------------------------
 */

/* How fast visitors come to it, above all lately, as they come in bursts; those who leave aren't
 * counted against it. */
static void measure_rate(fs_routing_server_t *server, const fs_routing_record_t *said,
                         fs_usec_t mono)
{
    double span = (double)(mono - server->told) / FS_USEC_PER_SEC;
    double more = said->primaries > server->said.primaries
                      ? (double)(said->primaries - server->said.primaries)
                      : 0;

    if (!server->told || span <= 0)
        server->rate = 0;
    else
        server->rate += (more - server->rate * span) / (span + RATE_SPAN);
}

fs_routing_server_t *fs_routing_table_say(fs_routing_table_t *table, const char *name,
                                          const fs_routing_record_t *said, uint64_t life, int news,
                                          fs_usec_t mono)
{
    fs_routing_server_t *server = find_or_add(table, name);

    if (!server)
        return NULL;
    if (news) {
        measure_rate(server, said, mono);
        server->told = mono;
        server->was_dead = 0;
    }
    server->said = *said;
    server->has_said = 1;
    server->life = life;
    server->statuses++;
    return server;
}

void fs_routing_table_forget(fs_routing_table_t *table, const char *name)
{
    fs_routing_server_t *server = fs_routing_table_find(table, name);

    if (server)
        server->has_said = 0;
}

fs_routing_server_t *fs_routing_table_order(fs_routing_table_t *table, const char *name,
                                            const fs_routing_order_t *order)
{
    fs_routing_server_t *server =
        order ? find_or_add(table, name) : fs_routing_table_find(table, name);

    if (!server)
        return NULL;
    server->ordered = order != NULL;
    if (order)
        server->order = *order;
    return server;
}

void fs_routing_table_hear(fs_routing_table_t *table, const char *name, const char *agent,
                           fs_peer_state_t state, fs_usec_t heard)
{
    fs_routing_server_t *server = fs_routing_table_find(table, name);

    if (!server)
        return;
    server->peer = state;
    server->heard = heard;
    snprintf(server->agent, sizeof(server->agent), "%s", agent);
}

/* --- judging ------------------------------------------------------------------------------------
 */

/* What a server that is heard, or is this one, makes of itself. */
static fs_routing_state_t state_by_word(const fs_routing_server_t *server, fs_usec_t farm,
                                        fs_usec_t span)
{
    if (!server->has_said || server->was_dead)
        return FS_ROUTING_STARTING;
    if (server->ordered || server->said.draining)
        return FS_ROUTING_DRAINING;
    if (!server->said.ready)
        return FS_ROUTING_STARTING;
    return fs_route_ramp(farm - server->said.since, span) < 1 ? FS_ROUTING_RAMPING
                                                              : FS_ROUTING_ALIVE;
}

static fs_routing_state_t judge(const fs_routing_table_t *table, const fs_routing_server_t *server,
                                fs_usec_t mono, fs_usec_t farm, fs_usec_t span)
{
    if (server == &table->servers[0] || server->peer == FS_PEER_ALIVE)
        return state_by_word(server, farm, span);
    if (server->has_said && mono < table->believe &&
        (server->peer == FS_PEER_UNKNOWN || (server->heard && server->heard < table->awake)))
        return state_by_word(server, farm, span);
    return server->peer == FS_PEER_SUSPECT ? FS_ROUTING_SUSPECT : FS_ROUTING_DEAD;
}

static int is_gone(const fs_routing_table_t *table, const fs_routing_server_t *server)
{
    return server != &table->servers[0] && server->name[0] && !server->has_said &&
           !server->ordered && (server->peer == FS_PEER_DEAD || server->peer == FS_PEER_UNKNOWN);
}

int fs_routing_table_judge(fs_routing_table_t *table, fs_usec_t mono, fs_usec_t farm,
                           fs_usec_t span, fs_routing_state_t *old)
{
    int changed = 0;

    for (uint32_t i = 0; i < table->count; i++) {
        fs_routing_server_t *server = &table->servers[i];
        fs_routing_state_t state;

        if (old)
            old[i] = server->state;
        if (is_gone(table, server)) {
            memset(server, 0, sizeof(*server));
            changed = 1;
        }
        if (!server->name[0])
            continue;
        state = judge(table, server, mono, farm, span);
        if (state == FS_ROUTING_DEAD && (server->peer == FS_PEER_DEAD || !server->told))
            server->was_dead = 1;
        server->ramp =
            state == FS_ROUTING_RAMPING ? fs_route_ramp(farm - server->said.since, span) : 1;
        changed |= state != server->state;
        server->state = state;
    }
    shrink(table);
    return changed;
}

/* --- for the request processes ------------------------------------------------------------------
 */

/* Not more than it would have said at once: else a server that guesses after a burst thinks that
 * the others are fuller than they are, and keeps too many itself. */
static double coming_to(const fs_routing_server_t *server, fs_usec_t span)
{
    double guess = server->rate * (double)span / FS_USEC_PER_SEC;
    double most = FS_ROUTING_NEWS_SHARE * server->said.capacity;

    return span > 0 && span <= COMING_MOST ? (guess < most ? guess : most) : 0;
}

double fs_routing_table_coming(const fs_routing_table_t *table, fs_usec_t mono)
{
    double coming = 0;

    for (uint32_t i = 1; i < table->count; i++) {
        const fs_routing_server_t *server = &table->servers[i];

        if (route_state(server->state) == FS_ROUTE_ALIVE && server->told)
            coming += coming_to(server, mono - server->told);
    }
    return coming;
}

/* Racks are compared by number: that of the first server with this label, + 1. */
static uint32_t rack_of(const fs_routing_table_t *table, uint32_t number)
{
    const char *rack = table->servers[number].said.rack;
    uint32_t i = 0;

    if (!rack[0])
        return 0;
    while (strcmp(table->servers[i].said.rack, rack) != 0)
        i++;
    return i + 1;
}

void fs_routing_table_entries(const fs_routing_table_t *table, fs_route_entry_t *entries)
{
    memset(entries, 0, table->count * sizeof(*entries));
    for (uint32_t i = 0; i < table->count; i++) {
        const fs_routing_server_t *server = &table->servers[i];
        const fs_routing_record_t *said = &server->said;
        fs_route_entry_t *entry = &entries[i];

        entry->server =
            (fs_route_server_t){.capacity = said->capacity, .ramp = 1, .state = FS_ROUTE_DEAD};
        if (!server->name[0])
            continue;
        memcpy(entry->name, server->name, sizeof(entry->name));
        memcpy(entry->where.url, said->url, sizeof(entry->where.url));
        memcpy(entry->where.public_url, said->public_url, sizeof(entry->where.public_url));
        memcpy(entry->where.rack, said->rack, sizeof(entry->where.rack));
        entry->server.rack = rack_of(table, i);
        entry->server.primaries = said->primaries;
        entry->server.busy = said->busy;
        entry->server.workers = said->workers;
        entry->server.shed = (uint8_t)said->shed;
        entry->server.state = (uint8_t)route_state(server->state);
        entry->server.ramp = server->ramp;
        entry->alternates = said->alternates;
        entry->generation = server->life;
        entry->status = server->statuses;
    }
}

/* --- HAProxy ------------------------------------------------------------------------------------
 */

/*
 * HAProxy keeps what a line doesn't mention: "drain" and "maint" last until a line says "ready",
 * "down" until one says "up". So each line says all. A weight of 0 would be a drain by another
 * name, so who is full keeps 1 %. Who is nobody's home, a front, may be sent anything.
 */
void fs_routing_check_line(const fs_routing_server_t *own, int maint, uint64_t primaries,
                           char line[FS_ROUTING_LINE_SIZE])
{
    double capacity = own->said.capacity;
    double room = !own->said.capacity            ? 1
                  : (double)primaries < capacity ? 1 - (double)primaries / capacity
                                                 : 0;
    int percent = (int)(100 * room * own->ramp + 0.5);

    if (maint)
        snprintf(line, FS_ROUTING_LINE_SIZE, "maint\n");
    else if (own->state == FS_ROUTING_DRAINING)
        snprintf(line, FS_ROUTING_LINE_SIZE, "up drain\n");
    else if (own->state < FS_ROUTING_DRAINING)
        snprintf(line, FS_ROUTING_LINE_SIZE, "ready down#not ready\n");
    else
        snprintf(line, FS_ROUTING_LINE_SIZE, "ready up %d%%\n", percent < 1 ? 1 : percent);
}
