/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_use.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int fs_session_store_in_use(const char *dir)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char path[PATH_MAX];
    int fd, used;

    snprintf(path, sizeof(path), "%s/lock.mdb", dir);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    used = !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
    close(fd);
    return used;
}
