/* SPDX-License-Identifier: Apache-2.0 */
/* The map: changes. What only reads it is in fs_map_read.c. */
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_map_internal.h"

#define TABLE_FIRST    256
#define OUTAGE_DEFAULT (7 * 24 * 3600 * FS_USEC_PER_SEC)
/* A tombstone outlives the longest outage by what clocks may differ, and by time to talk. */
#define TOMBSTONE_MORE (3600 * FS_USEC_PER_SEC)

fs_map_t *fs_map_create(const fs_map_settings_t *settings)
{
    fs_map_t *map = calloc(1, sizeof(*map));

    if (!map)
        return NULL;
    strncpy(map->origin, settings->origin, sizeof(map->origin) - 1);
    map->generation = settings->generation;
    map->outage = settings->outage ? settings->outage : OUTAGE_DEFAULT;
    map->limit = settings->state_limit ? settings->state_limit : FS_STATE_LIMIT;
    map->serial = 1;
    map->table_size = TABLE_FIRST;
    map->table = calloc(map->table_size, sizeof(fs_entry_t *));
    for (unsigned i = 0; i < FS_BUCKETS; i++)
        LIST_INIT(&map->buckets[i]);
    for (unsigned i = 0; i < FS_PRIORITIES; i++)
        TAILQ_INIT(&map->logs[i]);
    if (!map->table) {
        free(map);
        return NULL;
    }
    return map;
}

void fs_map_destroy(fs_map_t *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->table_size; i++) {
        fs_entry_t *entry = map->table[i];

        while (entry) {
            fs_entry_t *next = entry->next;

            free(entry);
            entry = next;
        }
    }
    free(map->table);
    free(map->heap);
    free(map);
}

void fs_map_watch(fs_map_t *map, fs_map_changed_fn *fn, void *baton)
{
    map->changed = fn;
    map->baton = baton;
}

/* --- entries ------------------------------------------------------------------------------------
 */

static size_t cost(const fs_record_t *record)
{
    return fs_record_bytes(record) + FS_ENTRY_OVERHEAD;
}

/* A copy of a record that owns its texts; not in the map yet. */
static fs_entry_t *make_entry(const fs_record_t *record)
{
    size_t kind = strlen(record->kind) + 1, key = strlen(record->key) + 1;
    fs_entry_t *entry = malloc(sizeof(*entry) + kind + key + record->length + 1);

    if (!entry)
        return NULL;
    memset(entry, 0, sizeof(*entry));
    entry->record = *record;
    entry->record.kind = memcpy(entry->data, record->kind, kind);
    entry->record.key = memcpy(entry->data + kind, record->key, key);
    entry->record.value = entry->data + kind + key;
    if (record->length)
        memcpy(entry->data + kind + key, record->value, record->length);
    entry->data[kind + key + record->length] = '\0';
    entry->hash = fs_record_key_hash(record->kind, record->key);
    entry->fingerprint = fs_record_fingerprint(record);
    return entry;
}

