/* SPDX-License-Identifier: Apache-2.0 */
/* The replicated map: order, merging, tombstones, bounds, bytes, snapshot. */
#include "fs_test.h"

#include <string.h>

#include "backplane/fs_exchange.h"
#include "backplane/fs_replay.h"

#define NOW (INT64_C(1800000000) * FS_USEC_PER_SEC)
#define DAY (24 * 3600 * FS_USEC_PER_SEC)

static fs_result_t result;

static fs_map_t *make(const char *origin)
{
    fs_map_settings_t settings = {.origin = origin, .generation = 1};

    return fs_map_create(&settings);
}

static void put(fs_map_t *map, fs_usec_t now, const char *key, const char *value)
{
    ck_assert_int_eq(
        fs_map_put(map, now, "notice", key, value, strlen(value), FS_PRIORITY_OPERATOR, 0, &result),
        0);
}

static const char *get(const fs_map_t *map, const char *key)
{
    fs_record_t record;

    return fs_map_get(map, "notice", key, &record) && !record.removed ? record.value : "";
}

static fs_record_t made(const char *origin, fs_usec_t when, const char *value)
{
    fs_record_t record = {
        .kind = "notice", .key = "shop/1", .value = value, .length = strlen(value)};

    record.stamp.when.time = when;
    record.stamp.generation = 1;
    strcpy(record.stamp.origin, origin);
    return record;
}

/* --- order --------------------------------------------------------------------------------------
 */

START_TEST(clock_grows_although_time_stands_or_goes_back)
{
    fs_hlc_t clock = {0, 0}, last = {0, 0}, seen = {NOW + 5, 7};

    for (int i = 0; i < 10; i++) {
        fs_hlc_t next = fs_hlc_next(&clock, i == 5 ? NOW - DAY : NOW);

        ck_assert_int_gt(fs_hlc_compare(&next, &last), 0);
        last = next;
    }
    fs_hlc_observe(&clock, &seen);
    last = fs_hlc_next(&clock, NOW);
    ck_assert_int_gt(fs_hlc_compare(&last, &seen), 0);
    clock.counter = UINT32_MAX;
    last = clock;
    fs_hlc_next(&clock, NOW);
    ck_assert_int_gt(fs_hlc_compare(&clock, &last), 0);
}
END_TEST

/* Scenario A, and the case that Alertmanager's TestStateMerge lacks: each server has seen another
 * one of two records first, and both end with the same. */
START_TEST(equal_times_have_the_same_winner_everywhere)
{
    fs_record_t one = made("web1", NOW, "down"), two = made("web2", NOW, "up");
    fs_map_t *a = make("a"), *b = make("b");

    fs_map_merge(a, NOW, &one);
    fs_map_merge(a, NOW, &two);
    fs_map_merge(b, NOW, &two);
    fs_map_merge(b, NOW, &one);
    ck_assert_str_eq(get(a, "shop/1"), get(b, "shop/1"));
    ck_assert_uint_eq(fs_map_digest_total(a), fs_map_digest_total(b));
    one = made("web3", NOW + 1, "x"); /* a copied disk: the same stamp with another content */
    two = made("web3", NOW + 1, "y");
    fs_map_merge(a, NOW, &one);
    fs_map_merge(a, NOW, &two);
    fs_map_merge(b, NOW, &two);
    fs_map_merge(b, NOW, &one);
    ck_assert_str_eq(get(a, "shop/1"), get(b, "shop/1"));
    ck_assert_uint_eq(fs_map_digest_total(a), fs_map_digest_total(b));
    fs_map_destroy(a);
    fs_map_destroy(b);
}
END_TEST

/* Alertmanager's TestStateMerge: older, newer, unknown, expired. */
START_TEST(merging_takes_what_is_newer_and_nothing_twice)
{
    fs_map_t *map = make("a");
    fs_record_t old = made("web1", NOW - 5, "old"), now = made("web1", NOW, "now");
    fs_record_t gone = made("web1", NOW + 5, "gone");

    ck_assert_int_eq(fs_map_merge(map, NOW, &now), FS_MERGE_TAKEN);
    ck_assert_int_eq(fs_map_merge(map, NOW, &now), FS_MERGE_SAME);
    ck_assert_int_eq(fs_map_merge(map, NOW, &old), FS_MERGE_OLDER);
    gone.expires = NOW - 1;
    ck_assert_int_eq(fs_map_merge(map, NOW, &gone), FS_MERGE_EXPIRED);
    ck_assert_str_eq(get(map, "shop/1"), "now");
    ck_assert_uint_eq(fs_map_count(map), 1);
    fs_map_destroy(map);
}
END_TEST

