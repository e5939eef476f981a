/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   copies   key → copy_t, sealed bytes       came   when, key → nothing (who goes first)
 *   ends     expiry, key → nothing
 *
 * LMDB writes the file (no MDB_WRITEMAP): a full disk is an error, not a SIGBUS. Nothing is synced.
 */
#include "session/fs_session_held.h"

#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_boot.h"
#include "base/fs_lmdb.h"

#define TIME_KEY   (8 + FS_SESSION_KEY_BYTES)
#define SLACK      (UINT64_C(64) << 20) /* of the map, beyond what is held */
#define MAP_FACTOR 3                    /* pages that are half full, and what is being freed */

typedef enum table_t { COPIES, CAME, ENDS, TABLES } table_t;

struct fs_session_held_t {
    MDB_env *env;
    MDB_dbi tables[TABLES];
    uint64_t sessions, bytes;
};

typedef struct copy_t {
    fs_session_stamp_t version;
    fs_usec_t expires;
    fs_usec_t came;
    uint32_t flags;
    char home[FS_SESSION_NAME_SIZE];
} copy_t;

static apr_status_t failed(int error, const char *what, fs_result_t *result)
{
    apr_status_t status = error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL;

    return fs_result_set(result, status, "FS1217",
                         "cannot %s copies of sessions that are held for other servers: %s; check "
                         "the state directory's owner and free space",
                         what, mdb_strerror(error));
}

/* --- opening ------------------------------------------------------------------------------------
 */

/* Files of an earlier boot are taken away. 0 or an error of the system. */
static int begin_boot(const char *dir, const char *given)
{
    char boot[FS_BOOT_SIZE], path[PATH_MAX];
    int error;

    fs_boot_name(boot, given);
    snprintf(path, sizeof(path), "%s/boot", dir);
    if (fs_boot_is_good(path, boot))
        return 0;
    error = fs_lmdb_remove(dir);
    return error ? error : fs_boot_write(path, boot, 0, NULL);
}

static int open_env(fs_session_held_t *held, const char *dir)
{
    static const char *const names[TABLES] = {"copies", "came", "ends"};
    const fs_lmdb_kind_t kind = {names, TABLES, 0, MDB_NOSYNC | MDB_NOTLS,
                                 MAP_FACTOR * held->bytes + SLACK};

    return fs_lmdb_open(&held->env, held->tables, dir, &kind, 1);
}

apr_status_t fs_session_held_open(fs_session_held_t **made, const char *dir, const char *boot,
                                  uint64_t sessions, uint64_t bytes, fs_result_t *result)
{
    fs_session_held_t *held = calloc(1, sizeof(*held));
    int error = held ? 0 : ENOMEM;

    *made = NULL;
    if (!error && mkdir(dir, 0700) && errno != EEXIST)
        error = errno;
    if (!error)
        error = begin_boot(dir, boot);
    if (!error) {
        held->sessions = sessions;
        held->bytes = bytes;
        error = open_env(held, dir);
    }
    if (error) {
        free(held);
        return failed(error, "open", result);
    }
    *made = held;
    return APR_SUCCESS;
}

void fs_session_held_close(fs_session_held_t *held)
{
    if (!held)
        return;
    mdb_env_close(held->env);
    free(held);
}

/* --- one copy; in a transaction -----------------------------------------------------------------
 */

static void time_key(uint8_t bytes[TIME_KEY], fs_usec_t time, const fs_session_key_t *key)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)time >> (56 - 8 * i));
    memcpy(bytes + 8, key->bytes, FS_SESSION_KEY_BYTES);
}

static int find(fs_session_held_t *held, MDB_txn *txn, const fs_session_key_t *key, copy_t *copy,
                MDB_val *sealed)
{
    MDB_val name = {FS_SESSION_KEY_BYTES, (void *)key->bytes};
    int error = mdb_get(txn, held->tables[COPIES], &name, sealed);

    if (error)
        return error;
    if (sealed->mv_size < sizeof(*copy))
        return MDB_CORRUPTED;
    memcpy(copy, sealed->mv_data, sizeof(*copy));
    sealed->mv_data = (uint8_t *)sealed->mv_data + sizeof(*copy);
    sealed->mv_size -= sizeof(*copy);
    return 0;
}

