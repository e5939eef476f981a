/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions held ahead at the alternate of each visitor, so that it has them when the home is dead:
 *
 *   session_alternate.c   this host's: carried to alternates, as FarmSyncAlternateSync says
 *   session_ahead.c       other hosts': held, and found when this host takes a session
 *
 * Where routing is off there is none of it: sessions->alternates and sessions->held are NULL.
 */
#ifndef FS_AGENT_SESSION_AHEAD_H
#define FS_AGENT_SESSION_AHEAD_H

#include "net/fs_http_server.h"
#include "session/fs_session_held.h"
#include "session_table.h"

struct fs_sessions_t;

/* --- session_ahead.c -------------------------------------------------------------------------- */

apr_status_t fs_ahead_open(struct fs_sessions_t *sessions, fs_result_t *result);
/* POST /v1/sessions/ahead of another host. */
void fs_ahead_take(void *agent, fs_http_call_t *call);
/* The copy that is held, whose bytes are malloc'ed; 0 if there is none. No lock. */
int fs_ahead_get(struct fs_sessions_t *sessions, const fs_session_key_t *key,
                 fs_session_item_t *item);
/* This host has taken the session, in this version; `served` 1: nobody had anything newer than what
 * was held. No lock. */
void fs_ahead_taken(struct fs_sessions_t *sessions, const fs_session_key_t *key,
                    const fs_session_stamp_t *version, int served);
/* Each second or so. Keeper's. */
void fs_ahead_expire(struct fs_sessions_t *sessions);

/* --- session_alternate.c ---------------------------------------------------------------------- */

typedef struct fs_alternates_t fs_alternates_t;

apr_status_t fs_alternates_open(struct fs_sessions_t *sessions, fs_result_t *result);
apr_status_t fs_alternates_start(struct fs_sessions_t *sessions, fs_result_t *result);
/* Something may have changed. Any thread. */
void fs_alternates_wake(struct fs_sessions_t *sessions);
int fs_alternates_join(struct fs_sessions_t *sessions);
/* Whether the server of this hash takes what it is sent, as far as is known; `patient`: 1 also
 * while it is slow to. The lock is held. */
int fs_alternates_answers(const struct fs_sessions_t *sessions, uint64_t alternate, int patient);

typedef struct fs_ahead_counts_t {
    uint64_t carried; /* copies that alternates confirmed */
    uint64_t failed;  /* that weren't taken, and are sent again */
    uint64_t took;    /* copies that came */
    uint64_t served;  /* sessions that were taken over as they were held here */
} fs_ahead_counts_t;

#endif
