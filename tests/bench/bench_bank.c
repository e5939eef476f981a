/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same load for a bank server, memcached and redis: so many values are stored, then fetched,
 * over so many connections, each of which sends the next request when the answer to the last one is
 * there. A request holds `batch` values: a batch of sessions here, as many pipelined commands
 * there.
 *
 *   bench_bank farmsync|memcached|redis HOST:PORT[,HOST:PORT] CONNECTIONS VALUES BATCH BYTES
 * [KEYFILE]
 *
 * With two servers each value is stored on both, and fetched from the first. Prints one line of
 * JSON: values stored and fetched a second. Every answer is checked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs_time.h"
#include "net/fs_key.h"
#include "session/fs_session_batch.h"
#include "session/fs_session_mix.h"

#define SERVERS     2
#define CONNECTIONS 1024
#define HEX         32 /* of a key */
#define ANSWER_ROOM (FS_SESSION_BATCH_LIMIT + 8192)

typedef enum protocol_t { FARMSYNC, MEMCACHED, REDIS } protocol_t;

typedef struct server_t {
    struct sockaddr_in address;
    char name[64];
    uint64_t next, done; /* of the values */
} server_t;

typedef struct connection_t {
    int fd;
    server_t *server;
    uint64_t first;
    unsigned count; /* values of the request that is under way */
    uint8_t *out, *in;
    size_t out_length, sent, received, room;
} connection_t;

static protocol_t protocol;
static server_t servers[SERVERS];
static connection_t connections[CONNECTIONS];
static unsigned server_count, connection_count, batch;
static uint64_t values;
static uint32_t bytes;
static uint8_t *payload;
static fs_keyring_t ring;
static int fetching;

