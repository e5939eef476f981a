/* SPDX-License-Identifier: Apache-2.0 */
#include "session_ask.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "session/fs_session_ask.h"

#define KEPT         8                       /* connections of a process */
#define ANSWER_MAX   4096                    /* bytes of an answer */
#define GRACE        (50 * FS_USEC_PER_MSEC) /* for an answer that says that the time is over */
#define RETRY_PAUSE  (5 * FS_USEC_PER_MSEC)  /* between two tries to reach an agent that starts */
#define AWAY_PAUSE   FS_USEC_PER_SEC         /* an agent that was missed is not looked for again */
#define REQUEST_SIZE 512
#define STOPPING     "FS0252" /* what fs_http_server says then */

static _Atomic int kept[KEPT]; /* descriptor + 1; 0 none */
static _Atomic fs_usec_t away_until;

/* --- connections --------------------------------------------------------------------------------
 */

static int take_kept(void)
{
    for (unsigned i = 0; i < KEPT; i++) {
        int fd = atomic_exchange(&kept[i], 0);

        if (fd)
            return fd - 1;
    }
    return -1;
}

static void keep(int fd)
{
    for (unsigned i = 0; i < KEPT; i++) {
        int none = 0;

        if (atomic_compare_exchange_strong(&kept[i], &none, fd + 1))
            return;
    }
    close(fd);
}

