/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions over the bank's copies: slots and their index. */
#include "bank_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bank_internal.h"

#define STATES  (FS_SESSION_ITEM_ENDED | FS_SESSION_ITEM_ALIAS)
#define GRANTED 0x80 /* in a slot's flags: fs_session_hold_t */
/* A change copies pages of the trees, each for the first time in a transaction: of the deepest ones
 * that the limits allow, with splits, no more than these on the average. */
#define CHANGE_BYTES ((size_t)20 * 4096)
#define SPEND_LIMIT  ((size_t)4 << 20)
#define LEAST_AHEAD  ((size_t)512 << 10) /* for what isn't a copy */
/* Kept free of copies, so that on a full disk what has expired can still go. */
#define KEEP_AHEAD   ((size_t)2 << 20)
#define EXPIRE_FIRST 8 /* looked at for a new copy when it is full */
#define GROWTH       4 /* what is held may grow beyond the limit by a fourth of it */

/* A session as it is held: both copies. */
typedef struct held_t {
    fs_session_hold_t hold;
    fs_bank_slot_t slot, aside_slot;
    char aside_owner[FS_SESSION_NAME_SIZE];
    const uint8_t *sealed, *aside_sealed;
    size_t length, aside_length;
} held_t;

apr_status_t fs_bank_failed(int error, fs_result_t *result)
{
    const char *remedy = error == ENOSPC || error == MDB_MAP_FULL
                             ? "free space for SessionDir, or raise SessionMemory"
                         : error < 0 ? "its file may be damaged: restart datasrv, which checks it"
                                     : "check SessionDir's owner and disk";

    return fs_result_set(result, error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL, "FS1404",
                         "the session bank cannot be read or written: %s; %s", mdb_strerror(error),
                         remedy);
}

/* --- transactions --------------------------------------------------------------------------------
 */

static int get_number(const fs_bank_work_t *work, const char *name, uint64_t *number)
{
    MDB_val key = {strlen(name), (void *)name}, value;
    int error = mdb_get(work->txn, work->store->tables[BANK_META], &key, &value);

    if (!error && value.mv_size != sizeof(*number))
        error = MDB_CORRUPTED;
    if (!error)
        memcpy(number, value.mv_data, sizeof(*number));
    return error;
}

/* Before a change that may use so many bytes more of the file. LMDB has one writer, and who began
 * is it; what a transaction adds is behind what was used when it began. */
static int claim_space(fs_bank_work_t *work, size_t bytes, size_t keep)
{
    int error = fs_bank_reserve(work->store, work->spent + CHANGE_BYTES + bytes + keep);

    if (!error)
        work->spent += CHANGE_BYTES + bytes;
    return error;
}

static int begin_txn(fs_bank_work_t *work)
{
    int error = mdb_txn_begin(work->store->env, NULL, work->writes ? 0 : MDB_RDONLY, &work->txn);

    if (error) {
        work->txn = NULL;
        return error;
    }
    if (work->writes)
        error = fs_bank_reserve(work->store, LEAST_AHEAD);
    if (!error)
        error = get_number(work, "sequence", &work->sequence);
    if (error)
        fs_bank_abort(work);
    return error;
}

int fs_bank_begin(fs_bank_work_t *work, fs_bank_store_t *store, const fs_bank_leases_t *leases,
                  int writes, fs_usec_t now)
{
    memset(work, 0, sizeof(*work));
    work->store = store;
    work->leases = leases;
    work->now = now;
    work->writes = writes;
    return begin_txn(work);
}

int fs_bank_step(fs_bank_work_t *work)
{
    int error = 0;

    if (work->writes && work->spent > SPEND_LIMIT && !(error = fs_bank_commit(work))) {
        work->spent = 0;
        error = begin_txn(work);
    }
    return error;
}

int fs_bank_commit(fs_bank_work_t *work)
{
    MDB_val key = {8, "sequence"}, value = {sizeof(work->sequence), &work->sequence};
    uint64_t before;
    int error = get_number(work, "sequence", &before);

    if (!error && before != work->sequence)
        error = mdb_put(work->txn, work->store->tables[BANK_META], &key, &value, 0);
    if (error) {
        fs_bank_abort(work);
        return error;
    }
    error = mdb_txn_commit(work->txn);
    work->txn = NULL;
    return error;
}

