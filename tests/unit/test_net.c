/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client and server with each other, signed, on the loopback interface. */
#include "fs_test_http.h"

#include <stdatomic.h>

#include "base/fs_digest.h"
#include "base/fs_file.h"
#include "base/fs_log.h"

static fs_test_server_t test;
static fs_http_answer_t answer;
static fs_result_t result;

static void quiet(void *baton, fs_log_level_t level, const char *message)
{
}

static void put_file(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", test.dir, name);
    ck_assert_int_eq(fs_file_write(path, text, strlen(text), &result), APR_SUCCESS);
}

START_TEST(signed_exchange_carries_everything)
{
    fs_http_client_t *client;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    client = fs_test_client(FS_TEST_KEY);
    ck_assert_msg(fs_test_ask(client, &test, "GET", "/v1/echo/a%2Fb?q=x%20y", NULL, &answer,
                              &result) == APR_SUCCESS,
                  "%s", result.detail);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(answer.body, "web1\n/a/b\nx y\n-\n");
    ck_assert(!answer.reused);
    ck_assert_int_le(answer.sent, answer.received);
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(fs_test_ask(client, &test, "PUT", "/v1/put", "{\"a\":1}", &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 201);
    ck_assert_str_eq(answer.body, "{\"a\":1}");
    ck_assert(answer.reused);
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(fs_test_ask(client, &test, "HEAD", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(answer.body, "");
    fs_http_answer_clear(&answer);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

/* Errors of a farm member are signed like everything else, so that nobody else can send them. */
START_TEST(refusals_are_signed_too)
{
    fs_http_client_t *client;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    client = fs_test_client(FS_TEST_KEY);
    ck_assert_int_eq(fs_test_ask(client, &test, "GET", "/nowhere", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 404);
    ck_assert_ptr_nonnull(strstr(answer.body, "FS0243"));
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(fs_test_ask(client, &test, "DELETE", "/v1/put", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 405);
    fs_http_answer_clear(&answer);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(who_has_another_key_or_none_is_refused)
{
    fs_http_client_t *stranger, *unsigned_client;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    stranger = fs_test_client(FS_TEST_OTHER);
    unsigned_client = fs_test_client(NULL);
    ck_assert_int_ne(fs_test_ask(stranger, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0220");
    ck_assert_int_eq(answer.status, 401);
    ck_assert_ptr_null(answer.body);
    ck_assert_int_eq(fs_test_ask(unsigned_client, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 401);
    ck_assert_ptr_nonnull(strstr(answer.body, "FS0210"));
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(fs_test_ask(unsigned_client, &test, "PUT", "/v1/put", "{}", &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 401);
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(fs_test_ask(unsigned_client, &test, "GET", "/open", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(answer.body, "\n\n-\n-\n");
    fs_http_answer_clear(&answer);
    ck_assert_int_eq(test.handled, 0);
    fs_http_client_destroy(stranger);
    fs_http_client_destroy(unsigned_client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(server_without_the_key_is_not_believed)
{
    fs_http_client_t *client;
    char url[128], path[300];
    FILE *file;

    fs_test_server_start(&test, NULL, NULL);
    put_file("x", "0123456789");
    client = fs_test_client(FS_TEST_KEY);
    ck_assert_int_ne(fs_test_ask(client, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0220");
    ck_assert_int_eq(answer.status, 200);
    snprintf(path, sizeof(path), "%s/out", test.dir);
    snprintf(url, sizeof(url), "%s/v1/file/x", test.base);
    file = fopen(path, "w+");
    ck_assert_int_ne(fs_http_download(client, url, file, 0, 100, 20000, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0220");
    ck_assert_int_eq(ftell(file), 0);
    fclose(file);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(client_refuses_what_it_cannot_ask)
{
    static const char *const urls[] = {"file:///etc/passwd", "127.0.0.1", "http://127.0.0.1/a b",
                                       "http://127.0.0.1/\xc3\xa9", "http://127.0.0.1?x"};
    fs_http_client_t *client;

    fs_http_global_init();
    client = fs_test_client(NULL);
    for (unsigned i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        ck_assert_int_ne(
            fs_http_exchange(client, "GET", urls[i], NULL, 0, 10, 1000, &answer, &result),
            APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0221");
    }
    fs_http_client_destroy(client);
}
END_TEST

START_TEST(answers_have_a_limit_and_a_timeout)
{
    fs_http_client_t *client;
    char url[128];

    fs_test_server_start(&test, NULL, NULL);
    client = fs_test_client(NULL);
    snprintf(url, sizeof(url), "%s/v1/norange", test.base);
    ck_assert_int_ne(fs_http_exchange(client, "GET", url, NULL, 0, 4, 20000, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0222");
    ck_assert_ptr_null(answer.body);
    ck_assert_int_eq(fs_http_exchange(client, "GET", url, NULL, 0, 5, 20000, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(answer.body, "whole");
    fs_http_answer_clear(&answer);
    snprintf(url, sizeof(url), "%s/v1/wait", test.base);
    ck_assert_int_eq(fs_http_exchange(client, "GET", url, NULL, 0, 5, 50, &answer, &result),
                     APR_TIMEUP);
    ck_assert_str_eq(result.problem, "FS0221");
    sem_wait(&test.gone);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(closed_port_is_named)
{
    fs_http_client_t *client;
    fs_http_server_t *server;
    fs_http_server_settings_t settings = {.listen = "127.0.0.1:0"};
    char url[128];

    fs_http_global_init();
    ck_assert_int_eq(fs_http_server_create(&server, &settings, NULL, 0, NULL, &result),
                     APR_SUCCESS);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", fs_http_server_port(server));
    fs_http_server_destroy(server);
    client = fs_test_client(NULL);
    ck_assert_int_ne(fs_http_exchange(client, "GET", url, NULL, 0, 4, 20000, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0221");
    ck_assert_ptr_nonnull(strstr(result.detail, url));
    fs_http_client_destroy(client);
}
END_TEST

/* --- downloads ----------------------------------------------------------------------------------
 */

static apr_status_t download(fs_http_client_t *client, const char *path, FILE *file, uint64_t from,
                             uint64_t limit)
{
    char url[128];

    fs_result_clear(&result);
    snprintf(url, sizeof(url), "%s%s", test.base, path);
    return fs_http_download(client, url, file, from, limit, 20000, &answer, &result);
}

static void expect_file(FILE *file, const char *wanted)
{
    char got[64] = "";

    rewind(file);
    ck_assert_uint_eq(fread(got, 1, sizeof(got) - 1, file), strlen(wanted));
    ck_assert_str_eq(got, wanted);
}

static FILE *start_file(const char *text)
{
    char path[300];
    FILE *file;

    snprintf(path, sizeof(path), "%s/out", test.dir);
    file = fopen(path, "w+");
    fputs(text, file);
    return file;
}

START_TEST(download_begins_and_goes_on)
{
    fs_http_client_t *client;
    FILE *file;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    client = fs_test_client(FS_TEST_KEY);
    put_file("x", "0123456789");
    file = start_file("");
    ck_assert_msg(download(client, "/v1/file/x", file, 0, 10) == APR_SUCCESS, "%s", result.detail);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_uint_eq(answer.length, 10);
    expect_file(file, "0123456789");
    fclose(file);
    file = start_file("abcde");
    ck_assert_msg(download(client, "/v1/file/x", file, 4, 10) == APR_SUCCESS, "%s", result.detail);
    ck_assert_int_eq(answer.status, 206);
    ck_assert_uint_eq(answer.length, 10);
    expect_file(file, "abcd456789");
    ck_assert_int_ne(download(client, "/v1/file/x", file, 10, 10), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0223");
    ck_assert_int_eq(answer.status, 416);
    expect_file(file, "abcd456789");
    ck_assert_int_ne(download(client, "/nowhere", file, 0, 10), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0223");
    ck_assert_int_eq(answer.status, 404);
    fclose(file);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(download_starts_over_when_the_range_is_ignored)
{
    fs_http_client_t *client;
    FILE *file;

    fs_test_server_start(&test, NULL, NULL);
    client = fs_test_client(NULL);
    file = start_file("0123456789");
    ck_assert_int_eq(download(client, "/v1/norange", file, 4, 10), APR_SUCCESS);
    ck_assert_uint_eq(answer.length, 5);
    expect_file(file, "whole");
    fclose(file);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(download_stops_at_its_limit_and_when_the_disk_is_full)
{
    fs_http_client_t *client;
    FILE *file;

    fs_test_server_start(&test, NULL, NULL);
    client = fs_test_client(NULL);
    put_file("x", "0123456789");
    file = start_file("");
    ck_assert_int_ne(download(client, "/v1/file/x", file, 0, 9), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0222");
    ck_assert_int_ne(download(client, "/v1/file/x", file, 5, 9), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0222");
    fclose(file);
    file = fopen("/dev/full", "w");
    ck_assert_int_ne(download(client, "/v1/file/x", file, 0, 10), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0224");
    fclose(file);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(download_that_stalls_is_given_up)
{
    fs_http_client_t *client;
    char url[128];
    FILE *file;

    fs_test_server_start(&test, NULL, NULL);
    client = fs_test_client(NULL);
    file = start_file("");
    snprintf(url, sizeof(url), "%s/v1/wait", test.base);
    ck_assert_int_eq(fs_http_download(client, url, file, 0, 10, 50, &answer, &result), APR_TIMEUP);
    ck_assert_str_eq(result.problem, "FS0221");
    fclose(file);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(large_file_arrives_whole)
{
    fs_http_client_t *client;
    fs_digest_t sent, got;
    size_t length = 8u * 1024 * 1024, read_length;
    char *data = malloc(length), *back, path[300];
    FILE *file;

    for (size_t i = 0; i < length; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    client = fs_test_client(FS_TEST_KEY);
    snprintf(path, sizeof(path), "%s/big", test.dir);
    ck_assert_int_eq(fs_file_write(path, data, length, &result), APR_SUCCESS);
    file = start_file("");
    ck_assert_msg(download(client, "/v1/file/big", file, 0, length) == APR_SUCCESS, "%s",
                  result.detail);
    fclose(file);
    snprintf(path, sizeof(path), "%s/out", test.dir);
    ck_assert_int_eq(fs_file_read(path, length, &back, &read_length, &result), APR_SUCCESS);
    fs_digest_of(&sent, data, length);
    fs_digest_of(&got, back, read_length);
    ck_assert(fs_digest_equal(&sent, &got));
    free(back);
    free(data);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

/* --- long polls ---------------------------------------------------------------------------------
 */

typedef struct asker_t {
    fs_http_client_t *client;
    pthread_t thread;
    apr_status_t status;
    fs_http_answer_t answer;
    fs_result_t result;
} asker_t;

static void *ask_in_thread(void *baton)
{
    asker_t *asker = baton;

    asker->status =
        fs_test_ask(asker->client, &test, "GET", "/v1/wait", NULL, &asker->answer, &asker->result);
    return NULL;
}

static void start_asking(asker_t *asker, const char *key)
{
    memset(asker, 0, sizeof(*asker));
    asker->client = fs_test_client(key);
    ck_assert_int_eq(pthread_create(&asker->thread, NULL, ask_in_thread, asker), 0);
    sem_wait(&test.waits);
}

START_TEST(deferred_answer_comes_when_posted)
{
    asker_t asker;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    start_asking(&asker, FS_TEST_KEY);
    fs_http_server_post(test.server, fs_test_release, &test);
    pthread_join(asker.thread, NULL);
    ck_assert_int_eq(asker.status, APR_SUCCESS);
    ck_assert_str_eq(asker.answer.body, "now");
    fs_http_answer_clear(&asker.answer);
    ck_assert_int_eq(fs_test_ask(asker.client, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert(answer.reused);
    fs_http_answer_clear(&answer);
    fs_http_client_destroy(asker.client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(abort_ends_an_exchange_and_every_later_one)
{
    asker_t asker;

    fs_test_server_start(&test, NULL, NULL);
    start_asking(&asker, NULL);
    fs_http_client_abort(asker.client);
    pthread_join(asker.thread, NULL);
    ck_assert_int_ne(asker.status, APR_SUCCESS);
    ck_assert_str_eq(asker.result.problem, "FS0221");
    ck_assert_ptr_nonnull(strstr(asker.result.detail, "shutting down")); /* not the timeout */
    sem_wait(&test.gone);
    ck_assert_int_ne(fs_test_ask(asker.client, &test, "GET", "/v1/wait", NULL, &answer, &result),
                     APR_SUCCESS);
    fs_http_client_destroy(asker.client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(stop_answers_who_waits)
{
    asker_t asker;

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    start_asking(&asker, FS_TEST_KEY);
    fs_http_server_stop(test.server);
    pthread_join(asker.thread, NULL);
    ck_assert_int_eq(asker.status, APR_SUCCESS);
    ck_assert_int_eq(asker.answer.status, 503);
    ck_assert_uint_eq(asker.answer.retry_after, 1);
    ck_assert_ptr_nonnull(strstr(asker.answer.body, "FS0252"));
    sem_wait(&test.gone);
    fs_http_answer_clear(&asker.answer);
    fs_http_client_destroy(asker.client);
    fs_test_server_join(&test);
}
END_TEST

static atomic_int posted;

static void count_post(void *baton)
{
    atomic_fetch_add(&posted, 1);
}

static void *post_many(void *baton)
{
    for (int i = 0; i < 1000; i++)
        fs_http_server_post(test.server, count_post, NULL);
    return NULL;
}

START_TEST(posts_of_many_threads_all_run)
{
    pthread_t threads[4];

    fs_test_server_start(&test, NULL, NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, post_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    fs_test_server_stop(&test); /* is posted behind them */
    ck_assert_int_eq(posted, 4000);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net");
    TCase *one = tcase_create("http");

    fs_log_set(quiet, NULL, FS_LOG_ERROR);
    tcase_set_timeout(one, 60);
    tcase_add_test(one, signed_exchange_carries_everything);
    tcase_add_test(one, refusals_are_signed_too);
    tcase_add_test(one, who_has_another_key_or_none_is_refused);
    tcase_add_test(one, server_without_the_key_is_not_believed);
    tcase_add_test(one, client_refuses_what_it_cannot_ask);
    tcase_add_test(one, answers_have_a_limit_and_a_timeout);
    tcase_add_test(one, closed_port_is_named);
    tcase_add_test(one, download_begins_and_goes_on);
    tcase_add_test(one, download_starts_over_when_the_range_is_ignored);
    tcase_add_test(one, download_stops_at_its_limit_and_when_the_disk_is_full);
    tcase_add_test(one, download_that_stalls_is_given_up);
    tcase_add_test(one, large_file_arrives_whole);
    tcase_add_test(one, deferred_answer_comes_when_posted);
    tcase_add_test(one, abort_ends_an_exchange_and_every_later_one);
    tcase_add_test(one, stop_answers_who_waits);
    tcase_add_test(one, posts_of_many_threads_all_run);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
