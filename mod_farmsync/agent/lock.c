/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fs_log.h"
#include "base/fs_time.h"

#define ASK_FOR      (2 * FS_USEC_PER_SEC) /* SIGTERM, then ... */
#define KILL_FOR     (2 * FS_USEC_PER_SEC) /* ... SIGKILL, then give up */
#define OTHER_FOR    (3 * FS_USEC_PER_SEC) /* for another httpd to be gone */
#define LOOK         (5 * FS_USEC_PER_MSEC)
#define FILE_SIZE    128
#define HEIR_FOR     (4 * FS_USEC_PER_SEC)     /* for another who takes over */
#define HANDOVER_FOR (1500 * FS_USEC_PER_MSEC) /* an agent that just started gets to hand over */

/* Who holds the lock, as it wrote into the file. */
typedef struct holder_t {
    long pid; /* 0: not known */
    long parent;
    int standalone;
} holder_t;

/* Since when (mono) a holder is waited for. */
typedef struct waited_t {
    long pid;
    fs_usec_t since;
} waited_t;

static void read_holder(int fd, holder_t *holder)
{
    char text[FILE_SIZE + 1];
    ssize_t got = pread(fd, text, FILE_SIZE, 0);

    memset(holder, 0, sizeof(*holder));
    text[got > 0 ? got : 0] = '\0';
    if (sscanf(text, "%ld %ld %d\n", &holder->pid, &holder->parent, &holder->standalone) != 3 ||
        holder->pid <= 1 || holder->pid == (long)getpid())
        memset(holder, 0, sizeof(*holder));
}

static int write_holder(int fd, int standalone)
{
    char text[FILE_SIZE];
    int length =
        snprintf(text, sizeof(text), "%ld %ld %d\n", (long)getpid(), (long)getppid(), standalone);

    return ftruncate(fd, 0) || pwrite(fd, text, (size_t)length, 0) != length ? -1 : 0;
}

/*
 * The name in parentheses, the parent and the start in ticks since the boot, from /proc/PID/stat. 0
 * if there is no such process.
 */
static int read_process(long pid, char name[32], long *parent, unsigned long long *start)
{
    char path[64], text[512], *end;
    FILE *file;
    size_t got;

    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    got = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[got] = '\0';
    end = strrchr(text, ')');
    if (!end || !strchr(text, '('))
        return 0;
    *end = '\0';
    snprintf(name, 32, "%s", strchr(text, '(') + 1);
    return sscanf(end + 1,
                  " %*c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%llu",
                  parent, start) == 2;
}

/* The holder is an agent: the kernel keeps 15 characters of "farmsync-agent", or libtool's name. */
static int is_agent(const holder_t *holder, long *parent)
{
    unsigned long long start;
    char name[32];

    return holder->pid && read_process(holder->pid, name, parent, &start) &&
           strstr(name, "farmsync-agent") != NULL;
}

/* It belongs to a httpd that is alive and isn't the one that started this process. */
static int is_another_httpds(const holder_t *holder, int standalone)
{
    long parent = 0;

    if (standalone || holder->standalone || !is_agent(holder, &parent))
        return 0;
    return parent == holder->parent && parent != (long)getppid();
}

/*
 * httpd was restarted again before this agent got the lock, and the next one, which is to stay, was
 * faster.
 */
static int is_younger(const holder_t *holder, int standalone)
{
    unsigned long long theirs, ours;
    long parent, own_parent;
    char name[32];

    return !standalone && !holder->standalone && holder->parent == (long)getppid() && holder->pid &&
           read_process(holder->pid, name, &parent, &theirs) &&
           read_process((long)getpid(), name, &own_parent, &ours) && theirs > ours;
}

static int locked(int fd)
{
    int status;

    do
        status = flock(fd, LOCK_EX | LOCK_NB);
    while (status && errno == EINTR);
    return !status;
}

/*
 * Whether `holder` may be ended: it has handed over what it has. One that started a moment ago gets
 * the time to be able to.
 */
static int may_end(const fs_agent_heir_t *heir, const holder_t *holder, waited_t *waited)
{
    fs_usec_t now = fs_time_mono();

    int another = waited->pid != holder->pid;

    if (another)
        *waited = (waited_t){.pid = holder->pid, .since = now};
    return heir->take(heir->baton, another) || now - waited->since >= HANDOVER_FOR;
}

