/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's file.
 *
 * The file is mapped for writing (MDB_WRITEMAP): a commit then is some stores to memory, without a
 * system call. Two things must never happen:
 *
 * 1. A page that is written to has no space on the disk: the kernel would answer with SIGBUS. So
 * space is reserved (fallocate) ahead of what a transaction can use, under the write lock; when the
 * disk has none, the transaction is refused before it changes anything. What one can use is limited
 *    (TXN_ITEMS, TXN_BYTES). On a file system that doesn't promise that what was reserved can be
 *    written, the map is read only and LMDB writes the file.
 * 2. The file is cut off under another process: LMDB sets its length whenever a map is made. So the
 *    map has its final size from the beginning, the file has holes, and whoever opens it with a
 * size larger than before records that in it, while a lock on the directory keeps others from
 * opening.
 */
#include "session/fs_session_store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_lmdb.h"
#include "session/fs_session_map.h"

#define MAX_READERS  16384                /* threads of all processes of the host */
#define RESERVE_STEP (UINT64_C(16) << 20) /* at once */
#define FULL_PAUSE   FS_USEC_PER_SEC      /* until a full disk is asked again */
/* What a transaction can use beside two of the largest sessions: TXN_ITEMS times some pages of
 * tables, and TXN_BYTES of records. */
#define RESERVE_LEAST (UINT64_C(6) << 20)
/* When there is no more than this beside it, what is new takes the place of what can go; with half
 * of it nothing is added any more, but what has expired can go. */
#define RESERVE_KEEP (UINT64_C(4) << 20)

static const char *const table_names[TABLES] = {"main",     "expiry", "dirty", "safe",
                                                "released", "ahead",  "meta"};

/* In a file of its own, for all processes. */
struct fs_session_space_t {
    _Atomic uint64_t reserved; /* bytes of the store's file that have space on the disk */
    _Atomic int64_t full;      /* mono time when the disk had no more */
};

/* --- opening -------------------------------------------------------------------------------------
 */

/* Commits the size of a map that is larger than all before, or others would cut the file off. */
static int record_size(MDB_env *env, const MDB_dbi tables[TABLES])
{
    MDB_val key = {3, "map"}, value;
    uint64_t known = 0, size;
    MDB_envinfo info;
    MDB_txn *txn;
    int error = mdb_env_info(env, &info);

    if (error || (error = mdb_txn_begin(env, NULL, 0, &txn)))
        return error;
    size = info.me_mapsize;
    if (!mdb_get(txn, tables[META], &key, &value) && value.mv_size == sizeof(known))
        memcpy(&known, value.mv_data, sizeof(known));
    if (known >= size) {
        mdb_txn_abort(txn);
        return 0;
    }
    value.mv_size = sizeof(size);
    value.mv_data = &size;
    error = mdb_put(txn, tables[META], &key, &value, 0);
    if (!error)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

static int open_locked(MDB_env **env, MDB_dbi tables[TABLES], const char *dir, size_t map, int make)
{
    const fs_lmdb_kind_t kind = {table_names, TABLES, MAX_READERS,
                                 MDB_NOSYNC | (fs_lmdb_promises_space(dir) ? MDB_WRITEMAP : 0),
                                 map};
    int error = fs_lmdb_open(env, tables, dir, &kind, make);

    if (error || !map || !(error = record_size(*env, tables)))
        return error;
    mdb_env_close(*env);
    *env = NULL;
    return error;
}

int fs_session_env_open(MDB_env **env, MDB_dbi tables[TABLES], const char *dir, size_t map,
                        int make)
{
    int fd = fs_lmdb_lock(dir), error;

    *env = NULL;
    if (fd < 0)
        return errno;
    error = open_locked(env, tables, dir, map, make);
    close(fd);
    return error;
}

int fs_session_env_follow(fs_session_store_t *store)
{
    int fd = fs_lmdb_lock(store->dir), error;

    if (fd < 0)
        return errno;
    error = mdb_env_set_mapsize(store->env, 0);
    close(fd);
    return error;
}

/* --- space on the disk ---------------------------------------------------------------------------
 */

int fs_session_env_reserve_first(MDB_env *env)
{
    unsigned flags;
    int fd, error = mdb_env_get_flags(env, &flags);

    if (error || !(flags & MDB_WRITEMAP) || (error = mdb_env_get_fd(env, &fd)))
        return error;
    return fallocate(fd, 0, 0, (off_t)RESERVE_LEAST) ? errno : 0;
}

apr_status_t fs_session_space_open(fs_session_space_t **space, const char *dir, fs_result_t *result)
{
    char path[PATH_MAX];
    void *map;
    apr_status_t status;

    snprintf(path, sizeof(path), "%s/space", dir);
    status = fs_session_map_open(&map, sizeof(**space), path, NULL, result);
    *space = map;
    return status;
}

void fs_session_space_close(fs_session_space_t *space)
{
    fs_session_map_close(space, sizeof(*space));
}

/* Reserves up to `wanted`. */
static int reserve(fs_session_store_t *store, uint64_t wanted, uint64_t most)
{
    uint64_t reserved = atomic_load(&store->space->reserved);
    int fd, error = mdb_env_get_fd(store->env, &fd);

    if (error)
        return error;
    if (wanted > most)
        wanted = most;
    if (fallocate(fd, 0, (off_t)reserved, (off_t)(wanted - reserved))) {
        atomic_store(&store->space->full, fs_time_mono());
        return errno;
    }
    atomic_store(&store->space->reserved, wanted);
    return 0;
}

/* The disk had no space a moment ago. */
static int is_full(const fs_session_store_t *store)
{
    fs_usec_t full = atomic_load_explicit(&store->space->full, memory_order_relaxed);

    return full && fs_time_mono() - full < FULL_PAUSE;
}

int fs_session_env_reserve(fs_session_store_t *store, int adds, int *tight)
{
    uint64_t least = RESERVE_LEAST + 2 * store->limits.session_bytes, wanted, reserved;
    MDB_envinfo info;
    int error = store->maps_writes ? mdb_env_info(store->env, &info) : 0;

    *tight = 0;
    if (error || !store->maps_writes)
        return error;
    least += (info.me_last_pgno + 1) * store->page_bytes;
    wanted = least + RESERVE_KEEP;
    reserved = atomic_load_explicit(&store->space->reserved, memory_order_relaxed);
    if (wanted <= reserved || reserved >= info.me_mapsize)
        return 0;
    error = is_full(store) ? ENOSPC : reserve(store, wanted + RESERVE_STEP, info.me_mapsize);
    if (error != ENOSPC && error != EDQUOT)
        return error;
    *tight = 1;
    if (!reserve(store, wanted, info.me_mapsize))
        return 0;
    return least + (adds ? RESERVE_KEEP / 2 : 0) <= reserved ? 0 : ENOSPC;
}
