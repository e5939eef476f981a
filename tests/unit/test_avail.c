/* SPDX-License-Identifier: Apache-2.0 */
/* Notices: what they may hold, their JSON, when they are in force, and how several are merged. */
#include "fs_test.h"

#include <string.h>

#include "avail/fs_notice.h"

#define BERLIN   "CET-1CEST,M3.5.0,M10.5.0/3"
#define ADELAIDE "ACST-9:30ACDT,M10.1.0,M4.1.0/3"

static fs_result_t result;

static fs_usec_t at(const char *text)
{
    fs_usec_t time = -1;

    ck_assert_msg(!fs_notice_time_parse(text, &time), "%s", text);
    return time;
}

/* --- zones ---------------------------------------------------------------------------------------
 */

static int offset(const char *rule, const char *utc)
{
    fs_zone_t zone;

    ck_assert_msg(!fs_zone_parse(&zone, rule), "%s", rule);
    return fs_zone_offset(&zone, at(utc) / FS_USEC_PER_SEC);
}

START_TEST(zone_rules_give_the_offset_on_both_sides_of_each_switch)
{
    ck_assert_int_eq(offset("", "2026-07-01T00:00:00Z"), 0);
    ck_assert_int_eq(offset("UTC0", "2026-07-01T00:00:00Z"), 0);
    ck_assert_int_eq(offset("<+0330>-3:30", "2026-07-01T00:00:00Z"), 12600);
    ck_assert_int_eq(offset(BERLIN, "2026-03-29T00:59:59Z"), 3600);
    ck_assert_int_eq(offset(BERLIN, "2026-03-29T01:00:00Z"), 7200);
    ck_assert_int_eq(offset(BERLIN, "2026-10-25T00:59:59Z"), 7200);
    ck_assert_int_eq(offset(BERLIN, "2026-10-25T01:00:00Z"), 3600);
    /* summer over the turn of the year */
    ck_assert_int_eq(offset(ADELAIDE, "2026-01-01T00:00:00Z"), 37800);
    ck_assert_int_eq(offset(ADELAIDE, "2025-12-31T23:59:59Z"), 37800);
    ck_assert_int_eq(offset(ADELAIDE, "2026-07-01T00:00:00Z"), 34200);
    ck_assert_int_eq(offset(ADELAIDE, "2026-10-03T16:29:59Z"), 34200);
    ck_assert_int_eq(offset(ADELAIDE, "2026-10-03T16:30:00Z"), 37800);
    /* Greenland: the switch is on the day before, at a negative hour; Gaza: beyond 24 hours */
    ck_assert_int_eq(offset("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z"), -7200);
    ck_assert_int_eq(offset("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z"), -3600);
    ck_assert_int_eq(offset("EET-2EEST,M3.4.4/50,M10.4.4/50", "2026-03-28T00:00:00Z"), 10800);
    ck_assert_int_eq(offset("XXX3YYY,J60,J300", "2024-03-01T05:00:00Z"), -7200); /* leap year */
    ck_assert_int_eq(offset("XXX3YYY,59,299", "2024-02-29T05:00:00Z"), -7200);
}
END_TEST

