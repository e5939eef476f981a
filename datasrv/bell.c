/* SPDX-License-Identifier: Apache-2.0 */
#include "bell.h"

#include <errno.h>
#include <time.h>

void fs_bell_init(fs_bell_t *bell)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&bell->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&bell->rung, &attributes);
    pthread_condattr_destroy(&attributes);
    bell->ringing = 0;
}

void fs_bell_destroy(fs_bell_t *bell)
{
    pthread_cond_destroy(&bell->rung);
    pthread_mutex_destroy(&bell->lock);
}

void fs_bell_ring(fs_bell_t *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->ringing = 1;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

int fs_bell_wait(fs_bell_t *bell, fs_usec_t until)
{
    fs_usec_t left = until - fs_time_mono();
    struct timespec end;
    int rang, error = 0;

    /* fs_time_mono may run fast or slow in a test, the kernel's clock does not: wait for the rest.
     */
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (left > 0) {
        end.tv_sec += (time_t)(left / FS_USEC_PER_SEC);
        end.tv_nsec += (long)(left % FS_USEC_PER_SEC) * 1000;
        if (end.tv_nsec >= 1000000000L) {
            end.tv_nsec -= 1000000000L;
            end.tv_sec++;
        }
    }
    pthread_mutex_lock(&bell->lock);
    while (!bell->ringing && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&bell->rung, &bell->lock, &end);
    rang = bell->ringing;
    bell->ringing = 0;
    pthread_mutex_unlock(&bell->lock);
    return rang;
}
