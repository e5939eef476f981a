/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot:
 *
 *   "FSBSNAP1" · u64 generation · i64 saved at (farm time) · i64 hybrid time · u32 hybrid counter ·
 *   u32 n · n peers { text name · u16 length, url, NUL · u64 generation · u64 highest sequence } ·
 *   u32 n · n records · SHA-256 of all before it
 */
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_exchange_internal.h"
#include "base/fs_digest.h"

#define HEAD_BYTES  (8 + 8 + 8 + 8 + 4)
#define PEER_BYTES  (FS_MEMBER_SIZE + 1 + 2 + FS_PEER_URL_SIZE + 8 + 8)
#define PEERS_LIMIT 4096 /* of a snapshot of a version with more */

static const char magic[8] = {'F', 'S', 'B', 'S', 'N', 'A', 'P', '1'};

/* --- writing ------------------------------------------------------------------------------------
 */

static int add_bytes(void *baton, const fs_record_t *record)
{
    *(size_t *)baton += fs_record_bytes(record);
    return 0;
}

static int put_record(void *baton, const fs_record_t *record)
{
    uint8_t **at = baton;

    *at += fs_record_write(record, *at);
    return 0;
}

static int is_worth_saving(const fs_peer_t *peer)
{
    return peer->name[0] && !peer->alias && !peer->self;
}

static uint8_t *put_peers(const fs_exchange_t *exchange, uint8_t *at)
{
    unsigned count = 0;
    uint8_t *head = at;

    at += 4;
    for (unsigned i = 0; i < exchange->peer_count; i++) {
        const fs_peer_t *peer = exchange->peers[i];
        size_t length = strlen(peer->url);

        if (!is_worth_saving(peer))
            continue;
        at = fs_bytes_put_text(at, peer->name);
        at = fs_bytes_put(at, length, 2);
        memcpy(at, peer->url, length + 1);
        at = fs_bytes_put(at + length + 1, peer->generation, 8);
        at = fs_bytes_put(at, peer->replay.highest, 8);
        count++;
    }
    fs_bytes_put(head, count, 4);
    return at;
}

uint8_t *fs_exchange_save(const fs_exchange_t *exchange, fs_moment_t now, size_t *length)
{
    size_t size = HEAD_BYTES + 4 + exchange->peer_count * (size_t)PEER_BYTES + 4 + FS_DIGEST_BYTES;
    const fs_map_t *map = exchange->map;
    fs_digest_t digest;
    uint8_t *bytes, *at;

    fs_map_each(map, NULL, add_bytes, &size);
    bytes = malloc(size);
    if (!bytes)
        return NULL;
    memcpy(bytes, magic, sizeof(magic));
    at = fs_bytes_put(bytes + sizeof(magic), exchange->generation, 8);
    at = fs_bytes_put(at, (uint64_t)now.farm, 8);
    at = fs_bytes_put(at, (uint64_t)map->clock.time, 8);
    at = fs_bytes_put(at, map->clock.counter, 4);
    at = put_peers(exchange, at);
    at = fs_bytes_put(at, map->count, 4);
    fs_map_each(map, NULL, put_record, &at);
    fs_digest_of(&digest, bytes, (size_t)(at - bytes));
    memcpy(at, digest.bytes, sizeof(digest.bytes));
    *length = (size_t)(at - bytes) + sizeof(digest.bytes);
    return bytes;
}

/* --- reading ------------------------------------------------------------------------------------
 */

typedef struct fs_snapshot_t {
    uint64_t generation;
    fs_usec_t saved;
    fs_hlc_t clock;
    fs_bytes_t rest;
} fs_snapshot_t;