START_TEST(what_is_no_zone_rule_is_refused)
{
    static const char *const bad[] = {"Europe/Berlin",
                                      "CET",
                                      "C-1",
                                      "CET-25",
                                      "CET-1CEST",
                                      "CET-1CEST,M13.1.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0/200",
                                      "CET-1CEST,J0,J300",
                                      "CET-1CEST,366,10",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "<+0330-3",
                                      "CET-1:60"};
    fs_zone_t zone;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(fs_zone_parse(&zone, bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(every_local_time_of_ten_years_comes_back)
{
    static const char *const rules[] = {BERLIN, ADELAIDE, "EST5EDT,M3.2.0,M11.1.0", "UTC0",
                                        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"};
    fs_zone_t zone;

    for (unsigned i = 0; i < 5; i++) {
        fs_zone_parse(&zone, rules[i]);
        for (int64_t utc = 1700000000; utc < 2015000000; utc += 9001) {
            int64_t local = utc + fs_zone_offset(&zone, utc);
            int64_t first = fs_zone_utc(&zone, local, 0), last = fs_zone_utc(&zone, local, 1);

            ck_assert_msg(first == utc || last == utc, "%s %lld", rules[i], (long long)utc);
            ck_assert_int_le(first, last);
        }
    }
}
END_TEST

/* --- windows -------------------------------------------------------------------------------------
 */

static fs_window_t weekly(unsigned days, int start, int end, const char *zone)
{
    fs_window_t window = {.days = days, .start_minute = start, .end_minute = end};

    snprintf(window.zone, sizeof(window.zone), "%s", zone);
    ck_assert_ptr_null(fs_window_problem(&window));
    return window;
}

static fs_window_at_t look(const fs_window_t *window, const char *farm)
{
    fs_window_at_t seen;

    fs_window_at(window, at(farm), &seen);
    return seen;
}

/* The span that is in force or comes next after a moment. */
static void expect_span(const fs_window_t *window, const char *farm, const char *start,
                        const char *end)
{
    fs_window_at_t seen = look(window, farm);
    char text[FS_TIME_TEXT_SIZE];

    ck_assert_msg(seen.start == at(start), "start %s, not %s", fs_time_format(seen.start, text),
                  start);
    ck_assert_msg(seen.end == at(end), "end %s, not %s", fs_time_format(seen.end, text), end);
    ck_assert_int_eq(seen.in_force, at(farm) >= at(start));
    ck_assert(seen.change == (seen.in_force ? seen.end : seen.start));
}

START_TEST(a_window_is_in_force_from_its_start_and_no_more_at_its_end)
{
    fs_window_t window = {.from = at("2026-11-21T10:00:00Z"), .until = at("2026-11-21T11:00:00Z")};
    fs_window_at_t seen;

    fs_window_at(&window, window.from - 1, &seen);
    ck_assert(!seen.in_force && seen.change == window.from);
    fs_window_at(&window, window.from, &seen);
    ck_assert(seen.in_force && seen.change == window.until && seen.end == window.until);
    fs_window_at(&window, window.until - 1, &seen);
    ck_assert(seen.in_force);
    fs_window_at(&window, window.until, &seen);
    ck_assert(!seen.in_force && seen.change == INT64_MAX);
    ck_assert(fs_window_pending(&window, window.until - 1));
    ck_assert(!fs_window_pending(&window, window.until));
}
END_TEST

START_TEST(an_open_window_is_always_in_force)
{
    fs_window_t window = {0};
    fs_window_at_t seen;

    fs_window_at(&window, at("2026-11-21T10:00:00Z"), &seen);
    ck_assert(seen.in_force && !seen.end && seen.change == INT64_MAX);
    fs_window_at(&window, 0, &seen);
    ck_assert(seen.in_force);
}
END_TEST

START_TEST(weekly_windows_follow_the_local_clock_over_the_year)
{
    fs_window_t window = weekly(FS_WINDOW_SUNDAY, 120, 240, BERLIN); /* Sundays 02:00 to 04:00 */

    expect_span(&window, "2026-11-20T00:00:00Z", "2026-11-22T01:00:00Z", "2026-11-22T03:00:00Z");
    expect_span(&window, "2026-11-22T02:00:00Z", "2026-11-22T01:00:00Z", "2026-11-22T03:00:00Z");
    expect_span(&window, "2026-11-22T03:00:00Z", "2026-11-29T01:00:00Z", "2026-11-29T03:00:00Z");
    expect_span(&window, "2026-07-01T00:00:00Z", "2026-07-05T00:00:00Z", "2026-07-05T02:00:00Z");
}
END_TEST

START_TEST(on_the_days_of_the_switch_start_and_end_are_what_the_wall_shows)
{
    fs_window_t window = weekly(FS_WINDOW_SUNDAY, 90, 210, BERLIN); /* 01:30 to 03:30 */

    /* spring: one hour long; autumn: three */
    expect_span(&window, "2026-03-28T00:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
    expect_span(&window, "2026-10-24T00:00:00Z", "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z");
    /* a start that the clock skips is the same instant by the new time */
    window = weekly(FS_WINDOW_SUNDAY, 150, 300, BERLIN);
    expect_span(&window, "2026-03-28T00:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T03:00:00Z");
    /* an hour that comes twice is the window both times */
    window = weekly(FS_WINDOW_SUNDAY, 120, 180, BERLIN);
    expect_span(&window, "2026-10-24T00:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z");
    window = weekly(FS_WINDOW_SUNDAY, 60, 150, BERLIN);
    expect_span(&window, "2026-10-24T00:00:00Z", "2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z");
    window = weekly(FS_WINDOW_SUNDAY, 120, 180, BERLIN);
    /* one that is skipped whole doesn't happen that day */
    expect_span(&window, "2026-03-28T00:00:00Z", "2026-04-05T00:00:00Z", "2026-04-05T01:00:00Z");
}
END_TEST

START_TEST(windows_over_midnight_and_such_that_touch_are_one_span)
{
    fs_window_t night = weekly(FS_WINDOW_MONDAY, 1380, 60, ""); /* Mondays 23:00 to 01:00 */
    fs_window_t days = weekly(1u | 2u | 4u, 0, 1440, "");       /* Monday to Wednesday, all day */
    fs_window_t always = weekly(FS_WINDOW_ALL_DAYS, 0, 1440, "");
    fs_window_at_t seen;

    expect_span(&night, "2026-11-24T00:30:00Z", "2026-11-23T23:00:00Z", "2026-11-24T01:00:00Z");
    expect_span(&days, "2026-11-23T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-26T00:00:00Z");
    seen = look(&always, "2026-11-23T12:00:00Z");
    ck_assert(seen.in_force && seen.end > at("2026-12-01T00:00:00Z"));
}
END_TEST

START_TEST(weekly_windows_happen_only_between_from_and_until)
{
    fs_window_t window = weekly(FS_WINDOW_SUNDAY, 120, 240, "");

    window.from = at("2026-11-22T03:00:00Z");
    window.until = at("2026-11-29T03:30:00Z");
    expect_span(&window, "2026-11-01T00:00:00Z", "2026-11-22T03:00:00Z", "2026-11-22T04:00:00Z");
    expect_span(&window, "2026-11-23T00:00:00Z", "2026-11-29T02:00:00Z", "2026-11-29T03:30:00Z");
    ck_assert(!fs_window_pending(&window, at("2026-11-29T03:30:00Z")));
    window.until = at("2026-11-29T01:00:00Z"); /* nothing is left after the first */
    ck_assert(!fs_window_pending(&window, at("2026-11-23T00:00:00Z")));
}
END_TEST

/* A simulated clock walks a year; `change` must name each moment at which the answer changes. */
START_TEST(change_names_every_moment_at_which_the_answer_changes)
{
    fs_window_t window = weekly(1u | 16u | 64u, 1410, 150, BERLIN);
    fs_usec_t farm = at("2026-01-01T00:00:00Z"), end = at("2027-01-01T00:00:00Z"), next = 0;
    int before = -1, changes = 0;

    for (; farm < end; farm += 600 * FS_USEC_PER_SEC) {
        fs_window_at_t seen;

        fs_window_at(&window, farm, &seen);
        if (before >= 0 && seen.in_force != before) {
            ck_assert(next <= farm && next > farm - 600 * FS_USEC_PER_SEC);
            changes++;
        } else if (before >= 0) {
            ck_assert(next > farm);
        }
        before = seen.in_force;
        next = seen.change;
    }
    ck_assert_int_gt(changes, 300);
}
END_TEST

START_TEST(windows_that_make_no_sense_have_a_problem_and_are_never_in_force)
{
    fs_window_t window = {.from = 20, .until = 20};
    fs_window_at_t seen;

    ck_assert_ptr_nonnull(fs_window_problem(&window));
    window = (fs_window_t){.days = 1, .start_minute = 1440, .end_minute = 10};
    ck_assert_ptr_nonnull(fs_window_problem(&window));
    window = (fs_window_t){.days = 1, .start_minute = 0, .end_minute = 1441};
    ck_assert_ptr_nonnull(fs_window_problem(&window));
    window = (fs_window_t){.days = 128, .end_minute = 10};
    ck_assert_ptr_nonnull(fs_window_problem(&window));
    window = (fs_window_t){.days = 1, .end_minute = 10, .zone = "Europe/Berlin"};
    ck_assert_ptr_nonnull(fs_window_problem(&window));
    fs_window_at(&window, at("2026-11-23T00:05:00Z"), &seen);
    ck_assert(!seen.in_force && seen.change == INT64_MAX);
    memset(window.zone, 'X', sizeof(window.zone));
    ck_assert_ptr_nonnull(fs_window_problem(&window));
}
END_TEST

/* --- JSON ----------------------------------------------------------------------------------------
 */

static fs_notice_t *parse(const char *json)
{
    fs_notice_t *notice;

    ck_assert_msg(!fs_notice_parse(&notice, json, strlen(json), 1, &result), "%s: %s", json,
                  result.detail);
    return notice;
}

static void refused(const char *json, const char *says)
{
    fs_notice_t *notice = (fs_notice_t *)&result;

    ck_assert_msg(fs_notice_parse(&notice, json, strlen(json), 1, &result) == APR_EINVAL, "%s",
                  json);
    ck_assert_ptr_null(notice);
    ck_assert_str_eq(result.problem, "FS1500");
    ck_assert_msg(strstr(result.detail, says) != NULL, "%s: %s", json, result.detail);
}

static const char full[] =
    "{\"application\":\"shop\",\"id\":\"db-move\",\"state\":\"down\",\"role\":\"operator\","
    "\"reason\":\"planned\",\"component\":\"db1\",\"messages\":{\"en\":\"Back \\\"soon\\\"\","
    "\"de\":\"Gleich zur\\u00fcck\"},\"from\":\"2026-11-21T14:00:00.000000Z\","
    "\"until\":\"2026-12-21T14:30:00.000000Z\",\"weekly\":{\"days\":[\"mon\",\"sun\"],"
    "\"start\":\"02:00\",\"end\":\"04:05\",\"zone\":\"" BERLIN "\"},"
    "\"condition\":\"%{REQUEST_METHOD} != 'GET'\",\"servers\":[\"web1\",\"web2\"],"
    "\"who\":\"anna\",\"link\":\"https://status.example.org/\","
    "\"time\":\"2026-11-21T13:55:02.117000Z\"}";

START_TEST(a_notice_survives_json_both_ways)
{
    fs_notice_t *notice = parse(full), *again;
    size_t length, length_again;
    char *text = fs_notice_print(notice, &length, &result), *text_again;
    char key[FS_NOTICE_KEY_SIZE];

    ck_assert_str_eq(notice->application, "shop");
    ck_assert_int_eq(notice->state, FS_NOTICE_DOWN);
    ck_assert_int_eq(notice->role, FS_NOTICE_OPERATOR);
    ck_assert_uint_eq(notice->message_count, 2);
    ck_assert_str_eq(notice->messages[1].text, "Gleich zur\xc3\xbc"
                                               "ck");
    ck_assert_uint_eq(notice->window.days, 1u | 64u);
    ck_assert_int_eq(notice->window.end_minute, 245);
    ck_assert_int_eq(notice->time, at("2026-11-21T13:55:02.117Z"));
    fs_notice_key(notice, key);
    ck_assert_str_eq(key, "shop/db-move");
    ck_assert_ptr_nonnull(text);
    again = parse(text);
    text_again = fs_notice_print(again, &length_again, &result);
    ck_assert_str_eq(text, text_again);
    free(text);
    free(text_again);
    free(again);
    free(notice);
}
END_TEST

START_TEST(application_and_state_are_enough)
{
    fs_notice_t *notice = parse("{\"application\":\"*\",\"state\":\"down\"}");
    char key[FS_NOTICE_KEY_SIZE];
    const char *language;

    fs_notice_key(notice, key);
    ck_assert_str_eq(key, "*/operator");
    ck_assert_str_eq(fs_notice_reason(notice), "unknown");
    ck_assert_ptr_null(fs_notice_message(notice, "de", NULL, &language));
    ck_assert(fs_notice_about(notice, "shop"));
    free(notice);
    notice = parse("{\"application\":\"a\",\"state\":\"up\",\"role\":\"monitor\",\"reason\":3,"
                   "\"message\":\"x\",\"from\":null,\"servers\":[],\"weekly\":null}");
    ck_assert_str_eq(notice->reason, "testing");
    ck_assert_str_eq(fs_notice_id(notice), "monitor");
    ck_assert_str_eq(notice->messages[0].language, "*");
    ck_assert(!fs_notice_about(notice, "b"));
    free(notice);
}
END_TEST

START_TEST(what_cannot_be_is_refused_and_named)
{
    refused("", "not JSON");
    refused("[]", "must be one JSON object");
    refused("{\"state\":\"down\"}", "application");
    refused("{\"application\":\"shop\"}", "state");
    refused("{\"application\":\"sh op\",\"state\":\"down\"}", "application");
    refused("{\"application\":\"shop\",\"state\":\"off\"}", "state");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"role\":\"root\"}", "role");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"conditon\":\"false\"}", "\"conditon\"");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"reason\":\"Da Ba\"}", "reason");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"reason\":9}", "reason");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"until\":\"14:30\"}", "until");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"until\":5}", "until");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"until\":\"2026-02-30T00:00:00Z\"}",
            "until");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"from\":\"2026-11-21T10:00:00Z\","
            "\"until\":\"2026-11-21T10:00:00Z\"}",
            "later than from");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"messages\":{\"e n\":\"x\"}}",
            "language");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"message\":\"x\","
            "\"messages\":{\"*\":\"y\"}}",
            "twice");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"message\":\"a\\u0007\"}", "message");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"condition\":\"a\\nb\"}", "condition");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"link\":\"javascript:alert(1)\"}",
            "link");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"link\":\"http://a/\\\"x\"}", "link");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"servers\":[\"a/b\"]}", "servers");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"servers\":\"web1\"}", "servers");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"Son\"],"
            "\"start\":\"02:00\",\"end\":\"03:00\"}}",
            "days");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"sun\"],"
            "\"start\":\"2:00\",\"end\":\"03:00\"}}",
            "start");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"sun\"],"
            "\"start\":\"02:00\",\"end\":\"03:00\",\"zone\":\"Europe/Berlin\"}}",
            "POSIX");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"sun\"],"
            "\"start\":\"02:00\",\"end\":\"03:00\",\"tz\":\"UTC0\"}}",
            "\"tz\" in weekly");
    refused("{\"application\":\"shop\",\"state\":\"down\",\"state\":\"up\"}", "not JSON");
}
END_TEST

