/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one group on this host, and what is published of it. group->lock is held in all of
 * these, except while the agent starts.
 */
#include "agent.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/fs_cycle.h"

/* The difficulty that children should know of: the one that hurts most first. */
static const fs_result_t *worst(const fs_agent_group_t *group)
{
    const fs_trouble_t *const order[] = {&group->fetching, &group->refusing, &group->hearing,
                                         &group->promoting};

    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (order[i]->now.problem[0])
            return &order[i]->now;
    return NULL;
}

static void note_worst(fs_agent_group_t *group, fs_control_group_t *record)
{
    const fs_result_t *problem = worst(group);

    memset(record->problem, 0, sizeof(record->problem));
    memset(record->detail, 0, sizeof(record->detail));
    if (!problem)
        return;
    memcpy(record->problem, problem->problem, sizeof(record->problem));
    fs_text_fit(record->detail, sizeof(record->detail), problem->detail,
                strnlen(problem->detail, sizeof(problem->detail)));
}

static void write_record(fs_agent_group_t *group, const fs_control_group_t *record)
{
    fs_result_t result;

    pthread_mutex_lock(&group->agent->page_lock);
    if (fs_control_set_group(group->agent->control, record, &result))
        fs_log_result(FS_LOG_ERROR, &result);
    pthread_mutex_unlock(&group->agent->page_lock);
    group->record = *record;
}

int64_t fs_group_floor(const fs_agent_group_t *group)
{
    fs_control_t *control = group->agent->control;
    fs_control_group_t record;
    fs_marks_group_t *marks;
    int index = fs_control_group(control, group->name, &record);

    marks = index >= 0 ? fs_control_marks(control, (unsigned)index) : NULL;
    return marks ? atomic_load(&marks->floor) : 0;
}

void fs_group_publish(fs_agent_group_t *group)
{
    fs_plan_moment_t moment = {.heard = group->heard, .floor = fs_group_floor(group)};
    fs_control_group_t record;
    fs_usec_t heard;

    if (!group->manifest)
        return;
    heard = group->manifest->state == FS_GROUP_WAITING ? group->confirmed : group->heard;
    moment.farm_known = fs_agent_farm(group->agent, &moment.farm, NULL, NULL);
    if (heard && moment.farm_known)
        moment.stale_after =
            fs_cycle_stale_after(group->manifest, moment.farm - (fs_time_mono() - heard));
    else
        moment.stale_after = fs_cycle_stale_after(group->manifest, 0);
    fs_plan_compose(&record, &group->record, group->manifest, &group->views, &moment);
    note_worst(group, &record);
    write_record(group, &record);
}

void fs_group_tell_troubles(fs_agent_group_t *group)
{
    fs_control_group_t record = group->record;

    if (!record.name[0])
        memcpy(record.name, group->name, strlen(group->name));
    note_worst(group, &record);
    if (strcmp(record.problem, group->record.problem) != 0 ||
        strcmp(record.detail, group->record.detail) != 0)
        write_record(group, &record);
}

void fs_group_confirm(fs_agent_group_t *group, fs_usec_t asked)
{
    group->heard = fs_time_mono();
    if (asked > group->confirmed)
        group->confirmed = asked;
    fs_group_publish(group);
}

/* --- taking a manifest ------------------------------------------------------------------------ */

/* For how long nobody has said more than an older epoch. */
static fs_usec_t lag(fs_agent_group_t *group)
{
    fs_usec_t now = fs_time_mono();

    if (!group->older_since)
        group->older_since = now;
    return now - group->older_since;
}

static void refuse(fs_agent_group_t *group, const fs_manifest_t *manifest, const char *peer,
                   fs_take_t take)
{
    char path[PATH_MAX];
    fs_result_t result;

    if (take == FS_TAKE_OLDER && lag(group) < FS_PLAN_LAG)
        return;
    fs_saved_accept_path(group->agent, group->name, path, sizeof(path));
    switch (take) {
    case FS_TAKE_FOREIGN:
        fs_result_set(&result, APR_EMISMATCH, "FS0560",
                      "group %s: %s answered for group %.64s; nothing was changed. Check what "
                      "listens there",
                      group->name, peer, manifest->group);
        break;
    case FS_TAKE_MALFORMED:
        fs_result_set(&result, APR_EINVAL, "FS0561",
                      "group %s: %s says version %" PRId64 " after %" PRId64 ", interval %" PRId64
                      " us; nothing was changed. Check farmsync.sync",
                      group->name, peer, manifest->staged.version, manifest->active.version,
                      manifest->interval);
        break;
    default:
        /* The remedy first: the children's copy of this is cut at 255 bytes. */
        fs_result_set(&result, APR_EGENERAL, "FS0562",
                      "group %s: epoch %" PRId64 " stays, %s is refused; create %s if the database "
                      "was put back on purpose. Published: version %" PRId64 ", staged %" PRId64
                      "; %s says epoch %" PRId64 " with version %" PRId64 ", staged %" PRId64 "%s",
                      group->name, group->known.epoch,
                      take == FS_TAKE_OLDER       ? "an older one"
                      : take == FS_TAKE_BACKWARDS ? "an older version"
                                                  : "other content",
                      path, group->known.active_version, group->known.staged_version, peer,
                      manifest->epoch, manifest->active.version, manifest->staged.version,
                      take == FS_TAKE_CHANGED ? " of other content" : "");
    }
    fs_agent_trouble(&group->refusing, FS_LOG_ERROR, &result, NULL, "%s", "");
    fs_group_tell_troubles(group);
}

