/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FS_LOG_LINE_SIZE 1280

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

static void log_to_stderr(void *baton, fs_log_level_t level, const char *message)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];

    (void)baton;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(stderr, "%s.%06ldZ [%s] %s\n", stamp, now.tv_nsec / 1000, level_names[level], message);
}

static fs_log_fn *log_fn = log_to_stderr;
static void *log_baton;
static fs_log_level_t log_level = FS_LOG_NOTICE;

void fs_log_set(fs_log_fn *fn, void *baton, fs_log_level_t level)
{
    log_fn = fn ? fn : log_to_stderr;
    log_baton = baton;
    log_level = level;
}

int fs_log_parse_level(const char *name, fs_log_level_t *level)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (!strcmp(name, level_names[i])) {
            *level = (fs_log_level_t)i;
            return 0;
        }
    }
    return -1;
}

void fs_log(fs_log_level_t level, const char *number, const char *format, ...)
{
    char line[FS_LOG_LINE_SIZE];
    va_list args;
    int used;

    if (level > log_level)
        return;
    used = snprintf(line, sizeof(line), "%s: ", number);
    va_start(args, format);
    vsnprintf(line + used, sizeof(line) - (size_t)used, format, args);
    va_end(args);
    log_fn(log_baton, level, line);
}

void fs_log_result(fs_log_level_t level, const fs_result_t *result)
{
    fs_log(level, result->problem[0] ? result->problem : "FS0001", "%s",
           result->detail[0] ? result->detail : "failed for an unrecorded reason");
}

const char *fs_log_gate(fs_log_gate_t *gate, fs_usec_t now)
{
    if (!gate->passed || now - gate->begun >= FS_LOG_GATE_SPAN) {
        gate->begun = now;
        gate->passed = 0;
    }
    if (gate->passed == FS_LOG_GATE_FEW) {
        gate->kept++;
        return NULL;
    }
    gate->passed++;
    gate->note[0] = '\0';
    if (gate->kept)
        snprintf(gate->note, sizeof(gate->note), " (%u more like this were not logged)",
                 gate->kept);
    gate->kept = 0;
    return gate->note;
}