static int unindex(fs_session_held_t *held, MDB_txn *txn, table_t table, fs_usec_t time,
                   const fs_session_key_t *key)
{
    uint8_t bytes[TIME_KEY];
    MDB_val name = {sizeof(bytes), bytes};
    int error;

    time_key(bytes, time, key);
    error = mdb_del(txn, held->tables[table], &name, NULL);
    return error == MDB_NOTFOUND ? 0 : error;
}

static int index_at(fs_session_held_t *held, MDB_txn *txn, table_t table, fs_usec_t time,
                    const fs_session_key_t *key)
{
    uint8_t bytes[TIME_KEY];
    MDB_val name = {sizeof(bytes), bytes}, nothing = {0, ""};

    time_key(bytes, time, key);
    return mdb_put(txn, held->tables[table], &name, &nothing, 0);
}

static int forget(fs_session_held_t *held, MDB_txn *txn, const fs_session_key_t *key,
                  const copy_t *copy)
{
    MDB_val name = {FS_SESSION_KEY_BYTES, (void *)key->bytes};
    int error = unindex(held, txn, CAME, copy->came, key);

    if (!error)
        error = unindex(held, txn, ENDS, copy->expires, key);
    return error ? error : mdb_del(txn, held->tables[COPIES], &name, NULL);
}

/* Forgets the first of a table of times if it is before `before`; `forgot`. */
static int forget_first(fs_session_held_t *held, MDB_txn *txn, table_t table, fs_usec_t before,
                        int *forgot)
{
    MDB_val name, value, sealed;
    MDB_cursor *cursor;
    fs_session_key_t key;
    uint64_t time = 0;
    copy_t copy;
    int error = mdb_cursor_open(txn, held->tables[table], &cursor);

    *forgot = 0;
    if (error)
        return error;
    error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
    if (!error && name.mv_size != TIME_KEY)
        error = MDB_CORRUPTED;
    if (!error) {
        for (unsigned i = 0; i < 8; i++)
            time = time << 8 | ((const uint8_t *)name.mv_data)[i];
        memcpy(key.bytes, (const uint8_t *)name.mv_data + 8, FS_SESSION_KEY_BYTES);
    }
    mdb_cursor_close(cursor);
    if (error || time >= (uint64_t)before)
        return error == MDB_NOTFOUND ? 0 : error;
    *forgot = 1;
    error = find(held, txn, &key, &copy, &sealed);
    if (error == MDB_NOTFOUND)
        return unindex(held, txn, table, (fs_usec_t)time, &key);
    return error ? error : forget(held, txn, &key, &copy);
}

static uint64_t bytes_of(const MDB_stat *stat)
{
    return (uint64_t)stat->ms_psize *
           (stat->ms_branch_pages + stat->ms_leaf_pages + stat->ms_overflow_pages);
}

static int make_room(fs_session_held_t *held, MDB_txn *txn, size_t length)
{
    int error = 0, forgot = 1;

    while (!error && forgot) {
        MDB_stat stat;

        error = mdb_stat(txn, held->tables[COPIES], &stat);
        if (error || (stat.ms_entries < held->sessions && bytes_of(&stat) + length <= held->bytes))
            break;
        error = forget_first(held, txn, CAME, INT64_MAX, &forgot);
    }
    return error;
}

static int put(fs_session_held_t *held, MDB_txn *txn, const fs_session_item_t *item,
               const char *home, fs_usec_t now, fs_session_what_t *outcome)
{
    copy_t fresh = {.version = item->version,
                    .expires = item->expires,
                    .came = now,
                    .flags = item->flags & (FS_SESSION_ITEM_ENDED | FS_SESSION_ITEM_ALIAS)};
    MDB_val name = {FS_SESSION_KEY_BYTES, (void *)item->key.bytes}, value;
    size_t length = sizeof(fresh) + item->sealed_length;
    copy_t old;
    int error = find(held, txn, &item->key, &old, &value);

    *outcome = length > held->bytes / 4 ? FS_SESSION_WHAT_TOO_LARGE : FS_SESSION_WHAT_HAVE;
    if (*outcome == FS_SESSION_WHAT_TOO_LARGE ||
        (!error && fs_session_stamp_compare(&item->version, &old.version) <= 0))
        return error == MDB_NOTFOUND ? 0 : error;
    if (!error)
        error = forget(held, txn, &item->key, &old);
    if (error && error != MDB_NOTFOUND)
        return error;
    apr_cpystrn(fresh.home, home, sizeof(fresh.home));
    value = (MDB_val){length, NULL};
    if ((error = make_room(held, txn, length)) ||
        (error = mdb_put(txn, held->tables[COPIES], &name, &value, MDB_RESERVE)))
        return error;
    memcpy(value.mv_data, &fresh, sizeof(fresh));
    memcpy((uint8_t *)value.mv_data + sizeof(fresh), item->sealed, item->sealed_length);
    *outcome = FS_SESSION_WHAT_STORED;
    error = index_at(held, txn, CAME, fresh.came, &item->key);
    return error ? error : index_at(held, txn, ENDS, fresh.expires, &item->key);
}