static uint64_t mix(const fs_entry_t *entry)
{
    uint64_t x = entry->hash ^ (entry->fingerprint << 1 | entry->fingerprint >> 63);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Into the digests or, once more, out of them. */
static void flip(fs_map_t *map, const fs_entry_t *entry)
{
    map->digests[entry->hash >> 56] ^= mix(entry);
}

static void grow(fs_map_t *map)
{
    size_t size = 2 * map->table_size;
    fs_entry_t **table = calloc(size, sizeof(fs_entry_t *));

    if (!table)
        return; /* chains become longer */
    for (size_t i = 0; i < map->table_size; i++) {
        fs_entry_t *entry = map->table[i];

        while (entry) {
            fs_entry_t *next = entry->next, **head = &table[entry->hash & (size - 1)];

            entry->next = *head;
            *head = entry;
            entry = next;
        }
    }
    free(map->table);
    map->table = table;
    map->table_size = size;
}

static int link_entry(fs_map_t *map, fs_entry_t *entry)
{
    fs_entry_t **head;

    if (entry->record.expires && fs_heap_add(map, entry))
        return -1;
    if (map->count >= map->table_size)
        grow(map);
    head = &map->table[entry->hash & (map->table_size - 1)];
    entry->next = *head;
    *head = entry;
    LIST_INSERT_HEAD(&map->buckets[entry->hash >> 56], entry, in_bucket);
    map->count++;
    map->bytes += cost(&entry->record);
    map->bytes_of[entry->record.priority] += cost(&entry->record);
    if (entry->record.held)
        map->held++;
    else
        flip(map, entry);
    return 0;
}

static void unlink_entry(fs_map_t *map, fs_entry_t *entry)
{
    fs_entry_t **link = &map->table[entry->hash & (map->table_size - 1)];

    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    LIST_REMOVE(entry, in_bucket);
    fs_heap_remove(map, entry);
    if (entry->place)
        TAILQ_REMOVE(&map->logs[entry->record.priority], entry, in_log);
    map->count--;
    map->bytes -= cost(&entry->record);
    map->bytes_of[entry->record.priority] -= cost(&entry->record);
    if (entry->record.held)
        map->held--;
    else
        flip(map, entry);
}

static void tell(fs_map_t *map, const fs_record_t *now, const fs_record_t *before)
{
    map->serial++;
    if (map->changed)
        map->changed(map->baton, now, before);
}

/*
 * Each priority has its share, whatever the others fill: so servers that got the same records in
 * another order have room for the same.
 */
static int has_room(const fs_map_t *map, const fs_record_t *record, const fs_entry_t *former)
{
    size_t share = record->priority == FS_PRIORITY_MONITOR ? map->limit / 2 : map->limit / 4;
    size_t more = cost(record), less = 0;

    if (former && former->record.priority == record->priority)
        less = cost(&former->record);
    return more <= less || map->bytes_of[record->priority] - less + more <= share;
}

/* Replaces `former`, or adds. Returns NULL when memory is short: then nothing has changed. */
static fs_entry_t *replace(fs_map_t *map, const fs_record_t *record, fs_entry_t *former)
{
    fs_entry_t *entry = make_entry(record);

    if (!entry)
        return NULL;
    if (link_entry(map, entry)) {
        free(entry);
        return NULL;
    }
    if (former)
        unlink_entry(map, former);
    tell(map, &entry->record, former ? &former->record : NULL);
    free(former);
    return entry;
}

static void let_go(fs_map_t *map, fs_entry_t *entry)
{
    fs_record_t gone = entry->record;

    gone.removed = 1;
    gone.length = 0;
    unlink_entry(map, entry);
    if (!entry->record.removed)
        tell(map, &gone, &entry->record);
    else
        map->serial++;
    free(entry);
}

/* --- changes of this server's own ---------------------------------------------------------------
 */

static apr_status_t write_own(fs_map_t *map, fs_usec_t now, fs_record_t *record,
                              fs_result_t *result)
{
    fs_hlc_t clock = map->clock;
    fs_entry_t *former, *entry;

    strcpy(record->stamp.origin, map->origin);
    record->stamp.generation = map->generation;
    record->stamp.when = fs_hlc_next(&clock, now);
    if (record->removed)
        record->expires = clock.time + map->outage + TOMBSTONE_MORE;
    if (!fs_record_is_valid(record))
        return fs_result_set(result, APR_EINVAL, "FS1470",
                             "a record can't be kept: kind 1 to 16 of a-z, 0-9 and '-', key 1 to "
                             "256 bytes of UTF-8 without control characters, value at most 4096 "
                             "bytes (it has %zu)",
                             record->length);
    former =
        fs_map_entry(map, fs_record_key_hash(record->kind, record->key), record->kind, record->key);
    if (!has_room(map, record, former))
        return fs_result_set(result, APR_ENOSPC, "FS1471",
                             "the state shared by the farm is full (%zu bytes of %zu): remove what "
                             "is no longer needed; monitors may fill half of it, members and "
                             "operators a quarter each",
                             map->bytes, map->limit);
    entry = replace(map, record, former);
    if (!entry)
        return fs_result_set(result, APR_ENOMEM, "FS1471", "out of memory");
    map->clock = clock;
    entry->place = ++map->places[record->priority];
    TAILQ_INSERT_TAIL(&map->logs[record->priority], entry, in_log);
    return APR_SUCCESS;
}

apr_status_t fs_map_put(fs_map_t *map, fs_usec_t now, const char *kind, const char *key,
                        const void *value, size_t length, fs_priority_t priority, fs_usec_t expires,
                        fs_result_t *result)
{
    fs_record_t record = {.kind = kind,
                          .key = key,
                          .priority = priority,
                          .expires = expires,
                          .value = value,
                          .length = length};

    return write_own(map, now, &record, result);
}

apr_status_t fs_map_remove(fs_map_t *map, fs_usec_t now, const char *kind, const char *key,
                           fs_priority_t priority, fs_result_t *result)
{
    fs_record_t record = {.kind = kind, .key = key, .priority = priority, .removed = 1};

    return write_own(map, now, &record, result);
}

/* --- what others say ----------------------------------------------------------------------------
 */

/* By the clock that servers who talk have in common, so that they agree on what has expired. */
static fs_usec_t as_of(const fs_map_t *map, fs_usec_t now)
{
    return map->clock.time > now ? map->clock.time : now;
}

static fs_merge_t confirm(fs_map_t *map, fs_entry_t *entry)
{
    if (entry->record.held) {
        entry->record.held = 0;
        map->held--;
        flip(map, entry);
        map->serial++;
    }
    return FS_MERGE_SAME;
}

fs_merge_t fs_map_merge(fs_map_t *map, fs_usec_t now, const fs_record_t *said)
{
    fs_record_t record = *said;
    fs_entry_t *former;
    int by;

    record.held = 0;
    if (!fs_record_is_valid(&record))
        return FS_MERGE_BAD;
    if (record.stamp.when.time > now + FS_FUTURE_LIMIT)
        return FS_MERGE_FUTURE;
    if (record.expires && record.expires <= as_of(map, now))
        return FS_MERGE_EXPIRED;
    former =
        fs_map_entry(map, fs_record_key_hash(record.kind, record.key), record.kind, record.key);
    by = former ? fs_record_compare(&record, &former->record) : 1;
    if (!by)
        return confirm(map, former);
    if (by < 0 && !former->record.held)
        return FS_MERGE_OLDER;
    if (!has_room(map, &record, former) || !replace(map, &record, former))
        return FS_MERGE_FULL;
    fs_hlc_observe(&map->clock, &record.stamp.when);
    return FS_MERGE_TAKEN;
}

void fs_map_restore(fs_map_t *map, const fs_record_t *record)
{
    fs_entry_t *former =
        fs_map_entry(map, fs_record_key_hash(record->kind, record->key), record->kind, record->key);
    fs_map_changed_fn *changed = map->changed;

    if (former && fs_record_compare(record, &former->record) <= 0)
        return;
    map->changed = NULL;
    replace(map, record, former);
    map->changed = changed;
}

unsigned fs_map_expire(fs_map_t *map, fs_usec_t now)
{
    unsigned gone = 0;

    now = as_of(map, now);
    while (map->heap_count && map->heap[0]->record.expires <= now) {
        let_go(map, map->heap[0]);
        gone++;
    }
    return gone;
}

/* --- the clock ----------------------------------------------------------------------------------
 */

fs_hlc_t fs_map_clock(const fs_map_t *map)
{
    return map->clock;
}

fs_hlc_t fs_map_tick(fs_map_t *map, fs_usec_t now)
{
    return fs_hlc_next(&map->clock, now);
}

int fs_map_observe(fs_map_t *map, fs_usec_t now, const fs_hlc_t *seen)
{
    if (seen->time > now + FS_FUTURE_LIMIT)
        return 0;
    fs_hlc_observe(&map->clock, seen);
    return 1;
}

/* The reading after everything that may stay as it is. */
static fs_hlc_t latest_within(const fs_map_t *map, fs_usec_t limit)
{
    fs_hlc_t latest = {0, 0};

    for (unsigned b = 0; b < FS_BUCKETS; b++) {
        const fs_entry_t *entry;

        LIST_FOREACH(entry, &map->buckets[b], in_bucket)
        {
            if (entry->record.stamp.when.time <= limit)
                fs_hlc_observe(&latest, &entry->record.stamp.when);
        }
    }
    return latest;
}

/* The entries that are stamped beyond `limit`, malloc'ed. NULL if there are none, or memory is
 * short. */
static fs_entry_t **beyond(const fs_map_t *map, fs_usec_t limit, unsigned *count)
{
    fs_entry_t **entries = map->count ? malloc(map->count * sizeof(*entries)) : NULL;

    *count = 0;
    for (unsigned b = 0; b < FS_BUCKETS && entries; b++) {
        fs_entry_t *entry;

        LIST_FOREACH(entry, &map->buckets[b], in_bucket)
        {
            if (entry->record.stamp.when.time > limit)
                entries[(*count)++] = entry;
        }
    }
    return entries;
}

unsigned fs_map_restamp(fs_map_t *map, fs_usec_t now)
{
    fs_usec_t limit = now + FS_FUTURE_LIMIT;
    fs_entry_t **entries;
    unsigned count, done = 0;

    if (map->clock.time <= limit)
        return 0;
    entries = beyond(map, limit, &count);
    if (!entries && map->count)
        return 0; /* memory is short: the next time */
    map->clock = latest_within(map, limit);
    for (unsigned i = 0; i < count; i++) {
        fs_record_t record = entries[i]->record;

        record.held = 0;
        if (write_own(map, now, &record, NULL)) {
            map->clock.time = limit + 1; /* the next time again */
            break;
        }
        done++;
    }
    free(entries);
    return done;
}

/* --- held records -------------------------------------------------------------------------------
 */

unsigned fs_map_hold(fs_map_t *map, fs_usec_t before)
{
    unsigned count = 0;

    for (unsigned b = 0; b < FS_BUCKETS; b++) {
        fs_entry_t *entry;

        LIST_FOREACH(entry, &map->buckets[b], in_bucket)
        {
            if (entry->record.held || entry->record.stamp.when.time >= before)
                continue;
            entry->record.held = 1;
            map->held++;
            flip(map, entry);
            count++;
        }
    }
    return count;
}

unsigned fs_map_drop_held(fs_map_t *map)
{
    unsigned count = 0;

    for (unsigned b = 0; b < FS_BUCKETS && map->held; b++) {
        fs_entry_t *entry = LIST_FIRST(&map->buckets[b]);

        while (entry) {
            fs_entry_t *next = LIST_NEXT(entry, in_bucket);

            if (entry->record.held) {
                let_go(map, entry);
                count++;
            }
            entry = next;
        }
    }
    return count;
}

unsigned fs_map_release_held(fs_map_t *map)
{
    unsigned count = 0;

    for (unsigned b = 0; b < FS_BUCKETS && map->held; b++) {
        fs_entry_t *entry;

        LIST_FOREACH(entry, &map->buckets[b], in_bucket)
        {
            if (entry->record.held) {
                confirm(map, entry);
                count++;
            }
        }
    }
    return count;
}
