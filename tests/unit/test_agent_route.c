/* SPDX-License-Identifier: Apache-2.0 */
/* How an agent judges the servers that take part in routing, and what they say of themselves. */
#include "fs_test.h"

#include <string.h>

#include "agent_config.h"
#include "route_table.h"

#define SEC  FS_USEC_PER_SEC
#define FARM INT64_C(1790000000000000)
#define SPAN (60 * SEC)

static fs_routing_table_t *table;

static void setup(void)
{
    table = fs_routing_table_create("web1", 0);
    ck_assert_ptr_nonnull(table);
}

static void teardown(void)
{
    free(table);
}

static fs_routing_record_t said(uint64_t primaries)
{
    return (fs_routing_record_t){.url = "http://10.0.0.2:80",
                                 .capacity = 1000,
                                 .primaries = primaries,
                                 .ready = 1,
                                 .since = FARM - 2 * SPAN};
}

static fs_routing_server_t *say(const char *name, fs_routing_record_t record, fs_usec_t mono)
{
    fs_routing_server_t *server = fs_routing_table_say(table, name, &record, 1, 1, mono);

    ck_assert_ptr_nonnull(server);
    return server;
}

static fs_routing_state_t judged(const char *name, fs_usec_t mono)
{
    fs_routing_server_t *server;

    fs_routing_table_judge(table, mono, FARM + mono, SPAN, NULL);
    server = fs_routing_table_find(table, name);
    ck_assert_ptr_nonnull(server);
    return server->state;
}

static fs_routing_state_t state_of(const char *name, fs_peer_state_t peer, fs_usec_t mono)
{
    fs_routing_table_hear(table, name, "http://10.0.0.2:4480", peer, mono);
    return judged(name, mono);
}

/* --- judging ------------------------------------------------------------------------------------
 */

START_TEST(test_state_follows_what_is_heard)
{
    say("web2", said(10), SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, SEC), FS_ROUTING_ALIVE);
    ck_assert_int_eq(state_of("web2", FS_PEER_SUSPECT, 4 * SEC), FS_ROUTING_SUSPECT);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 5 * SEC), FS_ROUTING_ALIVE);
    ck_assert_int_eq(state_of("web2", FS_PEER_DEAD, 15 * SEC), FS_ROUTING_DEAD);
}
END_TEST

START_TEST(test_who_was_dead_must_speak_before_it_counts)
{
    fs_routing_record_t record = said(10);

    say("web2", record, SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_DEAD, 20 * SEC), FS_ROUTING_DEAD);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 21 * SEC), FS_ROUTING_STARTING);
    record.ready = 0;
    say("web2", record, 22 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 22 * SEC), FS_ROUTING_STARTING);
    record.ready = 1;
    record.since = FARM + 22 * SEC;
    say("web2", record, 22 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 23 * SEC), FS_ROUTING_RAMPING);
    ck_assert_double_lt(fs_routing_table_find(table, "web2")->ramp, 0.2);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 52 * SEC), FS_ROUTING_RAMPING);
    ck_assert_double_eq_tol(fs_routing_table_find(table, "web2")->ramp, 0.55, 0.01);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 82 * SEC), FS_ROUTING_ALIVE);
    ck_assert_double_eq(fs_routing_table_find(table, "web2")->ramp, 1);
}
END_TEST

START_TEST(test_after_a_start_the_others_are_believed_for_a_moment)
{
    fs_routing_record_t record = said(10);

    fs_routing_table_say(table, "web2", &record, 1, 0, SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_UNKNOWN, SEC), FS_ROUTING_ALIVE);
    ck_assert_int_eq(state_of("web2", FS_PEER_UNKNOWN, FS_ROUTING_PATIENCE + SEC), FS_ROUTING_DEAD);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, FS_ROUTING_PATIENCE + 2 * SEC),
                     FS_ROUTING_STARTING);
    say("web2", record, FS_ROUTING_PATIENCE + 2 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, FS_ROUTING_PATIENCE + 2 * SEC),
                     FS_ROUTING_ALIVE);
}
END_TEST

