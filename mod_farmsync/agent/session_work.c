/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for what waits: for another host's answer, or for requests of this one. They are started
 * as they are needed. */
#include "session.h"

#include "parts.h"

static fs_work_t *next_work(fs_sessions_t *sessions)
{
    fs_work_t *work;

    pthread_mutex_lock(&sessions->work_lock);
    sessions->idle_workers++;
    while (!(work = STAILQ_FIRST(&sessions->work)) && !fs_agent_stopping(sessions->agent))
        fs_agent_cond_wait(&sessions->work_due, &sessions->work_lock, FS_USEC_PER_SEC);
    sessions->idle_workers--;
    if (work) {
        STAILQ_REMOVE_HEAD(&sessions->work, link);
        sessions->work_count--;
    }
    pthread_mutex_unlock(&sessions->work_lock);
    return work;
}

static void *work_run(void *baton)
{
    fs_session_worker_t *worker = baton;
    apr_pool_t *pool;
    fs_work_t *work;

    apr_pool_create(&pool, NULL);
    while ((work = next_work(worker->sessions))) {
        work->run(worker->sessions, work, worker->http, pool);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    return NULL;
}

/* work_lock is held. */
static void start_worker(fs_sessions_t *sessions)
{
    fs_session_worker_t *worker = &sessions->workers[sessions->worker_count];
    fs_result_t result;

    worker->sessions = sessions;
    if (!worker->http)
        worker->http = fs_agent_client(sessions->agent);
    if (!worker->http)
        return;
    if (fs_agent_start_thread(&worker->thread, work_run, worker, &result))
        fs_log_result(FS_LOG_ERROR, &result);
    else
        sessions->worker_count++;
}

void fs_work_add(fs_sessions_t *sessions, fs_work_t *work)
{
    pthread_mutex_lock(&sessions->work_lock);
    STAILQ_INSERT_TAIL(&sessions->work, work, link);
    sessions->work_count++;
    if (sessions->idle_workers < sessions->work_count &&
        sessions->worker_count < FS_SESSION_WORKERS && !fs_agent_stopping(sessions->agent))
        start_worker(sessions);
    pthread_cond_signal(&sessions->work_due);
    pthread_mutex_unlock(&sessions->work_lock);
}

void fs_work_wake(fs_sessions_t *sessions)
{
    pthread_mutex_lock(&sessions->work_lock);
    pthread_cond_broadcast(&sessions->work_due);
    for (unsigned i = 0; i < sessions->worker_count; i++)
        fs_http_client_abort(sessions->workers[i].http);
    pthread_mutex_unlock(&sessions->work_lock);
}

int fs_work_join(fs_sessions_t *sessions)
{
    while (sessions->worker_count &&
           !pthread_tryjoin_np(sessions->workers[sessions->worker_count - 1].thread, NULL))
        sessions->worker_count--;
    return !sessions->worker_count;
}
