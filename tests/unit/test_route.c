/* SPDX-License-Identifier: Apache-2.0 */
/* Who is home to whom, alone and in a simulated farm. */
#include <math.h>

#include "datasrv/sim_farm.h"
#include "fs_test.h"
#include "route/fs_route.h"

static const fs_route_settings_t usual = {.slack = 1.05, .busy = 0.8, .bounces = 1};
static const uint32_t mixed[] = {2000, 2000, 2000, 2000, 4000, 4000, 4000, 8000, 8000, 16000};

static fs_route_server_t servers[4];
static fs_route_table_t table = {servers, 4, 0, 0};

/* Four servers of capacity 1000 with 100 visitors each. */
static void setup(void)
{
    for (unsigned i = 0; i < 4; i++)
        servers[i] = (fs_route_server_t){
            .capacity = 1000, .primaries = 100, .state = FS_ROUTE_ALIVE, .ramp = 1};
    table.coming = 0;
}

START_TEST(stays_where_it_arrived)
{
    fs_route_choice_t choice = fs_route_assign(&table, &usual, 0, 7);

    ck_assert_int_eq(choice.act, FS_ROUTE_SERVE);
    ck_assert_int_eq(choice.moved, 1);
    ck_assert_uint_eq(servers[0].primaries, 101);
}
END_TEST

START_TEST(bounces_to_the_lowest)
{
    fs_route_choice_t choice;

    servers[0].primaries = 200;
    servers[2].primaries = 90;
    choice = fs_route_assign(&table, &usual, 0, 7);
    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_eq(choice.server, 2);
    ck_assert_uint_eq(servers[2].sent, 1);
    /* The one with the last bounce keeps it, whatever it has. */
    ck_assert_int_eq(fs_route_assign(&table, &usual, 1, 7).act, FS_ROUTE_SERVE);
}
END_TEST

/* Between two status messages the bounces go to all who are low, not to one. */
START_TEST(counts_its_own_bounces)
{
    unsigned to[4] = {0};

    servers[0].primaries = 500;
    for (unsigned i = 0; i < 90; i++)
        to[fs_route_assign(&table, &usual, 0, i).server]++;
    ck_assert_uint_eq(to[0], 0);
    for (unsigned i = 1; i < 4; i++)
        ck_assert_uint_eq(to[i], 30);
}
END_TEST

/* Nobody is sent to a server that is no better off, so two never play ball with a visitor. */
START_TEST(two_that_are_full_dont_play_ball)
{
    fs_route_settings_t many = usual;

    many.bounces = 50;
    table.count = 2;
    for (unsigned i = 0; i < 2; i++)
        servers[i].primaries = 950;
    ck_assert_int_eq(fs_route_assign(&table, &many, 0, 7).act, FS_ROUTE_SERVE);
    many.full_refuses = 1;
    ck_assert_int_eq(fs_route_assign(&table, &many, 0, 7).act, FS_ROUTE_REFUSE);
    table.count = 4;
}
END_TEST

/* Busy workers send new visitors away, too, though the others have as many of them; and who isn't
 * busy sends nobody to who is. */
START_TEST(new_ones_leave_the_busy)
{
    fs_route_settings_t many = usual;
    fs_route_choice_t choice;

    many.bounces = 50;
    servers[0].workers = 10;
    servers[0].busy = 8;
    servers[0].primaries = 50;
    choice = fs_route_assign(&table, &many, 0, 7);
    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_ne(choice.server, 0);
    table.self = choice.server;
    table.count = choice.server + 1;
    for (uint32_t i = 1; i < choice.server; i++)
        servers[i].state = FS_ROUTE_DEAD;
    ck_assert_int_eq(fs_route_assign(&table, &many, 1, 7).act, FS_ROUTE_SERVE);
    table.self = 0;
    table.count = 4;
}
END_TEST

