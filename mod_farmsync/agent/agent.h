/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farmsync-agent: what its threads share.
 *
 *   main       signals, the beat, the end                                     main.c
 *   clock      measures farm time, publishes it                               clock.c
 *   reporter   tells datasrv or the database of this server; cleans up        report.c
 *   parts      listeners, backplane, sessions, availability                   parts.c, listen.c
 *   per group:
 *     follower  what is in force and what comes: long poll, or SQL            follow.c
 *     promoter  promotes what no datasrv did in time                          promote.c
 *     fetcher   brings the images, publishes views                            fetch.c
 *
 * Nobody waits for anybody's network: the follower publishes a new schedule at once, while the
 * fetcher may be in the middle of a long transfer, and the beat and the clock go on beside both.
 *
 * Locks, in the order they are taken: group->taking, group->lock (several in the order of the
 * array), then agent->page_lock (everything that writes to the control page or to views/), then
 * servers_lock. None of them is held across network, SQL or the reading of an image.
 */
#ifndef FS_AGENT_H
#define FS_AGENT_H

#include <pthread.h>

#include "agent_config.h"
#include "net/fs_http_client.h"
#include "net/fs_key.h"
#include "plan.h"
#include "sql.h"
#include "sync/fs_retrieve.h"

typedef struct fs_agent_t fs_agent_t;

/* A difficulty that lasts: said once, and again each minute, until it is over. */
typedef struct fs_trouble_t {
    fs_repeat_t repeat;
    fs_result_t now; /* problem "" if there is none */
} fs_trouble_t;

/* What this agent does itself because no datasrv did it in time; promote.c. */
typedef struct fs_promoting_t {
    pthread_cond_t due;
    int is_due;      /* to be done, or under way */
    uint64_t serial; /* for which `jitter` and `failures` hold */
    double jitter;
    unsigned failures;
    fs_usec_t retry_at; /* mono; no try at a promotion or a decision before */
    int promotes;       /* since a data server was heard last */
} fs_promoting_t;

typedef struct fs_agent_group_t {
    fs_agent_t *agent;
    const char *name;
    pthread_t follower;
    pthread_t promoter;
    pthread_t fetcher;

    pthread_mutex_t taking; /* by whoever changes `manifest`, until it is kept on disk */
    fs_trouble_t saving;    /* taking; the state directory can't be written */

    pthread_mutex_t lock;    /* all below */
    pthread_cond_t changed;  /* a new manifest, or the end */
    fs_manifest_t *manifest; /* the last good one; NULL none */
    uint64_t serial;         /* grows with each that is taken */
    fs_known_t known;
    fs_plan_views_t views;
    fs_control_group_t record; /* as published */
    fs_usec_t heard;           /* mono, of the last confirmation */
    fs_usec_t confirmed;   /* mono: the database has said so since, or shortly before; 0 never */
    fs_usec_t older_since; /* mono, since when only older epochs are heard; 0 not */
    fs_trouble_t hearing;  /* nobody says what is in force */
    fs_trouble_t refusing; /* somebody says what can't be taken */
    fs_trouble_t fetching; /* images can't be had */
    fs_trouble_t promoting;
    fs_promoting_t own;
    fs_usec_t marked;     /* mono, when the kept manifest was marked as confirmed */
    fs_trouble_t serving; /* what is in force is not here */

    fs_http_client_t *fetch_http; /* made before the threads start */
    /* An aborted client stays so: whoever is woken takes a new one. Taken after all other locks. */
    pthread_mutex_t follow_lock;
    fs_http_client_t *follow_http;
    int woken;
    _Atomic int asking; /* the data server that the follower is waiting for, or -1 */
} fs_agent_group_t;

struct fs_agent_t {
    fs_agent_config_t config;
    fs_keyring_t ring;
    fs_control_t *control;
    char *image_dir;
    fs_usec_t started; /* mono */
    int standalone;    /* run by hand */
    fs_usec_t beaten;  /* mono: last sign of the agent before this one; 0 none in this boot */
    int cold;          /* first start since the boot: nothing on disk is trusted unread */

    volatile int stop; /* read with fs_agent_stopping */
    pthread_mutex_t stop_lock;
    pthread_cond_t stopped;

    pthread_mutex_t page_lock;

    pthread_mutex_t servers_lock;
    fs_servers_t servers; /* whom the followers ask */
    char server_why[FS_DETAIL_SIZE];

    fs_agent_sql_t sql; /* one connection for everything that is short */

    pthread_t clock_thread;
    pthread_t report_thread;
    fs_http_client_t *clock_http;
    fs_http_client_t *report_http;
    fs_trouble_t timing; /* timing_lock, which is taken after all others */
    pthread_mutex_t timing_lock;

    pthread_mutex_t report_lock;
    pthread_cond_t report_due;
    int report_wanted;

    /* What the parts keep; each is known to its own files only. NULL until it is opened. */
    struct fs_listen_t *listen;
    struct fs_backplane_t *backplane;
    struct fs_sessions_t *sessions;
    struct fs_avail_agent_t *avail;
    struct fs_agent_reuse_t *reuse;
    struct fs_reuse_carrier_t *carrier;
    struct fs_routing_t *routing;
    struct fs_route_visitors_t *route_visitors;

    unsigned group_count;
    fs_agent_group_t groups[FS_CONTROL_GROUPS];
};

/* --- agent.c: what all threads use ------------------------------------------------------------ */

