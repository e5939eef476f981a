/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and checking a store before anybody uses it. LMDB trusts its pages: so a process of its
 * own walks through the whole store, and if it dies, the store is damaged.
 */
#include "route/fs_route_store_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_apart.h"
#include "base/fs_boot.h"
#include "base/fs_file.h"
#include "base/fs_lmdb.h"

#define PATH_ROOM     (PATH_MAX + 64)
#define CHECK_SECONDS 120 /* a damaged tree may lead round in a circle */

typedef struct preparing_t {
    const char *dir;
    int first;
    int set_aside; /* whatever the store looks like */
    char boot[FS_BOOT_SIZE];
} preparing_t;

static void file_in(char path[PATH_ROOM], const char *dir, const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", dir, name);
}

/* --- check ---------------------------------------------------------------------------------------
 */

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

/* --- make ----------------------------------------------------------------------------------------
 */

static void set_aside(const preparing_t *preparing, const char *number, const char *why,
                      fs_result_t *result)
{
    fs_lmdb_set_aside(preparing->dir);
    fs_result_set(result, APR_SUCCESS, number,
                  "the store of visitors %s %s; it was moved to %s/damaged and a new one made: "
                  "visitors are known again by their cookies, and from the other servers",
                  preparing->dir, why, preparing->dir);
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

static apr_status_t make_store(const char *dir, fs_result_t *result)
{
    MDB_dbi tables[TABLES];
    MDB_env *env;
    int error = fs_route_env_open(&env, tables, dir, 1);

    if (!error) {
        error = write_writer(env, tables);
        mdb_env_close(env);
    }
    return error ? fs_route_store_failed(error, "make", result) : APR_SUCCESS;
}

/* In a process of its own. */
static apr_status_t prepare(void *baton, fs_result_t *result)
{
    const preparing_t *preparing = baton;
    char boot[PATH_ROOM];
    fs_result_t failure;
    apr_status_t status;
    int error = 0;

    file_in(boot, preparing->dir, "boot");
    if (fs_lmdb_is_there(preparing->dir) && preparing->first) {
        if (preparing->set_aside)
            set_aside(preparing, "FS1614", "is damaged", result);
        else if (!fs_boot_is_good(boot, preparing->boot))
            set_aside(preparing, "FS1615", "was in use when the host went down", result);
        else if ((error = check_all(preparing->dir)) != 0 && fs_lmdb_is_damage(error))
            set_aside(preparing, "FS1614", "is damaged", result);
        else if (error)
            return fs_route_store_failed(error, "check", result);
    }
    status = make_store(preparing->dir, &failure);
    if (status == APR_SUCCESS)
        status = fs_boot_write(boot, preparing->boot, 0, &failure);
    if (status != APR_SUCCESS)
        *result = failure;
    return status;
}

apr_status_t fs_route_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
                                    const char *boot, fs_result_t *result)
{
    preparing_t preparing = {.dir = dir, .first = first};
    fs_result_t local;
    apr_status_t status;
    int died;

    result = result ? result : &local;
    fs_boot_name(preparing.boot, boot);
    status = fs_dir_make(dir, result);
    if (status != APR_SUCCESS)
        return status;
    if (geteuid() == 0 && uid != (uid_t)-1 && lchown(dir, uid, gid))
        return fs_route_store_failed(errno, "give httpd's user", result);
    status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    if (died && first) {
        preparing.set_aside = 1;
        status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    }
    return died ? fs_route_store_failed(MDB_CORRUPTED, "check", result) : status;
}

apr_status_t fs_route_store_settle(const char *dir, const char *boot, fs_result_t *result)
{
    char path[PATH_ROOM], name[FS_BOOT_SIZE];
    MDB_dbi tables[TABLES];
    MDB_env *env;
    int error = fs_route_env_open(&env, tables, dir, 0);

    if (!error) {
        error = mdb_env_sync(env, 1);
        mdb_env_close(env);
    }
    if (error)
        return fs_route_store_failed(error, "settle", result);
    file_in(path, dir, "boot");
    fs_boot_name(name, boot);
    return fs_boot_write(path, name, 1, result);
}