START_TEST(refuses_only_if_all_are_full)
{
    fs_route_settings_t settings = usual;

    settings.full_refuses = 1;
    for (unsigned i = 0; i < 4; i++)
        servers[i].primaries = 850;
    ck_assert_int_eq(fs_route_assign(&table, &settings, 0, 7).act, FS_ROUTE_REFUSE);
    servers[3].primaries = 700;
    ck_assert_uint_eq(fs_route_assign(&table, &settings, 0, 7).server, 3);
    servers[3].workers = 100;
    servers[3].busy = 85;
    ck_assert_int_eq(fs_route_assign(&table, &settings, 0, 7).act, FS_ROUTE_REFUSE);
    servers[3].busy = 10;
    servers[3].state = FS_ROUTE_DRAINING;
    ck_assert_int_eq(fs_route_assign(&table, &settings, 0, 7).act, FS_ROUTE_REFUSE);
}
END_TEST

START_TEST(draining_keeps_nobody_new)
{
    servers[0].state = FS_ROUTE_DRAINING;
    servers[0].primaries = 0;
    ck_assert_int_eq(fs_route_assign(&table, &usual, 0, 7).act, FS_ROUTE_SEND);
    for (unsigned i = 1; i < 4; i++)
        servers[i].state = FS_ROUTE_SUSPECT;
    /* ... unless there is nobody else: better than an error. */
    ck_assert_int_eq(fs_route_assign(&table, &usual, 0, 7).act, FS_ROUTE_SERVE);
}
END_TEST

START_TEST(equal_ones_take_turns)
{
    unsigned to[4] = {0};

    for (unsigned i = 0; i < 40; i++)
        to[fs_route_lowest(&table, &usual, FS_ROUTE_NOBODY, i)]++;
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(to[i], 10);
    servers[1].capacity = 2000;
    servers[1].primaries = 200;
    ck_assert_uint_eq(fs_route_lowest(&table, &usual, FS_ROUTE_NOBODY, 3), 1);
}
END_TEST

/* A front before the farm has capacity 0: it sends everybody on, and is no alternate. */
START_TEST(capacity_0_is_nobodys_home)
{
    fs_route_home_t home = {0, 1};
    double credit[4] = {0};
    fs_route_choice_t choice;

    servers[0].capacity = 0;
    servers[0].primaries = 0;
    ck_assert(!fs_route_is_willing(&table, &usual));
    ck_assert(fabs(fs_route_mean(&table) - 0.1) < 1e-9);
    for (unsigned i = 0; i < 9; i++) {
        choice = fs_route_assign(&table, &usual, 0, i);
        ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
        ck_assert_uint_ne(choice.server, 0);
        ck_assert_uint_ne(fs_route_next(&table, credit), 0);
    }
    choice = fs_route_request(&table, &usual, &home, 0, 7); /* it had a home before */
    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_eq(choice.server, 1);
    ck_assert_int_eq(choice.moved, 1);
    for (unsigned i = 1; i < 4; i++) { /* the others don't send anybody there */
        table.self = i;
        ck_assert_uint_ne(fs_route_lowest(&table, &usual, i, 0), 0);
        ck_assert_uint_ne(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, 0), 0);
    }
    table.self = 0;
    for (unsigned i = 1; i < 4; i++)
        servers[i].state = FS_ROUTE_DEAD;
    ck_assert_int_eq(fs_route_assign(&table, &usual, 0, 7).act, FS_ROUTE_REFUSE);
    ck_assert_int_eq(fs_route_request(&table, &usual, &home, 0, 7).act, FS_ROUTE_REFUSE);
    servers[1].state = FS_ROUTE_ALIVE;
    home.primary = 1;
    ck_assert_int_eq(fs_route_request(&table, &usual, &home, 2, 7).act, FS_ROUTE_REFUSE);
}
END_TEST

START_TEST(alternate_is_in_another_rack)
{
    for (unsigned i = 0; i < 4; i++)
        servers[i].rack = 1 + i / 2;
    servers[1].primaries = 0;
    for (unsigned i = 0; i < 20; i++)
        ck_assert_uint_ge(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, i), 2);
    servers[2].state = servers[3].state = FS_ROUTE_DEAD;
    ck_assert_uint_eq(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, 0), 1);
    servers[1].state = FS_ROUTE_DEAD;
    ck_assert_uint_eq(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, 0), FS_ROUTE_NOBODY);
}
END_TEST

