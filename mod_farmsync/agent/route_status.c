/* SPDX-License-Identifier: Apache-2.0 */
/* What this server says of itself, and when. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avail.h"
#include "route_internal.h"

#define TELL_EVERY  FS_USEC_PER_SEC       /* what has changed */
#define TELL_AGAIN  (2 * FS_USEC_PER_SEC) /* what hasn't: somebody may have thought it dead */
#define NEWS_EVERY  (50 * FS_USEC_PER_MSEC)
#define TOLD_FOR    (24 * 3600 * FS_USEC_PER_SEC)
#define WORKERS_OLD (5 * FS_USEC_PER_SEC)
#define DEAD_USUAL  (10 * FS_USEC_PER_SEC)
#define DEAD_LEAST  (3 * FS_USEC_PER_SEC) /* workers are counted each second */

/* --- readiness ----------------------------------------------------------------------------------
 */

void fs_routing_resume(fs_routing_t *routing, const fs_routing_record_t *before)
{
    const fs_agent_t *agent = routing->agent;
    unsigned suspect_ms = agent->config.suspect_ms ? agent->config.suspect_ms : 3000;

    routing->goes_on = before->ready && agent->beaten &&
                       agent->started - agent->beaten < suspect_ms * FS_USEC_PER_MSEC;
    if (routing->goes_on)
        routing->since = before->since;
}

void fs_routing_was_away(fs_routing_t *routing, fs_usec_t span)
{
    fs_log(FS_LOG_NOTICE, "FS1665",
           "routing: this server stood still for %.1f s: its visitors may be others' now, and are "
           "compared with them before it takes part again",
           (double)span / FS_USEC_PER_SEC);
    routing->goes_on = 0;
    routing->since = 0;
    routing->awake = fs_time_mono();
    routing->httpd_counted = 0; /* it stood still, too, and is given time */
    fs_route_visitors_again(routing->agent);
}

/*
 * An agent whose httpd stands still is heard by the others, but nobody would serve its visitors.
 * Who has counted his workers each second until now, and doesn't for as long as makes a server
 * dead, is.
 */
static int httpd_stands(fs_routing_t *routing)
{
    const fs_agent_t *agent = routing->agent;
    fs_usec_t dead = agent->config.dead_ms * FS_USEC_PER_MSEC, now = fs_time_mono();
    uint32_t busy, workers;
    int stands;

    dead = !dead ? DEAD_USUAL : dead < DEAD_LEAST ? DEAD_LEAST : dead;
    routing->httpd_counted |= fs_route_page_workers(
        routing->page, routing->awake ? routing->awake : agent->started, &busy, &workers);
    stands = routing->httpd_counted &&
             !fs_route_page_workers(routing->page, now - dead, &busy, &workers);
    if (stands && !routing->httpd_stands)
        fs_log(FS_LOG_WARNING, "FS1676",
               "routing: httpd's request processes stand still; the others serve this server's "
               "visitors until they go on");
    routing->httpd_stands = stands;
    return stands;
}

static void set_ready(fs_routing_t *routing, fs_routing_record_t *own, int ready)
{
    if (!ready)
        routing->since = 0;
    else if (!routing->since)
        routing->since = fs_backplane_time(routing->agent);
    own->ready = ready;
    own->since = routing->since;
}

/* --- what it says -------------------------------------------------------------------------------
 */

static void count_workers(fs_routing_t *routing, fs_routing_record_t *own)
{
    double limit = routing->config->settings.busy;
    fs_usec_t now = fs_time_mono();
    uint8_t before = routing->shed.shed;

    if (!fs_route_page_workers(routing->page, now - WORKERS_OLD, &own->busy, &own->workers))
        own->busy = own->workers = 0;
    own->shed = fs_route_shed(&routing->shed, own->busy, own->workers, limit, now);
    if (own->shed && !before)
        fs_log(FS_LOG_WARNING, "FS1677",
               "routing: %" PRIu32 " of %" PRIu32
               " workers are busy, for %d s now: little by little this server's visitors go to "
               "their alternates, until it has room again; give it more workers, or FarmSyncBusy "
               "another limit",
               own->busy, own->workers, (int)(FS_ROUTE_SHED_SPAN / FS_USEC_PER_SEC));
    else if (before && !own->shed)
        fs_log(FS_LOG_NOTICE, "FS1678",
               "routing: this server has room again, and keeps its visitors");
}

