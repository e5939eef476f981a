/* SPDX-License-Identifier: Apache-2.0 */
#include "facts.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "base/fs_time.h"
#include "sync/fs_manifest.h"

#define AGENT_SILENT (5 * FS_USEC_PER_SEC)

static void read_marks(fs_group_facts_t *group, const fs_control_t *control, int index)
{
    fs_marks_group_t *marks = fs_control_marks(control, (unsigned)index);

    group->floor = atomic_load(&marks->floor);
    group->requests = atomic_load(&marks->requests);
    group->lookups = atomic_load(&marks->lookups);
    group->misses = atomic_load(&marks->misses);
    group->refused = atomic_load(&marks->refused);
    group->first_new = atomic_load(&marks->first_new);
    group->last_old = atomic_load(&marks->last_old);
    group->first_new_bound = atomic_load(&marks->first_new_bound);
    group->last_old_bound = atomic_load(&marks->last_old_bound);
}

/* Why the group isn't as it should be, for people. */
static const char *trouble_of(apr_pool_t *pool, const fs_facts_t *facts,
                              const fs_group_facts_t *group)
{
    const char *known =
        group->record.problem[0]
            ? apr_psprintf(pool, "; %s: %s", group->record.problem, group->record.detail)
            : "";

    if (!group->known)
        return "the agent has published nothing for this group yet";
    if (!group->choice.view)
        return apr_psprintf(pool, "%s%s",
                            group->choice.stale ? "the version in force is not on this server"
                                                : "no version is in force yet",
                            known);
    if (group->unreadable)
        return apr_psprintf(pool, "version %" PRId64 " can't be read here: %s%s",
                            group->choice.version, group->unreadable, known);
    if (group->choice.stale && !facts->clock_known)
        return apr_psprintf(pool,
                            "farm time is not known here since the start, so that a newer "
                            "version may be in force%s",
                            known);
    if (group->choice.stale)
        return apr_psprintf(pool, "a newer version than %" PRId64 " may be in force%s",
                            group->choice.version, known);
    return NULL;
}

/* As view.c does for a request: what was chosen, or if it can't be had, the version before it. */
static void map_choice(fs_group_facts_t *group, apr_pool_t *pool, const fs_facts_t *facts,
                       fs_view_cache_t *cache)
{
    fs_control_group_t record = group->record;
    fs_result_t why;

    for (int attempt = 0; attempt < 2; attempt++) {
        group->choice = fs_control_choose(&record, facts->farm, facts->clock_known, group->floor);
        if (!group->choice.view || !cache)
            return;
        fs_result_clear(&why);
        if (fs_view_cache_pin(cache, group->choice.view, &group->pin, &why) == APR_SUCCESS) {
            group->view = group->pin.view;
            group->unreadable = NULL;
            return;
        }
        group->unreadable = apr_psprintf(pool, "%s: %s", why.problem, why.detail);
        if (group->choice.view != record.staged_view || group->choice.view == record.active_view)
            return;
        record.staged_view = 0;
    }
}

static void gather_group(fs_group_facts_t *group, apr_pool_t *pool, const fs_facts_t *facts,
                         const fs_control_t *control, fs_view_cache_t *cache, fs_usec_t mono)
{
    int index = fs_control_group(control, group->name, &group->record);

    group->heard_age = -1;
    if (index >= 0) {
        group->known = 1;
        read_marks(group, control, index);
        map_choice(group, pool, facts, cache);
        if (group->record.heard)
            group->heard_age = mono - group->record.heard;
        group->until_activation = group->record.activation_time - facts->farm;
    }
    group->trouble = trouble_of(pool, facts, group);
}