static int open_snapshot(fs_snapshot_t *snapshot, const void *bytes, size_t length)
{
    const uint8_t *start = bytes;
    fs_digest_t digest;

    if (length < HEAD_BYTES + FS_DIGEST_BYTES || memcmp(bytes, magic, sizeof(magic)))
        return -1;
    length -= FS_DIGEST_BYTES;
    fs_digest_of(&digest, bytes, length);
    if (memcmp(digest.bytes, start + length, FS_DIGEST_BYTES))
        return -1;
    snapshot->rest = (fs_bytes_t){.at = start + sizeof(magic), .end = start + length};
    snapshot->generation = fs_bytes_get(&snapshot->rest, 8);
    snapshot->saved = (fs_usec_t)fs_bytes_get(&snapshot->rest, 8);
    snapshot->clock.time = (fs_usec_t)fs_bytes_get(&snapshot->rest, 8);
    snapshot->clock.counter = (uint32_t)fs_bytes_get(&snapshot->rest, 4);
    return snapshot->rest.bad || snapshot->saved < 0 || snapshot->clock.time < 0 ||
                   snapshot->clock.time >> 60
               ? -1
               : 0;
}

uint64_t fs_exchange_generation(const void *bytes, size_t length, fs_usec_t now)
{
    uint64_t clock = now > 0 ? (uint64_t)now : 1;
    fs_snapshot_t snapshot;

    if (!bytes || open_snapshot(&snapshot, bytes, length) || snapshot.generation < clock)
        return clock;
    return snapshot.generation + 1;
}

/* Reads all peers, or checks them only (`exchange` NULL). Returns 0, or -1. */
static int read_peers(fs_exchange_t *exchange, fs_bytes_t *bytes)
{
    uint64_t count = fs_bytes_get(bytes, 4);

    if (count > PEERS_LIMIT)
        return -1;
    for (uint64_t i = 0; i < count && !bytes->bad; i++) {
        const char *name = fs_bytes_get_text(bytes, FS_MEMBER_SIZE - 1);
        const char *url = fs_bytes_get_block(bytes, (size_t)fs_bytes_get(bytes, 2));
        uint64_t generation = fs_bytes_get(bytes, 8), highest = fs_bytes_get(bytes, 8);
        fs_peer_t *peer;

        if (bytes->bad || !exchange || !name[0] || !strcmp(name, exchange->name) ||
            !strcmp(url, exchange->url) || fs_exchange_named(exchange, name))
            continue;
        peer = fs_exchange_new_peer(exchange, name, url);
        if (!peer)
            continue;
        peer->generation = generation;
        fs_replay_begin(&peer->replay, highest);
    }
    return bytes->bad ? -1 : 0;
}

static int read_records(fs_map_t *map, fs_bytes_t *bytes)
{
    uint64_t count = fs_bytes_get(bytes, 4);

    for (uint64_t i = 0; i < count && !bytes->bad; i++) {
        fs_record_t record;

        if (fs_record_read(&record, &bytes->at, bytes->end))
            return -1;
        if (map)
            fs_map_restore(map, &record);
    }
    return bytes->bad || bytes->at != bytes->end ? -1 : 0;
}

apr_status_t fs_exchange_load(fs_exchange_t *exchange, fs_moment_t now, const void *bytes,
                              size_t length, fs_result_t *result)
{
    fs_map_t *map = exchange->map;
    fs_snapshot_t snapshot;
    fs_bytes_t rest;

    if (!open_snapshot(&snapshot, bytes, length)) {
        rest = snapshot.rest;
        snapshot.rest.bad = read_peers(NULL, &rest) || read_records(NULL, &rest);
    } else {
        snapshot.rest.bad = 1;
    }
    if (snapshot.rest.bad)
        return fs_result_set(
            result, APR_EGENERAL, "FS1473",
            "the saved state of the backplane is damaged, or of another version of "
            "farmsync: it isn't used");
    exchange->last = exchange->last ? exchange->last : now.mono;
    read_peers(exchange, &snapshot.rest);
    read_records(map, &snapshot.rest);
    fs_hlc_observe(&map->clock, &snapshot.clock);
    if (snapshot.generation >= exchange->generation) {
        exchange->generation = snapshot.generation + 1;
        map->generation = exchange->generation;
    }
    if (now.farm - snapshot.saved > map->outage)
        exchange->held = fs_map_hold(map, INT64_MAX) > 0;
    return APR_SUCCESS;
}
