/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the bank's store. LMDB trusts its pages: one that was damaged from outside can make it
 * read anywhere. So a process of its own walks through all of it first; if that dies, it is
 * damaged.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "bank_slot.h"
#include "base/fs_file.h"

#define MAX_READERS   64
#define MAP_MORE      (UINT64_C(64) << 20)
#define PATH_ROOM     (PATH_MAX + 64)
#define RESERVE_FIRST (UINT64_C(1) << 20)
#define RESERVE_STEP  (UINT64_C(16) << 20) /* at most at once */
#ifndef XFS_MAGIC
#define XFS_MAGIC 0x58465342
#endif
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

static int open_tables(MDB_env *env, MDB_dbi tables[BANK_TABLES], int make)
{
    MDB_txn *txn;
    int error = mdb_txn_begin(env, NULL, make ? 0 : MDB_RDONLY, &txn);

    if (error)
        return error;
    for (unsigned i = 0; !error && i < BANK_TABLES; i++)
        error = mdb_dbi_open(txn, table_names[i], make ? MDB_CREATE : 0, &tables[i]);
    if (!error)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

/* A commit to a map that is written directly takes about half as long. But a page without space on
 * the disk would be answered with a signal, so it is only done where what was reserved is known to
 * be there, and never with `sync`, for which LMDB would have to sync all of the map. */
static unsigned write_map(const char *dir)
{
    struct statfs system;

    if (statfs(dir, &system))
        return 0;
    switch ((unsigned long)system.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_MAGIC:
    case TMPFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
        return MDB_WRITEMAP;
    default:
        return 0;
    }
}

int fs_bank_env_open(MDB_env **env, MDB_dbi tables[BANK_TABLES], const char *dir, size_t map,
                     int make, int sync)
{
    int error = mdb_env_create(env);

    if (error)
        return error;
    if (!(error = mdb_env_set_maxdbs(*env, BANK_TABLES)) &&
        !(error = mdb_env_set_maxreaders(*env, MAX_READERS)) &&
        !(error = mdb_env_set_mapsize(*env, map)) &&
        !(error = mdb_env_open(*env, dir, sync ? 0 : MDB_NOSYNC | write_map(dir), 0600)))
        error = open_tables(*env, tables, make);
    if (error) {
        mdb_env_close(*env);
        *env = NULL;
    }
    return error;
}

static int put_number(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t number)
{
    MDB_val key = {strlen(name), (void *)name}, value = {sizeof(number), &number};
    int error = mdb_put(txn, meta, &key, &value, MDB_NOOVERWRITE);

    return error == MDB_KEYEXIST ? 0 : error;
}

static int get_number(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *number)
{
    MDB_val key = {strlen(name), (void *)name}, value;
    int error = mdb_get(txn, meta, &key, &value);

    if (!error && value.mv_size != sizeof(*number))
        error = MDB_CORRUPTED;
    if (!error)
        memcpy(number, value.mv_data, sizeof(*number));
    return error;
}

int fs_bank_reserve(fs_bank_store_t *store, size_t ahead)
{
    MDB_envinfo info;
    uint64_t needed;
    unsigned flags;
    int fd, error = mdb_env_get_flags(store->env, &flags);

    if (error || !(flags & MDB_WRITEMAP) || (error = mdb_env_info(store->env, &info)))
        return error;
    needed = (uint64_t)(info.me_last_pgno + 1) * (uint64_t)sysconf(_SC_PAGESIZE) + ahead;
    if (needed <= store->reserved)
        return 0;
    if (needed > RESERVE_FIRST) /* in steps of an eighth of what there is */
        needed += needed / 8 < RESERVE_STEP ? needed / 8 : RESERVE_STEP;
    if (needed > info.me_mapsize)
        needed = info.me_mapsize;
    error = mdb_env_get_fd(store->env, &fd);
    if (!error && fallocate(fd, 0, 0, (off_t)needed))
        error = errno;
    if (!error)
        store->reserved = needed;
    return error;
}

/* What is there stays. A new store is a new instance. */
static int make_meta(fs_bank_store_t *store)
{
    uint64_t instance = 0, format = 0;
    MDB_dbi meta = store->tables[BANK_META];
    MDB_txn *txn;
    int error = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (error)
        return error;
    while (!error && !instance)
        error = RAND_bytes((unsigned char *)&instance, sizeof(instance)) == 1 ? 0 : EIO;
    if (!error && !(error = put_number(txn, meta, "format", FS_BANK_FORMAT)) &&
        !(error = put_number(txn, meta, "instance", instance)) &&
        !(error = put_number(txn, meta, "sequence", 0)) &&
        !(error = get_number(txn, meta, "instance", &store->instance)) &&
        !(error = get_number(txn, meta, "format", &format)) && format != FS_BANK_FORMAT)
        error = MDB_VERSION_MISMATCH;
    if (error)
        mdb_txn_abort(txn);
    return error ? error : mdb_txn_commit(txn);
}

/* --- check ---------------------------------------------------------------------------------------
 */

static int check_value(fs_bank_table_t table, const MDB_val *name, const MDB_val *value)
{
    char owner[FS_SESSION_NAME_SIZE];
    const uint8_t *sealed;
    fs_bank_slot_t slot;
    size_t length;

    if (table == BANK_MAIN || table == BANK_ASIDE)
        return name->mv_size != FS_SESSION_KEY_BYTES ||
               fs_bank_slot_read(value, &slot, owner, &sealed, &length);
    return table == BANK_EXPIRY && name->mv_size != FS_BANK_TIME_BYTES;
}

static int check_table(MDB_txn *txn, MDB_dbi dbi, fs_bank_table_t table)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, dbi, &cursor);

    if (error)
        return error;
    while (!(error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT)))
        if (check_value(table, &name, &value))
            break;
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error ? error : MDB_CORRUPTED;
}

