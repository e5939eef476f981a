/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that tells, asks and tidies. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "backplane.h"
#include "base/fs_lmdb.h"
#include "parts.h"
#include "route_visitors_internal.h"

#define LOOK_EVERY FS_USEC_PER_SEC /* at the other servers, whatever happens */
#define ROUND_MS   100             /* in which what request processes changed is noticed */

static fs_moment_t moment(const fs_route_visitors_t *visitors)
{
    return (fs_moment_t){fs_time_mono(), fs_backplane_time(visitors->agent)};
}

/* A difficulty with the store, or that it is over. */
static void note_store(fs_route_visitors_t *visitors, apr_status_t status,
                       const fs_result_t *result)
{
    fs_agent_trouble(&visitors->storing, FS_LOG_ERROR, status ? result : NULL, "FS1685",
                     "the store of visitors can be written to again");
}

/* --- a round -------------------------------------------------------------------------------------
 */

static fs_route_peer_status_t status_of(const fs_route_peer_t *peer)
{
    int heard = peer->heard && peer->state > FS_ROUTING_SUSPECT;

    return (fs_route_peer_status_t){
        .name = peer->name,
        .dead = peer->state == FS_ROUTING_DEAD,
        .reachable = heard && peer->agent[0],
        .serves = heard && (peer->state == FS_ROUTING_ALIVE || peer->state == FS_ROUTING_RAMPING),
        .ready = peer->ready,
        .generation = peer->generation,
        .sequence = peer->sequence,
        .digest = peer->digest};
}

static void look_at_peers(fs_route_visitors_t *visitors, fs_moment_t now)
{
    int rung = atomic_exchange(&visitors->rung, 0);
    unsigned count;

    if (!rung && now.mono - visitors->looked < LOOK_EVERY)
        return;
    visitors->looked = now.mono;
    /* Whoever took this server's visitors over may be one of whom it knows nothing: what it had
     * heard before it was killed wasn't on disk yet. */
    fs_route_share_partial(visitors->share, now, fs_backplane_is_syncing(visitors->agent));
    count = fs_route_peers(visitors->agent, visitors->peers, FS_ROUTE_SERVERS);
    for (unsigned i = 0; i < count; i++)
        visitors->statuses[i] = status_of(&visitors->peers[i]);
    fs_route_share_peers(visitors->share, now, visitors->statuses, count);
}

static void say_ready(fs_route_visitors_t *visitors, const fs_route_share_info_t *info,
                      fs_usec_t mono)
{
    fs_log(info->late ? FS_LOG_WARNING : FS_LOG_INFO, info->late ? "FS1687" : "FS1686",
           "routing: this server has compared its visitors with %s other servers, in %.1f s%s",
           info->late ? "some of the" : "all", (double)(mono - visitors->began) / FS_USEC_PER_SEC,
           info->late ? "; not all of them answered: see why they don't reach each other" : "");
}

static void say_news(fs_route_visitors_t *visitors, const fs_route_share_info_t *before,
                     const fs_route_share_info_t *info, fs_usec_t mono)
{
    const char *kept =
        info->healed == before->healed ? NULL : fs_log_gate(&visitors->healing, mono);

    if (kept)
        fs_log(FS_LOG_NOTICE, "FS1688",
               "routing: another server's visitors weren't the ones that it said; they were copied "
               "anew%s",
               kept);
    kept = info->given == before->given ? NULL : fs_log_gate(&visitors->giving, mono);
    if (kept)
        fs_log(FS_LOG_INFO, "FS1689",
               "routing: %llu visitors of this server are home elsewhere now%s",
               (unsigned long long)(info->given - before->given), kept);
}

