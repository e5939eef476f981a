/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of the control page. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "control/fs_page.h"
#include "control/fs_view_file.h"

/* What this boot of the host is called; "" if the kernel doesn't say. */
static void read_boot_id(char boot_id[FS_BOOT_ID_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, boot_id, FS_BOOT_ID_SIZE - 1);

    if (fd >= 0)
        close(fd);
    boot_id[got > 0 ? got : 0] = '\0';
    boot_id[strcspn(boot_id, "\n")] = '\0';
}

/* Maps a file for writing; makes it anew if it isn't there or isn't ours. */
static apr_status_t map_or_make(fs_mapping_t **mapping, const char *state_dir, const char *name,
                                const fs_page_head_t *head, int *is_new, fs_result_t *result)
{
    fs_result_t why;
    apr_status_t status;

    *is_new = 0;
    *mapping = fs_page_map(state_dir, name, head, 1, "FS0501", &why);
    if (*mapping)
        return APR_SUCCESS;
    if (!APR_STATUS_IS_ENOENT(why.status))
        fs_log(FS_LOG_NOTICE, "FS0506", "%s/%s is made anew: %s", state_dir, name, why.detail);
    *is_new = 1;
    status = fs_page_create(state_dir, name, head, result);
    if (status != APR_SUCCESS)
        return status;
    *mapping = fs_page_map(state_dir, name, head, 1, "FS0501", result);
    return *mapping ? APR_SUCCESS : result->status;
}

static apr_status_t make_directories(const char *state_dir, fs_result_t *result)
{
    static const char *const names[] = {FS_VIEWS_DIR, FS_IMAGES_DIR};
    char path[PATH_MAX];
    apr_status_t status = fs_dir_make(state_dir, result);

    for (unsigned i = 0; i < 2 && status == APR_SUCCESS; i++) {
        if (snprintf(path, sizeof(path), "%s/%s", state_dir, names[i]) >= PATH_MAX)
            return fs_result_set(result, APR_ENAMETOOLONG, "FS0501", "%s: path too long",
                                 state_dir);
        status = fs_dir_make(path, result);
    }
    return status;
}

static void bump(fs_control_t *control)
{
    atomic_fetch_add(&fs_control_page(control)->generation, 1);
    fs_control_wake(control);
}

/* Monotonic time starts anew with a boot: what was measured in it before means nothing now. */
static void forget_earlier_boot(fs_control_t *control)
{
    fs_control_page_t *page = fs_control_page(control);
    fs_control_clock_t none = {.state = FS_CLOCK_NONE};
    fs_control_group_t group;

    FS_STORE(page->clock, &none);
    atomic_store(&page->beat, 0);
    for (unsigned i = 0; i < FS_CONTROL_GROUPS; i++) {
        if (fs_control_group_at(control, i, &group) < 0)
            continue;
        group.heard = 0;
        FS_STORE(page->groups[i], &group);
    }
}

/* Ids are never used twice on a host, even if page and view files were deleted in between. */
static apr_status_t settle_next_view(fs_control_t *control, int is_new, fs_result_t *result)
{
    fs_control_page_t *page = fs_control_page(control);
    uint64_t next = atomic_load(&page->next_view), *ids;
    unsigned count;
    apr_status_t status = fs_view_list(control, &ids, &count, result);

    if (status != APR_SUCCESS)
        return status;
    if (is_new)
        next = (uint64_t)(fs_time_wall() / FS_USEC_PER_MSEC);
    if (count && ids[count - 1] >= next)
        next = ids[count - 1] + 1;
    free(ids);
    atomic_store(&page->next_view, next ? next : 1);
    return APR_SUCCESS;
}

static apr_status_t attach_writer(fs_control_t *control, fs_result_t *result)
{
    fs_page_head_t head;
    fs_mapping_t *mapping;
    fs_agent_record_t agent;
    char boot_id[FS_BOOT_ID_SIZE];
    int is_new, is_new_marks;
    apr_status_t status;

    fs_page_head_marks(&head);
    status = map_or_make(&mapping, control->state_dir, FS_MARKS_FILE, &head, &is_new_marks, result);
    if (status != APR_SUCCESS)
        return status;
    atomic_store(&control->marks, mapping);
    fs_page_head_control(&head);
    status = map_or_make(&mapping, control->state_dir, FS_CONTROL_FILE, &head, &is_new, result);
    if (status != APR_SUCCESS)
        return status;
    atomic_store(&control->page, mapping);
    read_boot_id(boot_id);
    if (!FS_LOAD(fs_control_page(control)->agent, &agent) || !boot_id[0] ||
        strncmp(agent.boot_id, boot_id, sizeof(agent.boot_id)) != 0)
        forget_earlier_boot(control);
    return settle_next_view(control, is_new, result);
}

apr_status_t fs_control_open_writer(fs_control_t **control, const char *state_dir,
                                    fs_result_t *result)
{
    apr_status_t status = make_directories(state_dir, result);

    *control = NULL;
    if (status != APR_SUCCESS)
        return status;
    status = fs_control_open_reader(control, NULL, result);
    if (status != APR_SUCCESS)
        return status;
    (*control)->writer = 1;
    (*control)->state_dir = strdup(state_dir);
    if ((*control)->state_dir)
        status = attach_writer(*control, result);
    else
        status = fs_result_set(result, APR_ENOMEM, "FS0501", "out of memory");
    if (status != APR_SUCCESS) {
        fs_control_close(*control);
        *control = NULL;
        return status;
    }
    bump(*control);
    return APR_SUCCESS;
}