START_TEST(far_future_is_refused_and_does_not_move_the_clock)
{
    fs_map_t *map = make("a");
    fs_record_t far = made("web1", NOW + FS_FUTURE_LIMIT + 1, "far");
    fs_record_t near = made("web1", NOW + FS_FUTURE_LIMIT, "near");
    fs_hlc_t clock = {far.stamp.when.time, 0};

    ck_assert_int_eq(fs_map_merge(map, NOW, &far), FS_MERGE_FUTURE);
    ck_assert(!fs_map_observe(map, NOW, &clock));
    ck_assert_int_eq(fs_map_clock(map).time, 0);
    ck_assert_int_eq(fs_map_merge(map, NOW, &near), FS_MERGE_TAKEN);
    put(map, NOW, "shop/1", "after"); /* later than what was seen, although that was ahead */
    ck_assert_str_eq(get(map, "shop/1"), "after");
    fs_map_destroy(map);
}
END_TEST

/* Any order, any repetition: the same state. */
START_TEST(merging_is_the_same_in_any_order)
{
    fs_map_t *sources[4], *first = NULL;
    unsigned seed = (unsigned)_i;
    char key[16], value[16];

    for (unsigned s = 0; s < 4; s++) {
        char name[8];

        snprintf(name, sizeof(name), "s%u", s);
        sources[s] = make(name);
    }
    for (unsigned i = 0; i < 60; i++) {
        fs_map_t *map = sources[rand_r(&seed) % 4];

        snprintf(key, sizeof(key), "k%d", rand_r(&seed) % 12);
        snprintf(value, sizeof(value), "v%u", i);
        if (rand_r(&seed) % 5)
            put(map, NOW + rand_r(&seed) % 3, key, value);
        else
            fs_map_remove(map, NOW, "notice", key, FS_PRIORITY_OPERATOR, &result);
    }
    for (unsigned round = 0; round < 5; round++) {
        fs_map_t *map = make("x");

        for (unsigned times = 0; times < 400; times++) {
            unsigned hash = (unsigned)rand_r(&seed) % 12;
            fs_record_t record;

            snprintf(key, sizeof(key), "k%u", hash);
            if (fs_map_get(sources[rand_r(&seed) % 4], "notice", key, &record))
                fs_map_merge(map, NOW, &record);
        }
        for (unsigned s = 0; s < 4; s++)
            for (unsigned k = 0; k < 12; k++) {
                fs_record_t record;

                snprintf(key, sizeof(key), "k%u", k);
                if (fs_map_get(sources[s], "notice", key, &record))
                    fs_map_merge(map, NOW, &record);
            }
        if (first) {
            ck_assert_uint_eq(fs_map_digest_total(map), fs_map_digest_total(first));
            fs_map_destroy(map);
        } else {
            first = map;
        }
    }
    fs_map_destroy(first);
    for (unsigned s = 0; s < 4; s++)
        fs_map_destroy(sources[s]);
}
END_TEST

/* --- tombstones and expiry ----------------------------------------------------------------------
 */

START_TEST(tombstone_outlives_the_longest_outage_and_then_goes)
{
    fs_map_settings_t settings = {.origin = "a", .generation = 1, .outage = DAY};
    fs_map_t *map = fs_map_create(&settings);
    fs_record_t record, old = made("web1", NOW - 10, "zombie");

    put(map, NOW, "shop/1", "down");
    fs_map_remove(map, NOW, "notice", "shop/1", FS_PRIORITY_OPERATOR, &result);
    fs_map_expire(map, NOW + DAY);
    ck_assert(fs_map_get(map, "notice", "shop/1", &record) && record.removed);
    ck_assert_int_eq(fs_map_merge(map, NOW + DAY, &old), FS_MERGE_OLDER);
    ck_assert_uint_eq(fs_map_expire(map, NOW + 2 * DAY), 1);
    ck_assert_uint_eq(fs_map_count(map), 0);
    ck_assert_uint_eq(fs_map_bytes(map), 0);
    fs_map_destroy(map);
}
END_TEST

