/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows one group: what is in force, what comes, and when. By long poll at a datasrv, which costs
 * nobody anything while nothing happens; by a look at the database each poll_ms while no datasrv
 * answers. What is heard is published at once, whether its images are here or not.
 *
 * If no datasrv has promoted some time after the activation, this agent tries to. That may take
 * minutes, and a database that hangs keeps whoever waits for it: promote.c has a thread for it, and
 * this one goes on hearing what the others say.
 */
#include "agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sync/fs_cycle.h"
#include "sync/fs_source.h"

#define ANSWER_GRACE_MS 2500 /* on top of the wait that was asked for */
#define AT_LEAST        (20 * FS_USEC_PER_MSEC)
#define CONFIRM_PERIOD  (60 * FS_USEC_PER_SEC)
#define LAG_PAUSE       (100 * FS_USEC_PER_MSEC)

typedef struct follow_t {
    fs_agent_group_t *group;
    fs_agent_t *agent;
    int last_server; /* that confirmed something; another one is asked without a wait first */
} follow_t;

/* What the next request depends on, read under the lock. */
typedef struct state_t {
    int has_manifest;
    int64_t epoch;
    fs_usec_t farm;
    int measured;
    fs_usec_t act_at; /* farm time of a promotion or a decision; FS_CYCLE_NEVER if not by us, or if
                       * it is under way */
    int waiting;      /* a decision */
    unsigned wait_ms;
} state_t;

static fs_usec_t later(fs_usec_t a, fs_usec_t b)
{
    return a > b ? a : b;
}

static void read_state(follow_t *f, state_t *state)
{
    fs_agent_group_t *group = f->group;
    int known;

    memset(state, 0, sizeof(*state));
    state->act_at = FS_CYCLE_NEVER;
    pthread_mutex_lock(&group->lock);
    known = fs_agent_farm(f->agent, &state->farm, NULL, &state->measured);
    state->epoch = group->known.epoch;
    state->has_manifest = group->manifest != NULL;
    if (group->manifest) {
        state->waiting = group->manifest->state == FS_GROUP_WAITING;
        if (state->measured)
            state->act_at = fs_promote_at(group, state->farm, f->last_server == FS_SERVERS_SQL);
        state->wait_ms = fs_plan_wait_ms(group->manifest, state->farm, known, state->act_at);
    }
    pthread_mutex_unlock(&group->lock);
}

static void heard_nothing(follow_t *f, const fs_result_t *result)
{
    pthread_mutex_lock(&f->group->lock);
    fs_agent_trouble(&f->group->hearing, FS_LOG_WARNING, result, NULL, "%s", "");
    fs_group_tell_troubles(f->group);
    pthread_mutex_unlock(&f->group->lock);
}

/* group->lock is held: somebody who may know answered. */
static void heard(fs_agent_group_t *group, const char *peer)
{
    fs_usec_t now = fs_time_mono();

    fs_agent_trouble(&group->hearing, FS_LOG_NOTICE, NULL, "FS0580", "group %s: %s answers",
                     group->name, peer);
    if (now - group->marked > CONFIRM_PERIOD) {
        group->marked = now;
        fs_saved_manifest_confirm(group->agent, group->name);
    }
}

/* Keeps the manifest for a start without a network. The disk may be slow: group->lock isn't held,
 * but group->taking is, so that the manifest stays. */
static void keep(fs_agent_group_t *group)
{
    fs_result_t result;
    apr_status_t status = fs_saved_manifest_write(group->agent, group->manifest, &result);

    fs_agent_trouble(&group->saving, FS_LOG_WARNING, status ? &result : NULL, "FS0555",
                     "%s can be written again", group->agent->config.state_dir);
}

static int is_good(fs_take_t taken)
{
    return taken == FS_TAKE_NEW || taken == FS_TAKE_SAME;
}

fs_take_t fs_follow_take(fs_agent_group_t *group, fs_manifest_t *manifest, const char *peer,
                         fs_usec_t asked)
{
    fs_take_t taken;

    pthread_mutex_lock(&group->taking);
    pthread_mutex_lock(&group->lock);
    taken = fs_group_take(group, manifest, peer, asked);
    if (is_good(taken)) {
        heard(group, peer);
        fs_group_tell_troubles(group);
    }
    if (taken == FS_TAKE_NEW) /* somebody did what this agent may have failed to do */
        fs_result_clear(&group->promoting.now);
    pthread_mutex_unlock(&group->lock);
    if (taken == FS_TAKE_NEW)
        keep(group);
    pthread_mutex_unlock(&group->taking);
    return taken;
}

