/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world of session_sim.h: clock, network, faults, and what is promised on the way. */
#include "session_sim.h"

#include <stdarg.h>

const char *const sim_names[NODES] = {"h0", "h1", "h2", "b0", "b1", "b2"};
sim_t sim;
world_t world;

/* --- network and clock ---------------------------------------------------------------------------
 */

void sim_say(const char *format, ...)
{
    va_list arguments;

    if (!sim.told)
        return;
    fprintf(stderr, "%5lld ", (long long)(world.now / MS));
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

const char *sim_stamp(const fs_session_stamp_t *stamp)
{
    unsigned host = 0;

    while (host < HOSTS && world.hosts[host].writer != stamp->writer)
        host++;
    return apr_psprintf(sim.pool, "%u.%" APR_UINT64_T_FMT ".%s", stamp->epoch,
                        stamp->sequence - (uint64_t)NOW, host < HOSTS ? sim_names[host] : "dead");
}

int sim_is_well(unsigned node)
{
    return world.now >= world.paused[node] && world.now >= world.dead[node];
}

unsigned sim_node_of(const char *name)
{
    for (unsigned i = 0; i < NODES; i++)
        if (!strcmp(sim_names[i], name))
            return i;
    return NODES;
}

static void tell_message(const char *what, const message_t *message)
{
    static const char *const kinds[] = {"take",    "taken", "offer",   "offered", "renew",
                                        "renewed", "check", "checked", "hand",    "handed",
                                        "late",    "hello", "pull",    "pulled"};

    if (!sim.told || message->kind == RENEW || message->kind == HELLO)
        return;
    sim_say("%s %s %s>%s what %d flag %d round %u left %lld name '%s' copy %s", what,
            kinds[message->kind], sim_names[message->from], sim_names[message->to], message->what,
            message->flag, message->round, (long long)(message->left / MS), message->name,
            message->copy ? sim_stamp(&message->copy->version) : "-");
    if (message->hold.held)
        sim_say("      held %s owner '%s'%s%s", sim_stamp(&message->hold.version),
                message->hold.owner, message->hold.granted ? " granted" : "",
                message->hold.aside ? " aside" : "");
}

void sim_send(message_t *message)
{
    unsigned slot;

    if (world.blocked[message->from][message->to] || below(&world.seed, 1000) < world.loss) {
        tell_message("lost:", message);
        return;
    }
    slot = (unsigned)(world.now / TICK + 1 + below(&world.seed, LONGEST)) % RING;
    PROMISE(world.ring_count[slot] < LINE, "run %u: no room", sim.run);
    world.ring[slot][world.ring_count[slot]++] = *message;
}

message_t sim_message(kind_t kind, unsigned from, unsigned to)
{
    message_t message;

    memset(&message, 0, sizeof(message));
    message.kind = kind;
    message.from = from;
    message.to = to;
    return message;
}

/* Farm time, which steps with the clock: stamps begin with it. */
fs_session_writer_t sim_writer(unsigned host)
{
    fs_session_writer_t writer = {world.hosts[host].writer, sim_names[host], NOW + world.now};

    return writer;
}

copy_t *sim_keep(const fs_session_record_t *record)
{
    return apr_pmemdup(sim.pool, record, sizeof(*record));
}

copy_t *sim_merge(unsigned host, copy_t *a, copy_t *b)
{
    fs_session_writer_t writer = sim_writer(host);
    fs_session_record_t out;
    int same;

    if (!a || !b)
        return a ? a : b;
    same = fs_session_merge(&out, a, b, sim.pool);
    if (same & FS_SESSION_MERGED_SAME_A)
        return a;
    if (!same)
        fs_session_renew(&out, &writer);
    return sim_keep(&out);
}

/* --- what is promised ----------------------------------------------------------------------------
 */

int sim_contains(copy_t *record, unsigned change)
{
    char name[16];

    snprintf(name, sizeof(name), "c%u", change);
    return fs_session_record_find(record, name, strlen(name)) != NULL;
}

void sim_note_confirmed(copy_t *record, int by_owner)
{
    if (record->state == FS_SESSION_ENDED) {
        world.ended_confirmed = 1;
        world.ended_seen |= by_owner;
        return;
    }
    for (unsigned i = 0; i < world.made_count; i++)
        if ((!world.made[i].confirmed || (by_owner && !world.made[i].seen)) &&
            sim_contains(record, i)) {
            world.made[i].confirmed = 1;
            world.made[i].seen |= by_owner;
            sim.confirmed++;
        }
}

/* Promise 4. */
void sim_check_served(unsigned host, copy_t *record)
{
    if (world.partitions || world.lossy || world.may_die)
        return;
    PROMISE(!(world.ended_seen && record->state == FS_SESSION_LIVE),
            "run %u, %lld ms: %s serves what was ended", sim.run, (long long)(world.now / MS),
            sim_names[host]);
    for (unsigned i = 0; i < world.made_count && record->state == FS_SESSION_LIVE; i++)
        PROMISE(!world.made[i].seen || sim_contains(record, i),
                "run %u, %lld ms: %s serves a copy without change %u, which was confirmed", sim.run,
                (long long)(world.now / MS), sim_names[host], i);
}

/* --- faults --------------------------------------------------------------------------------------
 */

/* One bank server may fail when the others, and it, are well and in sync. */
static int bank_is_well(void)
{
    for (unsigned i = 0; i < SERVERS; i++)
        if (!sim_is_well(HOSTS + i) ||
            !fs_session_resync_in_sync(&world.servers[i].resync, world.now))
            return 0;
    return 1;
}

static void harm_server(unsigned self)
{
    server_t *server = &world.servers[self - HOSTS];
    fs_usec_t until = world.now + (fs_usec_t)below(&world.seed, 80) * TICK;

    if (!below(&world.seed, 3)) {
        world.paused[self] = until;
        sim_say("%s stands still until %lld", sim_names[self], (long long)(until / MS));
        return;
    }
    world.dead[self] = until + TICK;
    sim_say("%s is dead until %lld", sim_names[self], (long long)(until / MS));
    switch (below(&world.seed, 3)) {
    case 0: /* empty */
        sim_say("%s will return empty", sim_names[self]);
        memset(&server->hold, 0, sizeof(server->hold));
        server->copy = server->aside = NULL;
        break;
    case 1: /* old */
        sim_say("%s will return old: %s", sim_names[self],
                server->old_copy ? sim_stamp(&server->old_copy->version) : "-");
        server->hold = server->old_hold;
        server->copy = server->old_copy;
        server->aside = server->old_aside;
        break;
    default:
        break;
    }
}

static void remember_old(void)
{
    server_t *server = &world.servers[below(&world.seed, SERVERS)];

    server->old_hold = server->hold;
    server->old_copy = server->copy;
    server->old_aside = server->aside;
}

/* A server that returns waits for none that it can't reach: who had failed and can't be reached
 * counts as a second failure. */
static void block(unsigned from, unsigned to)
{
    if (world.servers_fail && from >= HOSTS && to >= HOSTS)
        return;
    world.blocked[from][to] ^= 1;
    sim_say("%s>%s %s", sim_names[from], sim_names[to],
            world.blocked[from][to] ? "blocked" : "open");
}

void sim_harm(void)
{
    unsigned node = below(&world.seed, HOSTS);

    if (world.may_pause && !below(&world.seed, 60) && sim_is_well(node)) {
        world.paused[node] = world.now + (fs_usec_t)below(&world.seed, 90) * TICK;
        sim_say("%s stands still until %lld", sim_names[node],
                (long long)(world.paused[node] / MS));
    }
    if (world.may_die && !below(&world.seed, 150) && sim_is_well(node)) {
        world.dead[node] = world.now + TICK + (fs_usec_t)below(&world.seed, 60) * TICK;
        world.hosts[node].lives = 0;
        sim_say("%s is dead until %lld", sim_names[node], (long long)(world.dead[node] / MS));
    }
    if (world.servers_fail && !below(&world.seed, 40) && bank_is_well())
        harm_server(HOSTS + below(&world.seed, SERVERS));
    if (world.partitions && !below(&world.seed, 30))
        block(below(&world.seed, NODES), below(&world.seed, NODES));
    if (!below(&world.seed, 20))
        remember_old();
}

void sim_heal(void)
{
    memset(world.blocked, 0, sizeof(world.blocked));
    world.loss = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (world.paused[i] > world.now)
            world.paused[i] = world.now;
        if (world.dead[i] > world.now)
            world.dead[i] = world.now + TICK;
    }
}

