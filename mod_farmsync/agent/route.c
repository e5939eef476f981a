/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "route_internal.h"

#define ROUND         (100 * FS_USEC_PER_MSEC)
#define SLOW_EVERY    FS_USEC_PER_SEC /* what needn't be looked at in each round */
#define COUNT_EVERY   FS_USEC_PER_SEC /* what request processes counted of this server ends then */
#define SUSPECT_USUAL (3 * FS_USEC_PER_SEC)
#define STOOD_STILL   FS_USEC_PER_SEC /* between two rounds */

/* --- what comes from the backplane --------------------------------------------------------------
 */

/* routing->lock is held. */
static void take_record(fs_routing_t *routing, const fs_record_t *record, int news)
{
    fs_routing_record_t said;
    const char *field;

    if (!strcmp(record->key, routing->agent->config.server))
        return; /* this server knows itself */
    routing->changed = 1;
    if (record->removed) {
        fs_routing_table_forget(routing->table, record->key);
    } else if (fs_routing_record_parse(&said, record->value, record->length, &field)) {
        fs_log(FS_LOG_WARNING, "FS1662",
               "what %s says of itself isn't heeded (\"%s\"): its farmsync may be of another "
               "release; install the same on all servers",
               record->key, field);
    } else {
        fs_routing_table_say(routing->table, record->key, &said, record->stamp.generation, news,
                             fs_time_mono());
    }
}

/* fs_backplane_changed_fn */
static void on_records(void *baton, const fs_record_t *records, unsigned count)
{
    fs_routing_t *routing = baton;

    pthread_mutex_lock(&routing->lock);
    for (unsigned i = 0; i < count; i++)
        take_record(routing, &records[i], 1);
    pthread_cond_signal(&routing->due);
    pthread_mutex_unlock(&routing->lock);
}

/* fs_backplane_changed_fn */
static void on_orders(void *baton, const fs_record_t *records, unsigned count)
{
    fs_routing_t *routing = baton;

    pthread_mutex_lock(&routing->lock);
    for (unsigned i = 0; i < count; i++)
        fs_routing_take_order(routing, &records[i]);
    pthread_cond_signal(&routing->due);
    pthread_mutex_unlock(&routing->lock);
}

/* fs_map_each_fn: what was restored from disk. */
static int restore_record(void *baton, const fs_record_t *record)
{
    fs_routing_t *routing = baton;
    fs_routing_record_t own;
    const char *field;

    if (strcmp(record->key, routing->agent->config.server) != 0)
        take_record(routing, record, 0);
    else if (!fs_routing_record_parse(&own, record->value, record->length, &field))
        fs_routing_resume(routing, &own);
    return 0;
}

/* fs_map_each_fn */
static int restore_order(void *baton, const fs_record_t *record)
{
    fs_routing_take_order(baton, record);
    return 0;
}

/* --- a round ------------------------------------------------------------------------------------
 */

static const char *meaning_of(fs_routing_state_t state)
{
    static const char *const meanings[] = {
        "nothing is heard of it; its visitors go to their alternates",
        "nothing is heard of it for a moment; its visitors go to their alternates",
        "it compares its visitors with the others first",
        "by the operator's order: it gets nobody new, and its visitors leave as they come",
        "it takes more new visitors little by little",
        "it takes its share of the visitors"};

    return meanings[state];
}

/* routing->lock is held. */
static void log_changes(fs_routing_t *routing, const fs_routing_state_t *old, uint32_t count)
{
    const fs_routing_table_t *table = routing->table;

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_routing_server_t *server = &table->servers[i];

        if (server->name[0] && (i >= count || server->state != old[i]))
            fs_log(FS_LOG_NOTICE, "FS1660", "routing: %s is %s: %s", server->name,
                   fs_routing_state_name(server->state), meaning_of(server->state));
    }
    if (table->passed_over > routing->full)
        fs_log(FS_LOG_WARNING, "FS1663",
               "routing: there are more than %d servers; those beyond get no visitors from this "
               "one",
               FS_ROUTE_SERVERS);
    routing->full = table->passed_over;
}

/* routing->lock is held. Returns 1 if states have changed. */
static int judge(fs_routing_t *routing, fs_usec_t mono, fs_usec_t farm)
{
    fs_routing_state_t old[FS_ROUTE_SERVERS];
    uint32_t count = routing->table->count;
    int changed = fs_routing_table_judge(routing->table, mono, farm,
                                         (fs_usec_t)routing->config->ramp_s * FS_USEC_PER_SEC, old);

    if (changed)
        log_changes(routing, old, count);
    return changed;
}

