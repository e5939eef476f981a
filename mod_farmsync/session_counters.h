/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the request processes of a host have done with sessions: counters in a small file that all
 * of them map. Adding costs no lock and no system call; each counter has a cache line of its own.
 */
#ifndef FS_SESSION_COUNTERS_H
#define FS_SESSION_COUNTERS_H

#include <stdint.h>

#include "base/fs_result.h"

typedef enum fs_session_count_t {
    FS_SESSION_HITS,        /* requests whose session was here */
    FS_SESSION_FETCHED,     /* ... was brought from another server, or compared with the bank */
    FS_SESSION_UNKNOWN,     /* ... is known to nobody any more */
    FS_SESSION_FOREIGN,     /* ... has an id that isn't of this farm */
    FS_SESSION_UNANSWERED,  /* ... nobody could say in time */
    FS_SESSION_UNVERIFIED,  /* ... served though the agent couldn't be asked */
    FS_SESSION_CREATED,     /* sessions that began */
    FS_SESSION_SAVED,       /* changes stored */
    FS_SESSION_MOVED,       /* ids changed: login, logout */
    FS_SESSION_ENDED_COUNT, /* sessions ended by a request */
    FS_SESSION_FULL,        /* changes refused: the store is full */
    FS_SESSION_TOO_LARGE,   /* changes refused: the session would be too large */
    FS_SESSION_DROPPED,     /* changes of a session that had ended meanwhile */
    FS_SESSION_FAILED,      /* changes lost because the store failed */
    FS_SESSION_UNCONFIRMED, /* answers sent without the copies that were asked for */
    FS_SESSION_TURNS,       /* requests that had a session to themselves */
    FS_SESSION_TURNS_LATE,  /* requests that waited for their turn in vain */
    FS_SESSION_COUNTERS
} fs_session_count_t;

typedef struct fs_session_counters_t fs_session_counters_t;

/* Maps `dir`/counts, made (mode 0600) if it isn't there. Never NULL: what can't be mapped is
 * counted in this process alone, and `result` says why (FS1308). */
fs_session_counters_t *fs_session_counters_open(const char *dir, fs_result_t *result);
void fs_session_counters_add(fs_session_counters_t *counters, fs_session_count_t which);
uint64_t fs_session_counters_get(const fs_session_counters_t *counters, fs_session_count_t which);
/* "hits", "fetched", ...; and what it means, for metrics. */
const char *fs_session_counters_name(fs_session_count_t which);
const char *fs_session_counters_help(fs_session_count_t which);

#endif