/* In proportion to the room that they have: what each would have, if this server died, is equal. */
START_TEST(alternates_fill_what_is_free)
{
    servers[1].primaries = 300;
    servers[2].primaries = 100;
    servers[3].capacity = 3000;
    servers[3].primaries = 600;
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_uint_ne(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, i), 0);
    for (unsigned i = 1; i < 4; i++)
        ck_assert(fabs((double)(servers[i].primaries + servers[i].given) / servers[i].capacity -
                       0.4) < 0.002);
    fs_route_alternate_gone(&table, 3);
    fs_route_alternate_gone(&table, FS_ROUTE_NOBODY);
    ck_assert_uint_eq(servers[1].given + servers[2].given + servers[3].given, 999);
}
END_TEST

START_TEST(goes_home)
{
    fs_route_home_t home = {2, 3};
    fs_route_choice_t choice = fs_route_request(&table, &usual, &home, 0, 7);

    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_eq(choice.server, 2);
    ck_assert_int_eq(choice.moved, 0);
    table.self = 2;
    choice = fs_route_request(&table, &usual, &home, 1, 7);
    ck_assert_int_eq(choice.act, FS_ROUTE_SERVE);
    ck_assert_int_eq(choice.moved, 0);
    ck_assert_uint_eq(servers[2].primaries, 100);
    table.self = 0;
}
END_TEST

START_TEST(goes_to_the_alternate)
{
    fs_route_home_t home = {2, 3};
    fs_route_choice_t choice;

    for (int state = FS_ROUTE_DEAD; state <= FS_ROUTE_DRAINING; state++) {
        servers[2].state = (uint8_t)state;
        choice = fs_route_request(&table, &usual, &home, 0, 7);
        ck_assert_uint_eq(choice.server, 3);
        ck_assert_int_eq(choice.moved, 1);
    }
    servers[2].state = FS_ROUTE_ALIVE;
    /* Both gone: it counts as new, and is welcome here. */
    servers[2].state = servers[3].state = FS_ROUTE_DEAD;
    choice = fs_route_request(&table, &usual, &home, 0, 7);
    ck_assert_int_eq(choice.act, FS_ROUTE_SERVE);
    ck_assert_int_eq(choice.moved, 1);
}
END_TEST

/* Busy workers are no reason to leave one's home, unless they are for long; then one eighth of the
 * visitors leaves after the other. */
START_TEST(sheds_by_eighths)
{
    fs_route_home_t home = {2, 3};
    unsigned left = 0;

    servers[2].workers = 10;
    servers[2].busy = 10;
    for (uint64_t i = 0; i < 80; i++)
        ck_assert_uint_eq(fs_route_request(&table, &usual, &home, 0, i << 32).server, 2);
    servers[2].shed = 2;
    for (uint64_t i = 0; i < 80; i++) {
        fs_route_choice_t choice = fs_route_request(&table, &usual, &home, 0, i << 32);

        ck_assert_uint_eq(choice.server, choice.moved ? 3 : 2);
        left += (unsigned)choice.moved;
    }
    ck_assert_uint_eq(left, 20);
    /* Whose alternate is over its limit as well stays. */
    servers[3].shed = 1;
    for (uint64_t i = 0; i < 80; i++)
        ck_assert_uint_eq(fs_route_request(&table, &usual, &home, 0, i << 32).server, 2);
    /* Nobody new comes, whatever is counted at the moment. */
    servers[2].busy = 0;
    ck_assert(fs_route_is_busy(&servers[2], usual.busy));
}
END_TEST

START_TEST(sheds_what_lasts)
{
    const int64_t second = 1000000;
    fs_route_shed_t shed = {0};
    int64_t now = 7 * second;

    /* Bursts, each of 4 s, with a moment between them. */
    for (unsigned i = 0; i < 100; i++, now += second)
        ck_assert_uint_eq(fs_route_shed(&shed, i % 5 ? 100 : 79, 100, 0.8, now), 0);
    /* It lasts: an eighth each five seconds. */
    ck_assert_uint_eq(fs_route_shed(&shed, 10, 100, 0.8, now), 0);
    for (unsigned i = 1; i <= 60; i++) {
        unsigned wanted = (i - 1) / 5;

        now += second;
        ck_assert_uint_eq(fs_route_shed(&shed, 80, 100, 0.8, now), wanted < 8 ? wanted : 8);
    }
    /* A little below the limit says nothing; far below must last, too. */
    for (unsigned i = 0; i < 100; i++, now += second)
        ck_assert_uint_eq(fs_route_shed(&shed, i % 5 ? 10 : 61, 100, 0.8, now), 8);
    ck_assert_uint_eq(fs_route_shed(&shed, 61, 100, 0.8, now), 8);
    for (unsigned i = 1; i <= 6; i++, now += second)
        ck_assert_uint_eq(fs_route_shed(&shed, 59, 100, 0.8, now + second), i < 6 ? 8 : 0);
    /* Not known how many workers there are: nobody leaves. */
    for (unsigned i = 0; i < 20; i++, now += second)
        ck_assert_uint_eq(fs_route_shed(&shed, 0, 0, 0.8, now + second), 0);
}
END_TEST

