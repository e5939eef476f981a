/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings the images of one group: of the version in force at once, then of the staged one, a little
 * spread over the farm. A version is published when all of its images are here and verified, never
 * a part of it.
 *
 * At the start, what is on disk is looked at first: nothing is asked of anybody while the network
 * is away. Views that go on from an earlier agent are read through once, too, behind the children's
 * backs; should one be damaged, it is withdrawn and fetched anew.
 */
#include "agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_transport.h"

#define RETRY_FIRST (100 * FS_USEC_PER_MSEC)
#define RETRY_LAST  (10 * FS_USEC_PER_SEC)
#define IDLE        FS_USEC_PER_SEC
#define LOOK_PERIOD (5 * FS_USEC_PER_SEC)

typedef struct fetch_t {
    fs_agent_group_t *group;
    fs_agent_t *agent;
    fs_retrieve_t *retrieve;
    fs_sql_t *sql;
    uint64_t serial; /* for which the following hold */
    int64_t failed;  /* version that could not be had, 0 none */
    int both_failed; /* ... nor could the other */
    unsigned failures;
    fs_usec_t retry_at;                /* mono */
    fs_usec_t looked;                  /* mono, when what is published was last looked at */
    int64_t spread;                    /* version whose retrieval was put off already */
    int64_t busy;                      /* version for which data servers said to come again */
    fs_usec_t busy_at;                 /* mono, when they first did */
    int impatient;                     /* that is enough: they count as failed */
    fs_log_gate_t replaced, withdrawn; /* FS0591, FS0593 */
} fetch_t;

/* A version to be fetched, as of one moment. */
typedef struct work_t {
    fs_manifest_version_t version; /* its own copy */
    char digest[FS_DIGEST_HEX_SIZE];
    int in_force;
} work_t;

static void work_clear(work_t *work)
{
    free(work->version.datasets);
    memset(work, 0, sizeof(*work));
}

static int work_set(work_t *work, const fs_manifest_version_t *version)
{
    size_t bytes = version->dataset_count * sizeof(*version->datasets);

    memset(work, 0, sizeof(*work));
    work->version = *version;
    work->version.datasets = malloc(bytes ? bytes : 1);
    if (!work->version.datasets)
        return 0;
    if (bytes)
        memcpy(work->version.datasets, version->datasets, bytes);
    fs_manifest_version_digest(version, work->digest);
    return 1;
}

/* group->lock is held. Whether the manifest still names this version with this content. */
static int is_named(const fs_agent_group_t *group, const work_t *work)
{
    const fs_manifest_t *manifest = group->manifest;
    const fs_manifest_version_t *both[2] = {&manifest->active, &manifest->staged};
    char digest[FS_DIGEST_HEX_SIZE];

    for (unsigned i = 0; i < 2; i++) {
        if (both[i]->version != work->version.version)
            continue;
        fs_manifest_version_digest(both[i], digest);
        if (!strcmp(digest, work->digest))
            return 1;
    }
    return 0;
}

/* --- publishing ------------------------------------------------------------------------------- */

static apr_status_t write_view(fetch_t *f, const work_t *work, uint64_t *id, fs_result_t *result)
{
    fs_view_dataset_t datasets[FS_MANIFEST_MAX_DATASETS];
    fs_view_info_t view = {.version = work->version.version,
                           .dataset_count = work->version.dataset_count,
                           .datasets = datasets};
    apr_status_t status;

    snprintf(view.group, sizeof(view.group), "%s", f->group->name);
    for (unsigned i = 0; i < view.dataset_count; i++) {
        memcpy(datasets[i].name, work->version.datasets[i].name, sizeof(datasets[i].name));
        datasets[i].digest = work->version.datasets[i].digest;
    }
    pthread_mutex_lock(&f->agent->page_lock);
    status = fs_view_write(f->agent->control, &view, id, result);
    pthread_mutex_unlock(&f->agent->page_lock);
    return status;
}

/*
 * All images are here: publishes the version, if it is still one of the group's. The lock is held
 * so that the images aren't cleaned away between the question and the answer.
 */
