/* SPDX-License-Identifier: Apache-2.0 */
/* The table of servers that all processes of a host share. */
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fs_test.h"
#include "route/fs_route_page.h"

#define SECOND FS_USEC_PER_SEC
#define NOW    (1000 * SECOND)

static const fs_route_settings_t settings = {1.05, 0.8, 1, 0};

typedef struct host_t {
    char *dir;
    fs_route_page_t *agent;
    fs_route_page_t *child;
    fs_route_entry_t entries[FS_ROUTE_SERVERS];
} host_t;

static host_t *begin(void)
{
    host_t *host = calloc(1, sizeof(*host));
    fs_result_t result;

    host->dir = fs_test_mkdir();
    ck_assert_int_eq(fs_route_page_prepare(host->dir, (uid_t)-1, (gid_t)-1, &result), 0);
    ck_assert_int_eq(fs_route_page_open(&host->agent, host->dir, 1, &result), 0);
    ck_assert_int_eq(fs_route_page_open(&host->child, host->dir, 0, &result), 0);
    return host;
}

static void end(host_t *host)
{
    fs_route_page_close(host->agent);
    fs_route_page_close(host->child);
    fs_test_rmdir(host->dir);
    free(host);
}

static void set(host_t *host, unsigned number, const char *name, uint32_t capacity,
                uint64_t primaries)
{
    fs_route_entry_t *entry = &host->entries[number];

    snprintf(entry->name, sizeof(entry->name), "%s", name);
    snprintf(entry->where.url, sizeof(entry->where.url), "http://%s:8080", name);
    entry->server = (fs_route_server_t){
        .capacity = capacity, .primaries = primaries, .state = FS_ROUTE_ALIVE, .ramp = 1};
    entry->status++;
}

static void publish_three(host_t *host)
{
    set(host, 0, "web1", 100, 20);
    set(host, 1, "web2", 100, 10);
    set(host, 2, "web3", 100, 15);
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
}

START_TEST(table_is_seen_as_published)
{
    host_t *host = begin();
    fs_route_where_t where;
    fs_route_entry_t entry;
    fs_route_view_t *view;

    ck_assert_ptr_null(fs_route_page_view(host->child, NOW));
    publish_three(host);
    view = fs_route_page_view(host->child, NOW);
    ck_assert_ptr_nonnull(view);
    ck_assert_uint_eq(view->table.count, 3);
    ck_assert_uint_eq(fs_route_view_find(view, "web3"), 2);
    ck_assert_uint_eq(fs_route_view_find(view, "web33"), FS_ROUTE_NOBODY);
    ck_assert_uint_eq(fs_route_view_find(view, ""), FS_ROUTE_NOBODY);
    ck_assert_str_eq(fs_route_view_name(view, 1), "web2");
    ck_assert_str_eq(fs_route_view_name(view, 7), "");
    ck_assert_uint_eq(view->table.servers[1].primaries, 10);
    ck_assert_int_eq(fs_route_page_where(host->child, 1, &where), 1);
    ck_assert_str_eq(where.url, "http://web2:8080");
    ck_assert_int_eq(fs_route_page_where(host->child, 9, &where), 0);
    ck_assert_int_eq(fs_route_page_where(host->child, FS_ROUTE_NOBODY, &where), 0);
    ck_assert_int_eq(fs_route_page_entry(host->child, 2, &entry), 1);
    ck_assert_str_eq(entry.name, "web3");
    ck_assert_int_eq(fs_route_page_entry(host->child, 3, &entry), 0);
    end(host);
}
END_TEST

