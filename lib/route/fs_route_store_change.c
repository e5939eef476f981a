/* SPDX-License-Identifier: Apache-2.0 */
/* What requests change, and what the agent tidies. */
#include "route/fs_route_store_internal.h"

#include <string.h>

#define SEEN_SHARE 8   /* of `idle`: how exactly it is known when a visitor was seen */
#define BATCH      256 /* removed in one transaction */

/* --- claim and seen ------------------------------------------------------------------------------
 */

typedef struct claim_t {
    const fs_route_visitor_t *visitor;
    fs_usec_t now;
    fs_route_visitor_t *is;
} claim_t;

/* Takes over what the claim says of the same statement: that it is confirmed, and was seen. */
static void refresh(slot_t *slot, const slot_t *old)
{
    slot->confirmed = slot->confirmed || old->confirmed;
    slot->former = old->former;
    if (!slot->confirmed)
        slot->seen = old->seen; /* its key in FRESH */
}

static int claim_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    claim_t *claim = baton;
    const uint8_t *id = claim->visitor->id;
    fs_route_visitor_t there;
    slot_t slot, old;
    int error = fs_route_slot_get(store, txn, id, &old), known = !error, order = -1;

    if (error && error != MDB_NOTFOUND)
        return error;
    if (known) {
        fs_route_slot_show(store, txn, id, &old, &there);
        order = fs_route_visitor_compare(&there, claim->visitor);
        if (order > 0) {
            if (claim->is)
                *claim->is = there;
            return fs_route_refuse(result, APR_EMISMATCH);
        }
    } else if ((error = fs_route_check_room(store, txn, !claim->visitor->confirmed, result)) != 0) {
        return error;
    }
    error = fs_route_slot_make(store, txn, claim->visitor, claim->now, &slot);
    if (!error && known && order == 0)
        refresh(&slot, &old);
    if (!error)
        error = fs_route_slot_put(store, txn, id, known ? &old : NULL, &slot, 1);
    if (!error && claim->is)
        fs_route_slot_show(store, txn, id, &slot, claim->is);
    return error;
}

apr_status_t fs_route_store_claim(fs_route_store_t *store, const fs_route_visitor_t *visitor,
                                  fs_usec_t now, fs_route_visitor_t *is, fs_result_t *result)
{
    claim_t claim = {visitor, now, is};

    return fs_route_store_work(store, 1, claim_work, &claim, result);
}

typedef struct seen_t {
    const uint8_t *id;
    uint32_t now;
    uint32_t idle;
    fs_route_visitor_t *is;
    int due; /* to be written */
} seen_t;

static int seen_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    seen_t *seen = baton;
    slot_t slot;
    int error = fs_route_slot_get(store, txn, seen->id, &slot);

    (void)result;
    if (error)
        return error;
    seen->due = slot.primary == store->self &&
                (!slot.confirmed ||
                 (seen->now > slot.seen && seen->now - slot.seen >= seen->idle / SEEN_SHARE));
    if (seen->is)
        fs_route_slot_show(store, txn, seen->id, &slot, seen->is);
    return 0;
}

static int see_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    seen_t *seen = baton;
    slot_t old, slot;
    int error = seen_work(store, txn, seen, result);

    if (error || !seen->due)
        return error;
    error = fs_route_slot_get(store, txn, seen->id, &old);
    slot = old;
    slot.confirmed = 1;
    slot.seen = seen->now;
    if (!error)
        error = fs_route_slot_put(store, txn, seen->id, &old, &slot, 1);
    if (!error && seen->is)
        fs_route_slot_show(store, txn, seen->id, &slot, seen->is);
    return error;
}

apr_status_t fs_route_store_seen(fs_route_store_t *store, const uint8_t id[FS_ROUTE_ID_BYTES],
                                 fs_usec_t now, fs_usec_t idle, fs_route_visitor_t *is,
                                 fs_result_t *result)
{
    seen_t seen = {id, fs_route_seconds(now), fs_route_seconds(idle), is, 0};
    apr_status_t status = fs_route_store_work(store, 0, seen_work, &seen, result);

    if (status != APR_SUCCESS || !seen.due)
        return status;
    return fs_route_store_work(store, 1, see_work, &seen, result);
}

