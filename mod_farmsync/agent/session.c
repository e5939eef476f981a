/* SPDX-License-Identifier: Apache-2.0 */
/* The part's beginning and end, and its keeper: what has changed, and all timers. */
#include "session.h"

#include <apr_general.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

#define EXPIRE_PERIOD FS_USEC_PER_SEC
#define EXPIRE_STEPS  1000
#define BASES_DEFAULT 262144u
#define BASES_MOST    4194304u
#define SENDER_RUNS   1
#define ASKER_RUNS    2

fs_usec_t fs_sessions_farm(const fs_sessions_t *sessions)
{
    fs_usec_t farm;

    return fs_agent_farm(sessions->agent, &farm, NULL, NULL) ? farm : fs_time_wall();
}

void fs_sessions_nudge(fs_sessions_t *sessions)
{
    fs_session_bell_ring(sessions->bell, 1);
}

/* --- open --------------------------------------------------------------------------------------
 */

/* httpd prepares the store before it starts the agent; an agent that is run by hand does itself. */
static apr_status_t prepare_store(fs_sessions_t *sessions, fs_result_t *result)
{
    char data[sizeof(sessions->dir) + 16];
    apr_status_t status;

    snprintf(data, sizeof(data), "%s/data.mdb", sessions->dir);
    if (!sessions->agent->standalone && !access(data, F_OK))
        return APR_SUCCESS;
    status = fs_session_store_prepare(sessions->dir, (uid_t)-1, (gid_t)-1, 1, NULL, result);
    if (!status && result->problem[0])
        fs_log_result(FS_LOG_WARNING, result);
    return status;
}

static apr_status_t open_store(fs_sessions_t *sessions, fs_result_t *result)
{
    const fs_agent_sessions_t *config = sessions->config;
    const char *server = sessions->agent->config.server;
    fs_session_limits_t limits = {.sessions = config->sessions,
                                  .session_bytes = config->session_bytes,
                                  .store_bytes = config->store_bytes,
                                  .flush = config->flush_ms * FS_USEC_PER_MSEC};
    apr_status_t status = prepare_store(sessions, result);

    if (status ||
        (status =
             fs_session_store_open(&sessions->store, sessions->dir, server, &limits, result)) ||
        (status = fs_session_turns_open(&sessions->turns, sessions->dir, result)) ||
        (status = fs_session_bell_open(&sessions->bell, sessions->dir, result)))
        return status;
    return fs_session_trust_open(&sessions->trust, sessions->dir, 1, result);
}

static apr_status_t open_bank(fs_sessions_t *sessions, fs_result_t *result)
{
    const fs_agent_sessions_t *config = sessions->config;
    fs_session_server_t names[FS_AGENT_BANK_MAX];
    apr_pool_t *pool;

    sessions->count = config->bank_count;
    for (unsigned i = 0; i < sessions->count; i++) {
        fs_bank_server_t *server = &sessions->servers[i];

        names[i].name = config->bank[i].name;
        names[i].rack = config->bank[i].rack;
        server->sessions = sessions;
        server->index = i;
        server->config = &config->bank[i];
        STAILQ_INIT(&server->asks);
        fs_agent_cond_init(&server->send_due);
        fs_agent_cond_init(&server->ask_due);
        server->send_http = fs_agent_client(sessions->agent);
        server->ask_http = fs_agent_client(sessions->agent);
        if (!server->send_http || !server->ask_http)
            return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    }
    if (apr_pool_create(&pool, NULL)) /* lives as long as the process */
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    return fs_session_bank_make(&sessions->bank, names, sessions->count, pool, result);
}

static apr_status_t open_memory(fs_sessions_t *sessions, fs_result_t *result)
{
    uint64_t most = sessions->config->sessions;
    fs_session_trusted_t trusted;

    pthread_mutex_init(&sessions->lock, NULL);
    pthread_mutex_init(&sessions->work_lock, NULL);
    fs_agent_cond_init(&sessions->work_due);
    STAILQ_INIT(&sessions->work);
    STAILQ_INIT(&sessions->leaving);
    LIST_INIT(&sessions->peers);
    LIST_INIT(&sessions->others);
    sessions->fetch_at = INT64_MAX;
    most = !most ? BASES_DEFAULT : most > BASES_MOST ? BASES_MOST : most;
    sessions->bases = fs_bases_make((uint32_t)most, sessions->count);
    if (!sessions->bases || fs_releases_init(&sessions->releases) ||
        fs_key_table_init(&sessions->fetches) ||
        fs_flights_init(&sessions->flights, sessions->count))
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    fs_session_trust_read(sessions->trust, &trusted);
    sessions->vouching.lease = sessions->config->lease_ms * FS_USEC_PER_MSEC;
    sessions->vouching.count = sessions->count;
    sessions->vouching.trusted.generation = trusted.generation;
    fs_compare_want(sessions, 1);
    return APR_SUCCESS;
}

apr_status_t fs_sessions_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_sessions_t *sessions;
    apr_status_t status;

    if (!agent->config.sessions.enabled)
        return APR_SUCCESS;
    apr_initialize();
    sessions = calloc(1, sizeof(*sessions));
    if (!sessions)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    sessions->agent = agent;
    sessions->config = &agent->config.sessions;
    snprintf(sessions->dir, sizeof(sessions->dir), "%s/sessions", agent->config.state_dir);
    if ((status = open_store(sessions, result)) || (status = open_bank(sessions, result)) ||
        (status = open_memory(sessions, result)))
        return status;
    agent->sessions = sessions;
    if ((status = fs_ahead_open(sessions, result)) ||
        (status = fs_alternates_open(sessions, result)))
        return status;
    return fs_session_listen_open(sessions, result);
}

