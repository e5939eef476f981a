/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may tell what, and what of it is heeded: decisions only, no clock, no network, no lock.
 *
 *   role        from how the caller came: fs_avail_role
 *   a notice    is it for this role: fs_avail_admit; it fills in what the caller left open
 *   rate        how often who isn't an operator may speak: fs_avail_bucket_take
 *   share       on how many servers monitors may take an application down: fs_avail_share
 *
 * A monitor never takes back or replaces what an operator said. That doesn't rest on who asks whom
 * in which order: ids of monitors' notices begin with "monitor.", those of operators' don't, so the
 * records have different keys whatever way they come, and operators' are asked first. A record
 * whose key and role disagree is not heeded (fs_avail_is_sound).
 *
 * The share is decided by each server for itself, from the same notices by the same rule, and so
 * alike on all: a check before telling could be passed by all monitors of a farm at once.
 */
#ifndef FS_AVAIL_RULES_H
#define FS_AVAIL_RULES_H

#include <sys/types.h>

#include "avail/fs_notice.h"

#define FS_AVAIL_MONITOR_PREFIX  "monitor."
#define FS_AVAIL_MONITOR_DEFAULT (600 * FS_USEC_PER_SEC) /* a monitor's notice without an end */
#define FS_AVAIL_MONITOR_MOST    (24 * 3600 * FS_USEC_PER_SEC)
#define FS_AVAIL_BURST           50 /* of changes by one who isn't an operator */
#define FS_AVAIL_PER_SECOND      5
#define FS_AVAIL_SERVERS_MOST    1024 /* of a farm, as far as the share is counted */

typedef enum fs_avail_role_t {
    FS_AVAIL_OBSERVE, /* may look */
    FS_AVAIL_MONITOR,
    FS_AVAIL_OPERATOR
} fs_avail_role_t;

/* How a caller came. */
typedef struct fs_avail_caller_t {
    int local;     /* over the unix socket ... */
    uid_t user;    /* ... as this user */
    int is_signed; /* with the farm's key */
} fs_avail_caller_t;

/*
 * Over the unix socket root is an operator, and so is the agent's own user if httpd wasn't started
 * by root (`own_is_operator`); whoever else the socket's permissions let in, such as a script that
 * httpd runs, is a monitor. Who signs with the farm key is an operator, and may ask for less.
 * Others may look.
 */
fs_avail_role_t fs_avail_role(const fs_avail_caller_t *caller, uid_t own, int own_is_operator);
const char *fs_avail_role_name(fs_avail_role_t role);

/*
 * Makes a notice that somebody of this role told ready to be kept: `notice->role` is what the
 * caller asked for (FS_NOTICE_OPERATOR if nothing), `id` is at least FS_NOTICE_NAME_SIZE bytes for
 * the id that it gets, `since` is when this notice began if there is one with its key that is in
 * force, else 0. Errors: FS1570 not for this role, FS1571 what a monitor can't say, FS1572 it is
 * over already, FS1573 an id that belongs to monitors.
 */
apr_status_t fs_avail_admit(fs_notice_t *notice, fs_avail_role_t role, char *id, fs_usec_t since,
                            fs_usec_t farm, fs_result_t *result);
/* The id that a monitor's notice gets: FS_AVAIL_MONITOR_PREFIX and `name`, cut short if need be. */
void fs_avail_monitor_id(const char *name, const char *server, char id[FS_NOTICE_NAME_SIZE]);
/* Whether the key of a record that came belongs to what it says. */
int fs_avail_is_sound(const fs_notice_t *notice, const char *key);

/* --- rate ------------------------------------------------------------------------------------- */

typedef struct fs_avail_bucket_t {
    fs_usec_t filled; /* mono; 0: full */
    double tokens;
} fs_avail_bucket_t;

/* 1 if one more may pass at `now` (mono). */
int fs_avail_bucket_take(fs_avail_bucket_t *bucket, fs_usec_t now);

/* --- share ------------------------------------------------------------------------------------ */

typedef struct fs_avail_item_t {
    const fs_notice_t *notice;
    int heeded;  /* set by fs_avail_share */
    void *baton; /* the caller's */
} fs_avail_item_t;

/* Whether it is of those whose number is limited: a monitor's that takes an application down. */
int fs_avail_is_limited(const fs_notice_t *notice);
/* On how many of `servers` servers monitors may take an application down. */
unsigned fs_avail_allowed(unsigned servers, unsigned percent);
/*
 * Sorts the items and says of each whether it is heeded at `farm`. Of an application's monitors'
 * notices that take it down, those that began first are, as long as the servers that they are about
 * are no more than allowed; one that is about the whole farm counts for all of its servers. Returns
 * how many aren't.
 */
unsigned fs_avail_share(fs_avail_item_t *items, unsigned count, unsigned servers, unsigned percent,
                        fs_usec_t farm);

#endif
