/* SPDX-License-Identifier: Apache-2.0 */
/* Farm clock and cycle arithmetic: the parts of lib/sync that only compute. */
#include "fs_test.h"

#include <stdint.h>
#include <string.h>

#include "sync/fs_cycle.h"
#include "sync/fs_farm_clock.h"
#include "sync/fs_manifest.h"

#define EPOCH_US INT64_C(1790000000000000) /* some day in 2026 */

/* --- a small random generator, the same on every machine (xorshift64*) -------------------------
 */

static uint64_t random_state;

static void random_seed(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
}

static uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

/* 0 .. limit - 1 */
static int64_t random_below(int64_t limit)
{
    return (int64_t)(random_next() % (uint64_t)limit);
}

/* --- farm clock --------------------------------------------------------------------------------
 */

static int64_t magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

static fs_clock_sample_t sample_of(fs_usec_t sent, fs_usec_t trip, fs_usec_t remote)
{
    fs_clock_sample_t sample = {sent, sent + trip, remote, 0};

    return sample;
}

START_TEST(clock_without_samples_knows_nothing)
{
    fs_farm_clock_t clock;
    fs_usec_t offset, bound;

    fs_farm_clock_init(&clock);
    ck_assert_int_eq(fs_farm_clock_read(&clock, 5, &offset, &bound), 0);
}
END_TEST

START_TEST(clock_takes_the_shortest_trip)
{
    fs_farm_clock_t clock;
    fs_usec_t offset, bound;
    fs_clock_sample_t slow = sample_of(1000, 900, EPOCH_US + 1000 + 890);
    fs_clock_sample_t fast = sample_of(3000, 20, EPOCH_US + 3010);
    fs_clock_sample_t late = sample_of(5000, 700, EPOCH_US + 5000);

    fs_farm_clock_init(&clock);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &slow), 1);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &fast), 1);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &late), 1);
    ck_assert_int_eq(fs_farm_clock_read(&clock, 6000, &offset, &bound), 1);
    ck_assert_int_eq(offset, EPOCH_US);
    ck_assert_int_eq(bound, 10 + 2 + 1); /* half the trip, reading errors, drift of 3 ms */
}
END_TEST

START_TEST(clock_forgets_after_eight)
{
    fs_farm_clock_t clock;
    fs_usec_t offset, bound;
    fs_clock_sample_t fast = sample_of(0, 10, EPOCH_US + 5);

    fs_farm_clock_init(&clock);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &fast), 1);
    for (int i = 1; i <= FS_CLOCK_SAMPLES; i++) {
        fs_clock_sample_t slow = sample_of(i * 1000, 400, EPOCH_US + i * 1000 + 200);

        ck_assert_int_eq(fs_farm_clock_read(&clock, 9000, &offset, &bound), 1);
        ck_assert_int_lt(bound, 200);
        ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &slow), 1);
    }
    ck_assert_int_eq(fs_farm_clock_read(&clock, 9000, &offset, &bound), 1);
    ck_assert_int_ge(bound, 200);
}
END_TEST

START_TEST(clock_bound_grows_with_drift_and_remote_bound)
{
    fs_farm_clock_t clock;
    fs_usec_t offset, early, late;
    fs_clock_sample_t sample = sample_of(0, 10, EPOCH_US + 5);

    sample.remote_bound = 70;
    fs_farm_clock_init(&clock);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "ds", &sample), 1);
    ck_assert_int_eq(fs_farm_clock_read(&clock, 0, &offset, &early), 1);
    ck_assert_int_eq(early, 5 + 2 + 70 + 1);
    ck_assert_int_eq(fs_farm_clock_read(&clock, 1000 * FS_USEC_PER_SEC, &offset, &late), 1);
    ck_assert_int_eq(late, 5 + 2 + 70 + 1000 * FS_CLOCK_DRIFT_PPM);
    /* An old short trip loses against a longer one that is fresh. */
    sample = sample_of(1000 * FS_USEC_PER_SEC, 2000, EPOCH_US + 1000 * FS_USEC_PER_SEC + 1000);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "ds", &sample), 1);
    ck_assert_int_eq(fs_farm_clock_read(&clock, 1000 * FS_USEC_PER_SEC, &offset, &late), 1);
    ck_assert_int_lt(late, 1100);
}
END_TEST

