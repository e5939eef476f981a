/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions between hosts and the bank: what is confirmed, compared, handed over and taken. */
#include "session/fs_session_store_internal.h"

#include <apr_strings.h>
#include <string.h>

/* --- safe or not ---------------------------------------------------------------------------------
 */

typedef struct confirming_t {
    const fs_session_confirmed_t *confirmed;
    unsigned count, done;
    uint32_t wanted; /* copies make one safe */
    fs_usec_t now;
} confirming_t;

static int confirm_one(fs_session_store_t *store, MDB_txn *txn, const confirming_t *confirming,
                       const fs_session_confirmed_t *confirmed)
{
    slot_t old, slot;
    const void *bytes;
    size_t length;
    int error = fs_session_slot_get(store, txn, &confirmed->key, &old, &bytes, &length);

    if (error)
        return error;
    slot = old;
    if (fs_session_stamp_compare(&confirmed->version, &old.note.version)) {
        slot.note.dirty_since = confirming->now; /* what is newer waits from now on */
    } else {
        slot.note.copies = confirmed->copies;
        if (confirmed->copies >= confirming->wanted) {
            slot.note.dirty_since = 0;
            slot.safe_since = old.safe_since ? old.safe_since : confirming->now;
            if (!slot.safe_indexed) /* an older entry is put right when it is met */
                slot.safe_indexed = slot.safe_since;
        }
    }
    return fs_session_slot_update(store, txn, &confirmed->key, &old, &slot);
}

static int confirm_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    confirming_t *confirming = baton;
    int error = 0;

    for (confirming->done = 0;
         (!error || error == MDB_NOTFOUND) && confirming->done < confirming->count &&
         confirming->done < TXN_ITEMS && store->moved < TXN_BYTES;
         confirming->done++)
        error = confirm_one(store, txn, confirming, &confirming->confirmed[confirming->done]);
    return error == MDB_NOTFOUND && confirming->count > 1 ? 0 : error;
}

apr_status_t fs_session_store_confirm(fs_session_store_t *store,
                                      const fs_session_confirmed_t *confirmed, unsigned count,
                                      uint32_t wanted, fs_usec_t now, fs_result_t *result)
{
    confirming_t confirming = {confirmed, count, 0, wanted ? wanted : 1, now};
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && confirming.count) {
        status = fs_session_store_work(store, TIDIES, confirm_work, &confirming, result);
        confirming.confirmed += confirming.done;
        confirming.count -= confirming.done;
    }
    return status == APR_NOTFOUND && count > 1 ? APR_SUCCESS : status;
}

/* --- handed over ---------------------------------------------------------------------------------
 */

typedef struct handing_t {
    change_t change;
    const char *to;
    fs_usec_t until;
    const fs_session_stamp_t *version;
} handing_t;

static int release_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    handing_t *handing = baton;
    change_t *change = &handing->change;
    MDB_val name = {FS_SESSION_KEY_BYTES, change->key.bytes};
    MDB_val to = {strnlen(handing->to, FS_SESSION_NAME_SIZE - 1), (void *)handing->to};
    slot_t slot;
    int there, error = fs_session_change_load(store, txn, &change->key, change, &there, result);

    if (error || !there)
        return error ? error : MDB_NOTFOUND;
    slot = change->slot;
    slot.note.released = handing->until > 0 ? handing->until : 1;
    error = fs_session_slot_update(store, txn, &change->key, &change->slot, &slot);
    return error ? error : mdb_put(txn, store->tables[RELEASED], &name, &to, 0);
}

apr_status_t fs_session_store_release(fs_session_store_t *store, const fs_session_key_t *key,
                                      const char *to, fs_usec_t until, apr_pool_t *pool,
                                      fs_session_record_t *record, fs_result_t *result)
{
    handing_t handing = {
        .change = {.key = *key, .pool = pool, .record = record}, .to = to, .until = until};

    return fs_session_store_work(store, TIDIES, release_work, &handing, result);
}

typedef struct asking_t {
    const fs_session_key_t *key;
    char *to;
} asking_t;

static int released_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    asking_t *asking = baton;
    MDB_val name = {FS_SESSION_KEY_BYTES, (void *)asking->key->bytes}, to;
    int error = mdb_get(txn, store->tables[RELEASED], &name, &to);

    if (error)
        return error;
    if (to.mv_size >= FS_SESSION_NAME_SIZE)
        return MDB_CORRUPTED;
    memcpy(asking->to, to.mv_data, to.mv_size);
    asking->to[to.mv_size] = '\0';
    return 0;
}

