/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Monitors: what looks at an application from this server, and when what it sees counts.
 *
 *   one check    passed or not                          monitor_probe.c
 *   a verdict    after so many checks in a row          monitor.c: no clock, no network
 *   a notice     by the role "monitor", with a lease    monitor_run.c
 *
 * The verdict follows the rise and fall counts that load balancers have: an application is down
 * after `fall` failures in a row and back after `rise` successes in a row. Until the first verdict
 * it is as it was: a monitor that starts takes nobody down before it has looked `fall` times, and
 * one that starts again after it had taken the application down keeps to that.
 *
 * What a monitor told is renewed while it lasts, and ends by itself when the monitor is gone: an
 * application must not stay down because the one who said so has died.
 */
#ifndef FS_MONITOR_H
#define FS_MONITOR_H

#include <jansson.h>

#include "base/fs_result.h"
#include "base/fs_time.h"

#define FS_MONITORS_MAX          32
#define FS_MONITOR_ARGUMENTS     16
#define FS_MONITOR_LEASE_LEAST_S 120
#define FS_MONITOR_LEASE_CHECKS  4 /* a lease is at least so many intervals */

#define FS_MONITOR_COUNT_MOST 100 /* of rise and fall */

typedef enum fs_monitor_kind_t {
    FS_MONITOR_HTTP,
    FS_MONITOR_TCP,
    FS_MONITOR_SCRIPT
} fs_monitor_kind_t;

/* Strings are malloc'ed. */
typedef struct fs_monitor_config_t {
    char *name;
    char *application;
    fs_monitor_kind_t kind;
    char *target;                              /* URL, or HOST:PORT; a script's path */
    char *arguments[FS_MONITOR_ARGUMENTS + 2]; /* of a script: path, arguments, NULL */
    char *text;                                /* that the answer must have; NULL any */
    unsigned status_least, status_most;        /* HTTP */
    fs_usec_t interval, timeout;
    unsigned rise, fall;
    int whole_farm; /* takes the application down everywhere, not on this server only */
} fs_monitor_config_t;

/*
 * Reads the field "monitors" of agent.json, NULL for none; `path` is for messages. On an error
 * nothing is left. Errors: FS1550 bad value, FS0621 out of memory.
 */
apr_status_t fs_monitors_read(fs_monitor_config_t *monitors, unsigned *count, const json_t *list,
                              const char *path, fs_result_t *result);
void fs_monitors_clear(fs_monitor_config_t *monitors, unsigned count);

/* --- verdicts --------------------------------------------------------------------------------- */

typedef enum fs_monitor_verdict_t {
    FS_MONITOR_STAYS, /* nothing to tell */
    FS_MONITOR_FELL,  /* tell that it is down */
    FS_MONITOR_ROSE,  /* take that back */
    FS_MONITOR_RENEW  /* tell again that it is down: the lease is half over */
} fs_monitor_verdict_t;

typedef struct fs_monitor_state_t {
    int down;
    unsigned streak;    /* checks in a row that say otherwise */
    fs_usec_t due;      /* mono, of the next check */
    fs_usec_t renew_at; /* mono, while down */
    uint64_t passed, failed;
} fs_monitor_state_t;

/*
 * `down`: a notice of this monitor is in force from before. `chance` (0..1) spreads the first check
 * over the interval, so that a farm that starts doesn't ask a database all at once.
 */
void fs_monitor_start(fs_monitor_state_t *state, const fs_monitor_config_t *config, int down,
                      fs_usec_t now, double chance);
/* A check that began when it was due has ended at `now` (mono). Says when the next is due. */
fs_monitor_verdict_t fs_monitor_judge(fs_monitor_state_t *state, const fs_monitor_config_t *config,
                                      int passed, fs_usec_t now);
/* The notice could not be told: it is tried again with the next check. */
void fs_monitor_not_told(fs_monitor_state_t *state, fs_monitor_verdict_t verdict);
/* How long what the monitor tells counts. */
fs_usec_t fs_monitor_lease(const fs_monitor_config_t *config);

/* --- one check -------------------------------------------------------------------------------- */

#define FS_MONITOR_SAID_SIZE 256

/*
 * Looks once, for at most the timeout (a name that must be resolved may take longer). Returns 1 if
 * it passed; else `said` is why not, one line. `*stop` other than 0 ends it early. `header_value`
 * is sent as FarmSync-Probe, so that an application that is down can be looked at.
 */
int fs_monitor_probe(const fs_monitor_config_t *config, const char *header_value,
                     const volatile int *stop, char said[FS_MONITOR_SAID_SIZE]);

#endif
