/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bell that wakes one waiting thread: a condition with its flag, on the monotonic clock, so that
 * a step of the wall clock neither delays nor hastens anybody. A ring before the wait is not lost.
 */
#ifndef FS_DATASRV_BELL_H
#define FS_DATASRV_BELL_H

#include <pthread.h>

#include "base/fs_time.h"

typedef struct fs_bell_t {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    int ringing;
} fs_bell_t;

void fs_bell_init(fs_bell_t *bell);
void fs_bell_destroy(fs_bell_t *bell);
void fs_bell_ring(fs_bell_t *bell); /* any thread */
/* Waits for a ring, at most until mono time `until`. Returns 1 if it rang. */
int fs_bell_wait(fs_bell_t *bell, fs_usec_t until);

#endif
