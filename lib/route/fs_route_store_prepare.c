/* SPDX-License-Identifier: Apache-2.0 */
/* What fs_lmdb_prepare has to know of the store of visitors. */
#include "route/fs_route_store_internal.h"

#include "base/fs_lmdb.h"
#include "base/fs_lmdb_prepare.h"

_Static_assert(TABLES <= FS_LMDB_TABLES, "fs_lmdb_prepare has no room for all");

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

static int check_all(MDB_env *env, const MDB_dbi *tables)
{
    return fs_lmdb_check(env, tables, TABLES, is_good, NULL);
}

static const fs_lmdb_store_t visitors = {
    .name = "the store of visitors",
    .instead = "visitors are known again by their cookies, and from the other servers",
    .damaged = "FS1614",
    .lost = "FS1615",
    .meta = META,
    .open = fs_route_env_open,
    .check = check_all,
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