/* Who stood still himself has heard nobody meanwhile: that is no reason to take the others for
 * dead, and their visitors. */
START_TEST(test_who_stood_still_believes_the_others)
{
    say("web2", said(1), 100 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 100 * SEC), FS_ROUTING_ALIVE);
    fs_routing_table_wake(table, 112 * SEC, 12 * SEC);
    for (fs_usec_t now = 112; now < 117; now++) {
        fs_routing_table_hear(table, "web2", "", FS_PEER_DEAD, 100 * SEC);
        ck_assert_int_eq(judged("web2", now * SEC), FS_ROUTING_ALIVE);
    }
    ck_assert_int_eq(judged("web2", 117 * SEC), FS_ROUTING_DEAD);
    /* What is heard since then counts at once, and a short while is believed for as short a one. */
    say("web2", said(1), 118 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 118 * SEC), FS_ROUTING_ALIVE);
    fs_routing_table_wake(table, 120 * SEC, 2 * SEC);
    fs_routing_table_hear(table, "web2", "", FS_PEER_SUSPECT, 118 * SEC);
    ck_assert_int_eq(judged("web2", 121 * SEC), FS_ROUTING_ALIVE);
    ck_assert_int_eq(judged("web2", 122 * SEC), FS_ROUTING_SUSPECT);
    fs_routing_table_hear(table, "web2", "", FS_PEER_SUSPECT, 120 * SEC);
    ck_assert_int_eq(judged("web2", 121 * SEC), FS_ROUTING_SUSPECT);
}
END_TEST

START_TEST(test_order_drains_and_is_taken_back)
{
    fs_routing_order_t order = {.who = "anna"};
    fs_routing_record_t record = said(10);

    say("web2", record, SEC);
    fs_routing_table_order(table, "web2", &order);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, SEC), FS_ROUTING_DRAINING);
    ck_assert_int_eq(state_of("web2", FS_PEER_DEAD, 20 * SEC), FS_ROUTING_DEAD);
    say("web2", record, 21 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 21 * SEC), FS_ROUTING_DRAINING);
    fs_routing_table_order(table, "web2", NULL);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 22 * SEC), FS_ROUTING_ALIVE);
    record.draining = 1; /* as it says itself, before the order was heard here */
    say("web2", record, 23 * SEC);
    ck_assert_int_eq(state_of("web2", FS_PEER_ALIVE, 23 * SEC), FS_ROUTING_DRAINING);
}
END_TEST

START_TEST(test_order_for_a_server_that_was_not_heard_of_yet)
{
    fs_routing_order_t order = {.who = "anna"};

    fs_routing_table_order(table, "web7", &order);
    fs_routing_table_judge(table, SEC, FARM, SPAN, NULL);
    ck_assert_int_eq(fs_routing_table_find(table, "web7")->state, FS_ROUTING_DEAD);
    say("web7", said(0), 2 * SEC);
    ck_assert_int_eq(state_of("web7", FS_PEER_ALIVE, 2 * SEC), FS_ROUTING_DRAINING);
}
END_TEST

START_TEST(test_own_state_is_what_it_says)
{
    fs_routing_record_t own = said(0);

    fs_routing_table_judge(table, SEC, FARM, SPAN, NULL);
    ck_assert_int_eq(table->servers[0].state, FS_ROUTING_STARTING);
    say("web1", own, SEC);
    fs_routing_table_judge(table, SEC, FARM, SPAN, NULL);
    ck_assert_int_eq(table->servers[0].state, FS_ROUTING_ALIVE);
    own.ready = 0;
    say("web1", own, 2 * SEC);
    fs_routing_table_judge(table, 2 * SEC, FARM, SPAN, NULL);
    ck_assert_int_eq(table->servers[0].state, FS_ROUTING_STARTING);
}
END_TEST

