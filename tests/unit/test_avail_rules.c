/* SPDX-License-Identifier: Apache-2.0 */
/* Who may tell what of availability, what of it is heeded, and the calendar. Promises 10 and 12. */
#include "fs_test.h"

#include <string.h>

#include "avail_ics.h"
#include "avail_table.h"
#include "base/fs_name.h"

#define SEC  FS_USEC_PER_SEC
#define HOUR (3600 * SEC)
#define NOW  INT64_C(1790000000000000) /* 2026-09-21T14:13:20Z, a Monday */

static fs_notice_t *parse(const char *json)
{
    fs_notice_t *notice;
    fs_result_t result;

    fs_result_clear(&result);
    ck_assert_msg(!fs_notice_parse(&notice, json, strlen(json), 1, &result), "%s", result.detail);
    return notice;
}

/* --- roles ------------------------------------------------------------------------------------ */

START_TEST(test_role_follows_how_the_caller_came)
{
    const fs_avail_caller_t root = {.local = 1, .user = 0}, httpd = {.local = 1, .user = 33},
                            other = {.local = 1, .user = 1000},
                            unknown = {.local = 1, .user = (uid_t)-1}, key = {.is_signed = 1},
                            open = {0};

    ck_assert_int_eq(fs_avail_role(&root, 33, 0), FS_AVAIL_OPERATOR);
    ck_assert_int_eq(fs_avail_role(&httpd, 33, 0), FS_AVAIL_MONITOR);
    ck_assert_int_eq(fs_avail_role(&httpd, 33, 1), FS_AVAIL_OPERATOR);
    ck_assert_int_eq(fs_avail_role(&other, 33, 1), FS_AVAIL_MONITOR);
    ck_assert_int_eq(fs_avail_role(&unknown, 33, 1), FS_AVAIL_MONITOR);
    ck_assert_int_eq(fs_avail_role(&key, 33, 0), FS_AVAIL_OPERATOR);
    ck_assert_int_eq(fs_avail_role(&open, 33, 1), FS_AVAIL_OBSERVE);
}
END_TEST

static const struct {
    const char *json;
    fs_avail_role_t role;
    const char *problem; /* NULL: admitted */
    const char *id;
} told[] = {
    {"{\"application\":\"shop\",\"state\":\"down\"}", FS_AVAIL_OPERATOR, NULL, "operator"},
    {"{\"application\":\"*\",\"state\":\"down\"}", FS_AVAIL_OPERATOR, NULL, "operator"},
    {"{\"application\":\"shop\",\"state\":\"up\",\"id\":\"x\"}", FS_AVAIL_OPERATOR, NULL, "x"},
    {"{\"application\":\"shop\",\"state\":\"down\",\"id\":\"monitor.x\"}", FS_AVAIL_OPERATOR,
     "FS1573", NULL},
    {"{\"application\":\"shop\",\"state\":\"down\"}", FS_AVAIL_OBSERVE, "FS1570", NULL},
    {"{\"application\":\"shop\",\"state\":\"down\",\"until\":\"2026-01-01T00:00:00Z\"}",
     FS_AVAIL_OPERATOR, "FS1572", NULL},
    {"{\"application\":\"shop\",\"state\":\"down\"}", FS_AVAIL_MONITOR, NULL, "monitor.notice"},
    {"{\"application\":\"shop\",\"state\":\"down\",\"id\":\"operator\"}", FS_AVAIL_MONITOR, NULL,
     "monitor.operator"},
    {"{\"application\":\"shop\",\"state\":\"down\",\"role\":\"operator\"}", FS_AVAIL_MONITOR, NULL,
     "monitor.notice"},
    {"{\"application\":\"shop\",\"state\":\"down\",\"role\":\"monitor\",\"id\":\"a\"}",
     FS_AVAIL_OPERATOR, NULL, "monitor.a"},
    {"{\"application\":\"shop\",\"state\":\"up\"}", FS_AVAIL_MONITOR, "FS1571", NULL},
    {"{\"application\":\"*\",\"state\":\"down\"}", FS_AVAIL_MONITOR, "FS1571", NULL},
    {"{\"application\":\"shop\",\"state\":\"down\",\"from\":\"2030-01-01T00:00:00Z\"}",
     FS_AVAIL_MONITOR, "FS1571", NULL},
    {"{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"mon\"],\"start\":"
     "\"00:00\",\"end\":\"24:00\"}}",
     FS_AVAIL_MONITOR, "FS1571", NULL},
};