/* Requests look again only when where they belong may have changed. */
START_TEST(serial_grows_with_states_and_not_with_counts)
{
    host_t *host = begin();
    uint64_t serial;

    publish_three(host);
    serial = fs_route_page_serial(host->child);
    set(host, 1, "web2", 100, 50);
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
    ck_assert_uint_eq(fs_route_page_serial(host->child), serial);
    ck_assert_uint_eq(fs_route_page_view(host->child, NOW)->table.servers[1].primaries, 50);
    host->entries[1].server.state = FS_ROUTE_SUSPECT;
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
    ck_assert_uint_eq(fs_route_page_serial(host->child), serial + 1);
    set(host, 3, "web4", 100, 0);
    fs_route_page_publish(host->agent, host->entries, 4, 0, 0);
    ck_assert_uint_eq(fs_route_page_serial(host->child), serial + 2);
    fs_route_page_bump(host->agent);
    ck_assert_uint_eq(fs_route_page_serial(host->child), serial + 3);
    end(host);
}
END_TEST

START_TEST(what_was_sent_counts_until_the_next_status)
{
    host_t *host = begin();
    fs_route_choice_t choice;
    fs_route_view_t *view;

    publish_three(host);
    view = fs_route_page_view(host->child, NOW);
    /* 20 of 100 is above 1.05 times the mean of 15. */
    choice = fs_route_page_assign(host->child, view, &settings, 0, 0);
    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_eq(choice.server, 1);
    /* Another process sees it. */
    ck_assert_uint_eq(fs_route_page_view(host->agent, NOW)->table.servers[1].sent, 1);
    view = fs_route_page_view(host->child, NOW);
    ck_assert_uint_eq(view->table.servers[1].sent, 1);
    for (int i = 0; i < 4; i++)
        fs_route_page_assign(host->child, fs_route_page_view(host->child, NOW), &settings, 0, 0);
    view = fs_route_page_view(host->child, NOW);
    ck_assert_uint_eq(view->table.servers[1].sent, 5);
    choice = fs_route_page_assign(host->child, view, &settings, 1, 0);
    ck_assert_int_eq(choice.act, FS_ROUTE_SERVE);
    view = fs_route_page_view(host->child, NOW);
    ck_assert_uint_eq(view->table.servers[0].sent, 1);
    ck_assert_uint_eq(view->table.servers[0].primaries, 20);
    /* A status of web2 that has them; none of web1. */
    set(host, 1, "web2", 100, 15);
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
    view = fs_route_page_view(host->child, NOW);
    ck_assert_uint_eq(view->table.servers[1].sent, 0);
    ck_assert_uint_eq(view->table.servers[1].primaries, 15);
    ck_assert_uint_eq(view->table.servers[0].sent, 1);
    end(host);
}
END_TEST

START_TEST(alternates_are_counted_by_all_processes)
{
    host_t *host = begin();
    fs_route_view_t *view;
    unsigned named[3] = {0, 0, 0};

    publish_three(host);
    for (int i = 0; i < 15; i++) {
        view = fs_route_page_view(i & 1 ? host->child : host->agent, NOW);
        named[fs_route_page_alternate(host->child, view, &settings, FS_ROUTE_NOBODY, 0)]++;
    }
    ck_assert_uint_eq(named[0], 0);
    /* 10 + 10 of 100, 15 + 5 of 100: as many as there is room for. */
    ck_assert_uint_eq(named[1], 10);
    ck_assert_uint_eq(named[2], 5);
    fs_route_page_alternate_gone(host->child, 2);
    ck_assert_uint_eq(fs_route_page_view(host->agent, NOW)->table.servers[2].given, 4);
    fs_route_page_set_given(host->agent, 2, 0);
    fs_route_page_alternate_gone(host->child, 2);
    ck_assert_uint_eq(fs_route_page_view(host->child, NOW)->table.servers[2].given, 0);
    end(host);
}
END_TEST

