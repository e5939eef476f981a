/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promotes, and has decided, what no datasrv did in time: compare-and-swap in the database lets one
 * of all agents succeed, and the others just read what it did.
 *
 * In a thread of its own beside the follower: a promotion of many rows takes minutes, and one whose
 * database stands still may hang for as long as PROMOTE_TIMEOUT_S. Meanwhile somebody else
 * promotes, and this host must hear of it; and if there is nobody to be heard it must say that.
 */
#include "agent.h"

#include "sync/fs_cycle.h"
#include "sync/fs_source.h"

#define PROMOTE_TIMEOUT_S 600
#define LOOK_AGAIN        (3600 * FS_USEC_PER_SEC) /* who waits is woken; this is for nobody's sake */

/* --- when: the follower's questions, group->lock is held -------------------------------------- */

fs_usec_t fs_promote_at(fs_agent_group_t *group, fs_usec_t farm, int is_lone)
{
    const fs_manifest_t *manifest = group->manifest;
    fs_promoting_t *own = &group->own;
    fs_promoter_t who = is_lone ? FS_PROMOTER_LONE_AGENT : FS_PROMOTER_AGENT;
    fs_usec_t at, backed_off;

    if (own->serial != group->serial) {
        own->serial = group->serial;
        own->jitter = fs_agent_chance();
        own->failures = 0;
        own->retry_at = 0;
    }
    if (!group->agent->config.database || own->is_due)
        return FS_CYCLE_NEVER;
    at = manifest->state == FS_GROUP_WAITING ? fs_cycle_decide_at(manifest, who, own->jitter)
                                             : fs_cycle_promote_at(manifest, who, own->jitter);
    if (at == FS_CYCLE_NEVER || !own->retry_at)
        return at;
    backed_off = farm + (own->retry_at - fs_time_mono());
    return at > backed_off ? at : backed_off;
}

void fs_promote_begin(fs_agent_group_t *group)
{
    pthread_mutex_lock(&group->lock);
    group->own.is_due = 1;
    pthread_cond_signal(&group->own.due);
    pthread_mutex_unlock(&group->lock);
}

void fs_promote_others(fs_agent_group_t *group)
{
    pthread_mutex_lock(&group->lock);
    group->own.promotes = 0;
    pthread_mutex_unlock(&group->lock);
}

/* --- promotion -------------------------------------------------------------------------------- */

/* 1 if this agent has promoted before, since a data server was heard last. */
static int promotes_on(fs_agent_group_t *group)
{
    int before;

    pthread_mutex_lock(&group->lock);
    before = group->own.promotes;
    group->own.promotes = 1;
    pthread_mutex_unlock(&group->lock);
    return before;
}

static void log_outcome(fs_agent_group_t *group, fs_promotion_t outcome, const fs_result_t *result)
{
    const char *name = group->name;

    switch (outcome) {
    case FS_PROMOTION_STAGED:
        /* That it has come to this is a change; the next ones are the cycle's ordinary events. */
        fs_log(promotes_on(group) ? FS_LOG_INFO : FS_LOG_NOTICE, "FS0583",
               "group %s: promoted by this agent because no datasrv did it in time", name);
        break;
    case FS_PROMOTION_UNCHANGED:
        fs_log(FS_LOG_INFO, "FS0584",
               "group %s: next activation set by this agent, production is unchanged", name);
        break;
    case FS_PROMOTION_RETURNED:
        fs_log(
            FS_LOG_NOTICE, "FS0640",
            "group %s: rolled back by this agent, as an operator ordered, because no datasrv did "
            "it in time",
            name);
        break;
    case FS_PROMOTION_REFUSED:
        fs_log(FS_LOG_ERROR, "FS0585", "group %s: its promotion was refused: %s: %s", name,
               result->problem, result->detail);
        break;
    case FS_PROMOTION_LOST:
        break;
    }
}

