/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/fs_log.h"
#include "net/fs_sql.h"
#include "sync/fs_cycle.h"
#include "sync/fs_source.h"

#define LOOK_AGAIN       (1 * FS_USEC_PER_SEC) /* nothing to do: see whether an image vanished */
#define RETRY_FIRST      (200 * FS_USEC_PER_MSEC)
#define RETRY_LAST       (5 * FS_USEC_PER_SEC) /* of a build that fails, a full disk say */
#define SAY_AGAIN        (60 * FS_USEC_PER_SEC)
#define PRUNE_SPREAD     (5 * FS_USEC_PER_SEC) /* after a change, so that data servers take turns */
#define PRUNE_PAUSE      (100 * FS_USEC_PER_MSEC)
#define PRUNE_RETRY      (60 * FS_USEC_PER_SEC)
#define LONG_STATEMENT_S 300 /* a promotion of millions of rows is one statement */

typedef struct said_t {
    fs_usec_t at; /* mono, 0: not said */
    char cause[FS_PROBLEM_SIZE];
} said_t;

struct fs_worker_t {
    fs_worker_shared_t shared;
    char group[FS_IMAGE_NAME_SIZE];
    pthread_t thread;
    fs_bell_t bell;
    atomic_int stop, ended;

    /* the thread's own */
    fs_sql_t *sql;
    fs_group_facts_t facts;
    fs_published_t *current;
    said_t promotion_said, image_said;
    uint64_t connects; /* of the database thread: another number means the database is back */
    int64_t epoch;     /* of `current` as last seen, to notice a change */
    int64_t pinned;    /* to which version, as last said; 0 none */
    double jitter;     /* of this cycle, 0..1 */
    unsigned promote_failures, build_failures;
    fs_usec_t promote_after; /* mono: not before, after a failure */
    fs_usec_t build_after;   /* mono: likewise */
    fs_usec_t decide_after;  /* mono: the next look at who is ready */
    fs_usec_t put_off_said;  /* mono, 0 not of the version that waits */
    fs_usec_t prune_at;      /* mono: next step, 0 none */
};

static double random_part(void)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint32_t)fs_time_mono();
    return random / (UINT32_MAX + 1.0);
}

static void tell(fs_worker_t *worker)
{
    fs_board_set_facts(worker->shared.board, &worker->facts);
}

/*
 * Records a difficulty in `place`. Logged when its cause is another than before, and once a minute,
 * so that a full disk is a line a minute and not one per try.
 */
static void has_problem(fs_worker_t *worker, fs_result_t *place, said_t *said, fs_log_level_t level,
                        const fs_result_t *cause)
{
    fs_usec_t now = fs_time_mono();

    if (!said->at || strcmp(said->cause, cause->problem) || said->at + SAY_AGAIN <= now) {
        fs_log_result(level, place);
        said->at = now;
        snprintf(said->cause, sizeof(said->cause), "%s", cause->problem);
    }
    tell(worker);
}

static void has_no_problem(fs_worker_t *worker, fs_result_t *place, said_t *said)
{
    if (!place->problem[0])
        return;
    fs_result_clear(place);
    said->at = 0;
    tell(worker);
}

/* --- images that are known
 * ------------------------------------------------------------------------
 */

static int store_has(void *baton, const fs_digest_t *digest)
{
    const fs_worker_t *worker = baton;

    return fs_store_has(worker->shared.store, digest);
}

static void store_made(void *baton, const fs_image_made_t *made)
{
    const fs_worker_t *worker = baton;

    fs_store_accept(worker->shared.store, made);
}

/* An image that wasn't here is counted before anybody can be sent it. */
static void store_built(void *baton, const fs_image_made_t *made)
{
    fs_worker_t *worker = baton;

    worker->facts.builds++;
    tell(worker);
    store_made(baton, made);
}

static fs_source_images_t known_images(fs_worker_t *worker)
{
    return (fs_source_images_t){worker, store_has, store_made};
}

