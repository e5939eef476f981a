/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the farm what this server has: each second, and at once when it changed. Through a datasrv,
 * which writes the rows of many servers with one statement; into the database while none answers.
 * Beside that this thread, which waits most of the time, cleans up and says when this server is
 * behind.
 */
#include "agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "listen.h"
#include "sync/fs_source.h"

#define PERIOD       FS_USEC_PER_SEC
#define TIMEOUT_MS   1000
#define ANSWER_LIMIT 65536
#define SETTLING     FS_USEC_PER_SEC /* after the start, when nothing may be here yet */
#define CLEAN_PERIOD (10 * FS_USEC_PER_SEC)
/* Without a database a data server that is tried again takes one report: that is not the end of it.
 */
#define GOOD 3

typedef struct report_t {
    fs_agent_t *agent;
    fs_trouble_t trouble;
    unsigned good; /* reports in a row that arrived */
    fs_usec_t cleaned;
} report_t;

void fs_report_soon(fs_agent_t *agent)
{
    pthread_mutex_lock(&agent->report_lock);
    agent->report_wanted = 1;
    pthread_cond_signal(&agent->report_due);
    pthread_mutex_unlock(&agent->report_lock);
}

/* --- what to tell ----------------------------------------------------------------------------- */

/* group->lock is held. What a child would serve now. */
static fs_choice_t serves(const fs_agent_group_t *group)
{
    fs_usec_t farm;
    int known = fs_agent_farm(group->agent, &farm, NULL, NULL);

    return fs_control_choose(&group->record, farm, known, fs_group_floor(group));
}

static void describe_one(char *text, size_t size, const fs_result_t *problem)
{
    snprintf(text, size, "%s: %s", problem->problem, problem->detail);
}

/* group->lock is held. The group's own difficulty, else that it is behind, else that of the clock.
 */
static void describe_problem(fs_agent_group_t *group, fs_member_t *member)
{
    fs_agent_t *agent = group->agent;
    char text[FS_DETAIL_SIZE + 16] = "";

    pthread_mutex_lock(&agent->timing_lock);
    if (group->record.problem[0])
        snprintf(text, sizeof(text), "%s: %s", group->record.problem, group->record.detail);
    else if (group->serving.now.problem[0])
        describe_one(text, sizeof(text), &group->serving.now);
    else if (agent->timing.now.problem[0])
        describe_one(text, sizeof(text), &agent->timing.now);
    pthread_mutex_unlock(&agent->timing_lock);
    fs_text_fit(member->problem, sizeof(member->problem), text, strlen(text));
}

/* group->lock is held. */
static void describe_versions(const fs_agent_group_t *group, const fs_choice_t *choice,
                              fs_member_t *member)
{
    member->version_active = choice->version;
    if (group->record.staged_view)
        member->version_staged = group->record.staged_version;
    for (unsigned i = 0; i < group->views.count; i++) {
        const fs_plan_view_t *view = &group->views.views[i];

        if (choice->view && view->id == choice->view)
            memcpy(member->digest, view->digest, sizeof(member->digest));
        if (group->record.staged_view && view->id == group->record.staged_view)
            memcpy(member->digest_staged, view->digest, sizeof(member->digest_staged));
    }
}

static void describe_clock(const fs_agent_t *agent, fs_member_t *member)
{
    fs_control_clock_t clock;
    fs_usec_t farm, bound;
    int measured;

    member->clock_bound = -1;
    if (!fs_agent_farm(agent, &farm, &bound, &measured))
        return;
    member->clock_offset = farm - fs_time_wall();
    if (measured)
        member->clock_bound = bound;
    if (fs_control_clock(agent->control, &clock))
        memcpy(member->clock_source, clock.source, sizeof(member->clock_source));
}

/* group->lock is held. Why there is nothing to serve. */
static const char *why_nothing(const fs_agent_group_t *group)
{
    if (group->record.problem[0])
        return group->record.detail;
    if (!group->manifest)
        return "nobody has said yet what there is";
    if (group->manifest->staged.version <= 0)
        return "nothing has been promoted yet; add a dataset with CALL farmsync.add_dataset";
    return "its images are on the way";
}

/* group->lock is held. The version that is in force as far as is known, 0 if nothing is. */
static int64_t in_force(const fs_agent_group_t *group)
{
    fs_usec_t farm;
    int known = fs_agent_farm(group->agent, &farm, NULL, NULL);

    return group->manifest ? fs_plan_in_force(group->manifest, farm, known)->version : 0;
}

/* group->lock is held. Fills in what is wrong with what is served; 0 if nothing is. */
static int judge_serving(const fs_agent_group_t *group, const fs_choice_t *choice,
                         fs_result_t *result)
{
    char when[FS_TIME_TEXT_SIZE];
    int64_t wanted = in_force(group);

    if (!choice->view)
        fs_result_set(result, APR_ENOENT, "FS0601", "group %s: there is no data to serve: %s",
                      group->name, why_nothing(group));
    else if (!choice->stale)
        return 0;
    else if (choice->version < wanted)
        fs_result_set(
            result, APR_EGENERAL, "FS0602",
            "group %s: version %" PRId64 " is served although %" PRId64 " is in force: %s",
            group->name, choice->version, wanted,
            group->record.problem[0] ? group->record.detail : "its images are on the way");
    else
        fs_result_set(result, APR_EGENERAL, "FS0603",
                      "group %s: version %" PRId64 " is served; a newer one may be in force since "
                      "%s without this server having heard of it",
                      group->name, choice->version,
                      fs_time_format(group->record.stale_after, when));
    return 1;
}