void fs_routing_own(fs_routing_t *routing, fs_routing_record_t *own)
{
    const fs_agent_route_config_t *config = routing->config;
    const char *address = routing->agent->config.address;
    fs_route_own_t visitors;

    memset(own, 0, sizeof(*own));
    fs_route_visitors_own(routing->agent, &visitors);
    if (config->url[0])
        snprintf(own->url, sizeof(own->url), "%s", config->url);
    else if (address && address[0])
        snprintf(own->url, sizeof(own->url), "http://%s", address);
    snprintf(own->public_url, sizeof(own->public_url), "%s", config->public_url);
    snprintf(own->rack, sizeof(own->rack), "%s", config->rack);
    own->capacity = config->capacity;
    own->primaries = visitors.primaries;
    own->alternates = visitors.alternates;
    own->sequence = visitors.sequence;
    own->digest = visitors.digest;
    own->generation = visitors.generation;
    count_workers(routing, own);
    if (httpd_stands(routing))
        routing->goes_on = 0;
    set_ready(routing, own, !routing->httpd_stands && (routing->goes_on || visitors.ready));
}

static int is_due(const fs_routing_t *routing, const fs_routing_record_t *own, int at_once)
{
    fs_usec_t since = fs_time_mono() - routing->told_at;

    if (!routing->told_at || since >= TELL_AGAIN)
        return 1;
    if (since >= TELL_EVERY && fs_routing_record_differs(&routing->told, own))
        return 1;
    return since >= NEWS_EVERY && (at_once || fs_routing_record_is_news(&routing->told, own));
}

void fs_routing_tell(fs_routing_t *routing, const fs_routing_record_t *own, int at_once)
{
    fs_agent_t *agent = routing->agent;
    fs_result_t result;
    apr_status_t status;
    char *value;

    if (!is_due(routing, own, at_once))
        return;
    value = fs_routing_record_print(own);
    status = value ? fs_backplane_put(agent, FS_ROUTE_KIND, agent->config.server, value,
                                      strlen(value), FS_PRIORITY_MEMBER,
                                      fs_backplane_time(agent) + TOLD_FOR, 0, NULL, NULL, &result)
                   : fs_result_set(&result, APR_ENOMEM, "FS0621", "out of memory");
    free(value);
    routing->told_at = fs_time_mono();
    routing->told = *own;
    fs_agent_trouble(&routing->telling, FS_LOG_ERROR, status ? &result : NULL, "FS1664",
                     "routing: the others are told of this server again");
}

/* --- what HAProxy is told -----------------------------------------------------------------------
 */

/* Whether the notice takes down everything here, but not on all servers: where the whole farm is
 * down, visitors are to read why, and for that a balancer must send them to somebody. */
static int is_for_this_one(const fs_notice_t *notice)
{
    return notice->role == FS_NOTICE_OPERATOR && notice->state == FS_NOTICE_DOWN &&
           notice->server_count > 0;
}

int fs_routing_is_maintained(fs_agent_t *agent, int otherwise)
{
    fs_avail_agent_t *avail = agent->avail;
    fs_usec_t farm = fs_backplane_time(agent);
    const fs_notice_t *first = NULL;
    fs_avail_entry_t **entries;
    unsigned count;

    if (pthread_mutex_trylock(&avail->lock))
        return otherwise; /* it publishes, which may take a while */
    entries = fs_avail_table_list(avail->table, &count);
    for (unsigned i = 0; entries && i < count; i++) {
        const fs_notice_t *notice = entries[i]->notice;
        fs_window_at_t at;

        if (strcmp(notice->application, FS_NOTICE_EVERY) != 0 || notice->condition ||
            notice->state == FS_NOTICE_DEGRADED ||
            !fs_notice_for_server(notice, agent->config.server))
            continue;
        fs_window_at(&notice->window, farm, &at);
        if (at.in_force && (!first || fs_notice_compare(notice, first) < 0))
            first = notice;
    }
    otherwise = first && is_for_this_one(first);
    free(entries);
    pthread_mutex_unlock(&avail->lock);
    return otherwise;
}
