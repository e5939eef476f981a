/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A farm in one process: hosts that serve one session, two bank servers, and a network that loses
 * any message. Promise 9: what two bank servers confirmed is there afterwards although any host
 * died; what ended stays ended; all copies come to be the same.
 */
#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_offer.h"

#define HOSTS   3
#define SERVERS 2
#define STEPS   60
#define RUNS    10000

typedef struct copy_t {
    int there;
    fs_session_record_t record;
} copy_t;

typedef struct host_t {
    uint64_t writer; /* another one when it lost its store */
    copy_t own;
    int known[SERVERS]; /* the version that a server is known to hold */
    fs_session_stamp_t base[SERVERS];
} host_t;

typedef struct farm_t {
    uint64_t seed;
    uint32_t loss; /* of 100 messages */
    host_t hosts[HOSTS];
    copy_t servers[SERVERS];
    unsigned confirmed_count;
    const char *confirmed[STEPS];
    int ended;
} farm_t;

static apr_pool_t *pool;
static fs_result_t result;
static fs_usec_t now;

static int arrives(farm_t *farm)
{
    return below(&farm->seed, 100) >= farm->loss;
}

static fs_session_writer_t writer_of(const host_t *host)
{
    fs_session_writer_t writer = {host->writer, "web", now};

    return writer;
}

/* The host merges a copy into its own; what is new gets a version of its own. */
static void take_copy(host_t *host, const fs_session_record_t *copy)
{
    fs_session_writer_t writer = writer_of(host);
    fs_session_record_t merged;

    if (!host->own.there) {
        host->own.there = 1;
        host->own.record = *copy;
        return;
    }
    if (!fs_session_merge(&merged, &host->own.record, copy, pool))
        fs_session_renew(&merged, &writer);
    host->own.record = merged;
}

static void know(host_t *host, unsigned server, const fs_session_stamp_t *version)
{
    host->known[server] = 1;
    host->base[server] = *version;
}

/* Offers the host's copy to a server. Returns 1 if it was confirmed. */
static int offer(farm_t *farm, host_t *host, unsigned server)
{
    copy_t *held = &farm->servers[server];

    for (unsigned attempt = 0; attempt < 3; attempt++) {
        fs_session_offered_t answer;

        if (!arrives(farm))
            return 0;
        answer = fs_session_offer(held->there ? &held->record.version : NULL,
                                  host->known[server] ? &host->base[server] : NULL,
                                  &host->own.record.version);
        if (answer == FS_SESSION_TAKE) {
            held->there = 1;
            held->record = host->own.record;
        }
        if (!arrives(farm))
            return 0;
        know(host, server, &held->record.version);
        if (answer != FS_SESSION_MERGE)
            return 1;
        take_copy(host, &held->record);
    }
    return 0;
}

/* What servers are known to hold says something of this copy only, and is forgotten with it. */
static void let_go(host_t *host)
{
    host->own.there = 0;
    memset(host->known, 0, sizeof(host->known));
}

/* A request whose session the host doesn't know: a living owner hands over, else the bank has it.
 */
static int fetch(farm_t *farm, host_t *host)
{
    fs_session_writer_t writer = writer_of(host);

    for (unsigned i = 0; i < HOSTS; i++)
        if (farm->hosts[i].own.there && arrives(farm) && arrives(farm)) {
            take_copy(host, &farm->hosts[i].own.record);
            let_go(&farm->hosts[i]);
        }
    for (unsigned i = 0; i < SERVERS; i++)
        if (farm->servers[i].there && arrives(farm) && arrives(farm)) {
            take_copy(host, &farm->servers[i].record);
            know(host, i, &farm->servers[i].record.version);
        }
    if (host->own.there && host->own.record.state == FS_SESSION_LIVE)
        ck_assert_int_eq(fs_session_take_over(&host->own.record, &writer, &result), APR_SUCCESS);
    return host->own.there;
}