/* Who was just found gone isn't named, though the table has it as alive, unless it is alone. */
START_TEST(alternate_isnt_who_is_gone)
{
    servers[2].primaries = 0;
    ck_assert_uint_eq(fs_route_alternate(&table, &usual, FS_ROUTE_NOBODY, 0), 2);
    ck_assert_uint_ne(fs_route_alternate(&table, &usual, 2, 0), 2);
    servers[1].state = servers[3].state = FS_ROUTE_DEAD;
    ck_assert_uint_eq(fs_route_alternate(&table, &usual, 2, 0), 2);
}
END_TEST

/* A cookie that names servers which no longer exist, and one sent round in circles. */
START_TEST(strange_homes)
{
    fs_route_home_t nobody = {FS_ROUTE_NOBODY, FS_ROUTE_NOBODY}, beyond = {4, 99}, far = {2, 3};

    ck_assert_int_eq(fs_route_request(&table, &usual, &nobody, 0, 7).act, FS_ROUTE_SERVE);
    ck_assert_int_eq(fs_route_request(&table, &usual, &beyond, 0, 7).act, FS_ROUTE_SERVE);
    ck_assert_int_eq(fs_route_request(&table, &usual, &far, 2, 7).act, FS_ROUTE_SERVE);
}
END_TEST

START_TEST(turns_by_weight)
{
    double credit[4] = {0};
    unsigned got[4] = {0}, last = 99, twice = 0;

    servers[1].capacity = 2000;
    servers[2].state = FS_ROUTE_DRAINING;
    for (unsigned i = 0; i < 400; i++) {
        unsigned next = fs_route_next(&table, credit);

        got[next]++;
        twice += next == last && next != 1;
        last = next;
    }
    ck_assert_uint_eq(got[0], 100);
    ck_assert_uint_eq(got[1], 200);
    ck_assert_uint_eq(got[2], 0);
    ck_assert_uint_eq(twice, 0);
}
END_TEST

START_TEST(ramps_up)
{
    ck_assert(fs_route_ramp(0, 100) > 0 && fs_route_ramp(0, 100) < 0.2);
    ck_assert(fs_route_ramp(50, 100) > 0.5 && fs_route_ramp(50, 100) < 0.6);
    ck_assert(fs_route_ramp(100, 100) == 1 && fs_route_ramp(-5, 100) < 0.2);
    ck_assert(fs_route_ramp(0, 0) == 1);
    servers[0].ramp = 0.1;
    ck_assert(!fs_route_is_willing(&table, &usual));
}
END_TEST

static fs_sim_farm_t *simulate(uint64_t status, fs_sim_door_t door, uint64_t seed)
{
    fs_sim_settings_t settings = {.route = usual,
                                  .count = 10,
                                  .capacity = mixed,
                                  .visitors = 30000,
                                  .status = status,
                                  .detect = 100,
                                  .ramp = 1000,
                                  .door = door,
                                  .seed = seed};
    fs_sim_farm_t *farm;
    fs_result_t result;

    ck_assert_int_eq(fs_sim_create(&farm, &settings, &result), APR_SUCCESS);
    fs_sim_arrive(farm, 20000);
    return farm;
}

