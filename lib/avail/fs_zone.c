/* SPDX-License-Identifier: Apache-2.0 */
#include "avail/fs_zone.h"

#include <ctype.h>
#include <string.h>

#define DAY_SECONDS INT64_C(86400)
#define HOURS_MAX   167 /* of a switch, RFC 9636 */
#define OFFSET_MAX  24  /* hours of an offset */
#define NAME_MIN    3

/* --- dates ---------------------------------------------------------------------------------------
 */

/* Days since 1970-01-01 of a date of the Gregorian calendar; March begins the computed year. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t floor_days(int64_t seconds)
{
    return (seconds >= 0 ? seconds : seconds - DAY_SECONDS + 1) / DAY_SECONDS;
}

static int64_t year_of(int64_t seconds)
{
    int64_t days = floor_days(seconds), year = 1970 + days / 366;

    while (days_of(year + 1, 1, 1) <= days)
        year++;
    while (days_of(year, 1, 1) > days)
        year--;
    return year;
}

static int month_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Local time of a switch in a year, as if it were UTC. */
static int64_t switch_local(const fs_zone_switch_t *rule, int64_t year)
{
    int64_t day;

    if (rule->kind == 'M') {
        int64_t first = days_of(year, rule->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday; 0 Sunday */
        int of_month = (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;

        if (of_month >= month_days(year, rule->month))
            of_month -= 7;
        day = first + of_month;
    } else if (rule->kind == 'J') {
        day = days_of(year, 1, 1) + rule->day - 1 + (is_leap(year) && rule->day >= 60);
    } else {
        day = days_of(year, 1, 1) + rule->day;
    }
    return day * DAY_SECONDS + rule->seconds;
}

/* --- reading -------------------------------------------------------------------------------------
 */

/* Reads a number of at most `most`; -1 if there is none. */
static int number(const char **text, int most)
{
    int value = 0, digits = 0;

    for (; isdigit((unsigned char)**text) && digits < 4; digits++, (*text)++)
        value = value * 10 + (**text - '0');
    return digits && value <= most ? value : -1;
}

/* [+-]hh[:mm[:ss]] in seconds; 0 on success. */
static int read_time(const char **text, int hours_max, int *seconds)
{
    int sign = 1, part, unit = 3600;

    *seconds = 0;
    if (**text == '+' || **text == '-')
        sign = *(*text)++ == '-' ? -1 : 1;
    for (;;) {
        part = number(text, unit == 3600 ? hours_max : 59);
        if (part < 0)
            return -1;
        *seconds += part * unit;
        if (**text != ':' || unit == 1)
            break;
        (*text)++;
        unit /= 60;
    }
    *seconds *= sign;
    return 0;
}

static int read_name(const char **text)
{
    const char *begin = *text;
    int quoted = *begin == '<';

    if (quoted)
        begin = ++*text;
    while (isalpha((unsigned char)**text) ||
           (quoted && (isdigit((unsigned char)**text) || **text == '+' || **text == '-')))
        (*text)++;
    if (*text - begin < NAME_MIN)
        return -1;
    if (quoted && *(*text)++ != '>')
        return -1;
    return 0;
}

/* A field of Mm.w.d, with the point before it. */
static int read_point(const char **text, int least, int most, int *value)
{
    if (*(*text)++ != '.')
        return -1;
    *value = number(text, most);
    return *value < least ? -1 : 0;
}

static int read_switch(const char **text, fs_zone_switch_t *rule)
{
    if (*(*text)++ != ',')
        return -1;
    rule->seconds = 2 * 3600;
    if (**text == 'M') {
        (*text)++;
        rule->kind = 'M';
        rule->month = number(text, 12);
        if (rule->month < 1 || read_point(text, 1, 5, &rule->week) ||
            read_point(text, 0, 6, &rule->day))
            return -1;
    } else {
        int julian = **text == 'J';

        *text += julian;
        rule->kind = julian ? 'J' : 'D';
        rule->day = number(text, 365);
        if (rule->day < julian)
            return -1;
    }
    if (**text != '/')
        return 0;
    (*text)++;
    return read_time(text, HOURS_MAX, &rule->seconds);
}

int fs_zone_parse(fs_zone_t *zone, const char *text)
{
    int offset;

    memset(zone, 0, sizeof(*zone));
    if (!*text)
        return 0;
    if (strlen(text) >= FS_ZONE_TEXT_SIZE || read_name(&text) ||
        read_time(&text, OFFSET_MAX, &offset))
        return -1;
    zone->standard = zone->summer = -offset; /* POSIX counts west of Greenwich */
    if (!*text)
        return 0;
    zone->has_summer = 1;
    zone->summer = zone->standard + 3600;
    if (read_name(&text))
        return -1;
    if (*text && *text != ',') {
        if (read_time(&text, OFFSET_MAX, &offset))
            return -1;
        zone->summer = -offset;
    }
    if (read_switch(&text, &zone->begin) || read_switch(&text, &zone->end))
        return -1;
    return *text ? -1 : 0;
}

/* --- computing -----------------------------------------------------------------------------------
 */

int fs_zone_offset(const fs_zone_t *zone, int64_t utc)
{
    int64_t year, begin, end;

    if (!zone->has_summer)
        return zone->standard;
    year = year_of(utc + zone->standard);
    begin = switch_local(&zone->begin, year) - zone->standard;
    end = switch_local(&zone->end, year) - zone->summer;
    if (begin < end)
        return utc >= begin && utc < end ? zone->summer : zone->standard;
    return utc >= end && utc < begin ? zone->standard : zone->summer;
}

int64_t fs_zone_utc(const fs_zone_t *zone, int64_t local, int later)
{
    int64_t one = local - zone->standard, other = local - zone->summer;
    int one_is = fs_zone_offset(zone, one) == zone->standard;
    int other_is = fs_zone_offset(zone, other) == zone->summer;

    if (one_is && other_is)
        return (one > other) == (later != 0) ? one : other;
    if (one_is)
        return one;
    if (other_is)
        return other;
    return local - fs_zone_offset(zone, local - zone->standard - DAY_SECONDS);
}
