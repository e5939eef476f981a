/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the bank's store. LMDB trusts its pages: one that was damaged from outside can make it
 * read anywhere. So a process of its own walks through all of it first; if that dies, it is
 * damaged.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "bank_slot.h"
#include "base/fs_apart.h"
#include "base/fs_boot.h"
#include "base/fs_file.h"
#include "base/fs_lmdb.h"

#define MAX_READERS   64
#define MAP_MORE      (UINT64_C(64) << 20)
#define PATH_ROOM     (PATH_MAX + 64)
#define CHECK_SECONDS 300 /* a damaged tree may lead round in a circle */

static const char *const table_names[BANK_TABLES] = {"main", "aside", "expiry", "hosts", "meta"};

static void file_in(char path[PATH_ROOM], const char *dir, const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", dir, name);
}

static apr_status_t cannot_open(const char *dir, int error, fs_result_t *result)
{
    return fs_result_set(result, error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL, "FS1400",
                         "cannot open the session bank %s: %s; no sessions are kept here. Correct "
                         "SessionDir, its owner or its disk, and restart datasrv",
                         dir, mdb_strerror(error));
}

/* --- LMDB ----------------------------------------------------------------------------------------
 */

/* A commit to a map that is written directly takes about half as long. It is never done with
 * `sync`, for which LMDB would have to sync all of the map. */
static int open_lmdb(MDB_env **env, MDB_dbi tables[BANK_TABLES], const char *dir, size_t map,
                     int make, int sync)
{
    unsigned direct = fs_lmdb_promises_space(dir) ? MDB_WRITEMAP : 0;
    const fs_lmdb_kind_t kind = {table_names, BANK_TABLES, MAX_READERS,
                                 sync ? 0 : MDB_NOSYNC | direct, map};

    return fs_lmdb_open(env, tables, dir, &kind, make);
}

/* What is there stays. A new store is a new instance. */
static int make_meta(fs_bank_store_t *store)
{
    MDB_dbi meta = store->tables[BANK_META];
    uint64_t format = 0;
    MDB_txn *txn;
    int error = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (error)
        return error;
    if (!(error = fs_lmdb_give_number(txn, meta, "format", FS_BANK_FORMAT)) &&
        !(error = fs_lmdb_give_random(txn, meta, "instance")) &&
        !(error = fs_lmdb_give_number(txn, meta, "sequence", 0)) &&
        !(error = fs_lmdb_get_number(txn, meta, "instance", &store->instance)) &&
        !(error = fs_lmdb_get_number(txn, meta, "format", &format)) && format != FS_BANK_FORMAT)
        error = MDB_VERSION_MISMATCH;
    if (error)
        mdb_txn_abort(txn);
    return error ? error : mdb_txn_commit(txn);
}

/* --- check ---------------------------------------------------------------------------------------
 */

static int is_good(void *baton, unsigned table, const MDB_val *name, const MDB_val *value)
{
    char owner[FS_SESSION_NAME_SIZE];
    const uint8_t *sealed;
    fs_bank_slot_t slot;
    size_t length;

    (void)baton;
    if (table == BANK_MAIN || table == BANK_ASIDE)
        return name->mv_size == FS_SESSION_KEY_BYTES &&
               !fs_bank_slot_read(value, &slot, owner, &sealed, &length);
    return table != BANK_EXPIRY || name->mv_size == FS_BANK_TIME_BYTES;
}

/* In a process of its own. No message: it is the same whatever is wrong. */
static apr_status_t check_all(void *baton, fs_result_t *result)
{
    const fs_bank_store_t *store = baton;
    MDB_dbi tables[BANK_TABLES];
    MDB_env *env;
    int error = open_lmdb(&env, tables, store->dir, 0, 0, 0);

    if (!error) {
        error = fs_lmdb_check(env, tables, BANK_TABLES, is_good, NULL);
        mdb_env_close(env);
    }
    (void)result;
    return error ? APR_EGENERAL : APR_SUCCESS;
}

