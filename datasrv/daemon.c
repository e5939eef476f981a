/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static apr_status_t cannot_fork(fs_result_t *result)
{
    return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0811",
                         "cannot go to the background: %s", strerror(errno));
}

/* The parent: leaves when the child says so, or with 1 when the child is gone without a word. */
static void wait_for_child(int fd)
{
    char byte;
    ssize_t got;

    do
        got = read(fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    _exit(got == 1 ? 0 : 1);
}

apr_status_t fs_daemon_detach(int *ready_fd, fs_result_t *result)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC))
        return cannot_fork(result);
    pid = fork();
    if (pid < 0)
        return cannot_fork(result);
    if (pid > 0) {
        close(ends[1]);
        wait_for_child(ends[0]);
    }
    close(ends[0]);
    setsid();
    pid = fork(); /* no longer a session leader: can never gain a terminal */
    if (pid < 0)
        return cannot_fork(result);
    if (pid > 0)
        _exit(0);
    *ready_fd = ends[1];
    return APR_SUCCESS;
}

void fs_daemon_ready(int ready_fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ssize_t done = write(ready_fd, "", 1);

    (void)done; /* the parent may have been killed meanwhile: no matter */
    close(ready_fd);
    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

static apr_status_t pid_file_held(const char *path, int fd, fs_result_t *result)
{
    char pid[16] = "";
    ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[got > 0 ? got : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    close(fd);
    return fs_result_set(
        result, APR_EEXIST, "FS0807",
        "datasrv runs already as process %s, which holds %s; stop it first, or give "
        "this one another PidFile",
        pid[0] ? pid : "(unknown)", path);
}

static apr_status_t pid_file_failed(const char *path, fs_result_t *result)
{
    return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0808",
                         "cannot write the pid file %s: %s; make its directory, or set PidFile",
                         path, strerror(errno));
}

/* Whoever held the lock removed the file with it: then the lock is one on nothing. */
static int is_removed(const char *path, int fd)
{
    struct stat here, there;

    return fstat(fd, &here) || stat(path, &there) || here.st_dev != there.st_dev ||
           here.st_ino != there.st_ino;
}

apr_status_t fs_pid_file_take(const char *path, int *fd, fs_result_t *result)
{
    char text[16];
    int length = snprintf(text, sizeof(text), "%d\n", (int)getpid()), file = -1;

    do {
        if (file >= 0)
            close(file);
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (file < 0)
            return pid_file_failed(path, result);
        if (flock(file, LOCK_EX | LOCK_NB))
            return pid_file_held(path, file, result);
    } while (is_removed(path, file));
    if (ftruncate(file, 0) || pwrite(file, text, (size_t)length, 0) != length) {
        apr_status_t status = pid_file_failed(path, result);

        close(file);
        return status;
    }
    *fd = file;
    return APR_SUCCESS;
}

void fs_pid_file_remove(const char *path, int fd)
{
    unlink(path);
    close(fd);
}

apr_status_t fs_dir_lock(const char *dir, int *fd, fs_result_t *result)
{
    char path[PATH_MAX];
    int file;

    if (snprintf(path, sizeof(path), "%s/.lock", dir) >= (int)sizeof(path))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0809", "ImageDir %s: name too long", dir);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0)
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0809",
                             "cannot write in ImageDir %s: %s; check its owner and free space", dir,
                             strerror(errno));
    if (flock(file, LOCK_EX | LOCK_NB)) {
        close(file);
        return fs_result_set(
            result, APR_EEXIST, "FS0809",
            "ImageDir %s is in use by another datasrv; each needs a directory of its "
            "own",
            dir);
    }
    *fd = file;
    return APR_SUCCESS;
}

void fs_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length;
    int fd;

    if (!path || (*path != '/' && *path != '@'))
        return;
    length = strlen(path);
    if (length >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, length);
    if (*path == '@') /* the abstract name space */
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(fd);
}

unsigned long long fs_notify_watchdog(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    char *end;
    unsigned long long period;

    if (!text || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    period = strtoull(text, &end, 10);
    return errno || *end ? 0 : period;
}