START_TEST(a_record_of_a_newer_release_is_read)
{
    static const char json[] = "{\"application\":\"shop\",\"state\":\"down\",\"colour\":\"red\"}";
    fs_notice_t *notice;

    ck_assert_int_eq(fs_notice_parse(&notice, json, sizeof(json) - 1, 0, &result), APR_SUCCESS);
    free(notice);
}
END_TEST

START_TEST(a_notice_too_large_for_a_record_is_refused_with_its_size)
{
    fs_notice_t *notice = parse("{\"application\":\"shop\",\"state\":\"down\"}");
    static const char languages[5][3] = {"aa", "bb", "cc", "dd", "ee"};
    char text[FS_NOTICE_TEXT_SIZE];
    size_t length;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (; notice->message_count < 5; notice->message_count++)
        notice->messages[notice->message_count] =
            (fs_notice_message_t){languages[notice->message_count], text};
    ck_assert_ptr_null(fs_notice_print(notice, &length, &result));
    ck_assert_str_eq(result.problem, "FS1501");
    ck_assert_ptr_nonnull(strstr(result.detail, "4096"));
    free(notice);
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused_by_whatever_way_it_comes)
{
    static const char *const bad[] = {
        "\xff",      "\xc0\xaf",        "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "a\xe2\x82", "\xf0\x80\x80\x80"};
    fs_notice_t notice = {.application = "shop", .message_count = 1};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        notice.messages[0] = (fs_notice_message_t){"en", bad[i]};
        ck_assert_msg(fs_notice_check(&notice, &result) == APR_EINVAL, "%u", i);
    }
    notice.messages[0].text = "\xf4\x8f\xbf\xbf \xed\x9f\xbf \xc2\x80";
    ck_assert_int_eq(fs_notice_check(&notice, &result), APR_SUCCESS);
}
END_TEST