/* --- promotion -----------------------------------------------------------------------------------
 */

/* Mono time at which to promote; INT64_MAX when it isn't this cycle's turn or farm time is unknown.
 */
static fs_usec_t promote_at(fs_worker_t *worker)
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
        worker->prune_at = fs_time_mono() + PRUNE_PAUSE;
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
    has_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said, FS_LOG_WARNING,
                cause);
}

static void promote(fs_worker_t *worker)
{
    fs_promotion_t outcome = FS_PROMOTION_LOST;
    const fs_manifest_t *manifest = worker->current->manifest;
    fs_source_images_t images = known_images(worker);
    fs_result_t result;
    fs_usec_t began = fs_time_mono();
    apr_status_t status;

    fs_result_clear(&result);
    worker->facts.promoting = 1;
    tell(worker);
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
        has_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    } else {
        not_promoted(worker, &result);
    }
    /* Also after success: the board shows the old epoch until the database was asked again. */
    worker->promote_after =
        fs_time_mono() + fs_cycle_retry(manifest, worker->promote_failures, random_part());
    worker->promote_failures++;
    tell(worker);
    fs_bell_ring(worker->shared.changed);
}

/* --- whether a version that waits may become active
 * -----------------------------------------------
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
        if (worker->put_off_said && worker->put_off_said + SAY_AGAIN > now)
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

static void decide(fs_worker_t *worker)
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
        has_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    } else {
        fs_result_set(&worker->facts.promotion_problem, result.status, "FS0875",
                      "group %s: could not be decided from here whether what is staged may become "
                      "active; others may do better: %s: %s",
                      worker->group, result.problem, result.detail);
        has_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said,
                    FS_LOG_WARNING, &result);
        pace = FS_USEC_PER_SEC;
    }
    worker->decide_after = fs_time_mono() + pace / 2 + (fs_usec_t)((double)pace * random_part());
}

/* Mono time of the next promotion or decision, INT64_MAX if it isn't known or not ours. */
static fs_usec_t act_at(fs_worker_t *worker, int *waiting)
{
    *waiting = worker->current && worker->current->manifest->state == FS_GROUP_WAITING;
    return *waiting ? worker->decide_after : promote_at(worker);
}

/* --- images --------------------------------------------------------------------------------------
 */

/* The first image that isn't here, of the version in force before the other; counts them all. */
static const fs_manifest_dataset_t *missing_image(fs_worker_t *worker, int64_t *version)
{
    const fs_manifest_version_t *versions[2];
    const fs_manifest_dataset_t *found = NULL;
    unsigned count, missing = 0;

    if (!worker->current)
        return NULL;
    count =
        fs_published_versions(worker->current, fs_board_farm_time(worker->shared.board), versions);
    for (unsigned v = 0; v < count; v++) {
        for (unsigned d = 0; d < versions[v]->dataset_count; d++) {
            if (fs_store_has(worker->shared.store, &versions[v]->datasets[d].digest))
                continue;
            missing++;
            if (!found) {
                found = &versions[v]->datasets[d];
                *version = versions[v]->version;
            }
        }
    }
    if (missing != worker->facts.images_missing) {
        worker->facts.images_missing = missing;
        tell(worker);
    }
    return found;
}