START_TEST(suspicion_is_this_hosts_and_ends)
{
    host_t *host = begin();
    fs_route_home_t home = {1, 2};
    fs_route_choice_t choice;

    publish_three(host);
    fs_route_page_suspect(host->child, 1, NOW + SECOND);
    choice = fs_route_page_request(host->agent, fs_route_page_view(host->agent, NOW), &settings,
                                   &home, 0, 0);
    ck_assert_int_eq(choice.act, FS_ROUTE_SEND);
    ck_assert_uint_eq(choice.server, 2);
    ck_assert_int_eq(choice.moved, 1);
    choice = fs_route_page_request(host->agent, fs_route_page_view(host->agent, NOW + SECOND),
                                   &settings, &home, 0, 0);
    ck_assert_uint_eq(choice.server, 1);
    /* A mark from before a reboot, when the clock was ahead, and one of ourselves. */
    fs_route_page_suspect(host->child, 1, 2 * NOW);
    fs_route_page_suspect(host->child, 0, NOW + SECOND);
    ck_assert_int_eq(fs_route_page_view(host->child, NOW)->table.servers[1].state, FS_ROUTE_ALIVE);
    ck_assert_int_eq(fs_route_page_view(host->child, NOW)->table.servers[0].state, FS_ROUTE_ALIVE);
    end(host);
}
END_TEST

START_TEST(a_number_that_another_gets_starts_from_nothing)
{
    host_t *host = begin();
    uint64_t serial;

    publish_three(host);
    fs_route_page_sent(host->child, 1);
    fs_route_page_suspect(host->child, 1, NOW + SECOND);
    serial = fs_route_page_serial(host->child);
    set(host, 1, "web9", 100, 3);
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
    ck_assert_uint_eq(fs_route_page_view(host->child, NOW)->table.servers[1].sent, 0);
    ck_assert_int_eq(fs_route_page_view(host->child, NOW)->table.servers[1].state, FS_ROUTE_ALIVE);
    ck_assert_uint_gt(fs_route_page_serial(host->child), serial);
    end(host);
}
END_TEST

START_TEST(round_robin_goes_by_capacity_over_all_processes)
{
    host_t *host = begin();
    unsigned got[3] = {0, 0, 0};

    publish_three(host);
    host->entries[2].server.capacity = 200;
    fs_route_page_publish(host->agent, host->entries, 3, 0, 0);
    for (int i = 0; i < 400; i++) {
        fs_route_page_t *page = i % 3 ? host->child : host->agent;

        got[fs_route_page_next(page, fs_route_page_view(page, NOW))]++;
    }
    ck_assert_uint_eq(got[0], 100);
    ck_assert_uint_eq(got[1], 100);
    ck_assert_uint_eq(got[2], 200);
    end(host);
}
END_TEST

START_TEST(files_are_kept_over_a_restart_and_replaced_if_they_are_others)
{
    host_t *host = begin();
    fs_result_t result;
    char path[512];
    FILE *file;

    publish_three(host);
    fs_route_count(host->child, FS_ROUTE_COUNT_HOME);
    ck_assert_int_eq(fs_route_page_prepare(host->dir, (uid_t)-1, (gid_t)-1, &result), 0);
    fs_route_page_close(host->child);
    ck_assert_int_eq(fs_route_page_open(&host->child, host->dir, 0, &result), 0);
    ck_assert_uint_eq(fs_route_page_view(host->child, NOW)->table.count, 3);
    ck_assert_uint_eq(fs_route_counted(host->child, FS_ROUTE_COUNT_HOME), 1);
    snprintf(path, sizeof(path), "%s/route/servers", host->dir);
    ck_assert_int_eq(unlink(path), 0);
    file = fopen(path, "w");
    fputs("something else", file);
    fclose(file);
    fs_route_page_close(host->child);
    ck_assert_int_ne(fs_route_page_open(&host->child, host->dir, 0, &result), 0);
    ck_assert_str_eq(result.problem, "FS1611");
    ck_assert_ptr_null(host->child);
    ck_assert_int_eq(fs_route_page_prepare(host->dir, (uid_t)-1, (gid_t)-1, &result), 0);
    ck_assert_int_eq(fs_route_page_open(&host->child, host->dir, 0, &result), 0);
    ck_assert_ptr_null(fs_route_page_view(host->child, NOW));
    end(host);
}
END_TEST