/* Takes over `manifest` as the group's. */
static void adopt(fs_agent_group_t *group, fs_manifest_t *manifest, fs_usec_t asked)
{
    fs_manifest_free(group->manifest);
    group->manifest = manifest;
    group->serial++;
    fs_known_from_manifest(&group->known, manifest);
    if (asked) {
        group->heard = fs_time_mono();
        group->confirmed = asked;
    }
    fs_group_publish(group);
    fs_plan_retire(&group->views, manifest, &group->record, fs_time_mono());
    pthread_cond_broadcast(&group->changed);
    fs_report_soon(group->agent);
}

static void log_pin(const fs_agent_group_t *group, const fs_manifest_t *manifest)
{
    int64_t before = group->manifest ? group->manifest->pinned_version : 0;

    if (manifest->pinned_version == before)
        return;
    if (manifest->pinned_version)
        fs_log(FS_LOG_NOTICE, "FS0641", "group %s: nothing newer comes: %s", group->name,
               manifest->reason);
    else
        fs_log(FS_LOG_NOTICE, "FS0642", "group %s is pinned no longer", group->name);
}

static void log_taken(const fs_agent_group_t *group, const fs_manifest_t *manifest,
                      const char *peer)
{
    char when[FS_TIME_TEXT_SIZE];

    if (manifest->state == FS_GROUP_WAITING)
        fs_log(FS_LOG_INFO, "FS0615",
               "group %s: version %" PRId64 " is active, %" PRId64 " waits for servers to be ready "
               "and is planned for %s (epoch %" PRId64 ", from %s)",
               group->name, manifest->active.version, manifest->staged.version,
               fs_time_format(manifest->activation_time, when), manifest->epoch, peer);
    else
        fs_log(FS_LOG_INFO, "FS0563",
               "group %s: version %" PRId64 " is active, %" PRId64 " is due at %s (epoch %" PRId64
               ", from %s)",
               group->name, manifest->active.version, manifest->staged.version,
               fs_time_format(manifest->activation_time, when), manifest->epoch, peer);
    if (manifest->state == FS_GROUP_FAILED && strcmp(manifest->reason, "") != 0 &&
        (!group->manifest || strcmp(group->manifest->reason, manifest->reason) != 0))
        fs_log(FS_LOG_WARNING, "FS0564",
               "group %s: the last promotion was refused: %s; the farm stays on version %" PRId64,
               group->name, manifest->reason, manifest->staged.version);
}

fs_take_t fs_group_take(fs_agent_group_t *group, fs_manifest_t *manifest, const char *peer,
                        fs_usec_t asked)
{
    fs_usec_t farm, bound;
    int measured;
    fs_take_t take;

    (void)fs_agent_farm(group->agent, &farm, &bound, &measured);
    take =
        fs_plan_take(&group->known, manifest, group->name, measured ? farm - bound : 0, measured);
    if ((take == FS_TAKE_OLDER || take == FS_TAKE_CHANGED || take == FS_TAKE_BACKWARDS) &&
        fs_saved_accept(group->agent, group->name)) {
        fs_log(FS_LOG_WARNING, "FS0565",
               "group %s: as allowed by the operator, epoch %" PRId64 " with version %" PRId64
               " replaces epoch %" PRId64 " with version %" PRId64,
               group->name, manifest->epoch, manifest->active.version, group->known.epoch,
               group->known.active_version);
        take = FS_TAKE_NEW;
    }
    if (take == FS_TAKE_NEW || take == FS_TAKE_SAME) {
        group->older_since = 0;
        fs_agent_trouble(&group->refusing, FS_LOG_NOTICE, NULL, "FS0566",
                         "group %s: what %s says can be taken again", group->name, peer);
    }
    /* The same as known, but only from the page: the manifest itself was lost. */
    if (take == FS_TAKE_SAME && !group->manifest)
        take = FS_TAKE_NEW;
    if (take == FS_TAKE_NEW) {
        log_taken(group, manifest, peer);
        log_pin(group, manifest);
        adopt(group, manifest, asked);
        return take;
    }
    if (take == FS_TAKE_OLDER && lag(group) < FS_PLAN_LAG_BRIEF)
        take = FS_TAKE_LAGS;
    else if (take == FS_TAKE_SAME)
        fs_group_confirm(group, asked);
    else
        refuse(group, manifest, peer, take);
    fs_manifest_free(manifest);
    return take;
}

/* --- starting --------------------------------------------------------------------------------- */

