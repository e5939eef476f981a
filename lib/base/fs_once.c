/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_once.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_time.h"

#define LOCK_FOR (20 * FS_USEC_PER_SEC) /* longer than a slow disk takes for any of our files */
#define LOOK     (2 * FS_USEC_PER_MSEC)

int fs_once_lock(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;
    fs_usec_t until = fs_time_mono() + LOCK_FOR;

    if (fd < 0)
        return -1;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        error = errno;
        /* Not waited for without end: the directory is httpd's user's, who may lock it for ever. */
        if (error == EINTR || (error == EWOULDBLOCK && fs_time_mono() < until)) {
            fs_time_sleep_until(fs_time_mono() + LOOK);
            continue;
        }
        close(fd);
        errno = error == EWOULDBLOCK ? EBUSY : 0;
        return -1;
    }
    return fd;
}

static int open_good(const char *path, const fs_once_t *how)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd >= 0 && !how->good(fd, how->baton)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int make(const char *path, const fs_once_t *how)
{
    char *fresh = NULL;
    int fd, error;

    if (asprintf(&fresh, "%s.XXXXXX", path) < 0)
        return -1;
    fd = mkostemp(fresh, O_CLOEXEC);
    error = fd < 0 ? errno : how->fill(fd, how->baton);
    if (!error && (fchmod(fd, how->mode) || fchown(fd, how->uid, how->gid) || rename(fresh, path)))
        error = errno;
    if (error && fd >= 0) {
        unlink(fresh);
        close(fd);
        fd = -1;
    }
    free(fresh);
    errno = error;
    return fd;
}

int fs_once_open(const char *path, const fs_once_t *how)
{
    int fd = open_good(path, how), lock, error;
    char *copy;

    if (fd >= 0)
        return fd;
    copy = strdup(path);
    if (!copy)
        return -1;
    errno = 0;
    lock = fs_once_lock(dirname(copy));
    error = lock < 0 ? errno : 0;
    free(copy);
    if (!error) {
        fd = open_good(path, how); /* who had the lock before may have made it */
        if (fd < 0)
            fd = make(path, how);
        error = errno;
    }
    if (lock >= 0)
        close(lock);
    errno = error;
    return fd;
}
