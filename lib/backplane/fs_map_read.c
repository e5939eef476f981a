/* SPDX-License-Identifier: Apache-2.0 */
/* The map: what only reads it. */
#include <string.h>

#include "backplane/fs_map_internal.h"

fs_entry_t *fs_map_entry(const fs_map_t *map, uint64_t hash, const char *kind, const char *key)
{
    fs_entry_t *entry = map->table[hash & (map->table_size - 1)];

    while (entry && (entry->hash != hash || (kind && (strcmp(entry->record.kind, kind) ||
                                                      strcmp(entry->record.key, key)))))
        entry = entry->next;
    return entry;
}

int fs_map_get(const fs_map_t *map, const char *kind, const char *key, fs_record_t *record)
{
    const fs_entry_t *entry;

    if (strlen(kind) >= FS_RECORD_KIND_SIZE || strlen(key) >= FS_RECORD_KEY_SIZE)
        return 0;
    entry = fs_map_entry(map, fs_record_key_hash(kind, key), kind, key);
    if (entry)
        *record = entry->record;
    return entry != NULL;
}

int fs_map_get_hashed(const fs_map_t *map, uint64_t key_hash, fs_record_t *record)
{
    const fs_entry_t *entry = fs_map_entry(map, key_hash, NULL, NULL);

    if (!entry || entry->record.held)
        return 0;
    *record = entry->record;
    return 1;
}

int fs_map_each(const fs_map_t *map, const char *kind, fs_map_each_fn *fn, void *baton)
{
    for (unsigned b = 0; b < FS_BUCKETS; b++) {
        const fs_entry_t *entry;

        LIST_FOREACH(entry, &map->buckets[b], in_bucket)
        {
            int ended = kind && strcmp(entry->record.kind, kind) ? 0 : fn(baton, &entry->record);

            if (ended)
                return ended;
        }
    }
    return 0;
}

int fs_map_each_in(const fs_map_t *map, unsigned bucket, fs_map_each_fn *fn, void *baton)
{
    const fs_entry_t *entry;

    LIST_FOREACH(entry, &map->buckets[bucket], in_bucket)
    {
        int ended = entry->record.held ? 0 : fn(baton, &entry->record);

        if (ended)
            return ended;
    }
    return 0;
}

/* From the end: a peer that is nearly up to date is the rule. */
fs_entry_t *fs_map_log_after(const fs_map_t *map, fs_priority_t priority, uint64_t place)
{
    fs_entry_t *entry = TAILQ_LAST(&map->logs[priority], fs_log_list_t), *found = NULL;

    while (entry && entry->place > place) {
        found = entry;
        entry = TAILQ_PREV(entry, fs_log_list_t, in_log);
    }
    return found;
}

uint64_t fs_map_digest_total(const fs_map_t *map)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < FS_BUCKETS; i++)
        total = (total ^ map->digests[i]) * UINT64_C(0x9e3779b97f4a7c15) + i;
    return total ^ total >> 32;
}

unsigned fs_map_count(const fs_map_t *map)
{
    return map->count;
}

size_t fs_map_bytes(const fs_map_t *map)
{
    return map->bytes;
}

uint64_t fs_map_serial(const fs_map_t *map)
{
    return map->serial;
}