typedef struct seen_t {
    unsigned count;
    char last[64];
} seen_t;

static void see(void *baton, const fs_record_t *record, const fs_record_t *before)
{
    seen_t *seen = baton;

    seen->count++;
    snprintf(seen->last, sizeof(seen->last), "%s %s->%s", record->key,
             before ? before->removed ? "removed" : (const char *)before->value : "nothing",
             record->removed ? "removed" : (const char *)record->value);
}

START_TEST(watcher_sees_each_change_with_what_was_before)
{
    fs_map_t *map = make("a");
    seen_t seen = {0, ""};
    fs_record_t newer = made("web1", NOW + 2, "theirs");

    fs_map_watch(map, see, &seen);
    put(map, NOW, "shop/1", "one");
    ck_assert_str_eq(seen.last, "shop/1 nothing->one");
    fs_map_merge(map, NOW, &newer);
    ck_assert_str_eq(seen.last, "shop/1 one->theirs");
    fs_map_merge(map, NOW, &newer);
    ck_assert_uint_eq(seen.count, 2);
    fs_map_remove(map, NOW, "notice", "shop/1", FS_PRIORITY_OPERATOR, &result);
    ck_assert_str_eq(seen.last, "shop/1 theirs->removed");
    fs_map_put(map, NOW, "notice", "soon", "x", 1, FS_PRIORITY_MONITOR, NOW + 10, &result);
    fs_map_expire(map, NOW + 10);
    ck_assert_str_eq(seen.last, "soon x->removed");
    ck_assert_uint_eq(seen.count, 5);
    fs_map_destroy(map);
}
END_TEST

START_TEST(what_expires_goes_in_its_order)
{
    fs_map_t *map = make("a");
    char key[16];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        fs_map_put(map, NOW, "notice", key, "x", 1, FS_PRIORITY_OPERATOR, NOW + 1 + i * 7919 % 1000,
                   &result);
    }
    for (unsigned i = 0; i < 1000; i += 3) {
        snprintf(key, sizeof(key), "k%u", i);
        fs_map_put(map, NOW, "notice", key, "y", 1, FS_PRIORITY_OPERATOR, 0, &result);
    }
    for (unsigned t = 1; t <= 1000; t++) {
        fs_map_expire(map, NOW + t);
        for (unsigned i = 0; i < 1000; i += 97) {
            fs_record_t record;

            snprintf(key, sizeof(key), "k%u", i);
            ck_assert_int_eq(fs_map_get(map, "notice", key, &record),
                             i % 3 == 0 || 1 + i * 7919 % 1000 > t);
        }
    }
    ck_assert_uint_eq(fs_map_count(map), 334);
    fs_map_destroy(map);
}
END_TEST

/* --- bounds -------------------------------------------------------------------------------------
 */

START_TEST(monitors_fill_half_and_an_operator_still_has_room)
{
    fs_map_settings_t settings = {.origin = "a", .generation = 1, .state_limit = 200000};
    fs_map_t *map = fs_map_create(&settings);
    char key[16], value[FS_RECORD_VALUE_LIMIT];
    unsigned taken = 0;

    memset(value, 'x', sizeof(value));
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        taken += !fs_map_put(map, NOW, "notice", key, value, 500, FS_PRIORITY_MONITOR, 0, &result);
    }
    ck_assert_str_eq(result.problem, "FS1471");
    ck_assert_uint_gt(taken, 50);
    ck_assert_uint_le(fs_map_bytes(map), 100000);
    ck_assert_int_eq(fs_map_put(map, NOW, "notice", "op", value, sizeof(value),
                                FS_PRIORITY_OPERATOR, 0, &result),
                     0);
    ck_assert_int_eq(fs_map_remove(map, NOW, "notice", "k1", FS_PRIORITY_MONITOR, &result), 0);
    fs_map_destroy(map);
}
END_TEST

