/* SPDX-License-Identifier: Apache-2.0 */
/* The bank's two threads and what waits for them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"
#include "base/fs_log.h"

#define GROUP_JOBS    64
#define GROUP_BYTES   (2 << 20)
#define TICK          (200 * FS_USEC_PER_MSEC)
#define EXPIRE_STEP   500             /* copies looked at in one transaction */
#define PATIENCE      FS_USEC_PER_SEC /* after it a patient job goes, whoever else waits */
#define HOSTS_TO_KEEP 64
#define SAY_AGAIN     (60 * FS_USEC_PER_SEC) /* after so long without a failure it is a new one */

typedef STAILQ_HEAD(job_list_t, fs_bank_job_t) job_list_t;

/* One of the two: what waits for it. */
typedef struct queue_t {
    fs_bank_t *bank;
    int writes;
    pthread_t thread;
    int running;
    pthread_mutex_t lock; /* guards the lists, `bytes` and `stop` */
    fs_bell_t bell;
    job_list_t jobs, patient;
    size_t bytes;
    int stop;
} queue_t;

typedef struct kept_host_t {
    char name[FS_SESSION_NAME_SIZE];
    uint32_t lease_ms;
} kept_host_t;

struct fs_bank_threads_t {
    queue_t writer, reader;
    pthread_mutex_t lock; /* guards what follows */
    fs_bank_totals_t totals;
    kept_host_t hosts[HOSTS_TO_KEEP]; /* to be written */
    unsigned host_count;
    job_list_t finished; /* for the HTTP thread */
    int posted;
    _Atomic fs_usec_t failed; /* mono, the latest; a failure is said when it begins */
};

/* --- jobs ----------------------------------------------------------------------------------------
 */

void fs_bank_job_free(fs_bank_job_t *job)
{
    free(job->body);
    free(job->answer.bytes);
    free(job);
}

static int only_reads(const fs_bank_job_t *job)
{
    fs_session_batch_reader_t reader = job->reader;
    fs_session_item_t item;

    if (job->task != FS_BANK_TAKES)
        return job->task != FS_BANK_OFFERS;
    while (fs_session_batch_next(&reader, &item))
        if (!(item.flags & FS_SESSION_ITEM_PEEK))
            return 0;
    return 1;
}

apr_status_t fs_bank_submit(fs_bank_t *bank, fs_bank_job_t *job)
{
    queue_t *queue = only_reads(job) ? &bank->threads->reader : &bank->threads->writer;
    apr_status_t status = APR_SUCCESS;

    job->bank = bank;
    job->since = fs_time_mono();
    pthread_mutex_lock(&queue->lock);
    if (queue->stop || (queue->bytes && queue->bytes + job->length > FS_BANK_QUEUE_BYTES)) {
        status = APR_EAGAIN;
    } else {
        queue->bytes += job->length;
        if (job->patient)
            STAILQ_INSERT_TAIL(&queue->patient, job, link);
        else
            STAILQ_INSERT_TAIL(&queue->jobs, job, link);
    }
    pthread_mutex_unlock(&queue->lock);
    if (status == APR_SUCCESS)
        fs_bell_ring(&queue->bell);
    else
        bank->counts.busy++;
    return status;
}

/* HTTP thread: answers what is finished. */
static void answer_finished(void *baton)
{
    fs_bank_t *bank = baton;
    struct fs_bank_threads_t *threads = bank->threads;
    job_list_t finished = STAILQ_HEAD_INITIALIZER(finished);
    fs_bank_job_t *job;

    pthread_mutex_lock(&threads->lock);
    STAILQ_CONCAT(&finished, &threads->finished);
    threads->posted = 0;
    pthread_mutex_unlock(&threads->lock);
    while ((job = STAILQ_FIRST(&finished))) {
        STAILQ_REMOVE_HEAD(&finished, link);
        if (job->call && job->answer.bytes)
            fs_http_call_answer(job->call, 200, FS_SESSION_BATCH_TYPE, job->answer.bytes,
                                job->answer.length);
        else if (job->call) {
            fs_http_call_set_header(job->call, "Retry-After", "1");
            fs_http_call_problem(job->call, 503, &job->problem);
        }
        fs_bank_job_free(job);
    }
}

static void finish(fs_bank_t *bank, job_list_t *group)
{
    struct fs_bank_threads_t *threads = bank->threads;
    int post = 0;
    fs_bank_job_t *job;

    pthread_mutex_lock(&threads->lock);
    while ((job = STAILQ_FIRST(group))) {
        STAILQ_REMOVE_HEAD(group, link);
        if (job->done) {
            fs_bell_ring(job->done);
            continue;
        }
        STAILQ_INSERT_TAIL(&threads->finished, job, link);
        post |= !threads->posted;
        threads->posted = 1;
    }
    pthread_mutex_unlock(&threads->lock);
    if (post)
        fs_http_server_post(bank->server, answer_finished, bank);
}

/* --- the threads ---------------------------------------------------------------------------------
 */

