/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of the bank's store with their index of ends: reading, writing, expiring, listing. */
#include "bank_slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Kept free of copies, so that on a full disk what has expired can still go. */
#define KEEP_AHEAD   ((size_t)2 << 20)
#define EXPIRE_FIRST 8 /* looked at for a new copy when it is full */
#define GROWTH       4 /* what is held may grow beyond the limit by a fourth of it */

/* --- slots ---------------------------------------------------------------------------------------
 */

static MDB_val key_val(const fs_session_key_t *key)
{
    MDB_val val = {FS_SESSION_KEY_BYTES, (void *)key->bytes};

    return val;
}

int fs_bank_slot_read(const MDB_val *value, fs_bank_slot_t *slot, char owner[FS_SESSION_NAME_SIZE],
                      const uint8_t **sealed, size_t *length)
{
    const uint8_t *bytes = value->mv_data;

    if (value->mv_size < sizeof(*slot))
        return MDB_CORRUPTED;
    memcpy(slot, bytes, sizeof(*slot)); /* LMDB aligns by 2 only */
    if (slot->owner >= FS_SESSION_NAME_SIZE || value->mv_size < sizeof(*slot) + slot->owner)
        return MDB_CORRUPTED;
    memset(owner, 0, FS_SESSION_NAME_SIZE);
    memcpy(owner, bytes + sizeof(*slot), slot->owner);
    *sealed = bytes + sizeof(*slot) + slot->owner;
    *length = value->mv_size - sizeof(*slot) - slot->owner;
    return *length > FS_SESSION_SEALED_LIMIT ? MDB_CORRUPTED : 0;
}

static int look_up(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key,
                   fs_bank_slot_t *slot, char owner[FS_SESSION_NAME_SIZE], const uint8_t **sealed,
                   size_t *length)
{
    MDB_val name = key_val(key), value;
    int error = mdb_get(work->txn, work->store->tables[table], &name, &value);

    return error ? error : fs_bank_slot_read(&value, slot, owner, sealed, length);
}

int fs_bank_held_find(fs_bank_work_t *work, const fs_session_key_t *key, fs_bank_held_t *held)
{
    int error;

    memset(held, 0, sizeof(*held));
    error =
        look_up(work, BANK_MAIN, key, &held->slot, held->hold.owner, &held->sealed, &held->length);
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (fs_bank_has_expired(work, held->slot.expires)) {
        memset(held->hold.owner, 0, sizeof(held->hold.owner));
        return 0;
    }
    held->hold.held = 1;
    held->hold.granted = (held->slot.flags & FS_BANK_GRANTED) != 0;
    held->hold.version = held->slot.version;
    error = look_up(work, BANK_ASIDE, key, &held->aside_slot, held->aside_owner,
                    &held->aside_sealed, &held->aside_length);
    if (!error) {
        held->hold.aside = 1;
        held->hold.aside_version = held->aside_slot.version;
    }
    return error == MDB_NOTFOUND ? 0 : error;
}

static void time_key(uint8_t bytes[FS_BANK_TIME_BYTES], fs_usec_t time, const fs_session_key_t *key)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)time >> (56 - 8 * i));
    memcpy(bytes + 8, key->bytes, FS_SESSION_KEY_BYTES);
}

/* Puts a key into EXPIRY or takes it out. */
static int index_time(fs_bank_work_t *work, const fs_session_key_t *key, fs_usec_t time, int put)
{
    uint8_t bytes[FS_BANK_TIME_BYTES];
    MDB_val name = {sizeof(bytes), bytes}, nothing = {0, ""};
    int error;

    time_key(bytes, time, key);
    if (put)
        return mdb_put(work->txn, work->store->tables[BANK_EXPIRY], &name, &nothing, 0);
    error = mdb_del(work->txn, work->store->tables[BANK_EXPIRY], &name, NULL);
    return error == MDB_NOTFOUND ? 0 : error;
}