static apr_status_t publish(fetch_t *f, const work_t *work, fs_result_t *result)
{
    fs_agent_group_t *group = f->group;
    fs_plan_view_t view = {.version = work->version.version};
    apr_status_t status = APR_SUCCESS;

    pthread_mutex_lock(&group->lock);
    if (is_named(group, work) && !fs_plan_view_of(&group->views, &work->version)) {
        status = write_view(f, work, &view.id, result);
        if (!status) {
            (void)fs_agent_farm(f->agent, &view.published, NULL, NULL);
            memcpy(view.digest, work->digest, sizeof(view.digest));
            fs_plan_view_add(&group->views, &view);
            fs_group_publish(group);
        }
    }
    pthread_mutex_unlock(&group->lock);
    return status;
}

/* --- retrieving ------------------------------------------------------------------------------- */

/* The data servers, beginning with the one that is followed. */
static unsigned order_servers(fs_agent_t *agent, const char *servers[FS_SERVERS_MAX])
{
    unsigned count = agent->config.server_count;
    int first = fs_agent_server(agent);

    for (unsigned i = 0; i < count; i++)
        servers[i] = agent->config.servers[((first > 0 ? (unsigned)first : 0) + i) % count];
    return count;
}

/*
 * The database builds only if no data server can be had, or when one could not help: a hundred
 * agents must not all build what a busy data server will have in a moment.
 */
static int may_build(fetch_t *f)
{
    fs_result_t result;

    if (!f->agent->config.database ||
        (fs_agent_server(f->agent) >= 0 && !f->failures && !f->impatient))
        return 0;
    if (!f->sql && fs_sql_create(&f->sql, f->agent->config.database, &result)) {
        fs_log_result(FS_LOG_WARNING, &result);
        f->sql = NULL;
    }
    return f->sql != NULL;
}

static void log_fetched(fetch_t *f, const work_t *work, const fs_retrieve_count_t *count,
                        fs_usec_t took)
{
    const char *note = count->rejected ? fs_log_gate(&f->replaced, fs_time_mono()) : NULL;

    fs_log(FS_LOG_INFO, "FS0590",
           "group %s: version %" PRId64 " is here: %" PRIu64 " images at hand, %" PRIu64
           " transferred, %" PRIu64 " of them as deltas (%" PRIu64 " bytes in all), %" PRIu64
           " built from SQL, %lld ms",
           f->group->name, work->version.version, count->present, count->transferred, count->deltas,
           count->bytes, count->built, (long long)(took / FS_USEC_PER_MSEC));
    if (note)
        fs_log(FS_LOG_WARNING, "FS0591",
               "group %s: %" PRIu64 " images of version %" PRId64
               " were damaged and have been replaced; check the disk and what lies between%s",
               f->group->name, count->rejected, work->version.version, note);
}

/* How long until the version should be in force; 0 if it is, or farm time isn't known. */
static fs_usec_t time_left(fetch_t *f, const work_t *work)
{
    fs_usec_t farm, left = 0;

    if (work->in_force || !fs_agent_farm(f->agent, &farm, NULL, NULL))
        return 0;
    pthread_mutex_lock(&f->group->lock);
    left = f->group->manifest->activation_time - farm;
    pthread_mutex_unlock(&f->group->lock);
    return left > 0 ? left : 0;
}

/* Data servers have it in a moment: that is no failure of theirs. */
static void note_busy(fetch_t *f, const work_t *work, unsigned wait)
{
    fs_usec_t now = fs_time_mono(), left = time_left(f, work);

    if (f->busy != work->version.version) {
        f->busy = work->version.version;
        f->busy_at = now;
    }
    f->impatient = !fs_plan_is_patient(now - f->busy_at, left, fs_agent_chance());
    f->both_failed = f->failed && f->failed != work->version.version;
    f->failed = work->version.version;
    f->retry_at = now + fs_plan_come_again(wait, left, fs_agent_chance());
}