/* --- nonces --------------------------------------------------------------------------------------
 */

typedef struct nonce_t {
    const uint8_t *nonce;
    uint32_t expires;
    uint32_t now;
} nonce_t;

/* Removes the first keys of a table of times, up to `before` (included), at most `most`. */
static int drop_first(fs_route_store_t *store, MDB_txn *txn, table_t table, uint32_t before,
                      unsigned most, unsigned *dropped)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int error = mdb_cursor_open(txn, store->tables[table], &cursor);

    if (error)
        return error;
    while (!error && *dropped < most) {
        error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        if (error || key.mv_size != TIME_KEY_BYTES || fs_route_pair_number(key.mv_data) > before)
            break;
        error = mdb_cursor_del(cursor, 0);
        *dropped += !error;
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

static int nonce_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    nonce_t *nonce = baton;
    uint8_t bytes[TIME_KEY_BYTES];
    MDB_val key = {sizeof(bytes), bytes}, value = {0, NULL};
    unsigned dropped = 0;
    uint64_t count;
    int error = fs_route_entries(store, txn, NONCES, &count);

    if (!error && nonce->now)
        error = drop_first(store, txn, NONCES, nonce->now - 1, 2, &dropped);
    if (!error && count - dropped >= store->limits.nonces)
        error = drop_first(store, txn, NONCES, UINT32_MAX, dropped + 1, &dropped);
    if (error)
        return error;
    fs_route_pair_key(bytes, nonce->expires, nonce->nonce);
    error = mdb_put(txn, store->tables[NONCES], &key, &value, MDB_NOOVERWRITE);
    return error == MDB_KEYEXIST ? fs_route_refuse(result, APR_EEXIST) : error;
}

apr_status_t fs_route_store_nonce(fs_route_store_t *store,
                                  const uint8_t nonce[FS_ROUTE_NONCE_BYTES], fs_usec_t expires,
                                  fs_usec_t now, fs_result_t *result)
{
    nonce_t used = {nonce, fs_route_seconds(expires), fs_route_seconds(now)};

    return fs_route_store_work(store, 1, nonce_work, &used, result);
}

/* --- own visitors, one after the other -----------------------------------------------------------
 */

typedef struct walk_t walk_t;
/* Whether a visitor is one that is looked for. */
typedef int wanted_fn(const walk_t *walk, const slot_t *slot);

struct walk_t {
    uint32_t home;
    uint8_t *after; /* all 0: from the first */
    unsigned look;  /* at so many at most */
    unsigned most;  /* found, at most */
    wanted_fn *wanted;
    uint32_t number; /* what it is looked for by */
    uint32_t before;
    uint8_t (*found)[FS_ROUTE_ID_BYTES];
    unsigned count;
};

/* In a transaction that reads, so that nobody waits while it looks. */
static int walk_home(fs_route_store_t *store, MDB_txn *txn, walk_t *walk)
{
    uint8_t bytes[HOME_KEY_BYTES];
    MDB_val key = {sizeof(bytes), bytes}, value;
    MDB_cursor *cursor;
    unsigned looked = 0;
    slot_t slot;
    int error = mdb_cursor_open(txn, store->tables[HOMES], &cursor);

    if (error)
        return error;
    fs_route_pair_key(bytes, walk->home, walk->after);
    error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!error && key.mv_size == HOME_KEY_BYTES &&
           fs_route_pair_number(key.mv_data) == walk->home && looked < walk->look &&
           walk->count < walk->most) {
        const uint8_t *id = (const uint8_t *)key.mv_data + 4;

        /* The one it went on from was looked at already; an id of 0 is nobody's. */
        if (memcmp(id, walk->after, FS_ROUTE_ID_BYTES) != 0) {
            looked++;
            if (!fs_route_slot_get(store, txn, id, &slot) && walk->wanted(walk, &slot))
                memcpy(walk->found[walk->count++], id, FS_ROUTE_ID_BYTES);
            memcpy(walk->after, id, FS_ROUTE_ID_BYTES);
        }
        error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (error == MDB_NOTFOUND || (!error && (key.mv_size != HOME_KEY_BYTES ||
                                             fs_route_pair_number(key.mv_data) != walk->home)))
        memset(walk->after, 0, FS_ROUTE_ID_BYTES);
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

typedef struct tidy_t {
    walk_t walk;
    const char *name; /* of the server by whom it is looked for */
    fs_usec_t now;
    unsigned done;
    unsigned nonces;
} tidy_t;

static int look_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    tidy_t *tidy = baton;
    int error = 0;

    (void)result;
    if (tidy->name)
        error = fs_route_number(store, txn, tidy->name, 0, &tidy->walk.number);
    if (!error && !tidy->walk.home)
        tidy->walk.home = tidy->walk.number;
    return error || !tidy->walk.home ? error : walk_home(store, txn, &tidy->walk);
}

