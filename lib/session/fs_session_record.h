/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session as it is stored, handed over and copied to the bank.
 *
 * A record is a map from key to value in which each key carries the stamp of its last change. The
 * stamp is (owner epoch, sequence, writer), compared in that order.
 *
 * - epoch: raised by each host that takes the session over.
 * - sequence: raised by each change set, under the lock of the store; at the beginning and at a
 *   take-over at least the farm time, so that no writer uses a stamp twice.
 * - writer: the store that wrote, a random number, which tells two hosts apart that took over at
 *   once.
 *
 * A key that was taken out stays as a tombstone with its stamp, so that an older copy cannot bring
 * it back. Tombstones don't pile up: `floor` is the tombstone of every key that is not listed.
 * Raising it lets the listed ones go.
 *
 * A record is live, or an alias (its id was changed at login: the rest of the session is under
 * another key), or ended. These states only go forward, whatever copies are merged.
 *
 * Times are farm time in microseconds. Functions may be called from any thread; what they allocate
 * is the pool's; entries point into the bytes they were decoded from.
 */
#ifndef FS_SESSION_RECORD_H
#define FS_SESSION_RECORD_H

#include <apr_pools.h>

#include "base/fs_time.h"
#include "session/fs_session_id.h"

#define FS_SESSION_KEY_LIMIT    1024       /* bytes of an entry's key, at least 1 */
#define FS_SESSION_ENTRY_LIMIT  4096       /* entries, tombstones included */
#define FS_SESSION_RECORD_LIMIT (16 << 20) /* bytes of an encoded record; stores allow less */
#define FS_SESSION_NAME_SIZE    65         /* of an owner, with its NUL */
#define FS_SESSION_EPOCH_LIMIT  (UINT32_C(1) << 31)
#define FS_SESSION_COUNT_LIMIT                                                                     \
    (UINT64_C(1) << 62) /* of sequences, so that one more is always there */

typedef struct fs_session_stamp_t {
    uint32_t epoch;
    uint64_t sequence;
    uint64_t writer;
} fs_session_stamp_t;

typedef enum fs_session_state_t {
    FS_SESSION_LIVE = 1,
    FS_SESSION_ALIAS = 2,
    FS_SESSION_ENDED = 3
} fs_session_state_t;

typedef struct fs_session_owner_t {
    uint32_t epoch;
    uint64_t writer;
    char name[FS_SESSION_NAME_SIZE]; /* as FarmSyncServer gives it */
} fs_session_owner_t;

/* Where an alias leads. */
typedef struct fs_session_target_t {
    fs_session_key_t key;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    fs_usec_t until; /* then the old id is unknown */
} fs_session_target_t;

typedef struct fs_session_entry_t {
    const char *key;
    const char *value; /* NULL: a tombstone */
    uint32_t key_length;
    uint32_t value_length;
    fs_session_stamp_t stamp;
} fs_session_entry_t;

typedef struct fs_session_record_t {
    fs_session_state_t state;
    fs_session_stamp_t version; /* of the newest change: no entry's stamp is above it */
    fs_session_owner_t owner;
    fs_usec_t created;
    fs_usec_t ends; /* at the latest; 0: no absolute limit. Ended: until when that is remembered */
    fs_usec_t used; /* last request, to some seconds */
    fs_usec_t idle; /* ends so long after `used`; 0: no such limit */
    fs_session_target_t target;  /* of an alias */
    fs_session_stamp_t floor;    /* of a live one */
    fs_session_entry_t *entries; /* sorted by key; none unless live */
    uint32_t count;
} fs_session_record_t;

/* Less than, equal to or greater than 0. */
int fs_session_stamp_compare(const fs_session_stamp_t *a, const fs_session_stamp_t *b);
int fs_session_entry_compare_keys(const fs_session_entry_t *a, const fs_session_entry_t *b);

/* The entry of a key that has a value, or NULL. */
const fs_session_entry_t *fs_session_record_find(const fs_session_record_t *record, const char *key,
                                                 size_t length);
/* Has any entry a value? */
int fs_session_record_has_values(const fs_session_record_t *record);
/* When the record is forgotten; INT64_MAX if never. */
fs_usec_t fs_session_record_expires(const fs_session_record_t *record);

/*
 * A record has one encoding, and one that was decoded encodes to the same bytes again. Errors:
 * FS1203 a part is outside its limits (`record` is never written half).
 */
apr_status_t fs_session_record_encode(const fs_session_record_t *record, apr_pool_t *pool,
                                      const uint8_t **bytes, size_t *length, fs_result_t *result);

/* The same; the record's entries point into `bytes` afterwards, wherever they did before. */
apr_status_t fs_session_record_settle(fs_session_record_t *record, apr_pool_t *pool,
                                      const uint8_t **bytes, size_t *length, fs_result_t *result);

/* Checks everything. Entries borrow `bytes`. Errors: FS1204 damaged, or of a newer farmsync. */
apr_status_t fs_session_record_decode(fs_session_record_t *record, const void *bytes, size_t length,
                                      apr_pool_t *pool, fs_result_t *result);

#endif
