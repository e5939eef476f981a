/* SPDX-License-Identifier: Apache-2.0 */
/* The store's environment, transactions, and reading. */
#include "session/fs_session_store_internal.h"

#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_lmdb.h"

#define MAP_BESIDE    (UINT64_C(64) << 20)
#define DEFAULT_BYTES (UINT64_C(1) << 30)
#define LEAST_BYTES   (UINT64_C(1) << 20)
#define TRIES         24 /* of a transaction whose map changes under it */

apr_status_t fs_session_store_failed(int error, const char *what, fs_result_t *result)
{
    apr_status_t status = error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL;

    return fs_result_set(result, status, "FS1210", "cannot %s the session store: %s; %s", what,
                         mdb_strerror(error), fs_lmdb_remedy(error));
}

int fs_session_refuse(fs_result_t *result, apr_status_t status)
{
    result->status = status;
    return REFUSED;
}

/* --- open and close ------------------------------------------------------------------------------
 */

static int read_env(fs_session_store_t *store)
{
    unsigned flags;
    MDB_stat stat;
    MDB_txn *txn;
    int error;

    if ((error = mdb_env_stat(store->env, &stat)) ||
        (error = mdb_env_get_flags(store->env, &flags)) ||
        (error = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn)))
        return error;
    store->page_bytes = stat.ms_psize;
    store->maps_writes = (flags & MDB_WRITEMAP) != 0;
    error = fs_lmdb_get_number(txn, store->tables[META], "writer", &store->writer);
    mdb_txn_abort(txn);
    return error ? error : store->writer ? 0 : MDB_INVALID;
}

static void take_limits(fs_session_store_t *store, const fs_session_limits_t *limits)
{
    store->limits = *limits;
    if (!store->limits.session_bytes || store->limits.session_bytes > FS_SESSION_RECORD_LIMIT)
        store->limits.session_bytes = FS_SESSION_RECORD_LIMIT;
    if (!store->limits.store_bytes)
        store->limits.store_bytes = DEFAULT_BYTES;
    if (store->limits.store_bytes < LEAST_BYTES)
        store->limits.store_bytes = LEAST_BYTES;
    /* The limit counts the sessions; the map also holds indexes and pages that wait for readers. */
    store->map_limit = (size_t)(2 * store->limits.store_bytes + MAP_BESIDE);
}

/* As a thread ends, and the store may have been closed before: frees memory only, for the place in
 * LMDB's table of readers is the thread's, not the transaction's. */
static void end_reader(void *txn)
{
    mdb_txn_abort(txn);
}

apr_status_t fs_session_store_open(fs_session_store_t **store, const char *dir, const char *name,
                                   const fs_session_limits_t *limits, fs_result_t *result)
{
    fs_session_store_t *made = calloc(1, sizeof(*made));
    char pending[PATH_MAX];
    int error = made ? 0 : ENOMEM;
    apr_status_t status = APR_SUCCESS;

    *store = NULL;
    if (!error) {
        pthread_rwlock_init(&made->map_lock, NULL);
        made->has_readers = !pthread_key_create(&made->readers, end_reader);
        snprintf(made->name, sizeof(made->name), "%s", name);
        take_limits(made, limits);
        made->here = fs_lmdb_mark();
        made->dir = strdup(dir);
        error = made->here && made->dir
                    ? fs_session_env_open(&made->env, made->tables, dir, made->map_limit, 0)
                    : ENOMEM;
    }
    if (!error)
        error = read_env(made);
    if (error)
        status = fs_session_store_failed(error, "open", result);
    snprintf(pending, sizeof(pending), "%s/pending", dir);
    if (!error)
        status = fs_session_pending_open(&made->pending, pending, result);
    if (status == APR_SUCCESS)
        status = fs_session_bell_open(&made->bell, dir, result);
    if (status == APR_SUCCESS)
        status = fs_session_space_open(&made->space, dir, result);
    if (status != APR_SUCCESS) {
        fs_session_store_close(made);
        return status;
    }
    *store = made;
    return APR_SUCCESS;
}

void fs_session_store_close(fs_session_store_t *store)
{
    if (!store || (store->here && !*store->here))
        return;
    if (store->has_readers) {
        MDB_txn *txn = pthread_getspecific(store->readers);

        pthread_key_delete(store->readers);
        if (txn)
            mdb_txn_abort(txn);
    }
    if (store->env)
        mdb_env_close(store->env);
    fs_session_pending_close(store->pending);
    fs_session_bell_close(store->bell);
    fs_session_space_close(store->space);
    free(store->dir);
    fs_lmdb_unmark(store->here);
    pthread_rwlock_destroy(&store->map_lock);
    free(store);
}

fs_session_writer_t fs_session_store_writer(const fs_session_store_t *store, fs_usec_t now)
{
    fs_session_writer_t writer = {store->writer, store->name, now};

    return writer;
}

/* --- transactions --------------------------------------------------------------------------------
 */

/* Another process has a larger map, for its limits are others, and used it. */
static int follow_map(fs_session_store_t *store)
{
    int error;

    pthread_rwlock_wrlock(&store->map_lock);
    error = fs_session_env_follow(store);
    pthread_rwlock_unlock(&store->map_lock);
    return error;
}

