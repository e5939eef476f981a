/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent tells the request processes of its host: the control page and published views.
 *
 *   StateDir/control        one mapped file, written by the agent alone, read by every child
 *     [ header | clock | group 0 .. FS_CONTROL_GROUPS-1 ]     each of clock and group a seqlock
 *   StateDir/marks          one mapped file, written by the children with atomic operations only
 *     [ header | group 0 .. FS_CONTROL_GROUPS-1: newest version served, requests, look-ups, misses
 * ] StateDir/views/<id>     immutable: the datasets of one version of one group and their images
 *   StateDir/images/<digest>.fsi
 *
 * The files outlive every process, so that httpd, its children and the agent can each be restarted,
 * or die, without the others losing sight of the data. They hold offsets and plain numbers only: no
 * pointers. A reader takes whatever it reads as untrusted and checks it.
 *
 * The choice of a version is a comparison, not a timer: a child reads the group's record, adds the
 * published offset to CLOCK_MONOTONIC and compares with activation_time.
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include <stdatomic.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "image/fs_image.h"

#define FS_CONTROL_GROUPS   16
#define FS_CONTROL_DATASETS 256 /* per group */

/* Farm time as this host knows it. farm now = mono now + offset. */
typedef struct fs_control_clock_t {
    int32_t state;      /* FS_CLOCK_* */
    int32_t drift_ppm;  /* how fast the bound grows */
    fs_usec_t offset;   /* farm - mono */
    fs_usec_t bound;    /* of the error, when measured */
    fs_usec_t measured; /* mono time of the measurement */
    char source[64];    /* whom it was measured against */
} fs_control_clock_t;
#define FS_CLOCK_NONE     0 /* farm time is not known at all */
#define FS_CLOCK_GUESSED  1 /* from the wall clock and what was known before a restart; no bound */
#define FS_CLOCK_MEASURED 2

#define FS_PIN_NONE   0
#define FS_PIN_ACTIVE 1 /* to active_version: whatever the time, staged_version isn't due */
#define FS_PIN_STAGED 2 /* to staged_version, which is in force from activation_time on */

/* One group as the agent has it. View ids are 1.. and never reused on a host; 0 = not here. */
typedef struct fs_control_group_t {
    char name[FS_IMAGE_NAME_SIZE];
    uint8_t state;     /* fs_group_state_t */
    uint8_t pinned;    /* FS_PIN_*: by the operator; nothing is promoted */
    uint8_t undecided; /* no permission yet to serve staged_version: activation_time is a plan */
    uint8_t reserved[4];
    int64_t epoch;
    int64_t active_version; /* in force before activation_time; 0 = none ever promoted */
    int64_t staged_version; /* in force from activation_time on; == active_version if none */
    uint64_t active_view;   /* its published view, 0 if this host doesn't have it */
    uint64_t staged_view;
    fs_usec_t activation_time; /* farm time */
    fs_usec_t interval;
    fs_usec_t heard;       /* mono time when the sync row was last confirmed; 0: not since boot */
    fs_usec_t stale_after; /* farm time from which a newer version may be in force unheard of;
                              0: never */
    fs_usec_t data_time;   /* farm time at which the active version came into force; 0 unknown */
    fs_usec_t retrieved;   /* farm time when the staged view was published; 0 if not */
    char problem[FS_PROBLEM_SIZE]; /* latest difficulty of this group on this host, "" if none */
    char detail[256];
    char reason[256]; /* what the farm says of the cycle: why the last promotion was refused, or
                         what it waits for; "" as a rule */
} fs_control_group_t;

/* --- the agent's side (one thread at a time) -------------------------------------------------- */

typedef struct fs_control_t fs_control_t;

/*
 * Opens or makes StateDir/control and StateDir/marks for writing. A page left by an earlier agent
 * is kept and continued if its layout is ours, else replaced. After a reboot (boot id differs) the
 * clock is reset to FS_CLOCK_NONE. Errors: FS0501.
 */
apr_status_t fs_control_open_writer(fs_control_t **control, const char *state_dir,
                                    fs_result_t *result);
/* Publishes the clock, or one group (by name; takes a free record for a new name, FS0502 if none).
 */
void fs_control_set_clock(fs_control_t *control, const fs_control_clock_t *clock);
apr_status_t fs_control_set_group(fs_control_t *control, const fs_control_group_t *group,
                                  fs_result_t *result);
/* Forgets groups that are not in `names`. */
void fs_control_keep_groups(fs_control_t *control, const char *const *names, unsigned count);
/*
 * 1 if its files are still where readers look for them. Who writes to others than these is heard
 * only by those who have them from before.
 */
int fs_control_is_there(const fs_control_t *control);
/* The agent is alive: mono time now. Called at least each second. */
void fs_control_beat(fs_control_t *control);
void fs_control_set_agent(fs_control_t *control, const char *server_name, int64_t pid);

/* A version of a group, as a file below StateDir/views tells httpd of it. */
typedef struct fs_view_dataset_t {
    char name[FS_IMAGE_NAME_SIZE];
    fs_digest_t digest;
} fs_view_dataset_t;

typedef struct fs_view_info_t {
    uint64_t id;
    char group[FS_IMAGE_NAME_SIZE];
    int64_t version;
    unsigned dataset_count;
    fs_view_dataset_t *datasets; /* ordered by name */
} fs_view_info_t;

/*
 * Writes StateDir/views/<id> for a verified set of images and returns its new id (written whole,
 * then renamed). view->id is not looked at; image files must be in StateDir/images. Errors:
 * FS0010, FS0503.
 */
