/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets: who may be replaced, long paths, descriptors, and a server on one of them. Many
 * requests at once. */
#include "fs_test_http.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/fs_unix.h"
#include "net/fs_http_fan.h"

static fs_result_t result;
static char *dir;
static char path[4096];

static const char *in_dir(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void set_up(void)
{
    dir = fs_test_mkdir();
}

static void tear_down(void)
{
    fs_test_rmdir(dir);
}

START_TEST(stale_socket_is_replaced_and_a_living_one_is_not)
{
    struct stat info;
    int first = fs_unix_listen(in_dir("s"), 0600, 5, &result), second;

    ck_assert_int_ge(first, 0);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    ck_assert_int_eq(fs_unix_listen(path, 0660, 5, &result), -1);
    ck_assert_str_eq(result.problem, "FS0253");
    ck_assert_ptr_nonnull(strstr(result.detail, "end it"));
    close(first);
    second = fs_unix_listen(path, 0660, 5, &result);
    ck_assert_int_ge(second, 0);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0660);
    first = fs_unix_connect(path);
    ck_assert_int_ge(first, 0);
    close(first);
    close(second);
}
END_TEST

START_TEST(file_that_is_no_socket_is_left_alone)
{
    FILE *file = fopen(in_dir("s"), "w");

    fclose(file);
    ck_assert_int_eq(fs_unix_listen(path, 0600, 5, &result), -1);
    ck_assert_ptr_nonnull(strstr(result.detail, "move it away"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(fs_unix_connect(path), -1);
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(path_of_any_length_is_listened_on)
{
    char deep[2000];
    int server, client;

    snprintf(deep, sizeof(deep), "%s", dir);
    for (unsigned i = 0; i < 5; i++) {
        strcat(deep, "/a-directory-with-a-name-that-is-quite-a-bit-longer-than-needed");
        ck_assert_int_eq(mkdir(deep, 0700), 0);
    }
    strcat(deep, "/agent.sock");
    server = fs_unix_listen(deep, 0600, 5, &result);
    ck_assert_msg(server >= 0, "%s", result.detail);
    client = fs_unix_connect(deep);
    ck_assert_int_ge(client, 0);
    close(client);
    close(server);
}
END_TEST

START_TEST(descriptors_are_handed_over)
{
    int pair[2], pipes[2], fds[FS_UNIX_FDS];
    char text[8];
    unsigned count;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(fs_unix_send(pair[0], "hello", 5, pipes, 2), 0);
    ck_assert_int_eq(fs_unix_receive(pair[1], text, sizeof(text), fds, &count), 5);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert_int_eq(read(pipes[0], text, 1), 1);
    ck_assert_int_ne(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(fs_unix_send(pair[0], "x", 1, pipes, FS_UNIX_FDS + 1), -1);
    close(pair[0]);
    ck_assert_int_eq(fs_unix_receive(pair[1], text, sizeof(text), fds, &count), 0);
}
END_TEST

/* --- a server -----------------------------------------------------------------------------------
 */

static void answer_who(void *baton, fs_http_call_t *call)
{
    char text[128];

    snprintf(text, sizeof(text), "%s %s", fs_http_call_is_local(call) ? "local" : "remote",
             fs_http_call_peer(call));
    fs_http_call_answer(call, 200, "text/plain", text, strlen(text));
}

static const fs_http_route_t routes[] = {{"GET", "/who", 0, 0, answer_who},
                                         {"GET", "/here", FS_ROUTE_LOCAL, 0, answer_who}};

static char *ask(int fd, const char *target)
{
    char text[128];

    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nConnection: close\r\n\r\n", target);
    return fs_test_raw(fd, text, NULL);
}

static int connect_port(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void expect(int fd, const char *target, const char *part)
{
    char *got = ask(fd, target);

    ck_assert_msg(strstr(got, part) != NULL, "%s: %s", target, got);
    free(got);
    close(fd);
}

START_TEST(one_server_serves_an_address_with_and_a_socket_without_signatures)
{
    fs_http_server_settings_t settings = {.listen = "127.0.0.1:0", .socket = in_dir("s")};
    fs_http_server_t *server, *next;
    fs_keyring_t ring;
    pthread_t thread;
    char who[32];

    ck_assert_int_eq(fs_keyring_parse(&ring, "key", FS_TEST_KEY, strlen(FS_TEST_KEY), &result), 0);
    settings.ring = &ring;
    ck_assert_int_eq(fs_http_server_create(&server, &settings, routes, 2, NULL, &result), 0);
    pthread_create(&thread, NULL, fs_test_run, server);
    snprintf(who, sizeof(who), "local uid %u", (unsigned)getuid());
    expect(fs_unix_connect(path), "/who", who);
    expect(fs_unix_connect(path), "/here", who);
    expect(connect_port(fs_http_server_port(server)), "/who", "HTTP/1.1 401 ");
    expect(connect_port(fs_http_server_port(server)), "/here", "HTTP/1.1 401 ");
    /* A successor takes the sockets over: what waits in their queues is its. */
    settings.listen_fd = dup(fs_http_server_listen_fd(server));
    settings.socket_fd = dup(fs_http_server_socket_fd(server));
    fs_http_server_stop(server);
    pthread_join(thread, NULL);
    {
        int waiting = fs_unix_connect(path);

        ck_assert_int_ge(waiting, 0);
        fs_http_server_destroy(server);
        ck_assert_int_eq(fs_http_server_create(&next, &settings, routes, 2, NULL, &result), 0);
        pthread_create(&thread, NULL, fs_test_run, next);
        expect(waiting, "/here", who);
    }
    fs_http_server_stop(next);
    pthread_join(thread, NULL);
    fs_http_server_destroy(next);
}
END_TEST

START_TEST(server_that_ends_hears_a_new_connection_out)
{
    fs_http_server_settings_t settings = {.socket = in_dir("s")};
    fs_http_server_t *server;
    pthread_t thread;
    int fd, other;
    char *got;

    ck_assert_int_eq(fs_http_server_create(&server, &settings, routes, 2, NULL, &result), 0);
    pthread_create(&thread, NULL, fs_test_run, server);
    expect(fs_unix_connect(path), "/who", "local"); /* the loop runs */
    fd = fs_unix_connect(path);
    expect(fs_unix_connect(path), "/who", "local"); /* and has accepted that one */
    fs_http_server_stop(server);
    while ((other = fs_unix_connect(path)) >= 0) { /* until it has stopped listening */
        close(other);
        fs_time_sleep_until(fs_time_mono() + 1000);
    }
    got = fs_test_raw(fd, "GET /who HTTP/1.1\r\n\r\n", "FS0252");
    ck_assert_msg(strstr(got, "HTTP/1.1 503 ") != NULL, "%s", got);
    free(got);
    pthread_join(thread, NULL);
    fs_http_server_destroy(server);
}
END_TEST

/* --- many at once -------------------------------------------------------------------------------
 */

typedef struct tally_t {
    unsigned good, bad;
    uint64_t ids;
} tally_t;

static void count_one(void *baton, uint64_t id, apr_status_t status, const fs_http_answer_t *answer,
                      const fs_result_t *problem)
{
    tally_t *tally = baton;

    tally->ids |= UINT64_C(1) << id;
    if (status)
        tally->bad++;
    else
        tally->good += answer->status == 200 && strstr(answer->body, "web1") != NULL;
}

START_TEST(many_requests_are_under_way_at_once)
{
    fs_http_settings_t settings = {.origin = "web1"};
    fs_test_server_t test;
    tally_t tally = {0};
    fs_http_fan_t *fan;
    char url[128];

    fs_test_server_start(&test, FS_TEST_KEY, NULL);
    settings.ring = &test.ring;
    fan = fs_http_fan_create(&settings);
    for (uint64_t id = 0; id < 40; id++) {
        fs_http_fan_request_t request = {
            .id = id, .method = "GET", .url = url, .limit = 4096, .timeout_ms = 20000};

        /* One is never answered, and one refuses: the others don't wait for them. */
        snprintf(url, sizeof(url), "%s/v1/%s", id == 7 ? "http://127.0.0.1:1" : test.base,
                 id == 3 ? "wait" : "echo");
        ck_assert_int_eq(fs_http_fan_start(fan, &request, &result), 0);
    }
    ck_assert_uint_eq(fs_http_fan_count(fan), 40);
    while (tally.good + tally.bad < 39)
        fs_http_fan_run(fan, 5000, count_one, &tally);
    ck_assert_uint_eq(tally.good, 38);
    ck_assert_uint_eq(tally.bad, 1);
    ck_assert_uint_eq(fs_http_fan_count(fan), 1);
    ck_assert_uint_eq(tally.ids, (UINT64_C(1) << 40) - 1 - (UINT64_C(1) << 3));
    fs_http_fan_destroy(fan);
    fs_test_server_stop(&test);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("net unix");
    TCase *t = tcase_create("unix");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, stale_socket_is_replaced_and_a_living_one_is_not);
    tcase_add_test(t, file_that_is_no_socket_is_left_alone);
    tcase_add_test(t, path_of_any_length_is_listened_on);
    tcase_add_test(t, descriptors_are_handed_over);
    tcase_add_test(t, one_server_serves_an_address_with_and_a_socket_without_signatures);
    tcase_add_test(t, server_that_ends_hears_a_new_connection_out);
    tcase_add_test(t, many_requests_are_under_way_at_once);
    suite_add_tcase(s, t);
    return s;
}

FS_TEST_MAIN(suite)
