/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   FarmSyncMonitor NAME APPLICATION http|tcp|script TARGET [option=value ...]
 *
 * Everything that can be wrong with it is found by configtest; the agent reads it again from
 * agent.json (agent/monitor_config.c).
 */
#include "monitors.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <util_time.h>

#include "base/fs_name.h"
#include "module.h"

#define MONITORS_MAX   32
#define ARGUMENTS_MAX  16
#define TEXT_MAX       511
#define INTERVAL_MS    5000
#define INTERVAL_LEAST 100
#define INTERVAL_MOST  3600000
#define TIMEOUT_MS     2000
#define TIMEOUT_LEAST  50
#define COUNT_MOST     100

typedef struct monitor_t {
    const char *name, *application, *kind, *target;
    char **arguments; /* of a script, behind its path; NULL-terminated */
    const char *text;
    int interval_ms, timeout_ms, rise, fall, status_least, status_most, whole_farm;
} monitor_t;

static const monitor_t *monitor_at(const fs_settings_t *settings, int index)
{
    return APR_ARRAY_IDX(settings->monitors, index, const monitor_t *);
}

static int count_of(const fs_settings_t *settings)
{
    return settings->monitors ? settings->monitors->nelts : 0;
}

/* --- what is looked at ------------------------------------------------------------------------ */

static const char *take_url(monitor_t *monitor, const char *value)
{
    if ((strncmp(value, "http://", 7) && strncmp(value, "https://", 8)) ||
        strpbrk(value, " \t\r\n\"#"))
        return "give the whole URL, http://host:port/path";
    monitor->target = value;
    return NULL;
}

