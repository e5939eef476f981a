/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share. Not for users of the library. */
#ifndef FS_SESSION_STORE_INTERNAL_H
#define FS_SESSION_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>

#include "session/fs_session_bell.h"
#include "session/fs_session_pending.h"
#include "session/fs_session_store.h"

#define TIME_KEY_BYTES (8 + FS_SESSION_KEY_BYTES) /* big endian, so that LMDB sorts by time */

typedef enum table_t { MAIN, EXPIRY, DIRTY, SAFE, RELEASED, AHEAD, META, TABLES } table_t;

typedef struct fs_session_space_t fs_session_space_t;

struct fs_session_store_t {
    MDB_env *env;
    MDB_dbi tables[TABLES];
    /* Held for reading by everybody who has a transaction, for writing by who changes the map's
     * size. */
    pthread_rwlock_t map_lock;
    size_t map_limit;
    size_t page_bytes;
    int maps_writes; /* MDB_WRITEMAP */
    int has_readers;
    pthread_key_t readers; /* of each thread: a transaction that reads, to be used again */
    int tight;       /* the disk has no space beyond what is reserved; the writer's */
    size_t moved;    /* bytes of records that were written in this transaction; the writer's */
    char *dir;
    fs_session_space_t *space;
    fs_session_limits_t limits;
    fs_session_pending_t *pending;
    fs_session_bell_t *bell;
    uint64_t writer;
    char name[FS_SESSION_NAME_SIZE];
    int *here; /* 1 in the process that opened it; the kernel wipes it in a forked child */
};

/* What one transaction may change at most, for space on the disk is reserved before it begins:
 * after so many sessions, or so many bytes of records (store->moved), the rest waits for the next
 * one. */
#define TXN_ITEMS 256
#define TXN_BYTES (1 << 20)

/* What stands before the record in MAIN. */
typedef struct slot_t {
    fs_session_note_t note;
    fs_usec_t indexed;      /* in EXPIRY; not later than note.expires */
    fs_usec_t safe_since;   /* 0: it isn't */
    fs_usec_t safe_indexed; /* in SAFE; not later than safe_since. 0: it isn't there */
    fs_usec_t changed;      /* the last change that is to be carried */
    uint32_t changes;       /* that weren't carried yet */
    uint32_t at_once;       /* it is to be carried whatever their number is */
} slot_t;

/* Returned by work functions beside LMDB's and the system's errors: `result` says what it is. */
#define REFUSED 1000000

/* Does something in a transaction: returns 0, an error of LMDB or the system, or REFUSED. It is
 * called again if the map had to grow. */
typedef int fs_session_work_fn(fs_session_store_t *store, MDB_txn *txn, void *baton,
                               fs_result_t *result);
typedef enum kind_t { READS, TIDIES, ADDS } kind_t; /* the last two write */
apr_status_t fs_session_store_work(fs_session_store_t *store, kind_t kind, fs_session_work_fn *work,
                                   void *baton, fs_result_t *result);

/* Records and returns REFUSED, with the status in result->status. */
int fs_session_refuse(fs_result_t *result, apr_status_t status);

apr_status_t fs_session_store_failed(int error, const char *what, fs_result_t *result);

/* --- fs_session_env.c ----------------------------------------------------------------------------
 */

/* Opens LMDB's environment and tables; `map` its size, 0: as it was; `make`: also makes what isn't
 * there. Returns 0 or an error. */
int fs_session_env_open(MDB_env **env, MDB_dbi tables[TABLES], const char *dir, size_t map,
                        int make);
/* Takes over the size that another process gave the map. Nobody has a transaction. */
int fs_session_env_follow(fs_session_store_t *store);

/* Space on the disk for a store that is made. */
int fs_session_env_reserve_first(MDB_env *env);
/* In a transaction that writes, before it does: space for all that it may write. `adds`: it makes
 * the store larger; `tight`: the disk has no more than what is reserved. Returns 0, ENOSPC or
 * another error. */
