/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_cycle.h"

#define DATASRV_SPREAD (5 * FS_USEC_PER_MSEC)  /* over which several datasrv try to promote */
#define AGENT_GRACE    (2 * FS_USEC_PER_SEC)   /* longest that agents leave it to the datasrv */
#define RETRY_FIRST    (50 * FS_USEC_PER_MSEC) /* doubled with each failure ... */
#define RETRY_LAST     (5 * FS_USEC_PER_SEC)   /* ... up to this */

static fs_usec_t least(fs_usec_t a, fs_usec_t b)
{
    return a < b ? a : b;
}

static fs_usec_t most(fs_usec_t a, fs_usec_t b)
{
    return a > b ? a : b;
}

/* Sum that stops at the end of time instead of leaving it. `b` >= 0. */
static fs_usec_t add(fs_usec_t a, fs_usec_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* The part `jitter` (clamped to 0..1) of `span`. */
static fs_usec_t part(fs_usec_t span, double jitter)
{
    if (!(jitter > 0))
        return 0;
    return jitter < 1 ? (fs_usec_t)((double)span * jitter) : span;
}

fs_usec_t fs_cycle_lead(fs_usec_t interval, fs_usec_t min_lead)
{
    return most(0, least(min_lead, interval / 2));
}

fs_usec_t fs_cycle_next(fs_usec_t previous, fs_usec_t interval, fs_usec_t lead, fs_usec_t now)
{
    fs_usec_t earliest = add(now, lead);
    fs_usec_t missing;

    if (earliest <= previous)
        return add(previous, interval);
    missing = (earliest - previous) % interval;
    return missing ? add(earliest, interval - missing) : earliest;
}

fs_usec_t fs_cycle_promote_at(const fs_manifest_t *manifest, fs_promoter_t who, double jitter)
{
    fs_usec_t lead = fs_cycle_lead(manifest->interval, manifest->min_lead);
    fs_usec_t grace = least(lead / 4, AGENT_GRACE);

    if (manifest->state == FS_GROUP_HELD || manifest->state == FS_GROUP_WAITING ||
        manifest->pinned_version)
        return FS_CYCLE_NEVER;
    if (who == FS_PROMOTER_DATASRV)
        return add(manifest->activation_time, part(least(DATASRV_SPREAD, grace), jitter));
    return add(manifest->activation_time, grace + part(grace, jitter));
}

fs_usec_t fs_cycle_retry(const fs_manifest_t *manifest, unsigned failures, double jitter)
{
    fs_usec_t wait = failures < 7 ? RETRY_FIRST << failures : RETRY_LAST;

    wait = least(least(wait, RETRY_LAST), manifest->interval);
    return wait / 2 + part(wait / 2, jitter);
}

fs_usec_t fs_cycle_notice(const fs_manifest_t *manifest)
{
    return most(fs_cycle_lead(manifest->interval, manifest->min_lead), FS_CYCLE_NOTICE);
}

fs_usec_t fs_cycle_decide_at(const fs_manifest_t *manifest, fs_promoter_t who, double jitter)
{
    fs_usec_t grace = least(fs_cycle_lead(manifest->interval, manifest->min_lead) / 4, AGENT_GRACE);
    fs_usec_t latest = manifest->activation_time - fs_cycle_notice(manifest);

    if (manifest->state != FS_GROUP_WAITING)
        return FS_CYCLE_NEVER;
    switch (who) {
    case FS_PROMOTER_DATASRV:
        return 0;
    case FS_PROMOTER_LONE_AGENT:
        return latest - grace + part(grace, jitter);
    case FS_PROMOTER_AGENT:
        break;
    }
    return latest + grace + part(grace, jitter);
}

/* The last moment of the grid that isn't after the activation. */
static fs_usec_t on_grid(const fs_manifest_t *manifest)
{
    fs_usec_t past = (manifest->activation_time - manifest->grid) % manifest->interval;

    return manifest->activation_time - (past < 0 ? past + manifest->interval : past);
}

fs_usec_t fs_cycle_stale_after(const fs_manifest_t *manifest, fs_usec_t heard)
{
    fs_usec_t lead = fs_cycle_lead(manifest->interval, manifest->min_lead);
    fs_usec_t next;

    if (manifest->state == FS_GROUP_WAITING)
        return most(manifest->activation_time,
                    add(heard - FS_CYCLE_CONFIRMED, fs_cycle_notice(manifest)));
    if (manifest->activation_time >= FS_CYCLE_UNDECIDED)
        return add(heard, FS_CYCLE_SILENCE);
    next = fs_cycle_next(on_grid(manifest), manifest->interval, lead,
                         most(heard, manifest->activation_time));
    if (manifest->state == FS_GROUP_HELD || manifest->pinned_version)
        return most(next, add(heard, FS_CYCLE_SILENCE));
    return next;
}