/* What has come of all that, for requests, for the other servers and for people. */
static void tell_news(fs_route_visitors_t *visitors, fs_moment_t now)
{
    fs_route_share_info_t info, before;
    int ready = fs_route_share_ready(visitors->share);

    fs_route_share_info(visitors->share, &info);
    pthread_mutex_lock(&visitors->lock);
    before = visitors->info;
    visitors->info = info;
    pthread_mutex_unlock(&visitors->lock);
    if (info.given != before.given || info.returned != before.returned)
        fs_route_bump(visitors->agent);
    say_news(visitors, &before, &info, now.mono);
    if (atomic_exchange(&visitors->ready, ready) == ready)
        return;
    if (ready)
        say_ready(visitors, &info, now.mono);
    fs_route_tell_soon(visitors->agent);
}

static void begin_again(fs_route_visitors_t *visitors, fs_moment_t now)
{
    int again;

    pthread_mutex_lock(&visitors->lock);
    again = visitors->again;
    visitors->again = 0;
    pthread_mutex_unlock(&visitors->lock);
    if (!again)
        return;
    visitors->began = now.mono;
    fs_route_share_again(visitors->share, now);
}

static void send_all(fs_route_visitors_t *visitors, fs_moment_t now)
{
    fs_route_share_request_t request;
    fs_result_t result;

    while (fs_route_share_next(visitors->share, now, &request))
        if (fs_visitors_send(visitors, &request, &result))
            fs_route_share_answer(visitors->share, now, request.id, NULL, 0, &result);
}

/* fs_http_fan_fn */
static void on_answer(void *baton, uint64_t id, apr_status_t status, const fs_http_answer_t *answer,
                      const fs_result_t *why)
{
    fs_route_visitors_t *visitors = baton;
    int good = !status && answer->status == 200;
    fs_result_t result;

    (void)why; /* the backplane says who isn't reached */
    status = fs_route_share_answer(visitors->share, moment(visitors), id,
                                   good ? answer->body : NULL, good ? answer->length : 0, &result);
    if (status)
        note_store(visitors, status, &result);
}

static void *run(void *baton)
{
    fs_route_visitors_t *visitors = baton;
    fs_result_t result;

    while (!fs_agent_stopping(visitors->agent)) {
        fs_moment_t now = moment(visitors);
        apr_status_t status;

        begin_again(visitors, now);
        fs_visitors_serve(visitors, now);
        look_at_peers(visitors, now);
        status = fs_route_share_tick(visitors->share, now, &result);
        note_store(visitors, status, &result);
        tell_news(visitors, now);
        send_all(visitors, now);
        fs_http_fan_run(visitors->fan, ROUND_MS, on_answer, visitors);
    }
    return NULL;
}

/* --- for others ----------------------------------------------------------------------------------
 */

void fs_route_visitors_own(fs_agent_t *agent, fs_route_own_t *own)
{
    fs_route_visitors_t *visitors = agent->route_visitors;
    fs_route_total_t total = {.primaries = 0};
    fs_result_t ignored;

    fs_route_store_total(visitors->store, agent->config.server, &total, &ignored);
    *own = (fs_route_own_t){.primaries = total.primaries,
                            .alternates = total.alternates,
                            .sequence = total.sequence,
                            .digest = total.digest,
                            .generation = total.generation,
                            .ready = atomic_load(&visitors->ready)};
}

void fs_route_visitors_ring(fs_agent_t *agent)
{
    fs_route_visitors_t *visitors = agent->route_visitors;

    if (!atomic_exchange(&visitors->rung, 1))
        fs_http_fan_wake(visitors->fan);
}

void fs_route_visitors_again(fs_agent_t *agent)
{
    fs_route_visitors_t *visitors = agent->route_visitors;

    pthread_mutex_lock(&visitors->lock);
    visitors->again = 1;
    pthread_mutex_unlock(&visitors->lock);
    atomic_store(&visitors->ready, 0);
    fs_http_fan_wake(visitors->fan);
}

fs_route_store_t *fs_route_visitors_store(fs_agent_t *agent)
{
    return agent->route_visitors->store;
}