static int begin_txn(fs_session_store_t *store, int writes, MDB_txn **txn)
{
    int error = mdb_txn_begin(store->env, NULL, writes ? 0 : MDB_RDONLY, txn), dead;

    if (error != MDB_READERS_FULL || mdb_reader_check(store->env, &dead))
        return error;
    return mdb_txn_begin(store->env, NULL, writes ? 0 : MDB_RDONLY, txn);
}

/* What a thread has from its last time: making one costs more than reading. */
static int begin_reading(fs_session_store_t *store, MDB_txn **txn)
{
    int error = MDB_BAD_TXN;

    *txn = store->has_readers ? pthread_getspecific(store->readers) : NULL;
    if (*txn)
        error = mdb_txn_renew(*txn);
    if (!error || error == MDB_MAP_RESIZED || error == EINVAL) /* the last: it is being used */
        return error;
    if (*txn) {
        pthread_setspecific(store->readers, NULL);
        mdb_txn_abort(*txn);
    }
    error = begin_txn(store, 0, txn);
    if (!error && store->has_readers && pthread_setspecific(store->readers, *txn)) {
        mdb_txn_abort(*txn);
        error = ENOMEM;
    }
    return error;
}

static void end_reading(const fs_session_store_t *store, MDB_txn *txn)
{
    if (store->has_readers)
        mdb_txn_reset(txn);
    else
        mdb_txn_abort(txn);
}

static int work_once(fs_session_store_t *store, kind_t kind, fs_session_work_fn *work, void *baton,
                     fs_result_t *result)
{
    MDB_txn *txn;
    int error;

    pthread_rwlock_rdlock(&store->map_lock);
    error = kind == READS ? begin_reading(store, &txn) : begin_txn(store, 1, &txn);
    if (!error && kind == READS) {
        error = work(store, txn, baton, result);
        end_reading(store, txn);
    } else if (!error) {
        store->moved = 0;
        error = fs_session_env_reserve(store, kind == ADDS, &store->tight);
        if (!error)
            error = work(store, txn, baton, result);
        if (!error)
            error = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    pthread_rwlock_unlock(&store->map_lock);
    return error;
}

apr_status_t fs_session_store_work(fs_session_store_t *store, kind_t kind, fs_session_work_fn *work,
                                   void *baton, fs_result_t *result)
{
    int error = 0;

    if (!*store->here)
        return fs_result_set(result, APR_EGENERAL, "FS1212",
                             "the session store was opened before a fork; open it in each process "
                             "of its own (child_init)");
    for (unsigned i = 0; i < TRIES; i++) {
        error = work_once(store, kind, work, baton, result);
        if (error != MDB_MAP_RESIZED || (error = follow_map(store)))
            break;
    }
    if (error == REFUSED)
        return result->status;
    if (error == MDB_NOTFOUND)
        return APR_NOTFOUND;
    if (error == MDB_MAP_FULL)
        error = ENOSPC;
    return error ? fs_session_store_failed(error, kind != READS ? "write to" : "read", result)
                 : APR_SUCCESS;
}

/* --- reading -------------------------------------------------------------------------------------
 */

typedef struct looking_t {
    const fs_session_key_t *key;
    fs_session_look_fn *look;
    void *baton;
} looking_t;

static int look_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    looking_t *looking = baton;
    const void *bytes;
    size_t length;
    slot_t slot;
    int error = fs_session_slot_get(store, txn, looking->key, &slot, &bytes, &length);

    if (!error)
        looking->look(looking->baton, looking->key, &slot.note, bytes, length);
    return error;
}

apr_status_t fs_session_store_look(fs_session_store_t *store, const fs_session_key_t *key,
                                   fs_session_look_fn *look, void *baton, fs_result_t *result)
{
    looking_t looking = {key, look, baton};

    return fs_session_store_work(store, READS, look_work, &looking, result);
}

typedef struct copying_t {
    fs_usec_t now;
    apr_pool_t *pool;
    fs_session_note_t note;
    void *bytes;
    size_t length;
} copying_t;

static int copy_record(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                       const void *bytes, size_t length)
{
    copying_t *copying = baton;

    if (note->expires <= copying->now || note->released)
        return 0;
    copying->note = *note;
    copying->bytes = apr_pmemdup(copying->pool, bytes, length);
    copying->length = length;
    return 0;
}

apr_status_t fs_session_store_read(fs_session_store_t *store, const fs_session_key_t *key,
                                   fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                   fs_session_note_t *note, fs_result_t *result)
{
    copying_t copying = {.now = now, .pool = pool};
    apr_status_t status = fs_session_store_look(store, key, copy_record, &copying, result);

    if (status != APR_SUCCESS)
        return status;
    if (!copying.bytes)
        return APR_NOTFOUND;
    if (note)
        *note = copying.note;
    return fs_session_record_decode(record, copying.bytes, copying.length, pool, result);
}

/* --- pending requests ----------------------------------------------------------------------------
 */

void fs_session_store_begin(fs_session_store_t *store, const fs_session_key_t *key)
{
    fs_session_pending_begin(store->pending, key);
}

void fs_session_store_done(fs_session_store_t *store, const fs_session_key_t *key)
{
    fs_session_pending_done(store->pending, key);
}

unsigned fs_session_store_pending(const fs_session_store_t *store, const fs_session_key_t *key)
{
    return fs_session_pending_count(store->pending, key);
}