static int is_whole(fs_bank_store_t *store)
{
    fs_result_t result;
    int died;
    apr_status_t status =
        fs_apart_run(check_all, store, (uid_t)-1, (gid_t)-1, CHECK_SECONDS, &died, &result);

    /* With a message: there was no process to check it in, which is no reason to throw it away. */
    return !died && (status == APR_SUCCESS || result.problem[0]);
}

/* --- open ----------------------------------------------------------------------------------------
 */

static void set_aside(const fs_bank_store_t *store, const char *number, const char *why,
                      fs_result_t *result)
{
    fs_lmdb_set_aside(store->dir);
    fs_result_set(result, APR_SUCCESS, number,
                  "the session bank %s %s; it was moved to %s/damaged and a new one made, which "
                  "is filled from the other bank servers and the hosts",
                  store->dir, why, store->dir);
}

/* One process: its lock is let go when it dies. */
static apr_status_t lock_dir(fs_bank_store_t *store, fs_result_t *result)
{
    char path[PATH_ROOM];

    file_in(path, store->dir, "lock");
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return cannot_open(store->dir, errno, result);
    if (!flock(store->lock_fd, LOCK_EX | LOCK_NB))
        return APR_SUCCESS;
    return fs_result_set(result, APR_EBUSY, "FS1401",
                         "another datasrv uses the session bank %s; give each one a SessionDir of "
                         "its own",
                         store->dir);
}

static apr_status_t open_env(fs_bank_store_t *store, fs_result_t *result)
{
    size_t map = (size_t)(2 * store->limits.bytes + MAP_MORE);
    int error = open_lmdb(&store->env, store->tables, store->dir, map, 1, store->limits.sync);

    if (!error)
        error = fs_bank_reserve(store, FS_BANK_FIRST_BYTES);
    if (!error)
        error = make_meta(store);
    return error ? cannot_open(store->dir, error, result) : APR_SUCCESS;
}

/* With the directory locked. */
static apr_status_t prepare(fs_bank_store_t *store, const char *boot, fs_result_t *result)
{
    char path[PATH_ROOM], name[FS_BOOT_SIZE];
    fs_result_t failure;
    apr_status_t status;

    fs_result_clear(result);
    fs_boot_name(name, boot);
    file_in(path, store->dir, "boot");
    if (fs_lmdb_is_there(store->dir) && !fs_boot_is_good(path, name))
        set_aside(store, "FS1403", "was in use when the host went down", result);
    else if (fs_lmdb_is_there(store->dir) && !is_whole(store))
        set_aside(store, "FS1402", "is damaged", result);
    status = open_env(store, &failure);
    if (status == APR_SUCCESS)
        status = fs_boot_write(path, name, store->limits.sync, &failure);
    if (status != APR_SUCCESS)
        *result = failure;
    return status;
}

static void drop(fs_bank_store_t *store)
{
    if (store->env)
        mdb_env_close(store->env);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store->dir);
    free(store);
}

apr_status_t fs_bank_store_open(fs_bank_store_t **store, const char *dir,
                                const fs_bank_limits_t *limits, const char *boot,
                                fs_result_t *result)
{
    fs_bank_store_t *made = calloc(1, sizeof(*made));
    apr_status_t status = fs_dir_make(dir, NULL);

    *store = NULL;
    if (!made || !(made->dir = strdup(dir))) {
        free(made);
        return APR_ENOMEM;
    }
    made->lock_fd = -1;
    made->limits = *limits;
    status = status == APR_SUCCESS ? lock_dir(made, result) : cannot_open(dir, status, result);
    if (status == APR_SUCCESS)
        status = prepare(made, boot, result);
    if (status == APR_SUCCESS)
        *store = made;
    else
        drop(made);
    return status;
}

void fs_bank_store_close(fs_bank_store_t *store)
{
    char path[PATH_ROOM], name[FS_BOOT_SIZE];

    if (!store)
        return;
    fs_boot_name(name, NULL);
    file_in(path, store->dir, "boot");
    if (!mdb_env_sync(store->env, 1))
        fs_boot_write(path, name, 1, NULL);
    drop(store);
}

uint64_t fs_bank_store_instance(const fs_bank_store_t *store)
{
    return store->instance;
}
