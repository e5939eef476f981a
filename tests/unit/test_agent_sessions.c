/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's memory of sessions: what is on its way to whom, what servers hold, what nobody knows.
 */
#include "fs_test.h"

#include <string.h>

#include "session_bases.h"
#include "session_flight.h"
#include "session_pace.h"
#include "session_release.h"
#include "session_unknown.h"

#define SEC FS_USEC_PER_SEC

static fs_session_key_t key_of(unsigned number)
{
    fs_session_key_t key = {{0}};

    for (unsigned i = 0; i < FS_SESSION_KEY_BYTES; i++)
        key.bytes[i] = (uint8_t)((number + 1) * 2654435761u >> (i % 4 * 8));
    key.bytes[15] = (uint8_t)number;
    key.bytes[14] = (uint8_t)(number >> 8);
    return key;
}

static fs_session_stamp_t stamp(uint64_t sequence)
{
    fs_session_stamp_t made = {1, sequence, 7};

    return made;
}

/* --- flights ------------------------------------------------------------------------------------
 */

static fs_flights_t flights;

static void setup(void)
{
    ck_assert_int_eq(fs_flights_init(&flights, 4), APR_SUCCESS);
}

static void teardown(void)
{
    fs_flights_end(&flights);
}

static fs_sealed_t *copy(unsigned number, uint64_t sequence)
{
    fs_session_label_t label = {key_of(number), stamp(sequence), INT64_MAX};

    return fs_sealed_make(&label, "copy", 4);
}

static fs_flight_t *put(unsigned number, uint64_t sequence, int low, int urgent)
{
    static const unsigned servers[] = {0, 2};

    return fs_flight_put(&flights, copy(number, sequence), servers, 2, low, urgent);
}

/* What is sent to a server now: the sequence of the first copy, 0 nothing. */
static uint64_t next(unsigned server)
{
    fs_sealed_t *sealed;
    uint64_t sequence;

    if (!fs_flights_next(&flights, server, &sealed, 1, 1000))
        return 0;
    sequence = sealed->label.version.sequence;
    fs_sealed_drop(sealed);
    return sequence;
}

static void answer(unsigned number, unsigned server, uint64_t sequence, fs_answer_t what)
{
    fs_session_key_t key = key_of(number);
    fs_session_stamp_t version = stamp(sequence);

    fs_flights_answer(&flights, &key, server, &version, what, SEC);
}

START_TEST(a_copy_goes_to_each_server_once_and_is_done)
{
    fs_flight_t *flight = put(1, 10, 0, 0);
    fs_session_stamp_t version = stamp(10);

    ck_assert_uint_eq(next(0), 10);
    ck_assert_uint_eq(next(0), 0);
    ck_assert_uint_eq(next(1), 0);
    answer(1, 0, 10, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 0);
    ck_assert_uint_eq(fs_flight_copies(flight, &version), 1);
    ck_assert_uint_eq(next(2), 10);
    answer(1, 2, 10, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 1);
    ck_assert_uint_eq(fs_flight_copies(flight, &version), 2);
    ck_assert_uint_eq(flights.waiting[0] + flights.waiting[2], 0);
}
END_TEST

START_TEST(a_newer_version_replaces_what_waits_and_follows_what_was_sent)
{
    fs_flight_t *flight = put(1, 10, 0, 0);

    ck_assert_uint_eq(next(0), 10); /* server 2 hasn't got it yet */
    put(1, 11, 0, 0);
    put(1, 12, 0, 0);
    ck_assert_uint_eq(next(2), 12);
    ck_assert_uint_eq(next(0), 0); /* one at a time */
    answer(1, 0, 10, FS_ANSWER_CONFIRMED);
    ck_assert_uint_eq(next(0), 12);
    answer(1, 0, 12, FS_ANSWER_CONFIRMED);
    answer(1, 2, 12, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 1);
}
END_TEST

START_TEST(changes_go_before_what_was_missed_and_urgent_ones_before_all)
{
    put(1, 1, 1, 0);
    put(2, 2, 0, 0);
    put(3, 3, 0, 1);
    ck_assert_uint_eq(flights.low_waiting[0], 1);
    ck_assert_uint_eq(next(0), 3);
    ck_assert_uint_eq(next(0), 2);
    ck_assert_uint_eq(next(0), 1);
    answer(1, 0, 1, FS_ANSWER_CONFIRMED);
    ck_assert_uint_eq(flights.low_waiting[0], 0);
}
END_TEST