static int check_all(const char *dir)
{
    MDB_dbi tables[BANK_TABLES];
    MDB_env *env;
    MDB_txn *txn;
    int error = fs_bank_env_open(&env, tables, dir, 0, 0, 0);

    if (error)
        return error;
    error = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    for (unsigned i = 0; !error && i < BANK_TABLES; i++)
        error = check_table(txn, tables[i], (fs_bank_table_t)i);
    mdb_env_close(env);
    return error;
}

/* 1 if it is as it should be. */
static int is_whole(const char *dir)
{
    struct rlimit no_core = {0, 0};
    int state = 0;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        signal(SIGALRM, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(CHECK_SECONDS);
        _exit(check_all(dir) ? 1 : 0);
    }
    if (pid < 0)
        return 1; /* no process to check it in: no reason to throw it away */
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(state) && !WEXITSTATUS(state);
}

/* --- the host's boot -----------------------------------------------------------------------------
 */

static void name_boot(char name[64], const char *given)
{
    FILE *file = given ? NULL : fopen("/proc/sys/kernel/random/boot_id", "re");

    snprintf(name, 64, "%s", given ? given : "unknown");
    if (file && !fgets(name, 64, file))
        snprintf(name, 64, "unknown");
    if (file)
        fclose(file);
    name[strcspn(name, "\n ")] = '\0';
}

/* "BOOT open|synced|closed": what was not synced is worth nothing in another boot. */
static apr_status_t write_boot(const fs_bank_store_t *store, const char *state, fs_result_t *result)
{
    char path[PATH_ROOM], text[96];

    file_in(path, store->dir, "boot");
    snprintf(text, sizeof(text), "%s %s\n", store->boot, state);
    return fs_file_write(path, text, strlen(text), result);
}

static int survived_boot(const fs_bank_store_t *store)
{
    char path[PATH_ROOM], mine[96], *text;
    size_t length;
    int good;

    file_in(path, store->dir, "boot");
    if (fs_file_read(path, 256, &text, &length, NULL))
        return 0;
    snprintf(mine, sizeof(mine), "%s open\n", store->boot);
    good = !strcmp(text, mine) || strstr(text, " closed\n") || strstr(text, " synced\n");
    free(text);
    return good;
}

/* --- open ----------------------------------------------------------------------------------------
 */

static void set_aside(const fs_bank_store_t *store, const char *number, const char *why,
                      fs_result_t *result)
{
    char aside[PATH_ROOM], from[PATH_ROOM], to[PATH_ROOM + 16];

    file_in(aside, store->dir, "damaged");
    if (mkdir(aside, 0700) && errno != EEXIST)
        aside[0] = '\0';
    file_in(from, store->dir, "data.mdb");
    snprintf(to, sizeof(to), "%s/data.mdb", aside);
    if (!aside[0] || rename(from, to))
        unlink(from);
    file_in(from, store->dir, "lock.mdb");
    unlink(from);
    fs_result_set(result, APR_SUCCESS, number,
                  "the session bank %s %s; it was moved to %s/damaged and a new one made, which "
                  "is filled from the other bank servers and the hosts",
                  store->dir, why, store->dir);
}

static int is_there(const fs_bank_store_t *store)
{
    char path[PATH_ROOM];
    struct stat info;

    file_in(path, store->dir, "data.mdb");
    return !stat(path, &info);
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
    int error =
        fs_bank_env_open(&store->env, store->tables, store->dir, map, 1, store->limits.sync);

    if (!error)
        error = fs_bank_reserve(store, RESERVE_FIRST);
    if (!error)
        error = make_meta(store);
    return error ? cannot_open(store->dir, error, result) : APR_SUCCESS;
}

apr_status_t fs_bank_store_open(fs_bank_store_t **store, const char *dir,
                                const fs_bank_limits_t *limits, const char *boot,
                                fs_result_t *result)
{
    fs_bank_store_t *made = calloc(1, sizeof(*made));
    fs_result_t failure;
    apr_status_t status = fs_dir_make(dir, NULL);

    *store = NULL;
    fs_result_clear(&failure);
    if (!made || !(made->dir = strdup(dir))) {
        free(made);
        return APR_ENOMEM;
    }
    made->lock_fd = -1;
    made->limits = *limits;
    name_boot(made->boot, boot);
    status = status == APR_SUCCESS ? lock_dir(made, result) : cannot_open(dir, status, result);
    if (status == APR_SUCCESS) {
        fs_result_clear(result);
        if (is_there(made) && !survived_boot(made))
            set_aside(made, "FS1403", "was in use when the host went down", result);
        else if (is_there(made) && !is_whole(dir))
            set_aside(made, "FS1402", "is damaged", result);
        status = open_env(made, &failure);
        if (status == APR_SUCCESS)
            status = write_boot(made, limits->sync ? "synced" : "open", &failure);
        if (status != APR_SUCCESS)
            *result = failure;
    }
    if (status == APR_SUCCESS) {
        *store = made;
        return status;
    }
    if (made->env)
        mdb_env_close(made->env);
    if (made->lock_fd >= 0)
        close(made->lock_fd);
    free(made->dir);
    free(made);
    return status;
}

void fs_bank_store_close(fs_bank_store_t *store)
{
    if (!store)
        return;
    if (!mdb_env_sync(store->env, 1))
        write_boot(store, "closed", NULL);
    mdb_env_close(store->env);
    close(store->lock_fd);
    free(store->dir);
    free(store);
}

uint64_t fs_bank_store_instance(const fs_bank_store_t *store)
{
    return store->instance;
}