void fs_route_visitors_info(fs_agent_t *agent, fs_route_share_info_t *info)
{
    pthread_mutex_lock(&agent->route_visitors->lock);
    *info = agent->route_visitors->info;
    pthread_mutex_unlock(&agent->route_visitors->lock);
}

/* --- life ----------------------------------------------------------------------------------------
 */

static apr_status_t open_store(fs_agent_t *agent, fs_route_store_t **store, fs_result_t *result)
{
    fs_route_limits_t limits = {.unconfirmed = agent->config.route.capacity};
    char path[PATH_MAX];
    apr_status_t status;

    snprintf(path, sizeof(path), "%s/" FS_ROUTE_STORE_DIR, agent->config.state_dir);
    /* After httpd's parent, if there is one. */
    status =
        fs_route_store_prepare(path, (uid_t)-1, (gid_t)-1, !fs_lmdb_in_use(path), NULL, result);
    if (!status && result->problem[0])
        fs_log_result(FS_LOG_WARNING, result);
    return status ? status
                  : fs_route_store_open(store, path, agent->config.server, &limits, result);
}

static fs_route_visitors_t *make(fs_agent_t *agent)
{
    fs_http_settings_t http = {.ring = agent->ring.count ? &agent->ring : NULL,
                               .origin = agent->config.server,
                               .ca_file = agent->config.ca_file,
                               .cert_file = agent->config.cert_file,
                               .connect_timeout_ms = 1000};
    fs_route_visitors_t *visitors = calloc(1, sizeof(*visitors));

    if (!visitors)
        return NULL;
    visitors->agent = agent;
    pthread_mutex_init(&visitors->lock, NULL);
    STAILQ_INIT(&visitors->told);
    visitors->fan = fs_http_fan_create(&http);
    visitors->peers = calloc(FS_ROUTE_SERVERS, sizeof(*visitors->peers));
    visitors->statuses = calloc(FS_ROUTE_SERVERS, sizeof(*visitors->statuses));
    return visitors->fan && visitors->peers && visitors->statuses ? visitors : NULL;
}

apr_status_t fs_route_visitors_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_route_share_settings_t settings = {
        .self = agent->config.server,
        .idle = (fs_usec_t)agent->config.route.idle_s * FS_USEC_PER_SEC,
        .return_policy =
            agent->config.route.return_policy == FS_AGENT_RETURN_ALL     ? FS_ROUTE_RETURN_ALL
            : agent->config.route.return_policy == FS_AGENT_RETURN_NEVER ? FS_ROUTE_RETURN_NEVER
                                                                         : FS_ROUTE_RETURN_IDLE,
        .return_rate = agent->config.route.return_rate};
    fs_route_visitors_t *visitors = make(agent);
    fs_moment_t now = {fs_time_mono(), 0};
    apr_status_t status;

    if (!visitors)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    status = open_store(agent, &visitors->store, result);
    if (status)
        return status;
    visitors->began = now.mono;
    visitors->share = fs_route_share_create(visitors->store, &settings, now);
    if (!visitors->share)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    agent->route_visitors = visitors;
    return fs_visitors_routes(agent, result);
}

apr_status_t fs_route_visitors_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_route_visitors_t *visitors = agent->route_visitors;
    apr_status_t status = fs_agent_start_thread(&visitors->thread, run, visitors, result);

    visitors->started = !status;
    return status;
}

void fs_route_visitors_wake(fs_agent_t *agent)
{
    fs_http_fan_wake(agent->route_visitors->fan);
}

int fs_route_visitors_join(fs_agent_t *agent)
{
    fs_route_visitors_t *visitors = agent->route_visitors;

    if (visitors->started && !visitors->joined) {
        visitors->joined = !pthread_tryjoin_np(visitors->thread, NULL);
        if (visitors->joined)
            fs_visitors_drop_told(visitors);
    }
    return !visitors->started || visitors->joined;
}
