/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange on a simulated farm. Scenarios carry the names they have in Tarantool's swim test,
 * in memberlist's and Alertmanager's, or the letter of the list of bugs of such systems; see
 * doc/backplane.md. BACKPLANE_SEEDS=n runs n random courses instead of a few hundred.
 */
#include "fs_test.h"

#include "fs_test_backplane.h"

/* --- random courses -----------------------------------------------------------------------------
 */

static void random_act(sim_t *sim, int *clocks_are_wild)
{
    unsigned i = (unsigned)sim_random(sim, sim->count), k = (unsigned)sim_random(sim, sim->count);
    sim_node_t *node = &sim->nodes[i];
    char key[16], value[16];

    switch (sim_random(sim, 16)) {
    case 0:
        if (node->exchange)
            sim_stop(sim, i);
        break;
    case 1:
    case 2:
    case 3:
        if (!node->exchange)
            sim_start(sim, i);
        break;
    case 4:
        sim->cut[i][k] = (unsigned char)sim_random(sim, 2); /* in one direction */
        break;
    case 5:
        sim_partition(sim, sim_random(sim, 0), (int)sim_random(sim, 2));
        break;
    case 6:
        node->skew = (fs_usec_t)sim_random(sim, 240 * SIM_SEC) - 120 * SIM_SEC;
        break;
    case 7:
        if (*clocks_are_wild)
            node->skew = (fs_usec_t)sim_random(sim, 3) * 3600 * SIM_SEC - 3600 * SIM_SEC;
        break;
    default:
        if (!node->exchange)
            break;
        snprintf(key, sizeof(key), "app%d/1", (int)sim_random(sim, 20));
        snprintf(value, sizeof(value), "%u", (unsigned)sim_random(sim, 100000));
        sim_put(sim, i, key, sim_random(sim, 4) ? value : NULL,
                (fs_priority_t)sim_random(sim, FS_PRIORITIES));
    }
    sim_run(sim, (fs_usec_t)sim_random(sim, 400 * SIM_MS));
}

/* Everything is made good again: how long until all have the same? */
static void random_course(uint64_t seed, unsigned count, unsigned acts)
{
    sim_t *sim = sim_create(count, seed);
    int wild = seed % 4 == 0;
    fs_usec_t took;

    sim->loss = (unsigned)(seed % 3) * 100;
    sim->duplicate = (unsigned)(seed % 5) * 50;
    sim->delay_max = 1 * SIM_MS + (fs_usec_t)sim_random(sim, 300 * SIM_MS);
    for (unsigned i = 0; i < count; i++)
        sim_start(sim, i);
    for (unsigned i = 0; i < acts; i++)
        random_act(sim, &wild);
    memset(sim->cut, 0, sizeof(sim->cut));
    sim->loss = sim->loss > 100 ? 100 : sim->loss;
    for (unsigned i = 0; i < count; i++) {
        if (wild)
            sim->nodes[i].skew = 0;
        if (!sim->nodes[i].exchange)
            sim_start(sim, i);
    }
    took = sim_converge(sim, 90 * SIM_SEC);
    ck_assert_msg(took >= 0, "seed %llu: %u servers don't agree after 90 s",
                  (unsigned long long)seed, count);
    if (!wild)
        ck_assert_msg(fs_map_digest_total(sim->nodes[0].map) == fs_map_digest_total(sim->oracle),
                      "seed %llu: all agree, but not on what was put", (unsigned long long)seed);
    sim_destroy(sim);
}

static unsigned seeds(unsigned few)
{
    const char *many = getenv("BACKPLANE_SEEDS");

    return many ? (unsigned)atoi(many) : few;
}

START_TEST(random_courses_of_small_farms_end_in_one_state)
{
    for (uint64_t seed = 1; seed <= seeds(150); seed++)
        random_course(seed, 3 + seed % 6, 40);
}
END_TEST

START_TEST(random_courses_of_large_farms_end_in_one_state)
{
    for (uint64_t seed = 1; seed <= 1 + seeds(0) / 500; seed++)
        random_course(seed, 30 + seed * 35 % 71, 60);
}
END_TEST

/* --- scenarios: telling -------------------------------------------------------------------------
 */

#define OPERATOR FS_PRIORITY_OPERATOR
#define MONITOR  FS_PRIORITY_MONITOR

/* swim: broadcast; issue: sent directly to every known peer at once. */
START_TEST(change_is_everywhere_after_one_way)
{
    sim_t *sim = sim_farm(8, 1);
    uint64_t place;

    sim_put(sim, 3, "shop/1", "down", OPERATOR);
    place = fs_exchange_place(sim->nodes[3].exchange, OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", SIM_SEC), 3 * SIM_MS);
    sim_run(sim, 3 * SIM_MS);
    for (unsigned i = 0; i < fs_exchange_peer_count(sim->nodes[3].exchange); i++) {
        fs_peer_info_t info;

        if (fs_exchange_peer(sim->nodes[3].exchange, i, sim_moment(sim, 3), &info))
            ck_assert(fs_exchange_has_confirmed(sim->nodes[3].exchange, i, OPERATOR, place));
    }
    sim_put(sim, 5, "shop/1", NULL, OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "", SIM_SEC), 3 * SIM_MS);
    ck_assert(sim_agree(sim));
    sim_destroy(sim);
}
END_TEST

