/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A notice as JSON. What is read may come from anybody: each field is checked and named. What was
 * read is copied into one block; what is printed was checked before.
 */
#include "avail/fs_notice.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define YEAR_MIN 1970
#define INPUT_LIMIT                                                                                \
    (16 * 1024) /* of text that may hold blanks; the record has a limit of its own */
#define REASON_NUMBER 4

/* The codes that notices of other tools carry as numbers. */
static const char *const reason_numbers[REASON_NUMBER] = {"unknown", "planned", "outage",
                                                          "testing"};

static const char *const fields[] = {"application", "id",        "state",    "role", "reason",
                                     "component",   "message",   "messages", "from", "until",
                                     "weekly",      "condition", "servers",  "who",  "link",
                                     "time",        NULL};
static const char *const weekly_fields[] = {"days", "start", "end", "zone", NULL};

typedef struct reader_t {
    fs_notice_t *notice;
    char *room; /* where the next text goes */
    const json_t *root;
    int strict;
    fs_result_t *result;
} reader_t;

static apr_status_t refuse(fs_result_t *result, const char *field, const char *why)
{
    return fs_result_set(result, APR_EINVAL, "FS1500", "notice refused: %s: %s", field, why);
}

/* --- times ---------------------------------------------------------------------------------------
 */

/* Reads `digits` digits; -1 if they aren't there. */
static int digits_of(const char **text, int digits)
{
    int value = 0;

    for (; digits; digits--, (*text)++) {
        if (!isdigit((unsigned char)**text))
            return -1;
        value = value * 10 + (**text - '0');
    }
    return value;
}

/* A number of two digits after a character, within bounds. */
static int after(const char **text, const char *characters, int least, int most)
{
    int value;

    if (!**text || !strchr(characters, *(*text)++))
        return -1;
    value = digits_of(text, 2);
    return value < least || value > most ? -1 : value;
}

static int parse_fraction(const char **text, int *microseconds)
{
    int unit = 100000;

    *microseconds = 0;
    if (**text != '.')
        return 0;
    (*text)++;
    if (!isdigit((unsigned char)**text))
        return -1;
    for (; isdigit((unsigned char)**text); (*text)++, unit /= 10)
        *microseconds += (**text - '0') * unit;
    return 0;
}

/* "Z" or "+01:00", in minutes; -1 is an error, because there is no offset of -1 minute in use. */
static int parse_offset(const char **text, int *minutes)
{
    int sign = **text == '-' ? -1 : 1, hours, rest;

    *minutes = 0;
    if (**text == 'Z' || **text == 'z') {
        (*text)++;
        return 0;
    }
    hours = after(text, "+-", 0, 23);
    if (hours < 0)
        return -1;
    rest = after(text, ":", 0, 59);
    if (rest < 0)
        return -1;
    *minutes = sign * (hours * 60 + rest);
    return 0;
}

int fs_notice_time_parse(const char *text, fs_usec_t *time)
{
    struct tm utc = {0}, again;
    int year = digits_of(&text, 4), month, day, hour, minute, second, fraction, offset;
    time_t seconds;

    if (year < YEAR_MIN || (month = after(&text, "-", 1, 12)) < 0 ||
        (day = after(&text, "-", 1, 31)) < 0 || (hour = after(&text, "Tt ", 0, 23)) < 0 ||
        (minute = after(&text, ":", 0, 59)) < 0 || (second = after(&text, ":", 0, 59)) < 0 ||
        parse_fraction(&text, &fraction) || parse_offset(&text, &offset) || *text)
        return -1;
    utc.tm_year = year - 1900;
    utc.tm_mon = month - 1;
    utc.tm_mday = day;
    utc.tm_hour = hour;
    utc.tm_min = minute;
    utc.tm_sec = second;
    seconds = timegm(&utc);
    if (!gmtime_r(&seconds, &again) || again.tm_mday != day)
        return -1; /* 30 February */
    *time = (fs_usec_t)seconds * FS_USEC_PER_SEC + fraction - offset * 60 * FS_USEC_PER_SEC;
    return *time < 0 ? -1 : 0;
}

/* --- reading -------------------------------------------------------------------------------------
 */

