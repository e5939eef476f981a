/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_ics.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FOLD_AT   75 /* octets of a line, without its end; the blank of a fold included */
#define TIME_SIZE 24
#define DAY_S     86400

static const char *const days[] = {"MO", "TU", "WE", "TH", "FR", "SA", "SU"};

/* --- lines ------------------------------------------------------------------------------------ */

/* Writes a content line, folded between characters and ended by CRLF (3.1). */
static void put_line(FILE *out, const char *text)
{
    size_t column = 0;

    for (; *text; text++) {
        int begins_character = ((unsigned char)*text & 0xc0) != 0x80;

        /* The longest character has four octets. */
        if (begins_character && column + 4 > FOLD_AT) {
            fputs("\r\n ", out);
            column = 1;
        }
        fputc(*text, out);
        column++;
    }
    fputs("\r\n", out);
}

static void put_format(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put_format(FILE *out, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    if (text)
        put_line(out, text);
    free(text);
}

/* A property whose value is TEXT (3.3.11): escaped. */
static void put_text(FILE *out, const char *name, const char *value)
{
    char *line = NULL;
    size_t size = 0;
    FILE *room = open_memstream(&line, &size);

    if (!room)
        return;
    fprintf(room, "%s:", name);
    for (; *value; value++) {
        if (*value == '\\' || *value == ';' || *value == ',')
            fprintf(room, "\\%c", *value);
        else if (*value == '\n')
            fputs("\\n", room);
        else if ((unsigned char)*value >= ' ')
            fputc(*value, room);
    }
    if (!fclose(room))
        put_line(out, line);
    free(line);
}

/* --- times ------------------------------------------------------------------------------------ */

static char *print_time(int64_t seconds, const char *end, char text[TIME_SIZE])
{
    time_t when = (time_t)seconds;
    struct tm parts;
    size_t length;

    gmtime_r(&when, &parts);
    length = strftime(text, TIME_SIZE, "%Y%m%dT%H%M%S", &parts);
    snprintf(text + length, TIME_SIZE - length, "%s", end);
    return text;
}

static void put_utc(FILE *out, const char *name, fs_usec_t time)
{
    char text[TIME_SIZE];

    put_format(out, "%s:%s", name, print_time(time / FS_USEC_PER_SEC, "Z", text));
}

/* --- time zones ------------------------------------------------------------------------------- */

/* Whether RFC 5545 can say it: a day of a week of a month, at a time of that day. */
static int is_plain(const fs_zone_switch_t *change)
{
    return change->kind == 'M' && change->seconds >= 0 && change->seconds < DAY_S;
}

static int is_sayable(const fs_zone_t *zone)
{
    return !zone->has_summer || (is_plain(&zone->begin) && is_plain(&zone->end));
}

/* The day of the month, in 1970, of the week-th weekday; week 5 is the last one. */
static int day_in_1970(const fs_zone_switch_t *change)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int weekday = 4, day; /* 1 January 1970 was a Thursday; 0 is Sunday */

    for (int month = 1; month < change->month; month++)
        weekday += lengths[month - 1];
    weekday %= 7;
    day = 1 + (change->day - weekday + 7) % 7 + 7 * (change->week - 1);
    while (day > lengths[change->month - 1])
        day -= 7;
    return day;
}

static void put_offset(FILE *out, const char *name, int seconds)
{
    int size = abs(seconds);

    put_format(out, "%s:%c%02d%02d", name, seconds < 0 ? '-' : '+', size / 3600, size / 60 % 60);
}

static void put_season(FILE *out, const char *name, const fs_zone_switch_t *change, int before,
                       int after)
{
    put_format(out, "BEGIN:%s", name);
    if (change) {
        put_format(out, "DTSTART:1970%02d%02dT%02d%02d%02d", change->month, day_in_1970(change),
                   change->seconds / 3600, change->seconds / 60 % 60, change->seconds % 60);
        put_format(out, "RRULE:FREQ=YEARLY;BYMONTH=%d;BYDAY=%d%s", change->month,
                   change->week == 5 ? -1 : change->week, days[(change->day + 6) % 7]);
    } else {
        put_line(out, "DTSTART:19700101T000000");
    }
    put_offset(out, "TZOFFSETFROM", before);
    put_offset(out, "TZOFFSETTO", after);
    put_format(out, "END:%s", name);
}

/* Each event has a zone of its own by name: the rule, without what a name can't hold. */
static void zone_name(const fs_notice_t *notice, char *name, size_t size)
{
    snprintf(name, size, "farmsync-%s", notice->window.zone);
    for (; *name; name++)
        if (strchr(",;:\"\\<>/", *name))
            *name = '_';
}

