/* SPDX-License-Identifier: Apache-2.0 */
/* A real server in a thread, and raw sockets to be rude to it with. */
#ifndef FS_TEST_HTTP_H
#define FS_TEST_HTTP_H

#include "fs_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>

#include "net/fs_http_client.h"
#include "net/fs_http_server.h"

#define FS_TEST_KEY   "k1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define FS_TEST_OTHER "k1 ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

typedef struct fs_test_server_t {
    fs_http_server_t *server;
    pthread_t thread;
    fs_keyring_t ring;
    char *dir;     /* scratch */
    char base[64]; /* "http://127.0.0.1:PORT" */
    /* What the handlers do; touched by the loop's thread only, the semaphores apart. */
    fs_http_call_t *waiting;
    sem_t waits; /* a call was deferred */
    sem_t gone;  /* its client left */
    int handled; /* calls of the PUT handler */
} fs_test_server_t;

/* GET /v1/echo[/rest]: origin, rest, parameter q, header X-Test, one a line. */
static inline void fs_test_echo(void *baton, fs_http_call_t *call)
{
    const char *q = fs_http_call_query(call, "q"), *field = fs_http_call_header(call, "x-test");
    char text[512];

    snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n", fs_http_call_origin(call),
             fs_http_call_rest(call), q ? q : "-", field ? field : "-");
    fs_http_call_set_header(call, "X-Answer", "a\r\nX-Evil: b");
    fs_http_call_answer(call, 200, "text/plain", text, strlen(text));
}

/* PUT /v1/put: gives the body back. */
static inline void fs_test_put(void *baton, fs_http_call_t *call)
{
    fs_test_server_t *test = baton;
    size_t length;
    const char *body = fs_http_call_body(call, &length);

    test->handled++;
    fs_http_call_answer(call, 201, "application/json", body, length);
}

static inline void fs_test_left(void *baton, fs_http_call_t *call)
{
    fs_test_server_t *test = baton;

    test->waiting = NULL;
    sem_post(&test->gone);
}

/* GET /v1/wait: kept until fs_test_release is posted. */
static inline void fs_test_wait(void *baton, fs_http_call_t *call)
{
    fs_test_server_t *test = baton;

    test->waiting = call;
    fs_http_call_defer(call, fs_test_left, test);
    sem_post(&test->waits);
}

static inline void fs_test_release(void *baton)
{
    fs_test_server_t *test = baton;

    if (test->waiting)
        fs_http_call_answer(test->waiting, 200, "text/plain", "now", 3);
    test->waiting = NULL;
}

/* GET /v1/file/NAME: a file of the scratch directory. */
static inline void fs_test_file(void *baton, fs_http_call_t *call)
{
    fs_test_server_t *test = baton;
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", test->dir, fs_http_call_rest(call));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    fs_http_call_file(call, fd, (uint64_t)lseek(fd, 0, SEEK_END), "application/octet-stream",
                      "\"tag\"");
}

/* GET /v1/norange: ignores Range, as a server or proxy may. */
static inline void fs_test_norange(void *baton, fs_http_call_t *call)
{
    fs_http_call_answer(call, 200, "text/plain", "whole", 5);
}

static const fs_http_route_t fs_test_routes[] = {
    {"GET", "/v1/echo", FS_ROUTE_PREFIX, 0, fs_test_echo},
    {"PUT", "/v1/put", 0, 1000, fs_test_put},
    {"POST", "/v1/put", 0, 1000, fs_test_put},
    {"GET", "/v1/wait", 0, 0, fs_test_wait},
    {"GET", "/v1/file/", FS_ROUTE_PREFIX, 0, fs_test_file},
    {"GET", "/v1/norange", 0, 0, fs_test_norange},
    {"GET", "/open", FS_ROUTE_OPEN, 0, fs_test_echo},
};

static inline void *fs_test_run(void *baton)
{
    fs_http_server_run(baton);
    return NULL;
}

/* Starts a server; `key` NULL: without a key. `settings` may be NULL. */
static inline void fs_test_server_start(fs_test_server_t *test, const char *key,
                                        const fs_http_server_settings_t *settings)
{
    fs_http_server_settings_t own = settings ? *settings : (fs_http_server_settings_t){0};
    fs_result_t result = {0};

    memset(test, 0, sizeof(*test));
    fs_http_global_init();
    sem_init(&test->waits, 0, 0);
    sem_init(&test->gone, 0, 0);
    test->dir = fs_test_mkdir();
    if (key) {
        ck_assert_int_eq(fs_keyring_parse(&test->ring, "key", key, strlen(key), &result),
                         APR_SUCCESS);
        own.ring = &test->ring;
    }
    own.listen = "127.0.0.1:0";
    ck_assert_msg(fs_http_server_create(&test->server, &own, fs_test_routes,
                                        sizeof(fs_test_routes) / sizeof(fs_test_routes[0]), test,
                                        &result) == APR_SUCCESS,
                  "%s", result.detail);
    snprintf(test->base, sizeof(test->base), "%s://127.0.0.1:%u", own.cert_file ? "https" : "http",
             fs_http_server_port(test->server));
    ck_assert_int_eq(pthread_create(&test->thread, NULL, fs_test_run, test->server), 0);
}

static inline void fs_test_server_join(fs_test_server_t *test)
{
    pthread_join(test->thread, NULL);
    fs_http_server_destroy(test->server);
    fs_test_rmdir(test->dir);
    sem_destroy(&test->waits);
    sem_destroy(&test->gone);
}

static inline void fs_test_server_stop(fs_test_server_t *test)
{
    fs_http_server_stop(test->server);
    fs_test_server_join(test);
}

/* Far longer than anything takes, the connection included: no timer ends a wait by accident. */
#define FS_TEST_TIMEOUT_MS 20000
#define FS_TEST_LIMIT      100000

/* A client named web1 with `key`, NULL for none. */
static inline fs_http_client_t *fs_test_client(const char *key)
{
    fs_keyring_t ring = {0};
    fs_http_settings_t settings = {
        .ring = &ring, .origin = "web1", .connect_timeout_ms = FS_TEST_TIMEOUT_MS};

    if (key)
        ck_assert_int_eq(fs_keyring_parse(&ring, "key", key, strlen(key), NULL), APR_SUCCESS);
    return fs_http_client_create(&settings);
}

static inline apr_status_t fs_test_ask(fs_http_client_t *client, const fs_test_server_t *test,
                                       const char *method, const char *path, const char *body,
                                       fs_http_answer_t *answer, fs_result_t *result)
{
    char url[600];

    fs_result_clear(result);
    snprintf(url, sizeof(url), "%s%s", test->base, path);
    return fs_http_exchange(client, method, url, body, body ? strlen(body) : 0, FS_TEST_LIMIT,
                            FS_TEST_TIMEOUT_MS, answer, result);
}

static inline int fs_test_connect(const fs_test_server_t *test)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)fs_http_server_port(test->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline void fs_test_send(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Sends `text`, if any, and reads until `wanted` came or the server closes; malloc'ed. */
static inline char *fs_test_raw(int fd, const char *text, const char *wanted)
{
    char *got = calloc(1, 100001);
    size_t used = 0;
    ssize_t n;

    if (*text)
        fs_test_send(fd, text);
    while ((!wanted || !strstr(got, wanted)) && (n = read(fd, got + used, 100000 - used)) > 0)
        used += (size_t)n;
    return got;
}

#endif
