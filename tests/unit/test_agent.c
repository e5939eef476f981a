/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's decisions, under times that tests make up. Promises of the design: 2, 3, 7, 12. */
#include "fs_test.h"

#include <limits.h>

#include <string.h>

#include "agent_config.h"
#include "plan.h"

#define SEC FS_USEC_PER_SEC
#define T0  INT64_C(1790000000000000)

/* A manifest with one dataset a version, whose content follows from the version and `content`. */
static void make_version(fs_manifest_version_t *version, int64_t number, int content)
{
    char text[64];

    memset(version, 0, sizeof(*version));
    version->version = number;
    if (!number)
        return;
    version->dataset_count = 1;
    version->datasets = calloc(1, sizeof(*version->datasets));
    snprintf(version->datasets->name, sizeof(version->datasets->name), "prices");
    snprintf(text, sizeof(text), "%lld/%d", (long long)number, content);
    fs_digest_of(&version->datasets->digest, text, strlen(text));
}

static fs_manifest_t *make_manifest(int64_t epoch, int64_t active, int64_t staged)
{
    fs_manifest_t *manifest = calloc(1, sizeof(*manifest));

    snprintf(manifest->group, sizeof(manifest->group), "default");
    manifest->epoch = epoch;
    manifest->activation_time = T0;
    manifest->interval = 10 * SEC;
    manifest->min_lead = 2 * SEC;
    make_version(&manifest->active, active, 0);
    make_version(&manifest->staged, staged, 0);
    return manifest;
}

static const fs_control_group_t nowhere; /* a record that publishes nothing */

static fs_take_t judge(const fs_manifest_t *have, const fs_manifest_t *got, fs_usec_t farm)
{
    fs_known_t known;

    fs_known_from_manifest(&known, have);
    return fs_plan_take(&known, got, "default", farm, 1);
}

static void add_view(fs_plan_views_t *views, uint64_t id, const fs_manifest_version_t *version)
{
    fs_plan_view_t view = {.id = id, .version = version->version, .published = T0 - SEC};

    fs_manifest_version_digest(version, view.digest);
    fs_plan_view_add(views, &view);
}

/* --- whom to ask ------------------------------------------------------------------------------ */

static char *const urls[] = {"http://ds1:4470", "http://ds2:4470", "http://ds3:4470",
                             "http://ds4:4470"};

START_TEST(servers_spread_over_names)
{
    unsigned counts[4] = {0};

    for (int i = 0; i < 400; i++) {
        fs_servers_t servers;
        char name[16];

        snprintf(name, sizeof(name), "web%d", i);
        fs_servers_init(&servers, 4, urls, name);
        ck_assert_int_ge(servers.current, 0);
        ck_assert_int_lt(servers.current, 4);
        counts[servers.current]++;
    }
    for (int i = 0; i < 4; i++)
        ck_assert_uint_gt(counts[i], 50);
}
END_TEST

START_TEST(servers_move_on_and_stay_with_a_working_one)
{
    fs_servers_t servers;
    unsigned first, second;

    fs_servers_init(&servers, 2, urls, "web1");
    first = (unsigned)servers.current;
    second = 1 - first;
    fs_servers_failed(&servers, first, 100 * SEC, 1);
    ck_assert_int_eq(fs_servers_next(&servers, 100 * SEC), (int)second);
    fs_servers_worked(&servers, second);
    /* The first one's back-off is long over: no reason to leave one that works. */
    ck_assert_int_eq(fs_servers_next(&servers, 1000 * SEC), (int)second);
}
END_TEST

START_TEST(servers_all_down_is_sql_until_a_back_off_is_over)
{
    fs_servers_t servers;
    fs_usec_t now = 100 * SEC;
    int tries = 0;

    fs_servers_init(&servers, 2, urls, "web1");
    fs_servers_failed(&servers, (unsigned)servers.current, now, 1);
    fs_servers_failed(&servers, (unsigned)servers.current, now, 1);
    ck_assert_int_eq(servers.current, FS_SERVERS_SQL);
    ck_assert_int_eq(fs_servers_next(&servers, now), FS_SERVERS_SQL);
    /* Ten minutes of looking each 100 ms: both are asked again, ever more seldom, never given up.
     */
    for (; now < 700 * SEC; now += SEC / 10) {
        int index = fs_servers_next(&servers, now);

        if (index < 0)
            continue;
        tries++;
        fs_servers_failed(&servers, (unsigned)index, now, 1);
    }
    ck_assert_int_gt(tries, 2 * 600 / 15 - 4);
    ck_assert_int_lt(tries, 2 * 600 / 15 + 20);
    fs_servers_worked(&servers, 1);
    ck_assert_int_eq(fs_servers_next(&servers, now), 1);
}
END_TEST

