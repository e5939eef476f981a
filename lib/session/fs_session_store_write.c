/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of one session, each in one transaction under the store's write lock. */
#include "session/fs_session_store_internal.h"

#include <apr_strings.h>
#include <string.h>

#define ALIAS_HOPS 4  /* logins within the few seconds that an alias lives */
#define ROOM_STEPS 64 /* sessions that one change may throw out, or look at, to find room */

/* What one change works with. */
typedef struct change_t {
    const fs_session_save_t *save;
    const fs_session_record_t *copy; /* merging */
    const fs_session_target_t *target;
    const uint8_t *seal;
    fs_session_key_t key;
    fs_usec_t now;
    apr_pool_t *pool;
    fs_session_record_t *record; /* what is there afterwards */
} change_t;

/* --- room ----------------------------------------------------------------------------------------
 */

static int drop_safe(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *keep,
                     int *dropped)
{
    fs_session_key_t key;
    const void *bytes;
    fs_usec_t since;
    size_t length;
    slot_t slot;
    int error = fs_session_first(store, txn, SAFE, keep, &since, &key);

    *dropped = 0;
    if (!error)
        error = fs_session_slot_get(store, txn, &key, &slot, &bytes, &length);
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    *dropped = 1;
    return fs_session_slot_remove(store, txn, &key, &slot);
}

static int has_room(fs_session_store_t *store, MDB_txn *txn, int is_new, size_t length, int *room)
{
    uint64_t bytes = 0;
    MDB_stat stat;
    int error = mdb_stat(txn, store->tables[MAIN], &stat);

    if (!error)
        error = fs_session_bytes(store, txn, &bytes);
    *room = bytes + length <= store->limits.store_bytes &&
            !(is_new && store->limits.sessions && stat.ms_entries >= store->limits.sessions);
    return error;
}

/* Expired ones first, then those that are safe for the longest; else the change is refused. */
static int make_room(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                     int is_new, size_t length, fs_usec_t now, fs_result_t *result)
{
    int more = 1, error = 0, room = 0;

    for (unsigned step = 0; !error && step < ROOM_STEPS; step++) {
        int freed = 0;

        error = has_room(store, txn, is_new, length, &room);
        if (error || room)
            return error;
        if (more)
            error = fs_session_expire_first(store, txn, now, &freed, &more);
        if (!error && !more)
            error = drop_safe(store, txn, key, &freed);
        if (!error && !more && !freed)
            break;
    }
    if (error)
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

/* Stores change->record, which is from then on in the pool, for the map changes under it. */
static int store_record(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                        int is_new, const uint8_t *seal, change_t *change, int urgent,
                        fs_result_t *result)
{
    slot_t slot, old = {{{0}}};
    const uint8_t *bytes;
    const void *ignored;
    size_t length;
    int error;

    if (fs_session_record_encode(change->record, change->pool, &bytes, &length, result))
        return REFUSED;
    if (length > store->limits.session_bytes)
        return too_large(store, length, result);
    error = make_room(store, txn, key, is_new, length + sizeof(slot), change->now, result);
    if (!error && !is_new) {
        size_t ignored_length;

        error = fs_session_slot_get(store, txn, key, &old, &ignored, &ignored_length);
    }
    if (error)
        return error;
    slot = old;
    if (seal)
        memcpy(slot.note.seal, seal, FS_SESSION_SEAL_BYTES);
    slot.note.version = change->record->version;
    slot.note.expires = fs_session_record_expires(change->record);
    slot.note.dirty_since = dirty_since(store, old.note.dirty_since, change->now, urgent);
    slot.note.copies = 0;
    slot.safe_since = 0;
    if (!slot.indexed || slot.indexed > slot.note.expires)
        slot.indexed = slot.note.expires == INT64_MAX ? 0 : slot.note.expires;
    if (fs_session_record_decode(change->record, bytes, length, change->pool, result))
        return REFUSED;
    return fs_session_slot_put(store, txn, key, is_new ? NULL : &old, &slot, bytes, length);
}

/* Reads a session. One that has expired, or whose record is damaged, is removed: it isn't there. */
static int load(fs_session_store_t *store, MDB_txn *txn, const fs_session_key_t *key,
                const change_t *change, int *there, fs_result_t *result)
{
    const void *bytes;
    size_t length;
    slot_t slot;
    int error = fs_session_slot_get(store, txn, key, &slot, &bytes, &length);

    *there = 0;
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (slot.note.expires > change->now) {
        bytes = apr_pmemdup(change->pool, bytes, length);
        *there = !fs_session_record_decode(change->record, bytes, length, change->pool, result);
    }
    return *there ? 0 : fs_session_slot_remove(store, txn, key, &slot);
}

/* As load; through aliases to where they lead, and `key` becomes that. */
static int load_target(fs_session_store_t *store, MDB_txn *txn, fs_session_key_t *key,
                       const change_t *change, int *there, fs_result_t *result)
{
    int error = load(store, txn, key, change, there, result);

    for (unsigned hop = 0; !error && *there && change->record->state == FS_SESSION_ALIAS; hop++) {
        if (hop == ALIAS_HOPS) {
            *there = 0;
            break;
        }
        *key = change->record->target.key;
        error = load(store, txn, key, change, there, result);
    }
    return error;
}

/* --- changes -------------------------------------------------------------------------------------
 */

static int save_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton;
    const fs_session_save_t *save = change->save;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = save->key;
    int there, error = load_target(store, txn, &key, change, &there, result);

    if (error)
        return error;
    if (!there) {
        if (!save->fresh || fs_session_key_compare(&key, &save->key))
            return MDB_NOTFOUND;
        *change->record = *save->fresh;
    }
    if (fs_session_apply(change->record, save->changes, save->count, &writer, change->pool, result))
        return REFUSED;
    return store_record(store, txn, &key, !there, there ? NULL : save->seal, change, save->urgent,
                        result);
}

