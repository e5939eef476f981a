/* SPDX-License-Identifier: Apache-2.0 */
/* What fs_lmdb_prepare has to know of the session store. */
#include "session/fs_session_store_internal.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs_lmdb.h"
#include "base/fs_lmdb_prepare.h"

#define PATH_ROOM (PATH_MAX + 64)

_Static_assert(TABLES <= FS_LMDB_TABLES, "fs_lmdb_prepare has no room for all");

static int check_slot(const MDB_val *name, const MDB_val *value, apr_pool_t *pool)
{
    fs_session_record_t record;
    int bad;

    if (name->mv_size != FS_SESSION_KEY_BYTES || value->mv_size < sizeof(slot_t))
        return -1;
    bad = fs_session_record_decode(&record, (const uint8_t *)value->mv_data + sizeof(slot_t),
                                   value->mv_size - sizeof(slot_t), pool, NULL);
    apr_pool_clear(pool);
    return bad ? -1 : 0;
}

static int is_good(void *baton, unsigned table, const MDB_val *name, const MDB_val *value)
{
    switch ((table_t)table) {
    case MAIN:
        return !check_slot(name, value, baton);
    case RELEASED:
        return name->mv_size == FS_SESSION_KEY_BYTES && value->mv_size < FS_SESSION_NAME_SIZE;
    case META:
        return 1;
    default:
        return name->mv_size == TIME_KEY_BYTES;
    }
}

static int check_all(MDB_env *env, const MDB_dbi *tables)
{
    apr_pool_t *pool;
    int error;

    apr_pool_create(&pool, NULL);
    error = fs_lmdb_check(env, tables, TABLES, is_good, pool);
    apr_pool_destroy(pool);
    return error;
}

static int open_store(MDB_env **env, MDB_dbi *tables, const char *dir, int make)
{
    return fs_session_env_open(env, tables, dir, 0, make);
}

/* What the maps beside the store hold ended with its processes. */
static void remove_maps(const char *dir)
{
    static const char *const maps[] = {"pending", "trust", "turns", "space"};
    char path[PATH_ROOM];

    for (unsigned i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, maps[i]);
        unlink(path);
    }
}

static const fs_lmdb_store_t sessions = {.name = "the session store",
                                         .instead = "sessions are fetched from the bank",
                                         .damaged = "FS1211",
                                         .lost = "FS1215",
                                         .meta = META,
                                         .open = open_store,
                                         .reserve = fs_session_env_reserve_first,
                                         .check = check_all,
                                         .clear = remove_maps,
                                         .failed = fs_session_store_failed};

apr_status_t fs_session_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
                                      const char *boot, fs_result_t *result)
{
    return fs_lmdb_prepare(&sessions, dir, uid, gid, first, boot, result);
}

apr_status_t fs_session_store_settle(const char *dir, const char *boot, fs_result_t *result)
{
    return fs_lmdb_settle(&sessions, dir, boot, result);
}