START_TEST(servers_late_failure_of_another_thread_moves_nobody)
{
    fs_servers_t servers;
    unsigned first, second;

    fs_servers_init(&servers, 2, urls, "web1");
    first = (unsigned)servers.current;
    second = 1 - first;
    fs_servers_failed(&servers, first, SEC, 1);
    fs_servers_failed(&servers, first, SEC, 1);
    ck_assert_int_eq(servers.current, (int)second);
    fs_servers_failed(&servers, 99, SEC, 1);
    fs_servers_worked(&servers, 99);
    ck_assert_int_eq(servers.current, (int)second);

    /* The third works; a late word about the first doesn't send anybody back to the second. */
    fs_servers_init(&servers, 3, urls, "web1");
    first = (unsigned)servers.current;
    fs_servers_failed(&servers, first, SEC, 1);
    fs_servers_failed(&servers, (first + 1) % 3, SEC, 1);
    ck_assert_int_eq(servers.current, (int)((first + 2) % 3));
    fs_servers_failed(&servers, first, 100 * SEC, 1);
    ck_assert_int_eq(servers.current, (int)((first + 2) % 3));
}
END_TEST

START_TEST(servers_order_of_the_list_does_not_matter)
{
    char *const other_way[] = {urls[3], urls[1], urls[0], urls[2]};

    for (int i = 0; i < 100; i++) {
        fs_servers_t one, other;
        char name[16];

        snprintf(name, sizeof(name), "web%d", i);
        fs_servers_init(&one, 4, urls, name);
        fs_servers_init(&other, 4, other_way, name);
        ck_assert_str_eq(urls[one.current], other_way[other.current]);
    }
}
END_TEST

/* One second after another as the clock's thread does it; returns when it was home, 0 if never. */
static fs_usec_t seconds_until_home(fs_servers_t *servers, fs_usec_t back, double chance,
                                    int *looks)
{
    for (fs_usec_t now = SEC; now < 1000 * SEC; now += SEC) {
        int home = fs_servers_home(servers, now);

        if (home < 0)
            continue;
        ++*looks;
        ck_assert_int_eq(home, (int)servers->home);
        if (now < back)
            fs_servers_failed(servers, (unsigned)home, now, chance);
        else if (fs_servers_return(servers, now))
            return now;
    }
    return 0;
}

START_TEST(servers_spread_again_when_one_is_back)
{
    static const double chances[] = {0, 0.5, 1};

    for (int i = 0; i < 3; i++) {
        fs_servers_t servers;
        fs_usec_t when, own = (fs_usec_t)(60 * SEC * (1 + chances[i]));
        int looks = 0;

        fs_servers_init(&servers, 3, urls, "web1");
        fs_servers_failed(&servers, servers.home, 0, chances[i]);
        ck_assert_int_ne(servers.current, (int)servers.home);
        fs_servers_worked(&servers, (unsigned)servers.current);
        ck_assert_int_eq(fs_servers_home(&servers, 59 * SEC), -1);
        ck_assert_int_eq(fs_servers_return(&servers, 59 * SEC), 0);
        when = seconds_until_home(&servers, 200 * SEC, chances[i], &looks);
        /* Back at 200 s; looked at each 60 to 120 s, and not more often while it is away. */
        ck_assert_int_ge(when, 200 * SEC);
        ck_assert_int_lt(when, 200 * SEC + own);
        ck_assert_int_le(looks, 4);
        ck_assert_int_eq(servers.current, (int)servers.home);
        ck_assert_int_eq(fs_servers_home(&servers, 10000 * SEC), -1);
    }
}
END_TEST

START_TEST(servers_none_is_sql)
{
    fs_servers_t servers;

    fs_servers_init(&servers, 0, NULL, "web1");
    ck_assert_int_eq(fs_servers_next(&servers, SEC), FS_SERVERS_SQL);
    ck_assert_int_eq(fs_servers_home(&servers, SEC), -1);
}
END_TEST

START_TEST(backoff_doubles_within_its_limits)
{
    ck_assert_int_eq(fs_plan_backoff(1, 100, 1000, 1), 100);
    ck_assert_int_eq(fs_plan_backoff(2, 100, 1000, 1), 200);
    ck_assert_int_eq(fs_plan_backoff(2, 100, 1000, 0), 100);
    ck_assert_int_eq(fs_plan_backoff(4, 100, 1000, 1), 800);
    ck_assert_int_eq(fs_plan_backoff(1000000, 100, 1000, 1), 1000);
}
END_TEST

/* --- whether to believe it -------------------------------------------------------------------- */

START_TEST(take_first_and_next_and_same)
{
    fs_manifest_t *have = make_manifest(7, 2, 3), *same = make_manifest(7, 2, 3);
    fs_manifest_t *next = make_manifest(8, 3, 4);
    fs_known_t nothing;

    fs_known_nothing(&nothing);
    ck_assert_int_eq(fs_plan_take(&nothing, have, "default", 0, 0), FS_TAKE_NEW);
    ck_assert_int_eq(judge(have, same, T0 - SEC), FS_TAKE_SAME);
    ck_assert_int_eq(judge(have, next, T0 + SEC), FS_TAKE_NEW);
    same->activation_time += SEC;
    ck_assert_int_eq(judge(have, same, T0 - SEC), FS_TAKE_NEW);
    fs_manifest_free(have);
    fs_manifest_free(same);
    fs_manifest_free(next);
}
END_TEST