static apr_status_t bring(fetch_t *f, const work_t *work, fs_result_t *result)
{
    fs_transport_t transport = {.http = f->group->fetch_http, .stop = &f->agent->stop};
    const char *servers[FS_SERVERS_MAX];
    unsigned server_count = order_servers(f->agent, servers);
    fs_retrieve_count_t count = {0};
    fs_retrieve_means_t means;
    fs_usec_t begun = fs_time_mono();
    apr_status_t status;

    if (may_build(f)) {
        transport.sql = f->sql;
        if (fs_agent_server(f->agent) <
            0) /* none answers; a hung one would only cost its time limit */
            server_count = 0;
    }
    fs_transport_means(&transport, &means);
    means.impatient = f->impatient;
    status = fs_retrieve_version(f->retrieve, &means, servers, server_count, f->group->name,
                                 &work->version, &count, result);
    if (f->sql)
        fs_sql_disconnect(f->sql);
    if (!status)
        status = publish(f, work, result);
    if (!status)
        log_fetched(f, work, &count, fs_time_mono() - begun);
    if (APR_STATUS_IS_EBUSY(status) && count.wait) {
        fs_log(FS_LOG_DEBUG, "FS0614", "group %s: %s", f->group->name, result->detail);
        note_busy(f, work, count.wait);
    }
    return status;
}

static void note_success(fetch_t *f, const work_t *work)
{
    f->failures = 0;
    f->failed = 0;
    f->both_failed = 0;
    f->retry_at = 0;
    f->busy = 0;
    f->impatient = 0;
    pthread_mutex_lock(&f->group->lock);
    fs_agent_trouble(&f->group->fetching, FS_LOG_ERROR, NULL, "FS0592",
                     "group %s: version %" PRId64 " is here now", f->group->name,
                     work->version.version);
    fs_group_tell_troubles(f->group);
    pthread_mutex_unlock(&f->group->lock);
    fs_report_soon(f->agent);
}

static void note_failure(fetch_t *f, const work_t *work, const fs_result_t *result)
{
    if (fs_agent_stopping(f->agent))
        return;
    f->failures++;
    f->both_failed = f->failed && f->failed != work->version.version;
    f->failed = work->version.version;
    f->retry_at =
        fs_time_mono() + fs_plan_backoff(f->failures, RETRY_FIRST, RETRY_LAST, fs_agent_chance());
    /* The first try asks only data servers; what matters is whether the next one helps. */
    if (f->failures == 1 && f->agent->config.database)
        return;
    pthread_mutex_lock(&f->group->lock);
    fs_agent_trouble(&f->group->fetching, FS_LOG_ERROR, result, NULL, "%s", "");
    fs_group_tell_troubles(f->group);
    pthread_mutex_unlock(&f->group->lock);
    if (APR_STATUS_IS_ENOSPC(result->status))
        fs_agent_clean(f->agent, 1);
    fs_report_soon(f->agent);
}

/* --- what next -------------------------------------------------------------------------------- */

/* group->lock is held. How long to put off the staged version; once for each. */
static fs_usec_t herd_delay(fetch_t *f, const fs_manifest_version_t *wanted, fs_usec_t farm,
                            int farm_known, int in_force)
{
    if (in_force || !farm_known || f->spread == wanted->version ||
        f->agent->config.server_count == 0)
        return 0;
    f->spread = wanted->version;
    return fs_plan_herd_delay(f->group->manifest->activation_time - farm, fs_agent_chance());
}

/*
 * group->lock is held. Fills `work` with what is to be fetched now and returns 0, or returns how
 * long to wait until there may be something.
 */
