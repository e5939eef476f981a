/* SPDX-License-Identifier: Apache-2.0 */
/* A visitor's slot, and what is kept in step with it. */
#define XXH_INLINE_ALL
#include "route/fs_route_store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint32_t fs_route_seconds(fs_usec_t time)
{
    return time <= 0                                      ? 0
           : time / FS_USEC_PER_SEC > (int64_t)UINT32_MAX ? UINT32_MAX
                                                          : (uint32_t)(time / FS_USEC_PER_SEC);
}

static void put_be32(uint8_t *out, uint32_t number)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get_be32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

void fs_route_pair_key(uint8_t key[HOME_KEY_BYTES], uint32_t number,
                       const uint8_t id[FS_ROUTE_ID_BYTES])
{
    put_be32(key, number);
    memcpy(key + 4, id, FS_ROUTE_ID_BYTES);
}

uint32_t fs_route_pair_number(const void *key)
{
    return get_be32(key);
}

/* --- servers -------------------------------------------------------------------------------------
 */

static int find_row(const fs_route_store_t *store, MDB_txn *txn, uint32_t number, MDB_val *value)
{
    uint8_t bytes[4];
    MDB_val key = {sizeof(bytes), bytes};
    int error;

    put_be32(bytes, number);
    error = mdb_get(txn, store->tables[SERVERS], &key, value);
    if (!error && (value->mv_size <= sizeof(row_t) || value->mv_size > ROW_MOST))
        error = MDB_CORRUPTED;
    return error;
}

int fs_route_row_get(const fs_route_store_t *store, MDB_txn *txn, uint32_t number, row_t *row)
{
    MDB_val value;
    int error = find_row(store, txn, number, &value);

    if (!error)
        memcpy(row, value.mv_data, sizeof(*row));
    return error;
}

int fs_route_row_put(const fs_route_store_t *store, MDB_txn *txn, uint32_t number, const row_t *row)
{
    uint8_t bytes[4], whole[ROW_MOST];
    MDB_val key = {sizeof(bytes), bytes}, value;
    int error = find_row(store, txn, number, &value);

    if (error)
        return error;
    memcpy(whole, value.mv_data, value.mv_size);
    memcpy(whole, row, sizeof(*row));
    put_be32(bytes, number);
    value.mv_data = whole;
    return mdb_put(txn, store->tables[SERVERS], &key, &value, 0);
}

/* The next number, from 1 on. */
static int take_number(fs_route_store_t *store, MDB_txn *txn, uint32_t *number)
{
    MDB_val key = {4, "next"}, value;
    int error = mdb_get(txn, store->tables[META], &key, &value);
    uint32_t next = 1;

    if (!error && value.mv_size == sizeof(next))
        memcpy(&next, value.mv_data, sizeof(next));
    else if (error != MDB_NOTFOUND)
        return error ? error : MDB_CORRUPTED;
    if (next >= NAME_BLOCKS * NAME_BLOCK)
        return MDB_MAP_FULL;
    *number = next++;
    value.mv_size = sizeof(next);
    value.mv_data = &next;
    return mdb_put(txn, store->tables[META], &key, &value, 0);
}

static int make_server(fs_route_store_t *store, MDB_txn *txn, const char *name, uint32_t *number)
{
    uint8_t bytes[4], whole[ROW_MOST];
    size_t length = strlen(name);
    row_t row = {.hash = XXH3_64bits(name, length)};
    MDB_val key = {length, (void *)(uintptr_t)name}, value = {sizeof(*number), number};
    int error = take_number(store, txn, number);

    if (!error)
        error = mdb_put(txn, store->tables[NAMES], &key, &value, 0);
    if (error)
        return error;
    memcpy(whole, &row, sizeof(row));
    memcpy(whole + sizeof(row), name, length);
    put_be32(bytes, *number);
    key = (MDB_val){sizeof(bytes), bytes};
    value = (MDB_val){sizeof(row) + length, whole};
    return mdb_put(txn, store->tables[SERVERS], &key, &value, 0);
}

int fs_route_number(fs_route_store_t *store, MDB_txn *txn, const char *name, int make,
                    uint32_t *number)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name}, value;
    int error;

    *number = 0;
    if (!key.mv_size)
        return 0;
    if (key.mv_size >= FS_ROUTE_NAME_SIZE)
        return MDB_BAD_VALSIZE;
    error = mdb_get(txn, store->tables[NAMES], &key, &value);
    if (error == MDB_NOTFOUND && make)
        return make_server(store, txn, name, number);
    if (!error && value.mv_size != sizeof(*number))
        error = MDB_CORRUPTED;
    if (!error)
        memcpy(number, value.mv_data, sizeof(*number));
    return error;
}

static name_block_t *name_block(fs_route_store_t *store, uint32_t number)
{
    _Atomic(name_block_t *) *at = &store->names[number / NAME_BLOCK];
    name_block_t *block = atomic_load(at), *made;

    if (block || !(made = calloc(1, sizeof(*made))))
        return block;
    if (atomic_compare_exchange_strong(at, &block, made))
        return made;
    free(made);
    return block;
}

