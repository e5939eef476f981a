/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic of the cycle (Figs 5 to 7 of the data synchronization source): when an activation is
 * due, whose turn it is to promote, when to ask again. Pure: all times are arguments.
 * The next activation time itself is computed in one place only, the SQL procedure promote, because
 * only the database knows the time; fs_cycle_next states the same rule for tests and for
 * countdowns.
 */
#ifndef FS_CYCLE_H
#define FS_CYCLE_H

#include "base/fs_time.h"
#include "sync/fs_manifest.h"

/* The lead that an activation leaves for retrieval: min_lead, or half the interval if that is less.
 */
fs_usec_t fs_cycle_lead(fs_usec_t interval, fs_usec_t min_lead);

/*
 * The next activation: previous + k * interval with the smallest k >= 1 that leaves `lead` from
 * `now`; missed cycles are skipped, the grid is kept. interval > 0.
 */
fs_usec_t fs_cycle_next(fs_usec_t previous, fs_usec_t interval, fs_usec_t lead, fs_usec_t now);

typedef enum fs_promoter_t {
    FS_PROMOTER_DATASRV,
    FS_PROMOTER_AGENT,
    FS_PROMOTER_LONE_AGENT /* no datasrv answers it */
} fs_promoter_t;
#define FS_CYCLE_NEVER INT64_MAX

/*
 * Farm time at which a promoter should try: datasrv at once after the activation, spread by
 * `jitter` (0..1) over a few milliseconds so that they don't all collide; agents only when no
 * datasrv did it in time (a quarter of the lead, at most 2 s), spread likewise over as long again.
 * FS_CYCLE_NEVER while the group is held or waits. Whoever tried and lost reads the manifest again; if the
 * epoch is still the same it waits fs_cycle_retry before the next try.
 */
fs_usec_t fs_cycle_promote_at(const fs_manifest_t *manifest, fs_promoter_t who, double jitter);

/*
 * While a version waits for servers to be ready (FS_GROUP_WAITING) its activation time is a plan.
 * It becomes an order when procedure decide sets it at least this long before: the lead, but no
 * less than FS_CYCLE_NOTICE. So every server that can be reached has heard of it before it counts.
 * sql/procedures/ready.sql has the same rule.
 */
#define FS_CYCLE_NOTICE (3 * FS_USEC_PER_SEC)
fs_usec_t fs_cycle_notice(const fs_manifest_t *manifest);
/* Who says that nothing has changed, of a group that waits, has asked the database within this. */
#define FS_CYCLE_CONFIRMED FS_USEC_PER_SEC
/* The activation time of a version that waits while the group is held: none. */
#define FS_CYCLE_UNDECIDED (INT64_C(253370764800) * FS_USEC_PER_SEC) /* 9999-01-01 */

/*
 * Farm time from which on to have it decided: a datasrv as soon as a version waits, again and again
 * each FS_CYCLE_DECIDE_PACE; agents when no datasrv did it in time, earlier if none is there.
 * FS_CYCLE_NEVER if nothing waits.
 */
#define FS_CYCLE_DECIDE_PACE (250 * FS_USEC_PER_MSEC)
fs_usec_t fs_cycle_decide_at(const fs_manifest_t *manifest, fs_promoter_t who, double jitter);

/*
 * Wait before the next try after `failures` tries in a row that changed nothing (lost although due,
 * or the database could not be reached): doubling from 50 ms to 5 s, but never longer than an
 * interval.
 */
fs_usec_t fs_cycle_retry(const fs_manifest_t *manifest, unsigned failures, double jitter);

/*
 * Farm time from which this host can no longer be sure that nothing newer is in force, when it has
 * heard nothing since farm time `heard`, at which somebody confirmed `manifest`: whoever promotes
 * right after that sets the activation fs_cycle_next, so until then silence is harmless. A held
 * group bears silence of FS_CYCLE_SILENCE at least, so that it isn't called stale between two
 * confirmations, its activation time being past. An operator's activate_now, activate_at,
 * set_interval or roll_back may be faster than this.
 *
 * A group that waits: the plan's time, or FS_CYCLE_NOTICE after `heard` if that is later, which is
 * when an order that was given right after that may count first. This is a lease: a server that
 * refuses when it is stale never answers from the old version while others do from the new one,
 * whether it was reached or not.
 */
#define FS_CYCLE_SILENCE (10 * FS_USEC_PER_SEC)
fs_usec_t fs_cycle_stale_after(const fs_manifest_t *manifest, fs_usec_t heard);

#endif
