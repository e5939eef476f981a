/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replicated map: small records that every server of the farm has, in the same state, whatever
 * the order, the path and the number of times in which they came.
 *
 * Of two records with the same kind and key the one with the greater stamp holds. A stamp is a
 * hybrid logical clock (Kulkarni et al. 2014) and the name of who wrote; two that are equal in all
 * of it are ordered by their content. So the order is total, merging is idempotent, commutative and
 * associative, and no two servers can disagree for ever.
 *
 *   put, remove     stamped later than everything this server has seen: an operator's "up" after a
 *                   "down" that he has seen wins, even if this server's clock is behind
 *   removed         kept as a tombstone for longer than the longest outage that the settings allow,
 *                   so that a server that comes back can't bring it to life again
 *   expires         a time after which every server lets go of the record by itself, judged by the
 *                   hybrid clock, so that two servers that talk agree at once
 *   held            of a server that was away for longer than that: it serves what it had, but
 * tells nobody of it until the others have confirmed it digests         256 buckets, kept up to
 * date with each change; two maps are equal if they are
 *
 * Bounds: a value 4 KiB, the state 16 MiB; monitors may fill half of it, members and operators a
 * quarter each, so that nobody takes another's room.
 *
 * Times are farm time in microseconds (fs_time.h), or the wall clock where no database is known.
 * No clock is read and nothing is sent here. One thread at a time.
 */
#ifndef FS_BACKPLANE_H
#define FS_BACKPLANE_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"
#include "base/fs_time.h"

#define FS_MEMBER_SIZE        65 /* a server's name and a NUL */
#define FS_RECORD_KIND_SIZE   17 /* "notice", "member", "route", ...: 1 to 16 of a-z, 0-9, '-' */
#define FS_RECORD_KEY_SIZE    257
#define FS_RECORD_VALUE_LIMIT 4096
#define FS_STATE_LIMIT        (16u * 1024 * 1024)
#define FS_BUCKETS            256
#define FS_FUTURE_LIMIT       (300 * FS_USEC_PER_SEC) /* stamps farther ahead are refused */

/* What is sent first, and what may fill how much of the state. */
typedef enum fs_priority_t {
    FS_PRIORITY_OPERATOR,
    FS_PRIORITY_MEMBER,
    FS_PRIORITY_MONITOR,
    FS_PRIORITIES
} fs_priority_t;

/* --- hybrid logical clock --------------------------------------------------------------------- */

typedef struct fs_hlc_t {
    fs_usec_t time;
    uint32_t counter;
} fs_hlc_t;

/* The next reading, later than every one before and than all that were observed. */
fs_hlc_t fs_hlc_next(fs_hlc_t *clock, fs_usec_t now);
/* Somebody's reading was seen. */
void fs_hlc_observe(fs_hlc_t *clock, const fs_hlc_t *seen);
int fs_hlc_compare(const fs_hlc_t *a, const fs_hlc_t *b); /* <0, 0, >0 */

/* --- records ---------------------------------------------------------------------------------- */

/* Servers say this of themselves each second or two, whether it has changed or not. */
#define FS_RECORD_FLEETING_KIND "route"

typedef struct fs_stamp_t {
    fs_hlc_t when;
    char origin[FS_MEMBER_SIZE];
    uint64_t generation; /* of the origin's agent: grows with each of its starts */
} fs_stamp_t;

typedef struct fs_record_t {
    const char *kind;
    const char *key; /* printable UTF-8, 1 to 256 bytes */
    fs_stamp_t stamp;
    fs_priority_t priority;
    int removed;       /* a tombstone: no value */
    int held;          /* see above */
    fs_usec_t expires; /* 0: never; a tombstone always has one */
    const void *value;
    size_t length;
} fs_record_t;

/* The total order of two records of the same kind and key: <0, 0 (they are the same), >0. */
int fs_record_compare(const fs_record_t *a, const fs_record_t *b);
/* 1 if kind, key, priority and sizes are such as the map takes. */
int fs_record_is_valid(const fs_record_t *record);

/* --- the map ---------------------------------------------------------------------------------- */

typedef struct fs_map_t fs_map_t;

typedef struct fs_map_settings_t {
    const char *origin; /* this server's name */
    uint64_t generation;
    fs_usec_t outage;   /* the longest that a server may be away and be simply merged; 0: 7 days */
    size_t state_limit; /* 0: FS_STATE_LIMIT */
} fs_map_settings_t;

/* NULL when memory is short. */
fs_map_t *fs_map_create(const fs_map_settings_t *settings);
void fs_map_destroy(fs_map_t *map);

/*
 * Called after each change that was put, merged or expired: `record` as it is now, valid during the
 * call; `before` as it was, NULL if there was none. One function; it may read the map, not change
 * it.
 */
typedef void fs_map_changed_fn(void *baton, const fs_record_t *record, const fs_record_t *before);
void fs_map_watch(fs_map_t *map, fs_map_changed_fn *fn, void *baton);

