/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread with a database connection of its own that is asked to end and waited for, but not for
 * longer than the one who stops has time: a statement may hang.
 */
#ifndef FS_DATASRV_SQLTHREAD_H
#define FS_DATASRV_SQLTHREAD_H

#include <stdatomic.h>

#include "bell.h"
#include "base/fs_result.h"
#include "net/fs_sql.h"

/* Part of what it works for; all but `sql` is private. */
typedef struct fs_sqlthread_t {
    fs_sql_t *sql; /* the thread's own, not connected at first */
    void (*work)(void *baton);
    void *baton;
    fs_bell_t *wakes;
    fs_bell_t ended_bell;
    pthread_t thread;
    atomic_int stop, ended;
} fs_sqlthread_t;

/*
 * Starts `work`, which returns soon after fs_sqlthread_stopped. `wakes` is rung to have it look,
 * and outlives the thread. A statement without an answer for `read_timeout_s` fails. Errors: FS0302
 * and others of fs_sql_create; FS0812 no thread; nothing is left then.
 */
apr_status_t fs_sqlthread_start(fs_sqlthread_t *thread, const char *option_file,
                                unsigned read_timeout_s, fs_bell_t *wakes,
                                void (*work)(void *baton), void *baton, fs_result_t *result);
int fs_sqlthread_stopped(fs_sqlthread_t *thread); /* any thread */
/* Asks it to end after the statement it is in. */
void fs_sqlthread_stop(fs_sqlthread_t *thread);
/* Waits until it has ended, at most until mono time `until`. 0 if it hasn't. */
int fs_sqlthread_join(fs_sqlthread_t *thread, fs_usec_t until);

#endif
