/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A time zone as a rule: POSIX TZ (IEEE 1003.1, 8.3) with the extensions of RFC 9636, 3.3.1, as
 * they stand at the end of every file of the zone database: "CET-1CEST,M3.5.0,M10.5.0/3", "UTC0",
 * "<+0330>-3:30". Read and computed here, because tzset() is for a whole process and may not be
 * changed inside httpd. Any thread, no allocation.
 */
#ifndef FS_ZONE_H
#define FS_ZONE_H

#include <stdint.h>

#define FS_ZONE_TEXT_SIZE 80

typedef struct fs_zone_switch_t {
    int kind; /* 'M' month.week.day, 'J' day 1..365 without 29 February, 'D' day 0..365 */
    int month, week, day;
    int seconds; /* of local time, -167 h .. 167 h */
} fs_zone_switch_t;

typedef struct fs_zone_t {
    int standard; /* local - UTC, seconds */
    int summer;
    int has_summer;
    fs_zone_switch_t begin, end;
} fs_zone_t;

/* Reads a rule; "" is UTC. 0, or -1 if it is none. */
int fs_zone_parse(fs_zone_t *zone, const char *text);
/* Local - UTC in seconds at a UTC time, seconds since 1970. */
int fs_zone_offset(const fs_zone_t *zone, int64_t utc);
/*
 * The UTC time of a local time, both in seconds since 1970 (local as if it were UTC). `later`
 * chooses of a time that comes twice; a time that is skipped is taken as by the offset before.
 */
int64_t fs_zone_utc(const fs_zone_t *zone, int64_t local, int later);

#endif