START_TEST(what_a_server_missed_delays_nothing_that_is_on_its_way_to_others)
{
    static const unsigned servers[] = {3};
    fs_flight_t *flight = put(1, 5, 0, 0);

    ck_assert_uint_eq(next(0), 5);
    fs_flight_put(&flights, copy(1, 5), servers, 1, 1, 0);
    ck_assert_uint_eq(fs_flight_wanted(flight), 3);
    ck_assert_uint_eq(next(2), 5);
    ck_assert_uint_eq(next(3), 5);
    answer(1, 3, 5, FS_ANSWER_CONFIRMED);
    answer(1, 0, 5, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 0);
}
END_TEST

START_TEST(a_server_that_fails_is_tried_soon_one_that_refuses_later_and_later)
{
    fs_usec_t span = 0;

    put(1, 5, 1, 0);
    ck_assert_uint_eq(next(0), 5);
    answer(1, 0, 5, FS_ANSWER_FAILED);
    ck_assert_uint_eq(next(0), 0);
    ck_assert_int_eq(fs_flights_again(&flights, SEC), SEC + FS_FLIGHT_AGAIN);
    fs_flights_again(&flights, SEC + FS_FLIGHT_AGAIN);
    for (unsigned i = 0; i < 12; i++) {
        fs_usec_t again;

        ck_assert_uint_eq(next(0), 5);
        answer(1, 0, 5, FS_ANSWER_REFUSED);
        again = fs_flights_again(&flights, SEC) - SEC;
        ck_assert_int_ge(again, span);
        ck_assert_int_le(again, 2 * FS_FLIGHT_LATEST);
        span = again;
        fs_flights_again(&flights, SEC + again);
    }
    ck_assert_int_ge(span, FS_FLIGHT_LATEST);
    ck_assert_uint_eq(flights.low_waiting[0], 0); /* nobody's pass waits for it */
}
END_TEST

START_TEST(a_full_server_is_not_waited_for_and_not_asked_again)
{
    static const unsigned others[] = {2, 3};
    fs_flight_t *flight = put(1, 5, 0, 0);

    next(0);
    answer(1, 0, 5, FS_ANSWER_FULL);
    ck_assert_uint_eq(fs_flight_wanted(flight), 1);
    fs_flight_put(&flights, copy(1, 5), others, 2, 0, 0);
    ck_assert_uint_eq(next(0), 0);
    next(2);
    next(3);
    answer(1, 2, 5, FS_ANSWER_CONFIRMED);
    answer(1, 3, 5, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 1);
}
END_TEST

START_TEST(when_all_are_full_they_are_tried_again)
{
    fs_flight_t *flight = put(1, 5, 0, 0);

    next(0);
    next(2);
    answer(1, 0, 5, FS_ANSWER_FULL);
    answer(1, 2, 5, FS_ANSWER_FULL);
    ck_assert_uint_eq(fs_flight_wanted(flight), 0);
    ck_assert_int_eq(fs_flight_full_again(&flights, flight, SEC), 1);
    ck_assert_uint_eq(next(0), 0);
    fs_flights_again(&flights, SEC + FS_FLIGHT_LATEST);
    ck_assert_uint_eq(next(0), 5);
    ck_assert_uint_eq(next(2), 5);
    answer(1, 0, 5, FS_ANSWER_CONFIRMED);
    answer(1, 2, 5, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 1);
    ck_assert_uint_eq(fs_flight_wanted(flight), 2);
}
END_TEST

START_TEST(a_server_that_went_is_not_waited_for)
{
    static const unsigned others[] = {2, 3};
    fs_flight_t *flight = put(1, 5, 0, 0);

    next(0); /* it was sent to this one, and then it died */
    fs_flight_put(&flights, copy(1, 5), others, 2, 0, 0);
    next(2);
    next(3);
    answer(1, 2, 5, FS_ANSWER_CONFIRMED);
    answer(1, 3, 5, FS_ANSWER_CONFIRMED);
    ck_assert_int_eq(fs_flight_is_done(flight), 1);
    answer(1, 0, 5, FS_ANSWER_CONFIRMED); /* late */
    ck_assert_uint_eq(flight->count, 2);
    fs_flight_put(&flights, copy(1, 5), NULL, 0, 0, 0);
    ck_assert_uint_eq(fs_flight_wanted(flight), 0);
}
END_TEST

