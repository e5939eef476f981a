/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over the store: what is to be sent, what has expired, all of it, numbers. */
#include "session/fs_session_store_internal.h"

#include <string.h>

typedef struct scan_t {
    fs_usec_t now;
    unsigned limit;
    fs_session_look_fn *look;
    void *baton;
    const fs_session_key_t *after;
    unsigned *shown;
    fs_usec_t *next;
} scan_t;

/* --- what is to be sent --------------------------------------------------------------------------
 */

/* Until when a session that changed at `since` may wait for the requests that are still at it. */
static fs_usec_t due_at(const fs_session_store_t *store, fs_usec_t since)
{
    return since < INT64_MAX - store->limits.flush ? since + store->limits.flush : INT64_MAX;
}

static int show_due(fs_session_store_t *store, MDB_txn *txn, scan_t *scan,
                    const fs_session_key_t *key, fs_usec_t since, int *stop)
{
    fs_usec_t due = due_at(store, since);
    const void *bytes;
    size_t length;
    slot_t slot;
    int error;

    if (fs_session_pending_count(store->pending, key)) {
        if (due > scan->now) {
            if (due < *scan->next)
                *scan->next = due;
            return 0;
        }
        fs_session_pending_forget(store->pending, key);
    }
    error = fs_session_slot_get(store, txn, key, &slot, &bytes, &length);
    if (error)
        return error;
    (*scan->shown)++;
    *stop = scan->look(scan->baton, key, &slot.note, bytes, length);
    return 0;
}

