/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time in microseconds, and the one place that reads a clock.
 *
 * farm time:  microseconds since 1970-01-01 UTC as the database's clock counts them
 * mono time:  CLOCK_MONOTONIC of this host, microseconds; never steps, unlike the wall clock
 * Code that decides something takes these as arguments, so that tests can simulate them.
 */
#ifndef FS_TIME_H
#define FS_TIME_H

#include <stdint.h>

typedef int64_t fs_usec_t;

#define FS_USEC_PER_SEC  INT64_C(1000000)
#define FS_USEC_PER_MSEC INT64_C(1000)

/*
 * CLOCK_MONOTONIC in microseconds, any thread.
 *
 * For tests of a host whose clock runs wrong, the environment variable FARMSYNC_TEST_CLOCK_PPM (a
 * whole number, -1000 to 1000, read once by fs_time_init) makes this clock run fast or slow by that
 * much, equally in all processes of the host.
 */
fs_usec_t fs_time_mono(void);

/* Reads the environment; called once per process before threads start. Not calling it is harmless. */
void fs_time_init(void);

/* The wall clock, microseconds since 1970 UTC. For people and for cold starts only, never to decide. */
fs_usec_t fs_time_wall(void);

/* Sleeps until mono time `until`; returns early on a signal. */
void fs_time_sleep_until(fs_usec_t until);

/* Writes "2026-11-21T10:00:00.000000Z" (27 characters and a NUL) into `out`; returns `out`. */
#define FS_TIME_TEXT_SIZE 32
char *fs_time_format(fs_usec_t time, char out[FS_TIME_TEXT_SIZE]);

#endif