START_TEST(take_refuses_what_is_older_foreign_or_changed)
{
    fs_manifest_t *have = make_manifest(7, 2, 3), *got = make_manifest(6, 2, 3);

    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_OLDER);
    got->epoch = 7;
    fs_digest_of(&got->staged.datasets->digest, "other", 5);
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_CHANGED);
    fs_manifest_free(got);

    got = make_manifest(7, 2, 4);
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_CHANGED);
    snprintf(got->group, sizeof(got->group), "other");
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_FOREIGN);
    fs_manifest_free(got);

    got = make_manifest(8, 4, 3);
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_MALFORMED);
    fs_manifest_free(got);
    got = make_manifest(8, 3, 4);
    got->interval = 0;
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_MALFORMED);
    fs_manifest_free(got);
    fs_manifest_free(have);
}
END_TEST

START_TEST(take_never_goes_back)
{
    fs_manifest_t *have = make_manifest(7, 5, 6), *got = make_manifest(8, 5, 5);

    /* 6 isn't in force yet: it may be taken back. Once it is, it may not. */
    ck_assert_int_eq(judge(have, got, T0 - 1), FS_TAKE_NEW);
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_BACKWARDS);
    fs_manifest_free(got);

    got = make_manifest(8, 4, 7);
    ck_assert_int_eq(judge(have, got, T0 - 1), FS_TAKE_BACKWARDS);
    /* Not for a pin either: the content of an older version comes under a number of its own. */
    got->pinned_version = 4;
    ck_assert_int_eq(judge(have, got, T0 - 1), FS_TAKE_BACKWARDS);
    fs_manifest_free(got);
    got = make_manifest(8, 6, 7);
    got->pinned_version = 7;
    ck_assert_int_eq(judge(have, got, T0), FS_TAKE_NEW);
    fs_manifest_free(have);

    /* 5 is pinned though 6 would be due: nobody here has served 6, so it may be taken back. */
    have = make_manifest(7, 5, 6);
    have->pinned_version = 5;
    fs_manifest_free(got);
    got = make_manifest(8, 5, 5);
    ck_assert_int_eq(judge(have, got, T0 + SEC), FS_TAKE_NEW);
    have->pinned_version = 6;
    ck_assert_int_eq(judge(have, got, T0 + SEC), FS_TAKE_BACKWARDS);
    fs_manifest_free(got);
    fs_manifest_free(have);
}
END_TEST

START_TEST(take_knows_the_page_without_its_digests)
{
    fs_control_group_t record = {.epoch = 7,
                                 .active_version = 2,
                                 .staged_version = 3,
                                 .activation_time = T0,
                                 .interval = 10 * SEC};
    fs_manifest_t *got = make_manifest(7, 2, 3);
    fs_known_t known;

    fs_known_from_record(&known, &record);
    ck_assert_int_eq(fs_plan_take(&known, got, "default", T0, 1), FS_TAKE_NEW);
    got->epoch = 6;
    ck_assert_int_eq(fs_plan_take(&known, got, "default", T0, 1), FS_TAKE_OLDER);
    fs_manifest_free(got);
    /* The page names what serves, 2, where 3 is in force already. */
    got = make_manifest(7, 3, 4);
    ck_assert_int_eq(fs_plan_take(&known, got, "default", T0, 1), FS_TAKE_NEW);
    fs_manifest_free(got);
    got = make_manifest(7, 1, 4);
    ck_assert_int_eq(fs_plan_take(&known, got, "default", T0, 1), FS_TAKE_BACKWARDS);
    fs_manifest_free(got);
}
END_TEST

/* --- what to publish -------------------------------------------------------------------------- */

