/* SPDX-License-Identifier: Apache-2.0 */
/* Promoting when it is due, and deciding whether what is staged may become active. */
#include "base/fs_log.h"
#include "sync/fs_cycle.h"
#include "worker_internal.h"

/* --- promotion -----------------------------------------------------------------------------------
 */

fs_usec_t fs_worker_promote_at(fs_worker_t *worker)
{
    fs_usec_t now = fs_time_mono(), offset, bound, at;

    if (!worker->current || !fs_board_clock(worker->shared.board, now, &offset, &bound, NULL))
        return INT64_MAX;
    at = fs_cycle_promote_at(worker->current->manifest, FS_PROMOTER_DATASRV, worker->jitter);
    if (at == FS_CYCLE_NEVER)
        return INT64_MAX;
    at += bound - offset; /* not before it is due by the database's clock, too */
    return at > worker->promote_after ? at : worker->promote_after;
}

static void promoted(fs_worker_t *worker, fs_promotion_t outcome, fs_usec_t took,
                     const fs_result_t *result)
{
    fs_group_facts_t *facts = &worker->facts;

    switch (outcome) {
    case FS_PROMOTION_STAGED:
        facts->staged++;
        fs_log(FS_LOG_INFO, "FS0850", "group %s: promoted in %lld ms, a new version is staged",
               worker->group, (long long)(took / FS_USEC_PER_MSEC));
        worker->prune_at = fs_time_mono() + FS_WORKER_PRUNE_PAUSE;
        break;
    case FS_PROMOTION_UNCHANGED:
        facts->unchanged++;
        fs_log(FS_LOG_DEBUG, "FS0851",
               "group %s: promoted in %lld ms, the data had not changed and the version stays",
               worker->group, (long long)(took / FS_USEC_PER_MSEC));
        break;
    case FS_PROMOTION_RETURNED:
        facts->staged++;
        fs_log(FS_LOG_NOTICE, "FS0890",
               "group %s: rolled back in %lld ms as an operator ordered, the old content is staged "
               "as a new version and nothing is promoted after it",
               worker->group, (long long)(took / FS_USEC_PER_MSEC));
        break;
    case FS_PROMOTION_LOST:
        facts->lost++;
        return;
    case FS_PROMOTION_REFUSED:
        facts->refused++;
        fs_log(
            FS_LOG_ERROR, "FS0852",
            "group %s: the promotion was refused and recorded in farmsync.history, the farm stays "
            "on what it has: %s: %s",
            worker->group, result->problem, result->detail);
        return;
    }
    facts->promoted = fs_board_farm_time(worker->shared.board);
    facts->promotion_took = took;
}

/* The promotion could not be done here: the database is away, or this host's disk is full. */
static void not_promoted(fs_worker_t *worker, const fs_result_t *cause)
{
    worker->facts.failed++;
    fs_result_set(
        &worker->facts.promotion_problem, cause->status, "FS0853",
        "group %s: could not be promoted from here, other promoters may do better: %s: %s",
        worker->group, cause->problem, cause->detail);
    fs_worker_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said,
                      FS_LOG_WARNING, cause);
}

void fs_worker_promote(fs_worker_t *worker)
{
    fs_promotion_t outcome = FS_PROMOTION_LOST;
    const fs_manifest_t *manifest = worker->current->manifest;
    fs_source_images_t images = fs_worker_images(worker);
    fs_result_t result;
    fs_usec_t began = fs_time_mono();
    apr_status_t status;

    fs_result_clear(&result);
    worker->facts.promoting = 1;
    fs_worker_tell(worker);
    fs_store_hold(worker->shared.store);
    status = fs_sql_connect(worker->sql, &result);
    if (status == APR_SUCCESS)
        status =
            fs_source_promote_known(worker->sql, worker->group, manifest->epoch, worker->shared.who,
                                    fs_store_dir(worker->shared.store), &images, &outcome, &result);
    fs_store_release(worker->shared.store);
    worker->facts.promoting = 0;
    if (status == APR_SUCCESS) {
        promoted(worker, outcome, fs_time_mono() - began, &result);
        fs_worker_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    } else {
        not_promoted(worker, &result);
    }
    /* Also after success: the board shows the old epoch until the database was asked again. */
    worker->promote_after =
        fs_time_mono() + fs_cycle_retry(manifest, worker->promote_failures, fs_worker_random());
    worker->promote_failures++;
    fs_worker_tell(worker);
    fs_bell_ring(worker->shared.changed);
}

/* --- whether a version that waits may become active ----------------------------------------------
 */

static void log_decision(fs_worker_t *worker, fs_decision_t decision, const char *who)
{
    fs_usec_t now = fs_time_mono();

    switch (decision) {
    case FS_DECISION_GO:
        worker->put_off_said = 0;
        fs_log(FS_LOG_INFO, "FS0872", "group %s: what is staged becomes active: %s", worker->group,
               who);
        break;
    case FS_DECISION_PUT_OFF:
        if (worker->put_off_said && worker->put_off_said + FS_WORKER_SAY_AGAIN > now)
            break;
        worker->put_off_said = now;
        fs_log(FS_LOG_WARNING, "FS0873", "group %s: the activation is put off: %s", worker->group,
               who);
        break;
    case FS_DECISION_LIMIT:
        worker->put_off_said = 0;
        fs_log(FS_LOG_ERROR, "FS0874",
               "group %s: the activation can't be put off any longer, what is to be done then was "
               "done (see farmsync.history): %s",
               worker->group, who);
        break;
    case FS_DECISION_WAIT:
    case FS_DECISION_LOST:
        break;
    }
}

void fs_worker_decide(fs_worker_t *worker)
{
    const fs_manifest_t *manifest = worker->current->manifest;
    fs_usec_t pace = FS_CYCLE_DECIDE_PACE;
    fs_decision_t decision;
    fs_result_t result;

    fs_result_clear(&result);
    if (fs_source_decide(worker->sql, worker->group, manifest->epoch, worker->shared.who, &decision,
                         &result) == APR_SUCCESS) {
        log_decision(worker, decision, result.detail);
        if (decision != FS_DECISION_WAIT)
            fs_bell_ring(worker->shared.changed);
        fs_worker_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    } else {
        fs_result_set(&worker->facts.promotion_problem, result.status, "FS0875",
                      "group %s: could not be decided from here whether what is staged may become "
                      "active; others may do better: %s: %s",
                      worker->group, result.problem, result.detail);
        fs_worker_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said,
                          FS_LOG_WARNING, &result);
        pace = FS_USEC_PER_SEC;
    }
    worker->decide_after =
        fs_time_mono() + pace / 2 + (fs_usec_t)((double)pace * fs_worker_random());
}
