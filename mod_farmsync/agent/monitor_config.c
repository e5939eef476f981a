/* SPDX-License-Identifier: Apache-2.0 */
/* The field "monitors" of agent.json: mod_farmsync/monitors.c writes it from FarmSyncMonitor. */
#include "monitor.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 512

/* Whether one of the fields could not be read; the first problem counts. */
typedef struct reader_t {
    const json_t *json;
    const char *path;
    unsigned number; /* of the monitor, from 1 */
    apr_status_t status;
    fs_result_t *result;
} reader_t;

static void bad(reader_t *reader, const char *field, const char *remedy)
{
    if (!reader->status)
        reader->status = fs_result_set(reader->result, APR_EINVAL, "FS1550",
                                       "%s: \"%s\" of monitor %u is not usable: %s", reader->path,
                                       field, reader->number, remedy);
}

static char *take_text(reader_t *reader, const char *field, int needed)
{
    const json_t *json = json_object_get(reader->json, field);
    const char *text = json_string_value(json);
    char *copy;

    if (!json || json_is_null(json)) {
        if (needed)
            bad(reader, field, "it is missing");
        return NULL;
    }
    if (!text || !*text || strlen(text) >= TEXT_SIZE || strlen(text) != json_string_length(json)) {
        bad(reader, field, "give a string of 1 to 511 characters");
        return NULL;
    }
    copy = strdup(text);
    if (!copy && !reader->status)
        reader->status = fs_result_set(reader->result, APR_ENOMEM, "FS0621", "out of memory");
    return copy;
}

static int64_t take_number(reader_t *reader, const char *field, int64_t absent, int64_t least,
                           int64_t most)
{
    const json_t *json = json_object_get(reader->json, field);
    int64_t value = json_integer_value(json);

    if (!json)
        return absent;
    if (!json_is_integer(json) || value < least || value > most) {
        bad(reader, field, "the number is out of range");
        return absent;
    }
    return value;
}

static unsigned take_choice(reader_t *reader, const char *field, const char *const *choices,
                            unsigned count)
{
    const char *text = json_string_value(json_object_get(reader->json, field));

    for (unsigned i = 0; i < count; i++)
        if (text && !strcmp(text, choices[i]))
            return i;
    bad(reader, field, "there is no such choice");
    return 0;
}

/* A script's arguments, behind its path. */
static void take_arguments(reader_t *reader, fs_monitor_config_t *monitor)
{
    const json_t *list = json_object_get(reader->json, "arguments");
    size_t count = json_array_size(list);

    if (monitor->kind != FS_MONITOR_SCRIPT || !monitor->target)
        return;
    if ((list && !json_is_array(list)) || count > FS_MONITOR_ARGUMENTS) {
        bad(reader, "arguments", "give a list of at most 16 strings");
        return;
    }
    monitor->arguments[0] = strdup(monitor->target);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (!text) {
            bad(reader, "arguments", "give strings");
            return;
        }
        monitor->arguments[i + 1] = strdup(text);
    }
    for (size_t i = 0; i <= count; i++)
        if (!monitor->arguments[i] && !reader->status)
            reader->status = fs_result_set(reader->result, APR_ENOMEM, "FS0621", "out of memory");
}

static void check_target(reader_t *reader, const fs_monitor_config_t *monitor)
{
    if (reader->status)
        return;
    if (monitor->kind == FS_MONITOR_HTTP && strncmp(monitor->target, "http://", 7) &&
        strncmp(monitor->target, "https://", 8))
        bad(reader, "target", "give http://host:port/path or https://host:port/path");
    if (monitor->kind == FS_MONITOR_TCP && !strrchr(monitor->target, ':'))
        bad(reader, "target", "give host:port");
    if (monitor->kind == FS_MONITOR_SCRIPT && monitor->target[0] != '/')
        bad(reader, "target", "give a script's whole path");
    if (monitor->timeout > monitor->interval)
        bad(reader, "timeout_ms", "a check must end before the next one begins");
}

static void read_one(reader_t *reader, fs_monitor_config_t *monitor)
{
    static const char *const kinds[] = {"http", "tcp", "script"};
    static const char *const scopes[] = {"server", "farm"};
    const int64_t second = 1000;

    memset(monitor, 0, sizeof(*monitor));
    if (!json_is_object(reader->json)) {
        bad(reader, "monitors", "give objects");
        return;
    }
    monitor->name = take_text(reader, "name", 1);
    monitor->application = take_text(reader, "application", 1);
    monitor->kind = (fs_monitor_kind_t)take_choice(reader, "kind", kinds, 3);
    monitor->whole_farm = take_choice(reader, "scope", scopes, 2) == 1;
    monitor->target = take_text(reader, "target", 1);
    monitor->text = take_text(reader, "text", 0);
    monitor->interval = take_number(reader, "interval_ms", 5 * second, 100, 3600 * second) * 1000;
    monitor->timeout = take_number(reader, "timeout_ms", 2 * second, 50, 600 * second) * 1000;
    monitor->rise = (unsigned)take_number(reader, "rise", 2, 1, FS_MONITOR_COUNT_MOST);
    monitor->fall = (unsigned)take_number(reader, "fall", 3, 1, FS_MONITOR_COUNT_MOST);
    monitor->status_least = (unsigned)take_number(reader, "status_least", 200, 100, 599);
    monitor->status_most = (unsigned)take_number(reader, "status_most", 399, 100, 599);
    take_arguments(reader, monitor);
    check_target(reader, monitor);
}

apr_status_t fs_monitors_read(fs_monitor_config_t *monitors, unsigned *count, const json_t *list,
                              const char *path, fs_result_t *result)
{
    reader_t reader = {.path = path, .result = result};

    *count = 0;
    if (!list || json_is_null(list))
        return APR_SUCCESS;
    if (!json_is_array(list) || json_array_size(list) > FS_MONITORS_MAX)
        bad(&reader, "monitors", "give a list of at most 32");
    while (!reader.status && *count < json_array_size(list)) {
        reader.json = json_array_get(list, *count);
        reader.number = *count + 1;
        read_one(&reader, &monitors[(*count)++]);
    }
    if (reader.status) {
        fs_monitors_clear(monitors, *count);
        *count = 0;
    }
    return reader.status;
}

void fs_monitors_clear(fs_monitor_config_t *monitors, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        free(monitors[i].name);
        free(monitors[i].application);
        free(monitors[i].target);
        free(monitors[i].text);
        for (unsigned k = 0; k < FS_MONITOR_ARGUMENTS + 2; k++)
            free(monitors[i].arguments[k]);
        memset(&monitors[i], 0, sizeof(monitors[i]));
    }
}