apr_status_t fs_session_store_save(fs_session_store_t *store, const fs_session_save_t *save,
                                   fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result)
{
    change_t change = {.save = save, .now = now, .pool = pool, .record = record};

    return fs_session_store_work(store, 1, save_work, &change, result);
}

/* A live copy of what is an alias here: its changes belong where the alias leads, if that is here.
 */
static int follow_copy(fs_session_store_t *store, MDB_txn *txn, change_t *change, int *there,
                       fs_result_t *result)
{
    fs_session_record_t alias = *change->record;
    fs_session_key_t key = change->key;
    int error;

    if (!*there || alias.state != FS_SESSION_ALIAS || change->copy->state != FS_SESSION_LIVE)
        return 0;
    error = load_target(store, txn, &key, change, there, result);
    if (!error && *there && change->record->state == FS_SESSION_LIVE) {
        change->key = key;
        change->seal = NULL;
        return 0;
    }
    *change->record = alias;
    *there = 1;
    return error;
}

static int merge_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t at_start = *(change_t *)baton, *change = &at_start; /* it may be called again */
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_record_t merged;
    int there, same, error = load(store, txn, &change->key, change, &there, result);

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
    return store_record(store, txn, &change->key, !there, change->seal, change, 0, result);
}

apr_status_t fs_session_store_merge(fs_session_store_t *store, const fs_session_key_t *key,
                                    const fs_session_record_t *copy, const uint8_t *seal,
                                    fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                    fs_result_t *result)
{
    change_t change = {
        .copy = copy, .seal = seal, .key = *key, .now = now, .pool = pool, .record = record};

    return fs_session_store_work(store, 1, merge_work, &change, result);
}

static int move_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton, as_moved = *change;
    const fs_session_save_t *save = change->save;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = save->key;
    fs_session_record_t moved;
    int there, error = load_target(store, txn, &key, change, &there, result);

    if (error || !there)
        return error ? error : MDB_NOTFOUND;
    if (fs_session_apply(change->record, save->changes, save->count, &writer, change->pool,
                         result) ||
        fs_session_move(change->record, &moved, change->target, &writer, result))
        return REFUSED;
    error = store_record(store, txn, &key, 0, NULL, change, 1, result);
    if (error)
        return error;
    as_moved.record = &moved;
    error = store_record(store, txn, &change->target->key, 1, change->target->seal, &as_moved, 1,
                         result);
    *change->record = moved;
    return error;
}