/* A version as a view file names it, for its digest. `datasets` has room for all of them. */
static void version_of_view(fs_manifest_version_t *version, fs_manifest_dataset_t *datasets,
                            const fs_view_info_t *view)
{
    version->version = view->version;
    version->dataset_count = view->dataset_count;
    version->datasets = datasets;
    for (unsigned i = 0; i < view->dataset_count; i++) {
        memset(&datasets[i], 0, sizeof(datasets[i]));
        memcpy(datasets[i].name, view->datasets[i].name, sizeof(datasets[i].name));
        datasets[i].digest = view->datasets[i].digest;
    }
}

static int is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* Whether no image of a view was touched since the view was written, after they had been verified.
 */
static int is_sealed(const fs_agent_t *agent, const fs_view_info_t *view)
{
    char path[PATH_MAX];
    struct stat view_file, image;

    snprintf(path, sizeof(path), "%s/views/%" PRIu64, agent->config.state_dir, view->id);
    if (stat(path, &view_file))
        return 0;
    for (unsigned i = 0; i < view->dataset_count; i++)
        if (fs_images_path(path, sizeof(path), agent->image_dir, &view->datasets[i].digest) ||
            stat(path, &image) || is_later(&image.st_mtim, &view_file.st_mtim))
            return 0;
    return 1;
}

/* Goes on with a view that the page publishes. Returns its id, 0 if it can't be trusted unread. */
static uint64_t keep_view(fs_agent_group_t *group, uint64_t id, int64_t version,
                          fs_usec_t published)
{
    fs_manifest_dataset_t datasets[FS_CONTROL_DATASETS];
    fs_plan_view_t known = {.id = id, .version = version, .published = published};
    fs_manifest_version_t content;
    fs_view_info_t *view;
    fs_result_t result;
    int good;

    if (!id || group->agent->cold)
        return 0;
    if (fs_view_read(group->agent->config.state_dir, id, &view, &result)) {
        fs_log_result(FS_LOG_WARNING, &result);
        return 0;
    }
    good = view->version == version && !strcmp(view->group, group->name) &&
           is_sealed(group->agent, view);
    if (good) {
        version_of_view(&content, datasets, view);
        fs_manifest_version_digest(&content, known.digest);
        fs_plan_view_add(&group->views, &known);
    }
    fs_view_free(view);
    return good ? id : 0;
}

/* What an earlier agent published: goes on as it is if it is of this boot and untouched. */
static void load_record(fs_agent_group_t *group)
{
    fs_control_group_t record;

    if (fs_control_group(group->agent->control, group->name, &record) < 0)
        return;
    group->record = record;
    if (record.epoch > 0) /* else there is only a difficulty in it */
        fs_known_from_record(&group->known, &record);
    record.active_view = keep_view(group, record.active_view, record.active_version, 0);
    record.staged_view =
        record.staged_version == record.active_version
            ? record.active_view
            : keep_view(group, record.staged_view, record.staged_version, record.retrieved);
    if (record.active_view != group->record.active_view ||
        record.staged_view != group->record.staged_view)
        write_record(group, &record);
}

static void say_age(const fs_agent_group_t *group, fs_usec_t confirmed_wall)
{
    char when[FS_TIME_TEXT_SIZE];

    fs_log(FS_LOG_NOTICE, "FS0567",
           "group %s: starts from what this host has: version %" PRId64 ", staged %" PRId64
           ", last confirmed %s, %" PRId64 " s ago by this host's clock",
           group->name, group->manifest->active.version, group->manifest->staged.version,
           fs_time_format(confirmed_wall, when),
           (fs_time_wall() - confirmed_wall) / FS_USEC_PER_SEC);
}

/* The manifest that was kept, if it is this group's and not older than what the page says. */
static void load_manifest(fs_agent_group_t *group)
{
    fs_usec_t confirmed_wall;
    fs_manifest_t *kept;
    fs_result_t result;
    apr_status_t status =
        fs_saved_manifest_read(group->agent, group->name, &kept, &confirmed_wall, &result);

    if (!status && strcmp(kept->group, group->name) != 0) {
        fs_manifest_free(kept);
        status = fs_result_set(&result, APR_EMISMATCH, "FS0568",
                               "group %s: what was kept of its manifest is another group's; it is "
                               "asked for anew",
                               group->name);
    }
    if (status) {
        if (!APR_STATUS_IS_ENOENT(status))
            fs_log_result(FS_LOG_WARNING, &result);
        return;
    }
    /* The page is written first. What it says goes on for the children until somebody tells more.
     */
    if (kept->epoch < group->known.epoch) {
        fs_manifest_free(kept);
        return;
    }
    group->manifest = kept;
    fs_known_from_manifest(&group->known, kept);
    group->heard = group->record.heard;
    if (!group->heard && confirmed_wall)
        group->heard = fs_time_mono() - (fs_time_wall() - confirmed_wall);
    say_age(group, confirmed_wall);
    fs_group_publish(group);
}

void fs_group_load(fs_agent_group_t *group)
{
    fs_known_nothing(&group->known);
    load_record(group);
    load_manifest(group);
}
