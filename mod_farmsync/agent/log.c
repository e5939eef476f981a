/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 1536

static const char *const level_names[] = {"error", "warn", "notice", "info", "debug"};

static void write_line(void *baton, fs_log_level_t level, const char *message)
{
    char line[LINE_SIZE], stamp[48], year[8];
    struct timespec now;
    struct tm local;
    int length;
    ssize_t done;

    (void)baton;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(stamp, sizeof(stamp), "%a %b %d %H:%M:%S", &local);
    strftime(year, sizeof(year), "%Y", &local);
    length = snprintf(line, sizeof(line) - 1, "[%s.%06ld %s] [farmsync:%s] [pid %ld] %s", stamp,
                      now.tv_nsec / 1000, year, level_names[level], (long)getpid(), message);
    if (length < 0)
        return;
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    /* What comes from a peer or a table must not look like another line. */
    for (int i = 0; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[length++] = '\n';
    /* One write, so that lines of httpd's processes don't mix. There is nowhere to report a
     * failure. */
    done = write(STDERR_FILENO, line, (size_t)length);
    (void)done;
}

void fs_agent_log_start(fs_log_level_t level)
{
    fs_log_set(write_line, NULL, level);
}
