/* SPDX-License-Identifier: Apache-2.0 */
#include "avail/fs_window.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DAY_SECONDS INT64_C(86400)
#define YEAR_10000  (INT64_C(253402300800) * FS_USEC_PER_SEC)
#define DAYS_BEFORE 2  /* a span that began before today may still run */
#define DAYS_AHEAD  16 /* past a day on which the window has no length */
#define DAY_MINUTES 1440

static const char day_names[7][4] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

const char *fs_window_problem(const fs_window_t *window)
{
    fs_zone_t zone;

    if (window->from < 0 || window->from > YEAR_10000 || window->until < 0 ||
        window->until > YEAR_10000)
        return "from and until must be between the years 1970 and 9999";
    if (window->until && window->until <= window->from)
        return "until must be later than from";
    if (window->days > FS_WINDOW_ALL_DAYS)
        return "weekly days are mon, tue, wed, thu, fri, sat and sun";
    if (!window->days)
        return NULL;
    if (window->start_minute < 0 || window->start_minute >= DAY_MINUTES)
        return "weekly start must be a time from 00:00 to 23:59";
    if (window->end_minute < 0 || window->end_minute > DAY_MINUTES)
        return "weekly end must be a time from 00:00 to 24:00";
    if (!memchr(window->zone, '\0', sizeof(window->zone)) || fs_zone_parse(&zone, window->zone))
        return "weekly zone must be a POSIX rule such as UTC0 or CET-1CEST,M3.5.0,M10.5.0/3, which "
               "is the last line of the zone's file in /usr/share/zoneinfo";
    return NULL;
}

/* The window of the day that many days after 1970-01-01 by local time, within from and until. */
static int span_of_day(const fs_window_t *window, const fs_zone_t *zone, int64_t day,
                       fs_usec_t *start, fs_usec_t *end)
{
    unsigned weekday = (unsigned)(((day + 3) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    int64_t last = day;

    if (!(window->days & (1u << weekday)))
        return 0;
    if (window->end_minute <= window->start_minute)
        last++;
    *start = fs_zone_utc(zone, day * DAY_SECONDS + window->start_minute * 60, 0) * FS_USEC_PER_SEC;
    *end = fs_zone_utc(zone, last * DAY_SECONDS + window->end_minute * 60, 1) * FS_USEC_PER_SEC;
    if (*start < window->from)
        *start = window->from;
    if (window->until && *end > window->until)
        *end = window->until;
    return *start < *end;
}

/* The span that runs at `farm` or is the next; spans that touch are one. */
static void find_weekly(const fs_window_t *window, fs_usec_t farm, fs_window_at_t *at)
{
    fs_usec_t reference = farm > window->from ? farm : window->from, start, end;
    int64_t seconds = reference / FS_USEC_PER_SEC, today;
    fs_zone_t zone;

    fs_zone_parse(&zone, window->zone);
    today = (seconds + fs_zone_offset(&zone, seconds)) / DAY_SECONDS;
    for (int64_t day = today - DAYS_BEFORE; day <= today + DAYS_AHEAD; day++) {
        if (!span_of_day(window, &zone, day, &start, &end) || end <= farm)
            continue;
        if (at->end && start > at->end)
            break;
        if (!at->end)
            at->start = start;
        if (end > at->end)
            at->end = end;
    }
}

void fs_window_at(const fs_window_t *window, fs_usec_t farm, fs_window_at_t *at)
{
    memset(at, 0, sizeof(*at));
    at->change = INT64_MAX;
    if (farm < 0)
        farm = 0;
    if (farm > YEAR_10000 || fs_window_problem(window) || (window->until && farm >= window->until))
        return;
    if (window->days) {
        find_weekly(window, farm, at);
        if (!at->end)
            return;
    } else {
        at->start = window->from;
        at->end = window->until;
    }
    at->in_force = at->start <= farm;
    if (!at->in_force)
        at->change = at->start;
    else if (at->end)
        at->change = at->end;
}

int fs_window_pending(const fs_window_t *window, fs_usec_t farm)
{
    fs_window_at_t at;

    fs_window_at(window, farm, &at);
    return at.in_force || at.change != INT64_MAX;
}

char *fs_window_days_print(unsigned days, char out[FS_WINDOW_DAYS_SIZE])
{
    size_t length = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < 7; i++) {
        if (days & (1u << i))
            length += (size_t)snprintf(out + length, FS_WINDOW_DAYS_SIZE - length, "%s%s",
                                       length ? "," : "", day_names[i]);
    }
    return out;
}

unsigned fs_window_day(const char *name)
{
    for (unsigned i = 0; i < 7; i++) {
        if (!strcasecmp(name, day_names[i]))
            return 1u << i;
    }
    return 0;
}
