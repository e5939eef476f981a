/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "reuse/fs_reuse_names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/fs_once.h"
#include "base/fs_time.h"

#define MAGIC  "fsnames2"
#define SLOTS  65536
#define PROBES 8

typedef struct slot_t {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic uint64_t number;
} slot_t;

typedef struct table_t {
    char magic[8];
    _Atomic uint64_t sequence;
    _Atomic uint64_t floor;
    _Atomic int64_t writer;
    _Atomic uint64_t inode; /* that the writer has mapped; another one's is a copy of it */
    slot_t slots[SLOTS];
} table_t;

struct fs_reuse_names_t {
    table_t *table;
    dev_t device;
    ino_t inode;
};

static apr_status_t failed(fs_result_t *result, const char *path, int error)
{
    char text[128];

    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1712",
                         "cannot map %s, which says what pages depend on: %s; check the "
                         "directory's owner and free space",
                         path, strerror_r(error, text, sizeof(text)));
}

/*
 * Numbers only grow, also over a file that was lost: pages are remembered elsewhere, with numbers
 * of the file before. More than a name a microsecond isn't invalidated.
 */
static int fill(int fd, void *unused)
{
    uint64_t first = (uint64_t)fs_time_wall();
    struct {
        char magic[8];
        uint64_t sequence, floor;
    } head = {MAGIC, first, first};
    int error = posix_fallocate(fd, 0, sizeof(table_t));

    if (!error && pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
        error = errno;
    return error;
}

static int is_table(int fd, void *unused)
{
    struct stat info;
    char magic[8];

    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == sizeof(table_t) &&
           pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
           !memcmp(magic, MAGIC, sizeof(magic));
}

/* Closes fd. */
static apr_status_t map(fs_reuse_names_t *names, int fd, int writes, const char *path,
                        fs_result_t *result)
{
    struct stat info;
    void *base = MAP_FAILED;
    int error = fstat(fd, &info) ? errno : 0;

    if (!error)
        base = mmap(NULL, sizeof(table_t), writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                    fd, 0);
    if (!error && base == MAP_FAILED)
        error = errno;
    close(fd);
    if (error)
        return failed(result, path, error);
    *names = (fs_reuse_names_t){base, info.st_dev, info.st_ino};
    return APR_SUCCESS;
}

static int use_or_make(const char *path, uint32_t uid, uint32_t gid)
{
    fs_once_t how = {is_table, fill, NULL, 0600, uid, gid};

    return fs_once_open(path, &how);
}

apr_status_t fs_reuse_names_prepare(const char *path, uint32_t uid, uint32_t gid,
                                    fs_result_t *result)
{
    int fd = use_or_make(path, uid, gid);

    if (fd < 0)
        return failed(result, path, errno);
    close(fd);
    return APR_SUCCESS;
}

/* All names count as invalidated from here on. `before`: the last number of the file before. */
static apr_status_t map_writer(fs_reuse_names_t *names, const char *path, uint64_t before,
                               fs_result_t *result)
{
    int fd = use_or_make(path, (uint32_t)-1, (uint32_t)-1);
    apr_status_t status = fd < 0 ? failed(result, path, errno) : map(names, fd, 1, path, result);
    uint64_t next;

    if (status != APR_SUCCESS)
        return status;
    next = atomic_load(&names->table->sequence);
    next = (next > before ? next : before) + 1;
    atomic_store(&names->table->floor, next);
    atomic_store(&names->table->sequence, next);
    atomic_store(&names->table->inode, names->inode);
    atomic_store(&names->table->writer, getpid());
    return APR_SUCCESS;
}

apr_status_t fs_reuse_names_open_writer(fs_reuse_names_t **made, const char *path,
                                        fs_result_t *result)
{
    fs_reuse_names_t *names = calloc(1, sizeof(*names));
    apr_status_t status = names ? map_writer(names, path, 0, result) : failed(result, path, ENOMEM);

    *made = names;
    if (status != APR_SUCCESS) {
        free(names);
        *made = NULL;
    }
    return status;
}

apr_status_t fs_reuse_names_follow(fs_reuse_names_t *names, const char *path, int *anew,
                                   fs_result_t *result)
{
    fs_reuse_names_t fresh;
    apr_status_t status;
    uint64_t before;

    *anew = 0;
    if (fs_reuse_names_current(names, path))
        return APR_SUCCESS;
    before = atomic_load(&names->table->sequence);
    /* Whoever still reads there finds nothing unchanged any more. */
    atomic_store(&names->table->floor, UINT64_MAX);
    atomic_store(&names->table->writer, 0);
    status = map_writer(&fresh, path, before, result);
    if (status != APR_SUCCESS)
        return status;
    munmap(names->table, sizeof(table_t));
    *names = fresh;
    *anew = 1;
    return APR_SUCCESS;
}

apr_status_t fs_reuse_names_open_reader(fs_reuse_names_t **made, const char *path,
                                        fs_result_t *result)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    fs_reuse_names_t *names;
    apr_status_t status;

    *made = NULL;
    if (fd < 0)
        return failed(result, path, errno);
    names = is_table(fd, NULL) ? calloc(1, sizeof(*names)) : NULL;
    if (!names) {
        close(fd);
        return failed(result, path, EINVAL);
    }
    status = map(names, fd, 0, path, result);
    if (status == APR_SUCCESS)
        *made = names;
    else
        free(names);
    return status;
}