START_TEST(what_can_not_be_a_record_is_refused)
{
    fs_map_t *map = make("a");
    char big[FS_RECORD_VALUE_LIMIT + 1] = "", key[300];
    static const char *const bad_keys[] = {"", "a\nb", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\x7f"};

    for (unsigned i = 0; i < sizeof(bad_keys) / sizeof(bad_keys[0]); i++)
        ck_assert(
            fs_map_put(map, NOW, "notice", bad_keys[i], "", 0, FS_PRIORITY_MEMBER, 0, &result));
    memset(key, 'k', sizeof(key));
    key[257] = '\0';
    ck_assert(fs_map_put(map, NOW, "notice", key, "", 0, FS_PRIORITY_MEMBER, 0, &result));
    ck_assert(fs_map_put(map, NOW, "Notice", "k", "", 0, FS_PRIORITY_MEMBER, 0, &result));
    ck_assert(
        fs_map_put(map, NOW, "seventeen-letters", "k", "", 0, FS_PRIORITY_MEMBER, 0, &result));
    ck_assert(
        fs_map_put(map, NOW, "notice", "k", big, sizeof(big), FS_PRIORITY_MEMBER, 0, &result));
    ck_assert_str_eq(result.problem, "FS1470");
    ck_assert_uint_eq(fs_map_count(map), 0);
    key[256] = '\0';
    ck_assert_int_eq(
        fs_map_put(map, NOW, "notice", key, big, sizeof(big) - 1, FS_PRIORITY_MEMBER, 0, &result),
        0);
    ck_assert_int_eq(fs_map_put(map, NOW, "notice", "gr\xc3\xbc\xc3\x9f/1", "", 0,
                                FS_PRIORITY_MEMBER, 0, &result),
                     0);
    fs_map_destroy(map);
}
END_TEST

/* --- clocks that are set ------------------------------------------------------------------------
 */

/* Scenario S: an hour ahead, and back. */
START_TEST(records_of_a_clock_that_was_ahead_are_stamped_again)
{
    fs_map_t *map = make("a"), *other = make("b");
    fs_record_t record;

    put(map, NOW, "shop/1", "before");
    put(map, NOW + 3600 * FS_USEC_PER_SEC, "shop/2", "ahead");
    ck_assert(fs_map_get(map, "notice", "shop/2", &record));
    ck_assert_int_eq(fs_map_merge(other, NOW, &record), FS_MERGE_FUTURE);
    ck_assert_uint_eq(fs_map_restamp(map, NOW + 10), 1);
    ck_assert_uint_eq(fs_map_restamp(map, NOW + 10), 0);
    ck_assert(fs_map_get(map, "notice", "shop/2", &record));
    ck_assert_int_eq(fs_map_merge(other, NOW + 10, &record), FS_MERGE_TAKEN);
    ck_assert_str_eq(get(other, "shop/2"), "ahead");
    ck_assert(fs_map_get(map, "notice", "shop/1", &record));
    ck_assert_int_eq(record.stamp.when.time, NOW);
    fs_map_destroy(map);
    fs_map_destroy(other);
}
END_TEST

/* --- bytes --------------------------------------------------------------------------------------
 */

START_TEST(record_comes_back_from_its_bytes_and_cut_ones_are_refused)
{
    uint8_t bytes[FS_RECORD_BYTES_LIMIT];
    fs_record_t record = made("web1", NOW, "value"), back;
    size_t length = fs_record_write(&record, bytes);
    const uint8_t *at = bytes;

    ck_assert_uint_eq(length, fs_record_bytes(&record));
    ck_assert_int_eq(fs_record_read(&back, &at, bytes + length), 0);
    ck_assert_ptr_eq(at, bytes + length);
    ck_assert_int_eq(fs_record_compare(&record, &back), 0);
    ck_assert_uint_eq(fs_record_fingerprint(&record), fs_record_fingerprint(&back));
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1); /* so that a reader beyond it is found */

        memcpy(copy, bytes, cut);
        at = copy;
        ck_assert_int_eq(fs_record_read(&back, &at, copy + cut), -1);
        free(copy);
    }
}
END_TEST