/* --- for users ----------------------------------------------------------------------------------
 */

static apr_status_t end(MDB_txn *txn, int error, const char *what, fs_result_t *result)
{
    if (!error)
        error = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return error ? failed(error, what, result) : APR_SUCCESS;
}

apr_status_t fs_session_held_put(fs_session_held_t *held, const fs_session_item_t *items,
                                 unsigned count, const char *home, fs_usec_t now,
                                 fs_session_what_t *outcomes, fs_result_t *result)
{
    MDB_txn *txn;
    int error = mdb_txn_begin(held->env, NULL, 0, &txn);

    if (error)
        return failed(error, "keep", result);
    for (unsigned i = 0; i < count && !error; i++)
        error = put(held, txn, &items[i], home, now, &outcomes[i]);
    return end(txn, error, "keep", result);
}

apr_status_t fs_session_held_get(fs_session_held_t *held, const fs_session_key_t *key,
                                 fs_usec_t now, apr_pool_t *pool, fs_session_item_t *item,
                                 fs_result_t *result)
{
    MDB_val sealed;
    MDB_txn *txn;
    copy_t copy;
    int error = mdb_txn_begin(held->env, NULL, MDB_RDONLY, &txn);

    if (error)
        return failed(error, "read", result);
    error = find(held, txn, key, &copy, &sealed);
    if (!error && copy.expires > now) {
        memset(item, 0, sizeof(*item));
        item->key = *key;
        item->flags = copy.flags;
        item->parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
        item->version = copy.version;
        item->expires = copy.expires;
        copy.home[sizeof(copy.home) - 1] = '\0';
        memcpy(item->owner, copy.home, sizeof(item->owner));
        item->sealed = apr_pmemdup(pool, sealed.mv_data, sealed.mv_size);
        item->sealed_length = (uint32_t)sealed.mv_size;
    } else if (!error) {
        error = MDB_NOTFOUND;
    }
    mdb_txn_abort(txn);
    return !error                  ? APR_SUCCESS
           : error == MDB_NOTFOUND ? APR_NOTFOUND
                                   : failed(error, "read", result);
}

apr_status_t fs_session_held_drop(fs_session_held_t *held, const fs_session_key_t *key,
                                  const fs_session_stamp_t *version, fs_result_t *result)
{
    MDB_val sealed;
    MDB_txn *txn;
    copy_t copy;
    int error = mdb_txn_begin(held->env, NULL, 0, &txn);

    if (error)
        return failed(error, "forget", result);
    error = find(held, txn, key, &copy, &sealed);
    if (!error && fs_session_stamp_compare(&copy.version, version) <= 0)
        error = forget(held, txn, key, &copy);
    return end(txn, error == MDB_NOTFOUND ? 0 : error, "forget", result);
}

apr_status_t fs_session_held_expire(fs_session_held_t *held, fs_usec_t now, unsigned limit,
                                    fs_result_t *result)
{
    MDB_txn *txn;
    int forgot = 1, error = mdb_txn_begin(held->env, NULL, 0, &txn);

    if (error)
        return failed(error, "forget", result);
    for (unsigned i = 0; i < limit && forgot && !error; i++)
        error = forget_first(held, txn, ENDS, now + 1, &forgot);
    return end(txn, error, "forget", result);
}

apr_status_t fs_session_held_count(fs_session_held_t *held, uint64_t *sessions, uint64_t *bytes,
                                   fs_result_t *result)
{
    MDB_stat stat;
    MDB_txn *txn;
    int error = mdb_txn_begin(held->env, NULL, MDB_RDONLY, &txn);

    if (error)
        return failed(error, "count", result);
    error = mdb_stat(txn, held->tables[COPIES], &stat);
    mdb_txn_abort(txn);
    if (error)
        return failed(error, "count", result);
    *sessions = stat.ms_entries;
    *bytes = bytes_of(&stat);
    return APR_SUCCESS;
}