/* --- numbers ------------------------------------------------------------------------------------
 */

static long number_of(const fs_routing_server_t *server)
{
    return server - table->servers;
}

START_TEST(test_numbers_stay_and_are_used_again)
{
    fs_routing_server_t *second = say("web2", said(0), SEC), *third = say("web3", said(0), SEC);

    ck_assert_int_eq(number_of(second), 1);
    ck_assert_int_eq(number_of(third), 2);
    state_of("web2", FS_PEER_DEAD, 20 * SEC);
    ck_assert_int_eq(state_of("web3", FS_PEER_ALIVE, 20 * SEC), FS_ROUTING_ALIVE);
    fs_routing_table_forget(table, "web2");
    ck_assert_int_eq(fs_routing_table_judge(table, 21 * SEC, FARM, SPAN, NULL), 1);
    ck_assert_ptr_null(fs_routing_table_find(table, "web2"));
    ck_assert_ptr_eq(fs_routing_table_find(table, "web3"), third);
    ck_assert_int_eq(number_of(say("web4", said(0), SEC)), 1);
    fs_routing_table_forget(table, "web3"); /* it is heard still: its record will come again */
    ck_assert_int_eq(state_of("web3", FS_PEER_ALIVE, 22 * SEC), FS_ROUTING_STARTING);
}
END_TEST

START_TEST(test_a_full_table_lets_go_of_the_dead_only)
{
    char name[16];

    for (unsigned i = 1; i < FS_ROUTE_SERVERS; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        say(name, said(0), SEC);
        fs_routing_table_hear(table, name, "", FS_PEER_ALIVE, i);
    }
    fs_routing_table_judge(table, SEC, FARM, SPAN, NULL);
    fs_routing_record_t record = said(0);
    ck_assert_ptr_null(fs_routing_table_say(table, "more", &record, 1, 1, SEC));
    ck_assert_uint_eq(table->passed_over, 1);
    fs_routing_table_hear(table, "s7", "", FS_PEER_DEAD, 7);
    fs_routing_table_hear(table, "s9", "", FS_PEER_DEAD, 9);
    fs_routing_table_judge(table, 2 * SEC, FARM, SPAN, NULL);
    ck_assert_int_eq(number_of(say("more", record, SEC)), 7);
    ck_assert_ptr_null(fs_routing_table_find(table, "s7"));
    ck_assert_ptr_nonnull(fs_routing_table_find(table, "s9"));
    ck_assert_uint_eq(table->count, FS_ROUTE_SERVERS);
}
END_TEST

START_TEST(test_entries_are_what_request_processes_need)
{
    static fs_route_entry_t entries[FS_ROUTE_SERVERS];
    fs_routing_record_t record = said(40);

    strcpy(record.rack, "b");
    record.busy = 3;
    record.workers = 100;
    record.shed = 2;
    say("web2", record, SEC);
    strcpy(record.rack, "a");
    say("web3", record, SEC);
    strcpy(record.rack, "b");
    say("web4", record, SEC);
    for (unsigned i = 2; i <= 4; i++)
        state_of(table->servers[i - 1].name, FS_PEER_ALIVE, SEC);
    fs_routing_table_entries(table, entries);
    ck_assert_str_eq(entries[1].name, "web2");
    ck_assert_str_eq(entries[1].where.url, "http://10.0.0.2:80");
    ck_assert_uint_eq(entries[1].server.primaries, 40);
    ck_assert_uint_eq(entries[1].server.workers, 100);
    ck_assert_uint_eq(entries[1].server.shed, 2);
    ck_assert_uint_eq(entries[1].server.state, FS_ROUTE_ALIVE);
    ck_assert_uint_eq(entries[1].server.rack, entries[3].server.rack);
    ck_assert_uint_ne(entries[1].server.rack, entries[2].server.rack);
    ck_assert_uint_eq(entries[0].server.rack, 0);
    ck_assert_uint_eq(entries[0].server.state, FS_ROUTE_SUSPECT);
    uint64_t status = entries[1].status;
    say("web2", record, 2 * SEC); /* the same again: what was sent there is known to it */
    fs_routing_table_entries(table, entries);
    ck_assert_uint_ne(entries[1].status, status);
}
END_TEST