static const char *take_address(monitor_t *monitor, const char *value)
{
    const char *colon = strrchr(value, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

    if (!colon || colon == value || !digits || digits > 5 || colon[1 + digits] ||
        (value[0] == '[' && colon[-1] != ']'))
        return "give host:port";
    monitor->target = value;
    return NULL;
}

static const char *take_script(apr_pool_t *pool, monitor_t *monitor, const char *value)
{
    apr_finfo_t info;
    char **words;
    int count = 0;

    if (apr_tokenize_to_argv(value, &words, pool) != APR_SUCCESS || !words[0])
        return "give the path of a program, with its arguments in the same quotes";
    while (words[count])
        count++;
    if (count > ARGUMENTS_MAX + 1)
        return "a script gets at most 16 arguments";
    if (words[0][0] != '/' ||
        apr_stat(&info, words[0], APR_FINFO_TYPE | APR_FINFO_UPROT, pool) != APR_SUCCESS ||
        info.filetype != APR_REG)
        return "the script isn't there: give its whole path";
    if (!(info.protection & (APR_FPROT_UEXECUTE | APR_FPROT_GEXECUTE | APR_FPROT_WEXECUTE)))
        return "the script can't be run: chmod a+x";
    monitor->target = words[0];
    monitor->arguments = words + 1;
    return NULL;
}

static const char *take_target(apr_pool_t *pool, monitor_t *monitor, const char *kind,
                               const char *value)
{
    if (strlen(value) > TEXT_MAX)
        return "the target is too long";
    monitor->kind = kind;
    if (!strcmp(kind, "http"))
        return take_url(monitor, value);
    if (!strcmp(kind, "tcp"))
        return take_address(monitor, value);
    if (!strcmp(kind, "script"))
        return take_script(pool, monitor, value);
    return "the third word is http, tcp or script";
}

/* --- options ---------------------------------------------------------------------------------- */

static const char *take_span(const char *value, int least, int *ms)
{
    apr_interval_time_t span;

    if (ap_timeout_parameter_parse(value, &span, "s") != APR_SUCCESS || span < least * 1000 ||
        span > INTERVAL_MOST * INT64_C(1000))
        return "give a time such as 500ms, 5s or 1min, an hour at most";
    *ms = (int)(span / 1000);
    return NULL;
}

static const char *take_count(const char *value, int *count)
{
    *count = atoi(value);
    return strlen(value) <= 3 && value[strspn(value, "0123456789")] == '\0' && *count >= 1 &&
                   *count <= COUNT_MOST
               ? NULL
               : "give a number of checks, 1 to 100";
}

/* "200", "200-299" */
static const char *take_status(const char *value, monitor_t *monitor)
{
    char *end;
    long least = strtol(value, &end, 10), most = least;

    if (*end == '-')
        most = strtol(end + 1, &end, 10);
    if (*end || least < 100 || most > 599 || least > most)
        return "give a status such as 200, or a range such as 200-399";
    monitor->status_least = (int)least;
    monitor->status_most = (int)most;
    return NULL;
}

static const char *take_scope(const char *value, monitor_t *monitor)
{
    monitor->whole_farm = !strcmp(value, "farm");
    return monitor->whole_farm || !strcmp(value, "server") ? NULL : "give scope=server or farm";
}

static const char *take_option(monitor_t *monitor, const char *name, const char *value)
{
    if (!strcmp(name, "interval"))
        return take_span(value, INTERVAL_LEAST, &monitor->interval_ms);
    if (!strcmp(name, "timeout"))
        return take_span(value, TIMEOUT_LEAST, &monitor->timeout_ms);
    if (!strcmp(name, "rise"))
        return take_count(value, &monitor->rise);
    if (!strcmp(name, "fall"))
        return take_count(value, &monitor->fall);
    if (!strcmp(name, "scope"))
        return take_scope(value, monitor);
    if (strcmp(monitor->kind, "http") && (!strcmp(name, "status") || !strcmp(name, "text")))
        return "status and text are for http checks";
    if (!strcmp(name, "status"))
        return take_status(value, monitor);
    if (strcmp(name, "text"))
        return "the options are interval, timeout, rise, fall, status, text and scope";
    monitor->text = value;
    return *value && strlen(value) <= TEXT_MAX ? NULL : "give a text of 1 to 511 characters";
}

static const char *take_options(apr_pool_t *pool, monitor_t *monitor, int count,
                                char *const options[])
{
    for (int i = 0; i < count; i++) {
        const char *equals = strchr(options[i], '=');
        const char *wrong = "an option is name=value";

        if (equals)
            wrong = take_option(monitor,
                                apr_pstrmemdup(pool, options[i], (apr_size_t)(equals - options[i])),
                                equals + 1);
        if (wrong)
            return apr_psprintf(pool, "%s: %s", options[i], wrong);
    }
    if (!monitor->timeout_ms)
        monitor->timeout_ms = monitor->interval_ms < TIMEOUT_MS ? monitor->interval_ms : TIMEOUT_MS;
    if (monitor->timeout_ms > monitor->interval_ms)
        return "a check must end before the next one begins: make the timeout shorter than the "
               "interval";
    return NULL;
}

/* --- directives ------------------------------------------------------------------------------- */

static const char *read_monitor(const cmd_parms *cmd, monitor_t *monitor, int count,
                                char *const arguments[])
{
    const char *wrong;

    if (count < 4)
        return "give a name, an application, http, tcp or script, and what is looked at";
    monitor->name = arguments[0];
    monitor->application = arguments[1];
    if (!fs_name_is_good(monitor->name) || !fs_name_is_good(monitor->application))
        return "the names of a monitor and of an application have 1 to 64 letters, digits, '.', "
               "'_', ':' or '-'";
    wrong = take_target(cmd->pool, monitor, arguments[2], arguments[3]);
    if (wrong)
        return apr_psprintf(cmd->pool, "%s: %s", arguments[3], wrong);
    return take_options(cmd->pool, monitor, count - 4, arguments + 4);
}

const char *fs_monitors_add(cmd_parms *cmd, void *unused, int count, char *const arguments[])
{
    fs_settings_t *settings = fs_settings(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    monitor_t *monitor = apr_pcalloc(cmd->pool, sizeof(*monitor));

    if (error)
        return error;
    *monitor = (monitor_t){
        .interval_ms = INTERVAL_MS, .rise = 2, .fall = 3, .status_least = 200, .status_most = 399};
    error = read_monitor(cmd, monitor, count, arguments);
    for (int i = 0; !error && i < count_of(settings); i++)
        if (!strcmp(monitor_at(settings, i)->name, monitor->name))
            error = "there is a monitor of this name already";
    if (!error && count_of(settings) == MONITORS_MAX)
        error = "a server can have 32 monitors";
    if (error)
        return apr_psprintf(cmd->pool, "FS1560: FarmSyncMonitor %s: %s", count ? arguments[0] : "",
                            error);
    if (!settings->monitors)
        settings->monitors = apr_array_make(cmd->pool, 4, sizeof(const monitor_t *));
    APR_ARRAY_PUSH(settings->monitors, const monitor_t *) = monitor;
    return NULL;
}

const char *fs_monitors_set_share(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long percent = strtol(value, &end, 10);

    if (error)
        return error;
    if (end == value || (*end && strcmp(end, "%")) || percent < 1 || percent > 100)
        return apr_psprintf(cmd->pool,
                            "FS1563: FarmSyncMonitorShare \"%s\": give a percentage of the farm's "
                            "servers, 1 to 100",
                            value);
    fs_settings(cmd->server)->monitor_share = (int)percent;
    return NULL;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int share_of(const fs_settings_t *settings)
{
    return settings->monitor_share > 0 ? settings->monitor_share : FS_MONITOR_SHARE_DEFAULT;
}

const char *fs_monitors_problem(apr_pool_t *pool, const fs_settings_t *settings)
{
    for (int i = 0; i < count_of(settings); i++)
        if (monitor_at(settings, i)->whole_farm && share_of(settings) < 100)
            return apr_psprintf(pool,
                                "FS1561: FarmSyncMonitor %s has scope=farm, but monitors may take "
                                "an application down on %d %% of the servers only: give "
                                "FarmSyncMonitorShare 100, or scope=server",
                                monitor_at(settings, i)->name, share_of(settings));
    return NULL;
}

static void put_member(fs_text_t *text, const char *name, const char *value)
{
    if (!value)
        return;
    fs_text_printf(text, "\"%s\": ", name);
    fs_text_json_string(text, value);
    fs_text_puts(text, ", ");
}

static void put_monitor(fs_text_t *text, const monitor_t *monitor)
{
    fs_text_puts(text, "    {");
    put_member(text, "name", monitor->name);
    put_member(text, "application", monitor->application);
    put_member(text, "kind", monitor->kind);
    put_member(text, "target", monitor->target);
    put_member(text, "text", monitor->text);
    if (monitor->arguments) {
        fs_text_puts(text, "\"arguments\": [");
        for (int i = 0; monitor->arguments[i]; i++) {
            fs_text_puts(text, i ? ", " : "");
            fs_text_json_string(text, monitor->arguments[i]);
        }
        fs_text_puts(text, "], ");
    }
    fs_text_printf(text,
                   "\"interval_ms\": %d, \"timeout_ms\": %d, \"rise\": %d, \"fall\": %d, "
                   "\"status_least\": %d, \"status_most\": %d, \"scope\": \"%s\"}",
                   monitor->interval_ms, monitor->timeout_ms, monitor->rise, monitor->fall,
                   monitor->status_least, monitor->status_most,
                   monitor->whole_farm ? "farm" : "server");
}

void fs_monitors_json(fs_text_t *text, const fs_settings_t *settings)
{
    fs_text_printf(text, "  \"monitor_share\": %d,\n  \"monitors\": [", share_of(settings));
    for (int i = 0; i < count_of(settings); i++) {
        fs_text_puts(text, i ? ",\n" : "\n");
        put_monitor(text, monitor_at(settings, i));
    }
    fs_text_puts(text, count_of(settings) ? "\n  ],\n" : "],\n");
}

const char *fs_monitors_line(apr_pool_t *pool, const fs_settings_t *settings, int index)
{
    const monitor_t *monitor;

    if (index >= count_of(settings))
        return NULL;
    monitor = monitor_at(settings, index);
    return apr_psprintf(pool, "%s %s %s %s interval=%dms timeout=%dms rise=%d fall=%d scope=%s",
                        monitor->name, monitor->application, monitor->kind, monitor->target,
                        monitor->interval_ms, monitor->timeout_ms, monitor->rise, monitor->fall,
                        monitor->whole_farm ? "farm" : "server");
}
