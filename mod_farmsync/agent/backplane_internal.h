/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the agent's backplane share.
 *
 *   backplane.c        life: opening, the thread that sends, reading
 *   backplane_tell.c   own changes, and who has confirmed them
 *   backplane_keep.c   the snapshot on disk, in a thread of its own: a disk may be slow
 *   backplane_http.c   what comes in, and how it is
 *   peers.c            whom there is: members' records, data servers, the database
 */
#ifndef FS_BACKPLANE_INTERNAL_H
#define FS_BACKPLANE_INTERNAL_H

#include <sys/queue.h>

#include "backplane.h"
#include "net/fs_http_fan.h"

#define FS_BACKPLANE_WATCHERS 8
#define FS_BACKPLANE_TICKETS  256
#define FS_BACKPLANE_FILE     "backplane"

typedef struct fs_change_t {
    STAILQ_ENTRY(fs_change_t) link;
    fs_record_t *record; /* in one piece with its texts */
} fs_change_t;
typedef STAILQ_HEAD(fs_changes_t, fs_change_t) fs_changes_t;

typedef struct fs_watcher_t {
    const char *kind;
    fs_backplane_changed_fn *fn;
    void *baton;
} fs_watcher_t;

/* A change that somebody waits for. */
typedef struct fs_ticket_t {
    LIST_ENTRY(fs_ticket_t) link;
    fs_priority_t priority;
    uint64_t place;
    uint64_t serial;        /* of the map, that is to be on disk */
    fs_usec_t began, until; /* mono */
    fs_backplane_told_fn *fn;
    void *baton;
    unsigned peer_count;
    fs_told_peer_t *peers;
} fs_ticket_t;

typedef struct fs_backplane_t {
    fs_agent_t *agent;
    pthread_mutex_t lock; /* map, exchange, changes, tickets, dirt */
    fs_map_t *map;
    fs_exchange_t *exchange;
    char url[FS_PEER_URL_SIZE];

    unsigned watcher_count;
    fs_watcher_t watchers[FS_BACKPLANE_WATCHERS];
    pthread_mutex_t telling; /* one thread at a time calls the watchers; taken before `lock` */
    fs_changes_t changes;

    unsigned ticket_count;
    LIST_HEAD(, fs_ticket_t) tickets;

    /* The thread that sends. */
    fs_http_fan_t *fan;
    pthread_t thread;
    int started, joined;

    /* The thread that keeps. */
    pthread_t keeper;
    int keeper_started, keeper_joined;
    pthread_cond_t dirty;
    int urgent;          /* an operator's record isn't on disk */
    int lasting;         /* a record that isn't said anew each second isn't on disk */
    uint64_t kept;       /* serial of the map that is on disk */
    fs_usec_t keep_took; /* the last time */
    fs_trouble_t keeping;

    /* The thread that asks for peers. */
    fs_http_client_t *peers_http;
    pthread_t finder;
    int finder_started, finder_joined;

    int told_own;                     /* this life has looked at its own member record */
    int ending;                       /* the listeners have ended: this is the last of it */
    uint64_t said[FS_REFUSED_CAUSES]; /* refusals that are in the log */
    fs_usec_t said_at;
    unsigned said_names;
} fs_backplane_t;

int fs_backplane_ending(const fs_backplane_t *backplane);
fs_moment_t fs_backplane_now(const fs_backplane_t *backplane);
/* Calls the watchers for what has changed. No lock is held. When it returns, all that had changed
 * before is told. */
void fs_backplane_deliver(fs_backplane_t *backplane);
/* There is something to be sent, or to be judged. Any thread. */
void fs_backplane_ring(fs_backplane_t *backplane);

/* backplane_tell.c; the lock is held. Mono time when the next ticket ends. */
fs_usec_t fs_tickets_due(const fs_backplane_t *backplane);
/* No lock is held. Ends those that are done; `all`: everyone, as the agent stops. */
void fs_tickets_judge(fs_backplane_t *backplane, int all);

/* backplane_keep.c */
apr_status_t fs_backplane_restore(fs_backplane_t *backplane, fs_result_t *result);
void *fs_backplane_keep(void *backplane);
/* This record has changed; the lock is held. */
void fs_backplane_dirty(fs_backplane_t *backplane, const fs_record_t *record);

/* backplane_http.c */
apr_status_t fs_backplane_add_routes(fs_agent_t *agent, fs_result_t *result);

/* peers.c; backplane_http.c */
void *fs_peers_find(void *backplane);
/* Peers from the configuration and from the records of members, and this server's own record;
 * before the threads start. */
apr_status_t fs_peers_begin(fs_backplane_t *backplane, fs_result_t *result);
/* A member's record changed, or is read for the first time; the lock is held. */
void fs_peers_learn(fs_backplane_t *backplane, const fs_record_t *record);
/* This server's own record is there, and won't expire soon; the lock is held. */
void fs_peers_tell_own(fs_backplane_t *backplane);

#endif
