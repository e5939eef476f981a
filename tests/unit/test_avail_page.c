/* SPDX-License-Identifier: Apache-2.0 */
/* Publications: what the agent writes, what request processes read, and what damage does. */
#include "fs_test.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "avail/fs_avail_internal.h"
#include "base/fs_file.h"
#include "base/fs_log.h"

#define FARM (1800000000 * FS_USEC_PER_SEC)

static char *dir;
static fs_avail_writer_t *writer;
static fs_avail_reader_t *reader;
static fs_result_t result;

static void quiet(void *baton, fs_log_level_t level, const char *message)
{
    (void)baton;
    (void)level;
    (void)message;
}

static void open_both(void)
{
    fs_log_set(quiet, NULL, FS_LOG_ERROR);
    dir = fs_test_mkdir();
    ck_assert_int_eq(fs_avail_open_writer(&writer, dir, "web1", NULL, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_avail_open_reader(&reader, dir, &result), APR_SUCCESS);
}

static void close_both(void)
{
    fs_avail_close_reader(reader);
    fs_avail_close_writer(writer);
    fs_test_rmdir(dir);
}

static fs_notice_t notice_of(const char *application, fs_usec_t time)
{
    return (fs_notice_t){.application = application, .role = FS_NOTICE_OPERATOR, .time = time};
}

static void publish(const fs_notice_t *notices, unsigned count)
{
    fs_avail_begin(writer, FARM);
    for (unsigned i = 0; i < count; i++)
        ck_assert_msg(!fs_avail_add(writer, &notices[i], &result), "%s", result.detail);
    ck_assert_msg(!fs_avail_commit(writer, &result), "%s", result.detail);
}

static fs_avail_t *read_back(void)
{
    fs_avail_t *avail;

    ck_assert_msg(!fs_avail_read(reader, &avail, &result), "%s", result.detail);
    return avail;
}

START_TEST(before_anything_was_told_there_is_nothing)
{
    fs_avail_t *avail = read_back();

    ck_assert_uint_eq(fs_avail_generation(reader), 0);
    ck_assert_uint_eq(avail->count, 0);
    fs_avail_free(avail);
}
END_TEST

START_TEST(notices_come_across_whole_and_in_order)
{
    fs_notice_t notices[2] = {notice_of("shop", 10), notice_of("*", 20)};
    fs_notice_t *one = &notices[0];
    fs_avail_t *avail;

    one->id = "db-move";
    one->reason = "planned";
    one->component = "db1";
    one->condition = "%{REQUEST_METHOD} != 'GET'";
    one->who = "Anna \xc3\x9f";
    one->link = "https://status.example.org/a%20b";
    one->message_count = 1;
    one->messages[0] = (fs_notice_message_t){"en", "two\nlines, 100% sure"};
    one->window = (fs_window_t){.from = 5,
                                .until = FARM + 7 * 86400 * FS_USEC_PER_SEC,
                                .days = 127,
                                .start_minute = 1,
                                .end_minute = 1440,
                                .zone = "CET-1"};
    publish(notices, 2);
    avail = read_back();
    ck_assert_uint_eq(avail->count, 2);
    ck_assert_uint_eq(avail->generation, fs_avail_generation(reader));
    ck_assert_str_eq(avail->notices[0].application, "*");
    one = &avail->notices[1];
    ck_assert_str_eq(one->id, "db-move");
    ck_assert_str_eq(one->component, "db1");
    ck_assert_str_eq(one->condition, notices[0].condition);
    ck_assert_str_eq(one->who, notices[0].who);
    ck_assert_str_eq(one->link, notices[0].link);
    ck_assert_str_eq(one->messages[0].text, "two\nlines, 100% sure");
    ck_assert_str_eq(one->window.zone, "CET-1");
    ck_assert_int_eq(one->window.until, notices[0].window.until);
    ck_assert_int_eq(one->time, 10);
    fs_avail_free(avail);
}
END_TEST

START_TEST(what_is_for_others_or_over_is_left_out_and_no_change_is_no_publication)
{
    fs_notice_t notices[3] = {notice_of("a", 1), notice_of("b", 2), notice_of("c", 3)};
    uint64_t before;
    fs_avail_t *avail;

    notices[0].server_count = 1;
    notices[0].servers[0] = "web2";
    notices[1].window.until = FARM;
    publish(notices, 3);
    avail = read_back();
    ck_assert_uint_eq(avail->count, 1);
    ck_assert_str_eq(avail->notices[0].application, "c");
    ck_assert_ptr_null(avail->probe);
    fs_avail_free(avail);
    fs_avail_set_probe(writer, "secret");
    publish(notices, 3);
    avail = read_back();
    ck_assert_str_eq(avail->probe, "secret");
    fs_avail_free(avail);
    before = fs_avail_generation(reader);
    publish(notices, 3);
    ck_assert_uint_eq(fs_avail_generation(reader), before);
    publish(notices, 0);
    ck_assert_uint_gt(fs_avail_generation(reader), before);
    avail = read_back();
    ck_assert_uint_eq(avail->count, 0);
    fs_avail_free(avail);
}
END_TEST

START_TEST(the_next_agent_goes_on_where_the_last_one_ended)
{
    fs_notice_t one = notice_of("a", 1);
    uint64_t before;
    char path[512];
    fs_avail_t *avail;

    publish(&one, 1);
    before = fs_avail_generation(reader);
    fs_avail_close_writer(writer);
    ck_assert_int_eq(fs_avail_open_writer(&writer, dir, "web1", NULL, &result), APR_SUCCESS);
    ck_assert_uint_eq(fs_avail_generation(reader), before);
    publish(&one, 1);
    ck_assert_uint_eq(fs_avail_generation(reader), before); /* it knows what it published */
    /* the page was lost: the newest publication counts, and numbers go on */
    fs_avail_close_writer(writer);
    snprintf(path, sizeof(path), "%s/" FS_AVAIL_PAGE_FILE, dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(fs_avail_open_writer(&writer, dir, "web1", NULL, &result), APR_SUCCESS);
    fs_avail_refresh(reader);
    ck_assert_uint_eq(fs_avail_generation(reader), before);
    avail = read_back();
    ck_assert_uint_eq(avail->count, 1);
    fs_avail_free(avail);
    publish(&one, 0);
    ck_assert_uint_gt(fs_avail_generation(reader), before);
}
END_TEST

/* Writes other bytes into the file of the present publication. */
static void spoil(const char *text, size_t length)
{
    char path[512];

    ck_assert(fs_avail_path_of(path, sizeof(path), dir, fs_avail_generation(reader)));
    ck_assert_int_eq(fs_avail_put(path, text, length), APR_SUCCESS);
}

START_TEST(a_damaged_publication_is_not_taken_and_the_last_good_one_counts)
{
    fs_notice_t one = notice_of("a", 1), two = notice_of("b", 2);
    fs_avail_t *avail;
    char path[512], *text;
    size_t length;

    publish(&one, 1);
    publish(&two, 1);
    ck_assert(fs_avail_path_of(path, sizeof(path), dir, fs_avail_generation(reader)));
    ck_assert_int_eq(fs_file_read(path, 65536, &text, &length, &result), APR_SUCCESS);
    for (size_t i = 0; i < length; i++) {
        text[i] ^= 1;
        spoil(text, length);
        avail = read_back();
        ck_assert_str_eq(avail->notices[0].application, "a");
        ck_assert_uint_ne(avail->generation, avail->asked_for);
        ck_assert_str_eq(result.problem, "FS1511");
        fs_avail_free(avail);
        text[i] ^= 1;
        spoil(text, i); /* cut short */
        avail = read_back();
        ck_assert_str_eq(avail->notices[0].application, "a");
        fs_avail_free(avail);
    }
    spoil(text, length);
    avail = read_back();
    ck_assert_str_eq(avail->notices[0].application, "b");
    fs_avail_free(avail);
    free(text);
    ck_assert_int_eq(unlink(path), 0);
    avail = read_back();
    ck_assert_str_eq(avail->notices[0].application, "a");
    ck_assert_str_eq(result.problem, "FS1512");
    fs_avail_free(avail);
}
END_TEST

START_TEST(a_page_of_another_layout_is_made_anew)
{
    fs_notice_t one = notice_of("a", 1);
    char path[512];
    fs_avail_t *avail;

    publish(&one, 1);
    fs_avail_close_writer(writer);
    snprintf(path, sizeof(path), "%s/" FS_AVAIL_PAGE_FILE, dir);
    ck_assert_int_eq(fs_avail_put(path, "rubbish", 7), APR_SUCCESS);
    fs_avail_refresh(reader); /* keeps the mapping that it has */
    avail = read_back();
    ck_assert_uint_eq(avail->count, 1);
    fs_avail_free(avail);
    ck_assert_int_eq(fs_avail_open_writer(&writer, dir, "web1", NULL, &result), APR_SUCCESS);
    fs_avail_refresh(reader);
    avail = read_back();
    ck_assert_uint_eq(avail->count, 1);
    fs_avail_free(avail);
}
END_TEST

START_TEST(old_publications_go_but_a_few)
{
    fs_notice_t one = notice_of("a", 1);
    unsigned count;
    uint64_t *found;

    for (int i = 0; i < 50; i++) {
        one.time = i;
        publish(&one, 1);
    }
    found = fs_avail_list(dir, &count);
    ck_assert_uint_eq(count, FS_AVAIL_KEEP);
    ck_assert_uint_eq(found[count - 1], fs_avail_generation(reader));
    free(found);
}
END_TEST

START_TEST(more_than_fits_leaves_out_the_oldest_of_the_monitors)
{
    fs_notice_t monitor = {.application = "a", .role = FS_NOTICE_MONITOR};
    fs_notice_t told = notice_of("z", 1);
    char id[16];
    fs_avail_t *avail;

    fs_avail_begin(writer, FARM);
    for (int i = 0; i < FS_AVAIL_NOTICES + 5; i++) {
        snprintf(id, sizeof(id), "m%d", i);
        monitor.id = id;
        monitor.time = i;
        ck_assert_int_eq(fs_avail_add(writer, &monitor, &result), APR_SUCCESS);
    }
    ck_assert_int_eq(fs_avail_add(writer, &told, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_avail_commit(writer, &result), APR_ENOSPC);
    ck_assert_str_eq(result.problem, "FS1507");
    avail = read_back();
    ck_assert_uint_eq(avail->count, FS_AVAIL_NOTICES);
    ck_assert_str_eq(avail->notices[0].application, "z");
    ck_assert_int_eq(avail->notices[avail->count - 1].time, 6);
    fs_avail_free(avail);
}
END_TEST

START_TEST(a_notice_that_may_not_be_is_not_published)
{
    fs_notice_t bad = notice_of("not a name", 1);

    fs_avail_begin(writer, FARM);
    ck_assert_int_eq(fs_avail_add(writer, &bad, &result), APR_EINVAL);
    ck_assert_int_eq(fs_avail_commit(writer, &result), APR_SUCCESS);
}
END_TEST

/* The agent is killed again and again while it publishes: readers always see a whole publication.
 */
START_TEST(an_agent_may_die_at_any_moment)
{
    fs_notice_t one = notice_of("a", 1);

    publish(&one, 1);
    for (int round = 0; round < 30; round++) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (!pid) {
            for (fs_usec_t time = round * 1000000;; time++) {
                one.time = time;
                publish(&one, 1);
            }
        }
        for (int look = 0; look < 40; look++) {
            fs_avail_t *avail = read_back();

            ck_assert_uint_eq(avail->count, 1);
            ck_assert_uint_eq(avail->generation, avail->asked_for);
            fs_avail_free(avail);
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        fs_avail_close_writer(writer);
        ck_assert_int_eq(fs_avail_open_writer(&writer, dir, "web1", NULL, &result), APR_SUCCESS);
    }
}
END_TEST

static uint32_t before; /* a question that is not to be answered again */

static void *answering(void *problem)
{
    uint32_t ticket;
    char *asked;

    while (!(asked = fs_avail_asked(reader, &ticket)) || ticket == before) {
        free(asked);
        sched_yield();
    }
    ck_assert_str_eq(asked, "%{X} == 'a\\tb'");
    free(asked);
    fs_avail_answer(reader, ticket, problem);
    ck_assert_ptr_null(fs_avail_asked(reader, &ticket));
    return NULL;
}

static apr_status_t ask(const char *problem)
{
    pthread_t thread;
    apr_status_t status;

    ck_assert_int_eq(pthread_create(&thread, NULL, answering, (void *)(uintptr_t)problem), 0);
    status = fs_avail_check(writer, "%{X} == 'a\\tb'", 20 * FS_USEC_PER_SEC, &result);
    pthread_join(thread, NULL);
    return status;
}

START_TEST(a_condition_is_checked_by_a_request_process)
{
    ck_assert_int_eq(ask(NULL), APR_SUCCESS);
    ck_assert_int_eq(ask("syntax error"), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1508");
    ck_assert_ptr_nonnull(strstr(result.detail, "syntax error"));
    ck_assert_int_eq(ask(NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_avail_check(writer, "true", FS_USEC_PER_MSEC, &result), APR_TIMEUP);
    ck_assert_str_eq(result.problem, "FS1509");
}
END_TEST

/* A process answers the question before when this one is answered already. */
START_TEST(an_answer_that_comes_too_late_is_no_answer)
{
    char path[PATH_MAX];

    ck_assert_int_eq(ask("the question before"), APR_EINVAL);
    ck_assert_ptr_null(fs_avail_asked(reader, &before));
    fs_avail_answer(reader, before + 1, "");
    ck_assert(fs_avail_path(path, sizeof(path), dir, FS_AVAIL_ANSWER_FILE));
    ck_assert_int_eq(fs_avail_put(path, "1\nlate", 6), APR_SUCCESS);
    ck_assert_int_eq(ask("this question"), APR_EINVAL);
    ck_assert_ptr_nonnull(strstr(result.detail, "this question"));
}
END_TEST

START_TEST(problems_are_of_the_publication_that_they_were_found_in)
{
    fs_notice_t one = notice_of("a", 1);
    char *problems = fs_avail_problems(writer);

    ck_assert_str_eq(problems, "");
    free(problems);
    publish(&one, 1);
    fs_avail_set_problems(reader, fs_avail_generation(reader), "a/operator: no\n");
    problems = fs_avail_problems(writer);
    ck_assert_str_eq(problems, "a/operator: no\n");
    free(problems);
    publish(&one, 0);
    problems = fs_avail_problems(writer);
    ck_assert_str_eq(problems, "");
    free(problems);
}
END_TEST

START_TEST(each_application_has_its_counters_also_when_they_are_many)
{
    fs_avail_marks_t *shop = fs_avail_marks(reader, "shop"), *spill;
    fs_avail_reader_t *other;
    char name[16];

    atomic_fetch_add(&shop->refused, 3);
    ck_assert_ptr_ne(fs_avail_marks(reader, "mail"), shop);
    ck_assert_int_eq(fs_avail_open_reader(&other, dir, &result), APR_SUCCESS);
    ck_assert_uint_eq(atomic_load(&fs_avail_marks(other, "shop")->refused), 3);
    fs_avail_close_reader(other);
    for (int i = 0; i < FS_AVAIL_MARKS; i++) {
        snprintf(name, sizeof(name), "app%d", i);
        spill = fs_avail_marks(reader, name);
    }
    ck_assert_ptr_eq(spill, &reader->private_marks);
    ck_assert_ptr_eq(fs_avail_marks(reader, "shop"), shop);
}
END_TEST

static Suite *page_suite(void)
{
    Suite *suite = suite_create("avail_page");
    TCase *tests = tcase_create("publications");

    tcase_add_checked_fixture(tests, open_both, close_both);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, before_anything_was_told_there_is_nothing);
    tcase_add_test(tests, notices_come_across_whole_and_in_order);
    tcase_add_test(tests, what_is_for_others_or_over_is_left_out_and_no_change_is_no_publication);
    tcase_add_test(tests, the_next_agent_goes_on_where_the_last_one_ended);
    tcase_add_test(tests, a_damaged_publication_is_not_taken_and_the_last_good_one_counts);
    tcase_add_test(tests, a_page_of_another_layout_is_made_anew);
    tcase_add_test(tests, old_publications_go_but_a_few);
    tcase_add_test(tests, more_than_fits_leaves_out_the_oldest_of_the_monitors);
    tcase_add_test(tests, a_notice_that_may_not_be_is_not_published);
    tcase_add_test(tests, an_agent_may_die_at_any_moment);
    tcase_add_test(tests, a_condition_is_checked_by_a_request_process);
    tcase_add_test(tests, an_answer_that_comes_too_late_is_no_answer);
    tcase_add_test(tests, problems_are_of_the_publication_that_they_were_found_in);
    tcase_add_test(tests, each_application_has_its_counters_also_when_they_are_many);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(page_suite)
