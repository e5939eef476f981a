/* SPDX-License-Identifier: Apache-2.0 */
/* Each monitor's thread: looks, and tells what came of it. */
#include "avail.h"

#include <stdlib.h>
#include <string.h>

#include "parts.h"

int fs_monitors_look_by_http(const fs_agent_t *agent)
{
    for (unsigned i = 0; i < agent->config.monitor_count; i++)
        if (agent->config.monitors[i].kind == FS_MONITOR_HTTP)
            return 1;
    return 0;
}

/* --- telling ---------------------------------------------------------------------------------- */

static void make_notice(const fs_monitor_t *monitor, fs_usec_t farm, char who[FS_NOTICE_WHO_SIZE],
                        fs_notice_t *notice)
{
    char text[FS_MONITOR_SAID_SIZE + 160];

    memset(notice, 0, sizeof(*notice));
    notice->application = monitor->config->application;
    notice->id = monitor->id;
    notice->state = FS_NOTICE_DOWN;
    notice->role = FS_NOTICE_MONITOR;
    notice->reason = "outage";
    notice->window.from = monitor->since;
    notice->window.until = farm + fs_monitor_lease(monitor->config);
    if (!monitor->config->whole_farm) {
        notice->server_count = 1;
        notice->servers[0] = monitor->agent->config.server;
    }
    snprintf(text, sizeof(text), "monitor %.64s on %.64s: %s", monitor->config->name,
             monitor->agent->config.server, monitor->said);
    snprintf(who, FS_NOTICE_WHO_SIZE, "%.*s", FS_NOTICE_WHO_SIZE - 1, text);
    notice->who = who;
    notice->time = farm;
}

static apr_status_t tell_down(fs_monitor_t *monitor, fs_result_t *result)
{
    fs_usec_t farm = fs_backplane_time(monitor->agent);
    char who[FS_NOTICE_WHO_SIZE], *json;
    fs_notice_t notice;
    apr_status_t status;
    size_t length;

    if (!monitor->since || monitor->since > farm)
        monitor->since = farm;
    make_notice(monitor, farm, who, &notice);
    json = fs_notice_print(&notice, &length, result);
    if (!json)
        return result->status;
    status =
        fs_backplane_put(monitor->agent, FS_NOTICE_KIND, monitor->key, json, length,
                         FS_PRIORITY_MONITOR, fs_avail_expires(&notice), 0, NULL, NULL, result);
    free(json);
    return status;
}

static apr_status_t tell_up(fs_monitor_t *monitor, fs_result_t *result)
{
    monitor->since = 0;
    return fs_backplane_put(monitor->agent, FS_NOTICE_KIND, monitor->key, NULL, 0,
                            FS_PRIORITY_MONITOR, 0, 0, NULL, NULL, result);
}

static void tell(fs_monitor_t *monitor, fs_monitor_verdict_t verdict)
{
    const fs_monitor_config_t *config = monitor->config;
    fs_result_t result;
    apr_status_t status;

    if (verdict == FS_MONITOR_FELL)
        fs_log(FS_LOG_WARNING, "FS1580", "monitor %s: %s is down on %s: %s", config->name,
               config->application,
               config->whole_farm ? "the whole farm" : monitor->agent->config.server,
               monitor->said);
    else if (verdict == FS_MONITOR_ROSE)
        fs_log(FS_LOG_NOTICE, "FS1581", "monitor %s: %s works again", config->name,
               config->application);
    status = verdict == FS_MONITOR_ROSE ? tell_up(monitor, &result) : tell_down(monitor, &result);
    if (!status)
        return;
    fs_log(FS_LOG_WARNING, "FS1582",
           "monitor %s could not tell what it found, and tries again: %s: %s", config->name,
           result.problem, result.detail);
    pthread_mutex_lock(&monitor->lock);
    fs_monitor_not_told(&monitor->state, verdict);
    pthread_mutex_unlock(&monitor->lock);
}

