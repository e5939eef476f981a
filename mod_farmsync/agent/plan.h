/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent decides, and nothing else: no clock, no network, no file, no lock. Times are
 * arguments, chance is an argument (0..1), so that tests can drive years of it in a second.
 *
 *   whom to ask next           fs_servers_*
 *   whether to believe it      fs_plan_take       a server never goes back by itself
 *   what to tell the children  fs_plan_compose
 *   what to retrieve next      fs_plan_wanted, fs_plan_herd_delay
 *   what to throw away         fs_plan_retire
 *   when to say it again       fs_plan_say
 */
#ifndef FS_AGENT_PLAN_H
#define FS_AGENT_PLAN_H

#include "base/fs_time.h"
#include "control/fs_control.h"
#include "sync/fs_manifest.h"

/* --- whom to ask ------------------------------------------------------------------------------ */

#define FS_SERVERS_MAX      64
#define FS_SERVERS_SQL      (-1) /* no data server is known to answer: ask the database */
#define FS_SERVERS_RETRY_MS 500  /* first back-off of a data server; doubled up to ... */
#define FS_SERVERS_LAST_MS  15000
#define FS_SERVERS_HOME_MS  60000 /* away for this time to twice of it, then home is looked at */

typedef struct fs_server_t {
    unsigned failures;  /* in a row */
    fs_usec_t retry_at; /* mono; not asked before */
} fs_server_t;

/* One thread at a time. */
typedef struct fs_servers_t {
    unsigned count;
    int current;          /* index, or FS_SERVERS_SQL */
    unsigned home;        /* index of the one that this agent is to ask if it can */
    fs_usec_t home_at;    /* mono; when to look whether it is back; 0: it wasn't left */
    fs_usec_t home_after; /* FS_SERVERS_HOME_MS, but in tests */
    fs_server_t servers[FS_SERVERS_MAX];
} fs_servers_t;

/*
 * Starts at the server whose URL `name` prefers (rendezvous hashing), so that a farm spreads over
 * its data servers, whatever the order in which each host lists them.
 */
void fs_servers_init(fs_servers_t *servers, unsigned count, char *const *urls, const char *name);
/* It answered: stays with it. */
void fs_servers_worked(fs_servers_t *servers, unsigned index);
/*
 * It did not answer, or could not serve. Moves on to the next that may be asked now, else to SQL.
 * Another thread may have moved on already: then only the back-off is noted.
 */
void fs_servers_failed(fs_servers_t *servers, unsigned index, fs_usec_t now, double chance);
/* The server to ask now: the current one; while on SQL, one whose back-off is over; else SQL. */
int fs_servers_next(const fs_servers_t *servers, fs_usec_t now);

/*
 * A farm whose agents have all gone to the survivor is to spread again when the other is back. So
 * after a while away, each at its own time, home is looked at beside the current one: its index if
 * that is due, else -1.
 */
int fs_servers_home(const fs_servers_t *servers, fs_usec_t now);
/* Home answers: goes back to it, if it is time to. Returns 1 if so. */
int fs_servers_return(fs_servers_t *servers, fs_usec_t now);

/* A back-off that doubles from `first` to `last`, somewhere in the upper half of it. */
fs_usec_t fs_plan_backoff(unsigned failures, fs_usec_t first, fs_usec_t last, double chance);

/* --- whether to believe it -------------------------------------------------------------------- */

/* What this host published last of a group. Digests are "" where they are not known. */
typedef struct fs_known_t {
    int only_page; /* not from a manifest: what serves may be named instead of what is in force */
    int64_t epoch; /* -1: nothing is known */
    int64_t active_version;
    int64_t staged_version;
    int pinned; /* to active_version */
    int waiting; /* activation_time is a plan */
    fs_usec_t activation_time;
    fs_usec_t interval;
    char active_digest[FS_DIGEST_HEX_SIZE];
    char staged_digest[FS_DIGEST_HEX_SIZE];
} fs_known_t;

void fs_known_nothing(fs_known_t *known);
void fs_known_from_manifest(fs_known_t *known, const fs_manifest_t *manifest);
void fs_known_from_record(fs_known_t *known, const fs_control_group_t *record);

typedef enum fs_take_t {
    FS_TAKE_NEW,       /* take it */
    FS_TAKE_SAME,      /* what we have was confirmed */
    FS_TAKE_FOREIGN,   /* of another group */
    FS_TAKE_MALFORMED, /* says things that can't be */
    FS_TAKE_OLDER,     /* a lower epoch than ours */
    FS_TAKE_LAGS,      /* the same, of somebody who has only to ask the database again */
    FS_TAKE_CHANGED,   /* the same epoch with other versions or contents */
    FS_TAKE_BACKWARDS  /* would put an older version in force: a roll-back has a number of its own */
} fs_take_t;

/*
 * Judges an answer. `farm` is the earliest that farm time can be now; `farm_known` 0: unknown. What
 * is not NEW or SAME changes nothing that is published.
 */
fs_take_t fs_plan_take(const fs_known_t *known, const fs_manifest_t *got, const char *group,
                       fs_usec_t farm, int farm_known);

/* A data server may lag behind another, or behind what this agent read in the database itself: for
 * a moment it is simply asked again; then another one is; and then an older epoch is a difficulty.
 */
#define FS_PLAN_LAG_BRIEF (1 * FS_USEC_PER_SEC)
#define FS_PLAN_LAG       (5 * FS_USEC_PER_SEC)

/* --- what to publish -------------------------------------------------------------------------- */