static void fail(const char *what)
{
    fprintf(stderr, "bench_bank: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static fs_session_key_t key_of(uint64_t number)
{
    fs_session_key_t key;
    uint64_t halves[2] = {fs_session_mix(number + 1), fs_session_mix(~number)};

    memcpy(key.bytes, halves, sizeof(key.bytes));
    return key;
}

static void hex_of(uint64_t number, char text[HEX + 1])
{
    fs_session_key_t key = key_of(number);

    for (unsigned i = 0; i < FS_SESSION_KEY_BYTES; i++)
        snprintf(text + (size_t)i * 2, 3, "%02x", key.bytes[i]);
}

/* --- requests ------------------------------------------------------------------------------------
 */

static void reserve(connection_t *connection, size_t more)
{
    if (connection->out_length + more <= connection->room)
        return;
    connection->room = 2 * (connection->out_length + more);
    connection->out = realloc(connection->out, connection->room);
    if (!connection->out)
        fail("memory");
}

static void put(connection_t *connection, const void *data, size_t length)
{
    reserve(connection, length);
    memcpy(connection->out + connection->out_length, data, length);
    connection->out_length += length;
}

static void put_command(connection_t *connection, uint64_t number)
{
    char key[HEX + 1], text[256];
    int length;

    hex_of(number, key);
    if (protocol == MEMCACHED)
        length = fetching ? snprintf(text, sizeof(text), "get %s\r\n", key)
                          : snprintf(text, sizeof(text), "set %s 0 0 %u\r\n", key, bytes);
    else
        length = fetching ? snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$32\r\n%s\r\n", key)
                          : snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$32\r\n%s\r\n$%u\r\n",
                                     key, bytes);
    put(connection, text, (size_t)length);
    if (fetching)
        return;
    put(connection, payload, bytes);
    put(connection, "\r\n", 2);
}

/* Another host takes the sessions than the one that offered them. */
static void put_batch(connection_t *connection)
{
    static const char *const paths[] = {"/v1/sessions/offer", "/v1/sessions/take"};
    fs_session_batch_t head = {.kind = fetching ? FS_SESSION_BATCH_TAKE : FS_SESSION_BATCH_OFFER};
    fs_session_item_t item = {.parts = 0};
    fs_session_batch_writer_t writer;
    char nonce[FS_NONCE_SIZE], auth[FS_AUTH_SIZE], text[1024];
    int length;

    if (fs_session_batch_begin(&writer, &head, NULL))
        fail("batch");
    if (!fetching)
        item.parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
    item.version = (fs_session_stamp_t){1, 1, 1};
    item.expires = INT64_MAX;
    item.sealed = payload;
    item.sealed_length = bytes;
    for (unsigned i = 0; i < connection->count; i++) {
        item.key = key_of(connection->first + i);
        if (fs_session_batch_add(&writer, &item, NULL))
            fail("batch");
    }
    fs_auth_sign_request(&ring, fetching ? "bench2" : "bench1", "POST", paths[fetching],
                         writer.bytes, writer.length, nonce, auth);
    length = snprintf(text, sizeof(text),
                      "POST %s HTTP/1.1\r\nHost: %s\r\nFarmSync-Auth: %s\r\n"
                      "Content-Length: %zu\r\n\r\n",
                      paths[fetching], connection->server->name, auth, writer.length);
    put(connection, text, (size_t)length);
    put(connection, writer.bytes, writer.length);
    free(writer.bytes);
}

/* Takes the next values; 0 if none are left. */
static int prepare(connection_t *connection)
{
    server_t *server = connection->server;
    uint64_t left = values - server->next;

    connection->out_length = connection->sent = connection->received = 0;
    connection->first = server->next;
    connection->count = left < batch ? (unsigned)left : batch;
    server->next += connection->count;
    if (!connection->count)
        return 0;
    if (protocol == FARMSYNC)
        put_batch(connection);
    for (unsigned i = 0; protocol != FARMSYNC && i < connection->count; i++)
        put_command(connection, connection->first + i);
    return 1;
}

/* --- answers -------------------------------------------------------------------------------------
 */

/* What one value's answer begins with, and how long it is. */
static size_t expected(uint64_t number, char text[128])
{
    char key[HEX + 1];

    hex_of(number, key);
    if (protocol == MEMCACHED && !fetching)
        return (size_t)snprintf(text, 128, "STORED\r\n");
    if (protocol == REDIS && !fetching)
        return (size_t)snprintf(text, 128, "+OK\r\n");
    if (protocol == MEMCACHED)
        return (size_t)snprintf(text, 128, "VALUE %s 0 %u\r\n", key, bytes) + bytes + 7;
    return (size_t)snprintf(text, 128, "$%u\r\n", bytes) + bytes + 2;
}

static int commands_are_answered(connection_t *connection)
{
    size_t at = 0;

    for (unsigned i = 0; i < connection->count; i++) {
        char text[128];
        size_t length = expected(connection->first + i, text), seen = strlen(text);

        if (connection->received - at < length)
            return 0;
        if (memcmp(connection->in + at, text, seen) != 0) {
            connection->in[at + 40] = '\0';
            fprintf(stderr, "bench_bank: answered %s\n", (char *)connection->in + at);
            exit(EXIT_FAILURE);
        }
        at += length;
    }
    return 1;
}

static int batch_is_answered(connection_t *connection)
{
    fs_session_batch_reader_t reader;
    fs_session_item_t item;
    fs_result_t result;
    const char *body, *length;
    size_t size;

    connection->in[connection->received] = '\0';
    body = strstr((char *)connection->in, "\r\n\r\n");
    if (!body)
        return 0;
    length = strcasestr((char *)connection->in, "content-length:");
    body += 4;
    size = length && length < body ? strtoul(length + 15, NULL, 10) : 0;
    if (connection->received - (size_t)(body - (char *)connection->in) < size)
        return 0;
    if (memcmp(connection->in, "HTTP/1.1 200", 12) != 0 ||
        fs_session_batch_read(&reader, fetching ? FS_SESSION_BATCH_TAKEN : FS_SESSION_BATCH_OFFERED,
                              body, size, &result)) {
        fprintf(stderr, "bench_bank: answered %.500s\n", (char *)connection->in);
        exit(EXIT_FAILURE);
    }
    while (fs_session_batch_next(&reader, &item))
        if (item.what != (fetching ? FS_SESSION_WHAT_GRANTED : FS_SESSION_WHAT_STORED) ||
            (fetching && item.sealed_length != bytes)) {
            fprintf(stderr, "bench_bank: an item was answered by %d\n", item.what);
            exit(EXIT_FAILURE);
        }
    return 1;
}

/* --- the loop ------------------------------------------------------------------------------------
 */

static void send_some(connection_t *connection)
{
    while (connection->sent < connection->out_length) {
        ssize_t done = send(connection->fd, connection->out + connection->sent,
                            connection->out_length - connection->sent, MSG_NOSIGNAL);

        if (done < 0 && errno == EAGAIN)
            return;
        if (done < 0)
            fail("send");
        connection->sent += (size_t)done;
    }
}

/* Returns 1 when there is nothing more to do on this connection. */
static int receive_some(connection_t *connection)
{
    for (;;) {
        ssize_t got = recv(connection->fd, connection->in + connection->received,
                           ANSWER_ROOM - connection->received - 1, 0);

        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0)
            fail("receive");
        connection->received += (size_t)got;
        if (!(protocol == FARMSYNC ? batch_is_answered(connection)
                                   : commands_are_answered(connection)))
            continue;
        connection->server->done += connection->count;
        if (!prepare(connection))
            return 1;
        send_some(connection);
    }
}

