/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a session when several change it at once.
 *
 * On one host: each request saves only what it changed, relative to what it read, and that is
 * applied to what is there at that moment. Between hosts: two copies are merged key by key, the
 * later stamp wins. A record stands for a function from every key to (stamp, value or tombstone),
 * where a key that isn't listed is a tombstone at `floor`; merging is the greater of both for each
 * key. That makes it commutative, associative and idempotent, in whatever order, however often and
 * along whatever path copies meet.
 *
 * Functions may be called from any thread; results are the pool's, and borrow from their arguments.
 */
#ifndef FS_SESSION_MERGE_H
#define FS_SESSION_MERGE_H

#include "session/fs_session_record.h"

/* More tombstones than this are folded into the floor, the older half of them. */
#define FS_SESSION_TOMBSTONES 64
/* How long an ended session without an absolute limit is remembered. */
#define FS_SESSION_ENDED_LIFE (INT64_C(7) * 86400 * FS_USEC_PER_SEC)

typedef struct fs_session_change_t {
    const char *key;
    const char *value; /* NULL: take the key out */
    uint32_t key_length;
    uint32_t value_length;
} fs_session_change_t;

/* Who applies changes, when. */
typedef struct fs_session_writer_t {
    uint64_t id;      /* the store's random number; not 0 */
    const char *name; /* of the host, at most 64 characters */
    fs_usec_t now;    /* farm time */
} fs_session_writer_t;

/* A session that begins: live, empty, owned by the writer in epoch 1, version below all changes. */
void fs_session_begin(fs_session_record_t *record, const fs_session_writer_t *writer,
                      fs_usec_t ends, fs_usec_t idle);

/*
 * Applies `count` changes (in order; of one key the last counts) to a live record, under one new
 * stamp; none at all still counts as a use. The owner stays. Errors: FS1203 as encoding; FS1205 not
 * live (APR_EINVAL). Then the record is as before.
 */
apr_status_t fs_session_apply(fs_session_record_t *record, const fs_session_change_t *changes,
                              uint32_t count, const fs_session_writer_t *writer, apr_pool_t *pool,
                              fs_result_t *result);

/*
 * What makes `after` of the values of `before`: both are sorted by key. Returns the number of
 * changes; `changes` has room for before_count + after_count.
 */
uint32_t fs_session_differences(const fs_session_entry_t *before, uint32_t before_count,
                                const fs_session_entry_t *after, uint32_t after_count,
                                fs_session_change_t *changes);

/* The writer becomes the owner, in an epoch above all before. Errors: FS1203 (no epoch is left). */
apr_status_t fs_session_take_over(fs_session_record_t *record, const fs_session_writer_t *writer,
                                  fs_result_t *result);

/* Ends it: nothing but that is remembered, until no copy of it can be alive. */
void fs_session_end(fs_session_record_t *record, const fs_session_writer_t *writer);

/*
 * Gives a live session another id: `moved` is the session under the new one, `record` becomes the
 * alias that leads there. Errors: FS1205 it isn't live.
 */
apr_status_t fs_session_move(fs_session_record_t *record, fs_session_record_t *moved,
                             const fs_session_target_t *target, const fs_session_writer_t *writer,
                             fs_result_t *result);

/* Which of the two a merge leaves as it was. */
typedef enum fs_session_merged_t {
    FS_SESSION_MERGED_SAME_A = 1, /* the result is `a` */
    FS_SESSION_MERGED_SAME_B = 2
} fs_session_merged_t;

/*
 * Merges two copies of one session into `out` (which is neither of them). Returns which ones it
 * equals, 0 if it is new: then who stores it must give it a version of its own (fs_session_renew),
 * for a version names one content.
 */
int fs_session_merge(fs_session_record_t *out, const fs_session_record_t *a,
                     const fs_session_record_t *b, apr_pool_t *pool);

/* A version above the present one, by this writer, for a content that was merged. */
void fs_session_renew(fs_session_record_t *record, const fs_session_writer_t *writer);

#endif