/* The figures that are promised, for twenty seeds each. */
START_TEST(farm_is_balanced)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (uint64_t status = 100; status <= 1000; status += 900) {
            fs_sim_farm_t *farm = simulate(status, FS_SIM_DOOR_ROUND_ROBIN, seed);
            uint32_t worst;

            ck_assert_double_le(fs_sim_imbalance(farm, &worst), 1.06);
            ck_assert_uint_le(fs_sim_counts(farm)->bounces, 11000);
            ck_assert_uint_eq(fs_sim_counts(farm)->refused, 0);
            fs_sim_destroy(farm);
        }
}
END_TEST

START_TEST(one_dies)
{
    uint32_t died = (uint32_t)_i;
    fs_sim_farm_t *farm = simulate(100, FS_SIM_DOOR_RANDOM, 1);
    const fs_sim_counts_t *counts = fs_sim_counts(farm);
    uint64_t had = fs_sim_primaries(farm, died), total = 0;
    double most = 0, least = INFINITY;
    uint32_t worst;

    fs_sim_kill(farm, died);
    fs_sim_round(farm);
    ck_assert_uint_eq(counts->moved, had);
    ck_assert_uint_eq(counts->astray, 0);
    ck_assert_uint_eq(counts->to_alternate, had);
    ck_assert_double_le(fs_sim_imbalance(farm, &worst), 1.06);
    for (uint32_t i = 0; i < 10; i++) {
        double ratio = (double)fs_sim_primaries(farm, i) / mixed[i];

        total += fs_sim_lives(farm, i) ? fs_sim_primaries(farm, i) : 0;
        most = i != died && ratio > most ? ratio : most;
        least = i != died && ratio < least ? ratio : least;
    }
    ck_assert_uint_eq(total, 20000);
    ck_assert_double_le(most / least, 1.12);
    /* A second round moves nobody. */
    fs_sim_round(farm);
    ck_assert_uint_eq(counts->moved, had);
    fs_sim_destroy(farm);
}
END_TEST

START_TEST(one_returns)
{
    fs_sim_farm_t *farm = simulate(100, FS_SIM_DOOR_ROUND_ROBIN, 3);
    const fs_sim_counts_t *counts = fs_sim_counts(farm);
    uint64_t moved;
    uint32_t worst;

    fs_sim_kill(farm, 7);
    fs_sim_round(farm);
    moved = counts->moved;
    ck_assert(fs_sim_return(farm, 7));
    ck_assert(!fs_sim_return(farm, 7));
    fs_sim_round(farm);
    ck_assert_uint_eq(counts->moved, moved);
    fs_sim_arrive(farm, 10000);
    ck_assert_double_le(fs_sim_imbalance(farm, &worst), 1.06);
    fs_sim_destroy(farm);
}
END_TEST

static Suite *route_suite(void)
{
    Suite *suite = suite_create("route");
    TCase *rules = tcase_create("rules"), *farm = tcase_create("farm");

    tcase_add_checked_fixture(rules, setup, NULL);
    tcase_add_test(rules, stays_where_it_arrived);
    tcase_add_test(rules, bounces_to_the_lowest);
    tcase_add_test(rules, counts_its_own_bounces);
    tcase_add_test(rules, two_that_are_full_dont_play_ball);
    tcase_add_test(rules, new_ones_leave_the_busy);
    tcase_add_test(rules, refuses_only_if_all_are_full);
    tcase_add_test(rules, draining_keeps_nobody_new);
    tcase_add_test(rules, equal_ones_take_turns);
    tcase_add_test(rules, capacity_0_is_nobodys_home);
    tcase_add_test(rules, alternate_is_in_another_rack);
    tcase_add_test(rules, alternates_fill_what_is_free);
    tcase_add_test(rules, goes_home);
    tcase_add_test(rules, goes_to_the_alternate);
    tcase_add_test(rules, sheds_by_eighths);
    tcase_add_test(rules, sheds_what_lasts);
    tcase_add_test(rules, alternate_isnt_who_is_gone);
    tcase_add_test(rules, strange_homes);
    tcase_add_test(rules, turns_by_weight);
    tcase_add_test(rules, ramps_up);
    tcase_add_test(farm, farm_is_balanced);
    tcase_add_loop_test(farm, one_dies, 0, 10);
    tcase_add_test(farm, one_returns);
    tcase_set_timeout(farm, 60);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, farm);
    return suite;
}

FS_TEST_MAIN(route_suite)
