/* SPDX-License-Identifier: Apache-2.0 */
/* What requests change of a session, each in one transaction under the store's write lock. */
#include "session/fs_session_store_internal.h"

#include <apr_strings.h>
#include <string.h>

/* --- changes -------------------------------------------------------------------------------------
 */

static int save_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton;
    const fs_session_save_t *save = change->save;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = save->key;
    int there, urgent = save->urgent,
               error = fs_session_change_load_target(store, txn, &key, change, &there, result);

    if (error)
        return error;
    if (change->released || (!there && (!save->fresh || fs_session_key_compare(&key, &save->key))))
        return MDB_NOTFOUND;
    if (save->expected &&
        (!there || fs_session_stamp_compare(save->expected, &change->record->version)))
        return fs_session_refuse(result, APR_EMISMATCH);
    change->checked = there ? 0 : save->checked;
    if (!there)
        *change->record = *save->fresh;
    if (fs_session_apply(change->record, save->changes, save->count, &writer, change->pool, result))
        return REFUSED;
    if (save->end_if_empty && !fs_session_record_has_values(change->record)) {
        fs_session_end(change->record, &writer);
        urgent = 1;
    }
    return fs_session_change_store(store, txn, &key, there ? &change->slot : NULL,
                                   there ? NULL : save->seal, change, urgent, result);
}

apr_status_t fs_session_store_save(fs_session_store_t *store, const fs_session_save_t *save,
                                   fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result)
{
    change_t change = {.save = save, .now = now, .pool = pool, .record = record, .borrow = 1};

    return fs_session_change_work(store, save_work, &change, result);
}

/* A live copy of what is an alias here: its changes belong where the alias leads, if that is here.
 */
static int follow_copy(fs_session_store_t *store, MDB_txn *txn, change_t *change, int *there,
                       fs_result_t *result)
{
    fs_session_record_t alias = *change->record;
    slot_t slot = change->slot;
    fs_session_key_t key = change->key;
    int error;

    if (!*there || alias.state != FS_SESSION_ALIAS || change->copy->state != FS_SESSION_LIVE)
        return 0;
    error = fs_session_change_load_target(store, txn, &key, change, there, result);
    if (!error && *there && change->record->state == FS_SESSION_LIVE) {
        change->key = key;
        change->seal = NULL;
        return 0;
    }
    *change->record = alias;
    change->slot = slot;
    *there = 1;
    return error;
}

static int merge_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t again = *(change_t *)baton, *change = &again; /* it may be called again */
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_record_t merged;
    int there, same,
        error = fs_session_change_load(store, txn, &change->key, change, &there, result);

    if (!error)
        error = follow_copy(store, txn, change, &there, result);
    if (error)
        return error;
    if (there) {
        same = fs_session_merge(&merged, change->record, change->copy, change->pool);
        if (same & FS_SESSION_MERGED_SAME_A)
            return 0;
        *change->record = merged;
        if (!same)
            fs_session_renew(change->record, &writer);
    } else {
        *change->record = *change->copy;
    }
    error = fs_session_change_store(store, txn, &change->key, there ? &change->slot : NULL,
                                    change->seal, change, 0, result);
    ((change_t *)baton)->stored = change->stored;
    return error;
}

apr_status_t fs_session_store_merge(fs_session_store_t *store, const fs_session_key_t *key,
                                    const fs_session_record_t *copy, const uint8_t *seal,
                                    fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                    fs_result_t *result)
{
    change_t change = {
        .copy = copy, .seal = seal, .key = *key, .now = now, .pool = pool, .record = record};

    return fs_session_change_work(store, merge_work, &change, result);
}

static int move_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton, as_moved = *change;
    const fs_session_save_t *save = change->save;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = save->key;
    fs_session_record_t moved;
    int there, error = fs_session_change_load_target(store, txn, &key, change, &there, result);

    if (error || !there || change->released)
        return error ? error : MDB_NOTFOUND;
    if (fs_session_apply(change->record, save->changes, save->count, &writer, change->pool,
                         result) ||
        fs_session_move(change->record, &moved, change->target, &writer, result))
        return REFUSED;
    error = fs_session_change_store(store, txn, &key, &change->slot, NULL, change, 1, result);
    if (error)
        return error;
    as_moved.record = &moved;
    as_moved.checked = change->slot.note.checked;
    error = fs_session_change_store(store, txn, &change->target->key, NULL, change->target->seal,
                                    &as_moved, 1, result);
    *change->record = moved;
    return error;
}

apr_status_t fs_session_store_move(fs_session_store_t *store, const fs_session_save_t *save,
                                   const fs_session_target_t *target, fs_usec_t now,
                                   apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result)
{
    change_t change = {.save = save, .target = target, .now = now, .pool = pool, .record = record};

    return fs_session_change_work(store, move_work, &change, result);
}

static int end_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = change->key;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    int there, error = fs_session_change_load_target(store, txn, &key, change, &there, result);

    if (error || (there && change->record->state == FS_SESSION_ENDED))
        return error;
    if (!there) {
        if (fs_session_key_compare(&key, &change->key)) { /* an alias of what isn't here */
            memcpy(seal, change->record->target.seal, sizeof(seal));
            change->seal = seal;
        }
        fs_session_begin(change->record, &writer, 0, 0);
    }
    fs_session_end(change->record, &writer);
    return fs_session_change_store(store, txn, &key, there ? &change->slot : NULL,
                                   there ? NULL : change->seal, change, 1, result);
}

apr_status_t fs_session_store_end(fs_session_store_t *store, const fs_session_key_t *key,
                                  const uint8_t *seal, fs_usec_t now, apr_pool_t *pool,
                                  fs_result_t *result)
{
    fs_session_record_t record;
    change_t change = {.seal = seal, .key = *key, .now = now, .pool = pool, .record = &record};

    return fs_session_change_work(store, end_work, &change, result);
}