/* Sends `sig` to whoever holds the lock until it is free or `span` is over; -1: it isn't for us. */
static int end_holder(int fd, int standalone, int sig, const fs_agent_heir_t *heir, fs_usec_t span)
{
    fs_usec_t now = fs_time_mono(), until = now + span;
    waited_t waited = {0};
    long told = 0, parent;
    holder_t holder;

    for (; now < until; now = fs_time_mono()) {
        if (locked(fd))
            return 1;
        read_holder(fd, &holder);
        if (is_younger(&holder, standalone))
            return -1;
        if (holder.pid != told && is_agent(&holder, &parent) &&
            (sig == SIGKILL || may_end(heir, &holder, &waited)) && !kill((pid_t)holder.pid, sig)) {
            told = holder.pid;
            until = fs_time_mono() + span;
        }
        fs_time_sleep_until(now + LOOK);
    }
    return locked(fd);
}

static apr_status_t wait_for_other(int fd, int standalone, const char *state_dir,
                                   fs_result_t *result)
{
    fs_usec_t until = fs_time_mono() + OTHER_FOR;
    holder_t holder;

    for (;;) {
        if (locked(fd))
            return APR_SUCCESS;
        read_holder(fd, &holder);
        if (!is_another_httpds(&holder, standalone))
            return APR_EBUSY;
        if (fs_time_mono() >= until)
            return fs_result_set(
                result, APR_EEXIST, "FS0611",
                "%s is used by the httpd with pid %ld (agent %ld); give each httpd "
                "its own FarmSyncStateDir",
                state_dir, holder.parent, holder.pid);
        fs_time_sleep_until(fs_time_mono() + 10 * LOOK);
    }
}

static apr_status_t take_over(int fd, int standalone, const char *state_dir,
                              const fs_agent_heir_t *heir, fs_result_t *result)
{
    apr_status_t status = wait_for_other(fd, standalone, state_dir, result);
    int ended;

    if (status != APR_EBUSY)
        return status;
    ended = end_holder(fd, standalone, SIGTERM, heir, ASK_FOR);
    if (ended > 0)
        return APR_SUCCESS;
    if (ended < 0)
        return fs_result_set(result, APR_EOF, "FS0628",
                             "httpd was restarted again meanwhile and has a newer agent: ends");
    fs_log(FS_LOG_WARNING, "FS0613", "the agent before this one does not end by itself: killed");
    if (end_holder(fd, standalone, SIGKILL, heir, KILL_FOR) > 0)
        return APR_SUCCESS;
    return fs_result_set(result, APR_EBUSY, "FS0612",
                         "%s/agent.lock is held by something that doesn't go away; see who it is "
                         "with fuser and end it",
                         state_dir);
}

apr_status_t fs_agent_lock_take(const char *state_dir, int standalone, const fs_agent_heir_t *heir,
                                fs_result_t *result)
{
    char path[PATH_MAX];
    apr_status_t status = APR_SUCCESS;
    int fd;

    snprintf(path, sizeof(path), "%s/agent.lock", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0610",
                             "cannot open %s: %s; the state directory must belong to httpd's user",
                             path, strerror(errno));
    if (!locked(fd))
        status = take_over(fd, standalone, state_dir, heir, result);
    if (!status && write_holder(fd, standalone))
        status = fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0610", "cannot write %s: %s",
                               path, strerror(errno));
    if (status)
        close(fd);
    return status; /* the descriptor is meant to stay open */
}

int fs_agent_heir_begin(const char *state_dir)
{
    fs_usec_t until = fs_time_mono() + HEIR_FOR;
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/agent.heir", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    while (fd >= 0 && !locked(fd) && fs_time_mono() < until)
        fs_time_sleep_until(fs_time_mono() + LOOK);
    return fd;
}

int fs_agent_children_left(const char *state_dir)
{
    char path[PATH_MAX];
    int fd, left;

    snprintf(path, sizeof(path), "%s/children.lock", state_dir);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno != ENOENT;
    left = !locked(fd);
    close(fd);
    return left;
}