int fs_bank_slot_put(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key,
                     fs_bank_slot_t *slot, const char *owner, const void *sealed, size_t length)
{
    MDB_val name = key_val(key), value;
    uint8_t *at;
    int error;

    slot->owner = (uint8_t)strlen(owner);
    value.mv_size = sizeof(*slot) + slot->owner + length;
    if ((error = fs_bank_claim(work, value.mv_size, KEEP_AHEAD)))
        return error;
    error = mdb_put(work->txn, work->store->tables[table], &name, &value, MDB_RESERVE);
    if (error)
        return error;
    at = value.mv_data;
    memcpy(at, slot, sizeof(*slot));
    memcpy(at + sizeof(*slot), owner, slot->owner);
    if (length)
        memcpy(at + sizeof(*slot) + slot->owner, sealed, length);
    return 0;
}

/* The index may be behind, so that a use, which puts the end off, costs nothing there. */
int fs_bank_held_put(fs_bank_work_t *work, const fs_session_key_t *key, const fs_bank_held_t *held,
                     fs_bank_slot_t *slot, const void *sealed, size_t length)
{
    fs_usec_t indexed = held->slot.indexed;
    int error = 0;

    slot->sequence = ++work->sequence;
    slot->flags =
        (uint8_t)((slot->flags & FS_BANK_STATES) | (held->hold.granted ? FS_BANK_GRANTED : 0));
    slot->indexed = indexed && indexed <= slot->expires ? indexed : slot->expires;
    if (slot->indexed != indexed) {
        if (indexed)
            error = index_time(work, key, indexed, 0);
        if (!error)
            error = index_time(work, key, slot->indexed, 1);
    }
    return error ? error
                 : fs_bank_slot_put(work, BANK_MAIN, key, slot, held->hold.owner, sealed, length);
}

int fs_bank_held_put_owner(fs_bank_work_t *work, const fs_session_key_t *key,
                           const fs_bank_held_t *held)
{
    fs_bank_slot_t slot = held->slot;
    uint8_t *copy = malloc(held->length + 1);
    int error;

    if (!copy)
        return ENOMEM;
    memcpy(copy, held->sealed, held->length);
    error = fs_bank_held_put(work, key, held, &slot, copy, held->length);
    free(copy);
    return error;
}

static int remove_key(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key)
{
    MDB_val name = key_val(key);
    int error = mdb_del(work->txn, work->store->tables[table], &name, NULL);

    return error == MDB_NOTFOUND ? 0 : error;
}
int fs_bank_aside_remove(fs_bank_work_t *work, const fs_session_key_t *key)
{
    return remove_key(work, BANK_ASIDE, key);
}

/* --- room and expiry -----------------------------------------------------------------------------
 */

int fs_bank_held_room(fs_bank_work_t *work, const fs_bank_held_t *held, size_t length, int *room)
{
    fs_bank_totals_t totals;
    int more, error = fs_bank_count(work, &totals);

    if (!error && held->slot.indexed) /* it is held already */
        *room = length <= held->length ||
                totals.bytes < totals.limit_bytes + totals.limit_bytes / GROWTH;
    else if (!error && totals.full && !(error = fs_bank_expire(work, EXPIRE_FIRST, &more)))
        error = fs_bank_count(work, &totals);
    if (!error && !held->slot.indexed)
        *room = !totals.full;
    if (!*room)
        work->full++;
    return error;
}

/* The first of the index, if its time has come; *time is 0 else. */
static int find_due(fs_bank_work_t *work, fs_usec_t *time, fs_session_key_t *key)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    const uint8_t *bytes;
    int error = mdb_cursor_open(work->txn, work->store->tables[BANK_EXPIRY], &cursor);

    *time = 0;
    if (error)
        return error;
    error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
    mdb_cursor_close(cursor);
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (name.mv_size != FS_BANK_TIME_BYTES)
        return MDB_CORRUPTED;
    bytes = name.mv_data;
    for (unsigned i = 0; i < 8; i++)
        *time = (fs_usec_t)((uint64_t)*time << 8 | bytes[i]);
    memcpy(key->bytes, bytes + 8, FS_SESSION_KEY_BYTES);
    if (*time > work->now)
        *time = 0;
    return 0;
}

