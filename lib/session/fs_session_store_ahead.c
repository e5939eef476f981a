/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be carried to the alternates of visitors. AHEAD holds the sessions that have changes
 * which weren't carried, by when they are due; an entry may be early, for a session that is to be
 * carried at the end is not indexed anew with each change: it is put back when it comes up.
 */
#include "session/fs_session_store_internal.h"

#include <string.h>

#define PUT_BACK 256 /* early entries that one look puts back */

uint64_t fs_session_server_hash(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

/* When it is due, as far as is known now. */
static fs_usec_t due_at(const slot_t *slot)
{
    return slot->at_once || (slot->note.each && slot->changes >= slot->note.each)
               ? slot->note.ahead
               : slot->changed + FS_SESSION_END_AFTER;
}

void fs_session_ahead_note(slot_t *slot, const fs_session_ahead_t *ahead, int live, fs_usec_t now)
{
    if (ahead && ahead->alternate != slot->note.alternate) {
        slot->note.alternate = ahead->alternate;
        slot->at_once = ahead->each != 0; /* this one has nothing */
    }
    if (ahead)
        slot->note.each = ahead->each;
    if (!slot->note.alternate || slot->note.released) {
        slot->note.ahead = 0;
        return;
    }
    slot->changes++;
    slot->changed = now > 0 ? now : 1;
    slot->at_once |= !live;
    if (slot->at_once || (slot->note.each && slot->changes >= slot->note.each))
        slot->note.ahead = slot->changed;
    else if (!slot->note.ahead)
        slot->note.ahead = slot->changed + FS_SESSION_END_AFTER;
}

/* --- what is due --------------------------------------------------------------------------------
 */

typedef struct scan_t {
    fs_usec_t now;
    int all;
    unsigned limit;
    fs_session_look_fn *look;
    void *baton;
    unsigned *shown;
    fs_usec_t *next;
    unsigned early_count;
    fs_session_carried_t early[PUT_BACK];
} scan_t;

/* Shows one, or notes that it came up too early. */
static int show(fs_session_store_t *store, MDB_txn *txn, scan_t *scan, const fs_session_key_t *key,
                int *stop)
{
    const void *bytes;
    size_t length;
    slot_t slot;
    int error = fs_session_slot_get(store, txn, key, &slot, &bytes, &length);

    if (error)
        return error;
    if (!scan->all && due_at(&slot) > scan->now) {
        fs_session_carried_t *early = &scan->early[scan->early_count++];

        early->key = *key;
        early->version = slot.note.version;
        early->again = due_at(&slot);
        *stop = scan->early_count == PUT_BACK;
        return 0;
    }
    (*scan->shown)++;
    *stop = scan->look(scan->baton, key, &slot.note, bytes, length);
    return 0;
}

static int ahead_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    scan_t *scan = baton;
    MDB_val name, value;
    MDB_cursor *cursor;
    int stop = 0, error = mdb_cursor_open(txn, store->tables[AHEAD], &cursor);

    if (error)
        return error;
    *scan->shown = scan->early_count = 0;
    *scan->next = INT64_MAX;
    error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
    while (!error && !stop) {
        fs_session_key_t key;
        fs_usec_t due;

        if (name.mv_size != TIME_KEY_BYTES) {
            error = MDB_CORRUPTED;
            break;
        }
        fs_session_time_key_read(name.mv_data, &due, &key);
        if ((due > scan->now && !scan->all) || *scan->shown == scan->limit) {
            *scan->next = due;
            break;
        }
        error = show(store, txn, scan, &key, &stop);
        if (!error || error == MDB_NOTFOUND)
            error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
    }
    if (stop)
        *scan->next = scan->now;
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_ahead(fs_session_store_t *store, fs_usec_t now, int all,
                                    unsigned limit, fs_session_look_fn *look, void *baton,
                                    unsigned *shown, fs_usec_t *next, fs_result_t *result)
{
    scan_t scan = {.now = now,
                   .all = all,
                   .limit = limit,
                   .look = look,
                   .baton = baton,
                   .shown = shown,
                   .next = next};
    apr_status_t status = fs_session_store_work(store, READS, ahead_work, &scan, result);

    if (status == APR_SUCCESS && scan.early_count) {
        if (*next > scan.early[0].again)
            *next = scan.early[0].again;
        status = fs_session_store_carried(store, scan.early, scan.early_count, result);
    }
    return status;
}

/* --- what became of it --------------------------------------------------------------------------
 */

typedef struct carrying_t {
    const fs_session_carried_t *carried;
    unsigned count, done;
} carrying_t;

static int carry_one(fs_session_store_t *store, MDB_txn *txn, const fs_session_carried_t *carried)
{
    slot_t old, slot;
    const void *bytes;
    size_t length;
    int error = fs_session_slot_get(store, txn, &carried->key, &old, &bytes, &length);

    if (error || fs_session_stamp_compare(&carried->version, &old.note.version) != 0)
        return error;
    slot = old;
    slot.note.ahead = carried->again;
    if (!carried->again) {
        slot.changes = 0;
        slot.at_once = 0;
    }
    return fs_session_slot_update(store, txn, &carried->key, &old, &slot);
}

static int carried_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    carrying_t *carrying = baton;
    int error = 0;

    for (carrying->done = 0;
         (!error || error == MDB_NOTFOUND) && carrying->done < carrying->count &&
         carrying->done < TXN_ITEMS && store->moved < TXN_BYTES;
         carrying->done++)
        error = carry_one(store, txn, &carrying->carried[carrying->done]);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_session_store_carried(fs_session_store_t *store,
                                      const fs_session_carried_t *carried, unsigned count,
                                      fs_result_t *result)
{
    carrying_t carrying = {carried, count, 0};
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && carrying.count) {
        status = fs_session_store_work(store, TIDIES, carried_work, &carrying, result);
        carrying.carried += carrying.done;
        carrying.count -= carrying.done;
    }
    return status;
}

/* --- another alternate --------------------------------------------------------------------------
 */

typedef struct naming_t {
    const fs_session_key_t *key;
    const fs_session_ahead_t *ahead;
    fs_usec_t now;
} naming_t;

static int name_work(fs_session_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    const naming_t *naming = baton;
    slot_t old, slot;
    const void *bytes;
    size_t length;
    int error = fs_session_slot_get(store, txn, naming->key, &old, &bytes, &length);

    if (error)
        return error;
    if (old.note.alternate == naming->ahead->alternate && old.note.each == naming->ahead->each)
        return 0;
    slot = old;
    fs_session_ahead_note(&slot, naming->ahead, 1, naming->now);
    return fs_session_slot_update(store, txn, naming->key, &old, &slot);
}

apr_status_t fs_session_store_alternate(fs_session_store_t *store, const fs_session_key_t *key,
                                        const fs_session_ahead_t *ahead, fs_usec_t now,
                                        fs_result_t *result)
{
    naming_t naming = {key, ahead, now};
    apr_status_t status = fs_session_store_work(store, TIDIES, name_work, &naming, result);

    if (status == APR_SUCCESS)
        fs_session_bell_ring(store->bell, 0);
    return status;
}
