/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/fs_log.h"
#include "worker_internal.h"

#define LOOK_AGAIN       (1 * FS_USEC_PER_SEC) /* nothing to do: see whether an image vanished */
#define PRUNE_SPREAD     (5 * FS_USEC_PER_SEC) /* after a change, so that data servers take turns */
#define PRUNE_RETRY      (60 * FS_USEC_PER_SEC)
#define LONG_STATEMENT_S 300 /* a promotion of millions of rows is one statement */

double fs_worker_random(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint32_t)fs_time_mono();
    return random / (UINT32_MAX + 1.0);
}

void fs_worker_tell(fs_worker_t *worker)
{
    fs_board_set_facts(worker->shared.board, &worker->facts);
}

void fs_worker_problem(fs_worker_t *worker, fs_result_t *place, fs_worker_said_t *said,
                       fs_log_level_t level, const fs_result_t *cause)
{
    fs_usec_t now = fs_time_mono();

    if (!said->at || strcmp(said->cause, cause->problem) || said->at + FS_WORKER_SAY_AGAIN <= now) {
        fs_log_result(level, place);
        said->at = now;
        snprintf(said->cause, sizeof(said->cause), "%s", cause->problem);
    }
    fs_worker_tell(worker);
}

void fs_worker_no_problem(fs_worker_t *worker, fs_result_t *place, fs_worker_said_t *said)
{
    if (!place->problem[0])
        return;
    fs_result_clear(place);
    said->at = 0;
    fs_worker_tell(worker);
}

/* --- pruning -------------------------------------------------------------------------------------
 */

static void prune(fs_worker_t *worker)
{
    fs_result_t result;
    int64_t left = 0;
    apr_status_t status;

    fs_result_clear(&result);
    status = fs_sql_connect(worker->sql, &result);
    if (status == APR_SUCCESS)
        status = fs_source_prune(worker->sql, worker->group, &left, &result);
    if (status == APR_SUCCESS) {
        worker->prune_at = left > 0 ? fs_time_mono() + FS_WORKER_PRUNE_PAUSE : 0;
        return;
    }
    if (fs_sql_error(worker->sql) == FS_SQL_REFUSED)
        fs_log(FS_LOG_WARNING, "FS0861",
               "group %s: versions that nobody needs any more could not be pruned: %s: %s",
               worker->group, result.problem, result.detail);
    worker->prune_at = fs_time_mono() + PRUNE_RETRY;
}

/* --- the thread ----------------------------------------------------------------------------------
 */

/* Of one of the few things that people forget. */
static void say_pin(fs_worker_t *worker)
{
    const fs_manifest_t *manifest = worker->current->manifest;

    if (manifest->pinned_version == worker->pinned)
        return;
    worker->pinned = manifest->pinned_version;
    if (worker->pinned)
        fs_log(FS_LOG_NOTICE, "FS0892", "group %s: nothing is promoted any more: %s", worker->group,
               manifest->reason);
    else
        fs_log(FS_LOG_NOTICE, "FS0893", "group %s is pinned no longer", worker->group);
}

static void look_at_board(fs_worker_t *worker)
{
    fs_published_t *latest;

    fs_board_group(worker->shared.board, worker->group, &latest);
    if (latest == worker->current) {
        fs_published_drop(latest);
        return;
    }
    fs_published_drop(worker->current);
    worker->current = latest;
    worker->build_after = 0;
    if (!latest || latest->manifest->epoch == worker->epoch)
        return;
    worker->epoch = latest->manifest->epoch;
    say_pin(worker);
    worker->jitter = fs_worker_random();
    worker->promote_after = 0;
    worker->promote_failures = 0;
    fs_worker_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    if (!worker->prune_at)
        worker->prune_at = fs_time_mono() + (fs_usec_t)(PRUNE_SPREAD * fs_worker_random());
}

/* 1 while the database thread has its connection; after it came back nothing waits for a back-off.
 */
