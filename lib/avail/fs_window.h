/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a notice is in force: pure arithmetic on farm time, the same on every server, no message
 * needed at the start or the end.
 *
 *   from ──────────────────────────────────────── until        either may be open
 *          ▒▒▒▒        ▒▒▒▒        ▒▒▒▒                        weekly: only then, within the two
 *
 * Weekly windows are in local time of a zone that the notice itself carries as a rule (POSIX TZ,
 * "CET-1CEST,M3.5.0,M10.5.0/3"), not as a name: hosts with different releases of the zone database
 * would begin at different times, and a container may have none. farmsyncctl turns a name such as
 * Europe/Berlin into the rule of today. Start and end are what the clock on the wall shows:
 *   - a time that the clock skips in spring means the instant at which the skipped hour would have
 *     put it, so 02:30 is 03:30 by the new time; a window that lies in the skipped hour whole has
 * no length, and doesn't happen that day
 *   - of a time that comes twice in autumn, a start means the first and an end the second, so that
 *     nobody is let in during the hour that was announced
 *   - an end that isn't after the start is on the next day
 */
#ifndef FS_WINDOW_H
#define FS_WINDOW_H

#include <stdint.h>

#include "avail/fs_zone.h"
#include "base/fs_time.h"

#define FS_WINDOW_MONDAY   1u
#define FS_WINDOW_SUNDAY   64u
#define FS_WINDOW_ALL_DAYS 127u

typedef struct fs_window_t {
    fs_usec_t from;               /* farm time; 0: open */
    fs_usec_t until;              /* farm time, not included any more; 0: open */
    unsigned days;                /* of the starts: bit 0 Monday .. bit 6 Sunday; 0: not weekly */
    int start_minute;             /* 0 .. 1439, local time */
    int end_minute;               /* 0 .. 1440 */
    char zone[FS_ZONE_TEXT_SIZE]; /* POSIX TZ; "" is UTC */
} fs_window_t;

/* What a window says of a moment. */
typedef struct fs_window_at_t {
    int in_force;
    fs_usec_t start;  /* of the present span, or of the next one; 0: none, or open to the past */
    fs_usec_t end;    /* of that span; 0: open */
    fs_usec_t change; /* when `in_force` will be another; INT64_MAX: never again */
} fs_window_at_t;

/* NULL if the window is well formed, else what is wrong with it, as the rest of a sentence. */
const char *fs_window_problem(const fs_window_t *window);
/* A window with a problem is never in force. */
void fs_window_at(const fs_window_t *window, fs_usec_t farm, fs_window_at_t *at);
/* 1 if it is in force at `farm` or will be at any time after. */
int fs_window_pending(const fs_window_t *window, fs_usec_t farm);

/* "mon,wed" of a set of days, in the order of the week; returns `out`. */
#define FS_WINDOW_DAYS_SIZE 32
char *fs_window_days_print(unsigned days, char out[FS_WINDOW_DAYS_SIZE]);
/* The bit of "mon" .. "sun", 0 if it is none. */
unsigned fs_window_day(const char *name);

#endif