START_TEST(clock_refuses_impossible_samples)
{
    const fs_clock_sample_t bad[] = {
        {10, 9, EPOCH_US, 0},        {-1, 9, EPOCH_US, 0},
        {0, 9, EPOCH_US, -1},        {0, 9, -1, 0},
        {0, 9, INT64_MAX, 0},        {0, 9, EPOCH_US, INT64_MAX},
        {0, INT64_MAX, EPOCH_US, 0}, {INT64_MIN, INT64_MAX, EPOCH_US, 0},
    };
    fs_farm_clock_t clock;

    fs_farm_clock_init(&clock);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &bad[i]), 0);
    ck_assert_uint_eq(clock.count, 0);
}
END_TEST

START_TEST(clock_of_another_source_forgets)
{
    fs_farm_clock_t clock;
    fs_usec_t offset, bound;
    fs_clock_sample_t fast = sample_of(0, 2, EPOCH_US + 1);
    fs_clock_sample_t slow = sample_of(100, 300, EPOCH_US + 250 + 100);

    fs_farm_clock_init(&clock);
    fs_farm_clock_add(&clock, "db1:3306", &fast);
    ck_assert_int_eq(fs_farm_clock_add(&clock, "db2:3306", &slow), 1);
    ck_assert_uint_eq(clock.count, 1);
    ck_assert_str_eq(clock.source, "db2:3306");
    fs_farm_clock_read(&clock, 400, &offset, &bound);
    ck_assert_int_eq(offset, EPOCH_US + 100);
    ck_assert_int_ge(bound, 150);
}
END_TEST

START_TEST(clock_source_longer_than_its_field_is_still_one_source)
{
    fs_farm_clock_t clock;
    char name[200];

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    fs_farm_clock_init(&clock);
    for (int i = 0; i < 3; i++) {
        fs_clock_sample_t sample = sample_of(i * 1000, 10, EPOCH_US + i * 1000 + 5);

        fs_farm_clock_add(&clock, name, &sample);
    }
    ck_assert_uint_eq(clock.count, 3);
}
END_TEST

/* A step of the remote clock: what was measured before no longer counts, at the first sample after.
 */
START_TEST(clock_follows_a_step_of_the_remote)
{
    static const int64_t steps[] = {
        INT64_C(3600) * FS_USEC_PER_SEC, -INT64_C(3600) * FS_USEC_PER_SEC, 5000, -5000, 600, -600};

    for (unsigned s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        fs_farm_clock_t clock;
        fs_usec_t offset, bound, sent = 0;
        fs_clock_sample_t after;

        fs_farm_clock_init(&clock);
        for (int i = 0; i < 12; i++, sent += 100000) {
            fs_clock_sample_t sample = sample_of(sent, 20, EPOCH_US + sent + 10);

            fs_farm_clock_add(&clock, "db", &sample);
        }
        after = sample_of(sent, 200, EPOCH_US + steps[s] + sent + 100);
        ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &after), 1);
        fs_farm_clock_read(&clock, sent + 200, &offset, &bound);
        ck_assert_int_le(magnitude(offset - (EPOCH_US + steps[s])), bound);
        ck_assert_int_le(bound, 103);
    }
}
END_TEST

/* Queueing: mostly short, sometimes long, each way on its own. */
static int64_t random_delay(void)
{
    int64_t delay = 5 + random_below(100);

    while (random_below(4) == 0 && delay < 200000)
        delay *= 2 + random_below(6);
    return delay;
}

/* A remote clock that runs `ppm` fast. */
static int64_t remote_at(int64_t mono, int64_t ppm)
{
    return EPOCH_US + mono + mono / 1000000 * ppm + mono % 1000000 * ppm / 1000000;
}