/* Whatever happens in whatever order: numbers and queues agree, and a flight that is done has its
 * newest version everywhere. */
START_TEST(any_order_of_events_keeps_the_numbers_right)
{
    for (unsigned seed = 0; seed < 2000; seed++) {
        unsigned state = seed * 2654435761u + 1, waiting[4] = {0}, low[4] = {0};
        uint64_t sequence = 0;

        for (unsigned step = 0; step < 60; step++) {
            unsigned roll = (state = state * 1664525u + 1013904223u) >> 16;
            unsigned number = roll % 3, server = roll / 3 % 4;
            unsigned servers[2] = {server, (server + 1 + roll / 12 % 3) % 4};
            fs_session_key_t key = key_of(number);
            fs_flight_t *flight = fs_flight_find(&flights, &key);
            fs_session_stamp_t version = stamp(sequence);

            switch (roll / 64 % 4) {
            case 0:
                fs_flight_put(&flights, copy(number, ++sequence), servers, roll % 3, roll / 7 % 2,
                              roll / 11 % 2);
                break;
            case 1:
                next(server);
                break;
            case 2:
                if (flight)
                    version = flight->copy->label.version;
                flight = fs_flights_answer(&flights, &key, server, &version,
                                           (fs_answer_t)(roll / 5 % 5), step * SEC);
                if (flight && fs_flight_is_done(flight))
                    fs_flight_remove(&flights, flight);
                break;
            default:
                fs_flights_again(&flights, step * SEC);
            }
        }
        for (unsigned number = 0; number < 3; number++) {
            fs_session_key_t key = key_of(number);
            fs_flight_t *flight = fs_flight_find(&flights, &key);

            for (unsigned i = 0; flight && i < flight->count; i++) {
                const fs_target_t *target = &flight->targets[i];
                int counts = target->state == FS_TARGET_QUEUED || target->state == FS_TARGET_SENT ||
                             target->state == FS_TARGET_LATER;

                waiting[target->server] += (unsigned)counts;
                low[target->server] += counts && target->low;
            }
            if (flight)
                fs_flight_remove(&flights, flight);
            for (unsigned i = 0; i < 4 && number == 2; i++) {
                ck_assert_uint_eq(flights.waiting[i], 0);
                ck_assert_uint_eq(flights.low_waiting[i], 0);
                ck_assert_ptr_null(TAILQ_FIRST(&flights.live[i]));
                ck_assert_ptr_null(TAILQ_FIRST(&flights.low[i]));
            }
        }
        ck_assert_uint_eq(flights.bytes, 0);
        ck_assert_uint_eq(flights.table.count, 0);
    }
}
END_TEST

/* --- bases --------------------------------------------------------------------------------------
 */

START_TEST(a_base_is_forgotten_with_the_copy_and_with_the_server)
{
    fs_bases_t *bases = fs_bases_make(100, 3);
    fs_session_key_t one = key_of(1), two = key_of(2);
    fs_session_stamp_t version = stamp(5);

    ck_assert_ptr_null(fs_bases_get(bases, &one, 0));
    fs_bases_set(bases, &one, 0, &version);
    fs_bases_set(bases, &one, 2, &version);
    fs_bases_set(bases, &two, 0, &version);
    ck_assert_ptr_nonnull(fs_bases_get(bases, &one, 0));
    ck_assert_ptr_null(fs_bases_get(bases, &one, 1));
    fs_bases_forget(bases, &one);
    ck_assert_ptr_null(fs_bases_get(bases, &one, 0));
    ck_assert_ptr_nonnull(fs_bases_get(bases, &two, 0));
    fs_bases_set(bases, &two, 2, &version);
    fs_bases_forget_server(bases, 0);
    ck_assert_ptr_null(fs_bases_get(bases, &two, 0));
    ck_assert_uint_eq(fs_bases_get(bases, &two, 2)->sequence, 5);
    fs_bases_set(bases, &two, 0, &version);
    ck_assert_ptr_nonnull(fs_bases_get(bases, &two, 0));
    fs_bases_free(bases);
}
END_TEST

