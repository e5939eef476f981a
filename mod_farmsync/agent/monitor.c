/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <string.h>

fs_usec_t fs_monitor_lease(const fs_monitor_config_t *config)
{
    fs_usec_t least = FS_MONITOR_LEASE_LEAST_S * FS_USEC_PER_SEC;
    fs_usec_t checks = FS_MONITOR_LEASE_CHECKS * (config->interval + config->timeout);

    return checks > least ? checks : least;
}

void fs_monitor_start(fs_monitor_state_t *state, const fs_monitor_config_t *config, int down,
                      fs_usec_t now, double chance)
{
    memset(state, 0, sizeof(*state));
    state->down = down;
    state->due = now + (fs_usec_t)((double)config->interval * chance);
    state->renew_at = now; /* how much of the lease is left isn't known */
}

/* The grid of checks is kept while they take less than the interval; what was missed is left out.
 */
static void plan_next(fs_monitor_state_t *state, const fs_monitor_config_t *config, fs_usec_t now)
{
    state->due += config->interval;
    if (state->due < now)
        state->due = now + config->interval;
}

static fs_monitor_verdict_t turn(fs_monitor_state_t *state, const fs_monitor_config_t *config,
                                 fs_usec_t now)
{
    state->streak = 0;
    state->down = !state->down;
    state->renew_at = now + fs_monitor_lease(config) / 2;
    return state->down ? FS_MONITOR_FELL : FS_MONITOR_ROSE;
}

fs_monitor_verdict_t fs_monitor_judge(fs_monitor_state_t *state, const fs_monitor_config_t *config,
                                      int passed, fs_usec_t now)
{
    unsigned needed = state->down ? config->rise : config->fall;

    plan_next(state, config, now);
    if (passed)
        state->passed++;
    else
        state->failed++;
    if (passed != state->down)
        state->streak = 0;
    else if (++state->streak >= needed)
        return turn(state, config, now);
    if (!state->down || now < state->renew_at)
        return FS_MONITOR_STAYS;
    state->renew_at = now + fs_monitor_lease(config) / 2;
    return FS_MONITOR_RENEW;
}

void fs_monitor_not_told(fs_monitor_state_t *state, fs_monitor_verdict_t verdict)
{
    if (verdict == FS_MONITOR_RENEW) {
        state->renew_at = 0;
    } else if (verdict != FS_MONITOR_STAYS) {
        /* As before the check that decided it: one more like it decides it again. */
        state->down = !state->down;
        state->streak = FS_MONITOR_COUNT_MOST;
    }
}
