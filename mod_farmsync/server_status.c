/* SPDX-License-Identifier: Apache-2.0 */
/* The section in /server-status, and apachectl -t -D DUMP_FARMSYNC. */
#include <inttypes.h>
#include <stdio.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <mod_status.h>

#include "child.h"
#include "monitors.h"
#include "parts_own.h"
#include "status.h"

/* --- /server-status -----------------------------------------------------------------------------
 */

/* Lines "Key: value" for scripts. Every line ends, whatever comes next. */
static void short_report(fs_text_t *text, const fs_facts_t *facts)
{
    fs_text_printf(text, "FarmSyncServer: %s\nFarmSyncHealthy: %d\nFarmSyncAgentUp: %d\n",
                   facts->settings->server, facts->healthy, facts->agent_alive);
    fs_text_printf(text, "FarmSyncClock: %s\n", fs_facts_clock_state(facts));
    if (facts->clock_known)
        fs_text_printf(text, "FarmSyncClockBoundMs: %.3f\n", (double)facts->bound / 1000);
    for (int i = 0; i < facts->group_count; i++) {
        const fs_group_facts_t *group = &facts->groups[i];

        fs_text_printf(text,
                       "FarmSyncGroup[%s]Version: %" PRId64 "\nFarmSyncGroup[%s]Stale: %d\n"
                       "FarmSyncGroup[%s]Requests: %" PRIu64 "\nFarmSyncGroup[%s]Lookups: %" PRIu64
                       "\nFarmSyncGroup[%s]Misses: %" PRIu64 "\nFarmSyncGroup[%s]Refused: %" PRIu64
                       "\n",
                       group->name, group->choice.version, group->name, group->choice.stale,
                       group->name, group->requests, group->name, group->lookups, group->name,
                       group->misses, group->name, group->refused);
    }
}

static void long_report(fs_text_t *text, const fs_facts_t *facts)
{
    fs_text_puts(text, "<hr />\n<h2>farmsync: ");
    fs_text_html(text, facts->settings->server);
    fs_text_puts(text, facts->healthy ? ", healthy" : ", not healthy");
    fs_text_puts(text, "</h2>\n<p>");
    fs_text_html(text, facts->reason);
    fs_text_puts(text, "</p>\n<table border=\"0\"><tr><th>group</th><th>state</th><th>version</th>"
                       "<th>staged</th><th>activation</th><th>requests</th><th>look-ups</th>"
                       "<th>misses</th><th>refused</th></tr>\n");
    for (int i = 0; i < facts->group_count; i++) {
        const fs_group_facts_t *group = &facts->groups[i];
        char when[FS_TIME_TEXT_SIZE];

        fs_text_puts(text, "<tr><td>");
        fs_text_html(text, group->name);
        fs_text_printf(text,
                       "</td><td>%s%s</td><td>%" PRId64 "</td><td>%" PRId64 "</td><td>%s</td><td>"
                       "%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64
                       "</td></tr>\n",
                       fs_facts_group_state(group), group->choice.stale ? ", stale" : "",
                       group->choice.version, group->record.staged_version,
                       group->known ? fs_time_format(group->record.activation_time, when) : "",
                       group->requests, group->lookups, group->misses, group->refused);
    }
    fs_text_puts(text, "</table>\n");
}

int fs_status_server_status(request_rec *r, int flags)
{
    const fs_child_t *child = fs_child();
    fs_facts_t *facts;
    fs_text_t text;

    if (!child)
        return DECLINED;
    facts =
        fs_facts_gather(r->pool, child->settings, child->control, NULL, fs_settings_on_stale(r));
    fs_text_init(&text, r->pool);
    if (flags & AP_STATUS_SHORT)
        short_report(&text, facts);
    else
        long_report(&text, facts);
    fs_parts_tell(&text, child->server, flags & AP_STATUS_SHORT ? FARMSYNC_AUTO : FARMSYNC_REPORT,
                  "");
    ap_rwrite(text.data, (int)text.length, r);
    return OK;
}

/* --- DUMP_FARMSYNC ------------------------------------------------------------------------------
 */

static void dump_line(const char *directive, const char *value, const char *otherwise)
{
    printf("  %-24s %s\n", directive, value ? value : otherwise);
}