static int open_connection(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        int error = errno;

        close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

/* -1: there is nobody; -2: there is somebody, who has no time. */
static int reach(const fs_session_host_t *host, fs_usec_t deadline)
{
    fs_usec_t now = fs_time_mono();
    int fd, busy, waits = host->farm->host->agent && now >= atomic_load(&away_until);

    for (;;) {
        fd = open_connection(host->agent_socket);
        busy = fd < 0 && errno == EAGAIN; /* its queue of connections is full */
        if (fd >= 0 || !(waits || busy) || now >= deadline)
            break;
        fs_time_sleep_until(now + RETRY_PAUSE);
        now = fs_time_mono();
    }
    if (busy)
        return -2;
    atomic_store(&away_until, fd < 0 ? now + AWAY_PAUSE : 0);
    return fd;
}

/* --- one exchange -------------------------------------------------------------------------------
 */

/* 1 if the descriptor is ready; 0 if the time is over. */
static int wait_until_ready(int fd, short events, fs_usec_t deadline)
{
    for (;;) {
        struct pollfd one = {fd, events, 0};
        fs_usec_t left = deadline - fs_time_mono();
        int ready = left > 0 ? poll(&one, 1, (int)(left / 1000) + 1) : 0;

        if (ready > 0)
            return 1;
        if (ready == 0 || errno != EINTR)
            return 0;
    }
}

static int send_all(int fd, const char *bytes, size_t length, fs_usec_t deadline)
{
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!wait_until_ready(fd, POLLOUT, deadline))
                return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

typedef struct answer_t {
    size_t length;
    int status; /* 0: none was read */
    int whole;  /* the connection can be used again */
    int closed; /* ... was closed before a byte of an answer came, or there was no time for one */
    char text[ANSWER_MAX + 1];
} answer_t;

/* The head's and the body's length, 0 as long as the head isn't whole; -1: it can't be used. */
static long whole_length(answer_t *answer)
{
    const char *end, *field;
    long body = 0;

    answer->text[answer->length] = '\0';
    end = strstr(answer->text, "\r\n\r\n");
    if (!end)
        return answer->length == ANSWER_MAX ? -1 : 0;
    if (strncmp(answer->text, "HTTP/1.1 ", 9))
        return -1;
    answer->status = atoi(answer->text + 9);
    field = strcasestr(answer->text, "\r\nContent-Length:");
    if (field && field < end)
        body = strtol(field + 17, NULL, 10);
    if (body < 0 || body > ANSWER_MAX)
        return -1;
    return (long)(end + 4 - answer->text) + body;
}

static void read_answer(int fd, answer_t *answer, fs_usec_t deadline)
{
    long whole = 0;

    while (whole == 0 || (whole > 0 && answer->length < (size_t)whole)) {
        ssize_t got;

        if (answer->length == ANSWER_MAX)
            return;
        got = recv(fd, answer->text + answer->length, ANSWER_MAX - answer->length, 0);
        if (got > 0) {
            answer->length += (size_t)got;
            whole = whole_length(answer);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            answer->closed = !answer->length;
            return;
        } else if (errno == EAGAIN && !wait_until_ready(fd, POLLIN, deadline)) {
            return;
        }
    }
    answer->whole = whole > 0 && answer->length == (size_t)whole &&
                    !strcasestr(answer->text, "\r\nConnection: close");
}

static void exchange(int fd, const char *request, size_t length, answer_t *answer,
                     fs_usec_t deadline)
{
    memset(answer, 0, offsetof(answer_t, text));
    if (send_all(fd, request, length, deadline))
        answer->closed = 1;
    else
        read_answer(fd, answer, deadline);
    /* An agent that ends, as another takes over from it: that one is asked. */
    if (answer->status == 503 && strstr(answer->text, STOPPING))
        answer->closed = 1;
    if (answer->whole && !answer->closed)
        keep(fd);
    else
        close(fd);
}

static fs_session_answer_t ask(const fs_session_host_t *host, const char *path, const void *body,
                               size_t body_length, int wait_ms)
{
    fs_usec_t deadline = fs_time_mono() + wait_ms * FS_USEC_PER_MSEC;
    char request[REQUEST_SIZE];
    int fd = take_kept(), length;
    answer_t answer;

    length = snprintf(request, sizeof(request) - body_length,
                      "POST %s HTTP/1.1\r\nHost: agent\r\nContent-Type: "
                      "application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
                      path, body_length);
    memcpy(request + length, body, body_length);
    answer.closed = 1;
    if (fd >= 0)
        exchange(fd, request, (size_t)length + body_length, &answer, deadline + GRACE);
    for (int tries = 0; answer.closed && (tries < 2 || fs_time_mono() < deadline); tries++) {
        if (tries > 1)
            fs_time_sleep_until(fs_time_mono() + RETRY_PAUSE);
        fd = reach(host, deadline);
        if (fd < 0)
            return fd == -1 ? FS_SESSION_AWAY : FS_SESSION_LATE;
        exchange(fd, request, (size_t)length + body_length, &answer, deadline + GRACE);
    }
    explicit_bzero(request, sizeof(request));
    return answer.closed                          ? FS_SESSION_AWAY
           : answer.whole && answer.status == 200 ? FS_SESSION_YES
           : answer.whole && answer.status == 404 ? FS_SESSION_NO
                                                  : FS_SESSION_LATE;
}

fs_session_answer_t fs_session_fetch(const fs_session_host_t *host, const fs_session_key_t *key,
                                     const uint8_t seal[FS_SESSION_SEAL_BYTES], int wait_ms)
{
    uint8_t body[FS_SESSION_FETCH_BYTES];
    fs_session_answer_t answer;
    char path[64];

    fs_session_fetch_write(body, key, seal);
    snprintf(path, sizeof(path), "/session/fetch?wait=%d", wait_ms);
    answer = ask(host, path, body, sizeof(body), wait_ms);
    explicit_bzero(body, sizeof(body));
    return answer;
}

fs_session_answer_t fs_session_ack(const fs_session_host_t *host, const fs_session_key_t *key,
                                   const fs_session_stamp_t *version, int copies, int wait_ms)
{
    uint8_t body[FS_SESSION_ACK_BYTES];
    char path[64];

    fs_session_ack_write(body, key, version);
    snprintf(path, sizeof(path), "/session/ack?copies=%d&wait=%d", copies, wait_ms);
    return ask(host, path, body, sizeof(body), wait_ms);
}