/* More sessions than there is room for: what is remembered is right, and the newest is. */
START_TEST(the_memory_of_bases_is_bounded)
{
    fs_bases_t *bases = fs_bases_make(0, 2);
    unsigned known = 0;

    for (unsigned i = 0; i < 20000; i++) {
        fs_session_key_t key = key_of(i);
        fs_session_stamp_t version = stamp(i);

        fs_bases_set(bases, &key, i % 2, &version);
        ck_assert_uint_eq(fs_bases_get(bases, &key, i % 2)->sequence, i);
    }
    for (unsigned i = 0; i < 20000; i++) {
        fs_session_key_t key = key_of(i);
        const fs_session_stamp_t *version = fs_bases_get(bases, &key, i % 2);

        known += version != NULL;
        if (version)
            ck_assert_uint_eq(version->sequence, i);
    }
    ck_assert_uint_gt(known, 1000);
    ck_assert_uint_lt(known, 20000);
    fs_bases_free(bases);
}
END_TEST

/* --- unknown ids and the table -------------------------------------------------------------------
 */

START_TEST(an_unknown_id_is_remembered_for_a_moment)
{
    static fs_unknown_t unknown;
    fs_session_key_t one = key_of(1), two = key_of(2);

    fs_unknown_add(&unknown, &one, 10 * SEC);
    ck_assert_int_eq(fs_unknown_has(&unknown, &one, 10 * SEC), 1);
    ck_assert_int_eq(fs_unknown_has(&unknown, &two, 10 * SEC), 0);
    ck_assert_int_eq(fs_unknown_has(&unknown, &one, 10 * SEC + FS_UNKNOWN_FOR), 0);
    fs_unknown_add(&unknown, &one, 20 * SEC);
    fs_unknown_forget(&unknown, &two);
    ck_assert_int_eq(fs_unknown_has(&unknown, &one, 20 * SEC), 1);
    fs_unknown_forget(&unknown, &one);
    ck_assert_int_eq(fs_unknown_has(&unknown, &one, 20 * SEC), 0);
}
END_TEST

START_TEST(what_was_sent_rests_for_half_the_flush_time)
{
    static fs_pace_t pace;
    fs_session_key_t one = key_of(1), two = key_of(2);

    ck_assert_int_eq(fs_pace_until(&pace, &one, SEC / 5), 0);
    fs_pace_sent(&pace, &one, 10 * SEC);
    ck_assert_int_eq(fs_pace_until(&pace, &one, SEC / 5), 10 * SEC + SEC / 10);
    ck_assert_int_eq(fs_pace_until(&pace, &two, SEC / 5), 0);
    ck_assert_int_eq(fs_pace_until(&pace, &one, 60 * SEC), 10 * SEC + FS_PACE_MOST);
    ck_assert_int_eq(fs_pace_until(&pace, &one, 0), 10 * SEC);
    fs_pace_sent(&pace, &one, 11 * SEC);
    ck_assert_int_eq(fs_pace_until(&pace, &one, SEC / 5), 11 * SEC + SEC / 10);
}
END_TEST