static void dump_list(const char *directive, const apr_array_header_t *values, apr_pool_t *pool)
{
    dump_line(directive, values->nelts ? apr_array_pstrcat(pool, values, ' ') : NULL, "(none)");
}

static void dump_settings(const fs_settings_t *settings, const fs_place_t *place, apr_pool_t *pool)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};

    dump_line("FarmSyncServer", settings->server, "");
    dump_line("FarmSyncStateDir", settings->state_dir, "(none)");
    dump_line("FarmSyncDatabase", settings->database, "(none)");
    dump_list("FarmSyncDataServer", settings->data_servers, pool);
    dump_line("FarmSyncKeyFile", settings->key_file, "(none)");
    dump_line("FarmSyncCAFile", settings->ca_file, "(the system's authorities)");
    dump_line("FarmSyncCertificateFile", settings->certificate_file, "(none)");
    dump_line("FarmSyncListen",
              settings->advertise
                  ? apr_pstrcat(pool, settings->listen, " ", settings->advertise, NULL)
                  : settings->listen,
              "(none)");
    dump_list("FarmSyncPeer", settings->peers, pool);
    printf("  %-24s %d ms %d ms\n", "FarmSyncPeerTimeout", settings->suspect_ms,
           settings->dead_ms);
    printf("  %-24s %d\n", "FarmSyncLongestOutage", settings->outage_s / 86400);
    for (int i = 0; fs_monitors_line(pool, settings, i) || !i; i++)
        dump_line("FarmSyncMonitor", fs_monitors_line(pool, settings, i), "(none)");
    printf("  %-24s %d\n", "FarmSyncMonitorShare",
           settings->monitor_share ? settings->monitor_share : FS_MONITOR_SHARE_DEFAULT);
    dump_list("FarmSyncGroup", settings->groups, pool);
    dump_line("FarmSyncAgent", settings->agent, "");
    dump_line("FarmSyncAgentLogLevel", levels[settings->agent_log_level], "");
    printf("  %-24s %d ms\n", "FarmSyncAgentPoll", settings->agent_poll_ms);
    dump_line("FarmSyncOnStale", place->on_stale == FS_STALE_REFUSE ? "refuse" : "serve", "");
    dump_line("FarmSyncVersionHeader", place->version_header == 1 ? "On" : "Off", "");
}

/* What could be better, though it is no error. */
static void dump_remedies(const fs_settings_t *settings)
{
    if (!fs_settings_have_source(settings))
        printf("  FS0653: there is nothing to get data from: give FarmSyncDataServer or "
               "FarmSyncDatabase\n");
    else if (!settings->database)
        printf("  hint: with FarmSyncDatabase too, this server gets its data even when no data "
               "server runs, and knows farm time by itself\n");
    if (!fs_settings_start_agent(settings) && fs_settings_have_source(settings))
        printf("  hint: FarmSyncAgent is none: start farmsync-agent yourself, with %s/agent.json\n",
               settings->state_dir);
}

static void dump_state(const fs_settings_t *settings, int on_stale, apr_pool_t *pool)
{
    fs_control_t *control;
    fs_result_t result;
    fs_facts_t *facts;

    if (!settings->state_dir ||
        fs_control_open_reader(&control, settings->state_dir, &result) != APR_SUCCESS)
        return;
    facts = fs_facts_gather(pool, settings, control, NULL, on_stale);
    printf("state on this host: %s\n", facts->reason);
    for (int i = 0; i < facts->group_count; i++)
        printf("  group %-18s version %" PRId64 ", staged %" PRId64 ", %s\n", facts->groups[i].name,
               facts->groups[i].choice.version, facts->groups[i].record.staged_version,
               fs_facts_group_state(&facts->groups[i]));
    fs_control_close(control);
}

void fs_status_dump(apr_pool_t *pconf, server_rec *server)
{
    const fs_settings_t *settings = fs_settings(server);
    const fs_place_t *place;
    fs_text_t text;

    if (!ap_exists_config_define("DUMP_FARMSYNC"))
        return;
    place = fs_settings_main_place(server);
    printf("farmsync %s, settings in force:\n", fs_status_release);
    dump_settings(settings, place, pconf);
    fs_text_init(&text, pconf);
    fs_parts_tell(&text, server, FARMSYNC_DUMP, "");
    fputs(text.data, stdout);
    dump_remedies(settings);
    dump_state(settings, place->on_stale, pconf);
}