void fs_reuse_names_close(fs_reuse_names_t *names)
{
    if (!names)
        return;
    munmap(names->table, sizeof(table_t));
    free(names);
}

int64_t fs_reuse_names_writer(const fs_reuse_names_t *names)
{
    return atomic_load(&names->table->inode) == names->inode ? atomic_load(&names->table->writer)
                                                             : 0;
}

int fs_reuse_names_current(const fs_reuse_names_t *names, const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && info.st_dev == names->device && info.st_ino == names->inode;
}

int fs_reuse_name_ok(const char *name, size_t length)
{
    if (!length || length > FS_REUSE_NAME_LIMIT || name[0] == '/' || name[length - 1] == '/')
        return 0;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= 0x20 || name[i] >= 0x7f || name[i] == ',' ||
            (name[i] == '/' && name[i - 1] == '/'))
            return 0;
    return 1;
}

static uint64_t hash_of(const char *name, size_t length)
{
    uint64_t hash = XXH3_64bits(name, length);

    return hash ? hash : 1;
}

/* The slot of a name: its own, a free one, or the one with the lowest number. */
static slot_t *choose_slot(table_t *table, uint64_t hash)
{
    slot_t *best = NULL;

    for (unsigned probe = 0; probe < PROBES; probe++) {
        slot_t *slot = &table->slots[(hash + probe) % SLOTS];
        uint64_t found = atomic_load_explicit(&slot->hash, memory_order_relaxed);

        if (found == hash)
            return slot;
        if (!best || (atomic_load_explicit(&best->hash, memory_order_relaxed) &&
                      (!found || atomic_load_explicit(&slot->number, memory_order_relaxed) <
                                     atomic_load_explicit(&best->number, memory_order_relaxed))))
            best = slot;
    }
    return best;
}

void fs_reuse_names_invalidate(fs_reuse_names_t *names, const char *name, size_t length)
{
    table_t *table = names->table;
    uint64_t hash = hash_of(name, length), found;
    uint64_t number = atomic_load(&table->sequence) + 1;
    slot_t *slot = choose_slot(table, hash);

    found = atomic_load(&slot->hash);
    if (found && found != hash) {
        /* Whoever reads in between finds no slot for either name, and so the floor. */
        uint64_t forgotten = atomic_load(&slot->number);

        if (forgotten > atomic_load(&table->floor))
            atomic_store(&table->floor, forgotten);
        atomic_store(&slot->hash, 0);
    }
    atomic_store(&slot->number, number);
    atomic_store(&slot->hash, hash);
    atomic_store(&table->sequence, number);
}

uint64_t fs_reuse_names_sequence(const fs_reuse_names_t *names)
{
    return atomic_load(&names->table->sequence);
}

static uint64_t number_of(const table_t *table, const char *name, size_t length)
{
    uint64_t hash = hash_of(name, length);

    for (unsigned probe = 0; probe < PROBES; probe++) {
        const slot_t *slot = &table->slots[(hash + probe) % SLOTS];

        if (atomic_load(&slot->hash) == hash)
            return atomic_load(&slot->number);
    }
    return 0;
}

uint64_t fs_reuse_names_number(const fs_reuse_names_t *names, const char *name, size_t length)
{
    uint64_t highest = 0, number;

    for (size_t i = 1; i <= length; i++) {
        if (i < length && name[i] != '/')
            continue;
        number = number_of(names->table, name, i);
        if (number > highest)
            highest = number;
    }
    /* After the slots: one that was given away raised the floor before it went. */
    number = atomic_load(&names->table->floor);
    return number > highest ? number : highest;
}
