/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_apart.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int become(uid_t uid, gid_t gid)
{
    if (geteuid() != 0 || uid == (uid_t)-1)
        return 0;
    return setgroups(0, NULL) || setgid(gid) || setuid(uid) ? -1 : 0;
}

static apr_status_t failed(const char *what, int error, fs_result_t *result)
{
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0014",
                         "cannot %s to check a file: %s; raise the limit of processes, or check "
                         "httpd's user",
                         what, strerror(error));
}

static void do_work(fs_apart_fn *fn, void *baton, uid_t uid, gid_t gid, unsigned seconds, int fd)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGALRM};
    struct rlimit no_core = {0, 0};
    fs_result_t result;

    for (unsigned i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
        signal(deadly[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(seconds);
    fs_result_clear(&result);
    if (become(uid, gid))
        failed("change to httpd's user", errno, &result);
    else
        result.status = fn(baton, &result);
    _exit(write(fd, &result, sizeof(result)) == (ssize_t)sizeof(result) ? 0 : 1);
}

/* 1 if the whole result came. */
static int read_result(int fd, fs_result_t *result)
{
    size_t done = 0;
    ssize_t got = 1;

    while (done < sizeof(*result) && got != 0) {
        got = read(fd, (char *)result + done, sizeof(*result) - done);
        if (got < 0 && errno != EINTR)
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    return done == sizeof(*result);
}

apr_status_t fs_apart_run(fs_apart_fn *fn, void *baton, uid_t uid, gid_t gid, unsigned seconds,
                          int *died, fs_result_t *result)
{
    int pipes[2], whole, error;
    pid_t pid;

    *died = 0;
    if (pipe2(pipes, O_CLOEXEC))
        return failed("make a pipe", errno, result);
    pid = fork();
    if (pid == 0)
        do_work(fn, baton, uid, gid, seconds, pipes[1]);
    error = errno;
    close(pipes[1]);
    whole = pid > 0 && read_result(pipes[0], result);
    close(pipes[0]);
    if (pid < 0)
        return failed("make a process", error, result);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *died = !whole;
    return whole ? result->status : APR_EGENERAL;
}