static apr_status_t promote_with(fs_agent_group_t *group, fs_sql_t *sql, int64_t epoch,
                                 fs_result_t *result)
{
    fs_promotion_t outcome;
    fs_manifest_t *manifest;
    fs_result_t unread;
    fs_usec_t asked;
    apr_status_t status;

    fs_sql_set_read_timeout(sql, PROMOTE_TIMEOUT_S);
    status = fs_sql_connect(sql, result);
    if (status)
        return status;
    status = fs_source_promote(sql, group->name, epoch, group->agent->config.server,
                               group->agent->image_dir, &outcome, result);
    if (status)
        return status;
    log_outcome(group, outcome, result);
    asked = fs_time_mono();
    if (!fs_source_manifest(sql, group->name, &manifest, &unread))
        (void)fs_follow_take(group, manifest, "the database", asked);
    return APR_SUCCESS;
}

/* Has it decided whether what waits may become active, and says what came of it. */
static apr_status_t decide(fs_agent_group_t *group, int64_t epoch, fs_result_t *result)
{
    fs_sql_t *sql = fs_agent_sql_begin(&group->agent->sql, result);
    fs_decision_t decision;
    apr_status_t status;

    if (!sql)
        return result->status;
    status =
        fs_source_decide(sql, group->name, epoch, group->agent->config.server, &decision, result);
    fs_agent_sql_end(&group->agent->sql);
    if (status)
        return status;
    if (decision == FS_DECISION_GO)
        fs_log(
            FS_LOG_INFO, "FS0616",
            "group %s: this agent had it decided, because no datasrv did in time: what is staged "
            "becomes active: %s",
            group->name, result->detail);
    else if (decision == FS_DECISION_PUT_OFF || decision == FS_DECISION_LIMIT)
        fs_log(FS_LOG_WARNING, "FS0617",
               "group %s: this agent had it decided, because no datasrv did in time: %s: %s",
               group->name,
               decision == FS_DECISION_LIMIT ? "this is the limit" : "the activation is put off",
               result->detail);
    return APR_SUCCESS;
}

static apr_status_t promote(fs_agent_group_t *group, int64_t epoch, fs_result_t *result)
{
    fs_sql_t *sql = NULL;
    apr_status_t status = fs_sql_create(&sql, group->agent->config.database, result);

    if (!status)
        status = promote_with(group, sql, epoch, result);
    if (sql)
        fs_sql_destroy(sql);
    return status;
}

/* Whoever wins, the new manifest comes with the follower's next answer, if not at once. */
static void act(fs_agent_group_t *group)
{
    fs_promoting_t *own = &group->own;
    uint64_t serial = group->serial;
    int64_t epoch = group->known.epoch;
    int waiting = group->manifest->state == FS_GROUP_WAITING;
    fs_result_t result;
    apr_status_t status;

    pthread_mutex_unlock(&group->lock);
    status = waiting ? decide(group, epoch, &result) : promote(group, epoch, &result);
    pthread_mutex_lock(&group->lock);
    fs_agent_trouble(&group->promoting, FS_LOG_WARNING, status ? &result : NULL, "FS0586",
                     "group %s: this agent can promote again", group->name);
    fs_group_tell_troubles(group);
    if (serial == group->serial) /* else it came to something, here or elsewhere */
        own->retry_at =
            fs_time_mono() + fs_cycle_retry(group->manifest, own->failures++, fs_agent_chance());
}

void *fs_promote_run(void *baton)
{
    fs_agent_group_t *group = baton;

    pthread_mutex_lock(&group->lock);
    while (!fs_agent_stopping(group->agent)) {
        if (group->own.is_due) {
            act(group);
            group->own.is_due = 0;
        } else {
            fs_agent_cond_wait(&group->own.due, &group->lock, LOOK_AGAIN);
        }
    }
    pthread_mutex_unlock(&group->lock);
    fs_sql_thread_end();
    return NULL;
}
