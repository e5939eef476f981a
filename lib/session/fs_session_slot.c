/* SPDX-License-Identifier: Apache-2.0 */
/* A session's place in the store's tables: its slot and the indexes by time, always changed
 * together. */
#include "session/fs_session_store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_BYTES 4096 /* sessions that are copied without allocating */

static void time_key(uint8_t bytes[TIME_KEY_BYTES], fs_usec_t time, const fs_session_key_t *key)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)time >> (56 - 8 * i));
    memcpy(bytes + 8, key->bytes, FS_SESSION_KEY_BYTES);
}

void fs_session_time_key_read(const void *bytes, fs_usec_t *time, fs_session_key_t *key)
{
    const uint8_t *at = bytes;
    uint64_t number = 0;

    for (unsigned i = 0; i < 8; i++)
        number = number << 8 | at[i];
    *time = (fs_usec_t)number;
    memcpy(key->bytes, at + 8, FS_SESSION_KEY_BYTES);
}

static MDB_val key_val(const fs_session_key_t *key)
{
    MDB_val val = {FS_SESSION_KEY_BYTES, (void *)key->bytes};

    return val;
}

int fs_session_slot_get(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                        slot_t *slot, const void **bytes, size_t *length)
{
    MDB_val name = key_val(key), value;
    int error = mdb_get(txn, store->tables[MAIN], &name, &value);

    if (error)
        return error;
    if (value.mv_size < sizeof(*slot))
        return MDB_CORRUPTED;
    memcpy(slot, value.mv_data, sizeof(*slot)); /* LMDB aligns by 2 only */
    *bytes = (const uint8_t *)value.mv_data + sizeof(*slot);
    *length = value.mv_size - sizeof(*slot);
    return 0;
}

/* Moves a session's key in an index; a time of 0 is not in it. */
static int reindex(fs_session_store_t *store, MDB_txn *txn, table_t table,
                   const fs_session_key_t *key, fs_usec_t from, fs_usec_t to)
{
    uint8_t bytes[TIME_KEY_BYTES];
    MDB_val name = {sizeof(bytes), bytes}, nothing = {0, ""};
    int error = 0;

    if (from == to)
        return 0;
    if (from) {
        time_key(bytes, from, key);
        error = mdb_del(txn, store->tables[table], &name, NULL);
        if (error == MDB_NOTFOUND)
            error = 0;
    }
    if (!error && to) {
        time_key(bytes, to, key);
        error = mdb_put(txn, store->tables[table], &name, &nothing, 0);
    }
    return error;
}

static int reindex_all(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                       const slot_t *old, const slot_t *slot)
{
    static const slot_t none;
    int error;

    old = old ? old : &none;
    slot = slot ? slot : &none;
    if (!(error = reindex(store, txn, EXPIRY, key, old->indexed, slot->indexed)) &&
        !(error = reindex(store, txn, DIRTY, key, old->note.dirty_since, slot->note.dirty_since)))
        error = reindex(store, txn, SAFE, key, old->safe_indexed, slot->safe_indexed);
    if (!error)
        error = reindex(store, txn, AHEAD, key, old->note.ahead, slot->note.ahead);
    if (!error && old->note.released && !slot->note.released) {
        MDB_val name = key_val(key);

        error = mdb_del(txn, store->tables[RELEASED], &name, NULL);
        if (error == MDB_NOTFOUND)
            error = 0;
    }
    return error;
}

int fs_session_slot_put(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                        const slot_t *old, const slot_t *slot, const void *bytes, size_t length)
{
    MDB_val name = key_val(key), value = {sizeof(*slot) + length, NULL};
    int error = mdb_put(txn, store->tables[MAIN], &name, &value, MDB_RESERVE);

    if (error)
        return error;
    store->moved += value.mv_size;
    memcpy(value.mv_data, slot, sizeof(*slot));
    memcpy((uint8_t *)value.mv_data + sizeof(*slot), bytes, length);
    return reindex_all(store, txn, key, old, slot);
}