START_TEST(compose_publishes_the_schedule_before_the_images)
{
    fs_manifest_t *manifest = make_manifest(8, 2, 3);
    fs_control_group_t last = {0}, record;
    fs_plan_views_t views = {0};

    fs_plan_compose(&record, &last, manifest, &views,
                    &(fs_plan_moment_t){.heard = 77, .stale_after = T0 + SEC});
    ck_assert_str_eq(record.name, "default");
    ck_assert_int_eq(record.staged_version, 3);
    ck_assert_uint_eq(record.active_view, 0);
    ck_assert_uint_eq(record.staged_view, 0);
    ck_assert_int_eq(record.activation_time, T0);
    ck_assert_int_eq(record.heard, 77);
    ck_assert_int_eq(record.stale_after, T0 + SEC);
    add_view(&views, 11, &manifest->active);
    add_view(&views, 12, &manifest->staged);
    fs_plan_compose(&record, &last, manifest, &views,
                    &(fs_plan_moment_t){.heard = 77, .stale_after = T0 + SEC});
    ck_assert_uint_eq(record.active_view, 11);
    ck_assert_uint_eq(record.staged_view, 12);
    ck_assert_int_eq(record.retrieved, T0 - SEC);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(compose_tells_why_a_promotion_was_refused)
{
    fs_manifest_t *manifest = make_manifest(8, 2, 3);
    fs_control_group_t last = {.reason = "earlier"}, record;
    fs_plan_views_t views = {0};
    fs_plan_moment_t moment = {.heard = 77};

    fs_plan_compose(&record, &last, manifest, &views, &moment);
    ck_assert_str_eq(record.reason, "");
    memset(manifest->reason, 'x', sizeof(manifest->reason) - 1); /* longer than the page has room */
    fs_plan_compose(&record, &last, manifest, &views, &moment);
    ck_assert_uint_lt(strlen(record.reason), sizeof(record.reason));
    ck_assert_uint_gt(strlen(record.reason), 240);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(compose_uses_a_view_only_for_its_very_content)
{
    fs_manifest_t *manifest = make_manifest(8, 2, 3);
    fs_control_group_t last = {0}, record;
    fs_plan_views_t views = {0};
    fs_manifest_version_t other;

    make_version(&other, 3, 1); /* the same number, other rows: the database was set back */
    add_view(&views, 12, &other);
    fs_plan_compose(&record, &last, manifest, &views,
                    &(fs_plan_moment_t){.heard = 0, .stale_after = 0});
    ck_assert_uint_eq(record.staged_view, 0);
    free(other.datasets);
    fs_manifest_free(manifest);
}
END_TEST

/* Whoever was away over two switches, or whose disk is full, still has what it served before. */
START_TEST(compose_goes_on_with_what_is_here)
{
    fs_manifest_t *manifest = make_manifest(9, 5, 5), *old = make_manifest(7, 3, 4);
    fs_control_group_t last = {
        .active_version = 3, .staged_version = 4, .data_time = T0 - 50 * SEC};
    fs_plan_moment_t moment = {.stale_after = T0 + 20 * SEC, .farm = T0 - SEC, .farm_known = 1};
    fs_control_group_t record;
    fs_plan_views_t views = {0};
    fs_choice_t choice;

    add_view(&views, 12, &old->staged);
    add_view(&views, 11, &old->active);
    fs_plan_compose(&record, &last, manifest, &views, &moment);
    choice = fs_control_choose(&record, T0 - SEC, 1, 4);
    ck_assert_uint_eq(choice.view, 12);
    ck_assert_int_eq(choice.version, 4);
    ck_assert(choice.stale);
    choice = fs_control_choose(&record, T0 + SEC, 1, 4);
    ck_assert_uint_eq(choice.view, 12);
    ck_assert(choice.stale);

    /* It doesn't linger away while it serves. */
    fs_plan_retire(&views, manifest, &record, SEC);
    fs_plan_retire(&views, manifest, &record, SEC + 2 * FS_PLAN_LINGERS);
    ck_assert_uint_eq(views.count, 1);
    ck_assert_uint_eq(views.views[0].id, 12);

    /* Not below what has been served; stale also instead of a pin; not when the right one is here.
     */
    moment.floor = 5;
    fs_plan_compose(&record, &last, manifest, &views, &moment);
    ck_assert_uint_eq(record.active_view, 0);
    moment.floor = 4;
    manifest->pinned_version = 5;
    fs_plan_compose(&record, &last, manifest, &views, &moment);
    ck_assert_uint_eq(record.active_view, 12);
    ck_assert_int_eq(record.pinned, FS_PIN_STAGED);
    choice = fs_control_choose(&record, T0 - SEC, 1, 4);
    ck_assert_int_eq(choice.version, 4);
    ck_assert(choice.stale);
    manifest->pinned_version = 0;
    add_view(&views, 13, &manifest->active);
    fs_plan_compose(&record, &last, manifest, &views, &moment);
    ck_assert_uint_eq(record.active_view, 13);
    ck_assert_int_eq(record.stale_after, T0 + 20 * SEC);
    fs_manifest_free(manifest);
    fs_manifest_free(old);
}
END_TEST

START_TEST(compose_prefers_a_staged_version_that_is_due)
{
    fs_manifest_t *manifest = make_manifest(9, 5, 6), *old = make_manifest(7, 3, 4);
    fs_plan_moment_t moment = {.stale_after = T0 + 20 * SEC, .farm = T0, .farm_known = 1};
    fs_control_group_t none = {0}, record;
    fs_plan_views_t views = {0};
    fs_choice_t choice;

    add_view(&views, 12, &old->staged);
    add_view(&views, 14, &manifest->staged);
    fs_plan_compose(&record, &none, manifest, &views, &moment);
    choice = fs_control_choose(&record, T0, 1, 4);
    ck_assert_uint_eq(choice.view, 14);
    ck_assert(!choice.stale);
    moment.farm = T0 - SEC;
    fs_plan_compose(&record, &none, manifest, &views, &moment);
    choice = fs_control_choose(&record, T0 - SEC, 1, 4);
    ck_assert_uint_eq(choice.view, 12);
    ck_assert(choice.stale);
    ck_assert_uint_eq(fs_control_choose(&record, T0, 1, 4).view, 14);
    fs_manifest_free(manifest);
    fs_manifest_free(old);
}
END_TEST

START_TEST(compose_remembers_since_when_the_data_holds)
{
    fs_manifest_t *before = make_manifest(7, 2, 3), *after = make_manifest(8, 3, 4);
    fs_manifest_t *unchanged = make_manifest(9, 3, 3);
    fs_plan_views_t views = {0};
    fs_control_group_t none = {0}, first, second, third;

    fs_plan_compose(&first, &none, before, &views,
                    &(fs_plan_moment_t){.heard = 0, .stale_after = 0});
    ck_assert_int_eq(first.data_time, 0);
    after->activation_time = T0 + 10 * SEC;
    fs_plan_compose(&second, &first, after, &views,
                    &(fs_plan_moment_t){.heard = 0, .stale_after = 0});
    ck_assert_int_eq(second.data_time, T0);
    fs_plan_compose(&third, &second, unchanged, &views,
                    &(fs_plan_moment_t){.heard = 0, .stale_after = 0});
    ck_assert_int_eq(third.data_time, T0);
    fs_manifest_free(before);
    fs_manifest_free(after);
    fs_manifest_free(unchanged);
}
END_TEST

/* A pinned version is served by every server, whenever it comes: before its time the other. */
START_TEST(compose_says_which_version_is_pinned)
{
    fs_manifest_t *staged = make_manifest(8, 2, 3), *only = make_manifest(9, 3, 3);
    fs_plan_moment_t moment = {.farm = T0 + SEC, .farm_known = 1};
    fs_control_group_t none = {0}, record;
    fs_plan_views_t views = {0};

    staged->pinned_version = 3;
    add_view(&views, 11, &staged->active);
    fs_plan_compose(&record, &none, staged, &views, &moment);
    ck_assert_int_eq(record.pinned, FS_PIN_STAGED);
    ck_assert(fs_control_choose(&record, T0, 1, 0).stale);
    ck_assert_ptr_eq(fs_plan_wanted(staged, &views, T0 + SEC, 1, 0), &staged->staged);
    add_view(&views, 12, &staged->staged);
    fs_plan_compose(&record, &none, staged, &views, &moment);
    ck_assert_int_eq(fs_control_choose(&record, T0 - 1, 1, 0).version, 2);
    ck_assert_int_eq(fs_control_choose(&record, T0, 1, 0).version, 3);
    ck_assert_ptr_eq(fs_plan_in_force(staged, T0, 1), &staged->staged);

    only->pinned_version = 3;
    fs_plan_compose(&record, &none, only, &views, &moment);
    ck_assert_int_eq(record.pinned, FS_PIN_ACTIVE);
    ck_assert_int_eq(fs_control_choose(&record, T0 - SEC, 1, 0).version, 3);
    ck_assert(!fs_control_choose(&record, T0 + 1000 * SEC, 1, 0).stale);
    only->pinned_version = 0;
    fs_plan_compose(&record, &none, only, &views, &moment);
    ck_assert_int_eq(record.pinned, FS_PIN_NONE);
    fs_manifest_free(staged);
    fs_manifest_free(only);
}
END_TEST

START_TEST(wanted_is_what_is_in_force_then_what_comes)
{
    fs_manifest_t *manifest = make_manifest(8, 2, 3);
    fs_plan_views_t views = {0};

    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0 - 1, 1, 0), &manifest->active);
    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0, 1, 0), &manifest->staged);
    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0, 0, 0), &manifest->active);
    /* What is in force can't be had: what was before it is better than nothing. */
    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0, 1, 3), &manifest->active);
    add_view(&views, 12, &manifest->staged);
    ck_assert_ptr_null(fs_plan_wanted(manifest, &views, T0, 1, 0));
    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0 - 1, 1, 0), &manifest->active);
    ck_assert_ptr_null(fs_plan_wanted(manifest, &views, T0 - 1, 1, 2));
    add_view(&views, 11, &manifest->active);
    ck_assert_ptr_null(fs_plan_wanted(manifest, &views, T0 - 1, 1, 0));
    manifest->pinned_version = 2;
    ck_assert_ptr_eq(fs_plan_in_force(manifest, T0 + SEC, 1), &manifest->active);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(wanted_is_nothing_before_the_first_promotion)
{
    fs_manifest_t *manifest = make_manifest(0, 0, 0);
    fs_plan_views_t views = {0};

    ck_assert_ptr_null(fs_plan_wanted(manifest, &views, T0 - 1, 1, 0));
    fs_manifest_free(manifest);
    manifest = make_manifest(1, 0, 1);
    ck_assert_ptr_eq(fs_plan_wanted(manifest, &views, T0 - 1, 1, 0), &manifest->staged);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(views_linger_and_come_back)
{
    fs_manifest_t *old = make_manifest(7, 2, 3), *new = make_manifest(8, 3, 4);
    fs_plan_views_t views = {0};

    add_view(&views, 11, &old->active);
    add_view(&views, 12, &old->staged);
    fs_plan_retire(&views, old, &nowhere, 100 * SEC);
    ck_assert_uint_eq(views.views[0].retired, 0);
    fs_plan_retire(&views, new, &nowhere, 110 * SEC);
    ck_assert_int_eq(views.views[0].retired, 110 * SEC);
    ck_assert_uint_eq(views.views[1].retired, 0);
    fs_plan_retire(&views, new, &nowhere, 110 * SEC + FS_PLAN_LINGERS);
    ck_assert_uint_eq(views.count, 2);
    fs_plan_retire(&views, old, &nowhere, 110 * SEC + FS_PLAN_LINGERS);
    ck_assert_uint_eq(views.views[0].retired, 0);
    fs_plan_retire(&views, new, &nowhere, 200 * SEC);
    fs_plan_retire(&views, new, &nowhere, 201 * SEC + FS_PLAN_LINGERS);
    ck_assert_uint_eq(views.count, 1);
    ck_assert_uint_eq(fs_plan_view_of(&views, &new->active), 12);
    fs_manifest_free(old);
    fs_manifest_free(new);
}
END_TEST

START_TEST(views_never_run_out_and_never_lose_the_current_ones)
{
    fs_plan_views_t views = {0};

    /* A thousand versions within a second: the newest two stay. */
    for (int64_t version = 1; version < 1000; version++) {
        fs_manifest_t *manifest = make_manifest(version, version, version + 1);

        if (!fs_plan_view_of(&views, &manifest->active))
            add_view(&views, (uint64_t)version, &manifest->active);
        add_view(&views, (uint64_t)version + 1, &manifest->staged);
        fs_plan_retire(&views, manifest, &nowhere, 100 * SEC + version);
        ck_assert_uint_le(views.count, FS_PLAN_VIEWS);
        ck_assert_uint_eq(fs_plan_view_of(&views, &manifest->active), (uint64_t)version);
        ck_assert_uint_eq(fs_plan_view_of(&views, &manifest->staged), (uint64_t)version + 1);
        fs_manifest_free(manifest);
    }
}
END_TEST

START_TEST(views_that_are_needed_longest_stay)
{
    fs_plan_views_t views = {0};

    /* The active version stays for long while one staged version replaces another. */
    for (int64_t staged = 2; staged < 100; staged++) {
        fs_manifest_t *manifest = make_manifest(staged, 1, staged);

        if (!fs_plan_view_of(&views, &manifest->active))
            add_view(&views, 1, &manifest->active);
        add_view(&views, (uint64_t)staged, &manifest->staged);
        fs_plan_retire(&views, manifest, &nowhere, 100 * SEC + staged);
        ck_assert_uint_eq(views.views[0].id, 1);
        ck_assert_uint_eq(fs_plan_view_of(&views, &manifest->staged), (uint64_t)staged);
        fs_manifest_free(manifest);
    }
}
END_TEST

/* A farm that is told to come again doesn't come as one, nor too late. */
START_TEST(busy_servers_are_asked_again_in_time)
{
    ck_assert_int_eq(fs_plan_come_again(1, 600 * SEC, 0), SEC / 2);
    ck_assert_int_eq(fs_plan_come_again(1, 600 * SEC, 0.5), SEC);
    ck_assert_int_eq(fs_plan_come_again(1, 600 * SEC, 1), SEC + SEC / 2);
    ck_assert_int_eq(fs_plan_come_again(3600, 80 * SEC, 0.7), 10 * SEC);
    ck_assert_int_eq(fs_plan_come_again(UINT_MAX, 8 * SEC, 1), SEC);
    ck_assert_int_ge(fs_plan_come_again(0, 600 * SEC, 0), SEC / 100);
    ck_assert_int_ge(fs_plan_come_again(1, 1, 1), SEC / 100);
    ck_assert_int_le(fs_plan_come_again(10, -5 * SEC, 1), FS_PLAN_PATIENCE / 8);
}
END_TEST

/* About half of the time: what was waited already grows as what is left shrinks. */
START_TEST(patience_with_busy_servers_ends_in_time)
{
    for (int step = 0; step <= 10; step++) {
        double chance = step / 10.0;
        fs_usec_t busy = 0, whole = 600 * SEC;

        while (fs_plan_is_patient(busy, whole - busy, chance))
            busy += SEC;
        ck_assert_int_ge(busy, whole / 4);
        ck_assert_int_le(busy, whole * 2 / 3);
    }
    ck_assert_int_eq(fs_plan_is_patient(SEC, 0, 0), 1);
    ck_assert_int_eq(fs_plan_is_patient(2 * FS_PLAN_PATIENCE, 0, 1), 0);
    ck_assert_int_eq(fs_plan_is_patient(2 * FS_PLAN_PATIENCE, -SEC, 1), 0);
}
END_TEST

START_TEST(herd_delay_leaves_time)
{
    ck_assert_int_eq(fs_plan_herd_delay(10 * SEC, 1), 0);
    ck_assert_int_eq(fs_plan_herd_delay(-SEC, 1), 0);
    ck_assert_int_eq(fs_plan_herd_delay(20 * SEC, 1), 2 * SEC);
    ck_assert_int_eq(fs_plan_herd_delay(20 * SEC, 0.5), SEC);
    ck_assert_int_eq(fs_plan_herd_delay(600 * SEC, 1), FS_PLAN_HERD);
    ck_assert_int_eq(fs_plan_herd_delay(86400 * SEC, 0.5), FS_PLAN_HERD / 2);
    for (fs_usec_t left = SEC; left < 3600 * SEC; left += SEC) /* at least nine tenths stay */
        ck_assert_int_le(fs_plan_herd_delay(left, 1), left / 10);
}
END_TEST

/* --- when ------------------------------------------------------------------------------------- */

START_TEST(long_poll_is_back_for_the_promotion)
{
    fs_manifest_t *manifest = make_manifest(8, 2, 3);

    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0 - 100 * SEC, 1, INT64_MAX), FS_PLAN_WAIT_MS);
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0 - 5 * SEC, 1, T0 + SEC), 6000);
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0, 1, T0 + SEC / 2), 500);
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0 + 10 * SEC, 1, T0 + SEC), 0);
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0 + SEC, 1, INT64_MAX), FS_PLAN_OVERDUE_MS);
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, 0, 0, INT64_MAX), FS_PLAN_OVERDUE_MS);
    manifest->state = FS_GROUP_HELD;
    ck_assert_uint_eq(fs_plan_wait_ms(manifest, T0 + SEC, 1, INT64_MAX), FS_PLAN_HELD_MS);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(troubles_are_said_once_and_each_minute)
{
    fs_repeat_t repeat = {{0}};
    int said = 0;

    ck_assert_int_eq(fs_plan_say(&repeat, "", SEC), FS_SAY_NOTHING);
    for (int second = 1; second <= 150; second++)
        said += fs_plan_say(&repeat, "FS0221", second * SEC) == FS_SAY_PROBLEM;
    ck_assert_int_eq(said, 3);
    ck_assert_int_eq(fs_plan_say(&repeat, "FS0304", 151 * SEC), FS_SAY_PROBLEM);
    ck_assert_int_eq(fs_plan_say(&repeat, "", 152 * SEC), FS_SAY_OVER);
    ck_assert_int_eq(fs_plan_say(&repeat, "", 153 * SEC), FS_SAY_NOTHING);
}
END_TEST