START_TEST(test_what_is_told_is_for_the_role)
{
    fs_notice_t *notice = parse(told[_i].json);
    char id[FS_NOTICE_NAME_SIZE], key[FS_NOTICE_KEY_SIZE];
    fs_result_t result;
    apr_status_t status = fs_avail_admit(notice, told[_i].role, id, 0, NOW, &result);

    if (told[_i].problem) {
        ck_assert_int_ne(status, APR_SUCCESS);
        ck_assert_str_eq(result.problem, told[_i].problem);
    } else {
        ck_assert_int_eq(status, APR_SUCCESS);
        ck_assert_str_eq(notice->id, told[_i].id);
        fs_notice_key(notice, key);
        ck_assert_int_eq(fs_avail_is_sound(notice, key), 1);
    }
    free(notice);
}
END_TEST

START_TEST(test_no_word_of_a_monitor_has_the_key_of_an_operators)
{
    /* Whatever way the records come: the roles have no keys in common. */
    fs_notice_t *notice = parse("{\"application\":\"shop\",\"state\":\"down\",\"id\":\"db\"}");

    ck_assert_int_eq(fs_avail_is_sound(notice, "shop/db"), 1);
    ck_assert_int_eq(fs_avail_is_sound(notice, "shop/other"), 0);
    notice->role = FS_NOTICE_MONITOR;
    ck_assert_int_eq(fs_avail_is_sound(notice, "shop/db"), 0);
    notice->id = "monitor.db";
    ck_assert_int_eq(fs_avail_is_sound(notice, "shop/monitor.db"), 1);
    notice->role = FS_NOTICE_OPERATOR;
    ck_assert_int_eq(fs_avail_is_sound(notice, "shop/monitor.db"), 0);
    free(notice);
}
END_TEST

