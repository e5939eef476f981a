/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backplane's decoders with bytes from anybody. The first byte says what they are: a request to a
 * server that runs, an answer to the request that it has just sent, a record, or a snapshot. Whatever
 * they are, the map's digests stay those of its records, and its bounds hold.
 */
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_exchange.h"

#define NOW (INT64_C(1800000000) * FS_USEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const fs_moment_t now = {.mono = 10 * FS_USEC_PER_SEC, .farm = NOW};

typedef struct fs_server_t {
    fs_map_t *map;
    fs_exchange_t *exchange;
} fs_server_t;

static fs_server_t make(const char *name)
{
    fs_map_settings_t map = {.origin = name, .generation = 2, .state_limit = 64 * 1024};
    fs_exchange_settings_t settings = {.name = name, .url = "http://a:1", .generation = 2};
    fs_server_t server;
    fs_result_t result;

    server.map = fs_map_create(&map);
    server.exchange = fs_exchange_create(&settings, server.map);
    fs_map_put(server.map, NOW, "notice", "shop/1", "down", 4, FS_PRIORITY_OPERATOR, 0, &result);
    fs_exchange_add_peer(server.exchange, "web2", "http://b:1", 1, &result);
    return server;
}

static int copy(void *baton, const fs_record_t *record)
{
    if (fs_map_merge(baton, NOW * 2, record) != FS_MERGE_TAKEN)
        abort();
    return 0;
}

/* A map with the same records has the same digests. */
static void check(fs_map_t *map)
{
    fs_map_settings_t settings = {.origin = "check", .generation = 1};
    fs_map_t *again = fs_map_create(&settings);

    if (fs_map_bytes(map) > 64 * 1024)
        abort();
    if (!fs_map_each(map, NULL, copy, again) &&
        fs_map_digest_total(map) != fs_map_digest_total(again))
        abort();
    fs_map_destroy(again);
}

static void serve(fs_server_t *server, const uint8_t *data, size_t size)
{
    static uint8_t out[FS_MESSAGE_LIMIT];
    fs_refused_t cause;

    if (fs_exchange_serve(server->exchange, now, "", data, size, out, &cause) > FS_MESSAGE_LIMIT)
        abort();
}

static void answer(fs_server_t *server, const uint8_t *data, size_t size)
{
    static fs_request_t request;

    for (unsigned i = 0; i < 4 && fs_exchange_next(server->exchange, now, &request); i++)
        fs_exchange_answered(server->exchange, now, request.id, data, size);
}

static void read_record(fs_server_t *server, const uint8_t *data, size_t size)
{
    uint8_t bytes[FS_RECORD_BYTES_LIMIT];
    const uint8_t *at = data;
    fs_record_t record;

    if (fs_record_read(&record, &at, data + size))
        return;
    if (fs_record_write(&record, bytes) != (size_t)(at - data) ||
        memcmp(bytes, data, (size_t)(at - data)) != 0)
        abort();
    fs_map_merge(server->map, NOW, &record);
}

static void load(fs_server_t *server, const uint8_t *data, size_t size)
{
    fs_result_t result;

    if (fs_exchange_load(server->exchange, now, data, size, &result) &&
        strcmp(result.problem, "FS1473") != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ways[])(fs_server_t *, const uint8_t *, size_t) = {serve, answer,
                                                                           read_record, load};
    fs_server_t server;

    if (!size)
        return 0;
    server = make("web1");
    ways[data[0] % 4](&server, data + 1, size - 1);
    if (data[0] % 4 != 3) /* a snapshot isn't bounded by the limit of this small map */
        check(server.map);
    fs_exchange_destroy(server.exchange);
    fs_map_destroy(server.map);
    return 0;
}
