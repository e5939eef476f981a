/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backplane in the agent: the exchange of the replicated map (lib/backplane) over HTTP, kept on
 * disk, with the peers of the configuration and of farmsync.member.
 *
 *   POST /v1/exchange    a message of another agent (FarmSyncListen; signed)
 *   GET  /v1/backplane   how it is (agent.sock, and signed on FarmSyncListen)
 *
 * One thread sends all requests at the same time; what comes in is handled in the listeners' loop.
 * One lock protects map and exchange; it is held for no longer than a message's merging, and taken
 * after all locks of agent.h. All functions here: any thread, unless they say otherwise. Without
 * FarmSyncListen there is a map all the same, with this server alone.
 */
#ifndef FS_AGENT_BACKPLANE_H
#define FS_AGENT_BACKPLANE_H

#include "agent.h"
#include "backplane/fs_exchange.h"

/* --- reading ---------------------------------------------------------------------------------- */

/* A record with its texts, malloc'ed in one piece; free() it. NULL if there is none, or a
 * tombstone. */
fs_record_t *fs_backplane_get(fs_agent_t *agent, const char *kind, const char *key);
/* Calls fn for each record of `kind` that isn't removed, under the lock: no calls back into here.
 */
int fs_backplane_each(fs_agent_t *agent, const char *kind, fs_map_each_fn *fn, void *baton);

/*
 * Calls fn after changes of records of `kind`, with those that changed, removed and expired ones
 * included (`removed` 1), before they are confirmed to whoever sent them: so what a confirmation
 * says was done, is done. In whichever thread merged them, one call at a time, no lock held; it
 * must be quick. Changes of the same record come in their order. Before the start: in a part's
 * `open`, after backplane's; what was restored from disk is read with fs_backplane_each.
 */
typedef void fs_backplane_changed_fn(void *baton, const fs_record_t *records, unsigned count);
apr_status_t fs_backplane_watch(fs_agent_t *agent, const char *kind, fs_backplane_changed_fn *fn,
                                void *baton, fs_result_t *result);

/* --- telling ---------------------------------------------------------------------------------- */

/* What became of a change at one peer. */
typedef struct fs_told_peer_t {
    char name[FS_MEMBER_SIZE]; /* "" of a peer that never answered: see url */
    char url[FS_PEER_URL_SIZE];
    fs_peer_state_t state;
    int confirmed;
    fs_usec_t took;  /* until it confirmed */
    fs_usec_t heard; /* mono; when it was heard of last; 0 never */
} fs_told_peer_t;

typedef struct fs_told_t {
    int saved;      /* on this server's disk */
    fs_usec_t took; /* until everybody who is alive had confirmed, or time was over */
    unsigned peer_count;
    unsigned confirmed_count;
    const fs_told_peer_t *peers;
} fs_told_t;
/* Called once, in the backplane's thread, no lock held. */
typedef void fs_backplane_told_fn(void *baton, const fs_told_t *told);

/*
 * Puts a record (removes it if `value` is NULL) and sends it to every peer at once. If `fn` isn't
 * NULL, it is called when all peers that are alive have confirmed it and it is on disk, or after
 * `wait` microseconds, whichever comes first. `expires` farm time, 0 never. Errors: FS1470, FS1471
 * as fs_map_put; FS1474 too many are waiting already (the record was put); then fn isn't called.
 */
apr_status_t fs_backplane_put(fs_agent_t *agent, const char *kind, const char *key,
                              const void *value, size_t length, fs_priority_t priority,
                              fs_usec_t expires, fs_usec_t wait, fs_backplane_told_fn *fn,
                              void *baton, fs_result_t *result);

/* --- peers ------------------------------------------------------------------------------------ */

/*
 * The base URL of another server by its name ("http://10.0.0.2:4480"), and how it is. 0 if it isn't
 * known. Both may be NULL.
 */
int fs_peers_address(fs_agent_t *agent, const char *name, char url[FS_PEER_URL_SIZE],
                     fs_peer_state_t *state);
/* All others whose name is known, at most `max`; returns how many. */
typedef struct fs_peer_name_t {
    char name[FS_MEMBER_SIZE];
    char url[FS_PEER_URL_SIZE];
    fs_peer_state_t state;
    fs_usec_t heard; /* mono; 0 never */
} fs_peer_name_t;
unsigned fs_peers_list(fs_agent_t *agent, fs_peer_name_t *peers, unsigned max);
/* How many of the configuration have never answered, so that their names aren't known. */
unsigned fs_peers_nameless(fs_agent_t *agent);
/* 1 while this server has just started and hasn't compared what it knows with the others, if there
 * may be any: there may be records of which it doesn't know. 0: whoever watches has been told of
 * all that came. No lock is held. */
int fs_backplane_is_syncing(fs_agent_t *agent);
/* Farm time for stamps and windows: as children see it, or the wall clock if no source is known. */
fs_usec_t fs_backplane_time(fs_agent_t *agent);

/* A call was refused before it came to its handler; in the loop's thread. */
void fs_backplane_refused_call(fs_agent_t *agent, const char *problem);

/* --- the part --------------------------------------------------------------------------------- */

apr_status_t fs_backplane_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_backplane_start(fs_agent_t *agent, fs_result_t *result);
void fs_backplane_wake(fs_agent_t *agent);
int fs_backplane_join(fs_agent_t *agent);

#endif
