/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_once.h"

#define MAGIC_SIZE 8
#define BOOT_SIZE  40

typedef struct head_t {
    char magic[MAGIC_SIZE];
    uint64_t size;
    char boot[BOOT_SIZE];
    pthread_mutex_t lock;
} head_t;

_Static_assert(sizeof(head_t) <= FS_REUSE_FILE_HEAD, "the head has its room");

static apr_status_t failed(fs_result_t *result, const char *what, const char *path, int error)
{
    char text[128];

    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1711",
                         "cannot %s %s for the pages that clients hold: %s; check the "
                         "directory's owner and free space",
                         what, path, strerror_r(error, text, sizeof(text)));
}

static void read_boot(char boot[BOOT_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(boot, 0, BOOT_SIZE);
    if (fd < 0)
        return;
    if (read(fd, boot, BOOT_SIZE - 1) < 0)
        boot[0] = 0;
    close(fd);
}

/* Whether fd is a file of this kind and boot. `size` 0: of any. */
static int is_ours(int fd, const char *magic, uint64_t size)
{
    char boot[BOOT_SIZE];
    struct stat info;
    head_t head;

    read_boot(boot);
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
           (uint64_t)info.st_size > FS_REUSE_FILE_HEAD &&
           pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
           !memcmp(head.magic, magic, MAGIC_SIZE) && !memcmp(head.boot, boot, BOOT_SIZE) &&
           head.size == (uint64_t)info.st_size && (!size || head.size == size);
}

static int lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);

    if (error)
        return error;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    error = pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error;
}

typedef struct filling_t {
    const char *magic;
    uint64_t size;
} filling_t;

static int fill(int fd, void *baton)
{
    const filling_t *filling = baton;
    int error = posix_fallocate(fd, 0, (off_t)filling->size);
    head_t *head;

    if (error)
        return error;
    head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED)
        return errno;
    head->size = filling->size;
    read_boot(head->boot);
    error = lock_init(&head->lock);
    memcpy(head->magic, filling->magic, MAGIC_SIZE);
    munmap(head, sizeof(*head));
    return error;
}

static int is_good(int fd, void *baton)
{
    const filling_t *filling = baton;

    return is_ours(fd, filling->magic, filling->size);
}

apr_status_t fs_reuse_file_prepare(const char *path, const char *magic, uint64_t size, uint32_t uid,
                                   uint32_t gid, fs_result_t *result)
{
    filling_t filling = {magic, size};
    fs_once_t how = {is_good, fill, &filling, 0600, uid, gid};
    int fd = fs_once_open(path, &how);

    if (fd < 0)
        return failed(result, "make", path, errno);
    close(fd);
    return APR_SUCCESS;
}

apr_status_t fs_reuse_file_open(fs_reuse_file_t *file, const char *path, const char *magic,
                                fs_result_t *result)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), error = 0;
    struct stat info;

    file->base = MAP_FAILED;
    if (fd < 0)
        return failed(result, "open", path, errno);
    if (fstat(fd, &info) || !is_ours(fd, magic, 0))
        error = EINVAL;
    if (!error) {
        file->size = (uint64_t)info.st_size;
        file->device = info.st_dev;
        file->inode = info.st_ino;
        file->base = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = file->base == MAP_FAILED ? errno : 0;
    }
    close(fd);
    return error ? failed(result, "map", path, error) : APR_SUCCESS;
}

void fs_reuse_file_close(fs_reuse_file_t *file)
{
    munmap(file->base, file->size);
}

int fs_reuse_file_current(const fs_reuse_file_t *file, const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && info.st_dev == file->device && info.st_ino == file->inode;
}

int fs_reuse_file_lock(const fs_reuse_file_t *file)
{
    pthread_mutex_t *lock = &((head_t *)file->base)->lock;
    int error = pthread_mutex_lock(lock);

    if (error == EOWNERDEAD)
        error = pthread_mutex_consistent(lock);
    return error;
}

void fs_reuse_file_unlock(const fs_reuse_file_t *file)
{
    pthread_mutex_unlock(&((head_t *)file->base)->lock);
}