/* group->lock is held. Says in the log when what is in force is not here. */
static void watch_serving(fs_agent_group_t *group, const fs_choice_t *choice)
{
    fs_result_t result;

    if (!judge_serving(group, choice, &result))
        fs_agent_trouble(&group->serving, FS_LOG_WARNING, NULL, "FS0600",
                         "group %s: version %" PRId64 " is served, as it should be", group->name,
                         choice->version);
    else if (fs_time_mono() - group->agent->started > SETTLING)
        fs_agent_trouble(&group->serving, FS_LOG_WARNING, &result, NULL, "%s", "");
}

static void describe(fs_agent_group_t *group, fs_member_t *member)
{
    fs_agent_t *agent = group->agent;
    fs_choice_t choice;

    memset(member, 0, sizeof(*member));
    snprintf(member->name, sizeof(member->name), "%s", agent->config.server);
    snprintf(member->kind, sizeof(member->kind), "agent");
    snprintf(member->group, sizeof(member->group), "%s", group->name);
    snprintf(member->address, sizeof(member->address), "%s",
             agent->config.address ? agent->config.address : "");
    snprintf(member->listen, sizeof(member->listen), "%s", fs_listen_url(agent));
    describe_clock(agent, member);
    pthread_mutex_lock(&group->lock);
    choice = serves(group);
    watch_serving(group, &choice);
    describe_versions(group, &choice, member);
    describe_problem(group, member);
    pthread_mutex_unlock(&group->lock);
}

/* --- whom to tell ----------------------------------------------------------------------------- */

static apr_status_t tell_server(report_t *r, int index, const fs_member_t *member,
                                fs_result_t *result)
{
    fs_http_answer_t answer;
    char url[512];
    size_t length;
    char *json = fs_member_print(member, &length);
    apr_status_t status;

    if (!json)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    snprintf(url, sizeof(url), "%s/v1/members/%s", r->agent->config.servers[index], member->name);
    status = fs_http_exchange(r->agent->report_http, "PUT", url, json, length, ANSWER_LIMIT,
                              TIMEOUT_MS, &answer, result);
    free(json);
    if (status)
        return status;
    if (answer.status < 200 || answer.status > 299)
        status = fs_result_set(result, APR_EGENERAL, "FS0605", "%s answered status %d", url,
                               answer.status);
    fs_http_answer_clear(&answer);
    return status;
}

static apr_status_t tell_sql(report_t *r, const fs_member_t *members, unsigned count,
                             fs_result_t *result)
{
    fs_sql_t *sql = fs_agent_sql_begin(&r->agent->sql, result);
    apr_status_t status;

    if (!sql)
        return result->status;
    status = fs_source_report(sql, members, count, result);
    fs_agent_sql_end(&r->agent->sql);
    return status;
}

static void tell(report_t *r)
{
    fs_agent_t *agent = r->agent;
    fs_member_t members[FS_CONTROL_GROUPS];
    int index = fs_agent_server(agent);
    fs_result_t result;
    apr_status_t status = index >= 0 ? APR_SUCCESS : APR_ENOENT;

    fs_result_clear(&result);
    for (unsigned i = 0; i < agent->group_count; i++)
        describe(&agent->groups[i], &members[i]);
    for (unsigned i = 0; i < agent->group_count && !status; i++)
        status = tell_server(r, index, &members[i], &result);
    if (fs_agent_stopping(agent))
        return;
    if (status && agent->config.database)
        status = tell_sql(r, members, agent->group_count, &result);
    r->good = status ? 0 : r->good + 1;
    if (status ? result.problem[0] != '\0' : r->good >= GOOD)
        fs_agent_trouble(&r->trouble, FS_LOG_INFO, status ? &result : NULL, "FS0606",
                         "this server's state is reported again");
}

/* --- cleaning --------------------------------------------------------------------------------- */

typedef struct keep_t {
    unsigned view_count, digest_count;
    uint64_t views[FS_CONTROL_GROUPS * FS_PLAN_VIEWS];
    fs_digest_t *digests; /* room for every dataset of every view and manifest */
} keep_t;

static void keep_version(keep_t *keep, const fs_manifest_version_t *version)
{
    for (unsigned i = 0; i < version->dataset_count; i++)
        keep->digests[keep->digest_count++] = version->datasets[i].digest;
}

/* All locks are held. 0 if a view can't be read: then nothing is to be removed. */
static int keep_view(keep_t *keep, const fs_agent_t *agent, uint64_t id)
{
    fs_view_info_t *view;
    fs_result_t result;

    keep->views[keep->view_count++] = id;
    if (fs_view_read(agent->config.state_dir, id, &view, &result))
        return 0;
    for (unsigned i = 0; i < view->dataset_count && i < FS_CONTROL_DATASETS; i++)
        keep->digests[keep->digest_count++] = view->datasets[i].digest;
    fs_view_free(view);
    return 1;
}