/* A server that says of itself what it said before, or something else, is one server; and when it
 * is forgotten nothing of it is left. */
START_TEST(test_mod_proxy_cluster_MODCLUSTER_824_said_anew_is_no_second_server)
{
    static fs_route_entry_t entries[FS_ROUTE_SERVERS];
    fs_routing_record_t record = said(40);

    say("web2", record, SEC);
    say("web3", record, SEC); /* the same words of another one: two */
    strcpy(record.url, "http://10.0.0.9:8080");
    strcpy(record.public_url, "https://shop.example");
    say("web2", record, 2 * SEC);
    state_of("web2", FS_PEER_ALIVE, 2 * SEC);
    state_of("web3", FS_PEER_ALIVE, 2 * SEC);
    ck_assert_uint_eq(table->count, 3);
    fs_routing_table_entries(table, entries);
    ck_assert_str_eq(entries[1].where.url, "http://10.0.0.9:8080");
    ck_assert_str_eq(entries[1].where.public_url, "https://shop.example");
    ck_assert_str_eq(entries[2].where.url, "http://10.0.0.2:80");
    fs_routing_table_hear(table, "web2", "", FS_PEER_DEAD, 2 * SEC);
    fs_routing_table_forget(table, "web2");
    fs_routing_table_judge(table, 60 * SEC, FARM, SPAN, NULL);
    ck_assert_ptr_null(fs_routing_table_find(table, "web2"));
    fs_routing_table_entries(table, entries);
    ck_assert_str_eq(entries[1].name, "");
    ck_assert_str_eq(entries[1].where.url, "");
}
END_TEST

START_TEST(test_visitors_who_come_meanwhile_are_guessed)
{
    say("web2", said(0), SEC);
    say("web2", said(100), 2 * SEC);
    say("web2", said(200), 3 * SEC);
    say("web2", said(300), 4 * SEC);
    state_of("web2", FS_PEER_ALIVE, 4 * SEC);
    ck_assert_double_eq_tol(fs_routing_table_coming(table, 4 * SEC + SEC / 10), 9.9, 0.1);
    ck_assert_double_eq(fs_routing_table_coming(table, 5 * SEC), 20); /* more is said at once */
    ck_assert_double_eq(fs_routing_table_coming(table, 6 * SEC), 0);  /* nobody: it would say so */
    say("web2", said(10), 5 * SEC); /* who leave don't count against those who come */
    ck_assert_double_ge(fs_routing_table_coming(table, 6 * SEC), 0);
}
END_TEST

/* What is guessed of a burst when it is over is what made the next ones stay where they came. */
START_TEST(test_a_burst_is_forgotten_when_it_is_over)
{
    say("web2", said(0), SEC);
    for (unsigned i = 1; i <= 10; i++) /* a thousand a second */
        say("web2", said(i * 21), SEC + i * SEC / 50);
    state_of("web2", FS_PEER_ALIVE, 2 * SEC);
    ck_assert_double_gt(fs_routing_table_coming(table, SEC + SEC / 5 + SEC / 100), 3);
    say("web2", said(215), 2 * SEC + SEC / 5);
    ck_assert_double_lt(fs_routing_table_coming(table, 2 * SEC + SEC / 5 + SEC / 100), 2);
    say("web2", said(215), 4 * SEC + SEC / 5);
    ck_assert_double_lt(fs_routing_table_coming(table, 4 * SEC + 2 * SEC / 5), 5);
}
END_TEST

