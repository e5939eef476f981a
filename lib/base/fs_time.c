/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PPM_LIMIT 1000

static long test_ppm;

void fs_time_init(void)
{
    const char *text = getenv("FARMSYNC_TEST_CLOCK_PPM");
    char *end;
    long ppm;

    if (!text || !*text)
        return;
    errno = 0;
    ppm = strtol(text, &end, 10);
    if (!errno && !*end && ppm >= -PPM_LIMIT && ppm <= PPM_LIMIT)
        test_ppm = ppm;
}

static fs_usec_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (fs_usec_t)now.tv_sec * FS_USEC_PER_SEC + now.tv_nsec / 1000;
}

fs_usec_t fs_time_mono(void)
{
    fs_usec_t now = read_clock(CLOCK_MONOTONIC);

    return test_ppm ? now + now / 1000000 * test_ppm + now % 1000000 * test_ppm / 1000000 : now;
}

fs_usec_t fs_time_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

void fs_time_sleep_until(fs_usec_t until)
{
    fs_usec_t left = until - fs_time_mono();
    struct timespec span;

    if (left <= 0)
        return;
    span.tv_sec = (time_t)(left / FS_USEC_PER_SEC);
    span.tv_nsec = (long)(left % FS_USEC_PER_SEC) * 1000;
    nanosleep(&span, NULL);
}

char *fs_time_format(fs_usec_t time, char out[FS_TIME_TEXT_SIZE])
{
    fs_usec_t seconds = time / FS_USEC_PER_SEC;
    fs_usec_t rest = time % FS_USEC_PER_SEC;
    time_t whole;
    struct tm utc;

    if (rest < 0) {
        rest += FS_USEC_PER_SEC;
        seconds--;
    }
    whole = (time_t)seconds;
    if (!gmtime_r(&whole, &utc) || utc.tm_year + 1900 > 9999 || utc.tm_year + 1900 < 0) {
        snprintf(out, FS_TIME_TEXT_SIZE, "out of range");
        return out;
    }
    size_t used = strftime(out, FS_TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + used, FS_TIME_TEXT_SIZE - used, ".%06dZ", (int)rest);
    return out;
}