static void move_job(queue_t *queue, job_list_t *from, job_list_t *group, size_t *bytes)
{
    fs_bank_job_t *job = STAILQ_FIRST(from);

    STAILQ_REMOVE_HEAD(from, link);
    STAILQ_INSERT_TAIL(group, job, link);
    queue->bytes -= job->length;
    *bytes += job->length;
}

/* What is done in one transaction. Patient jobs go one by one, when nobody else waits or they have
 * waited long. */
static int take_group(queue_t *queue, job_list_t *group)
{
    size_t bytes = 0;
    unsigned count = 0;
    const fs_bank_job_t *first;

    STAILQ_INIT(group);
    pthread_mutex_lock(&queue->lock);
    first = STAILQ_FIRST(&queue->patient);
    if (first && (STAILQ_EMPTY(&queue->jobs) || fs_time_mono() - first->since > PATIENCE)) {
        move_job(queue, &queue->patient, group, &bytes);
        count++;
    }
    while (!STAILQ_EMPTY(&queue->jobs) && count < GROUP_JOBS && bytes < GROUP_BYTES) {
        move_job(queue, &queue->jobs, group, &bytes);
        count++;
    }
    pthread_mutex_unlock(&queue->lock);
    return count > 0;
}

static void count_work(fs_bank_t *bank, const fs_bank_work_t *work)
{
    bank->counts.stored += work->stored;
    bank->counts.merges += work->merges;
    bank->counts.granted += work->granted;
    bank->counts.refused += work->refused;
    bank->counts.full += work->full;
    bank->counts.expired += work->removed;
}

/* Said when it begins and when it is over. */
static void note_full(fs_bank_t *bank, const fs_bank_totals_t *totals, const fs_bank_work_t *work)
{
    if (totals->full && work->full && !atomic_exchange(&bank->full, 1))
        fs_log(FS_LOG_ERROR, "FS1409",
               "the session bank is full: %llu sessions in %llu MiB; new ones go to other bank "
               "servers. Raise SessionMemory or SessionLimit, or add a data server",
               (unsigned long long)totals->sessions, (unsigned long long)(totals->bytes >> 20));
    else if (!totals->full && atomic_exchange(&bank->full, 0))
        fs_log(FS_LOG_NOTICE, "FS1410", "the session bank has room again: %llu sessions",
               (unsigned long long)totals->sessions);
}

static void committed(fs_bank_t *bank, const fs_bank_work_t *work, const fs_bank_totals_t *totals)
{
    count_work(bank, work);
    note_full(bank, totals, work);
    fs_bank_note_totals(bank, totals);
}

static void fail_group(fs_bank_t *bank, job_list_t *group, int error)
{
    int no_room = error == ENOSPC || error == MDB_MAP_FULL;
    fs_bank_job_t *job;
    fs_result_t result;

    bank->counts.failed++;
    fs_bank_failed(error, &result);
    if (fs_time_mono() - atomic_exchange(&bank->threads->failed, fs_time_mono()) > SAY_AGAIN)
        fs_log_result(FS_LOG_ERROR, &result);
    STAILQ_FOREACH(job, group, link)
    {
        free(job->answer.bytes);
        job->answer.bytes = NULL;
        job->problem = result;
        if (no_room && job->task == FS_BANK_OFFERS)
            fs_bank_job_full(job);
    }
}

static int put_hosts(fs_bank_t *bank, fs_bank_work_t *work)
{
    struct fs_bank_threads_t *threads = bank->threads;
    int error = 0;

    pthread_mutex_lock(&threads->lock);
    while (!error && threads->host_count) {
        const kept_host_t *host = &threads->hosts[--threads->host_count];

        error = fs_bank_put_host(work, host->name, host->lease_ms);
    }
    pthread_mutex_unlock(&threads->lock);
    return error;
}

/* All jobs in one transaction, then their answers. */
static void work_group(queue_t *queue, job_list_t *group)
{
    fs_bank_t *bank = queue->bank;
    fs_bank_totals_t totals = {0};
    fs_bank_work_t work;
    fs_bank_job_t *job;
    int error = fs_bank_begin(&work, bank->store, &bank->leases, queue->writes,
                              fs_board_farm_time(bank->setup.board));

    if (!error && queue->writes)
        error = put_hosts(bank, &work);
    STAILQ_FOREACH(job, group, link)
    if (!error)
        error = fs_bank_job_do(job, &work);
    if (!error && queue->writes)
        error = fs_bank_count(&work, &totals);
    if (!error && queue->writes)
        error = fs_bank_commit(&work);
    fs_bank_abort(&work);
    if (error) {
        fail_group(bank, group, error);
    } else if (queue->writes) {
        committed(bank, &work, &totals);
    }
    finish(bank, group);
}