/* 10,000 exchanges with a clock up to 200 ppm off: the error never exceeds the bound. */
static void simulate_exchanges(uint64_t seed, int64_t ppm, int64_t pause)
{
    fs_farm_clock_t clock;
    fs_usec_t mono = 0, offset, bound;

    random_seed(seed);
    fs_farm_clock_init(&clock);
    for (int i = 0; i < 10000; i++) {
        fs_usec_t there = random_delay(), back = random_delay();
        fs_clock_sample_t sample = {mono, mono + there + back, remote_at(mono + there, ppm), 0};
        fs_usec_t asked;

        sample.remote_bound = random_below(300);
        sample.remote += random_below(2 * sample.remote_bound + 1) - sample.remote_bound;
        ck_assert_int_eq(fs_farm_clock_add(&clock, "db", &sample), 1);
        mono = sample.received + random_below(pause);
        asked = sample.received + random_below(mono - sample.received + 1);
        ck_assert_int_eq(fs_farm_clock_read(&clock, asked, &offset, &bound), 1);
        ck_assert_msg(magnitude(asked + offset - remote_at(asked, ppm)) <= bound,
                      "seed %llu ppm %lld exchange %d: error %lld, bound %lld",
                      (unsigned long long)seed, (long long)ppm, i,
                      (long long)(asked + offset - remote_at(asked, ppm)), (long long)bound);
        ck_assert_uint_eq(clock.count, i < FS_CLOCK_SAMPLES ? (unsigned)i + 1 : FS_CLOCK_SAMPLES);
    }
}

START_TEST(clock_error_stays_within_the_bound)
{
    static const int64_t rates[] = {0, 200, -200, 17, -93};

    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        simulate_exchanges(i + 1, rates[i], 2 * FS_USEC_PER_SEC);
        simulate_exchanges(i + 100, rates[i], 2 * FS_USEC_PER_MSEC);
    }
}
END_TEST

/* --- cycle -------------------------------------------------------------------------------------
 */

START_TEST(lead_is_at_most_half_the_interval)
{
    ck_assert_int_eq(fs_cycle_lead(600 * FS_USEC_PER_SEC, 2 * FS_USEC_PER_SEC),
                     2 * FS_USEC_PER_SEC);
    ck_assert_int_eq(fs_cycle_lead(FS_USEC_PER_SEC, 2 * FS_USEC_PER_SEC), FS_USEC_PER_SEC / 2);
    ck_assert_int_eq(fs_cycle_lead(1, 2), 0);
    ck_assert_int_eq(fs_cycle_lead(10, -5), 0);
}
END_TEST

START_TEST(next_activation_is_the_previous_plus_the_interval)
{
    ck_assert_int_eq(fs_cycle_next(1000, 600, 20, 1001), 1600);
    ck_assert_int_eq(fs_cycle_next(1000, 600, 20, 1580), 1600);
    ck_assert_int_eq(fs_cycle_next(1000, 600, 20, 1581), 2200); /* too late for the lead */
    ck_assert_int_eq(fs_cycle_next(1000, 600, 20, 4000), 4600); /* cycles were missed */
    ck_assert_int_eq(fs_cycle_next(1000, 600, 20, 500), 1600);  /* before it was due */
    ck_assert_int_eq(fs_cycle_next(1000, 600, INT64_MAX, 5), INT64_MAX);
}
END_TEST

/* Always on the grid, with the lead, and never later than needed. */
START_TEST(next_activation_keeps_the_grid)
{
    random_seed(7);
    for (int i = 0; i < 100000; i++) {
        int64_t interval = 1 + random_below(i % 2 ? 50 : 900 * FS_USEC_PER_SEC);
        int64_t previous = EPOCH_US + random_below(1000 * FS_USEC_PER_SEC);
        int64_t lead = fs_cycle_lead(interval, random_below(20 * FS_USEC_PER_SEC));
        int64_t now = previous + random_below(20 * interval) - interval;
        int64_t next = fs_cycle_next(previous, interval, lead, now);

        ck_assert_int_gt(next, previous);
        ck_assert_int_eq((next - previous) % interval, 0);
        ck_assert_int_ge(next, now + lead);
        ck_assert(next - interval <= previous || next - interval < now + lead);
    }
}
END_TEST

static fs_manifest_t group_of(fs_usec_t activation, fs_usec_t interval, fs_usec_t min_lead)
{
    fs_manifest_t manifest;

    memset(&manifest, 0, sizeof(manifest));
    strcpy(manifest.group, "default");
    manifest.activation_time = activation;
    manifest.grid = activation;
    manifest.interval = interval;
    manifest.min_lead = min_lead;
    return manifest;
}

/* datasrv first, all of them within milliseconds; agents only after a grace, all before the next.
 */