static fs_usec_t next_work(fetch_t *f, work_t *work)
{
    fs_agent_group_t *group = f->group;
    const fs_manifest_version_t *wanted;
    fs_usec_t farm, now = fs_time_mono(), delay;
    int known = fs_agent_farm(f->agent, &farm, NULL, NULL), in_force;

    if (!group->manifest)
        return IDLE;
    if (f->serial != group->serial) {
        f->serial = group->serial;
        f->failures = 0;
        f->retry_at = 0;
        f->busy = 0;
        f->impatient = 0;
    }
    if (now >= f->retry_at)
        f->failed = f->both_failed = 0;
    if (f->both_failed)
        return f->retry_at - now + 1;
    wanted = fs_plan_wanted(group->manifest, &group->views, farm, known, f->failed);
    if (!wanted)
        return f->failed ? f->retry_at - now + 1 : IDLE;
    in_force = wanted == fs_plan_in_force(group->manifest, farm, known);
    delay = herd_delay(f, wanted, farm, known, in_force);
    if (delay > 0)
        return delay;
    if (!work_set(work, wanted))
        return IDLE;
    work->in_force = in_force;
    return 0;
}

static void fetch_next(fetch_t *f)
{
    work_t work = {0};
    fs_result_t result;
    fs_usec_t wait;

    fs_result_clear(&result);
    pthread_mutex_lock(&f->group->lock);
    wait = next_work(f, &work);
    if (wait && !fs_agent_stopping(f->agent))
        fs_agent_cond_wait(&f->group->changed, &f->group->lock, wait);
    pthread_mutex_unlock(&f->group->lock);
    if (wait)
        return;
    if (!bring(f, &work, &result))
        note_success(f, &work);
    else if (strcmp(result.problem, "FS0384") != 0) /* that is no failure: noted already */
        note_failure(f, &work, &result);
    work_clear(&work);
}

/* --- what is published already ---------------------------------------------------------------- */

/* Reads a version that is published; withdraws it if it is damaged. */
static void read_through(fetch_t *f, const work_t *work)
{
    fs_result_t result;
    const char *note;
    uint64_t id;

    if (fs_retrieve_have(f->retrieve, f->group->name, &work->version, &result))
        return;
    pthread_mutex_lock(&f->group->lock);
    note = fs_log_gate(&f->withdrawn, fs_time_mono());
    if (note)
        fs_log(FS_LOG_ERROR, "FS0593",
               "group %s: version %" PRId64 " is withdrawn and fetched anew: %s%s", f->group->name,
               work->version.version, result.detail, note);
    id = fs_plan_view_of(&f->group->views, &work->version);
    fs_plan_view_drop(&f->group->views, id);
    fs_group_publish(f->group);
    pthread_mutex_unlock(&f->group->lock);
}

/* Costs a stat of each image, but for those that this process hasn't read yet. */
static void read_published(fetch_t *f)
{
    work_t work[2];
    unsigned count = 0;
    fs_agent_group_t *group = f->group;

    pthread_mutex_lock(&group->lock);
    if (group->manifest) {
        if (fs_plan_view_of(&group->views, &group->manifest->active))
            count += (unsigned)work_set(&work[count], &group->manifest->active);
        if (group->manifest->staged.version != group->manifest->active.version &&
            fs_plan_view_of(&group->views, &group->manifest->staged))
            count += (unsigned)work_set(&work[count], &group->manifest->staged);
    }
    pthread_mutex_unlock(&group->lock);
    for (unsigned i = 0; i < count; i++) {
        if (!fs_agent_stopping(f->agent))
            read_through(f, &work[i]);
        work_clear(&work[i]);
    }
}

void *fs_fetch_run(void *baton)
{
    fetch_t f = {.group = baton};
    fs_result_t result;

    f.agent = f.group->agent;
    while (!fs_agent_stopping(f.agent) &&
           fs_retrieve_create(&f.retrieve, f.agent->image_dir, &result)) {
        fs_log_result(FS_LOG_ERROR, &result);
        fs_agent_sleep(f.agent, RETRY_LAST);
    }
    while (!fs_agent_stopping(f.agent)) {
        fs_usec_t now = fs_time_mono();

        if (!f.looked || now - f.looked > LOOK_PERIOD) {
            f.looked = now;
            read_published(&f);
        }
        fetch_next(&f);
    }
    if (f.retrieve)
        fs_retrieve_destroy(f.retrieve);
    if (f.sql)
        fs_sql_destroy(f.sql);
    fs_sql_thread_end();
    return NULL;
}