int fs_session_env_reserve(fs_session_store_t *store, int adds, int *tight);

/* What all processes know of the space on the disk: the file `space`. Errors: FS1216. */
apr_status_t fs_session_space_open(fs_session_space_t **space, const char *dir,
                                   fs_result_t *result);
void fs_session_space_close(fs_session_space_t *space);

/* --- fs_session_slot.c ---------------------------------------------------------------------------
 */

void fs_session_time_key_read(const void *bytes, fs_usec_t *time, fs_session_key_t *key);

/* The slot of a key and the record behind it, in the map. MDB_NOTFOUND. */
int fs_session_slot_get(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                        slot_t *slot, const void **bytes, size_t *length);
/* Changes a slot's note or indexes, not its record; `old` is what stands there. */
int fs_session_slot_update(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           const slot_t *old, const slot_t *slot);
/* Stores a slot with its record; `old` NULL: a new one. */
int fs_session_slot_put(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                        const slot_t *old, const slot_t *slot, const void *bytes, size_t length);
int fs_session_slot_remove(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           const slot_t *slot);
/* The first key of a table of times, passing over `but` (or NULL). MDB_NOTFOUND. */
int fs_session_first(fs_session_store_t *store, MDB_txn *txn, table_t table,
                     const fs_session_key_t *but, fs_usec_t *time, fs_session_key_t *key);
/* If the first session in EXPIRY has expired, removes it; `removed`. `more` 0: none may have. */
int fs_session_expire_first(fs_session_store_t *store, MDB_txn *txn, fs_usec_t now, int *removed,
                            int *more);
/* --- changes -------------------------------------------------------------------------------------
 */

/* What one change works with. */
typedef struct change_t {
    const fs_session_save_t *save;
    const fs_session_record_t *copy; /* merging */
    const fs_session_target_t *target;
    const uint8_t *seal;
    fs_session_key_t key;
    fs_usec_t now; /* 0: what has expired is there, too */
    apr_pool_t *pool;
    fs_session_record_t *record; /* what is there afterwards */
    uint64_t checked;            /* the session is this host's, as compared then; 0: as before */
    slot_t slot;                 /* what was loaded last */
    int released;                /* it is another host's */
    int borrow;                  /* what is loaded points into the map; it is stored before that
                                    changes */
    int stored;                  /* the bell is to be rung: 1, 2 urgently */
} change_t;

/* Reads a session. One that has expired, or whose record is damaged, is removed: it isn't there. */
int fs_session_change_load(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           change_t *change, int *there, fs_result_t *result);
/* The same; through aliases to where they lead, and `key` becomes that. */
int fs_session_change_load_target(fs_session_store_t *store, MDB_txn *txn, fs_session_key_t *key,
                                  change_t *change, int *there, fs_result_t *result);
/* Stores change->record, which is from then on in the pool, for the map changes under it. `old` is
 * what stands there, NULL: nothing. */
int fs_session_change_store(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                            const slot_t *old, const uint8_t *seal, change_t *change, int urgent,
                            fs_result_t *result);
/* Does the work, and rings if something is to be sent. */
apr_status_t fs_session_change_work(fs_session_store_t *store, fs_session_work_fn *work,
                                    change_t *change, fs_result_t *result);

/* The session that is safe for the longest, passing over `but` (or NULL). `stale`: the index was
 * behind for one, which is put right; look again. MDB_NOTFOUND: none is safe. */
int fs_session_first_safe(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *but,
                          fs_session_key_t *key, slot_t *slot, int *stale);
/* Bytes of all sessions. */
uint64_t fs_session_bytes(const MDB_stat *main);

/* --- fs_session_store_ahead.c --------------------------------------------------------------------
 */

/* The session changes: notes that its alternate is to get it. `ahead` NULL: as it was. */
void fs_session_ahead_note(slot_t *slot, const fs_session_ahead_t *ahead, int live, fs_usec_t now);

#endif