/* --- from a data server ----------------------------------------------------------------------- */

/* 304: what we have is what the database has. 203: it can't be confirmed just now. */
static void unchanged(follow_t *f, const char *url, fs_usec_t asked)
{
    pthread_mutex_lock(&f->group->lock);
    heard(f->group, url);
    fs_group_confirm(f->group, asked);
    pthread_mutex_unlock(&f->group->lock);
}

/*
 * A manifest of a data server. One that lags is no server that fails: this agent tried to promote
 * too and read what came of it before the data server had. Leaving it would send the agents to the
 * database, all at once, whenever promotions are late.
 */
static apr_status_t take_from(follow_t *f, const char *url, fs_manifest_t *manifest,
                              fs_usec_t asked, fs_result_t *result)
{
    fs_take_t taken = fs_follow_take(f->group, manifest, url, asked);

    if (taken == FS_TAKE_LAGS)
        fs_agent_sleep(f->agent, LAG_PAUSE);
    else if (!is_good(taken))
        return fs_result_set(result, APR_EGENERAL, "", "%s was refused", url);
    return APR_SUCCESS;
}

static apr_status_t read_answer(follow_t *f, const char *url, const fs_http_answer_t *answer,
                                fs_usec_t asked, fs_result_t *result)
{
    fs_manifest_t *manifest;
    apr_status_t status;

    switch (answer->status) {
    case 304:
        unchanged(f, url, asked);
        return APR_SUCCESS;
    case 203:
        asked = 0;
        if (!answer->length) {
            unchanged(f, url, 0);
            return APR_SUCCESS;
        }
        /* FALLTHROUGH */
    case 200:
        status =
            fs_manifest_parse(&manifest, answer->body ? answer->body : "", answer->length, result);
        if (status)
            return status;
        return take_from(f, url, manifest, asked, result);
    case 404:
        return fs_result_set(result, APR_ENOENT, "FS0581",
                             "group %s is not known to %s; check FarmSyncGroup, and that the "
                             "group has a row in farmsync.sync",
                             f->group->name, url);
    default:
        return fs_result_set(result, APR_EGENERAL, "FS0582", "%s answered status %d", url,
                             answer->status);
    }
}

/* Takes a new client if the old one was aborted. 0 if there is none. */
static int renew_client(follow_t *f)
{
    fs_agent_group_t *group = f->group;
    int there;

    pthread_mutex_lock(&group->follow_lock);
    if (group->woken || !group->follow_http) {
        if (group->follow_http)
            fs_http_client_destroy(group->follow_http);
        group->follow_http = fs_agent_client(f->agent);
        group->woken = 0;
    }
    there = group->follow_http != NULL;
    pthread_mutex_unlock(&group->follow_lock);
    return there;
}

/* APR_SUCCESS if the server said something to be relied on. */
static apr_status_t ask_server(follow_t *f, int index, const state_t *state, fs_result_t *result)
{
    unsigned wait_ms = state->has_manifest && f->last_server == index ? state->wait_ms : 0;
    fs_http_answer_t answer;
    char url[512], known[64] = "?wait=0";
    fs_usec_t asked;
    apr_status_t status;

    /* Without a manifest there is nothing that a 304 could confirm. */
    if (state->has_manifest)
        snprintf(known, sizeof(known), "?epoch=%" PRId64 "&wait=%u", state->epoch, wait_ms);
    snprintf(url, sizeof(url), "%s/v1/groups/%s/manifest%s", f->agent->config.servers[index],
             f->group->name, known);
    if (!renew_client(f))
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    asked = fs_time_mono();
    atomic_store(&f->group->asking, index);
    status = fs_http_exchange(f->group->follow_http, "GET", url, NULL, 0, FS_MANIFEST_MAX_BYTES,
                              wait_ms + ANSWER_GRACE_MS, &answer, result);
    atomic_store(&f->group->asking, -1);
    if (status)
        return status;
    *strchr(url, '?') = '\0';
    if ((answer.status == 304 || (answer.status == 203 && !answer.length)) && !state->has_manifest)
        status = fs_result_set(result, APR_EGENERAL, "FS0582", "%s answered status %d", url,
                               answer.status);
    else
        status = read_answer(f, url, &answer, asked, result);
    fs_http_answer_clear(&answer);
    return status;
}

/* --- from the database ------------------------------------------------------------------------ */