/* --- configuration ---------------------------------------------------------------------------- */

static apr_status_t parse(fs_agent_config_t *config, const char *json, fs_result_t *result)
{
    fs_result_clear(result);
    return fs_agent_config_parse(config, json, strlen(json), "agent.json", result);
}

START_TEST(config_whole)
{
    fs_agent_config_t config;
    fs_result_t result;

    ck_assert_int_eq(
        parse(&config,
              "{\"server\":\"web1\",\"state_dir\":\"/run/farmsync\",\"groups\":[\"default\",\"b\"],"
              "\"database\":\"/etc/farmsync/my.cnf\",\"data_servers\":[\"http://127.0.0.1:4470\","
              "\"https://ds2:4470/\"],\"key_file\":null,\"ca_file\":null,\"cert_file\":null,"
              "\"log_level\":\"debug\",\"poll_ms\":250,\"home_after_ms\":500,\"address\":\"10.0.0."
              "1:80\"}",
              &result),
        APR_SUCCESS);
    ck_assert_str_eq(config.server, "web1");
    ck_assert_uint_eq(config.group_count, 2);
    ck_assert_uint_eq(config.server_count, 2);
    ck_assert_str_eq(config.servers[1], "https://ds2:4470");
    ck_assert_ptr_null(config.key_file);
    ck_assert_int_eq(config.log_level, FS_LOG_DEBUG);
    ck_assert_uint_eq(config.poll_ms, 250);
    ck_assert_uint_eq(config.home_after_ms, 500);
    fs_agent_config_clear(&config);
}
END_TEST

