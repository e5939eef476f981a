/* SPDX-License-Identifier: Apache-2.0 */
/* What fs_lmdb_prepare has to know of the store of visitors. */
#include "route/fs_route_store_internal.h"

#include "base/fs_lmdb.h"
#include "base/fs_lmdb_prepare.h"

static int is_good(void *baton, unsigned table, const MDB_val *key, const MDB_val *value)
{
    (void)baton;
    switch ((table_t)table) {
    case VISITORS:
        return key->mv_size == FS_ROUTE_ID_BYTES && value->mv_size == sizeof(slot_t);
    case HOMES:
    case FRESH:
    case NONCES:
        return key->mv_size == HOME_KEY_BYTES;
    case SERVERS:
        return key->mv_size == 4 && value->mv_size > sizeof(row_t) && value->mv_size <= ROW_MOST;
    case NAMES:
        return key->mv_size < FS_ROUTE_NAME_SIZE && value->mv_size == 4;
    case LOG:
        return key->mv_size == 8 && value->mv_size == FS_ROUTE_ID_BYTES;
    default:
        return 1;
    }
}

static int check_all(const char *dir)
{
    MDB_dbi tables[TABLES];
    MDB_env *env;
    int error = fs_route_env_open(&env, tables, dir, 0);

    if (error)
        return error;
    error = fs_lmdb_check(env, tables, TABLES, is_good, NULL);
    mdb_env_close(env);
    return error;
}

static int write_writer(MDB_env *env, const MDB_dbi tables[TABLES])
{
    MDB_txn *txn;
    int error = mdb_txn_begin(env, NULL, 0, &txn);

    if (error)
        return error;
    error = fs_lmdb_give_random(txn, tables[META], "writer");
    if (!error)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

static int make_store(const char *dir)
{
    MDB_dbi tables[TABLES];
    MDB_env *env;
    int error = fs_route_env_open(&env, tables, dir, 1);

    if (!error) {
        error = write_writer(env, tables);
        mdb_env_close(env);
    }
    return error;
}

static int open_store(MDB_env **env, const char *dir)
{
    MDB_dbi tables[TABLES];

    return fs_route_env_open(env, tables, dir, 0);
}

static const fs_lmdb_store_t visitors = {
    .name = "the store of visitors",
    .instead = "visitors are known again by their cookies, and from the other servers",
    .damaged = "FS1614",
    .lost = "FS1615",
    .check = check_all,
    .make = make_store,
    .open = open_store,
    .failed = fs_route_store_failed};

apr_status_t fs_route_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
                                    const char *boot, fs_result_t *result)
{
    return fs_lmdb_prepare(&visitors, dir, uid, gid, first, boot, result);
}

apr_status_t fs_route_store_settle(const char *dir, const char *boot, fs_result_t *result)
{
    return fs_lmdb_settle(&visitors, dir, boot, result);
}
