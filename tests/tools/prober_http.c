/* SPDX-License-Identifier: Apache-2.0 */
#include "prober_http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (PROBER_BODY_LIMIT + 65536)
#define END_OF_FILE (-1)

int64_t prober_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int prober_link_init(prober_link_t *link, const char *url, int timeout_ms)
{
    const char *colon;
    size_t host;

    memset(link, 0, sizeof(*link));
    link->fd = -1;
    link->timeout_ms = timeout_ms;
    if (strncmp(url, "http://", 7) != 0)
        return -1;
    url += 7;
    colon = strrchr(url, ':');
    host = colon ? (size_t)(colon - url) : 0;
    if (host == 0 || host >= sizeof(link->host))
        return -1;
    memcpy(link->host, url, host);
    if (snprintf(link->port, sizeof(link->port), "%.*s", (int)strspn(colon + 1, "0123456789"),
                 colon + 1) < 1)
        return -1;
    link->buffer = malloc(BUFFER_SIZE + 1);
    return link->buffer ? 0 : -1;
}

static void close_link(prober_link_t *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->length = 0;
}

void prober_link_free(prober_link_t *link)
{
    close_link(link);
    free(link->buffer);
    link->buffer = NULL;
}

static int fail(prober_link_t *link, prober_answer_t *answer, const char *what, int number)
{
    snprintf(answer->error, sizeof(answer->error), "%s%s%s", what, number > 0 ? ": " : "",
             number > 0 ? strerror(number) : "");
    answer->closed =
        answer->first_ns == 0 && (number == ECONNRESET || number == EPIPE || number == END_OF_FILE);
    close_link(link);
    return -1;
}

static int connect_link(prober_link_t *link, prober_answer_t *answer)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    struct timeval limit = {link->timeout_ms / 1000, (link->timeout_ms % 1000) * 1000};
    int one = 1, rc = getaddrinfo(link->host, link->port, &hints, &found);

    if (rc != 0)
        return fail(link, answer, gai_strerror(rc), 0);
    link->fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (link->fd >= 0) {
        /* SO_SNDTIMEO also bounds connect(). */
        setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        rc = connect(link->fd, found->ai_addr, found->ai_addrlen);
    }
    rc = link->fd < 0 || rc < 0 ? errno : 0;
    freeaddrinfo(found);
    return rc ? fail(link, answer, "connect", rc) : 0;
}

/* Reads some more into the buffer. 1 data, 0 end of file, -1 failed. */
static int read_more(prober_link_t *link, prober_answer_t *answer, int64_t deadline)
{
    struct pollfd waiting = {.fd = link->fd, .events = POLLIN};
    int64_t left = (deadline - prober_now()) / 1000000;
    ssize_t got;

    if (link->length == BUFFER_SIZE)
        return fail(link, answer, "the answer is larger than 1 MiB", 0);
    if (left <= 0 || poll(&waiting, 1, (int)left) == 0)
        return fail(link, answer, "no answer in time", 0);
    got = recv(link->fd, link->buffer + link->length, BUFFER_SIZE - link->length, 0);
    if (got < 0)
        return fail(link, answer, "recv", errno);
    if (got > 0 && answer->first_ns == 0)
        answer->first_ns = prober_now();
    link->length += (size_t)got;
    link->buffer[link->length] = '\0';
    return got > 0;
}

/* Joins the chunks of a body in place. 1 complete, 0 more is needed, -1 malformed. */
static int join_chunks(char *body, size_t length, size_t *joined, size_t *used)
{
    size_t in = 0, out = 0;

    /* First pass: is it all here? Only then may the text be moved. */
    for (int moving = 0; moving < 2; moving++) {
        in = out = 0;
        for (;;) {
            char *end, *line = memchr(body + in, '\n', length - in);
            unsigned long size;

            if (!line)
                return 0;
            size = strtoul(body + in, &end, 16);
            if (end == body + in || size > PROBER_BODY_LIMIT)
                return -1;
            in = (size_t)(line - body) + 1;
            if (length - in < size + 2)
                return 0;
            if (moving)
                memmove(body + out, body + in, size);
            in += size + 2;
            out += size;
            if (size == 0)
                break;
        }
    }
    body[out] = '\0';
    *joined = out;
    *used = in;
    return 1;
}

int prober_header(const prober_answer_t *answer, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);

    for (const char *line = strchr(answer->head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *value = line + length + 1;

            value += strspn(value, " \t");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\r\n"), value);
            return 0;
        }
    }
    return -1;
}

/* Reads the header part; *body is where the body begins. */
static int read_head(prober_link_t *link, prober_answer_t *answer, int64_t deadline, size_t *body)
{
    char *end;

    link->length = 0;
    link->buffer[0] = '\0';
    while ((end = strstr(link->buffer, "\r\n\r\n")) == NULL) {
        int more = read_more(link, answer, deadline);

        if (more < 0)
            return -1;
        if (more == 0)
            return fail(link, answer, link->length ? "the answer was cut short" : "closed",
                        END_OF_FILE);
    }
    end[2] = '\0';
    *body = (size_t)(end - link->buffer) + 4;
    answer->head = link->buffer;
    if (sscanf(link->buffer, "HTTP/1.%*1[01] %3d", &answer->status) != 1)
        return fail(link, answer, "not an HTTP answer", 0);
    return 0;
}

static int read_body(prober_link_t *link, prober_answer_t *answer, int64_t deadline, size_t start)
{
    char value[64];
    char *body = link->buffer + start;
    int chunked = prober_header(answer, "Transfer-Encoding", value, sizeof(value)) == 0;
    size_t wanted = 0, used = 0;

    answer->body = body;
    if (!chunked) {
        if (prober_header(answer, "Content-Length", value, sizeof(value)) == 0)
            wanted = strtoul(value, NULL, 10);
        if (wanted > PROBER_BODY_LIMIT)
            return fail(link, answer, "the answer is larger than 1 MiB", 0);
    }
    for (;;) {
        size_t here = link->length - start;
        int more,
            done = chunked ? join_chunks(body, here, &answer->body_length, &used) : here >= wanted;

        if (done < 0)
            return fail(link, answer, "a malformed chunk", 0);
        if (done)
            break;
        if ((more = read_more(link, answer, deadline)) < 0)
            return -1;
        if (more == 0)
            return fail(link, answer, "the answer was cut short", 0);
    }
    if (!chunked) {
        answer->body_length = wanted;
        body[wanted] = '\0';
    }
    return 0;
}

int prober_ask(prober_link_t *link, const char *request, size_t length, prober_answer_t *answer)
{
    char value[32];
    int64_t deadline;
    size_t start;

    memset(answer, 0, sizeof(*answer));
    answer->sent_ns = prober_now();
    if (link->fd < 0 && connect_link(link, answer) < 0)
        return -1;
    answer->sent_ns = prober_now();
    deadline = answer->sent_ns + (int64_t)link->timeout_ms * 1000000;
    if (send(link->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        return fail(link, answer, "send", errno);
    if (read_head(link, answer, deadline, &start) < 0 ||
        read_body(link, answer, deadline, start) < 0)
        return -1;
    answer->received_ns = prober_now();
    if (prober_header(answer, "Connection", value, sizeof(value)) == 0 &&
        strcasecmp(value, "close") == 0)
        close_link(link);
    return 0;
}