START_TEST(times_are_read_as_rfc_3339_has_them)
{
    fs_usec_t time;
    static const char *const bad[] = {"2026-11-21",
                                      "2026-11-21T14:30:00",
                                      "2026-13-01T00:00:00Z",
                                      "2026-11-21T24:00:00Z",
                                      "2026-11-21T14:30:00+1:00",
                                      "2026-11-21T14:30:00Zx",
                                      "2026-11-21T14:30:00.Z",
                                      "1969-12-31T23:59:59Z",
                                      "2027-02-29T00:00:00Z",
                                      ""};

    ck_assert_int_eq(at("2026-11-21T15:30:00.25+01:00"), at("2026-11-21T14:30:00.250Z"));
    ck_assert_int_eq(at("1970-01-01 00:00:01z"), FS_USEC_PER_SEC);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(fs_notice_time_parse(bad[i], &time), "%s", bad[i]);
}
END_TEST

/* --- merging and messages ------------------------------------------------------------------------
 */

START_TEST(operators_come_before_monitors_and_later_before_earlier)
{
    fs_notice_t old = {.application = "shop", .role = FS_NOTICE_OPERATOR, .time = 10};
    fs_notice_t newer = {.application = "shop", .role = FS_NOTICE_OPERATOR, .time = 20};
    fs_notice_t monitor = {.application = "shop", .role = FS_NOTICE_MONITOR, .time = 99};
    fs_notice_t same = {.application = "shop", .id = "b", .role = FS_NOTICE_OPERATOR, .time = 20};

    ck_assert_int_lt(fs_notice_compare(&newer, &old), 0);
    ck_assert_int_lt(fs_notice_compare(&old, &monitor), 0);
    ck_assert_int_gt(fs_notice_compare(&monitor, &newer), 0);
    ck_assert_int_lt(fs_notice_compare(&same, &newer), 0); /* by key, the same on all servers */
    ck_assert_int_gt(fs_notice_compare(&newer, &same), 0);
    ck_assert_int_eq(fs_notice_compare(&old, &old), 0);
}
END_TEST