START_TEST(replay_window_takes_each_number_once)
{
    fs_replay_t replay;

    fs_replay_begin(&replay, 0);
    ck_assert(fs_replay_take(&replay, 1));
    ck_assert(!fs_replay_take(&replay, 1));
    ck_assert(fs_replay_take(&replay, 5));
    ck_assert(fs_replay_take(&replay, 3));
    ck_assert(!fs_replay_take(&replay, 3));
    ck_assert(fs_replay_take(&replay, 5 + FS_REPLAY_WINDOW - 1));
    ck_assert(!fs_replay_take(&replay, 4)); /* out of the window */
    ck_assert(fs_replay_take(&replay, 6));
    ck_assert(fs_replay_take(&replay, 1000000));
    ck_assert(fs_replay_take(&replay, 999999));
    ck_assert(!fs_replay_take(&replay, 1000000));
    ck_assert(!fs_replay_take(&replay, 0));
    ck_assert(!fs_replay_take(&replay, UINT64_MAX));
    fs_replay_begin(&replay, 70);
    ck_assert(!fs_replay_take(&replay, 70));
    ck_assert(!fs_replay_take(&replay, 2));
    ck_assert(fs_replay_take(&replay, 71));
}
END_TEST

/* --- the snapshot -------------------------------------------------------------------------------
 */

static fs_exchange_t *exchange_of(fs_map_t *map)
{
    fs_exchange_settings_t settings = {.name = "a", .url = "http://a:1", .generation = 1};

    return fs_exchange_create(&settings, map);
}

START_TEST(snapshot_comes_back_whole_or_not_at_all)
{
    fs_moment_t now = {.mono = 1, .farm = NOW};
    fs_map_t *map = make("a"), *empty = make("a");
    fs_exchange_t *exchange = exchange_of(map), *fresh = exchange_of(empty);
    size_t length;
    uint8_t *bytes;

    put(map, NOW, "shop/1", "down");
    fs_map_remove(map, NOW, "notice", "shop/2", FS_PRIORITY_OPERATOR, &result);
    fs_exchange_add_peer(exchange, "web2", "http://b:1", 0, &result);
    bytes = fs_exchange_save(exchange, now, &length);
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 0x10;
        ck_assert_int_ne(fs_exchange_load(fresh, now, bytes, length, &result), 0);
        bytes[i] ^= 0x10;
        ck_assert_int_ne(fs_exchange_load(fresh, now, bytes, i, &result), 0);
    }
    ck_assert_str_eq(result.problem, "FS1473");
    ck_assert_uint_eq(fs_map_count(empty), 0);
    ck_assert_uint_eq(fs_exchange_peer_count(fresh), 0);
    ck_assert_int_eq(fs_exchange_load(fresh, now, bytes, length, &result), 0);
    ck_assert_uint_eq(fs_map_digest_total(map), fs_map_digest_total(empty));
    ck_assert_uint_eq(fs_exchange_peer_count(fresh), 1);
    ck_assert_uint_eq(fs_exchange_generation(bytes, length, 5), 5);
    ck_assert_uint_eq(fs_exchange_generation(bytes, length, 0), 2);
    free(bytes);
    fs_exchange_destroy(exchange);
    fs_exchange_destroy(fresh);
    fs_map_destroy(map);
    fs_map_destroy(empty);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("backplane");
    TCase *t = tcase_create("map");

    tcase_add_test(t, clock_grows_although_time_stands_or_goes_back);
    tcase_add_test(t, equal_times_have_the_same_winner_everywhere);
    tcase_add_test(t, merging_takes_what_is_newer_and_nothing_twice);
    tcase_add_test(t, far_future_is_refused_and_does_not_move_the_clock);
    tcase_add_loop_test(t, merging_is_the_same_in_any_order, 0, 50);
    tcase_add_test(t, tombstone_outlives_the_longest_outage_and_then_goes);
    tcase_add_test(t, watcher_sees_each_change_with_what_was_before);
    tcase_add_test(t, what_expires_goes_in_its_order);
    tcase_add_test(t, monitors_fill_half_and_an_operator_still_has_room);
    tcase_add_test(t, what_can_not_be_a_record_is_refused);
    tcase_add_test(t, records_of_a_clock_that_was_ahead_are_stamped_again);
    tcase_add_test(t, record_comes_back_from_its_bytes_and_cut_ones_are_refused);
    tcase_add_test(t, replay_window_takes_each_number_once);
    tcase_add_test(t, snapshot_comes_back_whole_or_not_at_all);
    suite_add_tcase(s, t);
    return s;
}

FS_TEST_MAIN(suite)
