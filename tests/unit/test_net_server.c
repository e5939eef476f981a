/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server against clients that are slow, rude, broken or too many. */
#include "fs_test_http.h"

#include "base/fs_file.h"
#include "base/fs_log.h"

static fs_test_server_t test;
static fs_result_t result;

static void quiet(void *baton, fs_log_level_t level, const char *message)
{
}

/* Sends `text` on a new connection, reads to the end, and expects the answer to begin with
 * `status`. */
static void expect(const char *text, const char *status, const char *part)
{
    int fd = fs_test_connect(&test);
    char *got = fs_test_raw(fd, text, NULL);

    ck_assert_msg(!strncmp(got, status, strlen(status)), "%.200s got %.300s", text, got);
    ck_assert_msg(!part || strstr(got, part), "%.200s got %.300s", text, got);
    free(got);
    close(fd);
}

START_TEST(bad_requests_get_a_problem_and_the_connection_is_closed)
{
    fs_test_server_start(&test, NULL, NULL);
    expect("nonsense\r\n\r\n", "HTTP/1.1 400 ", "FS0240");
    expect("GET /v1/echo?q=%zz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "FS0240");
    expect("GET /%00 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "application/problem+json");
    expect("PUT /v1/put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 411 ",
           "FS0246");
    expect("PUT /v1/put HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 ", "FS0242");
    expect("GET /open HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 413 ", "FS0242");
    expect("GET /open HTTP/1.1\r\nExpect: more\r\n\r\n", "HTTP/1.1 417 ", "FS0250");
    expect("GET /open HTTP/3.0\r\n\r\n", "HTTP/1.1 505 ", "FS0251");
    ck_assert_int_eq(test.handled, 0);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(header_is_limited_to_16_kib)
{
    char *text = calloc(1, 70000), *got;
    int fd;

    fs_test_server_start(&test, NULL, NULL);
    strcpy(text, "GET /open HTTP/1.1\r\nConnection: close\r\nX-Test: ");
    memset(text + strlen(text), 'x', 15000);
    strcat(text, "\r\n\r\n");
    expect(text, "HTTP/1.1 200 ", NULL);
    memset(strstr(text, "\r\n\r\n"), 'x', 50000);
    fd = fs_test_connect(&test);
    got = fs_test_raw(fd, text, NULL);
    ck_assert_msg(!strncmp(got, "HTTP/1.1 431 ", 13), "%.300s", got);
    ck_assert_ptr_nonnull(strstr(got, "FS0241"));
    free(got);
    free(text);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(routes_and_methods_are_told_apart)
{
    fs_test_server_start(&test, NULL, NULL);
    expect("GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 ", "FS0243");
    expect("GET /open/more HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 ", NULL);
    expect("GET /v1/put HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 ",
           "\r\nAllow: PUT, POST\r\n");
    expect("OPTIONS /open HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 ",
           "\r\nAllow: GET, HEAD\r\n");
    expect("GET /v1/echo/x HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\r\nConnection: close\r\n");
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(value_of_a_field_cannot_begin_another)
{
    int fd;
    char *got;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    got = fs_test_raw(fd, "GET /open HTTP/1.0\r\n\r\n", NULL);
    ck_assert_ptr_nonnull(strstr(got, "\r\nX-Answer: a  X-Evil: b\r\n"));
    free(got);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(head_has_the_length_but_no_body)
{
    int fd;
    char *got;

    fs_test_server_start(&test, NULL, NULL);
    ck_assert_int_eq(chdir(test.dir), 0);
    ck_assert_int_eq(fs_file_write("x", "0123456789", 10, &result), APR_SUCCESS);
    fd = fs_test_connect(&test);
    got = fs_test_raw(fd,
                      "HEAD /open HTTP/1.1\r\n\r\nHEAD /v1/file/x HTTP/1.1\r\nConnection: "
                      "close\r\nRange: bytes=1-2\r\n\r\n",
                      NULL);
    ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Length: 6\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\nHTTP/1.1 200 "));
    ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Length: 10\r\n"));
    ck_assert_str_eq(got + strlen(got) - 4, "\r\n\r\n");
    free(got);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(files_honour_range_and_etag)
{
    fs_test_server_start(&test, NULL, NULL);
    ck_assert_int_eq(chdir(test.dir), 0);
    ck_assert_int_eq(fs_file_write("x", "0123456789", 10, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_file_write("empty", "", 0, &result), APR_SUCCESS);
#define GET(name) "GET /v1/file/" name " HTTP/1.1\r\nConnection: close\r\n"
    expect(GET("x") "\r\n", "HTTP/1.1 200 ", "\r\n\r\n0123456789");
    expect(GET("x") "\r\n", "HTTP/1.1 200 ", "\r\nETag: \"tag\"\r\n");
    expect(GET("empty") "\r\n", "HTTP/1.1 200 ", "\r\nContent-Length: 0\r\n");
    expect(GET("x") "Range: bytes=2-4\r\n\r\n", "HTTP/1.1 206 ",
           "\r\nContent-Range: bytes 2-4/10\r\n");
    expect(GET("x") "Range: bytes=2-4\r\n\r\n", "HTTP/1.1 206 ", "\r\n\r\n234");
    expect(GET("x") "Range: bytes=-1\r\n\r\n", "HTTP/1.1 206 ", "\r\n\r\n9");
    expect(GET("x") "Range: bytes=2-4\r\nIf-Range: \"tag\"\r\n\r\n", "HTTP/1.1 206 ", NULL);
    expect(GET("x") "Range: bytes=2-4\r\nIf-Range: \"old\"\r\n\r\n", "HTTP/1.1 200 ",
           "\r\n\r\n0123456789");
    expect(GET("x") "Range: bytes=10-\r\n\r\n", "HTTP/1.1 416 ",
           "\r\nContent-Range: bytes */10\r\n");
    expect(GET("x") "If-None-Match: \"a\", \"tag\"\r\n\r\n", "HTTP/1.1 304 ",
           "\r\nETag: \"tag\"\r\n");
    expect(GET("x") "If-None-Match: \"a\"\r\n\r\n", "HTTP/1.1 200 ", NULL);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(requests_sent_ahead_are_answered_in_order)
{
    int fd;
    char *got, *first, *second, *third;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    got = fs_test_raw(fd,
                      "\r\nGET /open?q=one HTTP/1.1\r\n\r\n"
                      "PUT /v1/put HTTP/1.1\r\nContent-Length: 3\r\n\r\ntwo"
                      "GET /open?q=three HTTP/1.1\r\nConnection: close\r\n\r\n",
                      NULL);
    first = strstr(got, "\none\n");
    second = strstr(got, "\r\n\r\ntwo");
    third = strstr(got, "\nthree\n");
    ck_assert_msg(first && second && third && first < second && second < third, "%s", got);
    free(got);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(body_in_pieces_waits_for_100_and_is_whole)
{
    int fd;
    char *got;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    got =
        fs_test_raw(fd, "PUT /v1/put HTTP/1.1\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n",
                    "HTTP/1.1 100 Continue\r\n\r\n");
    free(got);
    fs_test_send(fd, "abc");
    got = fs_test_raw(fd, "def", "abcdef");
    ck_assert_ptr_nonnull(strstr(got, "HTTP/1.1 201 "));
    free(got);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(body_cut_short_reaches_no_handler)
{
    int fd;
    char *got;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    fs_test_send(fd, "PUT /v1/put HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    got = fs_test_raw(fd, "", NULL);
    ck_assert_str_eq(got, "");
    free(got);
    close(fd);
    fs_test_server_stop(&test);
    ck_assert_int_eq(test.handled, 0);
}
END_TEST

/* More than the sockets' buffers hold, so that the server is still sending when it reads the end.
 */
START_TEST(client_that_closed_its_side_gets_its_answer)
{
    size_t length = 32u * 1024 * 1024, got = 0;
    char buffer[65536];
    ssize_t n;
    int fd, file;

    fs_test_server_start(&test, NULL, NULL);
    ck_assert_int_eq(chdir(test.dir), 0);
    file = open("big", O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(ftruncate(file, (off_t)length), 0);
    close(file);
    fd = fs_test_connect(&test);
    fs_test_send(fd, "GET /v1/file/big HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    while ((n = read(fd, buffer, sizeof(buffer))) > 0)
        got += (size_t)n;
    ck_assert_int_eq(n, 0);
    ck_assert_uint_gt(got, length);
    close(fd);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(client_that_leaves_is_noticed_while_its_call_waits)
{
    int fd;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    fs_test_send(fd, "GET /v1/wait HTTP/1.1\r\n\r\n");
    sem_wait(&test.waits);
    close(fd);
    sem_wait(&test.gone);
    fs_http_server_post(test.server, fs_test_release, &test); /* finds nobody to answer */
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(stop_tells_who_still_waits)
{
    int fd;

    fs_test_server_start(&test, NULL, NULL);
    fd = fs_test_connect(&test);
    fs_test_send(fd, "GET /v1/wait HTTP/1.1\r\n\r\n");
    sem_wait(&test.waits);
    fs_test_server_stop(&test);
    ck_assert_ptr_null(test.waiting);
    close(fd);
}
END_TEST

/* --- signatures ---------------------------------------------------------------------------------
 */

static void sign(char *text, size_t size, const char *method, const char *path, const char *extra)
{
    char nonce[FS_NONCE_SIZE], header[FS_AUTH_SIZE];

    fs_auth_sign_request(&test.ring, "web9", method, path, "", 0, nonce, header);
    snprintf(text, size, "%s %s%s HTTP/1.1\r\nConnection: close\r\nFarmSync-Auth: %s\r\n\r\n",
             method, path, extra, header);
}

START_TEST(signature_covers_the_request_line)
{
    char text[600];

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    sign(text, sizeof(text), "GET", "/v1/echo", "");
    expect(text, "HTTP/1.1 200 ", "\r\n\r\nweb9\n");
    expect(text, "HTTP/1.1 200 ", "web9"); /* a replay of a read does no harm, and is accepted */
    sign(text, sizeof(text), "GET", "/v1/echo", "?q=1");
    expect(text, "HTTP/1.1 401 ", "FS0212");
    sign(text, sizeof(text), "HEAD", "/v1/echo", "");
    memcpy(text, "GET ", 4);
    memmove(text + 4, text + 5, strlen(text + 5) + 1);
    expect(text, "HTTP/1.1 401 ", "WWW-Authenticate: FarmSync");
    expect("GET /v1/echo HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 401 ", "FS0210");
    expect("GET /v1/echo HTTP/1.1\r\nConnection: close\r\nFarmSync-Auth: x\r\n\r\n",
           "HTTP/1.1 401 ", "FS0210");
    expect("GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 401 ", "FS0210");
    expect("PUT /v1/put HTTP/1.1\r\nContent-Length: 500\r\n\r\n", "HTTP/1.1 401 ", "FS0210");
    expect("GET /open HTTP/1.1\r\nConnection: close\r\nFarmSync-Auth: x\r\n\r\n", "HTTP/1.1 200 ",
           "\r\n\r\n\n");
    fs_test_server_stop(&test);
}
END_TEST

/* --- limits -------------------------------------------------------------------------------------
 */

START_TEST(connections_above_the_limit_are_told_when_to_come_back)
{
    fs_http_server_settings_t settings = {.max_connections = 2};
    int first, second;
    char *got;

    fs_test_server_start(&test, NULL, &settings);
    first = fs_test_connect(&test);
    second = fs_test_connect(&test);
    got = fs_test_raw(first, "GET /open?q=1 HTTP/1.1\r\n\r\n", "\n1\n");
    free(got);
    got = fs_test_raw(second, "GET /open?q=2 HTTP/1.1\r\n\r\n", "\n2\n");
    free(got);
    expect("GET /open HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "\r\nRetry-After: 1\r\n");
    got = fs_test_raw(first, "GET /open?q=3 HTTP/1.1\r\n\r\n", "\n3\n");
    ck_assert_ptr_nonnull(strstr(got, "HTTP/1.1 200 "));
    free(got);
    close(first);
    close(second);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(idle_and_unfinished_connections_are_closed)
{
    fs_http_server_settings_t settings = {.idle_timeout_s = 1};
    int idle;
    char *got;

    fs_test_server_start(&test, NULL, &settings);
    idle = fs_test_connect(&test);
    expect("GET /open HT", "HTTP/1.1 408 ", "FS0249");
    expect("PUT /v1/put HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc", "HTTP/1.1 408 ", "FS0249");
    got = fs_test_raw(idle, "", NULL);
    ck_assert_str_eq(got, "");
    free(got);
    close(idle);
    fs_test_server_stop(&test);
}
END_TEST

static const char *refused_listen(const fs_http_server_settings_t *settings)
{
    fs_http_server_t *server;

    ck_assert_int_ne(fs_http_server_create(&server, settings, NULL, 0, NULL, &result), APR_SUCCESS);
    ck_assert_ptr_null(server);
    return result.problem;
}

START_TEST(addresses_are_checked_before_listening)
{
    fs_keyring_t ring;
    fs_http_server_settings_t open = {.listen = "0.0.0.0:0"}, bad = {.listen = "nonsense"};
    fs_http_server_settings_t taken = {.listen = NULL};
    fs_http_server_t *server;
    char listen_on[64];

    ck_assert_str_eq(refused_listen(&open), "FS0231");
    ck_assert_str_eq(refused_listen(&bad), "FS0230");
    ck_assert_int_eq(fs_keyring_parse(&ring, "k", FS_TEST_KEY, strlen(FS_TEST_KEY), &result),
                     APR_SUCCESS);
    fs_test_server_start(&test, NULL, NULL);
    snprintf(listen_on, sizeof(listen_on), "127.0.0.1:%u", fs_http_server_port(test.server));
    taken.listen = listen_on;
    ck_assert_str_eq(refused_listen(&taken), "FS0232");
    fs_test_server_stop(&test);
    bad = (fs_http_server_settings_t){.listen = "127.0.0.1:0", .cert_file = "/nowhere.pem"};
    ck_assert_str_eq(refused_listen(&bad), "FS0233");
    open.listen = "localhost:0";
    ck_assert_int_eq(fs_http_server_create(&server, &open, NULL, 0, NULL, &result), APR_SUCCESS);
    fs_http_server_destroy(server);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net-server");
    TCase *one = tcase_create("server");

    fs_log_set(quiet, NULL, FS_LOG_ERROR);
    tcase_set_timeout(one, 60);
    tcase_add_test(one, bad_requests_get_a_problem_and_the_connection_is_closed);
    tcase_add_test(one, header_is_limited_to_16_kib);
    tcase_add_test(one, routes_and_methods_are_told_apart);
    tcase_add_test(one, value_of_a_field_cannot_begin_another);
    tcase_add_test(one, head_has_the_length_but_no_body);
    tcase_add_test(one, files_honour_range_and_etag);
    tcase_add_test(one, requests_sent_ahead_are_answered_in_order);
    tcase_add_test(one, body_in_pieces_waits_for_100_and_is_whole);
    tcase_add_test(one, body_cut_short_reaches_no_handler);
    tcase_add_test(one, client_that_closed_its_side_gets_its_answer);
    tcase_add_test(one, client_that_leaves_is_noticed_while_its_call_waits);
    tcase_add_test(one, stop_tells_who_still_waits);
    tcase_add_test(one, signature_covers_the_request_line);
    tcase_add_test(one, connections_above_the_limit_are_told_when_to_come_back);
    tcase_add_test(one, idle_and_unfinished_connections_are_closed);
    tcase_add_test(one, addresses_are_checked_before_listening);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