START_TEST(a_release_is_told_server_by_server)
{
    static fs_disclaimed_t disclaimed;
    char told[FS_DISCLAIMED_HOSTS][FS_SESSION_NAME_SIZE];
    fs_session_key_t one = key_of(1), two = key_of(2);
    fs_releases_t releases;

    ck_assert_int_eq(fs_releases_init(&releases), APR_SUCCESS);
    ck_assert_int_eq(fs_release_is_told(&releases, &one, 3), 1); /* it isn't released */
    fs_release_begin(&releases, &one);
    fs_release_told(&releases, &one, 3);
    ck_assert_int_eq(fs_release_is_told(&releases, &one, 3), 1);
    ck_assert_int_eq(fs_release_is_told(&releases, &one, 2), 0);
    fs_release_begin(&releases, &one); /* to another one */
    ck_assert_int_eq(fs_release_is_told(&releases, &one, 3), 0);
    fs_release_begin(&releases, &two);
    fs_release_end(&releases, &one);
    ck_assert_int_eq(fs_release_is_told(&releases, &one, 2), 1);
    fs_releases_end(&releases);
    fs_disclaimed_add(&disclaimed, &one, "web2", 10 * SEC);
    fs_disclaimed_add(&disclaimed, &one, "web3", 11 * SEC);
    ck_assert_uint_eq(fs_disclaimed_to(&disclaimed, &one, 9 * SEC, told), 2);
    ck_assert_str_eq(told[0], "web2");
    ck_assert_str_eq(told[1], "web3");
    ck_assert_uint_eq(fs_disclaimed_to(&disclaimed, &two, 9 * SEC, told), 0);
    ck_assert_uint_eq(fs_disclaimed_to(&disclaimed, &one, 10 * SEC, told), 1);
    ck_assert_str_eq(told[0], "web3");
    fs_disclaimed_drop(&disclaimed, &one, "web4");
    fs_disclaimed_drop(&disclaimed, &two, "web3");
    ck_assert_uint_eq(fs_disclaimed_to(&disclaimed, &one, 9 * SEC, told), 2);
    fs_disclaimed_drop(&disclaimed, &one, "web3"); /* he asked anew */
    ck_assert_uint_eq(fs_disclaimed_to(&disclaimed, &one, 9 * SEC, told), 1);
}
END_TEST

static void count_and_remove(void *baton, fs_keyed_t *keyed)
{
    fs_key_table_t *table = baton;

    if (keyed->key.bytes[15] & 1)
        fs_key_table_remove(table, keyed);
}

START_TEST(the_table_finds_what_was_added_and_not_removed)
{
    static fs_keyed_t all[3000];
    fs_key_table_t table;

    ck_assert_int_eq(fs_key_table_init(&table), APR_SUCCESS);
    for (unsigned i = 0; i < 3000; i++) {
        all[i].key = key_of(i);
        ck_assert_ptr_null(fs_key_table_find(&table, &all[i].key));
        fs_key_table_add(&table, &all[i]);
    }
    for (unsigned i = 0; i < 3000; i++)
        ck_assert_ptr_eq(fs_key_table_find(&table, &all[i].key), &all[i]);
    fs_key_table_each(&table, count_and_remove, &table);
    for (unsigned i = 0; i < 3000; i++)
        ck_assert_ptr_eq(fs_key_table_find(&table, &all[i].key),
                         all[i].key.bytes[15] & 1 ? NULL : &all[i]);
    while (fs_key_table_any(&table))
        fs_key_table_remove(&table, fs_key_table_any(&table));
    ck_assert_uint_eq(table.count, 0);
    fs_key_table_end(&table);
}
END_TEST

static Suite *agent_sessions_suite(void)
{
    Suite *suite = suite_create("agent sessions");
    TCase *flying = tcase_create("flights"), *memory = tcase_create("memory");

    tcase_add_checked_fixture(flying, setup, teardown);
    tcase_add_test(flying, a_copy_goes_to_each_server_once_and_is_done);
    tcase_add_test(flying, a_newer_version_replaces_what_waits_and_follows_what_was_sent);
    tcase_add_test(flying, changes_go_before_what_was_missed_and_urgent_ones_before_all);
    tcase_add_test(flying, what_a_server_missed_delays_nothing_that_is_on_its_way_to_others);
    tcase_add_test(flying, a_server_that_fails_is_tried_soon_one_that_refuses_later_and_later);
    tcase_add_test(flying, a_full_server_is_not_waited_for_and_not_asked_again);
    tcase_add_test(flying, when_all_are_full_they_are_tried_again);
    tcase_add_test(flying, a_server_that_went_is_not_waited_for);
    tcase_add_test(flying, any_order_of_events_keeps_the_numbers_right);
    suite_add_tcase(suite, flying);
    tcase_add_test(memory, a_base_is_forgotten_with_the_copy_and_with_the_server);
    tcase_add_test(memory, the_memory_of_bases_is_bounded);
    tcase_add_test(memory, an_unknown_id_is_remembered_for_a_moment);
    tcase_add_test(memory, what_was_sent_rests_for_half_the_flush_time);
    tcase_add_test(memory, a_release_is_told_server_by_server);
    tcase_add_test(memory, the_table_finds_what_was_added_and_not_removed);
    suite_add_tcase(suite, memory);
    return suite;
}

FS_TEST_MAIN(agent_sessions_suite)