#define FS_PLAN_VIEWS   16                     /* of one group, retired ones included */
#define FS_PLAN_LINGERS (60 * FS_USEC_PER_SEC) /* how long a view outlives its last mention */

/* A view that is published, or was a moment ago. */
typedef struct fs_plan_view_t {
    uint64_t id;
    int64_t version;
    char digest[FS_DIGEST_HEX_SIZE]; /* of the version, as fs_manifest_version_digest */
    fs_usec_t published;             /* farm time, 0 unknown */
    fs_usec_t retired;               /* mono time since when no manifest names it, 0: it is named */
} fs_plan_view_t;

typedef struct fs_plan_views_t {
    unsigned count;
    fs_plan_view_t views[FS_PLAN_VIEWS];
} fs_plan_views_t;

/* Id of the view that holds `version`, content included; 0 if there is none. */
uint64_t fs_plan_view_of(const fs_plan_views_t *views, const fs_manifest_version_t *version);
/* Adds a view; makes room by forgetting the one that was retired first. */
void fs_plan_view_add(fs_plan_views_t *views, const fs_plan_view_t *view);
void fs_plan_view_drop(fs_plan_views_t *views, uint64_t id);
/* Marks what neither `manifest` nor the published `record` names, and forgets what has lingered. */
void fs_plan_retire(fs_plan_views_t *views, const fs_manifest_t *manifest,
                    const fs_control_group_t *record, fs_usec_t mono);

/* When a record is composed. */
typedef struct fs_plan_moment_t {
    fs_usec_t heard;       /* mono time of the last confirmation */
    fs_usec_t stale_after; /* farm time */
    fs_usec_t farm;        /* now; 0 if it isn't known */
    int farm_known;
    int64_t floor; /* newest version that this host has served */
} fs_plan_moment_t;

/* What stale_after says while something older than what is in force has to do: since ever. */
#define FS_PLAN_STALE_NOW 1

/*
 * The group's record as children are to see it: `manifest` with those versions that are here. What
 * outlives a manifest (data_time, problem) is taken from `last`. While the version in force is not
 * here, the newest one before it that is goes on being published, marked as stale: children decide
 * by FarmSyncOnStale. Never one below what this host has served already.
 */
void fs_plan_compose(fs_control_group_t *record, const fs_control_group_t *last,
                     const fs_manifest_t *manifest, const fs_plan_views_t *views,
                     const fs_plan_moment_t *moment);

/* The version that is in force at farm time `farm`, as a child would choose it. */
const fs_manifest_version_t *fs_plan_in_force(const fs_manifest_t *manifest, fs_usec_t farm,
                                              int farm_known);
/*
 * The version to retrieve next: the one in force, then the staged one; NULL when all is here.
 * `failed` is a version number that could not be had just now (0 none): while the one in force
 * can't be had, the one before it is better than nothing.
 */
const fs_manifest_version_t *fs_plan_wanted(const fs_manifest_t *manifest,
                                            const fs_plan_views_t *views, fs_usec_t farm,
                                            int farm_known, int64_t failed);
/*
 * How long to put off the retrieval of a staged version, so that a farm doesn't ask all at once: a
 * part of a tenth of what is `left` until the activation, at most FS_PLAN_HERD; 0 when time is
 * short.
 */
#define FS_PLAN_HERD (30 * FS_USEC_PER_SEC)
fs_usec_t fs_plan_herd_delay(fs_usec_t left, double chance);
/*
 * When to ask again whoever said to come again in `wait` seconds: so long, give or take half, but
 * never more than an eighth of what is `left` (0 or less: of FS_PLAN_PATIENCE), so that many tries
 * are left before the activation.
 */
fs_usec_t fs_plan_come_again(unsigned wait, fs_usec_t left, double chance);
/*
 * Whether to go on asking data servers that say so for `busy`: for about half of the time there
 * was, as `left` is what there is now; for FS_PLAN_PATIENCE when the version should be in force
 * already. After that it is built from SQL, if that can be had. Spread by `chance`: the farm must
 * not turn to the database as one.
 */
#define FS_PLAN_PATIENCE (3 * FS_USEC_PER_SEC)
int fs_plan_is_patient(fs_usec_t busy, fs_usec_t left, double chance);

/* --- when to ask again ------------------------------------------------------------------------ */

#define FS_PLAN_WAIT_MS    20000 /* of a long poll */
#define FS_PLAN_OVERDUE_MS 1000  /* ... while a promotion is overdue */
#define FS_PLAN_HELD_MS    5000  /* ... while nothing is to be promoted; below FS_CYCLE_SILENCE */

/*
 * How long a long poll may take so that this agent is back for its own try at the promotion, at
 * farm time `promote_at`. In ms.
 */
unsigned fs_plan_wait_ms(const fs_manifest_t *manifest, fs_usec_t farm, int farm_known,
                         fs_usec_t promote_at);

/* --- when to say it again --------------------------------------------------------------------- */

#define FS_PLAN_REPEAT (60 * FS_USEC_PER_SEC)

typedef struct fs_repeat_t {
    char problem[FS_PROBLEM_SIZE];
    fs_usec_t said;
} fs_repeat_t;

typedef enum fs_say_t {
    FS_SAY_NOTHING, /* it is known */
    FS_SAY_PROBLEM, /* it is new, or has gone on for another FS_PLAN_REPEAT */
    FS_SAY_OVER     /* it was said, and is over */
} fs_say_t;

/* `problem` is a message number, "" for none. */
fs_say_t fs_plan_say(fs_repeat_t *repeat, const char *problem, fs_usec_t now);

#endif