/*
 * Puts or replaces a record of this server's; `expires` 0: never. Errors: FS1470 kind, key or value
 * can't be used, FS1471 the state has no room left for this priority.
 */
apr_status_t fs_map_put(fs_map_t *map, fs_usec_t now, const char *kind, const char *key,
                        const void *value, size_t length, fs_priority_t priority, fs_usec_t expires,
                        fs_result_t *result);
/* Removes it everywhere. A key that isn't there gets a tombstone all the same: it may be on its
 * way. Errors as above. */
apr_status_t fs_map_remove(fs_map_t *map, fs_usec_t now, const char *kind, const char *key,
                           fs_priority_t priority, fs_result_t *result);

typedef enum fs_merge_t {
    FS_MERGE_TAKEN,
    FS_MERGE_SAME,  /* it was here; no longer held, if it was */
    FS_MERGE_OLDER, /* what is here is newer */
    FS_MERGE_EXPIRED,
    FS_MERGE_FUTURE, /* refused: more than FS_FUTURE_LIMIT ahead of `now` */
    FS_MERGE_FULL,   /* refused: no room */
    FS_MERGE_BAD     /* refused: not valid */
} fs_merge_t;
/* A record that another server said. */
fs_merge_t fs_map_merge(fs_map_t *map, fs_usec_t now, const fs_record_t *record);

/* Finds a record, tombstones included; 0 if there is none. It points into the map: until a change.
 */
int fs_map_get(const fs_map_t *map, const char *kind, const char *key, fs_record_t *record);
/* Calls fn for each record of `kind` (NULL: all), tombstones included, until it returns non-zero,
 * which is returned. The map must not be changed meanwhile. */
typedef int fs_map_each_fn(void *baton, const fs_record_t *record);
int fs_map_each(const fs_map_t *map, const char *kind, fs_map_each_fn *fn, void *baton);

/* Lets go of what has expired at `now`, or by the hybrid clock. Returns how many. */
unsigned fs_map_expire(fs_map_t *map, fs_usec_t now);
/*
 * After the clock was set back: what is stamped farther ahead than FS_FUTURE_LIMIT would be refused
 * by all others; it is stamped again, as of now, by this server. Returns how many.
 */
unsigned fs_map_restamp(fs_map_t *map, fs_usec_t now);

/* The hybrid clock of this map: what messages carry, and what is observed from them. */
fs_hlc_t fs_map_clock(const fs_map_t *map);
fs_hlc_t fs_map_tick(fs_map_t *map, fs_usec_t now);
/* 0 if it is more than FS_FUTURE_LIMIT ahead of `now`: it is not observed. */
int fs_map_observe(fs_map_t *map, fs_usec_t now, const fs_hlc_t *seen);

unsigned fs_map_count(const fs_map_t *map); /* tombstones included */
size_t fs_map_bytes(const fs_map_t *map);
/* Grows with each change of this map, from 1; for "has anything changed since". */
uint64_t fs_map_serial(const fs_map_t *map);

/* --- held records ----------------------------------------------------------------------------- */

/* Holds everything that is stamped before `before`. Returns how many records. */
unsigned fs_map_hold(fs_map_t *map, fs_usec_t before);
/* What is still held is given up (the others don't have it), or believed after all. */
unsigned fs_map_drop_held(fs_map_t *map);
unsigned fs_map_release_held(fs_map_t *map);

/* --- digests ---------------------------------------------------------------------------------- */

typedef struct fs_map_digest_t {
    uint64_t buckets[FS_BUCKETS];
} fs_map_digest_t;

uint64_t fs_map_digest_total(const fs_map_t *map);

uint64_t fs_record_key_hash(const char *kind, const char *key);
/*
 * Of all that is compared. Of a record that is said anew each second or two only that it is there:
 * else digests would differ all the time, and nobody could tell that something is missing.
 */
uint64_t fs_record_fingerprint(const fs_record_t *record);
int fs_record_is_fleeting(const fs_record_t *record);
/* The records of a bucket, as fs_map_each; held ones left out. */
int fs_map_each_in(const fs_map_t *map, unsigned bucket, fs_map_each_fn *fn, void *baton);
/* By the hash of kind and key; held ones left out. 0 if there is none. */
int fs_map_get_hashed(const fs_map_t *map, uint64_t key_hash, fs_record_t *record);

/* --- records in bytes: messages and the snapshot ---------------------------------------------- */

/* How many bytes fs_record_write needs; at most FS_RECORD_BYTES_LIMIT. */
#define FS_RECORD_BYTES_LIMIT (FS_RECORD_VALUE_LIMIT + 512)
size_t fs_record_bytes(const fs_record_t *record);
/* Writes to `out`, which has room; returns the bytes written. */
size_t fs_record_write(const fs_record_t *record, uint8_t *out);
/*
 * Reads one record from `*at` and moves it behind; everything is checked (fs_record_is_valid
 * included). Kind, key and value point into the bytes: they are followed by a NUL there. Returns 0,
 * or -1.
 */
int fs_record_read(fs_record_t *record, const uint8_t **at, const uint8_t *end);

#endif