#define HEAD "{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"g\"],\"database\":\"/d\",\"sessions\":"

START_TEST(config_of_sessions)
{
    fs_agent_config_t config;
    fs_result_t result;

    ck_assert_int_eq(parse(&config, HEAD "null}", &result), APR_SUCCESS);
    ck_assert_int_eq(config.sessions.enabled, 0);
    fs_agent_config_clear(&config);
    ck_assert_int_eq(parse(&config, HEAD "{}}", &result), APR_SUCCESS);
    ck_assert_int_eq(config.sessions.enabled, 1);
    ck_assert_uint_eq(config.sessions.bank_count, 0);
    ck_assert_uint_eq(config.sessions.copies, 2);
    fs_agent_config_clear(&config);
    ck_assert_int_eq(
        parse(&config,
              HEAD "{\"bank\":[{\"url\":\"http://a:1/\",\"name\":\"a:1\",\"rack\":null},"
                   "{\"url\":\"http://b:1\",\"name\":\"b\",\"rack\":\"r2\"}],\"copies\":1,"
                   "\"flush_ms\":50,\"lease_ms\":100,\"timeout_ms\":700,\"sessions\":9,"
                   "\"session_bytes\":4096,\"store_bytes\":1048576}}",
              &result),
        APR_SUCCESS);
    ck_assert_uint_eq(config.sessions.bank_count, 2);
    ck_assert_str_eq(config.sessions.bank[0].url, "http://a:1");
    ck_assert_ptr_null(config.sessions.bank[0].rack);
    ck_assert_str_eq(config.sessions.bank[1].name, "b");
    ck_assert_str_eq(config.sessions.bank[1].rack, "r2");
    ck_assert_uint_eq(config.sessions.copies, 1);
    ck_assert_uint_eq(config.sessions.flush_ms, 50);
    ck_assert_uint_eq(config.sessions.lease_ms, 100);
    ck_assert_uint_eq(config.sessions.timeout_ms, 700);
    ck_assert_uint_eq(config.sessions.sessions, 9);
    ck_assert_uint_eq(config.sessions.session_bytes, 4096);
    ck_assert_uint_eq(config.sessions.store_bytes, 1048576);
    fs_agent_config_clear(&config);
}
END_TEST

