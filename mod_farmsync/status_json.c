/* SPDX-License-Identifier: Apache-2.0 */
/* farmsync-status?json. Times are microseconds since 1970 UTC in farm time; unknown ones are null.
 */
#include <inttypes.h>
#include <string.h>

#include "child.h"
#include "parts_own.h"
#include "status.h"

static void add_string(fs_text_t *text, const char *name, const char *value)
{
    fs_text_printf(text, "\"%s\":", name);
    if (value && *value)
        fs_text_json_string(text, value);
    else
        fs_text_puts(text, "null");
}

static void add_time(fs_text_t *text, const char *name, int64_t value, int known)
{
    if (known)
        fs_text_printf(text, ",\"%s\":%" PRId64, name, value);
    else
        fs_text_printf(text, ",\"%s\":null", name);
}

static void add_datasets(fs_text_t *text, const fs_view_t *view)
{
    char hex[FS_DIGEST_HEX_SIZE];

    fs_text_puts(text, ",\"datasets\":[");
    for (unsigned i = 0; view && i < view->dataset_count; i++) {
        fs_text_puts(text, i ? ",{" : "{");
        add_string(text, "name", view->datasets[i].name);
        fs_text_printf(text, ",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"digest\":\"%s\"}",
                       fs_image_rows(view->images[i]), fs_image_bytes(view->images[i]),
                       fs_digest_hex(&view->datasets[i].digest, hex));
    }
    fs_text_puts(text, "]");
}

static void add_group(fs_text_t *text, const fs_facts_t *facts, const fs_group_facts_t *group)
{
    const fs_control_group_t *record = &group->record;

    fs_text_puts(text, "{");
    add_string(text, "name", group->name);
    fs_text_printf(text, ",\"state\":\"%s\",\"version\":%" PRId64 ",\"stale\":%s",
                   fs_facts_group_state(group), group->choice.version,
                   group->choice.stale ? "true" : "false");
    fs_text_printf(text,
                   ",\"active_version\":%" PRId64 ",\"staged_version\":%" PRId64
                   ",\"active_here\":%s,\"staged_here\":%s,\"epoch\":%" PRId64,
                   record->active_version, record->staged_version,
                   record->active_view ? "true" : "false", record->staged_view ? "true" : "false",
                   record->epoch);
    add_time(text, "pinned_version", fs_facts_pinned(group), fs_facts_pinned(group) != 0);
    add_time(text, "activation_time_us", record->activation_time, group->known);
    add_time(text, "until_activation_us", group->until_activation,
             group->known && facts->clock_known);
    add_time(text, "interval_us", record->interval, group->known);
    add_time(text, "stale_after_us", record->stale_after, record->stale_after != 0);
    add_time(text, "data_time_us", record->data_time, record->data_time != 0);
    add_time(text, "retrieved_us", record->retrieved, record->retrieved != 0);
    add_time(text, "heard_age_us", group->heard_age, group->heard_age >= 0);
    add_time(text, "newest_served", group->floor, group->floor != 0);
    add_time(text, "first_new_us", group->first_new, group->first_new != 0);
    add_time(text, "first_new_bound_us", group->first_new_bound,
             group->first_new && group->first_new_bound != INT64_MAX);
    add_time(text, "last_old_us", group->last_old, group->last_old != 0);
    add_time(text, "last_old_bound_us", group->last_old_bound,
             group->last_old && group->last_old_bound != INT64_MAX);
    fs_text_printf(text,
                   ",\"requests\":%" PRIu64 ",\"lookups\":%" PRIu64 ",\"misses\":%" PRIu64
                   ",\"refused\":%" PRIu64 ",",
                   group->requests, group->lookups, group->misses, group->refused);
    add_string(text, "trouble", group->trouble);
    fs_text_puts(text, ",");
    add_string(text, "problem", record->problem);
    fs_text_puts(text, ",");
    add_string(text, "detail", record->detail);
    fs_text_puts(text, ",");
    add_string(text, "reason", record->reason);
    add_datasets(text, group->view);
    fs_text_puts(text, "}");
}

void fs_status_json(fs_text_t *text, const fs_facts_t *facts)
{
    fs_text_puts(text, "{");
    add_string(text, "server", facts->settings->server);
    fs_text_puts(text, ",");
    add_string(text, "release", fs_status_release);
    fs_text_printf(text, ",\"healthy\":%s,", facts->healthy ? "true" : "false");
    add_string(text, "reason", facts->reason);
    fs_text_printf(text, ",\"agent\":{\"pid\":%" PRId64 ",\"alive\":%s", facts->agent_pid,
                   facts->agent_alive ? "true" : "false");
    add_time(text, "beat_age_us", facts->agent_age, facts->agent_age >= 0);
    fs_text_printf(text, "},\"clock\":{\"state\":\"%s\"", fs_facts_clock_state(facts));
    add_time(text, "farm_time_us", facts->farm, facts->clock.state != FS_CLOCK_NONE);
    add_time(text, "offset_us", facts->clock.offset, facts->clock.state != FS_CLOCK_NONE);
    add_time(text, "bound_us", facts->bound, facts->clock_known);
    add_time(text, "measured_age_us", facts->measured_age, facts->clock_known);
    fs_text_puts(text, ",");
    add_string(text, "source", facts->clock.source);
    fs_text_printf(text, "},\"process\":{\"views_mapped\":%u,\"views_pinned\":%u},\"groups\":[",
                   facts->views_mapped, facts->views_pinned);
    for (int i = 0; i < facts->group_count; i++) {
        fs_text_puts(text, i ? ",\n" : "\n");
        add_group(text, facts, &facts->groups[i]);
    }
    fs_text_puts(text, "]");
    fs_parts_tell(text, fs_child()->server, FARMSYNC_JSON, ",\n");
    fs_text_puts(text, "}\n");
}