static void open_connection(connection_t *connection, server_t *server)
{
    int on = 1;

    connection->server = server;
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    connection->in = malloc(ANSWER_ROOM);
    if (connection->fd < 0 || !connection->in ||
        connect(connection->fd, (struct sockaddr *)&server->address, sizeof(server->address)))
        fail(server->name);
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fcntl(connection->fd, F_SETFL, O_NONBLOCK))
        fail("socket");
}

static void close_connection(connection_t *connection)
{
    close(connection->fd);
    free(connection->in);
    free(connection->out);
    memset(connection, 0, sizeof(*connection));
}

/* Values a second, on `used` servers. */
static double run(unsigned used)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET}, events[64];
    int poll = epoll_create1(0);
    unsigned open = connection_count;
    fs_usec_t began;

    for (unsigned i = 0; i < connection_count; i++)
        open_connection(&connections[i], &servers[i % used]);
    for (unsigned i = 0; i < used; i++)
        servers[i].next = servers[i].done = 0;
    began = fs_time_mono();
    for (unsigned i = 0; i < connection_count; i++) {
        event.data.ptr = &connections[i];
        if (prepare(&connections[i]))
            epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event);
        else
            open--;
    }
    while (open) {
        int count = epoll_wait(poll, events, 64, 60000);

        if (count <= 0)
            fail("no answer");
        for (int i = 0; i < count; i++) {
            connection_t *connection = events[i].data.ptr;

            send_some(connection);
            if (events[i].events & EPOLLIN && connection->count && receive_some(connection)) {
                connection->count = 0;
                open--;
            }
        }
    }
    began = fs_time_mono() - began;
    for (unsigned i = 0; i < connection_count; i++)
        close_connection(&connections[i]);
    close(poll);
    return (double)values * FS_USEC_PER_SEC / (double)began;
}

static void read_servers(char *list)
{
    for (char *rest, *one = strtok_r(list, ",", &rest); one && server_count < SERVERS;
         one = strtok_r(NULL, ",", &rest)) {
        server_t *server = &servers[server_count++];
        char *port = strchr(one, ':');

        snprintf(server->name, sizeof(server->name), "%s", one);
        if (!port)
            fail(one);
        *port++ = '\0';
        server->address.sin_family = AF_INET;
        server->address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
        if (inet_pton(AF_INET, one, &server->address.sin_addr) != 1)
            fail(one);
    }
}

int main(int argc, char **argv)
{
    fs_result_t result;
    double stored, fetched;

    if (argc < 7) {
        fprintf(stderr, "usage: bench_bank farmsync|memcached|redis HOST:PORT[,HOST:PORT] "
                        "CONNECTIONS VALUES BATCH BYTES [KEYFILE]\n");
        return EXIT_FAILURE;
    }
    protocol = !strcmp(argv[1], "farmsync") ? FARMSYNC
               : !strcmp(argv[1], "redis")  ? REDIS
                                            : MEMCACHED;
    read_servers(argv[2]);
    connection_count = (unsigned)strtoul(argv[3], NULL, 10);
    values = strtoul(argv[4], NULL, 10);
    batch = (unsigned)strtoul(argv[5], NULL, 10);
    bytes = (uint32_t)strtoul(argv[6], NULL, 10);
    payload = malloc(bytes);
    if (!payload || connection_count > CONNECTIONS || !batch || !server_count)
        fail("arguments");
    memset(payload, 'x', bytes);
    if (argc > 7 && fs_keyring_read(&ring, argv[7], &result)) {
        fprintf(stderr, "bench_bank: %s\n", result.detail);
        return EXIT_FAILURE;
    }
    stored = run(server_count);
    fetching = 1;
    fetched = run(1);
    printf("{\"stored\": %.0f, \"fetched\": %.0f}\n", stored, fetched);
    free(payload);
    return EXIT_SUCCESS;
}