START_TEST(test_word_of_a_monitor_ends_by_itself)
{
    fs_notice_t *notice = parse("{\"application\":\"shop\",\"state\":\"down\"}");
    char id[FS_NOTICE_NAME_SIZE];
    fs_result_t result;

    ck_assert_int_eq(fs_avail_admit(notice, FS_AVAIL_MONITOR, id, 0, NOW, &result), APR_SUCCESS);
    ck_assert_int_eq(notice->window.from, NOW);
    ck_assert_int_eq(notice->window.until, NOW + FS_AVAIL_MONITOR_DEFAULT);
    notice->window.until = NOW + 1000 * 24 * HOUR;
    ck_assert_int_eq(fs_avail_admit(notice, FS_AVAIL_MONITOR, id, NOW - SEC, NOW, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(notice->window.until, NOW + FS_AVAIL_MONITOR_MOST);
    ck_assert_int_eq(notice->window.from, NOW - SEC);
    free(notice);
}
END_TEST

START_TEST(test_long_names_of_monitors_stay_apart)
{
    char one[FS_NOTICE_NAME_SIZE], other[FS_NOTICE_NAME_SIZE], name[FS_NOTICE_NAME_SIZE];

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    fs_avail_monitor_id(name, "web1", one);
    fs_avail_monitor_id(name, "web2", other);
    ck_assert_str_ne(one, other);
    ck_assert_int_eq(fs_name_is_good(one), 1);
    fs_avail_monitor_id("page", "web1", one);
    ck_assert_str_eq(one, "monitor.page.web1");
}
END_TEST

/* --- rate ------------------------------------------------------------------------------------- */

START_TEST(test_a_flood_gets_its_rate_and_no_more)
{
    fs_avail_bucket_t bucket = {0};
    unsigned passed = 0;

    for (fs_usec_t now = SEC; now < 101 * SEC; now += SEC / 1000)
        passed += fs_avail_bucket_take(&bucket, now) != 0;
    ck_assert_uint_ge(passed, FS_AVAIL_BURST + 99 * FS_AVAIL_PER_SECOND);
    ck_assert_uint_le(passed, FS_AVAIL_BURST + 100 * FS_AVAIL_PER_SECOND);
    /* After a rest as many at once as in the beginning. */
    passed = 0;
    for (int i = 0; i < 1000; i++)
        passed += fs_avail_bucket_take(&bucket, 1000 * SEC) != 0;
    ck_assert_uint_eq(passed, FS_AVAIL_BURST);
}
END_TEST

/* --- share ------------------------------------------------------------------------------------ */

#define SERVERS 8

static void put_down(fs_avail_table_t *table, const char *application, unsigned server,
                     fs_usec_t since)
{
    char json[512], from[FS_TIME_TEXT_SIZE], key[FS_NOTICE_KEY_SIZE];

    snprintf(
        json, sizeof(json),
        "{\"application\":\"%s\",\"state\":\"down\",\"role\":\"monitor\",\"id\":\"monitor.m.w%u\","
        "\"servers\":[\"w%u\"],\"from\":\"%s\"}",
        application, server, server, fs_time_format(since, from));
    fs_notice_t *notice = parse(json);

    fs_notice_key(notice, key);
    ck_assert_ptr_nonnull(fs_avail_table_put(table, key, notice, "w1"));
}

/* "1010": which of the servers' notices are heeded. */
static const char *heeded(fs_avail_table_t *table, const char *application, unsigned percent)
{
    static char out[SERVERS + 1];
    unsigned count, left_out;
    char key[64];

    free(fs_avail_table_weigh(table, SERVERS, percent, NOW, &count, &left_out));
    for (unsigned i = 0; i < SERVERS; i++) {
        const fs_avail_entry_t *entry;

        snprintf(key, sizeof(key), "%s/monitor.m.w%u", application, i);
        entry = fs_avail_table_get(table, key);
        out[i] = entry ? (char)('0' + entry->heeded) : '-';
    }
    return out;
}

START_TEST(test_monitors_take_down_their_share_and_no_more)
{
    fs_avail_table_t *table = fs_avail_table_create();

    for (unsigned i = 0; i < SERVERS; i++)
        put_down(table, "shop", i, NOW - HOUR + (SERVERS - i) * SEC); /* the last one began first */
    put_down(table, "mail", 0, NOW - SEC);
    ck_assert_str_eq(heeded(table, "shop", 50), "00001111");
    ck_assert_str_eq(heeded(table, "mail", 50), "1-------");
    ck_assert_str_eq(heeded(table, "shop", 1), "00000001");
    ck_assert_str_eq(heeded(table, "shop", 100), "11111111");
    /* One that works again makes room for the next. */
    ck_assert_int_eq(fs_avail_table_remove(table, "shop/monitor.m.w7"), 1);
    ck_assert_str_eq(heeded(table, "shop", 50), "0001111-");
    fs_avail_table_destroy(table);
}
END_TEST

START_TEST(test_renewals_change_nobodys_turn)
{
    fs_avail_table_t *table = fs_avail_table_create();

    for (unsigned i = 0; i < SERVERS; i++)
        put_down(table, "shop", i, NOW - HOUR + i * SEC);
    ck_assert_str_eq(heeded(table, "shop", 50), "11110000");
    for (unsigned i = 0; i < 4; i++)
        put_down(table, "shop", i, NOW - HOUR + i * SEC);
    ck_assert_str_eq(heeded(table, "shop", 50), "11110000");
    fs_avail_table_destroy(table);
}
END_TEST

START_TEST(test_all_servers_choose_alike_in_whatever_order_notices_came)
{
    char first[SERVERS + 1] = "";

    for (unsigned start = 0; start < SERVERS; start++) {
        fs_avail_table_t *table = fs_avail_table_create();

        for (unsigned i = 0; i < SERVERS; i++) /* all at the same moment */
            put_down(table, "shop", (start + 3 * i) % SERVERS, NOW - HOUR);
        if (!start)
            strcpy(first, heeded(table, "shop", 50));
        ck_assert_str_eq(heeded(table, "shop", 50), first);
        fs_avail_table_destroy(table);
    }
}
END_TEST

START_TEST(test_whole_farm_needs_the_whole_share)
{
    fs_avail_table_t *table = fs_avail_table_create();
    fs_notice_t *all = parse("{\"application\":\"shop\",\"state\":\"down\",\"role\":\"monitor\","
                             "\"id\":\"monitor.all\"}");
    unsigned count, left_out;

    fs_avail_table_put(table, "shop/monitor.all", all, "w1");
    free(fs_avail_table_weigh(table, SERVERS, 99, NOW, &count, &left_out));
    ck_assert_uint_eq(left_out, 1);
    free(fs_avail_table_weigh(table, SERVERS, 100, NOW, &count, &left_out));
    ck_assert_uint_eq(left_out, 0);
    /* A farm of one: its monitor may take it down. */
    free(fs_avail_table_weigh(table, 1, 50, NOW, &count, &left_out));
    ck_assert_uint_eq(left_out, 0);
    fs_avail_table_destroy(table);
}
END_TEST

START_TEST(test_operators_are_not_limited)
{
    fs_avail_table_t *table = fs_avail_table_create();
    unsigned count, left_out;
    char key[64], json[256];

    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "shop/n%u", i);
        snprintf(
            json, sizeof(json),
            "{\"application\":\"shop\",\"state\":\"down\",\"id\":\"n%u\",\"servers\":[\"w%u\"]}", i,
            i);
        fs_avail_table_put(table, key, parse(json), "w1");
    }
    free(fs_avail_table_weigh(table, SERVERS, 1, NOW, &count, &left_out));
    ck_assert_uint_eq(count, 100);
    ck_assert_uint_eq(left_out, 0);
    fs_avail_table_destroy(table);
}
END_TEST