static apr_status_t build(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version,
                          fs_result_t *result)
{
    fs_source_images_t images = {worker, store_has, store_built};
    fs_image_made_t made;
    char expected[FS_DIGEST_HEX_SIZE], got[FS_DIGEST_HEX_SIZE];
    fs_usec_t began = fs_time_mono();
    apr_status_t status = fs_sql_connect(worker->sql, result);

    if (status == APR_SUCCESS)
        status = fs_source_build_known(worker->sql, worker->group, wanted->name, version,
                                       fs_store_dir(worker->shared.store), &images, &made, result);
    if (status != APR_SUCCESS)
        return status;
    worker->facts.build_took = fs_time_mono() - began;
    if (!fs_digest_equal(&made.digest, &wanted->digest))
        return fs_result_set(
            result, APR_EGENERAL, "FS0856",
            "the image built here is %s but version %lld has %s; is another release "
            "of farmsync at work, or were rows of farmsync.data_%s changed by hand?",
            fs_digest_hex(&made.digest, got), (long long)version,
            fs_digest_hex(&wanted->digest, expected), wanted->name);
    fs_log(
        FS_LOG_INFO, "FS0854",
        "group %s, dataset %s: built the image of version %lld (%llu rows, %llu bytes) in %lld ms",
        worker->group, wanted->name, (long long)version, (unsigned long long)made.rows,
        (unsigned long long)made.bytes, (long long)(worker->facts.build_took / FS_USEC_PER_MSEC));
    return APR_SUCCESS;
}

/* An image that an earlier process or this one's promotion left only needs to be verified. */
static apr_status_t bring(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version,
                          fs_result_t *result)
{
    apr_status_t status = fs_store_take(worker->shared.store, &wanted->digest, result);

    if (status == APR_SUCCESS) {
        worker->facts.images_verified++;
        return APR_SUCCESS;
    }
    if (status != APR_ENOENT)
        fs_log_result(FS_LOG_WARNING, result);
    fs_result_clear(result);
    return build(worker, wanted, version, result);
}

static void bring_image(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version)
{
    fs_result_t cause;
    fs_usec_t pause = RETRY_FIRST << (worker->build_failures < 5 ? worker->build_failures : 5);

    fs_result_clear(&cause);
    snprintf(worker->facts.building, sizeof(worker->facts.building), "%s", wanted->name);
    tell(worker);
    if (bring(worker, wanted, version, &cause) == APR_SUCCESS) {
        worker->shared.image_made(worker->shared.baton);
        worker->facts.building[0] = '\0';
        worker->build_failures = 0;
        tell(worker);
        return;
    }
    worker->facts.building[0] = '\0';
    worker->facts.build_failures++;
    worker->build_failures++;
    worker->build_after = fs_time_mono() + (pause < RETRY_LAST ? pause : RETRY_LAST);
    fs_result_set(&worker->facts.image_problem, cause.status, "FS0855",
                  "group %s, dataset %s, version %lld: cannot make its image here, agents get it "
                  "elsewhere; it is tried again: %s: %s",
                  worker->group, wanted->name, (long long)version, cause.problem, cause.detail);
    has_problem(worker, &worker->facts.image_problem, &worker->image_said, FS_LOG_ERROR, &cause);
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
        worker->prune_at = left > 0 ? fs_time_mono() + PRUNE_PAUSE : 0;
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
    worker->jitter = random_part();
    worker->promote_after = 0;
    worker->promote_failures = 0;
    has_no_problem(worker, &worker->facts.promotion_problem, &worker->promotion_said);
    if (!worker->prune_at)
        worker->prune_at = fs_time_mono() + (fs_usec_t)(PRUNE_SPREAD * random_part());
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

/* Does what is due and returns the mono time at which something is due again. */
static fs_usec_t work(fs_worker_t *worker)
{
    int there = database_is_there(worker), waiting = 0;
    fs_usec_t now = fs_time_mono(), next = there ? act_at(worker, &waiting) : INT64_MAX;
    const fs_manifest_dataset_t *wanted;
    int64_t version = 0;

    if (next <= now) {
        if (!waiting) {
            promote(worker);
            return worker->promote_after;
        }
        decide(worker);
        next = worker->decide_after;
    }
    wanted = missing_image(worker, &version);
    if (!wanted)
        has_no_problem(worker, &worker->facts.image_problem, &worker->image_said);
    if (wanted && worker->build_after <= now) {
        bring_image(worker, wanted, version);
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
        tell(worker);
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

const char *fs_worker_group(const fs_worker_t *worker)
{
    return worker->group;
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