/* Healthy: every group can be served as FarmSyncOnStale demands. */
static void judge(fs_facts_t *facts, apr_pool_t *pool, int on_stale)
{
    facts->healthy = 1;
    facts->reason = "ok";
    if (!facts->attached) {
        facts->healthy = 0;
        facts->reason = facts->attach_problem.detail;
        return;
    }
    for (int i = 0; i < facts->group_count; i++) {
        const fs_group_facts_t *group = &facts->groups[i];

        if (!group->trouble || !facts->healthy)
            continue;
        facts->reason = apr_psprintf(pool, "group %s: %s", group->name, group->trouble);
        facts->healthy = group->known && group->choice.view != 0 && !group->unreadable &&
                         on_stale != FS_STALE_REFUSE;
    }
    if (facts->healthy && !facts->agent_alive && !strcmp(facts->reason, "ok"))
        facts->reason = "ok; but farmsync-agent doesn't answer, so that nothing new will come";
}

fs_facts_t *fs_facts_gather(apr_pool_t *pool, const fs_settings_t *settings, fs_control_t *control,
                            fs_view_cache_t *cache, int on_stale)
{
    fs_facts_t *facts = apr_pcalloc(pool, sizeof(*facts));
    fs_usec_t mono = fs_time_mono(), beaten;

    facts->settings = settings;
    facts->attached = fs_control_attached(control);
    if (!facts->attached)
        fs_control_diagnose(control, &facts->attach_problem);
    facts->agent_pid = fs_control_agent(control, NULL, 0);
    beaten = fs_control_beaten(control);
    facts->agent_age = beaten ? mono - beaten : -1;
    facts->agent_alive = beaten && facts->agent_age < AGENT_SILENT;
    fs_control_clock(control, &facts->clock);
    facts->clock_known = fs_control_now(&facts->clock, mono, &facts->farm, &facts->bound) &&
                         facts->clock.state == FS_CLOCK_MEASURED;
    facts->measured_age = facts->clock_known ? mono - facts->clock.measured : -1;
    facts->group_count = settings->groups->nelts;
    facts->groups =
        apr_pcalloc(pool, sizeof(*facts->groups) * (apr_size_t)(facts->group_count + 1));
    for (int i = 0; i < facts->group_count; i++) {
        facts->groups[i].name = fs_settings_group(settings, i);
        gather_group(&facts->groups[i], pool, facts, control, cache, mono);
    }
    if (cache)
        facts->views_mapped = fs_view_cache_count(cache, &facts->views_pinned);
    judge(facts, pool, on_stale);
    return facts;
}

void fs_facts_done(fs_facts_t *facts, fs_view_cache_t *cache)
{
    for (int i = 0; i < facts->group_count; i++)
        fs_view_cache_unpin(cache, &facts->groups[i].pin);
}

const char *fs_facts_clock_state(const fs_facts_t *facts)
{
    if (facts->clock_known)
        return "measured";
    return facts->clock.state == FS_CLOCK_GUESSED ? "guessed" : "unknown";
}

const char *fs_facts_group_state(const fs_group_facts_t *group)
{
    if (!group->known)
        return "unknown";
    if (group->record.pinned)
        return "pinned";
    switch ((fs_group_state_t)group->record.state) {
    case FS_GROUP_RUNNING:
        return "running";
    case FS_GROUP_HELD:
        return "held";
    case FS_GROUP_FAILED:
        return "failed";
    case FS_GROUP_WAITING:
        return "waiting";
    }
    return "unknown";
}

int64_t fs_facts_pinned(const fs_group_facts_t *group)
{
    switch (group->record.pinned) {
    case FS_PIN_ACTIVE:
        return group->record.active_version;
    case FS_PIN_STAGED:
        return group->record.staged_version;
    default:
        return 0;
    }
}

const char *fs_facts_span(apr_pool_t *pool, fs_usec_t span)
{
    double seconds = (double)span / FS_USEC_PER_SEC;

    if (span < 0)
        return "never";
    if (seconds < 120)
        return apr_psprintf(pool, "%.1f s", seconds);
    if (seconds < 7200)
        return apr_psprintf(pool, "%.0f min", seconds / 60);
    return apr_psprintf(pool, "%.0f h", seconds / 3600);
}