static void put_zone(FILE *out, const char *name, const fs_zone_t *zone)
{
    put_line(out, "BEGIN:VTIMEZONE");
    put_format(out, "TZID:%s", name);
    put_season(out, "STANDARD", zone->has_summer ? &zone->end : NULL, zone->summer, zone->standard);
    if (zone->has_summer)
        put_season(out, "DAYLIGHT", &zone->begin, zone->standard, zone->summer);
    put_line(out, "END:VTIMEZONE");
}

/* --- events ----------------------------------------------------------------------------------- */

static void put_local(FILE *out, const char *name, const char *zone, const fs_zone_t *rule,
                      fs_usec_t time)
{
    int64_t utc = time / FS_USEC_PER_SEC;
    char text[TIME_SIZE];

    put_format(out, "%s;TZID=%s:%s", name, zone,
               print_time(utc + fs_zone_offset(rule, utc), "", text));
}

static void put_rule(FILE *out, const fs_window_t *window)
{
    char until[TIME_SIZE + 8] = "", text[TIME_SIZE], names[32] = "";

    for (int i = 0; i < 7; i++)
        if (window->days & 1u << i)
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
                     *names ? "," : "", days[i]);
    if (window->until)
        snprintf(until, sizeof(until), ";UNTIL=%s",
                 print_time(window->until / FS_USEC_PER_SEC, "Z", text));
    put_format(out, "RRULE:FREQ=WEEKLY;BYDAY=%s%s", names, until);
}

static void put_what(FILE *out, const fs_notice_t *notice)
{
    const char *language, *message = fs_notice_message(notice, NULL, NULL, &language);
    char summary[FS_NOTICE_NAME_SIZE + 64], key[FS_NOTICE_KEY_SIZE], *json;
    fs_result_t ignored;
    size_t length;

    fs_notice_key(notice, key);
    put_text(out, "UID", key);
    put_utc(out, "DTSTAMP", notice->time);
    put_format(out, "SEQUENCE:%lld",
               (long long)(notice->time / FS_USEC_PER_SEC & INT64_C(0x7fffffff)));
    put_line(out, "STATUS:CONFIRMED");
    snprintf(summary, sizeof(summary), "%s: %s", notice->application,
             fs_notice_state_name(notice->state));
    put_text(out, "SUMMARY", summary);
    put_text(out, "CATEGORIES", fs_notice_reason(notice));
    if (message)
        put_text(out, "DESCRIPTION", message);
    if (notice->link)
        put_format(out, "URL:%s", notice->link);
    json = fs_notice_print(notice, &length, &ignored);
    if (json)
        put_text(out, "X-FARMSYNC-NOTICE", json);
    free(json);
}

static void put_weekly(FILE *out, const fs_notice_t *notice, const fs_window_at_t *first)
{
    char name[FS_ZONE_TEXT_SIZE + 16];
    fs_zone_t zone;
    int local =
        notice->window.zone[0] && !fs_zone_parse(&zone, notice->window.zone) && is_sayable(&zone);

    zone_name(notice, name, sizeof(name));
    if (local)
        put_zone(out, name, &zone);
    put_line(out, "BEGIN:VEVENT");
    put_what(out, notice);
    if (local) {
        put_local(out, "DTSTART", name, &zone, first->start);
        put_local(out, "DTEND", name, &zone, first->end);
    } else {
        put_utc(out, "DTSTART", first->start);
        put_utc(out, "DTEND", first->end);
    }
    put_rule(out, &notice->window);
    put_line(out, "END:VEVENT");
}

void fs_ics_notice(FILE *out, const fs_notice_t *notice)
{
    const fs_window_t *window = &notice->window;
    fs_usec_t from = window->from ? window->from : notice->time;
    fs_window_at_t first;

    if (window->days) {
        fs_window_at(window, from, &first);
        if (first.start && first.end)
            put_weekly(out, notice, &first);
    } else if (window->until) {
        put_line(out, "BEGIN:VEVENT");
        put_what(out, notice);
        put_utc(out, "DTSTART", from);
        put_utc(out, "DTEND", window->until);
        put_line(out, "END:VEVENT");
    }
}

void fs_ics_begin(FILE *out, const char *name)
{
    put_line(out, "BEGIN:VCALENDAR");
    put_line(out, "VERSION:2.0");
    put_line(out, "PRODID:-//farmsync//availability//EN");
    put_line(out, "METHOD:PUBLISH");
    put_text(out, "X-WR-CALNAME", name);
}

void fs_ics_end(FILE *out)
{
    put_line(out, "END:VCALENDAR");
}