START_TEST(agents_leave_the_promotion_to_the_datasrv)
{
    static const int64_t intervals[] = {1, 2, 10, 600, 86400};

    for (unsigned i = 0; i < sizeof(intervals) / sizeof(intervals[0]); i++) {
        fs_manifest_t manifest =
            group_of(EPOCH_US, intervals[i] * FS_USEC_PER_SEC, 5 * FS_USEC_PER_SEC);
        fs_usec_t lead = fs_cycle_lead(manifest.interval, manifest.min_lead);
        fs_usec_t first = fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 0);
        fs_usec_t last = fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 1);
        fs_usec_t agent = fs_cycle_promote_at(&manifest, FS_PROMOTER_AGENT, 0);
        fs_usec_t late = fs_cycle_promote_at(&manifest, FS_PROMOTER_AGENT, 1);

        ck_assert_int_eq(first, EPOCH_US);
        ck_assert_int_lt(first, last);
        ck_assert_int_le(last, EPOCH_US + 5 * FS_USEC_PER_MSEC);
        ck_assert_int_lt(last, agent);
        ck_assert_int_lt(agent, late);
        ck_assert_int_le(late - EPOCH_US, 4 * FS_USEC_PER_SEC);
        ck_assert_int_le(late - EPOCH_US, lead / 2);
    }
}
END_TEST

START_TEST(promotion_is_never_tried_while_held)
{
    fs_manifest_t manifest = group_of(EPOCH_US, FS_USEC_PER_SEC, 0);

    manifest.state = FS_GROUP_HELD;
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 0.5), FS_CYCLE_NEVER);
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_AGENT, 0.5), FS_CYCLE_NEVER);
    manifest.state = FS_GROUP_RUNNING;
    manifest.pinned_version = 3;
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 0.5), FS_CYCLE_NEVER);
    manifest.pinned_version = 0;
    manifest.state = FS_GROUP_FAILED; /* a refused promotion is tried again next time */
    ck_assert_int_lt(fs_cycle_promote_at(&manifest, FS_PROMOTER_AGENT, 0.5), FS_CYCLE_NEVER);
}
END_TEST

START_TEST(jitter_out_of_range_is_harmless)
{
    fs_manifest_t manifest = group_of(EPOCH_US, 600 * FS_USEC_PER_SEC, 2 * FS_USEC_PER_SEC);

    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, -3), EPOCH_US);
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 0.0 / 0.0), EPOCH_US);
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 1e300),
                     fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 1));
}
END_TEST

START_TEST(retries_become_rarer_but_stay_within_an_interval)
{
    fs_manifest_t manifest = group_of(EPOCH_US, 600 * FS_USEC_PER_SEC, 0);
    fs_usec_t before = 0;

    for (unsigned failures = 0; failures < 40; failures++) {
        fs_usec_t wait = fs_cycle_retry(&manifest, failures, 1);

        ck_assert_int_ge(wait, before);
        ck_assert_int_gt(fs_cycle_retry(&manifest, failures, 0), 0);
        before = wait;
    }
    ck_assert_int_eq(before, 5 * FS_USEC_PER_SEC);
    manifest.interval = FS_USEC_PER_SEC;
    ck_assert_int_eq(fs_cycle_retry(&manifest, UINT32_MAX, 1), FS_USEC_PER_SEC);
}
END_TEST

START_TEST(silence_is_harmless_until_something_newer_can_be_in_force)
{
    fs_manifest_t manifest = group_of(EPOCH_US, 600 * FS_USEC_PER_SEC, 2 * FS_USEC_PER_SEC);
    fs_usec_t interval = manifest.interval;

    /* Heard before, or shortly after the activation: an interval after it. */
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US - 5), EPOCH_US + interval);
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US + 5), EPOCH_US + interval);
    /* Nobody promoted for long: the next place on the grid that leaves the lead. */
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US + 5 * interval - 5),
                     EPOCH_US + 6 * interval);
    /* Activated off the grid: the grid stays. */
    manifest.grid = EPOCH_US - 7 * interval - 90 * FS_USEC_PER_SEC;
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US + 5),
                     EPOCH_US + interval - 90 * FS_USEC_PER_SEC);
    manifest.grid = EPOCH_US + 3 * interval + 90 * FS_USEC_PER_SEC;
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US + 5),
                     EPOCH_US + 90 * FS_USEC_PER_SEC);
    manifest.grid = EPOCH_US;
    /* Held for an hour: not stale as long as that is confirmed now and then. */
    manifest.state = FS_GROUP_HELD;
    ck_assert_int_ge(fs_cycle_stale_after(&manifest, EPOCH_US + 7 * interval - 5),
                     EPOCH_US + 7 * interval - 5 + FS_CYCLE_SILENCE);
}
END_TEST

