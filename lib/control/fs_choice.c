/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which version is right at a farm time: pure arithmetic on one group record.
 *
 *   farm < activation_time       the active version
 *   farm >= activation_time      the staged version, unless it waits to be decided (`undecided`)
 *
 * Two rules bend that. The host's own past: once any process here has served the staged version,
 * all go on with it, even when the clock was corrected to before the activation or is not known
 * after a restart (`floor`). And ignorance: a host that cannot know what is in force says so
 * (`stale`), and goes on with the newest version that it knows to have been in force.
 */
#include "control/fs_control.h"

/* The staged version is in force: the clock says so, or this host has already served it. */
static int staged_is_due(const fs_control_group_t *group, fs_usec_t farm, int clock_known,
                         int64_t floor)
{
    if (group->pinned == FS_PIN_ACTIVE || group->undecided ||
        group->staged_version == group->active_version)
        return 0;
    if (clock_known && farm >= group->activation_time)
        return 1;
    /* Only the very version: a floor from before the database was set back binds nobody. */
    return floor == group->staged_version && floor > group->active_version && group->staged_view;
}

/* Something newer than what is chosen may be in force. */
static int may_be_stale(const fs_control_group_t *group, const fs_choice_t *choice, fs_usec_t farm,
                        int clock_known, int64_t floor)
{
    int held_back = group->pinned == FS_PIN_ACTIVE; /* by the operator: no clock is needed */

    if (!clock_known)
        return !held_back;
    if (group->stale_after && farm >= group->stale_after)
        return 1; /* unheard of, the pin may have been taken away */
    return !held_back && choice->version < floor && floor <= group->staged_version;
}

fs_choice_t fs_control_choose(const fs_control_group_t *group, fs_usec_t farm, int clock_known,
                              int64_t floor)
{
    fs_choice_t choice = {group->active_view, group->active_version, 0};
    int due = staged_is_due(group, farm, clock_known, floor);

    if (due && group->staged_view) {
        choice.view = group->staged_view;
        choice.version = group->staged_version;
    }
    if (!choice.view || choice.version <= 0) {
        int nothing_in_force = !due && group->active_version <= 0;

        choice.view = 0;
        choice.version = 0;
        choice.stale = !nothing_in_force;
        return choice;
    }
    choice.stale =
        (due && !group->staged_view) || may_be_stale(group, &choice, farm, clock_known, floor);
    return choice;
}

int fs_control_now(const fs_control_clock_t *clock, fs_usec_t mono, fs_usec_t *farm,
                   fs_usec_t *bound)
{
    fs_usec_t age = mono - clock->measured;

    *farm = 0;
    *bound = INT64_MAX;
    if (clock->state != FS_CLOCK_GUESSED && clock->state != FS_CLOCK_MEASURED)
        return 0;
    *farm = mono + clock->offset;
    if (clock->state == FS_CLOCK_MEASURED) {
        if (age < 0) /* read before the measurement by a thread that then lost its processor */
            age = -age;
        *bound = clock->bound + age / FS_USEC_PER_SEC * clock->drift_ppm +
                 (age % FS_USEC_PER_SEC * clock->drift_ppm + FS_USEC_PER_SEC - 1) / FS_USEC_PER_SEC;
    }
    return 1;
}