int fs_control_is_there(const fs_control_t *control)
{
    return fs_page_is_current(control->state_dir, FS_CONTROL_FILE, atomic_load(&control->page)) &&
           fs_page_is_current(control->state_dir, FS_MARKS_FILE, atomic_load(&control->marks));
}

void fs_control_set_clock(fs_control_t *control, const fs_control_clock_t *clock)
{
    fs_control_page_t *page = fs_control_page(control);
    fs_control_clock_t before = {0};

    FS_LOAD(page->clock, &before);
    FS_STORE(page->clock, clock);
    if (before.state != clock->state)
        bump(control);
}

/* Something that readers act upon or show changed, not only when it was last confirmed. */
static int differs(const fs_control_group_t *a, const fs_control_group_t *b)
{
    return a->state != b->state || a->pinned != b->pinned || a->epoch != b->epoch ||
           a->active_version != b->active_version || a->staged_version != b->staged_version ||
           a->active_view != b->active_view || a->staged_view != b->staged_view ||
           a->activation_time != b->activation_time || a->interval != b->interval ||
           strncmp(a->problem, b->problem, sizeof(a->problem)) != 0 ||
           strncmp(a->detail, b->detail, sizeof(a->detail)) != 0 ||
           strncmp(a->reason, b->reason, sizeof(a->reason)) != 0;
}

/*
 * A record for a new group: the one that it had before, so that its marks go on, or a free one;
 * preferably one whose marks belong to nobody. -1 if all are taken.
 */
static int take_record(fs_control_t *control, const char *name)
{
    fs_marks_page_t *marks = fs_control_marks_page(control);
    fs_control_group_t group;
    int chosen = -1, rank = 0;

    for (int i = 0; i < FS_CONTROL_GROUPS; i++) {
        const char *owner = marks->records[i].name;
        int here = !strncmp(owner, name, FS_IMAGE_NAME_SIZE) ? 3 : !owner[0] ? 2 : 1;

        if (here > rank && fs_control_group_at(control, (unsigned)i, &group) < 0) {
            chosen = i;
            rank = here;
        }
    }
    return chosen;
}

/* Gives the marks of a record to a group; they go on if they were its already. */
static void own_marks(fs_control_t *control, int index, const char *name)
{
    fs_marks_record_t *record = &fs_control_marks_page(control)->records[index];
    fs_marks_group_t *group = &record->group;

    if (!strncmp(record->name, name, sizeof(record->name)))
        return;
    atomic_store(&group->floor, 0);
    atomic_store(&group->requests, 0);
    atomic_store(&group->lookups, 0);
    atomic_store(&group->misses, 0);
    atomic_store(&group->refused, 0);
    atomic_store(&group->first_new, 0);
    atomic_store(&group->last_old, 0);
    atomic_store(&group->stale_told, 0);
    atomic_store(&group->first_new_bound, 0);
    atomic_store(&group->last_old_bound, 0);
    memset(record->name, 0, sizeof(record->name));
    memcpy(record->name, name, strlen(name));
}

apr_status_t fs_control_set_group(fs_control_t *control, const fs_control_group_t *group,
                                  fs_result_t *result)
{
    fs_control_group_t before;
    int index, changed = 1;

    if (!group->name[0] || !memchr(group->name, '\0', sizeof(group->name)))
        return fs_result_set(result, APR_EINVAL, "FS0502", "a group without a name");
    index = fs_control_group(control, group->name, &before);
    if (index >= 0) {
        changed = differs(&before, group);
    } else {
        index = take_record(control, group->name);
        if (index < 0)
            return fs_result_set(result, APR_ENOSPC, "FS0502",
                                 "no room for group %s: a server can have %d groups; take one out "
                                 "of FarmSyncGroup",
                                 group->name, FS_CONTROL_GROUPS);
        own_marks(control, index, group->name);
    }
    FS_STORE(fs_control_page(control)->groups[index], group);
    if (changed)
        bump(control);
    return APR_SUCCESS;
}

void fs_control_keep_groups(fs_control_t *control, const char *const *names, unsigned count)
{
    static const fs_control_group_t none;
    fs_control_group_t group;
    int changed = 0;

    for (unsigned i = 0; i < FS_CONTROL_GROUPS; i++) {
        int keep = 0;

        if (fs_control_group_at(control, i, &group) < 0)
            continue;
        for (unsigned j = 0; j < count; j++)
            keep |= !strcmp(group.name, names[j]);
        if (keep)
            continue;
        FS_STORE(fs_control_page(control)->groups[i], &none);
        changed = 1;
    }
    if (changed)
        bump(control);
}

void fs_control_beat(fs_control_t *control)
{
    atomic_store(&fs_control_page(control)->beat, fs_time_mono());
}

void fs_control_set_agent(fs_control_t *control, const char *server_name, int64_t pid)
{
    fs_agent_record_t agent = {.pid = pid};

    snprintf(agent.server, sizeof(agent.server), "%s", server_name);
    read_boot_id(agent.boot_id);
    FS_STORE(fs_control_page(control)->agent, &agent);
    fs_control_beat(control);
    bump(control);
}
