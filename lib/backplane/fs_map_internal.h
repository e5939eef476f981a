/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the map and of the exchange share.
 *
 *   table     by the hash of kind and key; chained, doubled when it is full
 *   buckets   the same entries, by the first byte of that hash, for the digests
 *   heap      those that expire, soonest first
 *   logs      what this server has put since it started, one list a priority, in the order of the
 * last change; `place` numbers them. An entry that somebody else overwrote isn't in a log.
 */
#ifndef FS_MAP_INTERNAL_H
#define FS_MAP_INTERNAL_H

#include <sys/queue.h>

#include "backplane/fs_backplane.h"

#define FS_ENTRY_OVERHEAD                                                                          \
    320 /* bytes that an entry counts beside its record; the same on all hosts */

typedef struct fs_entry_t {
    struct fs_entry_t *next; /* in the table */
    LIST_ENTRY(fs_entry_t) in_bucket;
    TAILQ_ENTRY(fs_entry_t) in_log;
    uint64_t place; /* in its log; 0: in none */
    uint64_t hash;
    uint64_t fingerprint;
    size_t heap; /* 1 + index; 0: doesn't expire */
    fs_record_t record;
    char data[]; /* kind, key and value, each with a NUL */
} fs_entry_t;

typedef TAILQ_HEAD(fs_log_list_t, fs_entry_t) fs_log_list_t;

struct fs_map_t {
    char origin[FS_MEMBER_SIZE];
    uint64_t generation;
    fs_usec_t outage;
    size_t limit;
    fs_hlc_t clock;

    fs_entry_t **table;
    size_t table_size; /* a power of two */
    LIST_HEAD(, fs_entry_t) buckets[FS_BUCKETS];
    uint64_t digests[FS_BUCKETS];
    fs_entry_t **heap;
    size_t heap_count, heap_size;
    fs_log_list_t logs[FS_PRIORITIES];
    uint64_t places[FS_PRIORITIES]; /* the last that was given */

    unsigned count;
    unsigned held;
    size_t bytes;
    size_t bytes_of[FS_PRIORITIES];
    uint64_t serial;
    fs_map_changed_fn *changed;
    void *baton;
};

/* The first entry of a log behind `place`, NULL if there is none. */
fs_entry_t *fs_map_log_after(const fs_map_t *map, fs_priority_t priority, uint64_t place);
/* As fs_map_get_hashed, the entry itself; held ones included. */
fs_entry_t *fs_map_entry(const fs_map_t *map, uint64_t hash, const char *kind, const char *key);

/* A record of the snapshot: nothing is checked but its order, nobody is told. */
void fs_map_restore(fs_map_t *map, const fs_record_t *record);

/* fs_heap.c: those that expire. Adding returns 0, or -1 when memory is short. */
int fs_heap_add(fs_map_t *map, fs_entry_t *entry);
void fs_heap_remove(fs_map_t *map, fs_entry_t *entry);

#endif