static const char *keep(reader_t *reader, const char *text)
{
    size_t size = strlen(text) + 1;
    char *kept = memcpy(reader->room, text, size);

    reader->room += size;
    return kept;
}

/* A field that may be missing or null: then *text stays NULL. */
static apr_status_t read_text(reader_t *reader, const char *name, const char **text)
{
    const json_t *json = json_object_get(reader->root, name);

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_string(json) || !json_string_length(json))
        return refuse(reader->result, name, "must be a text that is not empty");
    *text = keep(reader, json_string_value(json));
    return APR_SUCCESS;
}

static apr_status_t read_time(reader_t *reader, const char *name, fs_usec_t *time)
{
    const json_t *json = json_object_get(reader->root, name);

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_string(json) || fs_notice_time_parse(json_string_value(json), time))
        return refuse(reader->result, name,
                      "must be a time as in 2026-11-21T14:30:00Z or 2026-11-21T15:30:00+01:00");
    return APR_SUCCESS;
}

static apr_status_t read_reason(reader_t *reader)
{
    const json_t *json = json_object_get(reader->root, "reason");

    if (!json_is_integer(json))
        return read_text(reader, "reason", &reader->notice->reason);
    if (json_integer_value(json) < 0 || json_integer_value(json) >= REASON_NUMBER)
        return refuse(reader->result, "reason",
                      "as a number 0 (unknown), 1 (planned), 2 (outage) or 3 (testing)");
    reader->notice->reason = keep(reader, reason_numbers[json_integer_value(json)]);
    return APR_SUCCESS;
}

static apr_status_t add_message(reader_t *reader, const char *language, const json_t *text)
{
    fs_notice_t *notice = reader->notice;

    if (!json_is_string(text) || !json_string_length(text))
        return refuse(reader->result, "messages", "each language has a text that is not empty");
    if (notice->message_count == FS_NOTICE_MESSAGES)
        return refuse(reader->result, "messages", "at most 8 languages");
    notice->messages[notice->message_count].language = keep(reader, language);
    notice->messages[notice->message_count++].text = keep(reader, json_string_value(text));
    return APR_SUCCESS;
}

static apr_status_t read_messages(reader_t *reader)
{
    const json_t *one = json_object_get(reader->root, "message");
    json_t *all = json_object_get(reader->root, "messages");
    apr_status_t status = APR_SUCCESS;
    const char *language;
    json_t *text;

    if (one && !json_is_null(one))
        status = add_message(reader, FS_NOTICE_EVERY, one);
    if (status || !all || json_is_null(all))
        return status;
    if (!json_is_object(all))
        return refuse(reader->result, "messages", "must be an object such as {\"en\":\"...\"}");
    json_object_foreach(all, language, text)
    {
        status = add_message(reader, language, text);
        if (status)
            return status;
    }
    return APR_SUCCESS;
}

static apr_status_t read_servers(reader_t *reader)
{
    const json_t *all = json_object_get(reader->root, "servers");
    fs_notice_t *notice = reader->notice;

    if (!all || json_is_null(all))
        return APR_SUCCESS;
    if (!json_is_array(all) || json_array_size(all) > FS_NOTICE_SERVERS)
        return refuse(reader->result, "servers", "must be an array of at most 32 names");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *name = json_array_get(all, i);

        if (!json_is_string(name))
            return refuse(reader->result, "servers", "must be an array of names");
        notice->servers[notice->server_count++] = keep(reader, json_string_value(name));
    }
    return APR_SUCCESS;
}

/* "02:30" in minutes; -1 if it is none. */
static int minutes_of(const json_t *json)
{
    const char *text = json_is_string(json) ? json_string_value(json) : "";
    int hours = digits_of(&text, 2), minutes;

    if (hours < 0 || hours > 24)
        return -1;
    minutes = after(&text, ":", 0, hours == 24 ? 0 : 59);
    return minutes < 0 || *text ? -1 : hours * 60 + minutes;
}