/* --- the agent-check's line ---------------------------------------------------------------------
 */

static const struct {
    fs_routing_state_t state;
    int maint;
    double ramp;
    uint64_t primaries;
    const char *line;
} lines[] = {
    {FS_ROUTING_ALIVE, 0, 1, 0, "ready up 100%\n"},
    {FS_ROUTING_ALIVE, 0, 1, 250, "ready up 75%\n"},
    {FS_ROUTING_ALIVE, 0, 1, 1000, "ready up 1%\n"},
    {FS_ROUTING_ALIVE, 0, 1, 5000, "ready up 1%\n"},
    {FS_ROUTING_RAMPING, 0, 0.1, 500, "ready up 5%\n"},
    {FS_ROUTING_DRAINING, 0, 1, 250, "up drain\n"},
    {FS_ROUTING_STARTING, 0, 1, 250, "ready down#not ready\n"},
    {FS_ROUTING_ALIVE, 1, 1, 250, "maint\n"},
    {FS_ROUTING_DRAINING, 1, 1, 250, "maint\n"},
};

START_TEST(test_agent_check_says_all_each_time)
{
    fs_routing_server_t own = {.state = lines[_i].state, .ramp = lines[_i].ramp};
    char line[FS_ROUTING_LINE_SIZE];

    own.said.capacity = 1000;
    fs_routing_check_line(&own, lines[_i].maint, lines[_i].primaries, line);
    ck_assert_str_eq(line, lines[_i].line);
    if (lines[_i].state == FS_ROUTING_ALIVE && !lines[_i].maint) {
        own.said.capacity = 0; /* a front: nobody's home, but whoever comes may come there */
        fs_routing_check_line(&own, 0, 0, line);
        ck_assert_str_eq(line, "ready up 100%\n");
    }
}
END_TEST

/* --- records ------------------------------------------------------------------------------------
 */

START_TEST(test_record_comes_back_as_it_was)
{
    fs_routing_record_t record = said(77), back;
    const char *field;
    char *text;

    strcpy(record.public_url, "https://www1.example");
    strcpy(record.rack, "r1");
    record.alternates = 70;
    record.busy = 5;
    record.workers = 400;
    record.shed = 8;
    record.draining = 1;
    record.sequence = 12;
    record.digest = UINT64_C(0xfedcba9876543210);
    record.generation = UINT64_MAX;
    text = fs_routing_record_print(&record);
    ck_assert_ptr_nonnull(text);
    ck_assert_msg(!fs_routing_record_parse(&back, text, strlen(text), &field), "%s", field);
    ck_assert_int_eq(fs_routing_record_differs(&record, &back), 0);
    ck_assert_uint_eq(back.digest, record.digest);
    ck_assert_uint_eq(back.generation, record.generation);
    ck_assert_str_eq(back.public_url, record.public_url);
    free(text);
    /* Of a release that doesn't say it. */
    text = strdup("{\"url\":\"\",\"public\":\"\",\"rack\":\"\",\"capacity\":1,\"primaries\":0,"
                  "\"alternates\":0,\"busy\":0,\"workers\":0,\"drain\":false,\"ready\":true,"
                  "\"since\":0,\"sequence\":0,\"digest\":\"0000000000000000\","
                  "\"generation\":\"0000000000000000\"}");
    ck_assert_msg(!fs_routing_record_parse(&back, text, strlen(text), &field), "%s", field);
    ck_assert_uint_eq(back.shed, 0);
    free(text);
}
END_TEST