/* What this server has counted of itself, for its own request processes. routing->lock is held. */
static void say_own(fs_routing_t *routing, const fs_routing_record_t *own, fs_usec_t mono)
{
    fs_routing_server_t *server = &routing->table->servers[0];

    if (server->has_said && !fs_routing_record_differs(&server->said, own) &&
        mono - server->told < COUNT_EVERY)
        return;
    fs_routing_table_say(routing->table, server->name, own, 0, 1, mono);
    routing->changed = 1;
}

/* routing->lock is held. */
static void publish(fs_routing_t *routing, fs_usec_t mono)
{
    fs_routing_table_entries(routing->table, routing->entries);
    fs_route_page_publish(routing->page, routing->entries, routing->table->count, 0,
                          fs_routing_table_coming(routing->table, mono));
    routing->changed = 0;
}

static unsigned list_peers(fs_routing_t *routing)
{
    return fs_peers_list(routing->agent, routing->peers, FS_EXCHANGE_PEERS);
}

static fs_usec_t suspect_after(const fs_routing_t *routing)
{
    unsigned ms = routing->agent->config.suspect_ms;

    return ms ? ms * FS_USEC_PER_MSEC : SUSPECT_USUAL;
}

/* How many of this server's visitors each of the others stands by for. */
static void count_given(fs_routing_t *routing)
{
    fs_route_store_t *store = fs_route_visitors_store(routing->agent);
    char name[FS_ROUTE_NAME_SIZE];
    fs_route_total_t total;
    fs_result_t ignored;

    for (uint32_t i = 1, count = 2; i < count; i++) {
        pthread_mutex_lock(&routing->lock);
        count = routing->table->count;
        memcpy(name, routing->table->servers[i].name, sizeof(name));
        pthread_mutex_unlock(&routing->lock);
        if (i < count && name[0] && !fs_route_store_total(store, name, &total, &ignored))
            fs_route_page_set_given(routing->page, i, total.given);
    }
}

static void do_round(fs_routing_t *routing)
{
    fs_usec_t mono = fs_time_mono(), farm = fs_backplane_time(routing->agent);
    unsigned peers = list_peers(routing);
    fs_routing_record_t own;
    fs_usec_t still = routing->looked ? mono - routing->looked : 0;
    int changed, wanted, maint = routing->maint;

    if (still > suspect_after(routing))
        fs_routing_was_away(routing, still);
    if (mono / SLOW_EVERY != routing->looked / SLOW_EVERY) {
        maint = fs_routing_is_maintained(routing->agent, maint);
        count_given(routing);
    }
    routing->looked = mono;
    fs_routing_own(routing, &own);

    pthread_mutex_lock(&routing->lock);
    if (still > STOOD_STILL)
        fs_routing_table_wake(routing->table, mono, still);
    own.draining = routing->table->servers[0].ordered;
    for (unsigned i = 0; i < peers; i++)
        fs_routing_table_hear(routing->table, routing->peers[i].name, routing->peers[i].url,
                              routing->peers[i].state, routing->peers[i].heard);
    say_own(routing, &own, mono);
    changed = judge(routing, mono, farm);
    if (changed || routing->changed)
        publish(routing, mono);
    routing->maint = maint;
    fs_routing_check_line(&routing->table->servers[0], maint, own.primaries, routing->line);
    wanted = routing->wanted;
    routing->wanted = 0;
    pthread_mutex_unlock(&routing->lock);

    if (changed)
        fs_route_visitors_ring(routing->agent);
    fs_routing_tell(routing, &own, wanted);
}

static void *run(void *baton)
{
    fs_agent_t *agent = baton;
    fs_routing_t *routing = agent->routing;

    while (!fs_agent_stopping(agent)) {
        do_round(routing);
        pthread_mutex_lock(&routing->lock);
        if (!routing->changed && !routing->wanted)
            fs_agent_cond_wait(&routing->due, &routing->lock, ROUND);
        pthread_mutex_unlock(&routing->lock);
    }
    return NULL;
}

/* --- for the visitors ---------------------------------------------------------------------------
 */