START_TEST(who_waits_has_a_lease)
{
    fs_manifest_t manifest = group_of(EPOCH_US, 600 * FS_USEC_PER_SEC, 2 * FS_USEC_PER_SEC);
    fs_usec_t notice = fs_cycle_notice(&manifest);

    ck_assert_int_eq(fs_cycle_decide_at(&manifest, FS_PROMOTER_DATASRV, 0), FS_CYCLE_NEVER);
    manifest.state = FS_GROUP_WAITING;
    ck_assert_int_eq(fs_cycle_promote_at(&manifest, FS_PROMOTER_DATASRV, 0), FS_CYCLE_NEVER);
    /* Any time for a datasrv; agents when it is too late for that, earlier if there is none. */
    ck_assert_int_eq(fs_cycle_decide_at(&manifest, FS_PROMOTER_DATASRV, 1), 0);
    ck_assert_int_gt(fs_cycle_decide_at(&manifest, FS_PROMOTER_AGENT, 0), EPOCH_US - notice);
    ck_assert_int_le(fs_cycle_decide_at(&manifest, FS_PROMOTER_LONE_AGENT, 1), EPOCH_US - notice);
    /* Before the plan's time silence is harmless, later it is for as long as an order takes. */
    ck_assert_int_eq(notice, FS_CYCLE_NOTICE);
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US - 300 * FS_USEC_PER_SEC), EPOCH_US);
    ck_assert_int_eq(fs_cycle_stale_after(&manifest, EPOCH_US),
                     EPOCH_US + notice - FS_CYCLE_CONFIRMED);
    manifest.min_lead = 7 * FS_USEC_PER_SEC;
    ck_assert_int_eq(fs_cycle_notice(&manifest), 7 * FS_USEC_PER_SEC);
}
END_TEST

/* --- all ---------------------------------------------------------------------------------------
 */

static TCase *clock_tests(void)
{
    TCase *tcase = tcase_create("clock");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, clock_without_samples_knows_nothing);
    tcase_add_test(tcase, clock_takes_the_shortest_trip);
    tcase_add_test(tcase, clock_forgets_after_eight);
    tcase_add_test(tcase, clock_bound_grows_with_drift_and_remote_bound);
    tcase_add_test(tcase, clock_refuses_impossible_samples);
    tcase_add_test(tcase, clock_of_another_source_forgets);
    tcase_add_test(tcase, clock_source_longer_than_its_field_is_still_one_source);
    tcase_add_test(tcase, clock_follows_a_step_of_the_remote);
    tcase_add_test(tcase, clock_error_stays_within_the_bound);
    return tcase;
}

static TCase *cycle_tests(void)
{
    TCase *tcase = tcase_create("cycle");

    tcase_add_test(tcase, lead_is_at_most_half_the_interval);
    tcase_add_test(tcase, next_activation_is_the_previous_plus_the_interval);
    tcase_add_test(tcase, next_activation_keeps_the_grid);
    tcase_add_test(tcase, agents_leave_the_promotion_to_the_datasrv);
    tcase_add_test(tcase, promotion_is_never_tried_while_held);
    tcase_add_test(tcase, jitter_out_of_range_is_harmless);
    tcase_add_test(tcase, retries_become_rarer_but_stay_within_an_interval);
    tcase_add_test(tcase, silence_is_harmless_until_something_newer_can_be_in_force);
    tcase_add_test(tcase, who_waits_has_a_lease);
    return tcase;
}

static Suite *sync_suite(void)
{
    Suite *suite = suite_create("sync");

    suite_add_tcase(suite, clock_tests());
    suite_add_tcase(suite, cycle_tests());
    return suite;
}

FS_TEST_MAIN(sync_suite)