/* --- the keeper --------------------------------------------------------------------------------
 */

static void expire(fs_sessions_t *sessions)
{
    unsigned removed;
    fs_result_t result;
    apr_status_t status = fs_session_store_expire(sessions->store, fs_sessions_farm(sessions),
                                                  EXPIRE_STEPS, &removed, &result);

    if (status)
        fs_log_result(FS_LOG_ERROR, &result);
}

static fs_usec_t sooner(fs_usec_t a, fs_usec_t b)
{
    return a < b ? a : b;
}

/* Whatever is to be done at a time. Returns when to call it again at the latest. */
static fs_usec_t do_timers(fs_sessions_t *sessions, apr_pool_t *pool)
{
    fs_usec_t now = fs_session_clock(), next = now + sessions->vouching.lease / 3;
    fs_usec_t walk = fs_compare_step(sessions, pool), again;

    pthread_mutex_lock(&sessions->lock);
    fs_up_step(sessions);
    fs_others_ask(sessions);
    if (sessions->retarget)
        fs_copy_retarget(sessions);
    next = sooner(next, fs_fetch_step_all(sessions));
    next = sooner(next, fs_ack_step(sessions, now));
    again = fs_flights_again(&sessions->flights, now);
    for (unsigned i = 0; i < sessions->count; i++)
        if (fs_flights_has_next(&sessions->flights, i))
            fs_send_wake(&sessions->servers[i]);
    pthread_mutex_unlock(&sessions->lock);
    next = sooner(next, again);
    return walk == INT64_MAX ? next : sooner(next, now + walk);
}

/*
 * While sessions change all the time it looks every few milliseconds, and is not woken by each one;
 * else it sleeps until one does.
 */
static void *keep_run(void *baton)
{
    fs_sessions_t *sessions = baton;
    fs_usec_t expired = 0;
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    while (!fs_agent_stopping(sessions->agent)) {
        fs_usec_t now, collect, timers;

        fs_session_bell_hear(sessions->bell);
        fs_alternates_wake(sessions);
        collect = fs_copy_collect(sessions, pool);
        timers = do_timers(sessions, pool);
        now = fs_session_clock();
        if (now - expired >= EXPIRE_PERIOD) {
            expired = now;
            expire(sessions);
            fs_ahead_expire(sessions);
            fs_copy_forget_leaving(sessions);
        }
        if (collect < FS_USEC_PER_SEC)
            fs_session_bell_hush(sessions->bell);
        fs_session_bell_wait(sessions->bell, sooner(collect, timers - fs_session_clock()));
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    return NULL;
}

/* --- start and end -----------------------------------------------------------------------------
 */

apr_status_t fs_sessions_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_sessions_t *sessions = agent->sessions;
    apr_status_t status;

    if (!sessions)
        return APR_SUCCESS;
    sessions->started = fs_session_clock();
    status = fs_agent_start_thread(&sessions->keeper, keep_run, sessions, result);
    sessions->keeper_runs = !status;
    for (unsigned i = 0; i < sessions->count && !status; i++) {
        fs_bank_server_t *server = &sessions->servers[i];

        status = fs_agent_start_thread(&server->sender, fs_send_run, server, result);
        if (!status)
            server->running |= SENDER_RUNS;
        if (!status)
            status = fs_agent_start_thread(&server->asker, fs_ask_run, server, result);
        if (!status)
            server->running |= ASKER_RUNS;
    }
    return status ? status : fs_alternates_start(sessions, result);
}

void fs_sessions_wake(fs_agent_t *agent)
{
    fs_sessions_t *sessions = agent->sessions;

    if (!sessions)
        return;
    fs_sessions_nudge(sessions);
    fs_alternates_wake(sessions);
    for (unsigned i = 0; i < sessions->count; i++) {
        fs_http_client_abort(sessions->servers[i].send_http);
        fs_http_client_abort(sessions->servers[i].ask_http);
        fs_send_wake(&sessions->servers[i]);
        fs_ask_wake(&sessions->servers[i]);
    }
    fs_work_wake(sessions);
}

int fs_sessions_join(fs_agent_t *agent)
{
    fs_sessions_t *sessions = agent->sessions;
    int left = 0;

    if (!sessions)
        return 1;
    if (sessions->keeper_runs && !pthread_tryjoin_np(sessions->keeper, NULL))
        sessions->keeper_runs = 0;
    for (unsigned i = 0; i < sessions->count; i++) {
        fs_bank_server_t *server = &sessions->servers[i];

        if (server->running & SENDER_RUNS && !pthread_tryjoin_np(server->sender, NULL))
            server->running &= ~SENDER_RUNS;
        if (server->running & ASKER_RUNS && !pthread_tryjoin_np(server->asker, NULL))
            server->running &= ~ASKER_RUNS;
        left |= server->running;
    }
    return fs_alternates_join(sessions) && !left && !sessions->keeper_runs &&
           fs_work_join(sessions);
}
