/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t done = write(fd, data, length);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        data += done;
        length -= (size_t)done;
    }
    return 0;
}

apr_status_t fs_file_write(const char *path, const void *data, size_t length, fs_result_t *result)
{
    char temporary[PATH_MAX];
    int fd, error = 0;

    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0010", "cannot write %s: name too long",
                             path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0010",
                             "cannot write %s: %s; check the directory's owner and free space", path,
                             strerror(errno));
    if (write_all(fd, data, length) || fchmod(fd, 0640) || fsync(fd))
        error = errno;
    if (close(fd) && !error)
        error = errno;
    if (!error && rename(temporary, path))
        error = errno;
    if (error) {
        unlink(temporary);
        return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0010",
                             "cannot write %s: %s; check the directory's owner and free space", path,
                             strerror(error));
    }
    return APR_SUCCESS;
}

static apr_status_t read_failed(const char *path, int error, fs_result_t *result)
{
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0011", "cannot read %s: %s", path,
                         strerror(error));
}

static apr_status_t read_open_file(int fd, const char *path, size_t limit, char **data,
                                   size_t *length, fs_result_t *result)
{
    struct stat info;
    size_t done = 0;

    if (fstat(fd, &info))
        return read_failed(path, errno, result);
    if ((unsigned long long)info.st_size > limit)
        return fs_result_set(result, APR_EGENERAL, "FS0012",
                             "%s has %lld bytes, more than the %zu that are allowed", path,
                             (long long)info.st_size, limit);
    *data = malloc((size_t)info.st_size + 1);
    if (!*data)
        return read_failed(path, ENOMEM, result);
    while (done < (size_t)info.st_size) {
        ssize_t got = read(fd, *data + done, (size_t)info.st_size - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            free(*data);
            return read_failed(path, error, result);
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    (*data)[done] = '\0';
    *length = done;
    return APR_SUCCESS;
}

apr_status_t fs_file_read(const char *path, size_t limit, char **data, size_t *length,
                          fs_result_t *result)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    apr_status_t status;

    if (fd < 0)
        return read_failed(path, errno, result);
    status = read_open_file(fd, path, limit, data, length, result);
    close(fd);
    return status;
}

apr_status_t fs_dir_make(const char *path, fs_result_t *result)
{
    char part[PATH_MAX];

    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0013",
                             "cannot make directory %s: name too long", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (mkdir(part, 0750) && errno != EEXIST)
            return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0013",
                                 "cannot make directory %s: %s", part, strerror(errno));
        if (!slash)
            return APR_SUCCESS;
        *slash = '/';
    }
}