static int due_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    scan_t *scan = baton;
    MDB_val name, value;
    MDB_cursor *cursor;
    int stop = 0, error = mdb_cursor_open(txn, store->tables[DIRTY], &cursor);

    if (error)
        return error;
    *scan->shown = 0;
    *scan->next = INT64_MAX;
    error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
    while (!error && !stop) {
        fs_session_key_t key;
        fs_usec_t since;

        if (*scan->shown == scan->limit) {
            *scan->next = scan->now;
            break;
        }
        if (name.mv_size != TIME_KEY_BYTES) {
            error = MDB_CORRUPTED;
            break;
        }
        fs_session_time_key_read(name.mv_data, &since, &key);
        error = show_due(store, txn, scan, &key, since, &stop);
        if (!error || error == MDB_NOTFOUND)
            error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_due(fs_session_store_t *store, fs_usec_t now, unsigned limit,
                                  fs_session_look_fn *look, void *baton, unsigned *shown,
                                  fs_usec_t *next, fs_result_t *result)
{
    scan_t scan = {
        .now = now, .limit = limit, .look = look, .baton = baton, .shown = shown, .next = next};

    return fs_session_store_work(store, READS, due_work, &scan, result);
}

/* --- all -----------------------------------------------------------------------------------------
 */

static int show_each(scan_t *scan, const MDB_val *name, const MDB_val *value, int *stop)
{
    fs_session_key_t key;
    slot_t slot;

    if (name->mv_size != sizeof(key.bytes) || value->mv_size < sizeof(slot))
        return MDB_CORRUPTED;
    memcpy(key.bytes, name->mv_data, sizeof(key.bytes));
    if (scan->after && !fs_session_key_compare(&key, scan->after))
        return 0;
    memcpy(&slot, value->mv_data, sizeof(slot));
    (*scan->shown)++;
    *stop =
        scan->look(scan->baton, &key, &slot.note, (const uint8_t *)value->mv_data + sizeof(slot),
                   value->mv_size - sizeof(slot));
    return 0;
}

static int each_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    scan_t *scan = baton;
    MDB_val name = {0}, value;
    MDB_cursor *cursor;
    int stop = 0, error = mdb_cursor_open(txn, store->tables[MAIN], &cursor);

    if (error)
        return error;
    *scan->shown = 0;
    if (scan->after) {
        name.mv_size = FS_SESSION_KEY_BYTES;
        name.mv_data = (void *)scan->after->bytes;
    }
    error = mdb_cursor_get(cursor, &name, &value, scan->after ? MDB_SET_RANGE : MDB_FIRST);
    while (!error && !stop && *scan->shown < scan->limit) {
        error = show_each(scan, &name, &value, &stop);
        if (!error)
            error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_each(fs_session_store_t *store, const fs_session_key_t *after,
                                   unsigned limit, fs_session_look_fn *look, void *baton,
                                   unsigned *shown, fs_result_t *result)
{
    scan_t scan = {.limit = limit, .look = look, .baton = baton, .after = after, .shown = shown};

    return fs_session_store_work(store, READS, each_work, &scan, result);
}

/* --- expiry --------------------------------------------------------------------------------------
 */

typedef struct expiring_t {
    fs_usec_t now;
    unsigned limit;
    unsigned removed;
    int more;
} expiring_t;

/* Looks without the write lock whether anything has expired at all, or an index is behind. */
static int has_expired_work(fs_session_store_t *store, MDB_txn *txn, void *baton,
                            fs_result_t *result)
{
    expiring_t *expiring = baton;
    fs_session_key_t key;
    const void *bytes;
    fs_usec_t time;
    size_t length;
    slot_t slot;
    int error = fs_session_first(store, txn, EXPIRY, NULL, &time, &key);

    int nothing = error == MDB_NOTFOUND || (!error && time > expiring->now);

    if (!error || error == MDB_NOTFOUND)
        error = fs_session_first(store, txn, SAFE, NULL, &time, &key);
    if (!error)
        error = fs_session_slot_get(store, txn, &key, &slot, &bytes, &length);
    if (nothing && (error ? error == MDB_NOTFOUND : slot.safe_since == time))
        expiring->limit = 0;
    return error == MDB_NOTFOUND ? 0 : error;
}

static int expire_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    expiring_t *expiring = baton;
    unsigned step = 0;
    int error = 0, stale = 1;

    expiring->removed = 0;
    expiring->more = 1;
    for (; !error && expiring->more && step < expiring->limit && store->moved < TXN_BYTES; step++) {
        int removed;

        error = fs_session_expire_first(store, txn, expiring->now, &removed, &expiring->more);
        expiring->removed += (unsigned)removed;
    }
    for (; !error && stale && step < expiring->limit && store->moved < TXN_BYTES; step++) {
        fs_session_key_t key;
        slot_t slot;

        error = fs_session_first_safe(store, txn, NULL, &key, &slot, &stale);
    }
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_expire(fs_session_store_t *store, fs_usec_t now, unsigned limit,
                                     unsigned *removed, fs_result_t *result)
{
    expiring_t expiring = {.now = now, .limit = limit};
    apr_status_t status = fs_session_store_work(store, READS, has_expired_work, &expiring, result);
    unsigned left = expiring.limit;
    int dead;

    *removed = 0;
    for (expiring.more = left > 0; status == APR_SUCCESS && expiring.more && left;
         left -= expiring.limit) {
        expiring.limit = left < TXN_ITEMS ? left : TXN_ITEMS;
        status = fs_session_store_work(store, TIDIES, expire_work, &expiring, result);
        if (status == APR_SUCCESS)
            *removed += expiring.removed;
    }
    if (status != APR_SUCCESS)
        return status;
    mdb_reader_check(store->env, &dead);
    return APR_SUCCESS;
}

/* --- numbers -------------------------------------------------------------------------------------
 */

static int count_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    fs_session_counts_t *counts = baton;
    MDB_stat stats[TABLES];
    fs_session_key_t key;
    int error = 0;

    for (unsigned i = 0; !error && i < TABLES; i++)
        error = mdb_stat(txn, store->tables[i], &stats[i]);
    if (error)
        return error;
    counts->bytes = fs_session_bytes(&stats[MAIN]);
    counts->sessions = stats[MAIN].ms_entries;
    counts->dirty = stats[DIRTY].ms_entries;
    counts->safe = counts->sessions - counts->dirty;
    error = fs_session_first(store, txn, DIRTY, NULL, &counts->oldest_dirty, &key);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_count(fs_session_store_t *store, fs_session_counts_t *counts,
                                    fs_result_t *result)
{
    memset(counts, 0, sizeof(*counts));
    return fs_session_store_work(store, READS, count_work, counts, result);
}
