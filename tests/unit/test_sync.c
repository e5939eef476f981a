/* SPDX-License-Identifier: Apache-2.0 */
/* Farm clock, cycle arithmetic, manifest and member: the parts of lib/sync that only compute. */
#include "fs_test.h"

#include <stdint.h>
#include <string.h>

#include "sync/fs_cycle.h"
#include "sync/fs_farm_clock.h"
#include "sync/fs_manifest.h"
#include "sync/fs_source.h"

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

/* --- manifest ----------------------------------------------------------------------------------
 */

#define DIGEST_A "00000000000000000000000000000000000000000000000000000000000000aa"
#define DIGEST_B "00000000000000000000000000000000000000000000000000000000000000bb"
#define HEAD                                                                                       \
    "{\"group\":\"default\",\"epoch\":17,\"version\":12,\"active_version\":11,"                    \
    "\"activation_time\":1790000000000000,\"interval\":600000000,\"min_lead\":5000000,"            \
    "\"state\":\"running\",\"pinned_version\":null,\"reason\":\"\","
#define DATASET(name, digest)                                                                      \
    "{\"name\":\"" name "\",\"digest\":\"" digest "\",\"bytes\":12,\"rows\":3}"
#define GOOD                                                                                       \
    HEAD "\"versions\":[{\"version\":11,\"datasets\":[" DATASET(                                   \
        "prices", DIGEST_A) "]},"                                                                  \
                            "{\"version\":12,\"datasets\":[" DATASET(                              \
                                "prices", DIGEST_B) "," DATASET("a\\u00e4", DIGEST_A) "]}]}"

static fs_manifest_t *parse(const char *json)
{
    fs_manifest_t *manifest;
    fs_result_t result;

    ck_assert_int_eq(fs_manifest_parse(&manifest, json, strlen(json), &result), APR_SUCCESS);
    return manifest;
}

START_TEST(manifest_is_read)
{
    fs_manifest_t *manifest = parse(GOOD);

    ck_assert_str_eq(manifest->group, "default");
    ck_assert_int_eq(manifest->epoch, 17);
    ck_assert_int_eq(manifest->active.version, 11);
    ck_assert_int_eq(manifest->staged.version, 12);
    ck_assert_int_eq(manifest->activation_time, EPOCH_US);
    ck_assert_int_eq(manifest->interval, 600 * FS_USEC_PER_SEC);
    ck_assert_int_eq(manifest->min_lead, 5 * FS_USEC_PER_SEC);
    ck_assert_int_eq(manifest->pinned_version, 0);
    ck_assert_uint_eq(manifest->staged.dataset_count, 2);
    ck_assert_str_eq(manifest->staged.datasets[0].name, "a\xc3\xa4"); /* ordered by name */
    ck_assert_str_eq(manifest->staged.datasets[1].name, "prices");
    ck_assert_uint_eq(manifest->staged.datasets[1].rows, 3);
    ck_assert_ptr_eq(fs_manifest_in_force(manifest, EPOCH_US - 1), &manifest->active);
    ck_assert_ptr_eq(fs_manifest_in_force(manifest, EPOCH_US), &manifest->staged);
    fs_manifest_free(manifest);
}
END_TEST

/* What is printed reads back the same, whatever state it is in. */
START_TEST(manifest_prints_as_it_reads)
{
    fs_manifest_t *manifest = parse(GOOD), *again;
    size_t length, length_again;
    char *text, *text_again;

    manifest->pinned_version = 11;
    manifest->state = FS_GROUP_FAILED;
    strcpy(manifest->reason, "FS0104: \"row\" too l\xc3\xb6ng\nand\xe2\x82"); /* cut elsewhere */
    text = fs_manifest_print(manifest, &length);
    ck_assert_uint_eq(length, strlen(text));
    again = parse(text);
    ck_assert_int_eq(again->pinned_version, 11);
    ck_assert_int_eq(again->state, FS_GROUP_FAILED);
    ck_assert_str_eq(again->reason, "FS0104: \"row\" too l\xc3\xb6ng and?\?");
    text_again = fs_manifest_print(again, &length_again);
    ck_assert_str_eq(text, text_again);
    free(text);
    free(text_again);
    fs_manifest_free(manifest);
    fs_manifest_free(again);
}
END_TEST