static const char *const damaged[][2] = {
    {"\"capacity\":1000", "\"capacity\":-1"},
    {"\"capacity\":1000", "\"capacity\":\"1000\""},
    {"\"primaries\":77", "\"primaries\":99999999999999"},
    {"\"url\":\"http://10.0.0.2:80\"", "\"url\":\"http://10.0.0.2:80/path\""},
    {"\"url\":\"http://10.0.0.2:80\"", "\"url\":\"http://a\\r\\nb\""},
    {"\"url\":\"http://10.0.0.2:80\"", "\"url\":\"file://x\""},
    {"\"drain\":false", "\"drain\":0"},
    {"\"shed\":0", "\"shed\":9"},
    {"\"digest\":\"0000000000000000\"", "\"digest\":\"000000000000000x\""},
    {"\"digest\":\"0000000000000000\"", "\"digest\":\"0\""},
    {"\"rack\":\"\"", "\"rack\":\"a b\""},
    {"{\"url\"", "[\"url\""},
};

START_TEST(test_what_is_no_record_is_refused)
{
    fs_routing_record_t record = said(77);
    const char *field = NULL, *from = damaged[_i][0], *to = damaged[_i][1];
    char *text = fs_routing_record_print(&record), *at = strstr(text, from);
    char changed[2048];

    ck_assert_msg(at != NULL, "%s has no %s", text, from);
    snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    ck_assert_int_eq(fs_routing_record_parse(&record, changed, strlen(changed), &field), -1);
    ck_assert_ptr_nonnull(field);
    free(text);
}
END_TEST

START_TEST(test_news_are_more_than_two_percent)
{
    fs_routing_record_t told = said(100), now = said(120);

    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 0);
    ck_assert_int_eq(fs_routing_record_differs(&told, &now), 1);
    now.primaries = 121;
    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 1);
    now = told;
    now.draining = 1;
    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 1);
    now = told;
    now.shed = 1;
    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 1);
    now = told;
    told.workers = now.workers = 100;
    now.busy = 2;
    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 0);
    now.busy = 3;
    ck_assert_int_eq(fs_routing_record_is_news(&told, &now), 1);
    now = told;
    ck_assert_int_eq(fs_routing_record_differs(&told, &now), 0);
}
END_TEST

START_TEST(test_orders)
{
    fs_routing_order_t order = {.who = "anna", .at = FARM}, back;
    char *text = fs_routing_order_print(&order);

    ck_assert_int_eq(fs_routing_order_parse(&back, text, strlen(text)), 0);
    ck_assert_str_eq(back.who, "anna");
    ck_assert_int_eq(back.at, FARM);
    free(text);
    ck_assert_int_eq(fs_routing_order_parse(&back, "{}", 2), -1);
    text = "{\"order\":\"explode\",\"who\":\"anna\",\"at\":1}";
    ck_assert_int_eq(fs_routing_order_parse(&back, text, strlen(text)), -1);
}
END_TEST

/* --- configuration ------------------------------------------------------------------------------
 */

#define CONFIG                                                                                     \
    "{\"server\":\"web1\",\"state_dir\":\"/"                                                       \
    "s\",\"groups\":[\"g\"],\"listen\":\"h:1\",\"routing\":%s}"

static apr_status_t configure(fs_agent_config_t *config, const char *routing, fs_result_t *result)
{
    char text[1024];

    snprintf(text, sizeof(text), CONFIG, routing);
    return fs_agent_config_parse(config, text, strlen(text), "agent.json", result);
}