START_TEST(config_bad_values_are_refused_with_a_remedy)
{
    static const struct {
        const char *json, *problem, *says;
    } bad[] = {
        {"", "FS0550", "JSON"},
        {"[]", "FS0550", "JSON"},
        {"{\"server\":\"web1\",", "FS0550", "JSON"},
        {"{\"server\":\"web1\",\"state_dir\":\"/s\",\"groups\":[\"g\"],\"database\":\"/d\","
         "\"datasrv\":1}",
         "FS0551", "\"datasrv\""},
        {"{\"state_dir\":\"/s\",\"groups\":[\"g\"],\"database\":\"/d\"}", "FS0552", "\"server\""},
        {"{\"server\":\"../x\",\"state_dir\":\"/s\",\"groups\":[\"g\"],\"database\":\"/d\"}",
         "FS0552", "\"server\""},
        {"{\"server\":\"w\",\"state_dir\":\"s\",\"groups\":[\"g\"],\"database\":\"/d\"}", "FS0552",
         "\"state_dir\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[],\"database\":\"/d\"}", "FS0552",
         "\"groups\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a/b\"],\"database\":\"/d\"}",
         "FS0552", "\"groups\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\",\"a\"],\"database\":\"/d\"}",
         "FS0552", "twice"},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"]}", "FS0552",
         "FarmSyncDataServer"},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"],"
         "\"data_servers\":[\"ds1:4470\"]}",
         "FS0552", "http://"},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"],\"database\":\"/d\","
         "\"poll_ms\":1}",
         "FS0552", "\"poll_ms\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"],\"database\":\"/d\","
         "\"home_after_ms\":99}",
         "FS0552", "\"home_after_ms\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"],\"database\":\"/d\","
         "\"log_level\":\"loud\"}",
         "FS0552", "\"log_level\""},
        {"{\"server\":\"w\",\"state_dir\":\"/s\",\"groups\":[\"a\"],\"database\":7}", "FS0552",
         "\"database\""},
        {HEAD "7}", "FS0552", "\"sessions\""},
        {HEAD "{\"bnak\":[]}}", "FS0551", "\"bnak\""},
        {HEAD "{\"bank\":{}}}", "FS0552", "\"bank\""},
        {HEAD "{\"bank\":[{\"url\":\"http://a:1\"}]}}", "FS0552", "\"bank\""},
        {HEAD "{\"bank\":[{\"url\":\"http://a:1\",\"name\":\"a\"},"
              "{\"url\":\"http://b:1\",\"name\":\"a\"}]}}",
         "FS0552", "each name once"},
        {HEAD "{\"copies\":0}}", "FS0552", "1 to 8"},
        {HEAD "{\"store_bytes\":1}}", "FS0552", "\"store_bytes\""},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fs_agent_config_t config;
        fs_result_t result;

        ck_assert_msg(parse(&config, bad[i].json, &result) != APR_SUCCESS, "%s", bad[i].json);
        ck_assert_str_eq(result.problem, bad[i].problem);
        ck_assert_msg(strstr(result.detail, bad[i].says) != NULL, "%s", result.detail);
    }
}
END_TEST