/* swim: dissemination_speed: 100 members, an event storm. */
START_TEST(storm_on_a_hundred_servers_ends_within_a_second)
{
    sim_t *sim = sim_farm(100, 2);
    char key[16];
    fs_usec_t took;

    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "app%u/1", i);
        sim_put(sim, i, key, "down", i % 2 ? MONITOR : OPERATOR);
    }
    took = sim_converge(sim, 5 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, SIM_SEC);
    sim_destroy(sim);
}
END_TEST

/* J: the author can't reach one of them; who was told tells it at once. F and swim: one_link. */
START_TEST(who_can_not_be_reached_hears_it_from_others_at_once)
{
    sim_t *sim = sim_farm(6, 3);
    fs_usec_t took;

    sim_cut(sim, 0, 5, 1);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    took = sim_everywhere(sim, "shop/1", "down", 10 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, 1100 * SIM_MS);     /* once the request has timed out */
    sim_put(sim, 0, "shop/1", NULL, OPERATOR); /* it is known by now that 5 isn't reached */
    took = sim_everywhere(sim, "shop/1", "", 10 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, 20 * SIM_MS);
    sim_destroy(sim);
}
END_TEST

/* J: a chain, each reaches its neighbours only; then it is broken in the middle and mended. */
START_TEST(chain_passes_it_on_and_a_broken_one_catches_up)
{
    sim_t *sim = sim_farm(6, 4);

    for (unsigned a = 0; a < 6; a++)
        for (unsigned b = 0; b < 6; b++)
            sim->cut[a][b] = a + 1 != b && b + 1 != a;
    sim_run(sim, 5 * SIM_SEC);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", 10 * SIM_SEC), 100 * SIM_MS);
    ck_assert_str_eq(sim_get(sim, 5, "shop/1"), "down");
    sim_cut(sim, 2, 3, 1);
    sim_put(sim, 0, "shop/2", "left", OPERATOR);
    sim_put(sim, 5, "shop/3", "right", OPERATOR);
    sim_run(sim, 30 * SIM_SEC);
    ck_assert_str_eq(sim_get(sim, 2, "shop/2"), "left");
    ck_assert_str_eq(sim_get(sim, 3, "shop/2"), "");
    sim_cut(sim, 2, 3, 0);
    ck_assert_int_ge(sim_converge(sim, 15 * SIM_SEC), 0);
    ck_assert_str_eq(sim_get(sim, 5, "shop/2"), "left");
    ck_assert_str_eq(sim_get(sim, 0, "shop/3"), "right");
    sim_destroy(sim);
}
END_TEST

/* F: what 0 says to 1 is lost, what 1 says to 0 arrives. Both directions. */
START_TEST(link_that_loses_one_direction_keeps_nothing_from_anybody)
{
    sim_t *sim = sim_farm(4, 5);

    sim->cut[0][1] = 1;
    sim_run(sim, 20 * SIM_SEC);
    sim_put(sim, 0, "shop/1", "by 0", OPERATOR);
    sim_put(sim, 1, "shop/2", "by 1", OPERATOR);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "by 0", 5 * SIM_SEC), 0);
    ck_assert_int_ge(sim_everywhere(sim, "shop/2", "by 1", 5 * SIM_SEC), 0);
    ck_assert(sim_agree(sim));
    sim_destroy(sim);
}
END_TEST

/* swim: packet_loss, slow_net. */
START_TEST(lossy_and_slow_networks_only_take_longer)
{
    static const unsigned losses[] = {50, 100, 200, 500};
    sim_t *sim = sim_farm(5, 6 + (uint64_t)_i);

    sim->loss = losses[_i];
    sim->delay_max = _i % 2 ? 400 * SIM_MS : 2 * SIM_MS;
    sim_put(sim, 1, "shop/1", "down", OPERATOR);
    sim_put(sim, 2, "shop/2", "down", MONITOR);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "down", 30 * SIM_SEC), 0);
    ck_assert_int_ge(sim_everywhere(sim, "shop/2", "down", 30 * SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* swim: payload_basic (what was missed comes by comparison only), too_big_packet. */
START_TEST(state_of_many_messages_arrives_by_comparison_alone)
{
    sim_t *sim = sim_create(2, 7);
    char key[32], value[1000];

    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    sim_start(sim, 0);
    for (unsigned i = 0; i < 2000; i++) { /* before the other one was ever heard of */
        snprintf(key, sizeof(key), "app%u/1", i);
        sim_put(sim, 0, key, value, OPERATOR);
    }
    sim_run(sim, 10 * SIM_SEC);
    sim_start(sim, 1);
    ck_assert_int_ge(sim_converge(sim, 20 * SIM_SEC), 0);
    ck_assert_uint_eq(fs_map_count(sim->nodes[1].map), 2000);
    sim_destroy(sim);
}
END_TEST

/* P: a flood of monitors' records is under way; an operator's record overtakes it, and no queue
 * grows. */
static int slow_link(sim_t *sim, unsigned from, unsigned to, uint8_t *bytes, size_t *length)
{
    /* A megabyte a second: a full message takes 64 ms. */
    sim->delay_min = sim->delay_max = (fs_usec_t)*length;
    return 1;
}

START_TEST(operator_overtakes_a_flood_of_monitors)
{
    sim_t *sim = sim_farm(4, 8);
    char key[32], value[128];
    unsigned refused = 0;
    size_t bytes;

    memset(value, 'm', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    sim->tap = slow_link;
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(key, sizeof(key), "app%u/monitor", i);
        refused += sim_put(sim, 0, key, value, MONITOR) != 0;
    }
    bytes = fs_map_bytes(sim->nodes[0].map);
    ck_assert_uint_le(bytes, FS_STATE_LIMIT / 2);
    ck_assert_uint_gt(refused, 0);
    sim_run(sim, 5 * SIM_MS); /* full messages are under way, each for 64 ms */
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "down", 10 * SIM_MS), 0);
    ck_assert_uint_lt(fs_map_count(sim->nodes[1].map), fs_map_count(sim->nodes[0].map));
    ck_assert_int_ge(sim_converge(sim, 600 * SIM_SEC), 0); /* and the flood arrives, too */
    sim_destroy(sim);
}
END_TEST