const char *fs_route_name(fs_route_store_t *store, MDB_txn *txn, uint32_t number)
{
    name_block_t *block;
    char *name, *made;
    MDB_val value;

    if (!number || number >= NAME_BLOCKS * NAME_BLOCK || !(block = name_block(store, number)))
        return "";
    name = atomic_load_explicit(&(*block)[number % NAME_BLOCK], memory_order_acquire);
    if (name || find_row(store, txn, number, &value))
        return name ? name : "";
    made = strndup((const char *)value.mv_data + sizeof(row_t), value.mv_size - sizeof(row_t));
    if (!made)
        return "";
    if (atomic_compare_exchange_strong(&(*block)[number % NAME_BLOCK], &name, made))
        return made;
    free(made);
    return name;
}

/* --- the log -------------------------------------------------------------------------------------
 */

static int log_end(MDB_cursor *cursor, MDB_cursor_op op, uint64_t *sequence)
{
    MDB_val key, value;
    int error = mdb_cursor_get(cursor, &key, &value, op);

    *sequence = 0;
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (key.mv_size != 8)
        return MDB_CORRUPTED;
    *sequence = (uint64_t)get_be32(key.mv_data) << 32 | get_be32((uint8_t *)key.mv_data + 4);
    return 0;
}

int fs_route_log_range(const fs_route_store_t *store, MDB_txn *txn, uint64_t *first, uint64_t *last)
{
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, store->tables[LOG], &cursor);

    if (error)
        return error;
    if (first)
        error = log_end(cursor, MDB_FIRST, first);
    if (!error)
        error = log_end(cursor, MDB_LAST, last);
    mdb_cursor_close(cursor);
    return error;
}

static int log_trim(const fs_route_store_t *store, MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t count;
    int error = fs_route_entries(store, txn, LOG, &count);

    if (error || count <= store->limits.log)
        return error;
    error = mdb_cursor_open(txn, store->tables[LOG], &cursor);
    if (error)
        return error;
    /* Two for each that is added, so that a smaller limit is reached too. */
    for (unsigned i = 0; !error && i < 2 && count-- > store->limits.log; i++)
        if (!(error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)))
            error = mdb_cursor_del(cursor, 0);
    mdb_cursor_close(cursor);
    return error;
}

static int log_add(const fs_route_store_t *store, MDB_txn *txn, const uint8_t *id)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof(bytes), bytes}, value = {FS_ROUTE_ID_BYTES, (void *)(uintptr_t)id};
    uint64_t last;
    int error = fs_route_log_range(store, txn, NULL, &last);

    if (error)
        return error;
    last++;
    put_be32(bytes, (uint32_t)(last >> 32));
    put_be32(bytes + 4, (uint32_t)last);
    error = mdb_put(txn, store->tables[LOG], &key, &value, MDB_APPEND);
    return error ? error : log_trim(store, txn);
}

/* --- slots ---------------------------------------------------------------------------------------
 */

int fs_route_entries(const fs_route_store_t *store, MDB_txn *txn, table_t table, uint64_t *count)
{
    MDB_stat stat;
    int error = mdb_stat(txn, store->tables[table], &stat);

    *count = error ? 0 : stat.ms_entries;
    return error;
}

int fs_route_check_room(fs_route_store_t *store, MDB_txn *txn, int unconfirmed, fs_result_t *result)
{
    uint64_t count = 0;
    int error = fs_route_entries(store, txn, VISITORS, &count);

    if (!error && count < store->limits.visitors) {
        if (!unconfirmed)
            return 0;
        error = fs_route_entries(store, txn, FRESH, &count);
        if (!error && count < store->limits.unconfirmed)
            return 0;
    }
    if (error)
        return error;
    fs_result_set(
        result, APR_ENOSPC, "FS1616",
        "no more visitors fit into the store of visitors (there are %llu): those who come "
        "back are taken when others have left; raise FarmSyncCapacity, or shorten "
        "FarmSyncRouteIdle",
        (unsigned long long)count);
    return REFUSED;
}

int fs_route_slot_get(const fs_route_store_t *store, MDB_txn *txn,
                      const uint8_t id[FS_ROUTE_ID_BYTES], slot_t *slot)
{
    MDB_val key = {FS_ROUTE_ID_BYTES, (void *)(uintptr_t)id}, value;
    int error = mdb_get(txn, store->tables[VISITORS], &key, &value);

    if (!error && value.mv_size != sizeof(*slot))
        error = MDB_CORRUPTED;
    if (!error)
        memcpy(slot, value.mv_data, sizeof(*slot));
    return error;
}

static uint8_t *put_le(uint8_t *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *out++ = (uint8_t)(number >> 8 * i);
    return out;
}

/* What a visitor adds to the digest of its home: the same on all servers. */
static uint64_t fingerprint(const uint8_t *id, const slot_t *slot, uint64_t primary,
                            uint64_t alternate)
{
    uint8_t bytes[FS_ROUTE_ID_BYTES + 4 + 8 + 8], *at = bytes;

    memcpy(at, id, FS_ROUTE_ID_BYTES);
    at = put_le(at + FS_ROUTE_ID_BYTES, slot->generation, 4);
    at = put_le(at, primary, 8);
    put_le(at, alternate, 8);
    return XXH3_64bits(bytes, sizeof(bytes));
}

