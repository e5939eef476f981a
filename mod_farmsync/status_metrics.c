/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farmsync-status?metrics: Prometheus text exposition format 0.0.4. Base units, counters end in
 * _total, and what isn't known is left out.
 */
#include <inttypes.h>

#include "child.h"
#include "parts_own.h"
#include "status.h"
#include "sync/fs_manifest.h"

#define SECONDS(usec) ((double)(usec) / FS_USEC_PER_SEC)

static void head(fs_text_t *text, const char *name, const char *type, const char *help)
{
    fs_text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(fs_text_t *text, const char *name, const char *help, double value)
{
    head(text, name, "gauge", help);
    fs_text_printf(text, "%s %.6f\n", name, value);
}

/* What a metric of a group is worth; 0 if it isn't known. */
typedef int group_value_fn(const fs_facts_t *facts, const fs_group_facts_t *group, double *value);

static int serving_version(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->choice.version;
    return 1;
}

static int active_version(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->record.active_version;
    return group->known;
}

static int staged_version(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->record.staged_version;
    return group->known;
}

static int staged_here(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = group->record.staged_view != 0;
    return group->known;
}

static int stale(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = group->choice.stale || !group->known;
    return 1;
}

static int until_activation(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = SECONDS(group->until_activation);
    return group->known && facts->clock_known;
}

static int heard_age(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = SECONDS(group->heard_age);
    return group->heard_age >= 0;
}

static int data_age(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = SECONDS(facts->farm - group->record.data_time);
    return group->record.data_time && facts->clock_known;
}

static int rows(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = 0;
    for (unsigned i = 0; group->view && i < group->view->dataset_count; i++)
        *value += (double)fs_image_rows(group->view->images[i]);
    return group->view != NULL;
}

static int bytes(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = 0;
    for (unsigned i = 0; group->view && i < group->view->dataset_count; i++)
        *value += (double)fs_image_bytes(group->view->images[i]);
    return group->view != NULL;
}

static int requests(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->requests;
    return group->known;
}

static int lookups(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->lookups;
    return group->known;
}

static int pinned_version(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)fs_facts_pinned(group);
    return group->known;
}

static int promotion_failed(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = group->record.state == FS_GROUP_FAILED;
    return group->known;
}

static int misses(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->misses;
    return group->known;
}

static int refused(const fs_facts_t *facts, const fs_group_facts_t *group, double *value)
{
    *value = (double)group->refused;
    return group->known;
}

static const struct {
    const char *name;
    const char *type;
    const char *help;
    group_value_fn *value;
} group_metrics[] = {
    {"farmsync_version", "gauge", "Version that requests are served from; 0 if none.",
     serving_version},
    {"farmsync_active_version", "gauge", "Version in force before the activation time.",
     active_version},
    {"farmsync_staged_version", "gauge", "Version in force from the activation time on.",
     staged_version},
    {"farmsync_staged_here", "gauge", "1 if the staged version is on this server.", staged_here},
    {"farmsync_pinned_version", "gauge", "Version that the group is pinned to; 0 if it isn't.",
     pinned_version},
    {"farmsync_promotion_failed", "gauge",
     "1 if the last promotion was refused; the status page says why.", promotion_failed},
    {"farmsync_stale", "gauge", "1 if a newer version than the served one may be in force.", stale},
    {"farmsync_activation_seconds", "gauge",
     "Seconds until the activation time; negative once it has passed.", until_activation},
    {"farmsync_heard_age_seconds", "gauge",
     "Seconds since the state of the group was last confirmed.", heard_age},
    {"farmsync_data_age_seconds", "gauge", "Seconds since the active version came into force.",
     data_age},
    {"farmsync_rows", "gauge", "Rows of all datasets of the served version.", rows},
    {"farmsync_bytes", "gauge", "Bytes of all images of the served version.", bytes},
    {"farmsync_requests_total", "counter", "Requests that used data of the group.", requests},
    {"farmsync_lookups_total", "counter", "Look-ups by those requests.", lookups},
    {"farmsync_misses_total", "counter", "Look-ups that found nothing.", misses},
    {"farmsync_refused_total", "counter", "Requests that got no data: none here, or stale.",
     refused},
};

void fs_status_metrics(fs_text_t *text, const fs_facts_t *facts)
{
    head(text, "farmsync_info", "gauge", "Always 1; the labels say who this is.");
    fs_text_printf(text, "farmsync_info{server=\"%s\",release=\"%s\"} 1\n", facts->settings->server,
                   fs_status_release);
    single(text, "farmsync_healthy", "1 if this server can serve as configured.", facts->healthy);
    single(text, "farmsync_agent_up", "1 if farmsync-agent gave a sign of life lately.",
           facts->agent_alive);
    if (facts->clock.state != FS_CLOCK_NONE)
        single(text, "farmsync_clock_offset_seconds",
               "Farm time minus the monotonic clock of this host.", SECONDS(facts->clock.offset));
    if (facts->clock_known) {
        single(text, "farmsync_clock_bound_seconds", "Bound of the error of farm time here.",
               SECONDS(facts->bound));
        single(text, "farmsync_clock_age_seconds", "Seconds since farm time was measured.",
               SECONDS(facts->measured_age));
    }
    for (unsigned i = 0; i < sizeof(group_metrics) / sizeof(group_metrics[0]); i++) {
        head(text, group_metrics[i].name, group_metrics[i].type, group_metrics[i].help);
        for (int j = 0; j < facts->group_count; j++) {
            double value;

            if (group_metrics[i].value(facts, &facts->groups[j], &value))
                fs_text_printf(text, "%s{group=\"%s\"} %.15g\n", group_metrics[i].name,
                               facts->groups[j].name, value);
        }
    }
    fs_parts_tell(text, fs_child()->server, FARMSYNC_METRICS, "");
}