static apr_status_t read_days(reader_t *reader, const json_t *days)
{
    if (!json_is_array(days) || !json_array_size(days))
        return refuse(reader->result, "weekly", "days must be an array of mon, tue .. sun");
    for (size_t i = 0; i < json_array_size(days); i++) {
        const json_t *day = json_array_get(days, i);
        unsigned bit = json_is_string(day) ? fs_window_day(json_string_value(day)) : 0;

        if (!bit)
            return refuse(reader->result, "weekly", "days must be an array of mon, tue .. sun");
        reader->notice->window.days |= bit;
    }
    return APR_SUCCESS;
}

static apr_status_t check_fields(const json_t *object, const char *const *known, const char *inside,
                                 fs_result_t *result)
{
    json_t *copy = (json_t *)object, *value; /* iteration only */
    const char *name;

    json_object_foreach(copy, name, value)
    {
        const char *const *field = known;

        while (*field && strcmp(*field, name) != 0)
            field++;
        if (!*field)
            return fs_result_set(result, APR_EINVAL, "FS1500",
                                 "notice refused: there is no field \"%.64s\"%s; correct its name "
                                 "or leave it out",
                                 name, inside);
    }
    return APR_SUCCESS;
}

static apr_status_t read_weekly(reader_t *reader)
{
    const json_t *weekly = json_object_get(reader->root, "weekly"), *zone;
    fs_window_t *window = &reader->notice->window;
    apr_status_t status;

    if (!weekly || json_is_null(weekly))
        return APR_SUCCESS;
    if (!json_is_object(weekly))
        return refuse(reader->result, "weekly", "must be an object with days, start, end, zone");
    if (reader->strict &&
        (status = check_fields(weekly, weekly_fields, " in weekly", reader->result)))
        return status;
    status = read_days(reader, json_object_get(weekly, "days"));
    if (status)
        return status;
    window->start_minute = minutes_of(json_object_get(weekly, "start"));
    window->end_minute = minutes_of(json_object_get(weekly, "end"));
    if (window->start_minute < 0 || window->end_minute < 0)
        return refuse(reader->result, "weekly", "start and end must be times such as 02:30");
    zone = json_object_get(weekly, "zone");
    if (!zone || json_is_null(zone))
        return APR_SUCCESS;
    if (!json_is_string(zone) || json_string_length(zone) >= sizeof(window->zone))
        return refuse(reader->result, "weekly", "zone must be a POSIX rule of at most 79 bytes");
    memcpy(window->zone, json_string_value(zone), json_string_length(zone) + 1);
    return APR_SUCCESS;
}

static apr_status_t read_state_and_role(reader_t *reader)
{
    const char *state = NULL, *role = NULL;
    apr_status_t status = read_text(reader, "state", &state);

    if (!status)
        status = read_text(reader, "role", &role);
    if (status)
        return status;
    if (!state || fs_notice_state_parse(state, &reader->notice->state))
        return refuse(reader->result, "state", "must be down, up or degraded");
    reader->notice->role = FS_NOTICE_OPERATOR;
    if (role && fs_notice_role_parse(role, &reader->notice->role))
        return refuse(reader->result, "role", "must be operator or monitor");
    return APR_SUCCESS;
}

static apr_status_t read_notice(reader_t *reader)
{
    fs_notice_t *notice = reader->notice;
    apr_status_t status;

    if (!json_is_object(reader->root))
        return refuse(reader->result, "the text", "must be one JSON object");
    if (reader->strict && (status = check_fields(reader->root, fields, "", reader->result)))
        return status;
    if ((status = read_text(reader, "application", &notice->application)) ||
        (status = read_text(reader, "id", &notice->id)) || (status = read_state_and_role(reader)) ||
        (status = read_reason(reader)) ||
        (status = read_text(reader, "component", &notice->component)) ||
        (status = read_messages(reader)) ||
        (status = read_time(reader, "from", &notice->window.from)) ||
        (status = read_time(reader, "until", &notice->window.until)) ||
        (status = read_weekly(reader)) ||
        (status = read_text(reader, "condition", &notice->condition)) ||
        (status = read_servers(reader)) || (status = read_text(reader, "who", &notice->who)) ||
        (status = read_text(reader, "link", &notice->link)) ||
        (status = read_time(reader, "time", &notice->time)))
        return status;
    return fs_notice_check(notice, reader->result);
}