static apr_status_t ask_sql(follow_t *f, fs_result_t *result)
{
    fs_sql_t *sql = fs_agent_sql_begin(&f->agent->sql, result);
    fs_usec_t asked = fs_time_mono();
    fs_manifest_t *manifest;
    char peer[128];
    apr_status_t status;

    if (!sql)
        return result->status;
    status = fs_source_manifest(sql, f->group->name, &manifest, result);
    snprintf(peer, sizeof(peer), "database %s", fs_sql_peer(sql));
    fs_agent_sql_end(&f->agent->sql);
    if (status)
        return status;
    return is_good(fs_follow_take(f->group, manifest, peer, asked))
               ? APR_SUCCESS
               : fs_result_set(result, APR_EGENERAL, "", "%s was refused", peer);
}

/* --- the loop --------------------------------------------------------------------------------- */

static int was_woken(follow_t *f)
{
    int woken;

    pthread_mutex_lock(&f->group->follow_lock);
    woken = f->group->woken;
    pthread_mutex_unlock(&f->group->follow_lock);
    return woken;
}

static void warn_of_sql(follow_t *f)
{
    char why[FS_DETAIL_SIZE];

    fs_agent_server_why(f->agent, why);
    fs_log(FS_LOG_WARNING, "FS0588", "group %s: no data server answers%s%s; asking the database",
           f->group->name, why[0] ? ", the last one: " : "", why);
}

/* Asks whoever is to be asked, once. Returns 1 if it was a long poll that did its waiting there. */
static int ask(follow_t *f, const state_t *state)
{
    int index = fs_agent_server(f->agent);
    int was_on_sql;
    fs_result_t result, server_result;
    apr_status_t status = APR_EGENERAL;

    fs_result_clear(&result);
    if (index >= 0) {
        status = ask_server(f, index, state, &result);
        if (!status) {
            fs_agent_server_worked(f->agent, index);
            fs_promote_others(f->group);
            if (f->last_server == FS_SERVERS_SQL)
                fs_log(FS_LOG_NOTICE, "FS0589", "group %s: data server %s answers again",
                       f->group->name, f->agent->config.servers[index]);
            f->last_server = index;
            return 1;
        }
        if (fs_agent_stopping(f->agent))
            return 0;
        if (result.problem[0])
            fs_log(FS_LOG_DEBUG, "FS0587", "group %s: data server failed: %s: %s", f->group->name,
                   result.problem, result.detail);
        /* Who was woken knows only that; the clock's thread said why. */
        fs_agent_server_failed(f->agent, index, was_woken(f) ? NULL : &result);
        if (fs_agent_server(f->agent) >= 0)
            return 1; /* the next one, at once */
    }
    server_result = result;
    was_on_sql = f->last_server == FS_SERVERS_SQL;
    f->last_server = FS_SERVERS_SQL;
    if (f->agent->config.database || !f->agent->config.server_count)
        status = ask_sql(f, &result);
    else
        result = server_result;
    if (!status && !was_on_sql && f->agent->config.server_count)
        warn_of_sql(f);
    if (status && result.problem[0])
        heard_nothing(f, &result);
    return 0;
}

/* How long to wait before the next look, when the answer didn't come from a long poll. */
static fs_usec_t pause_of(const follow_t *f)
{
    fs_usec_t pause = f->agent->config.poll_ms * FS_USEC_PER_MSEC, farm;
    int measured;
    state_t state;

    read_state((follow_t *)f, &state);
    if (state.waiting && state.wait_ms * FS_USEC_PER_MSEC < pause)
        pause = state.wait_ms * FS_USEC_PER_MSEC;
    (void)fs_agent_farm(f->agent, &farm, NULL, &measured);
    if (measured && state.act_at != FS_CYCLE_NEVER && state.act_at - farm < pause)
        pause = state.act_at - farm;
    return later(pause, AT_LEAST);
}

void *fs_follow_run(void *baton)
{
    follow_t f = {.group = baton, .last_server = -2};

    f.agent = f.group->agent;
    while (!fs_agent_stopping(f.agent)) {
        fs_usec_t begun = fs_time_mono();
        state_t state;
        int waited;

        read_state(&f, &state);
        if (state.measured && state.farm >= state.act_at) {
            fs_promote_begin(f.group);
            read_state(&f, &state);
        }
        waited = ask(&f, &state);
        if (!waited)
            fs_agent_sleep(f.agent, pause_of(&f));
        else if (fs_time_mono() - begun < AT_LEAST)
            fs_agent_sleep(f.agent, AT_LEAST); /* nobody may keep us spinning */
    }
    fs_sql_thread_end();
    return NULL;
}