START_TEST(test_what_is_over_takes_nobodys_turn)
{
    fs_avail_table_t *table = fs_avail_table_create();

    for (unsigned i = 0; i < SERVERS; i++) {
        put_down(table, "shop", i, NOW - HOUR + i * SEC);
        if (i < 4) {
            char key[64];

            snprintf(key, sizeof(key), "shop/monitor.m.w%u", i);
            fs_avail_table_get(table, key)->notice->window.until = NOW - SEC;
        }
    }
    ck_assert_str_eq(heeded(table, "shop", 50) + 4, "1111");
    fs_avail_table_destroy(table);
}
END_TEST

START_TEST(test_table_replaces_and_removes)
{
    fs_avail_table_t *table = fs_avail_table_create();
    unsigned count;
    fs_avail_entry_t **all;

    ck_assert_int_eq(fs_avail_table_remove(table, "a/b"), 0);
    ck_assert_ptr_null(fs_avail_table_list(table, &count));
    for (int i = 0; i < 3; i++)
        fs_avail_table_put(table, "a/operator", parse("{\"application\":\"a\",\"state\":\"down\"}"),
                           "w1");
    ck_assert_uint_eq(fs_avail_table_count(table), 1);
    all = fs_avail_table_list(table, &count);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(all[0]->key, "a/operator");
    free(all);
    ck_assert_int_eq(fs_avail_table_remove(table, "a/operator"), 1);
    ck_assert_uint_eq(fs_avail_table_count(table), 0);
    fs_avail_table_destroy(table);
}
END_TEST

/* --- calendar --------------------------------------------------------------------------------- */

static char *calendar_of(const char *json)
{
    fs_notice_t *notice = parse(json);
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    notice->time = NOW;
    fs_ics_begin(out, "Test");
    fs_ics_notice(out, notice);
    fs_ics_end(out);
    fclose(out);
    free(notice);
    return text;
}

START_TEST(test_calendar_of_a_window)
{
    char *text =
        calendar_of("{\"application\":\"shop\",\"state\":\"down\",\"id\":\"db\",\"reason\":"
                    "\"planned\",\"message\":\"a, b; c\\nd\","
                    "\"from\":\"2026-12-01T14:00:00Z\",\"until\":\"2026-12-01T14:30:00Z\"}");

    ck_assert_ptr_nonnull(
        strstr(text, "BEGIN:VEVENT\r\nUID:shop/db\r\nDTSTAMP:20260921T141320Z\r\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "\r\nDTSTART:20261201T140000Z\r\nDTEND:20261201T143000Z\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "\r\nDESCRIPTION:a\\, b\\; c\\nd\r\n"));
    free(text);
}
END_TEST