/* One key that changes all the time is one record, sent as it is when its turn comes. */
START_TEST(flood_on_one_key_is_one_record)
{
    sim_t *sim = sim_farm(3, 9);
    char value[16];

    sim_cut(sim, 0, 1, 1);
    for (unsigned i = 0; i <= 5000; i++) {
        snprintf(value, sizeof(value), "%u", i);
        sim_put(sim, 0, "shop/monitor", value, MONITOR);
        ck_assert_uint_le(sim_peer(sim, 0, 1).waiting, 1);
        if (i % 100 == 0)
            sim_run(sim, SIM_MS);
    }
    sim_cut(sim, 0, 1, 0);
    ck_assert_int_ge(sim_everywhere(sim, "shop/monitor", "5000", 10 * SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* --- scenarios: lives ---------------------------------------------------------------------------
 */

/* swim: basic_failure_detection, quit; Alertmanager: Reconnect. */
START_TEST(silent_server_is_suspected_then_dead_and_alive_when_it_is_back)
{
    sim_t *sim = sim_farm(4, 10);

    ck_assert_int_eq(sim_peer(sim, 0, 3).state, FS_PEER_ALIVE);
    sim_stop(sim, 3);
    sim_run(sim, 2 * SIM_SEC);
    ck_assert_int_eq(sim_peer(sim, 0, 3).state, FS_PEER_ALIVE);
    sim_run(sim, 3 * SIM_SEC);
    ck_assert_int_eq(sim_peer(sim, 0, 3).state, FS_PEER_SUSPECT);
    sim_run(sim, 6 * SIM_SEC);
    ck_assert_int_eq(sim_peer(sim, 0, 3).state, FS_PEER_DEAD);
    ck_assert_int_eq(sim_peer(sim, 0, 1).state, FS_PEER_ALIVE);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_start(sim, 3);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", 10 * SIM_SEC), 20 * SIM_MS);
    sim_run(sim, SIM_SEC);
    ck_assert_int_eq(sim_peer(sim, 0, 3).state, FS_PEER_ALIVE);
    ck_assert_int_eq(sim_info(sim, 3).state, FS_EXCHANGE_READY);
    sim_destroy(sim);
}
END_TEST

/* A process that was stopped for a while (a pause of the machine) doesn't accuse the others, as
 * Eureka's EvictionTaskCompensationTime. */
START_TEST(paused_server_does_not_accuse_the_others)
{
    sim_t *sim = sim_farm(4, 11);

    sim->nodes[2].paused = 1;
    sim_run(sim, 8 * SIM_SEC);
    ck_assert_int_eq(sim_peer(sim, 0, 2).state, FS_PEER_SUSPECT);
    sim->nodes[2].paused = 0;
    sim_drive(sim, 2);
    ck_assert_int_eq(sim_peer(sim, 2, 0).state, FS_PEER_ALIVE);
    sim_run(sim, 2 * SIM_SEC);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 4; k++)
            if (i != k)
                ck_assert_int_eq(sim_peer(sim, i, k).state, FS_PEER_ALIVE);
    sim_destroy(sim);
}
END_TEST

/* swim: generation; refute. Its disk is lost and its clock is behind: the others know a later life.
 */
START_TEST(restarted_server_is_not_taken_for_its_ghost)
{
    sim_t *sim = sim_farm(3, 12);
    uint64_t before = sim_info(sim, 1).generation;

    sim_kill(sim, 1);
    sim_wipe(sim, 1);
    sim->nodes[1].skew = -100 * SIM_SEC;
    sim_start(sim, 1);
    ck_assert_uint_lt(sim_info(sim, 1).generation, before);
    sim_run(sim, 3 * SIM_SEC);
    ck_assert_uint_gt(sim_info(sim, 1).generation, before);
    ck_assert_int_eq(sim_peer(sim, 0, 1).state, FS_PEER_ALIVE);
    sim_put(sim, 1, "shop/1", "down", OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", SIM_SEC), 5 * SIM_MS);
    sim_destroy(sim);
}
END_TEST

/* memberlist: DeadNode_AliveReplay, and the replay of whatever was heard on the wire. */
typedef struct recorder_t {
    unsigned count;
    struct {
        unsigned from, to;
        uint8_t *bytes;
        size_t length;
    } heard[4096];
} recorder_t;

static int record_all(sim_t *sim, unsigned from, unsigned to, uint8_t *bytes, size_t *length)
{
    recorder_t *recorder = sim->tap_baton;
    unsigned i = recorder->count;

    if (i == 4096)
        return 1;
    recorder->heard[i].from = from;
    recorder->heard[i].to = to;
    recorder->heard[i].bytes = malloc(*length);
    memcpy(recorder->heard[i].bytes, bytes, *length);
    recorder->heard[i].length = *length;
    recorder->count++;
    return 1;
}

START_TEST(what_was_heard_on_the_wire_is_refused_when_it_comes_again)
{
    static uint8_t out[FS_MESSAGE_LIMIT];
    recorder_t *recorder = calloc(1, sizeof(*recorder));
    sim_t *sim = sim_farm(3, 13);
    uint64_t digest;

    sim->tap = record_all;
    sim->tap_baton = recorder;
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_run(sim, 2 * SIM_SEC);
    sim_put(sim, 0, "shop/1", NULL, OPERATOR);
    sim_run(sim, 2 * SIM_SEC);
    sim->tap = NULL;
    sim_stop(sim, 2); /* of an earlier life, too; and of who is dead */
    sim_run(sim, 12 * SIM_SEC);
    digest = fs_map_digest_total(sim->nodes[1].map);
    ck_assert_uint_gt(recorder->count, 10);
    for (unsigned i = 0; i < recorder->count; i++) {
        uint64_t before = sim_info(sim, 1).refused[FS_REFUSED_REPLAYED];
        fs_refused_t cause;

        if (recorder->heard[i].to != 1)
            continue;
        ck_assert_uint_eq(fs_exchange_serve(sim->nodes[1].exchange, sim_moment(sim, 1),
                                            sim->nodes[recorder->heard[i].from].name,
                                            recorder->heard[i].bytes, recorder->heard[i].length,
                                            out, &cause),
                          0);
        ck_assert_int_eq(cause, FS_REFUSED_REPLAYED);
        ck_assert_uint_eq(sim_info(sim, 1).refused[FS_REFUSED_REPLAYED], before + 1);
    }
    ck_assert_uint_eq(fs_map_digest_total(sim->nodes[1].map), digest);
    ck_assert_int_eq(sim_peer(sim, 1, 2).state, FS_PEER_DEAD);
    sim_stop(sim, 1); /* a restart forgets nothing of it */
    sim_start(sim, 1);
    for (unsigned i = 0; i < recorder->count; i++) {
        fs_refused_t cause;

        if (recorder->heard[i].to == 1)
            ck_assert_uint_eq(fs_exchange_serve(sim->nodes[1].exchange, sim_moment(sim, 1),
                                                sim->nodes[recorder->heard[i].from].name,
                                                recorder->heard[i].bytes, recorder->heard[i].length,
                                                out, &cause),
                              0);
        free(recorder->heard[i].bytes);
    }
    free(recorder);
    sim_destroy(sim);
}
END_TEST

/* C: the reference server itself is behind, and says so. */
START_TEST(start_does_not_end_with_who_is_not_up_to_date_either)
{
    sim_t *sim = sim_farm(4, 14);

    sim_stop(sim, 1);
    sim_stop(sim, 2);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_run(sim, 12 * SIM_SEC);
    sim_cut(sim, 0, 1, 1); /* 1 and 2 find each other, and 3; 2 finds 1 only */
    sim_cut(sim, 0, 2, 1);
    sim_cut(sim, 3, 2, 1);
    sim_start(sim, 2);
    sim_cut(sim, 1, 3, 1);
    sim_start(sim, 1);
    sim_run(sim, 500 * SIM_MS);
    ck_assert_int_eq(sim_info(sim, 1).state, FS_EXCHANGE_SYNCING);
    ck_assert_int_eq(sim_info(sim, 2).state, FS_EXCHANGE_SYNCING);
    ck_assert(sim_peer(sim, 2, 1).partial);
    sim_cut(sim, 1, 3, 0);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "down", 10 * SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* The starter was alone with something new: those that it asked before it heard it are told. */
START_TEST(starter_tells_those_who_missed_something)
{
    sim_t *sim = sim_farm(5, 15);
    fs_usec_t took;

    sim_partition(sim, 1, 1);
    sim_put(sim, 0, "shop/1", "by 0", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_stop(sim, 0); /* pending: it had told nobody */
    sim_partition(sim, 1, 0);
    sim_put(sim, 4, "shop/2", "by 4", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_start(sim, 0);
    took = sim_everywhere(sim, "shop/1", "by 0", 10 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, 50 * SIM_MS);
    ck_assert_str_eq(sim_get(sim, 0, "shop/2"), "by 4");
    ck_assert_int_ge(sim_converge(sim, SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* E: all at once, with what they had on disk, also those that had missed something. */
START_TEST(mass_restart_ends_with_everything_that_any_of_them_had)
{
    sim_t *sim = sim_farm(8, 16);
    fs_usec_t took;

    sim_partition(sim, 0x0f, 1);
    sim_put(sim, 0, "shop/1", "left", OPERATOR);
    sim_put(sim, 7, "shop/2", "right", OPERATOR);
    sim_run(sim, SIM_SEC);
    for (unsigned i = 0; i < 8; i++)
        sim_stop(sim, i);
    sim_partition(sim, 0x0f, 0);
    for (unsigned i = 0; i < 8; i++)
        sim_start(sim, i);
    took = sim_converge(sim, 10 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, SIM_SEC);
    ck_assert_str_eq(sim_get(sim, 3, "shop/2"), "right");
    ck_assert_str_eq(sim_get(sim, 4, "shop/1"), "left");
    sim_run(sim, 2 * SIM_SEC);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(sim_info(sim, i).state, FS_EXCHANGE_READY);
    sim_destroy(sim);
}
END_TEST

/* G: restarts, quick and many, of all of them. HAProxy #1216. */
START_TEST(hundred_restarts_lose_nothing)
{
    sim_t *sim = sim_farm(4, 17);
    char key[16];

    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "app%u/1", i);
        sim_put(sim, i % 4, key, "down", OPERATOR);
        sim_stop(sim, i % 4);
        sim_run(sim, 20 * SIM_MS);
        sim_start(sim, i % 4);
        sim_run(sim, 180 * SIM_MS);
    }
    ck_assert_int_ge(sim_converge(sim, 10 * SIM_SEC), 0);
    ck_assert_uint_eq(fs_map_digest_total(sim->nodes[0].map), fs_map_digest_total(sim->oracle));
    ck_assert_uint_eq(fs_map_count(sim->nodes[0].map), 100);
    sim_destroy(sim);
}
END_TEST

/* I: 40 become 3 (HAProxy #842): what they had stays, and those that are gone cost little. */
START_TEST(farm_that_shrinks_keeps_its_state_and_forgets_its_dead)
{
    sim_t *sim = sim_create(40, 18);
    uint64_t before;

    sim->seeds = 3;
    sim->set.forget = 60 * SIM_SEC;
    for (unsigned i = 0; i < 40; i++)
        sim_start(sim, i);
    for (unsigned i = 0; i < 40; i++) {
        sim_node_t *node = &sim->nodes[i];
        fs_result_t result;

        fs_exchange_put(node->exchange, sim_moment(sim, i), "member", node->name, "{}", 2,
                        FS_PRIORITY_MEMBER, 0, &result);
        sim_drive(sim, i);
    }
    sim_run(sim, 10 * SIM_SEC);
    ck_assert(sim_agree(sim));
    ck_assert_uint_eq(fs_exchange_peer_count(sim->nodes[1].exchange) >= 39, 1);
    sim_put(sim, 39, "shop/1", "down", OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", 10 * SIM_SEC), 100 * SIM_MS);
    for (unsigned i = 3; i < 40; i++)
        sim_kill(sim, i);
    sim->seeds = 0; /* members' records aren't read any more */
    sim_run(sim, 70 * SIM_SEC);
    ck_assert_uint_eq(fs_exchange_peer_count(sim->nodes[1].exchange), 2);
    before = sim->messages;
    sim_run(sim, 10 * SIM_SEC);
    ck_assert_uint_lt(sim->messages - before, 3 * 2 * 2 * 12);
    ck_assert_str_eq(sim_get(sim, 1, "shop/1"), "down");
    sim_destroy(sim);
}
END_TEST

/* --- scenarios: partitions and clocks -----------------------------------------------------------
 */

/* Q: both sides are acted on; the later act wins everywhere, and nothing else is lost. */
START_TEST(partition_heals_to_the_later_of_both_sides)
{
    sim_t *sim = sim_farm(8, 19);
    fs_usec_t took;

    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_partition(sim, 0x07, 1);
    sim_run(sim, 15 * SIM_SEC);
    sim_put(sim, 1, "shop/1", NULL, OPERATOR);
    sim_put(sim, 1, "shop/2", "left", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_put(sim, 6, "shop/1", "still down", OPERATOR);
    sim_put(sim, 6, "shop/3", "right", OPERATOR);
    sim_run(sim, 60 * SIM_SEC);
    ck_assert_str_eq(sim_get(sim, 2, "shop/1"), "");
    ck_assert_str_eq(sim_get(sim, 3, "shop/1"), "still down");
    sim_partition(sim, 0x07, 0);
    took = sim_converge(sim, 20 * SIM_SEC);
    ck_assert_int_ge(took, 0);
    ck_assert_int_le(took, 7 * SIM_SEC);
    ck_assert_str_eq(sim_get(sim, 0, "shop/1"), "still down");
    ck_assert_str_eq(sim_get(sim, 0, "shop/3"), "right");
    ck_assert_str_eq(sim_get(sim, 7, "shop/2"), "left");
    ck_assert_uint_eq(fs_map_digest_total(sim->nodes[0].map), fs_map_digest_total(sim->oracle));
    sim_destroy(sim);
}
END_TEST

/* B and S: a clock an hour ahead. It is refused and counted, nothing of it counts for the others,
 * and when the clock is set right, what was done meanwhile arrives. */
START_TEST(clock_that_is_an_hour_off_is_refused_until_it_is_right)
{
    sim_t *sim = sim_farm(4, 20);
    int ahead = _i == 0;

    sim->nodes[1].skew = ahead ? 3600 * SIM_SEC : -3600 * SIM_SEC;
    sim_put(sim, 1, "shop/1", "by 1", OPERATOR);
    sim_put(sim, 0, "shop/2", "by 0", OPERATOR);
    sim_run(sim, 20 * SIM_SEC);
    ck_assert_str_eq(sim_get(sim, 0, "shop/1"), "");
    ck_assert_uint_gt(sim_info(sim, 0).refused[ahead ? FS_REFUSED_FUTURE : FS_REFUSED_PAST], 0);
    ck_assert_ptr_nonnull(strstr(sim_peer(sim, 1, 0).problem, ahead ? "ahead" : "behind"));
    sim->nodes[1].skew = 0;
    sim_drive(sim, 1);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "by 1", 15 * SIM_SEC), 0);
    ck_assert_int_ge(sim_everywhere(sim, "shop/2", "by 0", 15 * SIM_SEC), 0);
    sim_put(sim, 2, "shop/1", "later", OPERATOR);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "later", SIM_SEC), 0);
    ck_assert_int_ge(sim_converge(sim, 10 * SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* S: all clocks are set back by an hour at once, as after a wrong time server. */
START_TEST(farm_whose_clocks_are_all_set_back_goes_on)
{
    sim_t *sim = sim_farm(4, 21);

    for (unsigned i = 0; i < 4; i++)
        sim->nodes[i].skew = 3600 * SIM_SEC;
    sim_put(sim, 1, "shop/1", "down", OPERATOR);
    sim_run(sim, 2 * SIM_SEC);
    for (unsigned i = 0; i < 4; i++)
        sim->nodes[i].skew = 0;
    sim_run(sim, 2 * SIM_SEC);
    sim_put(sim, 2, "shop/1", NULL, OPERATOR);
    ck_assert_int_ge(sim_everywhere(sim, "shop/1", "", 10 * SIM_SEC), 0);
    ck_assert_int_ge(sim_converge(sim, 20 * SIM_SEC), 0);
    sim_destroy(sim);
}
END_TEST

/* D: back after longer than tombstones live: it starts from the others. */
START_TEST(zombie_brings_nothing_to_life_again)
{
    sim_t *sim = sim_create(3, 22);

    sim->outage = 60 * SIM_SEC;
    for (unsigned i = 0; i < 3; i++)
        sim_start(sim, i);
    sim_run(sim, 2 * SIM_SEC);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_put(sim, 0, "shop/2", "down", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_stop(sim, 2);
    sim_put(sim, 0, "shop/1", NULL, OPERATOR);
    sim_run(sim, 3700 * SIM_SEC); /* its tombstone has gone */
    ck_assert_uint_eq(fs_map_count(sim->nodes[0].map), 1);
    sim_partition(sim, 4, 1);
    sim_start(sim, 2);
    sim_run(sim, 10 * SIM_SEC); /* nobody answers: it serves what it has */
    ck_assert_str_eq(sim_get(sim, 2, "shop/1"), "down");
    ck_assert_uint_eq(sim_info(sim, 2).held, 2);
    sim_partition(sim, 4, 0);
    ck_assert_int_ge(sim_converge(sim, 20 * SIM_SEC), 0);
    ck_assert_str_eq(sim_get(sim, 0, "shop/1"), "");
    ck_assert_str_eq(sim_get(sim, 2, "shop/1"), "");
    ck_assert_str_eq(sim_get(sim, 2, "shop/2"), "down");
    sim_destroy(sim);
}
END_TEST

/* D and E: the whole farm was away for so long. Nobody can know better, so all that they had holds.
 */
START_TEST(whole_farm_that_was_away_keeps_what_it_had)
{
    sim_t *sim = sim_create(4, 23);

    sim->outage = 60 * SIM_SEC;
    for (unsigned i = 0; i < 4; i++)
        sim_start(sim, i);
    sim_run(sim, 2 * SIM_SEC);
    sim_put(sim, 0, "shop/1", "down", OPERATOR);
    sim_run(sim, SIM_SEC);
    sim_partition(sim, 1, 1);
    sim_put(sim, 0, "shop/2", "only here", OPERATOR);
    for (unsigned i = 0; i < 4; i++)
        sim_stop(sim, i);
    sim_partition(sim, 1, 0);
    sim_run(sim, 10000 * SIM_SEC);
    for (unsigned i = 0; i < 4; i++) {
        sim_start(sim, i);
        sim_run(sim, SIM_SEC / 2);
    }
    ck_assert_int_ge(sim_converge(sim, 30 * SIM_SEC), 0);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_str_eq(sim_get(sim, i, "shop/1"), "down");
        ck_assert_str_eq(sim_get(sim, i, "shop/2"), "only here");
    }
    sim_destroy(sim);
}
END_TEST

/* Alertmanager: ClusterVSInstance: the same acts, one server or many: the same outcome. */
START_TEST(farm_and_lone_server_end_with_the_same)
{
    sim_t *farm = sim_farm(5, 24), *lone = sim_create(1, 24);
    char key[16], value[16];

    sim_start(lone, 0);
    sim_run(lone, 10 * SIM_SEC);
    ck_assert_int_eq(sim_info(lone, 0).state, FS_EXCHANGE_ALONE);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "app%u/1", i * 7 % 20);
        snprintf(value, sizeof(value), "%u", i);
        sim_put(farm, i % 5, key, i % 3 ? value : NULL, OPERATOR);
        sim_put(lone, 0, key, i % 3 ? value : NULL, OPERATOR);
        sim_run(farm, 10 * SIM_MS);
        sim_run(lone, 10 * SIM_MS);
    }
    for (unsigned i = 0; i < 20; i++) {
        char expected[FS_RECORD_VALUE_LIMIT + 1];

        snprintf(key, sizeof(key), "app%u/1", i);
        snprintf(expected, sizeof(expected), "%s", sim_get(lone, 0, key));
        ck_assert_str_eq(sim_get(farm, i % 5, key), expected);
    }
    sim_destroy(farm);
    sim_destroy(lone);
}
END_TEST

/* Alertmanager: DuplicatePeerNames. */
START_TEST(two_servers_of_one_name_are_noticed)
{
    sim_t *sim = sim_create(3, 25);
    unsigned noticed = 0;

    strcpy(sim->nodes[2].name, "web1");
    for (unsigned i = 0; i < 3; i++) {
        sim_start(sim, i);
        sim_run(sim, SIM_MS);
    }
    sim_run(sim, 10 * SIM_SEC);
    for (unsigned i = 1; i < 3; i++)
        noticed += sim_info(sim, i).others_with_name;
    ck_assert_uint_gt(noticed, 0);
    sim_destroy(sim);
}
END_TEST

/* swim: uri_update; Alertmanager: InitiallyFailingPeers. Nobody knows more than two, and addresses
 * change. */
START_TEST(addresses_are_learned_and_followed)
{
    sim_t *sim = sim_create(6, 26);

    sim->seeds = 2;
    for (unsigned i = 2; i < 6; i++)
        sim_start(sim, i); /* none of those that they know is there yet */
    sim_run(sim, 20 * SIM_SEC);
    for (unsigned i = 0; i < 2; i++)
        sim_start(sim, i);
    for (unsigned i = 0; i < 6; i++) {
        fs_result_t result;

        fs_exchange_put(sim->nodes[i].exchange, sim_moment(sim, i), "member", sim->nodes[i].name,
                        "{}", 2, FS_PRIORITY_MEMBER, 0, &result);
    }
    sim_run(sim, 15 * SIM_SEC);
    ck_assert(sim_agree(sim));
    for (unsigned i = 0; i < 6; i++)
        for (unsigned k = 0; k < 6; k++)
            if (i != k)
                ck_assert_int_eq(sim_peer(sim, i, k).state, FS_PEER_ALIVE);
    sim_stop(sim, 5);
    strcpy(sim->nodes[5].url, "http://10.0.1.99:4480");
    sim_start(sim, 5);
    sim_run(sim, 5 * SIM_SEC);
    ck_assert_str_eq(sim_peer(sim, 4, 5).url, "http://10.0.1.99:4480");
    sim_put(sim, 4, "shop/1", "down", OPERATOR);
    ck_assert_int_le(sim_everywhere(sim, "shop/1", "down", SIM_SEC), 10 * SIM_MS);
    sim_destroy(sim);
}
END_TEST

/* A farm that is at rest says little: one exchange a second and pair. */
START_TEST(farm_at_rest_says_little)
{
    sim_t *sim = sim_farm(10, 27);
    uint64_t before = sim->messages;

    sim_run(sim, 20 * SIM_SEC);
    ck_assert_uint_le(sim->messages - before, 10 * 9 / 2 * 2 * 22);
    ck_assert_uint_ge(sim->messages - before, 10 * 9 / 2 * 2 * 15);
    sim_destroy(sim);
}
END_TEST

/* --- T: what isn't a message --------------------------------------------------------------------
 */

static int damage_some(sim_t *sim, unsigned from, unsigned to, uint8_t *bytes, size_t *length)
{
    if (sim_chance(sim, 300))
        bytes[sim_random(sim, *length)] ^= (uint8_t)(1 + sim_random(sim, 255));
    if (sim_chance(sim, 100))
        *length = (size_t)sim_random(sim, *length);
    return 1;
}

/* Signatures refuse all of this before; the decoders and the exchange stand it all the same. */
START_TEST(damaged_messages_are_refused_and_counted)
{
    sim_t *sim = sim_farm(4, 28);
    char key[16];
    uint64_t refused = 0;

    sim->tap = damage_some;
    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "app%u/1", i % 30);
        sim_put(sim, i % 4, key, "down", (fs_priority_t)(i % 3));
        sim_run(sim, 50 * SIM_MS);
    }
    for (unsigned i = 0; i < 4; i++)
        for (unsigned c = 0; c < FS_REFUSED_CAUSES; c++)
            refused += sim_info(sim, i).refused[c];
    ck_assert_uint_gt(refused, 100);
    sim->tap = NULL;
    for (unsigned i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(sim->nodes[i].exchange);
    sim_destroy(sim);
}
END_TEST

START_TEST(each_refusal_is_counted_by_its_cause)
{
    static uint8_t out[FS_MESSAGE_LIMIT + 1];
    sim_t *sim = sim_farm(2, 29);
    fs_exchange_t *exchange = sim->nodes[0].exchange;
    fs_moment_t now = sim_moment(sim, 0);
    fs_refused_t cause;
    fs_exchange_info_t before = sim_info(sim, 0), info;
    fs_request_t *request = &sim_request;

    ck_assert_uint_eq(fs_exchange_serve(exchange, now, "web1", "FSB1", 4, out, &cause), 0);
    ck_assert_int_eq(cause, FS_REFUSED_MALFORMED);
    ck_assert_uint_eq(fs_exchange_serve(exchange, now, "web1", out, sizeof(out), out, &cause), 0);
    ck_assert_int_eq(cause, FS_REFUSED_OVERSIZED);
    now.mono += SIM_SEC;
    sim->nodes[1].skew = 0;
    ck_assert(fs_exchange_next(sim->nodes[1].exchange,
                               (fs_moment_t){sim->now + 2 * SIM_SEC, SIM_EPOCH + sim->now},
                               request));
    ck_assert_uint_eq(
        fs_exchange_serve(exchange, now, "web7", request->bytes, request->length, out, &cause),
        0); /* signed by somebody else than it says */
    ck_assert_int_eq(cause, FS_REFUSED_FOREIGN);
    ck_assert_uint_gt(
        fs_exchange_serve(exchange, now, "web1", request->bytes, request->length, out, &cause), 0);
    ck_assert_int_eq(cause, FS_REFUSED_CAUSES);
    fs_exchange_refused(exchange, FS_REFUSED_RETIRED, "");
    info = sim_info(sim, 0);
    for (unsigned c = 0; c < FS_REFUSED_CAUSES; c++)
        ck_assert_uint_eq(info.refused[c] - before.refused[c],
                          c == FS_REFUSED_MALFORMED || c == FS_REFUSED_OVERSIZED ||
                              c == FS_REFUSED_FOREIGN || c == FS_REFUSED_RETIRED);
    sim_destroy(sim);
}
END_TEST

START_TEST(one_peer_can_not_flood_another_with_messages)
{
    static uint8_t out[FS_MESSAGE_LIMIT];
    sim_t *sim = sim_create(2, 30);
    unsigned taken = 0;

    sim->set.rate = 100;
    sim_start(sim, 0);
    sim_start(sim, 1);
    sim_run(sim, 3 * SIM_SEC);
    for (unsigned i = 0; i < 1000; i++) {
        fs_moment_t then = {sim->now + (fs_usec_t)i * 2 * SIM_SEC, SIM_EPOCH + sim->now};
        fs_refused_t cause;

        if (!fs_exchange_next(sim->nodes[1].exchange, then, &sim_request))
            continue;
        fs_exchange_serve(sim->nodes[0].exchange, sim_moment(sim, 0), "web1", sim_request.bytes,
                          sim_request.length, out, &cause);
        taken += cause == FS_REFUSED_CAUSES;
        fs_exchange_failed(sim->nodes[1].exchange, then, sim_request.id, "");
    }
    ck_assert_uint_gt(taken, 100);
    ck_assert_uint_le(taken, 201);
    sim_destroy(sim);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("backplane farm");
    TCase *t = tcase_create("telling");

    tcase_set_timeout(t, 0);
    tcase_add_test(t, change_is_everywhere_after_one_way);
    tcase_add_test(t, storm_on_a_hundred_servers_ends_within_a_second);
    tcase_add_test(t, who_can_not_be_reached_hears_it_from_others_at_once);
    tcase_add_test(t, chain_passes_it_on_and_a_broken_one_catches_up);
    tcase_add_test(t, link_that_loses_one_direction_keeps_nothing_from_anybody);
    tcase_add_loop_test(t, lossy_and_slow_networks_only_take_longer, 0, 4);
    tcase_add_test(t, state_of_many_messages_arrives_by_comparison_alone);
    tcase_add_test(t, operator_overtakes_a_flood_of_monitors);
    tcase_add_test(t, flood_on_one_key_is_one_record);
    tcase_add_test(t, farm_at_rest_says_little);
    suite_add_tcase(s, t);
    t = tcase_create("lives");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, silent_server_is_suspected_then_dead_and_alive_when_it_is_back);
    tcase_add_test(t, paused_server_does_not_accuse_the_others);
    tcase_add_test(t, restarted_server_is_not_taken_for_its_ghost);
    tcase_add_test(t, what_was_heard_on_the_wire_is_refused_when_it_comes_again);
    tcase_add_test(t, start_does_not_end_with_who_is_not_up_to_date_either);
    tcase_add_test(t, starter_tells_those_who_missed_something);
    tcase_add_test(t, mass_restart_ends_with_everything_that_any_of_them_had);
    tcase_add_test(t, hundred_restarts_lose_nothing);
    tcase_add_test(t, farm_that_shrinks_keeps_its_state_and_forgets_its_dead);
    tcase_add_test(t, two_servers_of_one_name_are_noticed);
    tcase_add_test(t, addresses_are_learned_and_followed);
    suite_add_tcase(s, t);
    t = tcase_create("partitions and clocks");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, partition_heals_to_the_later_of_both_sides);
    tcase_add_loop_test(t, clock_that_is_an_hour_off_is_refused_until_it_is_right, 0, 2);
    tcase_add_test(t, farm_whose_clocks_are_all_set_back_goes_on);
    tcase_add_test(t, zombie_brings_nothing_to_life_again);
    tcase_add_test(t, whole_farm_that_was_away_keeps_what_it_had);
    tcase_add_test(t, farm_and_lone_server_end_with_the_same);
    suite_add_tcase(s, t);
    t = tcase_create("what is no message");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, damaged_messages_are_refused_and_counted);
    tcase_add_test(t, each_refusal_is_counted_by_its_cause);
    tcase_add_test(t, one_peer_can_not_flood_another_with_messages);
    suite_add_tcase(s, t);
    t = tcase_create("random");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, random_courses_of_small_farms_end_in_one_state);
    tcase_add_test(t, random_courses_of_large_farms_end_in_one_state);
    suite_add_tcase(s, t);
    return s;
}

FS_TEST_MAIN(suite)