int fs_session_slot_update(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           const slot_t *old, const slot_t *slot)
{
    MDB_val name = key_val(key), value;
    uint8_t small[SMALL_BYTES], *copy; /* of the record too: a value is written whole */
    int error = mdb_get(txn, store->tables[MAIN], &name, &value);

    if (error || !memcmp(old, slot, sizeof(*slot)))
        return error;
    copy = value.mv_size <= sizeof(small) ? small : malloc(value.mv_size);
    if (!copy)
        return ENOMEM;
    memcpy(copy, value.mv_data, value.mv_size);
    memcpy(copy, slot, sizeof(*slot));
    value.mv_data = copy;
    store->moved += value.mv_size;
    error = mdb_put(txn, store->tables[MAIN], &name, &value, 0);
    if (copy != small)
        free(copy);
    return error ? error : reindex_all(store, txn, key, old, slot);
}

int fs_session_slot_remove(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           const slot_t *slot)
{
    MDB_val name = key_val(key);
    int error = mdb_del(txn, store->tables[MAIN], &name, NULL);

    return error ? error : reindex_all(store, txn, key, slot, NULL);
}

int fs_session_first(fs_session_store_t *store, MDB_txn *txn, table_t table,
                     const fs_session_key_t *but, fs_usec_t *time, fs_session_key_t *key)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, store->tables[table], &cursor);

    if (error)
        return error;
    error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
    while (!error) {
        if (name.mv_size != TIME_KEY_BYTES) {
            error = MDB_CORRUPTED;
            break;
        }
        fs_session_time_key_read(name.mv_data, time, key);
        if (!but || fs_session_key_compare(key, but))
            break;
        error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return error;
}

int fs_session_expire_first(fs_session_store_t *store, MDB_txn *txn, fs_usec_t now, int *removed,
                            int *more)
{
    fs_session_key_t key;
    slot_t slot, later;
    const void *bytes;
    size_t length;
    fs_usec_t time;
    int error = fs_session_first(store, txn, EXPIRY, NULL, &time, &key);

    *removed = 0;
    *more = !error && time <= now;
    if (!*more)
        return error == MDB_NOTFOUND ? 0 : error;
    error = fs_session_slot_get(store, txn, &key, &slot, &bytes, &length);
    if (error == MDB_NOTFOUND || (!error && slot.indexed != time))
        return reindex(store, txn, EXPIRY, &key, time, 0);
    if (error)
        return error;
    if (slot.note.expires <= now) {
        *removed = 1;
        return fs_session_slot_remove(store, txn, &key, &slot);
    }
    later = slot; /* it was used since it was indexed */
    later.indexed = slot.note.expires == INT64_MAX ? 0 : slot.note.expires;
    return fs_session_slot_update(store, txn, &key, &slot, &later);
}

int fs_session_first_safe(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *but,
                          fs_session_key_t *key, slot_t *slot, int *stale)
{
    slot_t right;
    const void *bytes;
    fs_usec_t since;
    size_t length;
    int error = fs_session_first(store, txn, SAFE, but, &since, key);

    *stale = 0;
    if (error)
        return error;
    error = fs_session_slot_get(store, txn, key, slot, &bytes, &length);
    *stale = error == MDB_NOTFOUND || (!error && slot->safe_since != since);
    if (!*stale)
        return error;
    if (error || slot->safe_indexed != since)
        return reindex(store, txn, SAFE, key, since, 0);
    right = *slot;
    right.safe_indexed = slot->safe_since;
    return fs_session_slot_update(store, txn, key, slot, &right);
}

uint64_t fs_session_bytes(const MDB_stat *main)
{
    return (uint64_t)main->ms_psize *
           (main->ms_branch_pages + main->ms_leaf_pages + main->ms_overflow_pages);
}