START_TEST(manifest_with_nothing_staged_has_one_version)
{
    fs_manifest_t *manifest = parse(
        "{\"group\":\"g\",\"epoch\":1,\"version\":4,\"active_version\":4,"
        "\"activation_time\":5,\"interval\":1,\"min_lead\":0,\"state\":\"held\","
        "\"pinned_version\":4,\"reason\":\"\",\"versions\":[{\"version\":4,\"datasets\":[" DATASET(
            "p", DIGEST_A) "]}]}");

    ck_assert_ptr_eq(manifest->active.datasets, manifest->staged.datasets);
    ck_assert_uint_eq(fs_manifest_in_force(manifest, 9)->dataset_count, 1);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(manifest_of_a_new_group_has_no_version)
{
    fs_manifest_t *manifest =
        parse("{\"group\":\"g\",\"epoch\":0,\"version\":0,\"active_version\":0,"
              "\"activation_time\":5,\"interval\":1,\"min_lead\":0,\"state\":\"running\","
              "\"pinned_version\":null,\"reason\":\"\",\"versions\":[]}");
    char hex[FS_DIGEST_HEX_SIZE];

    ck_assert_uint_eq(manifest->active.dataset_count, 0);
    fs_manifest_version_digest(&manifest->active, hex);
    ck_assert_str_eq(hex, "");
    fs_manifest_free(manifest);
}
END_TEST

/* The good manifest with one thing replaced. */
static void refuses_with(const char *what, const char *by)
{
    const char *place = strstr(GOOD, what);
    fs_manifest_t *manifest = (fs_manifest_t *)&place;
    fs_result_t result;
    char *json;

    ck_assert_ptr_nonnull(place);
    ck_assert_int_gt(
        asprintf(&json, "%.*s%s%s", (int)(place - GOOD), GOOD, by, place + strlen(what)), 0);
    ck_assert_msg(fs_manifest_parse(&manifest, json, strlen(json), &result) != APR_SUCCESS,
                  "taken: %s", json);
    ck_assert_str_eq(result.problem, "FS0360");
    ck_assert_ptr_null(manifest);
    free(json);
}

START_TEST(manifest_that_is_wrong_is_refused)
{
    static const char *const wrong[][2] = {
        {"\"group\":\"default\",", ""},
        {"\"default\"", "\"\""},
        {"\"default\"", "\"a\\nb\""},
        {"\"default\"", "\"a\\u0000b\""},
        {"\"default\"", "\"12345678901234567890123456789012345678901234567890123456789012345\""},
        {"\"epoch\":17", "\"epoch\":-1"},
        {"\"epoch\":17", "\"epoch\":17.5"},
        {"\"epoch\":17", "\"epoch\":\"17\""},
        {"\"epoch\":17", "\"epoch\":17,\"epoch\":18"},
        {"\"epoch\":17", "\"epoch\":99999999999999999999"},
        {"\"version\":12,", "\"version\":-12,"},
        {"\"version\":12,", "\"version\":13,"},
        {"\"interval\":600000000", "\"interval\":0"},
        {"\"min_lead\":5000000", "\"min_lead\":-1"},
        {"1790000000000000", "9223372036854775807"},
        {"\"running\"", "\"runnin\""},
        {"\"running\"", "7"},
        {"\"pinned_version\":null", "\"pinned_version\":0"},
        {"\"pinned_version\":null,", ""},
        {"\"reason\":\"\"", "\"reason\":null"},
        {"\"versions\":[", "\"versions\":[7,"},
        {"\"versions\":", "\"version_s\":"},
        {"\"versions\":[", "\"versions\":[],\"more\":["},
        {"\"versions\":[", "\"versions\":[{\"version\":11,\"datasets\":[]},"},
        {"{\"version\":11,\"datasets\"", "{\"version\":12,\"datasets\""},
        {"{\"version\":11,\"datasets\"", "{\"version\":10,\"datasets\""},
        {"\"datasets\":[", "\"datasets\":[null,"},
        {"\"a\\u00e4\"", "\"prices\""},
        {"\"bytes\":12", "\"bytes\":-12"},
        {"\"rows\":3", "\"rows\":null"},
        {DIGEST_B, "0000000000000000000000000000000000000000000000000000000000000bb"},
        {DIGEST_B, DIGEST_B "0"},
        {DIGEST_B, "00000000000000000000000000000000000000000000000000000000000000BB"},
        {"}]}]}", "}]}]"},
        {"}]}]}", "}]}]} x"},
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuses_with(wrong[i][0], wrong[i][1]);
}
END_TEST

START_TEST(manifest_cut_anywhere_is_refused)
{
    fs_manifest_t *manifest;
    fs_result_t result;

    for (size_t length = 0; length < strlen(GOOD); length++) {
        char *part = malloc(length ? length : 1); /* so that a sanitizer sees reading beyond */

        memcpy(part, GOOD, length);
        ck_assert_int_ne(fs_manifest_parse(&manifest, part, length, &result), APR_SUCCESS);
        free(part);
    }
}
END_TEST

START_TEST(manifest_beyond_its_limits_is_refused)
{
    char *big = malloc(FS_MANIFEST_MAX_BYTES + 2);
    fs_manifest_version_t version = {1, 0, NULL};
    fs_digest_t digest = {{0}};
    fs_manifest_t *manifest;
    fs_result_t result;
    char name[16];

    memset(big, ' ', FS_MANIFEST_MAX_BYTES + 1);
    ck_assert_int_ne(fs_manifest_parse(&manifest, big, FS_MANIFEST_MAX_BYTES + 1, &result),
                     APR_SUCCESS);
    free(big);
    for (int i = 0; i < FS_MANIFEST_MAX_DATASETS; i++) {
        snprintf(name, sizeof(name), "d%d", i * 7 % FS_MANIFEST_MAX_DATASETS);
        ck_assert_int_eq(fs_manifest_add_dataset(&version, name, strlen(name), &digest, 1, 1),
                         APR_SUCCESS);
    }
    ck_assert_int_eq(fs_manifest_add_dataset(&version, "z", 1, &digest, 1, 1), APR_ENOSPC);
    for (unsigned i = 1; i < version.dataset_count; i++)
        ck_assert_int_lt(strcmp(version.datasets[i - 1].name, version.datasets[i].name), 0);
    free(version.datasets);
}
END_TEST

/* A manifest as large as it may be still fits the limit of its text. */
START_TEST(largest_manifest_can_be_sent)
{
    fs_manifest_t manifest = group_of(EPOCH_US, 1, 1);
    fs_digest_t digest = {{0}};
    char name[FS_IMAGE_NAME_SIZE];
    size_t length;
    char *text;

    manifest.active.version = INT64_MAX - 1;
    manifest.staged.version = INT64_MAX;
    for (int i = 0; i < FS_MANIFEST_MAX_DATASETS; i++) {
        memset(name, '"', sizeof(name)); /* two bytes each in JSON */
        snprintf(name + 60, 5, "%04d", i);
        fs_manifest_add_dataset(&manifest.active, name, 64, &digest, INT64_MAX, INT64_MAX);
        fs_manifest_add_dataset(&manifest.staged, name, 64, &digest, INT64_MAX, INT64_MAX);
    }
    text = fs_manifest_print(&manifest, &length);
    ck_assert_uint_le(length, FS_MANIFEST_MAX_BYTES);
    fs_manifest_free(parse(text));
    free(text);
    free(manifest.active.datasets);
    free(manifest.staged.datasets);
}
END_TEST

START_TEST(version_digest_tells_contents_apart)
{
    fs_manifest_t *manifest = parse(GOOD);
    char first[FS_DIGEST_HEX_SIZE], other[FS_DIGEST_HEX_SIZE];

    fs_manifest_version_digest(&manifest->active, first);
    fs_manifest_version_digest(&manifest->staged, other);
    ck_assert_uint_eq(strlen(first), 64);
    ck_assert_str_ne(first, other);
    manifest->active.datasets[0].digest.bytes[0] ^= 1;
    fs_manifest_version_digest(&manifest->active, other);
    ck_assert_str_ne(first, other);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(text_is_made_fit_for_people)
{
    char out[8];

    fs_text_fit(out, sizeof(out), "short", 5);
    ck_assert_str_eq(out, "short");
    fs_text_fit(out, sizeof(out), "abcdefghi", 9);
    ck_assert_str_eq(out, "abcdefg");
    fs_text_fit(out, sizeof(out), "abcdef\xc3\xa4", 8); /* a character isn't cut */
    ck_assert_str_eq(out, "abcdef");
    fs_text_fit(out, sizeof(out), "a\nb\x7f\x01", 5);
    ck_assert_str_eq(out, "a b  ");
    fs_text_fit(out, sizeof(out), "\xc3(\xff\xed\xa0\x80", 6); /* cut, never valid, a surrogate */
    ck_assert_str_eq(out, "?(?\?\?\?");
    fs_text_fit(out, sizeof(out), "\xf0\x9f\x90\x98", 4);
    ck_assert_str_eq(out, "\xf0\x9f\x90\x98");
    fs_text_fit(out, sizeof(out), "\xf0\x9f\x90", 3);
    ck_assert_str_eq(out, "?\?\?");
    fs_text_fit(out, 1, "abc", 3);
    ck_assert_str_eq(out, "");
}
END_TEST

/* --- member ------------------------------------------------------------------------------------
 */

static fs_member_t some_member(void)
{
    fs_member_t member = {.name = "web1",
                          .kind = "agent",
                          .group = "default",
                          .address = "10.0.0.1:4480",
                          .version_active = 11,
                          .version_staged = 12,
                          .digest = DIGEST_A,
                          .clock_offset = -3600000000,
                          .clock_bound = 55,
                          .clock_source = "http://ds1:4470",
                          .problem = "FS0350: \"quoted\" and \xc3\xa4"};

    return member;
}

START_TEST(member_prints_as_it_reads)
{
    fs_member_t member = some_member(), again;
    size_t length;
    char *text = fs_member_print(&member, &length);
    fs_result_t result;

    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_str_eq(again.name, member.name);
    ck_assert_str_eq(again.kind, member.kind);
    ck_assert_str_eq(again.group, member.group);
    ck_assert_str_eq(again.address, member.address);
    ck_assert_int_eq(again.version_active, 11);
    ck_assert_int_eq(again.version_staged, 12);
    ck_assert_str_eq(again.digest, member.digest);
    ck_assert_int_eq(again.clock_offset, member.clock_offset);
    ck_assert_int_eq(again.clock_bound, 55);
    ck_assert_str_eq(again.clock_source, member.clock_source);
    ck_assert_str_eq(again.problem, member.problem);
    free(text);
}
END_TEST

START_TEST(member_without_a_clock_says_null)
{
    fs_member_t member = some_member(), again;
    fs_result_t result;
    size_t length;
    char *text;

    member.clock_bound = -1;
    member.digest[0] = '\0';
    text = fs_member_print(&member, &length);
    ck_assert_ptr_nonnull(strstr(text, "\"clock_bound_us\":null"));
    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_int_eq(again.clock_bound, -1);
    free(text);
}
END_TEST

/* A message that was cut inside a character must not lose the whole report. */
START_TEST(member_with_a_cut_problem_is_still_reported)
{
    fs_member_t member = some_member(), again;
    fs_result_t result;
    size_t length;
    char *text;

    strcpy(member.problem, "FS0305: near '\n\xe2\x82");
    text = fs_member_print(&member, &length);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_str_eq(again.problem, "FS0305: near ' ?\?");
    free(text);
}
END_TEST

START_TEST(member_that_is_wrong_is_refused)
{
    static const char *const wrong[][2] = {
        {"\"web1\"", "\"\""},
        {"\"web1\"", "\"a\\tb\""},
        {"\"web1\"", "17"},
        {"\"agent\"", "\"agents\""},
        {"\"agent\"", "\"root\""},
        {"\"group\"", "\"gruop\""},
        {":11", ":-11"},
        {":12", ":\"12\""},
        {DIGEST_A, "aa"},
        {DIGEST_A, "zz" DIGEST_A},
        {":55", ":-55"},
        {":55", ":5.5"},
        {"\"FS0350", "7,\"x\":\"FS0"},
        {"}", ""},
    };
    fs_member_t member = some_member(), again;
    size_t length;
    char *text = fs_member_print(&member, &length);

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *place = strstr(text, wrong[i][0]);
        fs_result_t result;
        char *json;

        ck_assert_msg(place != NULL, "%s in %s", wrong[i][0], text);
        ck_assert_int_gt(asprintf(&json, "%.*s%s%s", (int)(place - text), text, wrong[i][1],
                                  place + strlen(wrong[i][0])),
                         0);
        ck_assert_msg(fs_member_parse(&again, json, strlen(json), &result) != APR_SUCCESS,
                      "taken: %s", json);
        ck_assert_str_eq(result.problem, "FS0375");
        free(json);
    }
    free(text);
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

static TCase *manifest_tests(void)
{
    TCase *tcase = tcase_create("manifest");

    tcase_add_test(tcase, manifest_is_read);
    tcase_add_test(tcase, manifest_prints_as_it_reads);
    tcase_add_test(tcase, manifest_with_nothing_staged_has_one_version);
    tcase_add_test(tcase, manifest_of_a_new_group_has_no_version);
    tcase_add_test(tcase, manifest_that_is_wrong_is_refused);
    tcase_add_test(tcase, manifest_cut_anywhere_is_refused);
    tcase_add_test(tcase, manifest_beyond_its_limits_is_refused);
    tcase_add_test(tcase, largest_manifest_can_be_sent);
    tcase_add_test(tcase, version_digest_tells_contents_apart);
    tcase_add_test(tcase, text_is_made_fit_for_people);
    return tcase;
}

static TCase *member_tests(void)
{
    TCase *tcase = tcase_create("member");

    tcase_add_test(tcase, member_prints_as_it_reads);
    tcase_add_test(tcase, member_without_a_clock_says_null);
    tcase_add_test(tcase, member_with_a_cut_problem_is_still_reported);
    tcase_add_test(tcase, member_that_is_wrong_is_refused);
    return tcase;
}

static Suite *sync_suite(void)
{
    Suite *suite = suite_create("sync");

    suite_add_tcase(suite, clock_tests());
    suite_add_tcase(suite, cycle_tests());
    suite_add_tcase(suite, manifest_tests());
    suite_add_tcase(suite, member_tests());
    return suite;
}

FS_TEST_MAIN(sync_suite)