static Suite *agent_suite(void)
{
    Suite *suite = suite_create("agent");
    TCase *all = tcase_create("plan");

    tcase_add_test(all, servers_spread_over_names);
    tcase_add_test(all, servers_move_on_and_stay_with_a_working_one);
    tcase_add_test(all, servers_all_down_is_sql_until_a_back_off_is_over);
    tcase_add_test(all, servers_late_failure_of_another_thread_moves_nobody);
    tcase_add_test(all, servers_order_of_the_list_does_not_matter);
    tcase_add_test(all, servers_spread_again_when_one_is_back);
    tcase_add_test(all, servers_none_is_sql);
    tcase_add_test(all, backoff_doubles_within_its_limits);
    tcase_add_test(all, take_first_and_next_and_same);
    tcase_add_test(all, take_refuses_what_is_older_foreign_or_changed);
    tcase_add_test(all, take_never_goes_back);
    tcase_add_test(all, take_knows_the_page_without_its_digests);
    tcase_add_test(all, compose_publishes_the_schedule_before_the_images);
    tcase_add_test(all, compose_tells_why_a_promotion_was_refused);
    tcase_add_test(all, compose_uses_a_view_only_for_its_very_content);
    tcase_add_test(all, compose_goes_on_with_what_is_here);
    tcase_add_test(all, compose_prefers_a_staged_version_that_is_due);
    tcase_add_test(all, compose_remembers_since_when_the_data_holds);
    tcase_add_test(all, compose_says_which_version_is_pinned);
    tcase_add_test(all, wanted_is_what_is_in_force_then_what_comes);
    tcase_add_test(all, wanted_is_nothing_before_the_first_promotion);
    tcase_add_test(all, views_linger_and_come_back);
    tcase_add_test(all, views_never_run_out_and_never_lose_the_current_ones);
    tcase_add_test(all, views_that_are_needed_longest_stay);
    tcase_add_test(all, herd_delay_leaves_time);
    tcase_add_test(all, busy_servers_are_asked_again_in_time);
    tcase_add_test(all, patience_with_busy_servers_ends_in_time);
    tcase_add_test(all, long_poll_is_back_for_the_promotion);
    tcase_add_test(all, troubles_are_said_once_and_each_minute);
    tcase_add_test(all, config_whole);
    tcase_add_test(all, config_of_sessions);
    tcase_add_test(all, config_bad_values_are_refused_with_a_remedy);
    suite_add_tcase(suite, all);
    return suite;
}

FS_TEST_MAIN(agent_suite)