static int database_is_there(fs_worker_t *worker)
{
    fs_database_facts_t database;

    fs_board_database(worker->shared.board, &database);
    if (database.connects != worker->connects) {
        worker->connects = database.connects;
        worker->promote_after = worker->build_after = 0;
        worker->promote_failures = worker->build_failures = 0;
    }
    return database.up;
}

/* Mono time of the next promotion or decision, INT64_MAX if it isn't known or not ours. */
static fs_usec_t act_at(fs_worker_t *worker, int *waiting)
{
    *waiting = worker->current && worker->current->manifest->state == FS_GROUP_WAITING;
    return *waiting ? worker->decide_after : fs_worker_promote_at(worker);
}

/* Does what is due and returns the mono time at which something is due again. */
static fs_usec_t work(fs_worker_t *worker)
{
    int there = database_is_there(worker), waiting = 0;
    fs_usec_t now = fs_time_mono(), next = there ? act_at(worker, &waiting) : INT64_MAX;
    const fs_manifest_dataset_t *wanted;
    int64_t version = 0;

    if (next <= now) {
        if (!waiting) {
            fs_worker_promote(worker);
            return worker->promote_after;
        }
        fs_worker_decide(worker);
        next = worker->decide_after;
    }
    wanted = fs_worker_missing(worker, &version);
    if (!wanted)
        fs_worker_no_problem(worker, &worker->facts.image_problem, &worker->image_said);
    if (wanted && worker->build_after <= now) {
        fs_worker_bring(worker, wanted, version);
        return 0;
    }
    if (there && worker->prune_at && worker->prune_at <= now)
        prune(worker);
    if (there && worker->prune_at && worker->prune_at < next)
        next = worker->prune_at;
    if (wanted && worker->build_after < next)
        next = worker->build_after;
    return next < now + LOOK_AGAIN ? next : now + LOOK_AGAIN;
}

static void *run(void *baton)
{
    fs_worker_t *worker = baton;
    fs_result_t result;

    fs_result_clear(&result);
    if (fs_sql_create(&worker->sql, worker->shared.option_file, &result) != APR_SUCCESS) {
        worker->facts.image_problem = result; /* it was readable at the start: changed since */
        fs_log_result(FS_LOG_ERROR, &result);
        fs_worker_tell(worker);
    } else {
        fs_sql_set_read_timeout(worker->sql, LONG_STATEMENT_S);
        while (!atomic_load(&worker->stop)) {
            look_at_board(worker);
            fs_bell_wait(&worker->bell, work(worker));
        }
        fs_sql_destroy(worker->sql);
    }
    fs_published_drop(worker->current);
    fs_sql_thread_end();
    atomic_store(&worker->ended, 1);
    return NULL;
}

fs_worker_t *fs_worker_start(const fs_worker_shared_t *shared, const char *group)
{
    fs_worker_t *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return NULL;
    worker->shared = *shared;
    snprintf(worker->group, sizeof(worker->group), "%s", group);
    snprintf(worker->facts.name, sizeof(worker->facts.name), "%s", group);
    worker->epoch = -1;
    fs_bell_init(&worker->bell);
    if (pthread_create(&worker->thread, NULL, run, worker)) {
        fs_bell_destroy(&worker->bell);
        free(worker);
        return NULL;
    }
    return worker;
}

void fs_worker_wake(fs_worker_t *worker)
{
    fs_bell_ring(&worker->bell);
}

void fs_worker_stop(fs_worker_t *worker)
{
    atomic_store(&worker->stop, 1);
    fs_bell_ring(&worker->bell);
}

int fs_worker_ended(const fs_worker_t *worker)
{
    return atomic_load(&worker->ended);
}

void fs_worker_free(fs_worker_t *worker)
{
    pthread_join(worker->thread, NULL);
    fs_bell_destroy(&worker->bell);
    free(worker);
}
