/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published bound is a bound: promise 2 rests on it. A database, two data servers that measure
 * it, an agent that measures whichever of them answers or the database itself, and a request
 * process that reads what the agent published: all with clocks of their own, on a network whose two
 * ways take what they like. Whatever the seed, farm time as the request process has it is never
 * further from the database's than the bound that goes with it.
 */
#include "fs_test.h"

#include <stdint.h>
#include <string.h>

#include "control/fs_control.h"
#include "sync/fs_farm_clock.h"

#define RUNS        3000
#define STEPS       200
#define SERVERS     2
#define NS_PER_US   INT64_C(1000)
#define NS_PER_S    INT64_C(1000000000)
#define EPOCH_NS    INT64_C(1790000000000000000) /* some day in 2026 */
#define DRIFT_LIMIT INT64_C(249900) /* ppb, as the host counts: 250 ppm of doc/cycle.md */

/* --- a small random generator, the same on every machine (xorshift64*) --- */

static uint64_t random_state;

static void random_seed(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
}

/* 0 .. limit - 1 */
static int64_t random_below(int64_t limit)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (int64_t)(random_state * UINT64_C(2685821657736338717) % (uint64_t)limit);
}

/* --- the world ---------------------------------------------------------------------------------
 */

typedef struct host_t {
    int64_t mono; /* ns; its monotonic clock */
    int64_t rate; /* ppb that it runs fast against the database's */
    int64_t rest; /* of the division, so that no drift is lost in short steps */
} host_t;

typedef struct world_t {
    int64_t truth; /* ns since 1970 by the database's clock: farm time itself */
    int slewing;   /* clocks change their rate at any time */
    int one_way;   /* which way takes all of a round trip: 0 neither, 1 there, 2 back */
    host_t servers[SERVERS];
    host_t web;
    fs_farm_clock_t measured[SERVERS]; /* by the data servers */
    fs_farm_clock_t agent;
    fs_control_clock_t published; /* by the agent */
} world_t;

static void run_clock(host_t *host, int64_t ns)
{
    host->rest += ns % NS_PER_S * host->rate;
    host->mono += ns + ns / NS_PER_S * host->rate + host->rest / NS_PER_S;
    host->rest %= NS_PER_S;
}

static int64_t some_rate(void)
{
    static const int64_t rates[] = {DRIFT_LIMIT, -DRIFT_LIMIT, 0};
    int64_t choice = random_below(4);

    return choice < 3 ? rates[choice] : random_below(2 * DRIFT_LIMIT) - DRIFT_LIMIT;
}

static void pass(world_t *world, int64_t ns)
{
    for (unsigned i = 0; i < SERVERS; i++)
        run_clock(&world->servers[i], ns);
    run_clock(&world->web, ns);
    world->truth += ns;
    if (world->slewing && random_below(8) == 0) {
        world->web.rate = some_rate();
        world->servers[random_below(SERVERS)].rate = some_rate();
    }
}

/* A clock is read in whole microseconds. */
static fs_usec_t read_mono(const host_t *host)
{
    return host->mono / NS_PER_US;
}

static fs_usec_t read_database(const world_t *world)
{
    return world->truth / NS_PER_US;
}

/* Queueing: mostly short, sometimes a fifth of a second, each way on its own. */
static void travel(world_t *world, int way)
{
    int64_t delay = random_below(100 * NS_PER_US);

    while (random_below(4) == 0 && delay < NS_PER_S / 5)
        delay *= 2 + random_below(6);
    pass(world, world->one_way && world->one_way != way ? 0 : delay);
}

/* --- who measures ------------------------------------------------------------------------------
 */

static void server_asks_database(world_t *world, unsigned server)
{
    fs_clock_sample_t sample = {.sent = read_mono(&world->servers[server])};

    travel(world, 1);
    sample.remote = read_database(world);
    travel(world, 2);
    sample.received = read_mono(&world->servers[server]);
    ck_assert_int_eq(fs_farm_clock_add(&world->measured[server], "db", &sample), 1);
}

/* GET /v1/time: 0 if the server has none yet. Between the two lines its thread may rest. */
static int server_answers(world_t *world, unsigned server, fs_clock_sample_t *sample)
{
    fs_usec_t now = read_mono(&world->servers[server]), offset;

    if (random_below(4) == 0)
        server_asks_database(world, server);
    if (!fs_farm_clock_read(&world->measured[server], now, &offset, &sample->remote_bound))
        return 0;
    sample->remote = now + offset;
    return 1;
}

static void agent_measures(world_t *world)
{
    fs_clock_sample_t sample = {.sent = read_mono(&world->web)};
    fs_control_clock_t now = {.state = FS_CLOCK_MEASURED, .drift_ppm = FS_CLOCK_DRIFT_PPM};
    int64_t whom = random_below(SERVERS + 1);
    int answered = 1;

    travel(world, 1);
    if (whom < SERVERS)
        answered = server_answers(world, (unsigned)whom, &sample);
    else
        sample.remote = read_database(world);
    travel(world, 2);
    sample.received = read_mono(&world->web);
    if (!answered)
        return;
    ck_assert_int_eq(fs_farm_clock_add(&world->agent, "db", &sample), 1);
    pass(world, random_below(NS_PER_S / 1000));
    now.measured = read_mono(&world->web);
    ck_assert_int_eq(fs_farm_clock_read(&world->agent, now.measured, &now.offset, &now.bound), 1);
    world->published = now;
}

/* --- the request process -----------------------------------------------------------------------
 */

/* Reads its clock and then what is published, as a request does, which may lose its processor. */
static void request_reads(world_t *world, uint64_t seed, int step)
{
    fs_usec_t mono = read_mono(&world->web), farm, bound;
    int64_t truth = world->truth, error;

    if (random_below(4) == 0) {
        pass(world, random_below(3 * NS_PER_S));
        agent_measures(world);
    }
    if (!fs_control_now(&world->published, mono, &farm, &bound))
        return;
    error = farm * NS_PER_US - truth;
    ck_assert_msg((error < 0 ? -error : error) <= bound * NS_PER_US,
                  "seed %llu step %d: farm time is %lld ns off, the bound is %lld us",
                  (unsigned long long)seed, step, (long long)error, (long long)bound);
}

static void one_run(uint64_t seed)
{
    world_t world;

    random_seed(seed);
    memset(&world, 0, sizeof(world));
    world.truth = EPOCH_NS + random_below(NS_PER_S);
    world.slewing = random_below(2) != 0;
    world.one_way = (int)random_below(3);
    world.web = (host_t){.mono = random_below(NS_PER_S * 1000000), .rate = some_rate()};
    for (unsigned i = 0; i < SERVERS; i++)
        world.servers[i] = (host_t){.mono = random_below(NS_PER_S * 1000000), .rate = some_rate()};
    for (int step = 0; step < STEPS; step++) {
        server_asks_database(&world, (unsigned)random_below(SERVERS));
        agent_measures(&world);
        pass(&world, random_below(NS_PER_S));
        if (random_below(50) == 0) /* nobody answers */
            pass(&world, random_below(600 * NS_PER_S));
        request_reads(&world, seed, step);
    }
}

START_TEST(bound_holds_along_the_chain)
{
    for (uint64_t seed = 1; seed <= RUNS; seed++)
        one_run(seed);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("clock chain");
    TCase *chain = tcase_create("chain");

    tcase_set_timeout(chain, 120);
    tcase_add_test(chain, bound_holds_along_the_chain);
    suite_add_tcase(all, chain);
    return all;
}

FS_TEST_MAIN(suite)
