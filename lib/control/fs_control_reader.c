/* SPDX-License-Identifier: Apache-2.0 */
/* The request processes' side of the control page: no lock, no wait but fs_control_wait. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "control/fs_page.h"

/* Maps the file if it isn't mapped or was replaced; a mapping that served before is kept. */
static void refresh_one(fs_control_t *control, _Atomic(fs_mapping_t *) *where, const char *name,
                        const fs_page_head_t *head, int writable)
{
    fs_mapping_t *now = atomic_load(where), *mapping;
    fs_result_t ignored;

    if (now && fs_page_is_current(control->state_dir, name, now))
        return;
    mapping = fs_page_map(control->state_dir, name, head, writable, "FS0504", &ignored);
    if (!mapping)
        return;
    mapping->older = now;
    atomic_store_explicit(where, mapping, memory_order_release);
}

void fs_control_refresh(fs_control_t *control)
{
    fs_page_head_t head;

    if (!control->state_dir || control->writer || atomic_flag_test_and_set(&control->refreshing))
        return;
    fs_page_head_control(&head);
    refresh_one(control, &control->page, FS_CONTROL_FILE, &head, 0);
    fs_page_head_marks(&head);
    refresh_one(control, &control->marks, FS_MARKS_FILE, &head, 1);
    atomic_flag_clear(&control->refreshing);
}

apr_status_t fs_control_open_reader(fs_control_t **control, const char *state_dir,
                                    fs_result_t *result)
{
    fs_control_t *made = calloc(1, sizeof(*made));

    *control = NULL;
    if (made) {
        atomic_flag_clear(&made->refreshing);
        made->private_marks = calloc(1, sizeof(*made->private_marks));
        made->state_dir = state_dir ? strdup(state_dir) : NULL;
    }
    if (!made || !made->private_marks || (state_dir && !made->state_dir)) {
        fs_control_close(made);
        return fs_result_set(result, APR_ENOMEM, "FS0504", "out of memory");
    }
    fs_control_refresh(made);
    *control = made;
    return APR_SUCCESS;
}

void fs_control_close(fs_control_t *control)
{
    if (!control)
        return;
    fs_page_unmap_all(atomic_load(&control->page));
    fs_page_unmap_all(atomic_load(&control->marks));
    free(control->private_marks);
    free(control->state_dir);
    free(control);
}

int fs_control_attached(const fs_control_t *control)
{
    return fs_control_page(control) != NULL;
}

apr_status_t fs_control_diagnose(const fs_control_t *control, fs_result_t *result)
{
    fs_page_head_t head;
    fs_mapping_t *mapping;

    fs_result_clear(result);
    fs_page_head_control(&head);
    mapping = fs_page_map(control->state_dir, FS_CONTROL_FILE, &head, 0, "FS0504", result);
    if (!mapping)
        return result->status;
    fs_page_unmap_all(mapping);
    return APR_SUCCESS;
}

/* --- waiting ------------------------------------------------------------------------------------
 */

/* What to wait on: the page's generation, or a word of our own while there is no page. */
static const _Atomic uint32_t *futex_word(const fs_control_t *control)
{
    const fs_control_page_t *page = fs_control_page(control);

    return page ? &page->generation : &control->unattached;
}

uint32_t fs_control_generation(const fs_control_t *control)
{
    return atomic_load(futex_word(control));
}

void fs_control_wait(const fs_control_t *control, uint32_t seen, fs_usec_t timeout)
{
    struct timespec span = {.tv_sec = (time_t)(timeout / FS_USEC_PER_SEC),
                            .tv_nsec = (long)(timeout % FS_USEC_PER_SEC) * 1000};

    if (timeout > 0)
        syscall(SYS_futex, futex_word(control), FUTEX_WAIT, seen, &span, NULL, 0);
}