/* It was used since it was put into the index: it stands there again, with its new end. */
static int put_off(fs_bank_work_t *work, const fs_session_key_t *key, fs_bank_slot_t *slot,
                   const char *owner, const uint8_t *sealed, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    int error;

    if (!copy)
        return ENOMEM;
    memcpy(copy, sealed, length);
    slot->indexed = slot->expires;
    error = fs_bank_slot_put(work, BANK_MAIN, key, slot, owner, copy, length);
    free(copy);
    return error ? error : index_time(work, key, slot->indexed, 1);
}

static int remove_expired(fs_bank_work_t *work, const fs_session_key_t *key)
{
    int error = remove_key(work, BANK_MAIN, key);

    work->removed++;
    return error ? error : fs_bank_aside_remove(work, key);
}

/* What the index says is due at `time`. */
static int expire_key(fs_bank_work_t *work, const fs_session_key_t *key, fs_usec_t time)
{
    char owner[FS_SESSION_NAME_SIZE];
    const uint8_t *sealed;
    fs_bank_slot_t slot;
    size_t length;
    int error = look_up(work, BANK_MAIN, key, &slot, owner, &sealed, &length);

    if (error && error != MDB_NOTFOUND)
        return error;
    if (error || slot.indexed != time)
        error = 0;
    else if (slot.expires > work->now)
        error = put_off(work, key, &slot, owner, sealed, length);
    else
        error = remove_expired(work, key);
    return error ? error : index_time(work, key, time, 0);
}

int fs_bank_expire(fs_bank_work_t *work, unsigned limit, int *more)
{
    fs_session_key_t key;
    fs_usec_t time;
    int error;

    *more = 0;
    for (unsigned i = 0; work->now && i < limit && !fs_bank_is_spent(work); i++) {
        if ((error = find_due(work, &time, &key)) || !time)
            return error;
        error = fs_bank_claim(work, 0, FS_BANK_LEAST_AHEAD);
        if (!error)
            error = expire_key(work, &key, time);
        if (error)
            return error;
    }
    *more = work->now != 0;
    return 0;
}

/* --- scanning ------------------------------------------------------------------------------------
 */

int fs_bank_scan(fs_bank_work_t *work, const fs_session_key_t *after, uint64_t since,
                 unsigned limit, fs_bank_see_fn *see, void *baton, fs_session_key_t *last,
                 int *more)
{
    fs_session_item_t label = {.parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES};
    MDB_val name = {0, NULL}, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(work->txn, work->store->tables[BANK_MAIN], &cursor);

    *more = 0;
    if (error)
        return error;
    if (after)
        name = key_val(after);
    error = mdb_cursor_get(cursor, &name, &value, after ? MDB_SET_RANGE : MDB_FIRST);
    if (!error && after && name.mv_size == FS_SESSION_KEY_BYTES &&
        !memcmp(name.mv_data, after->bytes, FS_SESSION_KEY_BYTES))
        error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    for (; !error; error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT)) {
        const uint8_t *sealed;
        fs_bank_slot_t slot;
        size_t length;

        if (!limit--) {
            *more = 1;
            break;
        }
        error = name.mv_size == FS_SESSION_KEY_BYTES
                    ? fs_bank_slot_read(&value, &slot, label.owner, &sealed, &length)
                    : MDB_CORRUPTED;
        if (error)
            break;
        memcpy(label.key.bytes, name.mv_data, FS_SESSION_KEY_BYTES);
        label.version = slot.version;
        label.expires = slot.expires;
        label.flags = slot.flags & FS_BANK_STATES;
        label.parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES;
        label.parts |= label.owner[0] ? FS_SESSION_PART_OWNER : 0;
        if (slot.sequence > since && !fs_bank_has_expired(work, slot.expires) &&
            see(baton, &label)) {
            *more = 1;
            break;
        }
        *last = label.key;
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}