START_TEST(counters_and_workers)
{
    host_t *host = begin();
    uint32_t busy, workers;

    fs_route_count(host->child, FS_ROUTE_COUNT_PROXIED);
    fs_route_count_more(host->agent, FS_ROUTE_COUNT_PROXIED, 4);
    ck_assert_uint_eq(fs_route_counted(host->child, FS_ROUTE_COUNT_PROXIED), 5);
    ck_assert_uint_eq(fs_route_counted(host->child, FS_ROUTE_COUNT_LOOPS), 0);
    for (int i = 0; i < FS_ROUTE_COUNTS; i++)
        ck_assert_int_gt((int)strlen(fs_route_count_name((fs_route_count_t)i)), 0);
    ck_assert_int_eq(fs_route_page_workers(host->agent, NOW, &busy, &workers), 0);
    ck_assert_int_eq(fs_route_page_count_workers(host->child, NOW, SECOND), 1);
    ck_assert_int_eq(fs_route_page_count_workers(host->child, NOW + SECOND / 2, SECOND), 0);
    fs_route_page_set_workers(host->child, 7, 150);
    ck_assert_int_eq(fs_route_page_workers(host->agent, NOW, &busy, &workers), 1);
    ck_assert_uint_eq(busy, 7);
    ck_assert_uint_eq(workers, 150);
    ck_assert_int_eq(fs_route_page_workers(host->agent, NOW + 1, &busy, &workers), 0);
    /* The clock of a new boot begins anew. */
    ck_assert_int_eq(fs_route_page_count_workers(host->child, SECOND, SECOND), 1);
    end(host);
}
END_TEST

/* --- several at once -----------------------------------------------------------------------------
 */

#define THREADS 4
#define ROUNDS  2000

static void *choose(void *page)
{
    for (int i = 0; i < ROUNDS; i++) {
        fs_route_view_t *view = fs_route_page_view(page, NOW);

        /* A server's name and numbers were published together. */
        for (uint32_t k = 0; k < view->table.count; k++)
            ck_assert_uint_eq(view->table.servers[k].capacity,
                              (uint32_t)strtoul(view->names[k] + 3, NULL, 10));
        fs_route_page_next(page, view);
        fs_route_count(page, FS_ROUTE_COUNT_NEW);
    }
    return NULL;
}

static void rename_all(host_t *host, unsigned round)
{
    for (unsigned i = 0; i < 20; i++) {
        char name[16];

        snprintf(name, sizeof(name), "web%u", 1 + (i + round) % 40);
        set(host, i, name, 1 + (i + round) % 40, 0);
    }
    fs_route_page_publish(host->agent, host->entries, 20, 0, 0);
}

START_TEST(threads_of_two_processes_see_whole_records)
{
    host_t *host = begin();
    pthread_t threads[THREADS];
    fs_result_t result;
    int state;
    pid_t child;

    rename_all(host, 0);
    child = fork();
    if (child == 0) {
        fs_route_page_t *page;

        if (fs_route_page_open(&page, host->dir, 0, &result))
            _exit(2);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, choose, page);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        _exit(0);
    }
    state = -1;
    for (unsigned round = 1; waitpid(child, &state, WNOHANG) == 0; round++)
        rename_all(host, round);
    ck_assert_int_eq(state, 0);
    ck_assert_uint_eq(fs_route_counted(host->agent, FS_ROUTE_COUNT_NEW), THREADS * ROUNDS);
    end(host);
}
END_TEST

static Suite *page_suite(void)
{
    Suite *suite = suite_create("route page");
    TCase *tests = tcase_create("page");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, table_is_seen_as_published);
    tcase_add_test(tests, serial_grows_with_states_and_not_with_counts);
    tcase_add_test(tests, what_was_sent_counts_until_the_next_status);
    tcase_add_test(tests, alternates_are_counted_by_all_processes);
    tcase_add_test(tests, suspicion_is_this_hosts_and_ends);
    tcase_add_test(tests, a_number_that_another_gets_starts_from_nothing);
    tcase_add_test(tests, round_robin_goes_by_capacity_over_all_processes);
    tcase_add_test(tests, files_are_kept_over_a_restart_and_replaced_if_they_are_others);
    tcase_add_test(tests, counters_and_workers);
    tcase_add_test(tests, threads_of_two_processes_see_whole_records);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(page_suite)