/* --- time ----------------------------------------------------------------------------------------
 */

/* Who was dead begins anew. */
static void revive(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (world.dead[i] != world.now || !world.now)
            continue;
        if (i < HOSTS)
            sim_begin_host(i);
        else
            sim_begin_server(&world.servers[i - HOSTS]);
    }
}

static void deliver(void)
{
    unsigned slot = (unsigned)(world.now / TICK) % RING, count = world.ring_count[slot];
    static message_t arrived[LINE];

    memcpy(arrived, world.ring[slot], count * sizeof(*arrived));
    world.ring_count[slot] = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned to = arrived[i].to;

        if (world.now < world.dead[to])
            continue;
        if (world.now < world.paused[to]) { /* it reads it when it goes on */
            unsigned later = (unsigned)(world.now / TICK + 1) % RING;

            if (world.ring_count[later] < LINE)
                world.ring[later][world.ring_count[later]++] = arrived[i];
            continue;
        }
        tell_message("", &arrived[i]);
        if (to < HOSTS)
            sim_tell_host(to, &arrived[i]);
        else
            sim_tell_server(to, &arrived[i]);
    }
}

void sim_tick(void)
{
    world.now += TICK;
    revive();
    deliver();
    for (unsigned i = 0; i < NODES; i++)
        if (sim_is_well(i) && i < HOSTS)
            sim_step_host(i);
        else if (sim_is_well(i))
            sim_step_server(i);
}

void sim_begin(void)
{
    fs_session_writer_t writer;
    fs_session_record_t record;

    memset(&world, 0, sizeof(world));
    world.seed = sim.run;
    world.may_pause = below(&world.seed, 4) != 0;
    world.may_die = below(&world.seed, 2) != 0;
    world.servers_fail = below(&world.seed, 2) != 0;
    world.partitions = below(&world.seed, 3) == 0;
    world.lossy = below(&world.seed, 3) == 0;
    world.loss = world.lossy ? below(&world.seed, 200) : 0;
    for (unsigned i = 0; i < HOSTS; i++)
        sim_begin_host(i);
    for (unsigned i = 0; i < SERVERS; i++)
        sim_begin_server(&world.servers[i]);
    writer = sim_writer(0);
    fs_session_begin(&record, &writer, NOW + 3600 * SEC, 600 * SEC);
    world.hosts[0].own = sim_keep(&record);
    sim.key = key_of(sim.run);
}
