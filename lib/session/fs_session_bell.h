/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the agent learns that a session has changed: a word that all processes of the host map
 * (futex). Nobody polls, and while the agent is at work anyway a change costs no system call:
 *
 *   asleep   whatever changes rings
 *   hushed   it will look within some milliseconds: only what is urgent rings
 *
 * Any number of processes and threads ring; one listens.
 */
#ifndef FS_SESSION_BELL_H
#define FS_SESSION_BELL_H

#include <stdint.h>

#include "base/fs_result.h"
#include "base/fs_time.h"

typedef struct fs_session_bell_t fs_session_bell_t;

/* Maps `dir`/bell, which is made (mode 0600) if it isn't there; `dir` is the store's. Errors:
 * FS1216.
 */
apr_status_t fs_session_bell_open(fs_session_bell_t **bell, const char *dir, fs_result_t *result);
void fs_session_bell_close(fs_session_bell_t *bell);

/* Something has changed, or is to be sent at once. */
void fs_session_bell_ring(fs_session_bell_t *bell, int urgent);

/* The listener is going to look now: whatever rings from here on is heard. */
void fs_session_bell_hear(fs_session_bell_t *bell);
/* It has looked, and will again within some milliseconds: only what is urgent rings. */
void fs_session_bell_hush(fs_session_bell_t *bell);
/* Waits until it rings (hushed: urgently), `span` at most. */
void fs_session_bell_wait(fs_session_bell_t *bell, fs_usec_t span);

#endif