void fs_bank_abort(fs_bank_work_t *work)
{
    if (work->txn)
        mdb_txn_abort(work->txn);
    work->txn = NULL;
}

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

static int has_expired(const fs_bank_work_t *work, fs_usec_t expires)
{
    return work->now && expires <= work->now;
}

static int look_up(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key,
                   fs_bank_slot_t *slot, char owner[FS_SESSION_NAME_SIZE], const uint8_t **sealed,
                   size_t *length)
{
    MDB_val name = key_val(key), value;
    int error = mdb_get(work->txn, work->store->tables[table], &name, &value);

    return error ? error : fs_bank_slot_read(&value, slot, owner, sealed, length);
}

/* What is held of a key; one that has expired counts as nothing. */
static int find(fs_bank_work_t *work, const fs_session_key_t *key, held_t *held)
{
    int error;

    memset(held, 0, sizeof(*held));
    error =
        look_up(work, BANK_MAIN, key, &held->slot, held->hold.owner, &held->sealed, &held->length);
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    if (has_expired(work, held->slot.expires)) {
        memset(held->hold.owner, 0, sizeof(held->hold.owner));
        return 0;
    }
    held->hold.held = 1;
    held->hold.granted = (held->slot.flags & GRANTED) != 0;
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

/* The copy must not be in the store's own pages: those may move. */
static int put_slot(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key,
                    fs_bank_slot_t *slot, const char *owner, const void *sealed, size_t length)
{
    MDB_val name = key_val(key), value;
    uint8_t *at;
    int error;

    slot->owner = (uint8_t)strlen(owner);
    value.mv_size = sizeof(*slot) + slot->owner + length;
    if ((error = claim_space(work, value.mv_size, KEEP_AHEAD)))
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
static int put_main(fs_bank_work_t *work, const fs_session_key_t *key, const held_t *held,
                    fs_bank_slot_t *slot, const void *sealed, size_t length)
{
    fs_usec_t indexed = held->slot.indexed;
    int error = 0;

    slot->sequence = ++work->sequence;
    slot->flags = (uint8_t)((slot->flags & STATES) | (held->hold.granted ? GRANTED : 0));
    slot->indexed = indexed && indexed <= slot->expires ? indexed : slot->expires;
    if (slot->indexed != indexed) {
        if (indexed)
            error = index_time(work, key, indexed, 0);
        if (!error)
            error = index_time(work, key, slot->indexed, 1);
    }
    return error ? error : put_slot(work, BANK_MAIN, key, slot, held->hold.owner, sealed, length);
}

/* The same copy with another owner. */
static int put_owner(fs_bank_work_t *work, const fs_session_key_t *key, const held_t *held)
{
    fs_bank_slot_t slot = held->slot;
    uint8_t *copy = malloc(held->length + 1);
    int error;

    if (!copy)
        return ENOMEM;
    memcpy(copy, held->sealed, held->length);
    error = put_main(work, key, held, &slot, copy, held->length);
    free(copy);
    return error;
}

static int remove_key(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key)
{
    MDB_val name = key_val(key);
    int error = mdb_del(work->txn, work->store->tables[table], &name, NULL);

    return error == MDB_NOTFOUND ? 0 : error;
}

/* --- limits --------------------------------------------------------------------------------------
 */

int fs_bank_count(fs_bank_work_t *work, fs_bank_totals_t *totals)
{
    MDB_stat stat;

    memset(totals, 0, sizeof(*totals));
    for (fs_bank_table_t table = BANK_MAIN; table <= BANK_EXPIRY; table++) {
        int error = mdb_stat(work->txn, work->store->tables[table], &stat);

        if (error)
            return error;
        totals->bytes += (uint64_t)stat.ms_psize *
                         (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
        if (table == BANK_MAIN)
            totals->sessions = stat.ms_entries;
        if (table == BANK_ASIDE)
            totals->aside = stat.ms_entries;
    }
    totals->sequence = work->sequence;
    totals->limit_bytes = work->store->limits.bytes;
    totals->limit_sessions = work->store->limits.sessions;
    totals->full = totals->bytes >= totals->limit_bytes ||
                   (totals->limit_sessions && totals->sessions >= totals->limit_sessions);
    return 0;
}

/* Whether a copy finds room; expired ones make way for a new one. */
static int has_room(fs_bank_work_t *work, const held_t *held, size_t length, int *room)
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

int fs_bank_expire(fs_bank_work_t *work, unsigned limit, int *more)
{
    MDB_dbi expiry = work->store->tables[BANK_EXPIRY];
    int error = 0;

    *more = 0;
    for (unsigned i = 0; work->now && i < limit && work->spent <= SPEND_LIMIT; i++) {
        char owner[FS_SESSION_NAME_SIZE];
        const uint8_t *sealed;
        fs_bank_slot_t slot;
        fs_session_key_t key;
        fs_usec_t time = 0;
        MDB_val name, value;
        MDB_cursor *cursor;
        size_t length;

        if ((error = mdb_cursor_open(work->txn, expiry, &cursor)))
            return error;
        error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
        mdb_cursor_close(cursor);
        if (error == MDB_NOTFOUND)
            return 0;
        if (!error && name.mv_size != FS_BANK_TIME_BYTES)
            error = MDB_CORRUPTED;
        if (error)
            return error;
        for (unsigned b = 0; b < 8; b++)
            time = (fs_usec_t)((uint64_t)time << 8 | ((const uint8_t *)name.mv_data)[b]);
        memcpy(key.bytes, (const uint8_t *)name.mv_data + 8, FS_SESSION_KEY_BYTES);
        if (time > work->now)
            return 0;
        if ((error = claim_space(work, 0, LEAST_AHEAD)))
            return error;
        error = look_up(work, BANK_MAIN, &key, &slot, owner, &sealed, &length);
        if (error && error != MDB_NOTFOUND)
            return error;
        if (!error && slot.indexed == time && slot.expires > work->now) {
            uint8_t *copy = malloc(length + 1);

            if (!copy)
                return ENOMEM;
            memcpy(copy, sealed, length);
            slot.indexed = slot.expires;
            error = put_slot(work, BANK_MAIN, &key, &slot, owner, copy, length);
            free(copy);
            if (!error)
                error = index_time(work, &key, slot.indexed, 1);
        } else if (!error && slot.indexed == time) {
            error = remove_key(work, BANK_MAIN, &key);
            if (!error)
                error = remove_key(work, BANK_ASIDE, &key);
            work->removed++;
        }
        if (!error || error == MDB_NOTFOUND)
            error = index_time(work, &key, time, 0);
        if (error)
            return error;
    }
    *more = work->now != 0;
    return 0;
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void begin_answer(fs_session_item_t *answer, const fs_session_key_t *key)
{
    answer->key = *key;
    answer->what = FS_SESSION_WHAT_REFUSED;
    answer->flags = answer->parts = 0;
}

static void give(fs_session_item_t *answer, const fs_bank_slot_t *slot, const uint8_t *sealed,
                 size_t length)
{
    answer->parts |= FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
    answer->version = slot->version;
    answer->expires = slot->expires;
    answer->flags |= slot->flags & STATES;
    answer->sealed = sealed;
    answer->sealed_length = (uint32_t)length;
}

/* Another owner than who asks, and what is left of its lease. */
static void name_owner(fs_session_item_t *answer, const char *owner, const char *origin,
                       fs_usec_t left)
{
    if (!owner[0] || !strcmp(owner, origin))
        return;
    answer->parts |= FS_SESSION_PART_OWNER | FS_SESSION_PART_LEASE;
    memcpy(answer->owner, owner, sizeof(answer->owner));
    answer->lease = (uint32_t)(left > 0 ? (left + FS_USEC_PER_MSEC - 1) / FS_USEC_PER_MSEC : 0);
}

static fs_usec_t lease_of(const fs_bank_work_t *work, const char *owner, const char *taker)
{
    return owner[0] && strcmp(owner, taker) != 0
               ? work->leases->left(work->leases->baton, owner, taker)
               : 0;
}

static void tell_moved(const fs_bank_work_t *work, const fs_session_key_t *key, const char *from,
                       const char *to)
{
    if (from[0] && strcmp(from, to) != 0)
        work->leases->moved(work->leases->baton, key, from, to);
}

/* --- offers --------------------------------------------------------------------------------------
 */

static int store_offered(fs_bank_work_t *work, const fs_session_item_t *item, const held_t *held,
                         fs_session_item_t *answer)
{
    fs_bank_slot_t slot = {.version = item->version, .expires = item->expires};
    int room = 0, error = has_room(work, held, item->sealed_length, &room);

    if (error || !room) {
        answer->what = FS_SESSION_WHAT_FULL;
        return error;
    }
    slot.flags = (uint8_t)(item->flags & STATES);
    answer->what = FS_SESSION_WHAT_STORED;
    work->stored++;
    if (held->slot.indexed && has_expired(work, held->slot.expires))
        error = remove_key(work, BANK_ASIDE, &item->key);
    if (error)
        return error;
    return put_main(work, &item->key, held, &slot, item->sealed, item->sealed_length);
}

/* Answers with what the host is to merge. */
static void ask_to_merge(fs_bank_work_t *work, const held_t *held, fs_session_item_t *answer)
{
    answer->what = FS_SESSION_WHAT_MERGE;
    work->merges++;
    if (held->hold.aside)
        give(answer, &held->aside_slot, held->aside_sealed, held->aside_length);
    else
        give(answer, &held->slot, held->sealed, held->length);
}

/* States only go forward: who offers a copy of one that has ended merges first. */
static int goes_back(const held_t *held, const fs_session_item_t *item)
{
    unsigned now = held->slot.flags & STATES, then = item->flags & STATES;

    return held->hold.held && now > 0 && !(then & FS_SESSION_ITEM_ENDED) &&
           (then == 0 || now & FS_SESSION_ITEM_ENDED);
}

/* The later copy wins; what only a host can merge with it goes aside. */
static int replace(fs_bank_work_t *work, const fs_session_item_t *item, const held_t *was,
                   const held_t *held, int aside, fs_session_item_t *answer)
{
    fs_bank_slot_t slot = was->slot;
    uint8_t *copy = malloc(was->length + 1); /* storing moves what `was` points to */
    int error;

    if (!copy)
        return ENOMEM;
    if (was->length)
        memcpy(copy, was->sealed, was->length);
    error = store_offered(work, item, held, answer);
    slot.indexed = 0;
    if (!error && answer->what == FS_SESSION_WHAT_STORED && aside)
        error = put_slot(work, BANK_ASIDE, &item->key, &slot, was->hold.owner, copy, was->length);
    if (!error && answer->what == FS_SESSION_WHAT_STORED)
        tell_moved(work, &item->key, was->hold.owner, held->hold.owner);
    free(copy);
    return error;
}

/* From another bank server. */
static int offer_copy(fs_bank_work_t *work, const fs_session_item_t *item, held_t *held,
                      fs_session_item_t *answer)
{
    fs_session_hold_t theirs = {.held = 1, .version = item->version};
    fs_bank_slot_t slot = {.version = item->version, .expires = item->expires};
    const held_t was = *held;
    fs_session_copied_t copied;

    answer->what = FS_SESSION_WHAT_HAVE;
    if (item->parts & FS_SESSION_PART_OWNER)
        memcpy(theirs.owner, item->owner, sizeof(theirs.owner));
    if (goes_back(held, item))
        return 0;
    copied = fs_session_hold_copy(&held->hold, &theirs);
    if (copied == FS_SESSION_COPY_IGNORED)
        return 0;
    if (copied != FS_SESSION_COPY_ASIDE_THEIRS)
        return replace(work, item, &was, held, copied == FS_SESSION_COPY_ASIDE, answer);
    answer->what = FS_SESSION_WHAT_STORED;
    slot.flags = (uint8_t)(item->flags & STATES);
    return put_slot(work, BANK_ASIDE, &item->key, &slot, theirs.owner, item->sealed,
                    item->sealed_length);
}

int fs_bank_offer(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                  size_t room, fs_session_item_t *answer)
{
    fs_session_offering_t offering = {.origin = origin, .version = item->version};
    char before[FS_SESSION_NAME_SIZE];
    fs_session_offered_t what;
    int fenced = 0, had_aside;
    fs_usec_t left;
    held_t held;
    int error = find(work, &item->key, &held);

    begin_answer(answer, &item->key);
    if (error)
        return error;
    if (item->flags & FS_SESSION_ITEM_COPY)
        return offer_copy(work, item, &held, answer);
    if (held.length > room || held.aside_length > room)
        return 0;
    offering.owner = item->flags & FS_SESSION_ITEM_RELEASED ? ""
                     : item->parts & FS_SESSION_PART_OWNER  ? item->owner
                                                            : origin;
    if (item->parts & FS_SESSION_PART_BASE && !goes_back(&held, item))
        offering.base = &item->base;
    memcpy(before, held.hold.owner, sizeof(before));
    had_aside = held.hold.aside;
    left = lease_of(work, before, origin);
    what = fs_session_hold_offer(&held.hold, left, &offering, &fenced);
    if (had_aside && !held.hold.aside)
        error = remove_key(work, BANK_ASIDE, &item->key);
    if (!error && what == FS_SESSION_TAKE)
        error = store_offered(work, item, &held, answer);
    else if (!error && strcmp(before, held.hold.owner) != 0)
        error = put_owner(work, &item->key, &held);
    if (error || answer->what == FS_SESSION_WHAT_FULL)
        return error;
    if (what == FS_SESSION_HAVE)
        answer->what = FS_SESSION_WHAT_HAVE;
    tell_moved(work, &item->key, before, held.hold.owner);
    if (what == FS_SESSION_MERGE) {
        /* put_owner may have moved what `held` points to */
        error = find(work, &item->key, &held);
        ask_to_merge(work, &held, answer);
    }
    name_owner(answer, held.hold.owner, origin, left);
    answer->flags |= fenced ? FS_SESSION_ITEM_FENCED : 0;
    return error;
}

/* --- taking --------------------------------------------------------------------------------------
 */

int fs_bank_take(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                 size_t room, fs_session_item_t *answer, fs_session_item_t *aside)
{
    const char *from = item->parts & FS_SESSION_PART_OWNER ? item->owner : "";
    fs_session_granted_t granted = FS_SESSION_OWNED;
    char before[FS_SESSION_NAME_SIZE];
    fs_usec_t left;
    held_t held;
    int error = find(work, &item->key, &held);

    begin_answer(answer, &item->key);
    begin_answer(aside, &item->key);
    if (error || held.length + held.aside_length > room)
        return error;
    memcpy(before, held.hold.owner, sizeof(before));
    left = lease_of(work, before, origin);
    if (!held.hold.held)
        granted = FS_SESSION_UNKNOWN;
    else if (!(item->flags & FS_SESSION_ITEM_PEEK))
        granted = fs_session_hold_take(&held.hold, left, origin, from);
    if (strcmp(before, held.hold.owner) != 0) {
        error = put_owner(work, &item->key, &held);
        if (!error)
            error = find(work, &item->key, &held); /* where it is now */
        if (error)
            return error;
        tell_moved(work, &item->key, before, origin);
    }
    answer->what = granted == FS_SESSION_UNKNOWN   ? FS_SESSION_WHAT_UNKNOWN
                   : granted == FS_SESSION_GRANTED ? FS_SESSION_WHAT_GRANTED
                                                   : FS_SESSION_WHAT_OWNED;
    aside->what = answer->what;
    if (granted == FS_SESSION_GRANTED)
        work->granted++;
    else if (granted == FS_SESSION_OWNED && !(item->flags & FS_SESSION_ITEM_PEEK))
        work->refused++;
    if (granted == FS_SESSION_OWNED && item->flags & FS_SESSION_ITEM_WANTED)
        work->leases->wanted(work->leases->baton, &item->key, held.hold.owner, origin);
    if (granted == FS_SESSION_UNKNOWN)
        return 0;
    if (!(item->parts & FS_SESSION_PART_VERSION) ||
        fs_session_stamp_compare(&item->version, &held.slot.version) != 0)
        give(answer, &held.slot, held.sealed, held.length);
    if (held.hold.aside)
        give(aside, &held.aside_slot, held.aside_sealed, held.aside_length);
    if (granted == FS_SESSION_GRANTED && strcmp(before, from) != 0)
        name_owner(answer, before, origin, 0); /* he may only not be heard here */
    else
        name_owner(answer, held.hold.owner, item->flags & FS_SESSION_ITEM_PEEK ? "" : origin, left);
    return 0;
}

int fs_bank_compare(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                    fs_session_item_t *answer, int *differs)
{
    held_t held;
    int error = find(work, &item->key, &held);

    *differs = 0;
    begin_answer(answer, &item->key);
    if (error)
        return error;
    if (!held.hold.held) {
        answer->what = FS_SESSION_WHAT_UNKNOWN;
        *differs = 1;
        return 0;
    }
    answer->what = FS_SESSION_WHAT_DIFFERS;
    answer->flags = held.slot.flags & STATES;
    answer->version = held.slot.version;
    answer->parts = FS_SESSION_PART_VERSION;
    if (held.hold.owner[0]) {
        answer->parts |= FS_SESSION_PART_OWNER;
        memcpy(answer->owner, held.hold.owner, sizeof(answer->owner));
    }
    *differs = fs_session_stamp_compare(&item->version, &held.slot.version) != 0 ||
               held.hold.aside ||
               (strncmp(origin, FS_BANK_PEER_PREFIX, strlen(FS_BANK_PEER_PREFIX)) != 0 &&
                strcmp(held.hold.owner, origin) != 0);
    return 0;
}

int fs_bank_wants(fs_bank_work_t *work, const fs_session_item_t *label, int *wants)
{
    fs_session_hold_t theirs = {.held = 1, .version = label->version};
    held_t held;
    int error = find(work, &label->key, &held);

    if (label->parts & FS_SESSION_PART_OWNER)
        memcpy(theirs.owner, label->owner, sizeof(theirs.owner));
    *wants = !error && !goes_back(&held, label) &&
             !(held.hold.aside &&
               !fs_session_stamp_compare(&held.hold.aside_version, &label->version)) &&
             fs_session_hold_copy(&held.hold, &theirs) != FS_SESSION_COPY_IGNORED;
    return error;
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
        label.flags = slot.flags & STATES;
        label.parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES;
        label.parts |= label.owner[0] ? FS_SESSION_PART_OWNER : 0;
        if (slot.sequence > since && !has_expired(work, slot.expires) && see(baton, &label)) {
            *more = 1;
            break;
        }
        *last = label.key;
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

/* --- hosts and peers -----------------------------------------------------------------------------
 */

int fs_bank_put_host(fs_bank_work_t *work, const char *name, uint32_t lease_ms)
{
    MDB_val key = {strlen(name), (void *)name}, value = {sizeof(lease_ms), &lease_ms};

    return mdb_put(work->txn, work->store->tables[BANK_HOSTS], &key, &value, 0);
}

int fs_bank_each_host(fs_bank_work_t *work,
                      void (*see)(void *baton, const char *name, uint32_t lease_ms), void *baton)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(work->txn, work->store->tables[BANK_HOSTS], &cursor);

    if (error)
        return error;
    while (!(error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT))) {
        char text[FS_SESSION_NAME_SIZE] = "";
        uint32_t lease;

        if (name.mv_size >= sizeof(text) || value.mv_size != sizeof(lease))
            continue;
        memcpy(text, name.mv_data, name.mv_size);
        memcpy(&lease, value.mv_data, sizeof(lease));
        see(baton, text, lease);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

static MDB_val mark_key(const char *peer, char room[FS_SESSION_NAME_SIZE + 5])
{
    MDB_val key = {0, room};

    memcpy(room, "peer ", 5);
    key.mv_size = 5 + strnlen(peer, FS_SESSION_NAME_SIZE - 1);
    memcpy(room + 5, peer, key.mv_size - 5);
    return key;
}

int fs_bank_get_mark(fs_bank_work_t *work, const char *peer, fs_bank_mark_t *mark)
{
    char room[FS_SESSION_NAME_SIZE + 5];
    MDB_val key = mark_key(peer, room), value;
    int error = mdb_get(work->txn, work->store->tables[BANK_META], &key, &value);

    if (!error && value.mv_size != sizeof(*mark))
        error = MDB_NOTFOUND;
    if (!error)
        memcpy(mark, value.mv_data, sizeof(*mark));
    return error;
}

int fs_bank_put_mark(fs_bank_work_t *work, const char *peer, const fs_bank_mark_t *mark)
{
    char room[FS_SESSION_NAME_SIZE + 5];
    MDB_val key = mark_key(peer, room), value = {sizeof(*mark), (void *)mark};

    return mdb_put(work->txn, work->store->tables[BANK_META], &key, &value, 0);
}