apr_status_t fs_notice_parse(fs_notice_t **notice, const char *json, size_t length, int strict,
                             fs_result_t *result)
{
    reader_t reader = {.strict = strict, .result = result};
    apr_status_t status;
    json_error_t error;
    json_t *root;

    *notice = NULL;
    if (length > INPUT_LIMIT)
        return refuse(result, "the text", "is longer than a notice can be");
    root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return refuse(result, "the text is not JSON", error.text);
    reader.root = root;
    /* Decoded texts with their NULs are never longer than the JSON that they stand in: each has two
     * quotes. The reason's number may become a word. */
    reader.notice = calloc(1, sizeof(*reader.notice) + length + 64);
    if (!reader.notice) {
        json_decref(root);
        return fs_result_set(result, APR_ENOMEM, "FS1500", "notice refused: out of memory");
    }
    reader.room = (char *)(reader.notice + 1);
    status = read_notice(&reader);
    json_decref(root);
    if (status)
        free(reader.notice);
    else
        *notice = reader.notice;
    return status;
}

/* --- writing -------------------------------------------------------------------------------------
 */

static void put_text(json_t *object, const char *name, const char *value)
{
    if (value)
        json_object_set_new(object, name, json_string(value));
}

static void put_time(json_t *object, const char *name, fs_usec_t time)
{
    char text[FS_TIME_TEXT_SIZE];

    if (time)
        put_text(object, name, fs_time_format(time, text));
}

static void put_minute(json_t *object, const char *name, int minute)
{
    char text[16];

    snprintf(text, sizeof(text), "%02d:%02d", minute / 60, minute % 60);
    put_text(object, name, text);
}

static void put_weekly(json_t *root, const fs_window_t *window)
{
    char names[FS_WINDOW_DAYS_SIZE], *rest = names, *day;
    json_t *weekly = json_object(), *days = json_array();

    fs_window_days_print(window->days, names);
    while ((day = strsep(&rest, ",")))
        json_array_append_new(days, json_string(day));
    json_object_set_new(weekly, "days", days);
    put_minute(weekly, "start", window->start_minute);
    put_minute(weekly, "end", window->end_minute);
    put_text(weekly, "zone", window->zone[0] ? window->zone : "UTC0");
    json_object_set_new(root, "weekly", weekly);
}

static json_t *notice_json(const fs_notice_t *notice)
{
    json_t *root = json_object(), *list;

    put_text(root, "application", notice->application);
    put_text(root, "id", fs_notice_id(notice));
    put_text(root, "state", fs_notice_state_name(notice->state));
    put_text(root, "role", fs_notice_role_name(notice->role));
    put_text(root, "reason", fs_notice_reason(notice));
    put_text(root, "component", notice->component);
    if (notice->message_count) {
        list = json_object();
        for (unsigned i = 0; i < notice->message_count; i++)
            put_text(list, notice->messages[i].language, notice->messages[i].text);
        json_object_set_new(root, "messages", list);
    }
    put_time(root, "from", notice->window.from);
    put_time(root, "until", notice->window.until);
    if (notice->window.days)
        put_weekly(root, &notice->window);
    put_text(root, "condition", notice->condition);
    if (notice->server_count) {
        list = json_array();
        for (unsigned i = 0; i < notice->server_count; i++)
            json_array_append_new(list, json_string(notice->servers[i]));
        json_object_set_new(root, "servers", list);
    }
    put_text(root, "who", notice->who);
    put_text(root, "link", notice->link);
    put_time(root, "time", notice->time);
    return root;
}

char *fs_notice_print(const fs_notice_t *notice, size_t *length, fs_result_t *result)
{
    json_t *root;
    char *text;

    *length = 0;
    if (fs_notice_check(notice, result))
        return NULL;
    root = notice_json(notice);
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) {
        fs_result_set(result, APR_ENOMEM, "FS1500", "notice refused: out of memory");
        return NULL;
    }
    *length = strlen(text);
    if (*length <= FS_NOTICE_BYTES)
        return text;
    fs_result_set(result, APR_ENOSPC, "FS1501",
                  "notice refused: it takes %zu bytes, at most %d are possible; shorten its "
                  "messages or use fewer languages",
                  *length, FS_NOTICE_BYTES);
    free(text);
    *length = 0;
    return NULL;
}
