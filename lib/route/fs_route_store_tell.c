/* SPDX-License-Identifier: Apache-2.0 */
/* What servers tell each other of their visitors: what there is to tell, and what was told. */
#include "route/fs_route_store_internal.h"

#include <stdlib.h>
#include <string.h>

#define REMOVED_MOST 4096 /* in one transaction, that the others don't wait long */

/* --- counts --------------------------------------------------------------------------------------
 */

typedef struct totals_t {
    const char *server;
    fs_route_total_t *total;
    fs_route_total_fn *fn;
    void *baton;
} totals_t;

/* What stands for the own log isn't in the row. */
static int own_log(fs_route_store_t *store, MDB_txn *txn, uint32_t number, fs_route_total_t *total)
{
    if (number != store->self)
        return 0;
    total->generation = store->writer;
    return fs_route_log_range(store, txn, NULL, &total->sequence);
}

static int total_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    totals_t *totals = baton;
    uint32_t number;
    row_t row;
    int error = fs_route_number(store, txn, totals->server, 0, &number);

    (void)result;
    if (!error)
        error = fs_route_row_get(store, txn, number, &row);
    if (!error)
        error = own_log(store, txn, number, &row.total);
    if (!error)
        *totals->total = row.total;
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_route_store_total(fs_route_store_t *store, const char *server,
                                  fs_route_total_t *total, fs_result_t *result)
{
    totals_t totals = {.server = server, .total = total};

    memset(total, 0, sizeof(*total));
    return fs_route_store_work(store, 0, total_work, &totals, result);
}

