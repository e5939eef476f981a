/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests are still going to change a session: a table of counters in a file that all
 * processes of a host map, so that counting costs no lock and no system call.
 *
 * Sessions share counters by hash: a number that is too high only has a copy sent later, at the
 * flush time. A process that is killed leaves its counts; who sends a session at its flush time in
 * spite of them takes them for left behind (fs_session_pending_forget). Any number of threads and
 * processes.
 */
#ifndef FS_SESSION_PENDING_H
#define FS_SESSION_PENDING_H

#include "session/fs_session_id.h"

#define FS_SESSION_PENDING_SLOTS 65536

typedef struct fs_session_pending_t fs_session_pending_t;

/* Maps `path`, which is made (mode 0600) if it isn't there. Errors: FS1216. */
apr_status_t fs_session_pending_open(fs_session_pending_t **pending, const char *path,
                                     fs_result_t *result);
void fs_session_pending_close(fs_session_pending_t *pending);

void fs_session_pending_begin(fs_session_pending_t *pending, const fs_session_key_t *key);
void fs_session_pending_done(fs_session_pending_t *pending, const fs_session_key_t *key);
void fs_session_pending_forget(fs_session_pending_t *pending, const fs_session_key_t *key);
unsigned fs_session_pending_count(const fs_session_pending_t *pending, const fs_session_key_t *key);

#endif