void fs_control_wake(fs_control_t *control)
{
    syscall(SYS_futex, futex_word(control), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* --- reading ------------------------------------------------------------------------------------
 */

int fs_control_clock(const fs_control_t *control, fs_control_clock_t *clock)
{
    fs_control_page_t *page = fs_control_page(control);

    memset(clock, 0, sizeof(*clock));
    if (!page || !FS_LOAD(page->clock, clock)) {
        memset(clock, 0, sizeof(*clock));
        return 0;
    }
    clock->source[sizeof(clock->source) - 1] = '\0';
    return 1;
}

int fs_control_group_at(const fs_control_t *control, unsigned index, fs_control_group_t *group)
{
    fs_control_page_t *page = fs_control_page(control);

    if (!page || index >= FS_CONTROL_GROUPS || !FS_LOAD(page->groups[index], group) ||
        !group->name[0]) {
        memset(group, 0, sizeof(*group));
        return -1;
    }
    group->name[sizeof(group->name) - 1] = '\0';
    group->problem[sizeof(group->problem) - 1] = '\0';
    group->detail[sizeof(group->detail) - 1] = '\0';
    group->reason[sizeof(group->reason) - 1] = '\0';
    return (int)index;
}

/* A look at the first word of the name: spares the copy of records that are free or another's. */
static int may_be_named(const fs_control_page_t *page, unsigned index, uint64_t first_word)
{
    uint64_t sequence = atomic_load(&page->groups[index].sequence);
    size_t place = (sequence & 1) * FS_WORDS(fs_control_group_t);

    return atomic_load(&page->groups[index].words[place]) == first_word;
}

int fs_control_group(const fs_control_t *control, const char *name, fs_control_group_t *group)
{
    fs_control_page_t *page = fs_control_page(control);
    uint64_t first_word = 0;

    memcpy(&first_word, name, strnlen(name, sizeof(first_word)));
    for (unsigned i = 0; page && name[0] && i < FS_CONTROL_GROUPS; i++) {
        if (may_be_named(page, i, first_word) && fs_control_group_at(control, i, group) >= 0 &&
            !strcmp(group->name, name))
            return (int)i;
    }
    memset(group, 0, sizeof(*group));
    return -1;
}

fs_usec_t fs_control_beaten(const fs_control_t *control)
{
    fs_control_page_t *page = fs_control_page(control);

    return page ? atomic_load(&page->beat) : 0;
}

int64_t fs_control_agent(const fs_control_t *control, char *server, size_t size)
{
    fs_control_page_t *page = fs_control_page(control);
    fs_agent_record_t agent;

    if (size)
        server[0] = '\0';
    if (!page || !FS_LOAD(page->agent, &agent))
        return 0;
    agent.server[sizeof(agent.server) - 1] = '\0';
    if (size) {
        strncpy(server, agent.server, size - 1);
        server[size - 1] = '\0';
    }
    return agent.pid;
}

/* --- marks --------------------------------------------------------------------------------------
 */

fs_marks_page_t *fs_control_marks_page(const fs_control_t *control)
{
    fs_mapping_t *mapping = atomic_load_explicit(&control->marks, memory_order_acquire);

    return mapping ? mapping->base : control->private_marks;
}

fs_marks_group_t *fs_control_marks(const fs_control_t *control, unsigned index)
{
    if (index >= FS_CONTROL_GROUPS)
        return NULL;
    return &fs_control_marks_page(control)->records[index].group;
}

/* Raises `value` to `to`, returns 1 if this call raised it. */
static int raise_to(_Atomic int64_t *value, int64_t to)
{
    int64_t now = atomic_load_explicit(value, memory_order_relaxed);

    while (now < to) {
        if (atomic_compare_exchange_weak(value, &now, to))
            return 1;
    }
    return 0;
}

void fs_marks_served(fs_marks_group_t *marks, const fs_control_group_t *group, int64_t version,
                     fs_usec_t farm, fs_usec_t bound)
{
    if (version > atomic_load_explicit(&marks->floor, memory_order_relaxed)) {
        if (raise_to(&marks->floor, version)) {
            atomic_store(&marks->first_new, farm);
            atomic_store(&marks->first_new_bound, bound);
        }
    } else if (version < group->staged_version && farm + FS_MARKS_NEAR > group->activation_time) {
        if (raise_to(&marks->last_old, farm))
            atomic_store(&marks->last_old_bound, bound);
    }
}
