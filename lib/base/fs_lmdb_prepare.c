/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_lmdb_prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fs_apart.h"
#include "base/fs_boot.h"
#include "base/fs_file.h"
#include "base/fs_lmdb.h"
#include "base/fs_time.h"

#define PATH_ROOM     (PATH_MAX + 64)
#define CHECK_SECONDS 120                    /* a damaged tree may lead round in a circle */
#define TURN_FOR      (30 * FS_USEC_PER_SEC) /* less: who waits isn't taken for who goes round */
#define LOOK          (2 * FS_USEC_PER_MSEC)

typedef struct preparing_t {
    const fs_lmdb_store_t *store;
    const char *dir;
    int first;
    int set_aside; /* whatever the store looks like */
    char boot[FS_BOOT_SIZE];
} preparing_t;

/*
 * Only one at a time prepares or settles a store: httpd's parent, the one before it, an agent that
 * was started by hand. Until the descriptor is closed; -1 with errno.
 */
static int take_turn(const char *dir)
{
    fs_usec_t until = fs_time_mono() + TURN_FOR;
    char path[PATH_ROOM];
    int fd, error;

    snprintf(path, sizeof(path), "%s/prepare.lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        error = errno;
        if ((error == EWOULDBLOCK || error == EINTR) && fs_time_mono() < until) {
            fs_time_sleep_until(fs_time_mono() + LOOK);
            continue;
        }
        close(fd);
        errno = error == EWOULDBLOCK ? EBUSY : error;
        return -1;
    }
    return fd;
}

/* Takes files away, unless somebody has the store open by now. 1 if that was done. */
static int while_unused(const char *dir, void (*take_away)(const char *dir))
{
    int fd = fs_lmdb_lock(dir), unused = fd >= 0 && !fs_lmdb_in_use(dir);

    if (unused)
        take_away(dir);
    if (fd >= 0)
        close(fd);
    return unused;
}

static void set_aside(const preparing_t *preparing, const char *number, const char *why,
                      fs_result_t *result)
{
    if (!while_unused(preparing->dir, fs_lmdb_set_aside))
        return;
    fs_result_set(
        result, APR_SUCCESS, number, "%s %s %s; it was moved to %s/damaged and a new one made: %s",
        preparing->store->name, preparing->dir, why, preparing->dir, preparing->store->instead);
}

static int check(const fs_lmdb_store_t *store, const char *dir)
{
    MDB_dbi tables[FS_LMDB_TABLES];
    MDB_env *env;
    int error = store->open(&env, tables, dir, 0);

    if (!error) {
        error = store->check(env, tables);
        mdb_env_close(env);
    }
    return error;
}

static int fill(const fs_lmdb_store_t *store, MDB_env *env, MDB_dbi meta)
{
    MDB_txn *txn;
    int error = store->reserve ? store->reserve(env) : 0;

    if (!error)
        error = mdb_txn_begin(env, NULL, 0, &txn);
    if (error)
        return error;
    error = fs_lmdb_give_random(txn, meta, "writer");
    if (!error)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

/* Makes what isn't there. */
static int make(const fs_lmdb_store_t *store, const char *dir)
{
    MDB_dbi tables[FS_LMDB_TABLES];
    MDB_env *env;
    int error = store->open(&env, tables, dir, 1);

    if (!error) {
        error = fill(store, env, tables[store->meta]);
        mdb_env_close(env);
    }
    return error;
}

/* The store that is there goes on, or is set aside with a warning in `result`. */
static apr_status_t judge(const preparing_t *preparing, const char *boot, fs_result_t *result)
{
    const fs_lmdb_store_t *store = preparing->store;
    int error;

    if (preparing->set_aside) {
        set_aside(preparing, store->damaged, "is damaged", result);
    } else if (!fs_boot_is_good(boot, preparing->boot)) {
        set_aside(preparing, store->lost, "was in use when the host went down", result);
    } else if ((error = check(store, preparing->dir)) != 0) {
        if (!fs_lmdb_is_damage(error))
            return store->failed(error, "check", result);
        set_aside(preparing, store->damaged, "is damaged", result);
    }
    return APR_SUCCESS;
}

static apr_status_t prepare_in_turn(const preparing_t *preparing, fs_result_t *result)
{
    int first = preparing->first && !fs_lmdb_in_use(preparing->dir), error;
    apr_status_t status = APR_SUCCESS;
    fs_result_t failure;
    char boot[PATH_ROOM];

    snprintf(boot, sizeof(boot), "%s/boot", preparing->dir);
    if (first && fs_lmdb_is_there(preparing->dir))
        status = judge(preparing, boot, result);
    if (status != APR_SUCCESS)
        return status;
    if (first && preparing->store->clear)
        while_unused(preparing->dir, preparing->store->clear);
    error = make(preparing->store, preparing->dir);
    status = error ? preparing->store->failed(error, "make", &failure)
                   : fs_boot_write(boot, preparing->boot, 0, &failure);
    if (status != APR_SUCCESS)
        *result = failure;
    return status;
}

/* In a process of its own. */
static apr_status_t prepare(void *baton, fs_result_t *result)
{
    const preparing_t *preparing = baton;
    int turn = take_turn(preparing->dir);
    apr_status_t status = turn < 0 ? preparing->store->failed(errno, "prepare", result)
                                   : prepare_in_turn(preparing, result);

    if (turn >= 0)
        close(turn);
    return status;
}

apr_status_t fs_lmdb_prepare(const fs_lmdb_store_t *store, const char *dir, uid_t uid, gid_t gid,
                             int first, const char *boot, fs_result_t *result)
{
    preparing_t preparing = {.store = store, .dir = dir, .first = first};
    fs_result_t local;
    apr_status_t status;
    int died;

    result = result ? result : &local;
    fs_boot_name(preparing.boot, boot);
    status = fs_dir_make(dir, result);
    if (status != APR_SUCCESS)
        return status;
    if (geteuid() == 0 && uid != (uid_t)-1 && lchown(dir, uid, gid))
        return store->failed(errno, "give httpd's user", result);
    status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    if (died && first) {
        preparing.set_aside = 1;
        status = fs_apart_run(prepare, &preparing, uid, gid, CHECK_SECONDS, &died, result);
    }
    return died ? store->failed(MDB_CORRUPTED, "check", result) : status;
}

static apr_status_t settle_in_turn(const fs_lmdb_store_t *store, const char *dir, const char *boot,
                                   fs_result_t *result)
{
    char path[PATH_ROOM], name[FS_BOOT_SIZE];
    MDB_dbi tables[FS_LMDB_TABLES];
    MDB_env *env;
    int error = store->open(&env, tables, dir, 0);

    if (!error) {
        error = mdb_env_sync(env, 1);
        mdb_env_close(env);
    }
    if (error)
        return store->failed(error, "settle", result);
    snprintf(path, sizeof(path), "%s/boot", dir);
    fs_boot_name(name, boot);
    return fs_boot_write(path, name, 1, result);
}

apr_status_t fs_lmdb_settle(const fs_lmdb_store_t *store, const char *dir, const char *boot,
                            fs_result_t *result)
{
    int turn = take_turn(dir);
    apr_status_t status;

    if (turn < 0)
        return store->failed(errno, "settle", result);
    status = fs_lmdb_in_use(dir) ? APR_SUCCESS : settle_in_turn(store, dir, boot, result);
    close(turn);
    return status;
}
