/* SPDX-License-Identifier: Apache-2.0 */
#include "sqlthread.h"

static void *run(void *baton)
{
    fs_sqlthread_t *thread = baton;

    thread->work(thread->baton);
    fs_sql_destroy(thread->sql);
    fs_sql_thread_end();
    atomic_store(&thread->ended, 1);
    fs_bell_ring(&thread->ended_bell);
    return NULL;
}

apr_status_t fs_sqlthread_start(fs_sqlthread_t *thread, const char *option_file,
                                unsigned read_timeout_s, fs_bell_t *wakes,
                                void (*work)(void *baton), void *baton, fs_result_t *result)
{
    apr_status_t status = fs_sql_create(&thread->sql, option_file, result);

    if (status != APR_SUCCESS)
        return status;
    fs_sql_set_read_timeout(thread->sql, read_timeout_s);
    thread->work = work;
    thread->baton = baton;
    thread->wakes = wakes;
    atomic_init(&thread->stop, 0);
    atomic_init(&thread->ended, 0);
    fs_bell_init(&thread->ended_bell);
    if (!pthread_create(&thread->thread, NULL, run, thread))
        return APR_SUCCESS;
    fs_bell_destroy(&thread->ended_bell);
    fs_sql_destroy(thread->sql);
    return fs_result_set(result, APR_EGENERAL, "FS0812",
                         "cannot start a thread; raise the limit of tasks of this service");
}

int fs_sqlthread_stopped(fs_sqlthread_t *thread)
{
    return atomic_load(&thread->stop);
}

void fs_sqlthread_stop(fs_sqlthread_t *thread)
{
    atomic_store(&thread->stop, 1);
    fs_bell_ring(thread->wakes);
}

int fs_sqlthread_join(fs_sqlthread_t *thread, fs_usec_t until)
{
    while (!atomic_load(&thread->ended) && fs_time_mono() < until)
        fs_bell_wait(&thread->ended_bell, until);
    if (!atomic_load(&thread->ended))
        return 0;
    pthread_join(thread->thread, NULL);
    fs_bell_destroy(&thread->ended_bell);
    return 1;
}