/* Returns 1 if more has expired. */
static int expire(queue_t *queue)
{
    fs_bank_t *bank = queue->bank;
    job_list_t none = STAILQ_HEAD_INITIALIZER(none);
    fs_bank_totals_t totals = {0};
    fs_bank_work_t work;
    int more = 0;
    int error =
        fs_bank_begin(&work, bank->store, &bank->leases, 1, fs_board_farm_time(bank->setup.board));

    if (!error)
        error = put_hosts(bank, &work);
    if (!error)
        error = fs_bank_expire(&work, EXPIRE_STEP, &more);
    if (!error)
        error = fs_bank_count(&work, &totals);
    if (!error)
        error = fs_bank_commit(&work);
    fs_bank_abort(&work);
    if (error) {
        fail_group(bank, &none, error);
        return 0;
    }
    committed(bank, &work, &totals);
    return more;
}

static int is_stopped(queue_t *queue)
{
    int stop;

    pthread_mutex_lock(&queue->lock);
    stop = queue->stop;
    pthread_mutex_unlock(&queue->lock);
    return stop;
}

static void *run_queue(void *baton)
{
    queue_t *queue = baton;
    fs_usec_t tick = fs_time_mono();
    job_list_t group;

    while (!is_stopped(queue)) {
        if (take_group(queue, &group))
            work_group(queue, &group);
        else
            fs_bell_wait(&queue->bell, tick);
        if (fs_time_mono() < tick)
            continue;
        tick = fs_time_mono() + TICK;
        if (queue->writes && expire(queue))
            tick = fs_time_mono();
    }
    return NULL;
}

static void init_queue(fs_bank_t *bank, queue_t *queue, int writes)
{
    queue->bank = bank;
    queue->writes = writes;
    pthread_mutex_init(&queue->lock, NULL);
    fs_bell_init(&queue->bell);
    STAILQ_INIT(&queue->jobs);
    STAILQ_INIT(&queue->patient);
}

static int start_queue(queue_t *queue)
{
    queue->running = !pthread_create(&queue->thread, NULL, run_queue, queue);
    return queue->running;
}

static void drop_jobs(job_list_t *jobs)
{
    fs_bank_job_t *job;

    while ((job = STAILQ_FIRST(jobs))) {
        STAILQ_REMOVE_HEAD(jobs, link);
        if (job->done) {
            fs_bell_ring(job->done); /* without an answer */
            continue;
        }
        if (job->call)
            fs_http_call_answer(job->call, 503, NULL, NULL, 0);
        fs_bank_job_free(job);
    }
}

static void end_queue(queue_t *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->stop = 1;
    pthread_mutex_unlock(&queue->lock);
    fs_bell_ring(&queue->bell);
    if (queue->running)
        pthread_join(queue->thread, NULL);
    drop_jobs(&queue->jobs);
    drop_jobs(&queue->patient);
    fs_bell_destroy(&queue->bell);
    pthread_mutex_destroy(&queue->lock);
}

/* --- from outside --------------------------------------------------------------------------------
 */

int fs_bank_queues_create(fs_bank_t *bank)
{
    struct fs_bank_threads_t *threads = calloc(1, sizeof(*threads));

    bank->threads = threads;
    if (!threads)
        return -1;
    pthread_mutex_init(&threads->lock, NULL);
    threads->failed = -SAY_AGAIN - 1;
    STAILQ_INIT(&threads->finished);
    init_queue(bank, &threads->writer, 1);
    init_queue(bank, &threads->reader, 0);
    return 0;
}

int fs_bank_queues_start(fs_bank_t *bank)
{
    return start_queue(&bank->threads->writer) && start_queue(&bank->threads->reader) ? 0 : -1;
}

void fs_bank_queues_end(fs_bank_t *bank)
{
    if (!bank->threads)
        return;
    end_queue(&bank->threads->writer);
    end_queue(&bank->threads->reader);
    drop_jobs(&bank->threads->finished);
    pthread_mutex_destroy(&bank->threads->lock);
    free(bank->threads);
}

void fs_bank_note_totals(fs_bank_t *bank, const fs_bank_totals_t *totals)
{
    pthread_mutex_lock(&bank->threads->lock);
    bank->threads->totals = *totals;
    pthread_mutex_unlock(&bank->threads->lock);
}

/* If many come at once, those that find no place are told of again by their next renewal. */
void fs_bank_keep_host(fs_bank_t *bank, const char *name, uint32_t lease_ms)
{
    struct fs_bank_threads_t *threads = bank->threads;

    pthread_mutex_lock(&threads->lock);
    if (threads->host_count < HOSTS_TO_KEEP) {
        kept_host_t *host = &threads->hosts[threads->host_count++];

        snprintf(host->name, sizeof(host->name), "%s", name);
        host->lease_ms = lease_ms;
    }
    pthread_mutex_unlock(&threads->lock);
}

void fs_bank_totals(fs_bank_t *bank, fs_bank_totals_t *totals)
{
    pthread_mutex_lock(&bank->threads->lock);
    *totals = bank->threads->totals;
    pthread_mutex_unlock(&bank->threads->lock);
}
