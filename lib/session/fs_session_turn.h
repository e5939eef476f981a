/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns: whole-request locking of a session (SessionFarmSyncLock exclusive) over all processes and
 * threads of a host, first come first served.
 *
 * Whoever wants a session's turn stands in its queue, in a table that all processes map; he waits
 * on a word of his own (futex) and is handed the turn by the one before him. What a process that
 * died held or waited for is passed on within FS_SESSION_TURN_STEP. The agent takes a turn, too,
 * before it hands a session over to another host.
 *
 * Open it once in each process, after fork(). Any thread may leave a turn that another one took.
 */
#ifndef FS_SESSION_TURN_H
#define FS_SESSION_TURN_H

#include "base/fs_time.h"
#include "session/fs_session_id.h"

#define FS_SESSION_TURN_PROCESSES 4096  /* that have it open at once */
#define FS_SESSION_TURN_ENTRIES   16384 /* turns that are held and waited for at once */
#define FS_SESSION_TURN_STEP      (20 * FS_USEC_PER_MSEC)

typedef struct fs_session_turns_t fs_session_turns_t;

/* A place in a queue. {0} is none. */
typedef struct fs_session_turn_t {
    uint64_t ticket;
    uint32_t entry; /* + 1 */
} fs_session_turn_t;

/* Maps `dir`/turns, which is made (mode 0600) if it isn't there; `dir` is the store's. Errors:
 * FS1216; FS1261 too many processes. */
apr_status_t fs_session_turns_open(fs_session_turns_t **turns, const char *dir,
                                   fs_result_t *result);
/* What this process still holds is passed on. */
void fs_session_turns_close(fs_session_turns_t *turns);

/* Waits for the turn, `wait` microseconds at most. Errors: FS1262 it didn't come (APR_TIMEUP);
 * FS1263 the table is full (APR_ENOSPC). */
apr_status_t fs_session_turn_take(fs_session_turns_t *turns, const fs_session_key_t *key,
                                  fs_usec_t wait, fs_session_turn_t *turn, fs_result_t *result);
/* Passes the turn on. One that was not taken, or was left already, is ignored. */
void fs_session_turn_leave(fs_session_turns_t *turns, fs_session_turn_t *turn);

/* How many hold or wait for a session's turn; those of dead processes count until somebody waits.
 */
unsigned fs_session_turn_count(fs_session_turns_t *turns, const fs_session_key_t *key);

#endif
