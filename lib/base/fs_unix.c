/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * The address of `path`. One that is too long is reached through its directory, which stays open in
 * *directory meanwhile (else -1). Returns 0, or -1 with errno.
 */
static int make_address(struct sockaddr_un *address, const char *path, int *directory)
{
    char copy[PATH_MAX], name[PATH_MAX];
    int length;

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    *directory = -1;
    if (strlen(path) < sizeof(address->sun_path)) {
        strcpy(address->sun_path, path);
        return 0;
    }
    if (strlen(path) >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(copy, path);
    strcpy(name, path);
    *directory = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*directory < 0)
        return -1;
    length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s",
                      *directory, basename(name));
    if (length > 0 && (size_t)length < sizeof(address->sun_path))
        return 0;
    close(*directory);
    *directory = -1;
    errno = ENAMETOOLONG;
    return -1;
}

static void close_quietly(int fd)
{
    int error = errno;

    if (fd >= 0)
        close(fd);
    errno = error;
}

int fs_unix_connect(const char *path)
{
    struct sockaddr_un address;
    int directory, fd, failed;

    if (make_address(&address, path, &directory))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    failed = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address));
    close_quietly(directory);
    if (!failed)
        return fd;
    close_quietly(fd);
    return -1;
}

/* Whether `path` may be replaced: nothing is there, or a socket that nobody listens on. */
static int is_free(const char *path)
{
    struct stat info;
    int fd;

    if (lstat(path, &info))
        return errno == ENOENT;
    errno = EEXIST;
    if (!S_ISSOCK(info.st_mode))
        return 0;
    fd = fs_unix_connect(path);
    if (fd < 0 && errno == ECONNREFUSED)
        return 1;
    close_quietly(fd);
    errno = EADDRINUSE;
    return 0;
}

static int bind_and_listen(const char *path, mode_t mode, int backlog)
{
    struct sockaddr_un address;
    int directory, failed;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    if (make_address(&address, path, &directory)) {
        close_quietly(fd);
        return -1;
    }
    /* Before the bind, so that the file never has other permissions than these. */
    failed = fchmod(fd, mode) || bind(fd, (struct sockaddr *)&address, sizeof(address));
    close_quietly(directory);
    if (!failed && (chmod(path, mode) || listen(fd, backlog))) {
        int error = errno;

        unlink(path);
        errno = error;
        failed = 1;
    }
    if (!failed)
        return fd;
    close_quietly(fd);
    return -1;
}

int fs_unix_listen(const char *path, mode_t mode, int backlog, fs_result_t *result)
{
    char *made = NULL;
    int fd = -1;

    if (is_free(path) && asprintf(&made, "%s.%ld", path, (long)getpid()) >= 0) {
        unlink(made); /* of a process that had this pid and was killed */
        fd = bind_and_listen(made, mode, backlog);
        if (fd >= 0 && rename(made, path)) {
            close_quietly(fd);
            fd = -1;
        }
    }
    if (fd < 0)
        fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0253",
                      "cannot listen on the socket %s: %s; %s", path, strerror(errno),
                      errno == EEXIST       ? "there is a file that isn't a socket: move it away"
                      : errno == EADDRINUSE ? "another process listens there: end it"
                                            : "its directory must belong to this process's user");
    free(made);
    return fd;
}

/* --- descriptors --------------------------------------------------------------------------------
 */

typedef union control_t {
    struct cmsghdr head; /* for the alignment */
    char bytes[CMSG_SPACE(FS_UNIX_FDS * sizeof(int))];
} control_t;

int fs_unix_send(int socket, const void *data, size_t length, const int *fds, unsigned count)
{
    struct iovec part = {.iov_base = (void *)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    control_t control;
    ssize_t sent;

    if (count > FS_UNIX_FDS) {
        errno = EINVAL;
        return -1;
    }
    if (count) {
        struct cmsghdr *head = &control.head;

        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)length ? 0 : -1;
}

static void take_fds(struct msghdr *message, int fds[FS_UNIX_FDS], unsigned *count)
{
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        size_t length;

        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        length = head->cmsg_len - CMSG_LEN(0);
        if (length > (FS_UNIX_FDS - *count) * sizeof(int))
            length = (FS_UNIX_FDS - *count) * sizeof(int);
        memcpy(fds + *count, CMSG_DATA(head), length);
        *count += (unsigned)(length / sizeof(int));
    }
}

ssize_t fs_unix_receive(int socket, void *data, size_t length, int fds[FS_UNIX_FDS],
                        unsigned *count)
{
    struct iovec part = {.iov_base = data, .iov_len = length};
    control_t control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t got;

    *count = 0;
    do
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        take_fds(&message, fds, count);
    return got;
}