/* 1 once the agent is to end. Any thread. */
int fs_agent_stopping(const fs_agent_t *agent);
/* 1 if there is a database or a data server; 0: this agent is there for the backplane alone. */
int fs_agent_has_source(const fs_agent_t *agent);
/* Sleeps for `span`, or until the agent is to stop. */
void fs_agent_sleep(fs_agent_t *agent, fs_usec_t span);
/* A condition on CLOCK_MONOTONIC, so that a step of the wall clock delays nobody. */
void fs_agent_cond_init(pthread_cond_t *cond);
/* Waits on `cond` for at most `span`; `lock` is held. */
void fs_agent_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, fs_usec_t span);
/* 0 .. 1, for spreading in time; any thread. */
double fs_agent_chance(void);

/*
 * Farm time now as the children see it: 0 if unknown. `*measured` 1 if it is more than a guess;
 * NULL is fine, as for `bound`.
 */
int fs_agent_farm(const fs_agent_t *agent, fs_usec_t *farm, fs_usec_t *bound, int *measured);

/* Notes and logs a difficulty; `problem` NULL: it is over, which is logged as `number` `text`. */
void fs_agent_trouble(fs_trouble_t *trouble, fs_log_level_t level, const fs_result_t *problem,
                      const char *number, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Makes a client for this agent's key and certificates. */
fs_http_client_t *fs_agent_client(fs_agent_t *agent);

/* Makes the follower's exchange fail, now or as soon as it begins. Any thread. */
void fs_agent_wake_follower(fs_agent_group_t *group);

/* The data server to ask now, FS_SERVERS_SQL if none; and how that went. */
int fs_agent_server(fs_agent_t *agent);
void fs_agent_server_worked(fs_agent_t *agent, int index);
/* `why` is kept for fs_agent_server_why, so that whoever is left without any can say it; may be
 * NULL. */
void fs_agent_server_failed(fs_agent_t *agent, int index, const fs_result_t *why);
/* Why the data server that failed last did; "" if it isn't known. */
void fs_agent_server_why(fs_agent_t *agent, char why[FS_DETAIL_SIZE]);
/* The data server that this agent is to ask if it can answers again. Returns 1 if it is asked now.
 */
int fs_agent_server_return(fs_agent_t *agent);

/* --- group.c: one group's state; group->lock is held ------------------------------------------ */

/* Publishes the group's record from its manifest and views. */
void fs_group_publish(fs_agent_group_t *group);
/*
 * Judges a manifest that came from `peer`, and takes it over (then it owns it) or frees it.
 * Publishes at once. `asked` is when `peer` was asked (mono), if the database stands behind what it
 * says; 0: it may be old. Returns what it was.
 */
fs_take_t fs_group_take(fs_agent_group_t *group, fs_manifest_t *manifest, const char *peer,
                        fs_usec_t asked);
/* Somebody who was asked then (mono) confirmed that nothing has changed; 0 as above. */
void fs_group_confirm(fs_agent_group_t *group, fs_usec_t asked);
/* The newest version that any process of this host has served. */
int64_t fs_group_floor(const fs_agent_group_t *group);
/* Publishes the group's troubles to the control page, if they changed. */
void fs_group_tell_troubles(fs_agent_group_t *group);
/* Starts from what the page and the disk have: before the threads start, no lock needed. */
void fs_group_load(fs_agent_group_t *group);

/* --- follow.c, promote.c: one group, between them --------------------------------------------- */

/* Gives a manifest to the group, as fs_group_take, and keeps it. Neither group->lock nor ->taking
 * is held. */
fs_take_t fs_follow_take(fs_agent_group_t *group, fs_manifest_t *manifest, const char *peer,
                         fs_usec_t asked);
/*
 * Farm time at which this agent tries to promote, or to have it decided; FS_CYCLE_NEVER while it
 * does, and if it has no database. `is_lone`: no data server answers. group->lock is held, and
 * there is a manifest.
 */
fs_usec_t fs_promote_at(fs_agent_group_t *group, fs_usec_t farm, int is_lone);
/* It is time: wakes the promoter. */
void fs_promote_begin(fs_agent_group_t *group);
/* A data server answers: should this agent promote from now on, that is news. */
void fs_promote_others(fs_agent_group_t *group);

/* --- saved.c: what outlives the agent in StateDir --------------------------------------------- */

/* manifest-<group>.json; its mtime is the wall time when it was last confirmed. */
apr_status_t fs_saved_manifest_write(fs_agent_t *agent, const fs_manifest_t *manifest,
                                     fs_result_t *result);
apr_status_t fs_saved_manifest_read(fs_agent_t *agent, const char *group, fs_manifest_t **manifest,
                                    fs_usec_t *confirmed_wall, fs_result_t *result);
void fs_saved_manifest_confirm(fs_agent_t *agent, const char *group);
/* clock.json: how far farm time was from this host's wall clock. */
apr_status_t fs_saved_clock_write(fs_agent_t *agent, const fs_control_clock_t *clock,
                                  fs_result_t *result);
int fs_saved_clock_read(fs_agent_t *agent, fs_control_clock_t *clock);
/* Whether the operator allowed, once, to take an older epoch of `group`; takes the file away. */
int fs_saved_accept(fs_agent_t *agent, const char *group);
/* Path of that file, for the message that names it. */
void fs_saved_accept_path(const fs_agent_t *agent, const char *group, char *path, size_t size);

/* --- threads ---------------------------------------------------------------------------------- */

void *fs_clock_run(void *agent);
void *fs_report_run(void *agent);
void *fs_follow_run(void *group);
void *fs_promote_run(void *group);
void *fs_fetch_run(void *group);
/* Makes the reporter report soon. Any thread, any lock held. */
void fs_report_soon(fs_agent_t *agent);
/*
 * Removes views and images that nobody needs. Images that a roll-back may want again stay, unless
 * the disk is `short_of_room`.
 */
void fs_agent_clean(fs_agent_t *agent, int short_of_room);

#endif
