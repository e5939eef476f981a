/* SPDX-License-Identifier: Apache-2.0 */
/* What all changes of a session share: reading it, finding room, storing it; under the store's
 * write lock. */
#include "session/fs_session_store_internal.h"

#include <apr_strings.h>
#include <string.h>

#define ALIAS_HOPS 4  /* logins within the few seconds that an alias lives */
#define ROOM_STEPS 64 /* sessions that one change may throw out, or look at, to find room */

/* --- room ----------------------------------------------------------------------------------------
 */

static int drop_safe(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *keep,
                     int *dropped)
{
    fs_session_key_t key;
    slot_t slot;
    int stale = 1, error = 0;

    *dropped = 0;
    for (unsigned step = 0; !error && stale && step < TXN_ITEMS && store->moved < TXN_BYTES; step++)
        error = fs_session_first_safe(store, txn, keep, &key, &slot, &stale);
    if (error || stale)
        return error == MDB_NOTFOUND ? 0 : error;
    *dropped = 1;
    return fs_session_slot_remove(store, txn, &key, &slot);
}

static int has_room(fs_session_store_t *store, MDB_txn *txn, int is_new, size_t length, int *room)
{
    MDB_stat stat;
    int error = mdb_stat(txn, store->tables[MAIN], &stat);

    *room = !error && fs_session_bytes(&stat) + length <= store->limits.store_bytes &&
            !(is_new && store->limits.sessions && stat.ms_entries >= store->limits.sessions);
    return error;
}

/*
 * Expired ones first, then those that are safe for the longest; else the change is refused. When
 * the disk has no more space, a new session takes another one's place, too, if one can go; what was
 * reserved lasts a while.
 */
static int make_room(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                     int is_new, size_t length, fs_usec_t now, int *touched, fs_result_t *result)
{
    int more = 1, error = 0, room = 0, for_another = store->tight && is_new;

    for (unsigned step = 0; !error && step < ROOM_STEPS && store->moved < TXN_BYTES; step++) {
        int freed = 0;

        error = has_room(store, txn, is_new, length, &room);
        if (error || (room && !for_another))
            return error;
        *touched = 1;
        if (more)
            error = fs_session_expire_first(store, txn, now, &freed, &more);
        if (!error && !more)
            error = drop_safe(store, txn, key, &freed);
        if (!error && !more && !freed)
            break;
        for_another &= !freed;
    }
    if (error || room)
        return error;
    return fs_session_refuse(
        result, fs_result_set(result, APR_ENOSPC, "FS1213",
                              "the session store is full, and nothing in it is expired or safe on "
                              "the bank; raise its limits, or see why the bank doesn't confirm"));
}

/* --- storing -------------------------------------------------------------------------------------
 */

/* When its copy is due: at once if urgent, which is as if it had changed a flush time ago. */
static fs_usec_t dirty_since(const fs_session_store_t *store, fs_usec_t before, fs_usec_t now,
                             int urgent)
{
    fs_usec_t since = urgent && now > store->limits.flush ? now - store->limits.flush : now;

    if (before && before < since)
        since = before;
    return since > 0 ? since : 1;
}

static int too_large(fs_session_store_t *store, size_t length, fs_result_t *result)
{
    return fs_session_refuse(
        result, fs_result_set(result, APR_ENOSPC, "FS1214",
                              "a session has %zu bytes, more than the %zu that are allowed; store "
                              "less in it or raise the limit",
                              length, store->limits.session_bytes));
}

int fs_session_change_store(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                            const slot_t *old, const uint8_t *seal, change_t *change, int urgent,
                            fs_result_t *result)
{
    slot_t slot = {{{0}}}, before = {{{0}}};
    const uint8_t *bytes;
    const void *ignored;
    size_t length, ignored_length;
    int error, touched = 0;

    if (fs_session_record_settle(change->record, change->pool, &bytes, &length, result))
        return REFUSED;
    if (length > store->limits.session_bytes)
        return too_large(store, length, result);
    if (old)
        before = *old;
    error = make_room(store, txn, key, !old, length + sizeof(slot), change->now, &touched, result);
    if (!error && old && touched) /* its indexes, too */
        error = fs_session_slot_get(store, txn, key, &before, &ignored, &ignored_length);
    if (error)
        return error;
    slot = before;
    if (seal)
        memcpy(slot.note.seal, seal, FS_SESSION_SEAL_BYTES);
    slot.note.version = change->record->version;
    slot.note.expires = fs_session_record_expires(change->record);
    slot.note.dirty_since = dirty_since(store, before.note.dirty_since, change->now, urgent);
    slot.note.copies = 0;
    slot.safe_since = 0;
    if (change->checked)
        slot.note.checked = change->checked;
    if (change->checked || change->record->state == FS_SESSION_ENDED)
        slot.note.released = 0; /* taken back, or nobody's */
    fs_session_ahead_note(&slot, change->save ? change->save->ahead : NULL,
                          change->record->state == FS_SESSION_LIVE, change->now);
    change->stored = change->stored > urgent + 1 ? change->stored : urgent + 1;
    if (!slot.indexed || slot.indexed > slot.note.expires)
        slot.indexed = slot.note.expires == INT64_MAX ? 0 : slot.note.expires;
    return fs_session_slot_put(store, txn, key, old ? &before : NULL, &slot, bytes, length);
}

int fs_session_change_load(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                           change_t *change, int *there, fs_result_t *result)
{
    const void *bytes;
    size_t length;
    slot_t *slot = &change->slot;
    int error = fs_session_slot_get(store, txn, key, slot, &bytes, &length);

    *there = 0;
    change->released = 0;
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (slot->note.expires > change->now) {
        if (!change->borrow)
            bytes = apr_pmemdup(change->pool, bytes, length);
        *there = !fs_session_record_decode(change->record, bytes, length, change->pool, result);
    }
    change->released = *there && slot->note.released;
    return *there ? 0 : fs_session_slot_remove(store, txn, key, slot);
}

int fs_session_change_load_target(fs_session_store_t *store, MDB_txn *txn, fs_session_key_t *key,
                                  change_t *change, int *there, fs_result_t *result)
{
    int error = fs_session_change_load(store, txn, key, change, there, result);

    for (unsigned hop = 0; !error && *there && change->record->state == FS_SESSION_ALIAS; hop++) {
        if (hop == ALIAS_HOPS) {
            *there = 0;
            break;
        }
        *key = change->record->target.key;
        error = fs_session_change_load(store, txn, key, change, there, result);
    }
    return error;
}

apr_status_t fs_session_change_work(fs_session_store_t *store, fs_session_work_fn *work,
                                    change_t *change, fs_result_t *result)
{
    apr_status_t status = fs_session_store_work(store, ADDS, work, change, result);

    if (status == APR_SUCCESS && change->stored)
        fs_session_bell_ring(store->bell, change->stored > 1);
    return status;
}