/*
 * All locks are held. What the manifests name, and the views that linger. 0 if it isn't known of
 * every group what it needs: images that are on disk may spare a transfer yet.
 */
static int collect(fs_agent_t *agent, keep_t *keep)
{
    for (unsigned i = 0; i < agent->group_count; i++) {
        fs_agent_group_t *group = &agent->groups[i];

        if (!group->manifest)
            return 0;
        fs_plan_retire(&group->views, group->manifest, &group->record, fs_time_mono());
        keep_version(keep, &group->manifest->active);
        keep_version(keep, &group->manifest->staged);
        for (unsigned k = 0; k < group->views.count; k++)
            if (!keep_view(keep, agent, group->views.views[k].id))
                return 0;
    }
    return 1;
}

/* All locks are held. */
static void remove_views(fs_agent_t *agent, const keep_t *keep)
{
    uint64_t *ids;
    unsigned count;
    fs_result_t result;

    if (fs_view_list(agent->control, &ids, &count, &result)) {
        fs_log_result(FS_LOG_WARNING, &result);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned k = 0;

        while (k < keep->view_count && keep->views[k] != ids[i])
            k++;
        if (k == keep->view_count)
            fs_view_remove(agent->control, ids[i]);
    }
    free(ids);
}

/* All locks are held. Adds what a roll-back may want again, while there is room. */
static void spare(const fs_agent_t *agent, keep_t *keep, unsigned room, int short_of_room)
{
    struct statvfs disk;
    uint64_t left = 0;

    if (!short_of_room && statvfs(agent->image_dir, &disk) == 0)
        left = (uint64_t)disk.f_bavail * disk.f_frsize;
    keep->digest_count += fs_images_spare(agent->image_dir, keep->digests, keep->digest_count, left,
                                          fs_time_wall(), keep->digests + keep->digest_count, room);
}

void fs_agent_clean(fs_agent_t *agent, int short_of_room)
{
    const unsigned spares = agent->group_count * FS_CONTROL_DATASETS * FS_IMAGES_SPARED;
    size_t room = agent->group_count * (size_t)(FS_PLAN_VIEWS + 2) * FS_CONTROL_DATASETS + spares;
    keep_t *keep = calloc(1, sizeof(*keep));
    unsigned removed;

    if (keep)
        keep->digests = calloc(room, sizeof(*keep->digests));
    if (keep && keep->digests) {
        for (unsigned i = 0; i < agent->group_count; i++)
            pthread_mutex_lock(&agent->groups[i].lock);
        pthread_mutex_lock(&agent->page_lock);
        if (collect(agent, keep)) {
            remove_views(agent, keep);
            spare(agent, keep, spares, short_of_room);
            removed = fs_images_clean(agent->image_dir, keep->digests, keep->digest_count,
                                      fs_time_wall(), FS_IMAGES_LEFTOVER_AGE);
            if (removed)
                fs_log(FS_LOG_DEBUG, "FS0607", "%u files below %s were no longer needed", removed,
                       agent->image_dir);
        }
        pthread_mutex_unlock(&agent->page_lock);
        for (unsigned i = agent->group_count; i-- > 0;)
            pthread_mutex_unlock(&agent->groups[i].lock);
        free(keep->digests);
    }
    free(keep);
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Until the next report: a period, or an activation if that comes first. */
static fs_usec_t next_report(fs_agent_t *agent)
{
    fs_usec_t wait = PERIOD, farm;

    if (!fs_agent_farm(agent, &farm, NULL, NULL))
        return wait;
    for (unsigned i = 0; i < agent->group_count; i++) {
        fs_agent_group_t *group = &agent->groups[i];
        fs_usec_t left;

        pthread_mutex_lock(&group->lock);
        left = group->record.activation_time - farm;
        pthread_mutex_unlock(&group->lock);
        if (left > 0 && left < wait)
            wait = left;
    }
    return wait;
}

static void wait_for_report(fs_agent_t *agent)
{
    fs_usec_t wait = next_report(agent);

    pthread_mutex_lock(&agent->report_lock);
    if (!agent->report_wanted && !fs_agent_stopping(agent))
        fs_agent_cond_wait(&agent->report_due, &agent->report_lock, wait);
    agent->report_wanted = 0;
    pthread_mutex_unlock(&agent->report_lock);
}

void *fs_report_run(void *baton)
{
    report_t r = {.agent = baton};

    while (!fs_agent_stopping(r.agent)) {
        fs_usec_t now = fs_time_mono();

        tell(&r);
        if (r.agent->group_count && now - r.cleaned > CLEAN_PERIOD) {
            r.cleaned = now;
            fs_agent_clean(r.agent, 0);
        }
        fs_agent_sql_idle(&r.agent->sql);
        wait_for_report(r.agent);
    }
    fs_sql_thread_end();
    return NULL;
}