unsigned fs_route_peers(fs_agent_t *agent, fs_route_peer_t *peers, unsigned max)
{
    fs_routing_t *routing = agent->routing;
    unsigned count = 0;

    pthread_mutex_lock(&routing->lock);
    for (uint32_t i = 1; i < routing->table->count && count < max; i++) {
        const fs_routing_server_t *server = &routing->table->servers[i];
        fs_route_peer_t *peer = &peers[count];

        if (!server->name[0])
            continue;
        memcpy(peer->name, server->name, sizeof(peer->name));
        memcpy(peer->agent, server->agent, sizeof(peer->agent));
        peer->state = server->state;
        peer->number = i;
        peer->ready = server->said.ready && !server->was_dead;
        peer->sequence = server->said.sequence;
        peer->digest = server->said.digest;
        peer->generation = server->said.generation;
        peer->heard = server->heard;
        count++;
    }
    pthread_mutex_unlock(&routing->lock);
    return count;
}

void fs_route_tell_soon(fs_agent_t *agent)
{
    fs_routing_t *routing = agent->routing;

    pthread_mutex_lock(&routing->lock);
    routing->wanted = 1;
    pthread_cond_signal(&routing->due);
    pthread_mutex_unlock(&routing->lock);
}

int fs_route_drains(fs_agent_t *agent)
{
    fs_routing_t *routing = agent->routing;
    int drains;

    if (!routing)
        return 0;
    pthread_mutex_lock(&routing->lock);
    drains = routing->table->servers[0].ordered;
    pthread_mutex_unlock(&routing->lock);
    return drains;
}

void fs_route_bump(fs_agent_t *agent)
{
    fs_route_page_bump(agent->routing->page);
}

/* --- the part ------------------------------------------------------------------------------------
 */

static fs_routing_t *make(fs_agent_t *agent)
{
    fs_routing_t *routing = calloc(1, sizeof(*routing));

    if (!routing)
        return NULL;
    routing->agent = agent;
    routing->config = &agent->config.route;
    routing->table = fs_routing_table_create(agent->config.server, fs_time_mono());
    routing->entries = calloc(FS_ROUTE_SERVERS, sizeof(*routing->entries));
    routing->peers = calloc(FS_EXCHANGE_PEERS, sizeof(*routing->peers));
    pthread_mutex_init(&routing->lock, NULL);
    fs_agent_cond_init(&routing->due);
    fs_routing_check_line(&routing->table->servers[0], 0, 0, routing->line);
    return routing->table && routing->entries && routing->peers ? routing : NULL;
}

static apr_status_t open_files(fs_agent_t *agent, fs_result_t *result)
{
    const char *state_dir = agent->config.state_dir;
    apr_status_t status = fs_route_page_prepare(state_dir, (uid_t)-1, (gid_t)-1, result);

    if (!status)
        status = fs_route_page_open(&agent->routing->page, state_dir, 1, result);
    return status ? status : fs_route_visitors_open(agent, result);
}

/* Files that can't be used are no reason for data and availability not to be there. */
apr_status_t fs_routing_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_routing_t *routing;
    apr_status_t status;

    if (!agent->config.route.enabled)
        return APR_SUCCESS;
    routing = agent->routing = make(agent);
    if (!routing)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    if (open_files(agent, result)) {
        fs_log(FS_LOG_ERROR, "FS1661", "this server takes no part in routing: %s: %s",
               result->problem, result->detail);
        agent->routing = NULL;
        return APR_SUCCESS;
    }
    status = fs_backplane_watch(agent, FS_ROUTE_KIND, on_records, routing, result);
    if (!status)
        status = fs_backplane_watch(agent, FS_ROUTE_ORDER_KIND, on_orders, routing, result);
    return status ? status : fs_routing_routes(agent, result);
}

apr_status_t fs_routing_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_routing_t *routing = agent->routing;
    apr_status_t status;

    if (!routing)
        return APR_SUCCESS;
    fs_backplane_each(agent, FS_ROUTE_KIND, restore_record, routing);
    fs_backplane_each(agent, FS_ROUTE_ORDER_KIND, restore_order, routing);
    status = fs_route_visitors_start(agent, result);
    if (!status)
        status = fs_route_check_start(agent, result);
    if (!status)
        status = fs_agent_start_thread(&routing->thread, run, agent, result);
    routing->started = !status;
    return status;
}

void fs_routing_wake(fs_agent_t *agent)
{
    fs_routing_t *routing = agent->routing;

    if (!routing)
        return;
    fs_route_visitors_wake(agent);
    pthread_mutex_lock(&routing->lock);
    pthread_cond_broadcast(&routing->due);
    pthread_mutex_unlock(&routing->lock);
}

int fs_routing_join(fs_agent_t *agent)
{
    fs_routing_t *routing = agent->routing;

    if (!routing)
        return 1;
    if (routing->started && !routing->joined)
        routing->joined = !pthread_tryjoin_np(routing->thread, NULL);
    return (!routing->started || routing->joined) && fs_route_visitors_join(agent);
}