static int totals_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    totals_t *totals = baton;
    MDB_cursor *cursor;
    MDB_val key, value;
    row_t row;
    int error = mdb_cursor_open(txn, store->tables[SERVERS], &cursor), stop = 0;

    (void)result;
    if (error)
        return error;
    while (!stop && !(error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        uint32_t number;

        if (key.mv_size != 4 || value.mv_size <= sizeof(row)) {
            error = MDB_CORRUPTED;
            break;
        }
        number = fs_route_pair_number(key.mv_data);
        memcpy(&row, value.mv_data, sizeof(row));
        if ((error = own_log(store, txn, number, &row.total)))
            break;
        stop = totals->fn(totals->baton, fs_route_name(store, txn, number), &row.total);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_route_store_totals(fs_route_store_t *store, fs_route_total_fn *fn, void *baton,
                                   fs_result_t *result)
{
    totals_t totals = {.fn = fn, .baton = baton};

    return fs_route_store_work(store, 0, totals_work, &totals, result);
}

/* --- the log -------------------------------------------------------------------------------------
 */

typedef struct changes_t {
    uint64_t from;
    unsigned most;
    fs_route_visitor_fn *fn;
    void *baton;
    uint64_t *to;
} changes_t;

/* A visitor as it is now; primary "" if the others are not to know it (any more). */
static int show_change(fs_route_store_t *store, MDB_txn *txn, const uint8_t *id,
                       fs_route_visitor_t *visitor)
{
    slot_t slot;
    int error = fs_route_slot_get(store, txn, id, &slot);

    if (error && error != MDB_NOTFOUND)
        return error;
    if (error || !slot.confirmed) {
        memset(visitor, 0, sizeof(*visitor));
        memcpy(visitor->id, id, FS_ROUTE_ID_BYTES);
        visitor->primary = visitor->alternate = visitor->former = "";
    } else {
        fs_route_slot_show(store, txn, id, &slot, visitor);
    }
    return 0;
}

static int changes_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    changes_t *changes = baton;
    fs_route_visitor_t visitor;
    uint64_t first, last, next = changes->from + 1;
    uint8_t bytes[8];
    MDB_val key = {sizeof(bytes), bytes}, value;
    MDB_cursor *cursor;
    int error = fs_route_log_range(store, txn, &first, &last);

    if (error)
        return error;
    if (changes->from > last || (changes->from < last && next < first))
        return fs_route_refuse(result, APR_EGENERAL);
    if (changes->from == last)
        return 0;
    if ((error = mdb_cursor_open(txn, store->tables[LOG], &cursor)))
        return error;
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(next >> (56 - 8 * i));
    error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (unsigned i = 0; !error && i < changes->most; i++) {
        if (value.mv_size != FS_ROUTE_ID_BYTES) {
            error = MDB_CORRUPTED;
            break;
        }
        if ((error = show_change(store, txn, value.mv_data, &visitor)) ||
            changes->fn(changes->baton, &visitor))
            break;
        ++*changes->to;
        error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_route_store_changes(fs_route_store_t *store, uint64_t from, unsigned most,
                                    fs_route_visitor_fn *fn, void *baton, uint64_t *to,
                                    fs_result_t *result)
{
    changes_t changes = {from, most, fn, baton, to};

    *to = from;
    return fs_route_store_work(store, 0, changes_work, &changes, result);
}

/* --- one server's visitors -----------------------------------------------------------------------
 */

typedef struct each_t {
    const char *server;
    const uint8_t *after;
    unsigned most;
    int unconfirmed;
    fs_route_visitor_fn *fn;
    void *baton;
} each_t;

/* The first in HOMES behind `after` (NULL: the first of all) of a server, or MDB_NOTFOUND. */
static int home_after(MDB_cursor *cursor, uint32_t number, const uint8_t *after,
                      uint8_t id[FS_ROUTE_ID_BYTES])
{
    static const uint8_t none[FS_ROUTE_ID_BYTES];
    uint8_t bytes[HOME_KEY_BYTES];
    MDB_val key = {sizeof(bytes), bytes}, value;
    int error;

    fs_route_pair_key(bytes, number, after ? after : none);
    error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (!error && after && key.mv_size == HOME_KEY_BYTES &&
        !memcmp(key.mv_data, bytes, HOME_KEY_BYTES))
        error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (!error && (key.mv_size != HOME_KEY_BYTES || fs_route_pair_number(key.mv_data) != number))
        error = MDB_NOTFOUND;
    if (!error)
        memcpy(id, (const uint8_t *)key.mv_data + 4, FS_ROUTE_ID_BYTES);
    return error;
}

static int home_next(MDB_cursor *cursor, uint32_t number, uint8_t id[FS_ROUTE_ID_BYTES])
{
    MDB_val key, value;
    int error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);

    if (!error && (key.mv_size != HOME_KEY_BYTES || fs_route_pair_number(key.mv_data) != number))
        error = MDB_NOTFOUND;
    if (!error)
        memcpy(id, (const uint8_t *)key.mv_data + 4, FS_ROUTE_ID_BYTES);
    return error;
}

static int each_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    const each_t *each = baton;
    uint8_t id[FS_ROUTE_ID_BYTES];
    fs_route_visitor_t visitor;
    MDB_cursor *cursor;
    uint32_t number;
    slot_t slot;
    int error = fs_route_number(store, txn, each->server, 0, &number);

    (void)result;
    if (!error)
        error = mdb_cursor_open(txn, store->tables[HOMES], &cursor);
    if (error)
        return error == MDB_NOTFOUND ? 0 : error;
    error = home_after(cursor, number, each->after, id);
    for (unsigned shown = 0; !error && shown < each->most; error = home_next(cursor, number, id)) {
        if ((error = fs_route_slot_get(store, txn, id, &slot)))
            break;
        if (!slot.confirmed && !each->unconfirmed)
            continue;
        fs_route_slot_show(store, txn, id, &slot, &visitor);
        shown++;
        if (each->fn(each->baton, &visitor))
            break;
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

apr_status_t fs_route_store_each(fs_route_store_t *store, const char *server,
                                 const uint8_t after[FS_ROUTE_ID_BYTES], unsigned most,
                                 int unconfirmed, fs_route_visitor_fn *fn, void *baton,
                                 fs_result_t *result)
{
    each_t each = {server, after, most, unconfirmed, fn, baton};

    return fs_route_store_work(store, 0, each_work, &each, result);
}

/* --- merging -------------------------------------------------------------------------------------
 */

typedef struct merging_t {
    const fs_route_news_t *news;
    fs_usec_t now;
    fs_route_visitor_fn *older;
    void *baton;
    fs_route_merged_t merged;
    uint32_t from; /* numbers */
    uint32_t of;
} merging_t;

/* `from` says that a visitor isn't its own any more. */
static int merge_gone(fs_route_store_t *store, MDB_txn *txn, merging_t *merging, const uint8_t *id)
{
    slot_t old;
    int error = fs_route_slot_get(store, txn, id, &old);

    if (error || old.primary != merging->from)
        return error == MDB_NOTFOUND ? 0 : error;
    merging->merged.removed++;
    return fs_route_slot_put(store, txn, id, &old, NULL, 0);
}

/* A statement that holds from now on. */
static int merge_taken(fs_route_store_t *store, MDB_txn *txn, merging_t *merging,
                       const fs_route_visitor_t *visitor, const slot_t *old)
{
    slot_t slot;
    int error = fs_route_slot_make(store, txn, visitor, 0, &slot), own;

    if (error)
        return error;
    own = slot.primary == store->self;
    slot.confirmed = 1;
    slot.former = 0;
    slot.seen = own ? fs_route_seconds(merging->now) : 0;
    merging->merged.taken++;
    merging->merged.given += old && old->primary == store->self && !own;
    merging->merged.gotten += own && (!old || old->primary != store->self);
    return fs_route_slot_put(store, txn, visitor->id, old, &slot, 0);
}

static int merge_one(fs_route_store_t *store, MDB_txn *txn, merging_t *merging,
                     const fs_route_visitor_t *visitor, fs_result_t *result)
{
    fs_route_visitor_t there;
    slot_t old;
    int error, order;

    if (!visitor->primary[0])
        return merge_gone(store, txn, merging, visitor->id);
    error = fs_route_slot_get(store, txn, visitor->id, &old);
    if (error == MDB_NOTFOUND) {
        error = fs_route_check_room(store, txn, 0, result);
        return error ? error : merge_taken(store, txn, merging, visitor, NULL);
    }
    if (error)
        return error;
    fs_route_slot_show(store, txn, visitor->id, &old, &there);
    order = fs_route_visitor_compare(&there, visitor);
    if (order < 0 || (order == 0 && !old.confirmed))
        return merge_taken(store, txn, merging, visitor, &old);
    if (order > 0) {
        merging->merged.older++;
        if (merging->older)
            merging->older(merging->baton, &there);
    }
    return 0;
}

static int by_id(const void *one, const void *other)
{
    return memcmp(one, other, FS_ROUTE_ID_BYTES);
}

/* Collects the visitors of `of` in the page's range that the page doesn't have. */
static int find_missing(fs_route_store_t *store, MDB_txn *txn, const merging_t *merging,
                        uint8_t (*said)[FS_ROUTE_ID_BYTES], uint8_t (**missing)[FS_ROUTE_ID_BYTES],
                        unsigned *count)
{
    const fs_route_news_t *news = merging->news;
    uint8_t id[FS_ROUTE_ID_BYTES];
    unsigned room = 0;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, store->tables[HOMES], &cursor);

    *count = 0;
    if (error)
        return error;
    error = home_after(cursor, merging->of, news->after, id);
    for (; !error && *count < REMOVED_MOST &&
           (!news->upto || memcmp(id, news->upto, sizeof(id)) <= 0);
         error = home_next(cursor, merging->of, id)) {
        void *larger;

        if (news->count && bsearch(id, said, news->count, sizeof(*said), by_id))
            continue;
        if (*count == room) {
            room = room ? 2 * room : 64;
            larger = realloc(*missing, room * sizeof(**missing));
            if (!larger) {
                error = ENOMEM;
                break;
            }
            *missing = larger;
        }
        memcpy((*missing)[(*count)++], id, sizeof(id));
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

static int remove_missing(fs_route_store_t *store, MDB_txn *txn, merging_t *merging)
{
    const fs_route_news_t *news = merging->news;
    uint8_t(*said)[FS_ROUTE_ID_BYTES] = calloc(news->count + 1, sizeof(*said));
    uint8_t(*missing)[FS_ROUTE_ID_BYTES] = NULL;
    unsigned count = 0;
    slot_t old;
    int error = said ? 0 : ENOMEM;

    for (unsigned i = 0; !error && i < news->count; i++)
        memcpy(said[i], news->visitors[i].id, sizeof(*said));
    if (!error && news->count)
        qsort(said, news->count, sizeof(*said), by_id);
    if (!error)
        error = find_missing(store, txn, merging, said, &missing, &count);
    merging->merged.more = count == REMOVED_MOST;
    for (unsigned i = 0; !error && i < count; i++) {
        error = fs_route_slot_get(store, txn, missing[i], &old);
        if (error || !old.confirmed)
            continue;
        merging->merged.removed++;
        error = fs_route_slot_put(store, txn, missing[i], &old, NULL, 0);
    }
    free(said);
    free(missing);
    return error;
}

/* Notes how far the log of `from` was merged. */
static int note_log(fs_route_store_t *store, MDB_txn *txn, const merging_t *merging)
{
    const fs_route_news_t *news = merging->news;
    row_t row;
    int error = fs_route_row_get(store, txn, merging->from, &row);

    if (error || !news->generation || merging->from == store->self ||
        (row.total.generation == news->generation && row.total.sequence == news->sequence))
        return error;
    row.total.generation = news->generation;
    row.total.sequence = news->sequence;
    return fs_route_row_put(store, txn, merging->from, &row);
}

static int merge_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    merging_t *merging = baton;
    const fs_route_news_t *news = merging->news;
    int error = fs_route_number(store, txn, news->from, 1, &merging->from);

    if (!error)
        error = fs_route_number(store, txn, news->of ? news->of : news->from, 1, &merging->of);
    for (unsigned i = 0; !error && i < news->count; i++)
        error = merge_one(store, txn, merging, &news->visitors[i], result);
    /* Nobody else knows better who is home here. */
    if (!error && news->whole && merging->of != store->self)
        error = remove_missing(store, txn, merging);
    return error ? error : note_log(store, txn, merging);
}

apr_status_t fs_route_store_merge(fs_route_store_t *store, const fs_route_news_t *news,
                                  fs_usec_t now, fs_route_visitor_fn *older, void *baton,
                                  fs_route_merged_t *merged, fs_result_t *result)
{
    merging_t merging = {.news = news, .now = now, .older = older, .baton = baton};
    apr_status_t status;

    if (!news->from[0] || news->count > FS_ROUTE_NEWS_MOST)
        return fs_result_set(result, APR_EINVAL, "FS1617",
                             "a message about visitors has no sender, or is too long");
    status = fs_route_store_work(store, 1, merge_work, &merging, result);
    if (merged) {
        memset(merged, 0, sizeof(*merged));
        if (status == APR_SUCCESS)
            *merged = merging.merged;
    }
    return status;
}