/* Calls `change` for each that was found, if it is still wanted. */
typedef int change_fn(fs_route_store_t *store, MDB_txn *txn, tidy_t *tidy, const uint8_t *id,
                      const slot_t *old);

static int change_found(fs_route_store_t *store, MDB_txn *txn, tidy_t *tidy, change_fn *change)
{
    slot_t old;

    tidy->done = 0;
    for (unsigned i = 0; i < tidy->walk.count; i++) {
        const uint8_t *id = tidy->walk.found[i];
        int error = fs_route_slot_get(store, txn, id, &old);

        if (error == MDB_NOTFOUND ||
            (!error && (old.primary != tidy->walk.home || !tidy->walk.wanted(&tidy->walk, &old))))
            continue;
        if (!error)
            error = change(store, txn, tidy, id, &old);
        if (error)
            return error;
        tidy->done++;
    }
    return 0;
}

static int remove_told(fs_route_store_t *store, MDB_txn *txn, tidy_t *tidy, const uint8_t *id,
                       const slot_t *old)
{
    (void)tidy;
    return fs_route_slot_put(store, txn, id, old, NULL, 1);
}

static int remove_silently(fs_route_store_t *store, MDB_txn *txn, tidy_t *tidy, const uint8_t *id,
                           const slot_t *old)
{
    (void)tidy;
    return fs_route_slot_put(store, txn, id, old, NULL, 0);
}

/* --- sweep ---------------------------------------------------------------------------------------
 */

static int is_idle(const walk_t *walk, const slot_t *slot)
{
    return slot->confirmed && slot->seen < walk->before;
}

static int idle_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    (void)result;
    return change_found(store, txn, baton, remove_told);
}

/* Who came once, long enough ago; one transaction's worth. */
static int fresh_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    tidy_t *tidy = baton;
    uint8_t id[FS_ROUTE_ID_BYTES];
    MDB_cursor *cursor;
    MDB_val key, value;
    slot_t old;
    int error = mdb_cursor_open(txn, store->tables[FRESH], &cursor);

    (void)result;
    for (tidy->done = 0; !error && tidy->done < BATCH; tidy->done++) {
        error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        if (error || key.mv_size != TIME_KEY_BYTES ||
            fs_route_pair_number(key.mv_data) >= tidy->walk.before)
            break;
        memcpy(id, (const uint8_t *)key.mv_data + 4, sizeof(id));
        error = fs_route_slot_get(store, txn, id, &old);
        if (error || old.confirmed) /* the index is behind: that mustn't be, but must not last */
            error = mdb_cursor_del(cursor, 0);
        else
            error = fs_route_slot_put(store, txn, id, &old, NULL, 0);
    }
    if (error && error != MDB_NOTFOUND) {
        mdb_cursor_close(cursor);
        return error;
    }
    mdb_cursor_close(cursor);
    return drop_first(store, txn, NONCES, fs_route_seconds(tidy->now) - 1, BATCH, &tidy->nonces);
}

/* Whether a table of times has something that is over, so that nobody takes the lock for nothing.
 */
static int over_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    const tidy_t *tidy = baton;
    const table_t tables[] = {FRESH, NONCES};
    const uint32_t before[] = {tidy->walk.before, fs_route_seconds(tidy->now)};
    int over = 0;

    (void)result;
    for (unsigned i = 0; i < 2; i++) {
        MDB_val key, value;
        MDB_cursor *cursor;
        int error = mdb_cursor_open(txn, store->tables[tables[i]], &cursor);

        if (error)
            return error;
        error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        over |= !error && fs_route_pair_number(key.mv_data) < before[i];
        mdb_cursor_close(cursor);
    }
    return over ? 0 : MDB_NOTFOUND;
}