apr_status_t fs_view_write(fs_control_t *control, const fs_view_info_t *view, uint64_t *id,
                           fs_result_t *result);
/* Lists, or removes, published view files. The list is malloc'ed. */
apr_status_t fs_view_list(fs_control_t *control, uint64_t **ids, unsigned *count,
                          fs_result_t *result);
void fs_view_remove(fs_control_t *control, uint64_t id);

/* --- the reader's side (any thread, no lock) ---------------------------------------------------
 */

/*
 * Maps StateDir/control read only and StateDir/marks. A page that isn't there yet is no error:
 * fs_control_attached() is 0 until it is, and each call of fs_control_refresh() tries again, or
 * maps the new file if the page was replaced. Errors: FS0504.
 */
apr_status_t fs_control_open_reader(fs_control_t **control, const char *state_dir,
                                    fs_result_t *result);
int fs_control_attached(const fs_control_t *control);
/* Why the page can't be read: looks at the file again. APR_SUCCESS if it can. Errors: FS0504. */
apr_status_t fs_control_diagnose(const fs_control_t *control, fs_result_t *result);
void fs_control_refresh(fs_control_t *control);
void fs_control_close(fs_control_t *control);

/*
 * Changes whenever something was published that readers act upon or show: versions, views,
 * activation time, state or problem of a group, a group that came or went, the clock's state, a new
 * agent. Not with the beat, nor when only `heard`, `stale_after` or the clock's numbers moved on.
 */
uint32_t fs_control_generation(const fs_control_t *control);
/*
 * Waits (futex) until the generation is no longer `seen`, or `timeout` has passed; may return
 * early.
 */
void fs_control_wait(const fs_control_t *control, uint32_t seen, fs_usec_t timeout);
void fs_control_wake(fs_control_t *control); /* wakes the waiters of this page, any process */

int fs_control_clock(const fs_control_t *control, fs_control_clock_t *clock); /* 1 if read whole */
/* Index of a group's record, -1 if there is none. Copies the record whole. */
int fs_control_group(const fs_control_t *control, const char *name, fs_control_group_t *group);
int fs_control_group_at(const fs_control_t *control, unsigned index, fs_control_group_t *group);
fs_usec_t fs_control_beaten(const fs_control_t *control); /* mono time of the agent's last beat */

/* The agent's pid and its server's name; 0 and "" if none ever ran. */
int64_t fs_control_agent(const fs_control_t *control, char *server, size_t size);

/*
 * Pure: farm time at mono time `mono`, and the bound of its error then (INT64_MAX for a guessed
 * clock). Returns 0 if farm time is not known at all.
 */
int fs_control_now(const fs_control_clock_t *clock, fs_usec_t mono, fs_usec_t *farm,
                   fs_usec_t *bound);

/* What a request is to be served from. */
typedef struct fs_choice_t {
    uint64_t view; /* 0: there is nothing to serve */
    int64_t version;
    int stale; /* the version that is in force, or may be, is not the one chosen */
} fs_choice_t;

/*
 * Pure: which view is right at farm time `farm`. `floor` is the newest version any process of this
 * host has served (from the marks): the choice never goes below it, even if the clock was corrected
 * backwards, as long as that version is still at hand; `clock_known` 0 keeps to the active one.
 */
fs_choice_t fs_control_choose(const fs_control_group_t *group, fs_usec_t farm, int clock_known,
                              int64_t floor);

/* Reads a published view (untrusted: checked). malloc'ed; free with fs_view_free. Errors: FS0505.
 */
apr_status_t fs_view_read(const char *state_dir, uint64_t id, fs_view_info_t **view,
                          fs_result_t *result);
void fs_view_free(fs_view_info_t *view);

/* --- marks: what the children tell --------------------------------------------------------------
 */

typedef struct fs_marks_group_t {
    _Atomic int64_t floor;     /* newest version served by any child; only grows */
    _Atomic uint64_t requests; /* requests that pinned a view */
    _Atomic uint64_t lookups;
    _Atomic uint64_t misses;
    _Atomic uint64_t refused;  /* FarmSyncOnStale refuse, or no data at all */
    _Atomic int64_t first_new; /* farm time at which `floor` was first served on this host */
    _Atomic int64_t last_old;  /* newest farm time at which an older version was pinned; only
                                  kept from FS_MARKS_NEAR before an activation on */
    _Atomic int64_t
        stale_told; /* mono time when the group was last logged as stale, 0 if it isn't */
    /* Of farm time when first_new and last_old were noted: what promise 2 is to be judged by. The
     * clock is measured anew each second, so the bound of a later moment may be far smaller.
     * INT64_MAX if farm time was not measured. */
    _Atomic int64_t first_new_bound;
    _Atomic int64_t last_old_bound;
    int64_t reserved[6]; /* to the end of the second cache line */
} fs_marks_group_t;

/* The marks of the group record `index`; never NULL for a valid index (falls back to private
 * memory). */
fs_marks_group_t *fs_control_marks(const fs_control_t *control, unsigned index);

#define FS_MARKS_NEAR (5 * FS_USEC_PER_SEC)
/*
 * Notes that `version` was pinned at farm time `farm`, known to within `bound`, with the group as
 * it was read for that.
 */
void fs_marks_served(fs_marks_group_t *marks, const fs_control_group_t *group, int64_t version,
                     fs_usec_t farm, fs_usec_t bound);

#endif
