/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and checking a store before anybody uses it.
 *
 * LMDB trusts its pages: one that was damaged from outside can make it read anywhere. So a process
 * of its own (fs_apart.h) walks through the whole store; if it dies, the store is damaged. And as
 * nothing is synced, the file is worth nothing after the host went down: the file `boot`
 * (fs_boot.h) says in which boot of the host the store was opened, and whether it was settled.
 */
#include "session/fs_session_store_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "base/fs_apart.h"
#include "base/fs_boot.h"
#include "base/fs_file.h"

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

static int store_is_there(const preparing_t *preparing)
{
    char path[PATH_ROOM];
    struct stat info;

    file_in(path, preparing->dir, "data.mdb");
    return !stat(path, &info);
}

/* --- check ---------------------------------------------------------------------------------------
 */

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

static int check_name(table_t table, const MDB_val *name, const MDB_val *value)
{
    if (table == RELEASED)
        return name->mv_size == FS_SESSION_KEY_BYTES && value->mv_size < FS_SESSION_NAME_SIZE;
    return table == META || name->mv_size == TIME_KEY_BYTES;
}

static int check_table(MDB_txn *txn, const MDB_dbi tables[TABLES], table_t table, apr_pool_t *pool)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, tables[table], &cursor);

    if (error)
        return error;
    for (error = mdb_cursor_get(cursor, &name, &value, MDB_FIRST); !error;
         error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT)) {
        if (table == MAIN ? check_slot(&name, &value, pool) : !check_name(table, &name, &value))
            error = MDB_CORRUPTED;
        if (error)
            break;
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

static int check_all(const preparing_t *preparing)
{
    MDB_dbi tables[TABLES];
    apr_pool_t *pool;
    MDB_env *env;
    MDB_txn *txn;
    int error = fs_session_env_open(&env, tables, preparing->dir, 0, 0);

    if (error)
        return error;
    apr_pool_create(&pool, NULL);
    error = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (!error) {
        for (unsigned i = 0; !error && i < TABLES; i++)
            error = check_table(txn, tables, i, pool);
        mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    apr_pool_destroy(pool);
    return error;
}

/* --- make ----------------------------------------------------------------------------------------
 */

static void remove_store(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "pending", "trust",
                                        "turns",    "space",    "boot"};
    char path[PATH_ROOM];

    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
        file_in(path, dir, files[i]);
        unlink(path);
    }
}

/* The directory stays, for the user who runs httpd may not be able to make it again. */
static apr_status_t put_aside(const preparing_t *preparing, const char *number, const char *why,
                              fs_result_t *result)
{
    char aside[PATH_MAX], from[PATH_ROOM], to[PATH_ROOM];

    snprintf(aside, sizeof(aside), "%s/damaged", preparing->dir);
    remove_store(aside);
    if (!mkdir(aside, 0700) || errno == EEXIST) {
        file_in(from, preparing->dir, "data.mdb");
        file_in(to, aside, "data.mdb");
        if (rename(from, to))
            unlink(from);
    }
    remove_store(preparing->dir);
    fs_result_set(
        result, APR_SUCCESS, number,
        "the session store %s %s; it was moved to %s/damaged and a new one made: sessions "
        "are fetched from the bank",
        preparing->dir, why, preparing->dir);
    return APR_SUCCESS;
}

static apr_status_t make_store(const preparing_t *preparing, fs_result_t *result)
{
    MDB_dbi tables[TABLES];
    MDB_val key = {6, "writer"}, value;
    uint64_t writer = 0;
    MDB_env *env;
    MDB_txn *txn;
    int error = fs_session_env_open(&env, tables, preparing->dir, 0, 1);

    if (error)
        return fs_session_store_failed(error, "make", result);
    error = fs_session_env_reserve_first(env);
    if (!error)
        error = mdb_txn_begin(env, NULL, 0, &txn);
    if (!error) {
        while (!writer && RAND_bytes((unsigned char *)&writer, sizeof(writer)) == 1)
            ;
        value.mv_size = sizeof(writer);
        value.mv_data = &writer;
        error = writer ? mdb_put(txn, tables[META], &key, &value, MDB_NOOVERWRITE) : EIO;
        if (error && error != MDB_KEYEXIST)
            mdb_txn_abort(txn);
        else
            error = mdb_txn_commit(txn);
    }
    mdb_env_close(env);
    return error ? fs_session_store_failed(error, "make", result) : APR_SUCCESS;
}

/* The last three are what the system says of a map whose size is nonsense. */
static int is_damage(int error)
{
    return error < 0 || error == EINVAL || error == EFBIG || error == ENOMEM;
}

static apr_status_t prepare(void *baton, fs_result_t *result)
{
    static const char *const shared[] = {"pending", "trust", "turns", "space"};
    const preparing_t *preparing = baton;
    char boot[PATH_ROOM];
    fs_result_t failure;
    apr_status_t status;
    int error = 0;

    file_in(boot, preparing->dir, "boot");
    if (store_is_there(preparing) && preparing->first) {
        if (preparing->set_aside)
            put_aside(preparing, "FS1211", "is damaged", result);
        else if (!fs_boot_is_good(boot, preparing->boot))
            put_aside(preparing, "FS1215", "was in use when the host went down", result);
        else if ((error = check_all(preparing)) != 0 && is_damage(error)) {
            put_aside(preparing, "FS1211", "is damaged", result);
            error = 0;
        }
    }
    if (error > 0)
        return fs_session_store_failed(error, "check", result);
    if (preparing->first) /* what they hold ended with its processes */
        for (unsigned i = 0; i < sizeof(shared) / sizeof(*shared); i++) {
            char path[PATH_ROOM];

            file_in(path, preparing->dir, shared[i]);
            unlink(path);
        }
    status = make_store(preparing, &failure);
    if (status == APR_SUCCESS)
        status = fs_boot_write(boot, preparing->boot, 0, &failure);
    if (status != APR_SUCCESS)
        *result = failure;
    return status;
}

apr_status_t fs_session_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
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
        return fs_session_store_failed(errno, "give httpd's user", result);
    status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    if (died && first) {
        preparing.set_aside = 1;
        status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    }
    if (died)
        status = fs_session_store_failed(MDB_CORRUPTED, "check", result);
    return status;
}

apr_status_t fs_session_store_settle(const char *dir, const char *boot, fs_result_t *result)
{
    char path[PATH_ROOM], name[FS_BOOT_SIZE];
    MDB_dbi tables[TABLES];
    MDB_env *env;
    int error = fs_session_env_open(&env, tables, dir, 0, 0);

    if (!error) {
        error = mdb_env_sync(env, 1);
        mdb_env_close(env);
    }
    if (error)
        return fs_session_store_failed(error, "settle", result);
    file_in(path, dir, "boot");
    fs_boot_name(name, boot);
    return fs_boot_write(path, name, 1, result);
}