/* Counts a visitor in (1) or out (-1) at its home and at its alternate. */
static int count_slot(fs_route_store_t *store, MDB_txn *txn, const uint8_t *id, const slot_t *slot,
                      int more)
{
    uint64_t step = (uint64_t)(int64_t)more; /* wraps round, as it is added to what is there */
    row_t home, alternate = {.hash = 0};
    int error = fs_route_row_get(store, txn, slot->primary, &home);

    if (!error && slot->alternate)
        error = fs_route_row_get(store, txn, slot->alternate, &alternate);
    if (error)
        return error;
    if (slot->alternate) {
        alternate.total.alternates += step;
        if (slot->primary == store->self)
            alternate.total.given += step;
        if (slot->alternate == slot->primary)
            home = alternate;
        else
            error = fs_route_row_put(store, txn, slot->alternate, &alternate);
    }
    home.total.primaries += step;
    if (slot->confirmed)
        home.total.digest ^= fingerprint(id, slot, home.hash, alternate.hash);
    else
        home.total.unconfirmed += step;
    return error ? error : fs_route_row_put(store, txn, slot->primary, &home);
}

static int put_pair(const fs_route_store_t *store, MDB_txn *txn, table_t table, uint32_t number,
                    const uint8_t *id, int there)
{
    uint8_t bytes[HOME_KEY_BYTES];
    MDB_val key = {sizeof(bytes), bytes}, value = {0, NULL};
    int error;

    fs_route_pair_key(bytes, number, id);
    if (there)
        return mdb_put(txn, store->tables[table], &key, &value, 0);
    error = mdb_del(txn, store->tables[table], &key, NULL);
    return error == MDB_NOTFOUND ? 0 : error;
}

/* Puts into or takes out of the indexes. */
static int index_slot(fs_route_store_t *store, MDB_txn *txn, const uint8_t *id, const slot_t *slot,
                      int there)
{
    int error = put_pair(store, txn, HOMES, slot->primary, id, there);

    if (!error && !slot->confirmed)
        error = put_pair(store, txn, FRESH, slot->seen, id, there);
    return error ? error : count_slot(store, txn, id, slot, there ? 1 : -1);
}

/* Whether two slots say the same, but for when it was seen. */
static int same_statement(const slot_t *a, const slot_t *b)
{
    return a->primary == b->primary && a->alternate == b->alternate &&
           a->generation == b->generation && a->confirmed && b->confirmed;
}

int fs_route_slot_put(fs_route_store_t *store, MDB_txn *txn, const uint8_t id[FS_ROUTE_ID_BYTES],
                      const slot_t *old, const slot_t *slot, int tell)
{
    MDB_val key = {FS_ROUTE_ID_BYTES, (void *)(uintptr_t)id}, value = {sizeof(slot_t), NULL};
    int error = 0, moves = !old || !slot || !same_statement(old, slot);
    slot_t copy;

    if (old && moves)
        error = index_slot(store, txn, id, old, 0);
    if (!error && slot && moves)
        error = index_slot(store, txn, id, slot, 1);
    if (!error && !slot)
        error = mdb_del(txn, store->tables[VISITORS], &key, NULL);
    if (!error && slot) {
        copy = *slot;
        value.mv_data = &copy;
        error = mdb_put(txn, store->tables[VISITORS], &key, &value, 0);
    }
    /* Whom the others haven't heard of, they needn't forget. */
    if (!error && tell && moves && (slot ? slot->confirmed : old && old->confirmed))
        error = log_add(store, txn, id);
    return error;
}

void fs_route_slot_show(fs_route_store_t *store, MDB_txn *txn, const uint8_t id[FS_ROUTE_ID_BYTES],
                        const slot_t *slot, fs_route_visitor_t *visitor)
{
    memcpy(visitor->id, id, FS_ROUTE_ID_BYTES);
    visitor->primary = fs_route_name(store, txn, slot->primary);
    visitor->alternate = fs_route_name(store, txn, slot->alternate);
    visitor->former = fs_route_name(store, txn, slot->former);
    visitor->generation = slot->generation;
    visitor->confirmed = slot->confirmed != 0;
    visitor->seen = (fs_usec_t)slot->seen * FS_USEC_PER_SEC;
}

int fs_route_slot_make(fs_route_store_t *store, MDB_txn *txn, const fs_route_visitor_t *visitor,
                       fs_usec_t seen, slot_t *slot)
{
    int error = fs_route_number(store, txn, visitor->primary, 1, &slot->primary);

    if (!error)
        error = fs_route_number(store, txn, visitor->alternate, 1, &slot->alternate);
    if (!error)
        error =
            fs_route_number(store, txn, visitor->former ? visitor->former : "", 1, &slot->former);
    slot->generation = visitor->generation;
    slot->confirmed = visitor->confirmed != 0;
    slot->seen = fs_route_seconds(seen);
    return error ? error : slot->primary ? 0 : MDB_BAD_VALSIZE;
}