START_TEST(test_configuration)
{
    fs_agent_config_t config;
    fs_result_t result;

    ck_assert_msg(!configure(&config, "null", &result), "%s", result.detail);
    ck_assert_int_eq(config.route.enabled, 0);
    fs_agent_config_clear(&config);
    ck_assert_msg(!configure(&config, "{}", &result), "%s", result.detail);
    ck_assert_int_eq(config.route.enabled, 1);
    ck_assert_uint_eq(config.route.capacity, 10000);
    ck_assert_uint_eq(config.route.ramp_s, 60);
    ck_assert_double_eq(config.route.settings.busy, 0.8);
    fs_agent_config_clear(&config);
    ck_assert_msg(!configure(&config,
                             "{\"capacity\":5,\"url\":\"http://h:80/\",\"public\":\"https://w\","
                             "\"rack\":\"r\",\"idle_s\":9,\"return\":\"never\",\"return_rate\":3,"
                             "\"ramp_s\":0,\"slack\":1.5,\"busy\":50,\"bounces\":2,"
                             "\"agent_check\":\"h:7\"}",
                             &result),
                  "%s", result.detail);
    ck_assert_str_eq(config.route.url, "http://h:80");
    ck_assert_int_eq(config.route.return_policy, FS_AGENT_RETURN_NEVER);
    ck_assert_str_eq(config.route.agent_check, "h:7");
    ck_assert_uint_eq(config.route.settings.bounces, 2);
    fs_agent_config_clear(&config);
}
END_TEST

static const char *const bad_configs[][2] = {
    {"{\"capacty\":5}", "FS0551"},
    {"{\"capacity\":-1}", "FS0552"},
    {"{\"capacity\":1.5}", "FS0552"},
    {"{\"url\":\"h:80\"}", "FS0552"},
    {"{\"url\":\"http://h/x\"}", "FS0552"},
    {"{\"return\":\"sometimes\"}", "FS0552"},
    {"{\"busy\":101}", "FS0552"},
    {"{\"slack\":0.9}", "FS0552"},
    {"{\"rack\":\"a b\"}", "FS0552"},
    {"{\"agent_check\":\"\"}", "FS0552"},
    {"[]", "FS0552"},
};

START_TEST(test_bad_configuration_is_refused)
{
    fs_agent_config_t config;
    fs_result_t result;

    ck_assert_int_ne(configure(&config, bad_configs[_i][0], &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, bad_configs[_i][1]);
}
END_TEST

static Suite *route_suite(void)
{
    Suite *suite = suite_create("agent_route");
    TCase *judging = tcase_create("judging"), *saying = tcase_create("saying");

    tcase_add_checked_fixture(judging, setup, teardown);
    tcase_add_test(judging, test_state_follows_what_is_heard);
    tcase_add_test(judging, test_who_was_dead_must_speak_before_it_counts);
    tcase_add_test(judging, test_after_a_start_the_others_are_believed_for_a_moment);
    tcase_add_test(judging, test_who_stood_still_believes_the_others);
    tcase_add_test(judging, test_order_drains_and_is_taken_back);
    tcase_add_test(judging, test_order_for_a_server_that_was_not_heard_of_yet);
    tcase_add_test(judging, test_own_state_is_what_it_says);
    tcase_add_test(judging, test_numbers_stay_and_are_used_again);
    tcase_add_test(judging, test_a_full_table_lets_go_of_the_dead_only);
    tcase_add_test(judging, test_entries_are_what_request_processes_need);
    tcase_add_test(judging, test_mod_proxy_cluster_MODCLUSTER_824_said_anew_is_no_second_server);
    tcase_add_test(judging, test_visitors_who_come_meanwhile_are_guessed);
    tcase_add_test(judging, test_a_burst_is_forgotten_when_it_is_over);
    tcase_add_loop_test(saying, test_agent_check_says_all_each_time, 0,
                        sizeof(lines) / sizeof(lines[0]));
    tcase_add_test(saying, test_record_comes_back_as_it_was);
    tcase_add_loop_test(saying, test_what_is_no_record_is_refused, 0,
                        sizeof(damaged) / sizeof(damaged[0]));
    tcase_add_test(saying, test_news_are_more_than_two_percent);
    tcase_add_test(saying, test_orders);
    tcase_add_test(saying, test_configuration);
    tcase_add_loop_test(saying, test_bad_configuration_is_refused, 0,
                        sizeof(bad_configs) / sizeof(bad_configs[0]));
    suite_add_tcase(suite, judging);
    suite_add_tcase(suite, saying);
    return suite;
}

FS_TEST_MAIN(route_suite)