START_TEST(a_notice_for_some_servers_is_not_for_others)
{
    fs_notice_t notice = {.application = "shop"};

    ck_assert(fs_notice_for_server(&notice, "web1"));
    notice.server_count = 2;
    notice.servers[0] = "web1";
    notice.servers[1] = "web3";
    ck_assert(fs_notice_for_server(&notice, "web3"));
    ck_assert(!fs_notice_for_server(&notice, "web2"));
}
END_TEST

static const char *said(const char *accept, const char *preset)
{
    static fs_notice_t notice = {
        .message_count = 4,
        .messages = {{"en", "EN"}, {"de", "DE"}, {"pt-BR", "PT"}, {"*", "ANY"}}};
    const char *language;

    return fs_notice_message(&notice, accept, preset, &language);
}

START_TEST(visitors_read_the_message_in_their_language)
{
    ck_assert_str_eq(said("de", NULL), "DE");
    ck_assert_str_eq(said("de-AT,en;q=0.5", NULL), "DE");
    ck_assert_str_eq(said("en;q=0.5, de;q=0.9", NULL), "DE");
    ck_assert_str_eq(said("en;q=0.9,de;q=0.900", NULL), "EN");
    ck_assert_str_eq(said("pt", NULL), "PT");
    ck_assert_str_eq(said("PT-br;q=1.0", NULL), "PT");
    ck_assert_str_eq(said("fr, de;q=0", NULL), "ANY");
    ck_assert_str_eq(said("fr", "de"), "DE");
    ck_assert_str_eq(said("*", "en"), "ANY");
    ck_assert_str_eq(said(NULL, NULL), "ANY");
    ck_assert_str_eq(said("den", "e"), "ANY");
    ck_assert_str_eq(said(",,;q=,;", "en"), "EN");
}
END_TEST

