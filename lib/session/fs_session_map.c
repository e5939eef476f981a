/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

apr_status_t fs_session_map_open(void **map, size_t bytes, const char *path, int *fd,
                                 fs_result_t *result)
{
    int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = opened < 0 ? errno : 0;

    *map = NULL;
    if (!error)
        error = posix_fallocate(opened, 0, (off_t)bytes); /* a full disk is no SIGBUS later */
    if (!error) {
        *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
        error = *map == MAP_FAILED ? errno : 0;
    }
    if (opened >= 0 && (error || !fd))
        close(opened);
    else if (fd)
        *fd = opened;
    if (!error)
        return APR_SUCCESS;
    *map = NULL;
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1216",
                         "cannot map %s: %s; check the directory's owner and free space", path,
                         strerror(error));
}

void fs_session_map_close(void *map, size_t bytes)
{
    if (map)
        munmap(map, bytes);
}