apr_status_t fs_route_store_sweep(fs_route_store_t *store, fs_usec_t now, fs_usec_t idle,
                                  unsigned most, fs_route_swept_t *swept, fs_result_t *result)
{
    uint8_t found[BATCH][FS_ROUTE_ID_BYTES];
    tidy_t fresh = {.now = now}, old = {.now = now};
    apr_status_t status;
    int dead;

    fresh.walk.before = fs_route_seconds(now - FS_ROUTE_CONFIRM_S * FS_USEC_PER_SEC);
    swept->unconfirmed = swept->idle = swept->nonces = 0;
    status = fs_route_store_work(store, 0, over_work, &fresh, result);
    if (status == APR_SUCCESS)
        status = fs_route_store_work(store, 1, fresh_work, &fresh, result);
    if (status != APR_SUCCESS && status != APR_NOTFOUND)
        return status;
    swept->unconfirmed = fresh.done;
    swept->nonces = fresh.nonces;
    old.walk = (walk_t){.home = store->self,
                        .after = swept->next,
                        .look = most,
                        .most = BATCH,
                        .wanted = is_idle,
                        .found = found,
                        .before = fs_route_seconds(now - idle)};
    status = fs_route_store_work(store, 0, look_work, &old, result);
    if (status == APR_SUCCESS && old.walk.count)
        status = fs_route_store_work(store, 1, idle_work, &old, result);
    swept->idle = old.done;
    mdb_reader_check(store->env, &dead);
    return status;
}

/* --- giving back, and forgetting -----------------------------------------------------------------
 */

static int may_return(const walk_t *walk, const slot_t *slot)
{
    return slot->confirmed && slot->former == walk->number && slot->seen <= walk->before;
}

static int give_back(fs_route_store_t *store, MDB_txn *txn, tidy_t *tidy, const uint8_t *id,
                     const slot_t *old)
{
    slot_t slot = *old;

    slot.primary = tidy->walk.number;
    slot.alternate = store->self;
    slot.former = 0;
    slot.generation++;
    return fs_route_slot_put(store, txn, id, old, &slot, 1);
}

static int return_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    (void)result;
    return change_found(store, txn, baton, give_back);
}

apr_status_t fs_route_store_return(fs_route_store_t *store, const char *server, fs_usec_t before,
                                   unsigned most, uint8_t after[FS_ROUTE_ID_BYTES],
                                   unsigned *returned, fs_usec_t now, fs_result_t *result)
{
    uint8_t found[BATCH][FS_ROUTE_ID_BYTES];
    tidy_t tidy = {.name = server, .now = now};
    apr_status_t status;

    tidy.walk = (walk_t){.home = store->self,
                         .after = after,
                         .look = 16 * BATCH,
                         .most = most < BATCH ? most : BATCH,
                         .wanted = may_return,
                         .found = found,
                         .before = fs_route_seconds(before)};
    *returned = 0;
    status = fs_route_store_work(store, 0, look_work, &tidy, result);
    if (status == APR_SUCCESS && tidy.walk.count)
        status = fs_route_store_work(store, 1, return_work, &tidy, result);
    *returned = tidy.done;
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

static int anybody(const walk_t *walk, const slot_t *slot)
{
    (void)walk;
    (void)slot;
    return 1;
}

static int forget_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    (void)result;
    return change_found(store, txn, baton, remove_silently);
}

apr_status_t fs_route_store_forget(fs_route_store_t *store, const char *server, unsigned most,
                                   unsigned *removed, fs_result_t *result)
{
    uint8_t found[BATCH][FS_ROUTE_ID_BYTES], after[FS_ROUTE_ID_BYTES] = {0};
    tidy_t tidy = {.name = server};
    apr_status_t status;

    tidy.walk = (walk_t){.after = after,
                         .look = BATCH,
                         .most = most < BATCH ? most : BATCH,
                         .wanted = anybody,
                         .found = found};
    *removed = 0;
    status = fs_route_store_work(store, 0, look_work, &tidy, result);
    if (status == APR_SUCCESS && tidy.walk.count)
        status = fs_route_store_work(store, 1, forget_work, &tidy, result);
    *removed = tidy.done;
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}