/* --- looking ---------------------------------------------------------------------------------- */

static void look(fs_monitor_t *monitor)
{
    char said[FS_MONITOR_SAID_SIZE];
    fs_monitor_verdict_t verdict;
    int passed = fs_monitor_probe(monitor->config, monitor->agent->avail->probe,
                                  &monitor->agent->stop, said);

    if (fs_agent_stopping(monitor->agent))
        return; /* what was broken off says nothing */
    pthread_mutex_lock(&monitor->lock);
    memcpy(monitor->said, said, sizeof(said));
    verdict = fs_monitor_judge(&monitor->state, monitor->config, passed, fs_time_mono());
    pthread_mutex_unlock(&monitor->lock);
    if (verdict != FS_MONITOR_STAYS)
        tell(monitor, verdict);
}

static void *run(void *baton)
{
    fs_monitor_t *monitor = baton;
    fs_agent_t *agent = monitor->agent;

    while (!fs_agent_stopping(agent)) {
        fs_usec_t left = monitor->state.due - fs_time_mono();

        if (left > 0)
            fs_agent_sleep(agent, left);
        else
            look(monitor);
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

void fs_monitors_open(fs_agent_t *agent)
{
    fs_avail_agent_t *avail = agent->avail;

    avail->monitor_count = agent->config.monitor_count;
    for (unsigned i = 0; i < avail->monitor_count; i++) {
        fs_monitor_t *monitor = &avail->monitors[i];
        char id[FS_NOTICE_NAME_SIZE];

        monitor->agent = agent;
        monitor->config = &agent->config.monitors[i];
        pthread_mutex_init(&monitor->lock, NULL);
        fs_avail_monitor_id(monitor->config->name, agent->config.server, id);
        memcpy(monitor->id, id, sizeof(id));
        snprintf(monitor->key, sizeof(monitor->key), "%s/%s", monitor->config->application, id);
    }
}

apr_status_t fs_monitors_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_avail_agent_t *avail = agent->avail;
    fs_usec_t farm = fs_backplane_time(agent);
    apr_status_t status = APR_SUCCESS;

    for (unsigned i = 0; i < avail->monitor_count && !status; i++) {
        fs_monitor_t *monitor = &avail->monitors[i];

        monitor->since = fs_avail_since(avail, monitor->key, farm);
        fs_monitor_start(&monitor->state, monitor->config, monitor->since != 0, fs_time_mono(),
                         fs_agent_chance());
        status = fs_agent_start_thread(&monitor->thread, run, monitor, result);
        monitor->started = !status;
    }
    return status;
}

int fs_monitors_join(fs_agent_t *agent)
{
    int all = 1;

    for (unsigned i = 0; i < agent->avail->monitor_count; i++) {
        fs_monitor_t *monitor = &agent->avail->monitors[i];

        if (monitor->started && !monitor->joined)
            monitor->joined = !pthread_tryjoin_np(monitor->thread, NULL);
        all &= !monitor->started || monitor->joined;
    }
    return all;
}

json_t *fs_monitors_describe(fs_agent_t *agent)
{
    static const char *const kinds[] = {"http", "tcp", "script"};
    json_t *list = json_array();

    for (unsigned i = 0; i < agent->avail->monitor_count; i++) {
        fs_monitor_t *monitor = &agent->avail->monitors[i];
        const fs_monitor_config_t *config = monitor->config;

        pthread_mutex_lock(&monitor->lock);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "name",
                                        config->name, "application", config->application, "kind",
                                        kinds[config->kind], "target", config->target, "scope",
                                        config->whole_farm ? "farm" : "server", "state",
                                        monitor->state.down ? "down" : "up", "passed",
                                        (json_int_t)monitor->state.passed, "failed",
                                        (json_int_t)monitor->state.failed, "said", monitor->said));
        pthread_mutex_unlock(&monitor->lock);
    }
    return list;
}