START_TEST(test_calendar_of_every_week_has_its_zone)
{
    char *text = calendar_of(
        "{\"application\":\"shop\",\"state\":\"down\",\"weekly\":{\"days\":[\"sun\",\"wed\"],"
        "\"start\":\"02:00\",\"end\":\"04:00\",\"zone\":\"CET-1CEST,M3.5.0,M10.5.0/3\"}}");

    /* The first one after Monday 21 September is Wednesday the 23rd. */
    ck_assert_ptr_nonnull(strstr(text, ":20260923T020000\r\n"));
    ck_assert_ptr_nonnull(strstr(text, ":20260923T040000\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "RRULE:FREQ=WEEKLY;BYDAY=WE,SU\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "BEGIN:DAYLIGHT\r\nDTSTART:19700329T020000\r\n"
                                       "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n"
                                       "TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\n"));
    free(text);
}
END_TEST

START_TEST(test_calendar_has_no_long_lines_and_no_cut_characters)
{
    char json[3000], *text, *line;
    size_t length;

    snprintf(json, sizeof(json),
             "{\"application\":\"shop\",\"state\":\"down\",\"until\":"
             "\"2030-01-01T00:00:00Z\",\"message\":\"");
    for (int i = 0; i < 200; i++)
        strcat(json, i % 3 ? "ü" : i % 2 ? "€" : "x");
    strcat(json, "\"}");
    text = calendar_of(json);
    for (line = text; *line; line += length + 2) {
        length = strcspn(line, "\r");
        ck_assert_uint_le(length, 75);
        ck_assert_str_ne(line + length, "\r");
        ck_assert_int_ne((unsigned char)line[*line == ' '] & 0xc0, 0x80);
    }
    free(text);
}
END_TEST

START_TEST(test_calendar_has_only_what_is_planned)
{
    char *text = calendar_of("{\"application\":\"shop\",\"state\":\"down\"}");

    ck_assert_ptr_null(strstr(text, "VEVENT"));
    free(text);
}
END_TEST

static Suite *avail_rules_suite(void)
{
    Suite *suite = suite_create("avail_rules");
    TCase *rules = tcase_create("rules"), *share = tcase_create("share"),
          *calendar = tcase_create("calendar");

    tcase_add_test(rules, test_role_follows_how_the_caller_came);
    tcase_add_loop_test(rules, test_what_is_told_is_for_the_role, 0,
                        sizeof(told) / sizeof(told[0]));
    tcase_add_test(rules, test_no_word_of_a_monitor_has_the_key_of_an_operators);
    tcase_add_test(rules, test_word_of_a_monitor_ends_by_itself);
    tcase_add_test(rules, test_long_names_of_monitors_stay_apart);
    tcase_add_test(rules, test_a_flood_gets_its_rate_and_no_more);
    tcase_add_test(share, test_monitors_take_down_their_share_and_no_more);
    tcase_add_test(share, test_renewals_change_nobodys_turn);
    tcase_add_test(share, test_all_servers_choose_alike_in_whatever_order_notices_came);
    tcase_add_test(share, test_whole_farm_needs_the_whole_share);
    tcase_add_test(share, test_operators_are_not_limited);
    tcase_add_test(share, test_what_is_over_takes_nobodys_turn);
    tcase_add_test(share, test_table_replaces_and_removes);
    tcase_add_test(calendar, test_calendar_of_a_window);
    tcase_add_test(calendar, test_calendar_of_every_week_has_its_zone);
    tcase_add_test(calendar, test_calendar_has_no_long_lines_and_no_cut_characters);
    tcase_add_test(calendar, test_calendar_has_only_what_is_planned);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, share);
    suite_add_tcase(suite, calendar);
    return suite;
}

FS_TEST_MAIN(avail_rules_suite)
