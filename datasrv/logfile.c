/* SPDX-License-Identifier: Apache-2.0 */
#include "logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_time.h"

#define LINE_SIZE 1536

/* The descriptor's number never changes once a file is open: reopening dup3()s over it, so that a
 * thread that is writing at that moment writes to the old file or the new one, never to a closed
 * number. */
static atomic_int log_fd = STDERR_FILENO;

static void write_line(void *baton, fs_log_level_t level, const char *message)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    char stamp[FS_TIME_TEXT_SIZE], line[LINE_SIZE];
    int length = snprintf(line, sizeof(line) - 1, "%s [%s] %s",
                          fs_time_format(fs_time_wall(), stamp), names[level], message);
    ssize_t written;

    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    for (int i = 0; i < length; i++) /* what came from elsewhere cannot forge a line */
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    line[length++] = '\n';
    written = write(atomic_load(&log_fd), line, (size_t)length);
    (void)written; /* a log that cannot be written has nowhere to say so */
}

apr_status_t fs_logfile_open(const char *path, fs_log_level_t level, fs_result_t *result)
{
    int now = atomic_load(&log_fd), fd;

    if (path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0)
            return fs_result_set(
                result, APR_FROM_OS_ERROR(errno), "FS0810",
                "cannot open the log file %s: %s; check the directory and its owner", path,
                strerror(errno));
        if (now == STDERR_FILENO) {
            atomic_store(&log_fd, fd);
        } else {
            dup3(fd, now, O_CLOEXEC);
            close(fd);
        }
    } else if (now != STDERR_FILENO) {
        atomic_store(&log_fd, STDERR_FILENO); /* `now` stays open: a thread may be writing to it */
    }
    fs_log_set(write_line, NULL, level);
    return APR_SUCCESS;
}
