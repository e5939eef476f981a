/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define PATH_ROOM (PATH_MAX + 64)

/* --- opening -------------------------------------------------------------------------------------
 */

static int open_tables(MDB_env *env, MDB_dbi *tables, const fs_lmdb_kind_t *kind, int make)
{
    MDB_txn *txn;
    int error = mdb_txn_begin(env, NULL, make ? 0 : MDB_RDONLY, &txn);

    if (error)
        return error;
    for (unsigned i = 0; !error && i < kind->count; i++)
        error = mdb_dbi_open(txn, kind->tables[i], make ? MDB_CREATE : 0, &tables[i]);
    if (!error)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return error;
}

int fs_lmdb_open(MDB_env **env, MDB_dbi *tables, const char *dir, const fs_lmdb_kind_t *kind,
                 int make)
{
    int error = mdb_env_create(env);

    if (error) {
        *env = NULL;
        return error;
    }
    error = mdb_env_set_maxdbs(*env, kind->count);
    if (!error && kind->readers)
        error = mdb_env_set_maxreaders(*env, kind->readers);
    if (!error)
        error = mdb_env_set_mapsize(*env, kind->map);
    if (!error)
        error = mdb_env_open(*env, dir, kind->flags, 0600);
    if (!error)
        error = open_tables(*env, tables, kind, make);
    if (error) {
        mdb_env_close(*env);
        *env = NULL;
    }
    return error;
}

int fs_lmdb_promises_space(const char *dir)
{
    struct statfs system;

    if (statfs(dir, &system))
        return 0;
    switch ((unsigned long)system.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
        return 1;
    default:
        return 0;
    }
}

/* --- numbers -------------------------------------------------------------------------------------
 */

int fs_lmdb_get_number(MDB_txn *txn, MDB_dbi table, const char *name, uint64_t *number)
{
    MDB_val key = {strlen(name), (void *)name}, value;
    int error = mdb_get(txn, table, &key, &value);

    if (!error && value.mv_size != sizeof(*number))
        error = MDB_CORRUPTED;
    if (!error)
        memcpy(number, value.mv_data, sizeof(*number));
    return error;
}

int fs_lmdb_give_number(MDB_txn *txn, MDB_dbi table, const char *name, uint64_t number)
{
    MDB_val key = {strlen(name), (void *)name}, value = {sizeof(number), &number};
    int error = mdb_put(txn, table, &key, &value, MDB_NOOVERWRITE);

    return error == MDB_KEYEXIST ? 0 : error;
}

int fs_lmdb_give_random(MDB_txn *txn, MDB_dbi table, const char *name)
{
    uint64_t number = 0;

    while (!number)
        if (RAND_bytes((unsigned char *)&number, sizeof(number)) != 1)
            return EIO;
    return fs_lmdb_give_number(txn, table, name, number);
}

/* --- checking ------------------------------------------------------------------------------------
 */

static int check_table(MDB_txn *txn, MDB_dbi dbi, unsigned table, fs_lmdb_good_fn *good,
                       void *baton)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(txn, dbi, &cursor);

    if (error)
        return error;
    while (!(error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)))
        if (!good(baton, table, &key, &value)) {
            error = MDB_CORRUPTED;
            break;
        }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

int fs_lmdb_check(MDB_env *env, const MDB_dbi *tables, unsigned count, fs_lmdb_good_fn *good,
                  void *baton)
{
    MDB_txn *txn;
    int error = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);

    if (error)
        return error;
    for (unsigned i = 0; !error && i < count; i++)
        error = check_table(txn, tables[i], i, good, baton);
    mdb_txn_abort(txn);
    return error;
}

/* The last three are what the system says of a map whose size is nonsense. */
int fs_lmdb_is_damage(int error)
{
    return error < 0 || error == EINVAL || error == EFBIG || error == ENOMEM;
}

const char *fs_lmdb_remedy(int error)
{
    if (error == ENOSPC)
        return "free space in the state directory";
    if (error == MDB_READERS_FULL)
        return "run fewer threads on this host";
    return error < 0 ? "the store may be damaged: restart httpd, which checks it"
                     : "check the state directory's owner and disk";
}

/* --- processes -----------------------------------------------------------------------------------
 */

int *fs_lmdb_mark(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int *mark = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mark == MAP_FAILED)
        return NULL;
    madvise(mark, page, MADV_WIPEONFORK);
    *mark = 1;
    return mark;
}

void fs_lmdb_unmark(int *mark)
{
    if (mark)
        munmap(mark, (size_t)sysconf(_SC_PAGESIZE));
}

/* --- files ---------------------------------------------------------------------------------------
 */

static void file_in(char path[PATH_ROOM], const char *dir, const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", dir, name);
}

int fs_lmdb_lock(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

    while (fd >= 0 && flock(fd, LOCK_EX)) {
        error = errno;
        if (error == EINTR)
            continue;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int fs_lmdb_is_there(const char *dir)
{
    char path[PATH_ROOM];
    struct stat info;

    file_in(path, dir, "data.mdb");
    return !stat(path, &info);
}

int fs_lmdb_in_use(const char *dir)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char path[PATH_ROOM];
    int fd, used;

    file_in(path, dir, "lock.mdb");
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    used = !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
    close(fd);
    return used;
}

void fs_lmdb_set_aside(const char *dir)
{
    char aside[PATH_ROOM], from[PATH_ROOM], to[PATH_ROOM + 16];

    file_in(aside, dir, "damaged");
    file_in(from, dir, "data.mdb");
    snprintf(to, sizeof(to), "%s/data.mdb", aside);
    if (!mkdir(aside, 0700) || errno == EEXIST)
        rename(from, to);
    fs_lmdb_remove(dir);
}

int fs_lmdb_remove(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char path[PATH_ROOM];
    int error = 0;

    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
        file_in(path, dir, files[i]);
        if (unlink(path) && errno != ENOENT)
            error = errno;
    }
    return error;
}