apr_status_t fs_session_store_move(fs_session_store_t *store, const fs_session_save_t *save,
                                   const fs_session_target_t *target, fs_usec_t now,
                                   apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result)
{
    change_t change = {.save = save, .target = target, .now = now, .pool = pool, .record = record};

    return fs_session_store_work(store, 1, move_work, &change, result);
}

static int end_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton;
    fs_session_writer_t writer = fs_session_store_writer(store, change->now);
    fs_session_key_t key = change->key;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    int there, error = load_target(store, txn, &key, change, &there, result);

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
    return store_record(store, txn, &key, !there, there ? NULL : change->seal, change, 1, result);
}

apr_status_t fs_session_store_end(fs_session_store_t *store, const fs_session_key_t *key,
                                  const uint8_t *seal, fs_usec_t now, apr_pool_t *pool,
                                  fs_result_t *result)
{
    fs_session_record_t record;
    change_t change = {.seal = seal, .key = *key, .now = now, .pool = pool, .record = &record};

    return fs_session_store_work(store, 1, end_work, &change, result);
}

static int release_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    change_t *change = baton;
    const void *bytes;
    size_t length;
    slot_t slot;
    int there, error = load(store, txn, &change->key, change, &there, result);

    if (error || !there)
        return error;
    error = fs_session_slot_get(store, txn, &change->key, &slot, &bytes, &length);
    return error ? error : fs_session_slot_remove(store, txn, &change->key, &slot);
}

apr_status_t fs_session_store_release(fs_session_store_t *store, const fs_session_key_t *key,
                                      apr_pool_t *pool, fs_session_record_t *record,
                                      fs_result_t *result)
{
    change_t change = {.key = *key, .now = 0, .pool = pool, .record = record};
    apr_status_t status;

    record->state = 0;
    status = fs_session_store_work(store, 1, release_work, &change, result);
    return status == APR_SUCCESS && !record->state ? APR_NOTFOUND : status;
}

/* --- safe or not ---------------------------------------------------------------------------------
 */

typedef struct confirming_t {
    const fs_session_key_t *key;
    const fs_session_stamp_t *version; /* NULL: its copies are doubted */
    uint32_t copies, wanted;
    fs_usec_t now;
} confirming_t;

static int confirm_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    confirming_t *confirming = baton;
    slot_t old, slot;
    const void *bytes;
    size_t length;
    int error = fs_session_slot_get(store, txn, confirming->key, &old, &bytes, &length);

    if (error)
        return error;
    slot = old;
    if (!confirming->version) {
        slot.note.copies = 0;
        slot.safe_since = 0;
        if (!slot.note.dirty_since)
            slot.note.dirty_since = confirming->now;
    } else if (fs_session_stamp_compare(confirming->version, &old.note.version)) {
        slot.note.dirty_since =
            confirming->now; /* changed since: what is newer waits from now on */
    } else {
        slot.note.copies = confirming->copies;
        if (confirming->copies >= confirming->wanted) {
            slot.note.dirty_since = 0;
            slot.safe_since = old.safe_since ? old.safe_since : confirming->now;
        }
    }
    return fs_session_slot_update(store, txn, confirming->key, &old, &slot);
}

apr_status_t fs_session_store_confirm(fs_session_store_t *store, const fs_session_key_t *key,
                                      const fs_session_stamp_t *version, uint32_t copies,
                                      uint32_t wanted, fs_usec_t now, fs_result_t *result)
{
    confirming_t confirming = {key, version, copies, wanted, now};

    return fs_session_store_work(store, 1, confirm_work, &confirming, result);
}

apr_status_t fs_session_store_doubt(fs_session_store_t *store, const fs_session_key_t *key,
                                    fs_usec_t now, fs_result_t *result)
{
    confirming_t confirming = {.key = key, .now = now};

    return fs_session_store_work(store, 1, confirm_work, &confirming, result);
}