static Suite *avail_suite(void)
{
    Suite *suite = suite_create("avail");
    TCase *zones = tcase_create("zones"), *windows = tcase_create("windows");
    TCase *json = tcase_create("json"), *merging = tcase_create("merging");

    tcase_set_timeout(zones, 60);
    tcase_add_test(zones, zone_rules_give_the_offset_on_both_sides_of_each_switch);
    tcase_add_test(zones, what_is_no_zone_rule_is_refused);
    tcase_add_test(zones, every_local_time_of_ten_years_comes_back);
    tcase_add_test(windows, a_window_is_in_force_from_its_start_and_no_more_at_its_end);
    tcase_add_test(windows, an_open_window_is_always_in_force);
    tcase_add_test(windows, weekly_windows_follow_the_local_clock_over_the_year);
    tcase_add_test(windows, on_the_days_of_the_switch_start_and_end_are_what_the_wall_shows);
    tcase_add_test(windows, windows_over_midnight_and_such_that_touch_are_one_span);
    tcase_add_test(windows, weekly_windows_happen_only_between_from_and_until);
    tcase_add_test(windows, change_names_every_moment_at_which_the_answer_changes);
    tcase_add_test(windows, windows_that_make_no_sense_have_a_problem_and_are_never_in_force);
    tcase_add_test(json, a_notice_survives_json_both_ways);
    tcase_add_test(json, application_and_state_are_enough);
    tcase_add_test(json, what_cannot_be_is_refused_and_named);
    tcase_add_test(json, a_record_of_a_newer_release_is_read);
    tcase_add_test(json, a_notice_too_large_for_a_record_is_refused_with_its_size);
    tcase_add_test(json, text_that_is_not_utf8_is_refused_by_whatever_way_it_comes);
    tcase_add_test(json, times_are_read_as_rfc_3339_has_them);
    tcase_add_test(merging, operators_come_before_monitors_and_later_before_earlier);
    tcase_add_test(merging, a_notice_for_some_servers_is_not_for_others);
    tcase_add_test(merging, visitors_read_the_message_in_their_language);
    suite_add_tcase(suite, zones);
    suite_add_tcase(suite, windows);
    suite_add_tcase(suite, json);
    suite_add_tcase(suite, merging);
    return suite;
}

FS_TEST_MAIN(avail_suite)