static void serve(farm_t *farm, unsigned step)
{
    host_t *host = &farm->hosts[below(&farm->seed, HOSTS)];
    fs_session_writer_t writer = writer_of(host);
    char *key = apr_psprintf(pool, "change%u", step);
    fs_session_change_t one = change(key, "x");
    unsigned copies = 0;

    writer.now = now = NOW + (fs_usec_t)step * SEC;
    if (!host->own.there && !fetch(farm, host))
        return;
    if (host->own.record.state != FS_SESSION_LIVE)
        return;
    if (!below(&farm->seed, 200))
        fs_session_end(&host->own.record, &writer);
    else
        ck_assert_int_eq(fs_session_apply(&host->own.record, &one, 1, &writer, pool, &result),
                         APR_SUCCESS);
    for (unsigned i = 0; i < SERVERS; i++)
        copies += (unsigned)offer(farm, host, i);
    /* What the first server was offered may have been merged since: it counts if both have it. */
    if (copies < SERVERS)
        return;
    if (host->own.record.state == FS_SESSION_ENDED)
        farm->ended = 1;
    else
        farm->confirmed[farm->confirmed_count++] = key;
}

static void lose_a_host(farm_t *farm)
{
    host_t *host = &farm->hosts[below(&farm->seed, HOSTS)];
    uint64_t writer = chance(&farm->seed) | 1;

    memset(host, 0, sizeof(*host));
    host->writer = writer;
}

/* The network is whole again: everybody sends what he has, and takes what is there. */
static void heal(farm_t *farm)
{
    farm->loss = 0;
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < HOSTS; i++)
            for (unsigned j = 0; j < SERVERS; j++)
                if (farm->hosts[i].own.there)
                    ck_assert_int_eq(offer(farm, &farm->hosts[i], j), 1);
}

static void check_farm(farm_t *farm, unsigned run)
{
    fs_session_record_t all = farm->servers[0].record;

    fs_session_merge(&all, &farm->servers[0].record, &farm->servers[1].record, pool);
    if (farm->ended)
        ck_assert_msg(all.state == FS_SESSION_ENDED, "run %u: resurrected", run);
    if (all.state == FS_SESSION_ENDED)
        return;
    for (unsigned i = 0; i < farm->confirmed_count; i++)
        ck_assert_msg(value_of(&all, farm->confirmed[i], pool) != NULL, "run %u: %s is lost", run,
                      farm->confirmed[i]);
}

START_TEST(what_two_servers_confirmed_is_never_lost)
{
    unsigned confirmed = 0;

    for (unsigned run = 0; run < RUNS; run++) {
        farm_t farm = {.seed = run};
        fs_session_writer_t writer;

        now = NOW;
        farm.loss = below(&farm.seed, 60);
        for (unsigned i = 0; i < HOSTS; i++)
            farm.hosts[i].writer = chance(&farm.seed) | 1;
        writer = writer_of(&farm.hosts[0]);
        farm.hosts[0].own.there = farm.servers[0].there = farm.servers[1].there = 1;
        fs_session_begin(&farm.hosts[0].own.record, &writer, NOW + 3600 * SEC, 60 * SEC);
        farm.servers[0].record = farm.servers[1].record = farm.hosts[0].own.record;
        for (unsigned step = 0; step < STEPS; step++) {
            serve(&farm, step);
            if (!below(&farm.seed, 20))
                lose_a_host(&farm);
        }
        heal(&farm);
        check_farm(&farm, run);
        confirmed += farm.confirmed_count;
        apr_pool_clear(pool);
    }
    ck_assert_uint_gt(confirmed, RUNS * STEPS / 10);
}
END_TEST

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

static Suite *session_farm_suite(void)
{
    Suite *suite = suite_create("session farm");
    TCase *farm = tcase_create("farm");

    tcase_add_checked_fixture(farm, setup, teardown);
    tcase_set_timeout(farm, 240);
    tcase_add_test(farm, what_two_servers_confirmed_is_never_lost);
    suite_add_tcase(suite, farm);
    return suite;
}

FS_TEST_MAIN(session_farm_suite)