apr_status_t fs_session_store_released(fs_session_store_t *store, const fs_session_key_t *key,
                                       char to[FS_SESSION_NAME_SIZE], fs_result_t *result)
{
    asking_t asking = {key, to};

    return fs_session_store_work(store, READS, released_work, &asking, result);
}

static int forget_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    handing_t *handing = baton;
    const void *bytes;
    size_t length;
    slot_t slot;
    int error = fs_session_slot_get(store, txn, &handing->change.key, &slot, &bytes, &length);

    if (error)
        return error;
    if (!slot.note.released || fs_session_stamp_compare(&slot.note.version, handing->version))
        return MDB_NOTFOUND;
    return fs_session_slot_remove(store, txn, &handing->change.key, &slot);
}

apr_status_t fs_session_store_forget(fs_session_store_t *store, const fs_session_key_t *key,
                                     const fs_session_stamp_t *version, fs_result_t *result)
{
    handing_t handing = {.change = {.key = *key}, .version = version};

    return fs_session_store_work(store, TIDIES, forget_work, &handing, result);
}

/* --- taken ---------------------------------------------------------------------------------------
 */

typedef struct adopting_t {
    change_t change;
    const fs_session_record_t *copies;
    uint32_t count;
    fs_usec_t released;
} adopting_t;

/* All copies and what is here, in one. */
static void gather(const adopting_t *adopting, int there, fs_session_record_t *all)
{
    const change_t *change = &adopting->change;

    *all = there ? *change->record : adopting->copies[0];
    for (uint32_t i = there ? 0 : 1; i < adopting->count; i++) {
        fs_session_record_t merged;

        fs_session_merge(&merged, all, &adopting->copies[i], change->pool);
        *all = merged;
    }
}

static int adopt_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    adopting_t again = *(adopting_t *)baton; /* it may be called again */
    change_t *change = &again.change;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_record_t all;
    int there, error = fs_session_change_load(store, txn, &change->key, change, &there, result);

    if (error || (!there && !again.count))
        return error ? error : MDB_NOTFOUND;
    if (there && change->slot.note.released != again.released)
        return fs_session_refuse(result, APR_EMISMATCH);
    gather(&again, there, &all);
    if (all.state != FS_SESSION_LIVE)
        fs_session_renew(&all, &writer);
    else if (fs_session_take_over(&all, &writer, result))
        return REFUSED;
    *change->record = all;
    error = fs_session_change_store(store, txn, &change->key, there ? &change->slot : NULL,
                                    there ? NULL : change->seal, change, 1, result);
    ((adopting_t *)baton)->change.stored = change->stored;
    return error;
}

apr_status_t fs_session_store_adopt(fs_session_store_t *store, const fs_session_key_t *key,
                                    const fs_session_record_t *copies, uint32_t count,
                                    const uint8_t *seal, uint64_t checked, fs_usec_t released,
                                    fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                    fs_result_t *result)
{
    adopting_t adopting = {.change = {.key = *key,
                                      .seal = seal,
                                      .checked = checked,
                                      .now = now,
                                      .pool = pool,
                                      .record = record},
                           .copies = copies,
                           .count = count,
                           .released = released};
    apr_status_t status = fs_session_store_work(store, ADDS, adopt_work, &adopting, result);

    if (status == APR_SUCCESS && adopting.change.stored)
        fs_session_bell_ring(store->bell, adopting.change.stored > 1);
    return status;
}

/* --- compared ------------------------------------------------------------------------------------
 */

typedef struct checking_t {
    const fs_session_key_t *keys;
    unsigned count, done;
    uint64_t generation;
} checking_t;

static int check_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    checking_t *checking = baton;
    int error = 0;

    for (checking->done = 0; !error && checking->done < checking->count &&
                             checking->done < TXN_ITEMS && store->moved < TXN_BYTES;
         checking->done++) {
        const fs_session_key_t *key = &checking->keys[checking->done];
        slot_t old, slot;
        const void *bytes;
        size_t length;

        error = fs_session_slot_get(store, txn, key, &old, &bytes, &length);
        if (!error) {
            slot = old;
            slot.note.checked = checking->generation;
            error = fs_session_slot_update(store, txn, key, &old, &slot);
        }
        error = error == MDB_NOTFOUND ? 0 : error;
    }
    return error;
}

apr_status_t fs_session_store_checked(fs_session_store_t *store, const fs_session_key_t *keys,
                                      unsigned count, uint64_t generation, fs_result_t *result)
{
    checking_t checking = {keys, count, 0, generation};
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && checking.count) {
        status = fs_session_store_work(store, TIDIES, check_work, &checking, result);
        checking.keys += checking.done;
        checking.count -= checking.done;
    }
    return status;
}
