/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session costs a request: nanoseconds to save a change and to read, in the host's store, by
 * one process, by two, and by two threads of one.
 *
 *   bench_sessions [-d DIRECTORY] [-n SESSIONS] [-o OPERATIONS] [-b BYTES] [-r RUN]
 *
 * Each session has a value of BYTES that every save replaces, and five small ones. Sessions are
 * taken at random. "+ bank" is saving with a process beside it that confirms what is due, as the
 * agent does.
 */
#include <apr_general.h>
#include <apr_strings.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/fs_session_mix.h"
#include "session/fs_session_store.h"

#define CONFIRM_BATCH 256
#define WORKERS       2

typedef struct options_t {
    const char *dir;
    unsigned sessions;
    unsigned operations;
    unsigned bytes;
    const char *only;
} options_t;

typedef struct job_t {
    const options_t *options;
    fs_session_store_t *store;
    int writes;
    uint64_t seed;
} job_t;

static const uint8_t seal[FS_SESSION_SEAL_BYTES] = {1};

static void fail(const char *what, const fs_result_t *result)
{
    fprintf(stderr, "%s: %s %s\n", what, result->problem, result->detail);
    _exit(1);
}

static fs_session_key_t key_of(uint64_t number)
{
    uint64_t halves[2] = {fs_session_mix(number + 1), fs_session_mix(~number)};
    fs_session_key_t key;

    memcpy(key.bytes, halves, sizeof(key.bytes));
    return key;
}

static fs_session_store_t *open_store(const options_t *options)
{
    fs_session_limits_t limits = {.flush = 200 * FS_USEC_PER_MSEC};
    fs_session_store_t *store;
    fs_result_t result;

    if (fs_session_store_open(&store, options->dir, "bench:80", &limits, &result))
        fail("open", &result);
    return store;
}

/* --- one operation -------------------------------------------------------------------------------
 */

static void save_one(const job_t *job, uint64_t number, const char *text, apr_pool_t *pool)
{
    fs_usec_t now = fs_time_wall();
    fs_session_writer_t writer = fs_session_store_writer(job->store, now);
    fs_session_change_t change = {"text", text, 4, job->options->bytes};
    fs_session_record_t fresh, record;
    fs_session_save_t save = {
        .key = key_of(number), .changes = &change, .count = 1, .fresh = &fresh, .seal = seal};
    fs_result_t result;

    fs_session_begin(&fresh, &writer, now + 86400 * FS_USEC_PER_SEC, 1800 * FS_USEC_PER_SEC);
    if (fs_session_store_save(job->store, &save, now, pool, &record, &result))
        fail("save", &result);
}

static void read_one(const job_t *job, uint64_t number, apr_pool_t *pool)
{
    fs_session_key_t key = key_of(number);
    fs_session_record_t record;
    fs_result_t result;

    if (fs_session_store_read(job->store, &key, fs_time_wall(), pool, &record, NULL, &result) ||
        !fs_session_record_find(&record, "text", 4))
        fail("read", &result);
}

static void work(const job_t *job)
{
    char *text = malloc(job->options->bytes);
    uint64_t seed = job->seed;
    apr_pool_t *pool;

    memset(text, 'x', job->options->bytes);
    apr_pool_create(&pool, NULL);
    for (unsigned i = 0; i < job->options->operations; i++) {
        uint64_t number = fs_session_mix(++seed) % job->options->sessions;

        text[i % job->options->bytes] = (char)('a' + i % 26);
        if (job->writes)
            save_one(job, number, text, pool);
        else
            read_one(job, number, pool);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    free(text);
}

static void fill(const options_t *options)
{
    fs_session_change_t changes[5];
    char *text = calloc(1, options->bytes + 1);
    job_t job = {options, open_store(options), 1, 0};
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    memset(text, 'x', options->bytes);
    for (unsigned i = 0; i < 5; i++) {
        char *name = apr_psprintf(pool, "key%u", i);

        changes[i] = (fs_session_change_t){name, "a small value", 4, 13};
    }
    for (unsigned i = 0; i < options->sessions; i++) {
        fs_session_save_t save = {.key = key_of(i), .changes = changes, .count = 5};
        fs_session_record_t record;
        apr_pool_t *once;
        fs_result_t result;

        apr_pool_create(&once, pool);
        save_one(&job, i, text, once);
        if (fs_session_store_save(job.store, &save, fs_time_wall(), once, &record, &result))
            fail("fill", &result);
        apr_pool_destroy(once);
    }
    apr_pool_destroy(pool);
    fs_session_store_close(job.store);
    free(text);
}

/* --- the agent -----------------------------------------------------------------------------------
 */

typedef struct sent_t {
    fs_session_confirmed_t all[CONFIRM_BATCH];
    unsigned count;
} sent_t;

static int collect(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                   const void *bytes, size_t length)
{
    sent_t *sent = baton;

    sent->all[sent->count].key = *key;
    sent->all[sent->count].version = note->version;
    sent->all[sent->count++].copies = 2;
    return 0;
}

static pid_t start_agent(const options_t *options)
{
    pid_t pid = fork();
    fs_session_store_t *store;
    fs_result_t result;

    if (pid)
        return pid;
    store = open_store(options);
    for (;;) {
        sent_t sent = {.count = 0};
        unsigned shown;
        fs_usec_t next;

        if (fs_session_store_due(store, fs_time_wall(), CONFIRM_BATCH, collect, &sent, &shown,
                                 &next, &result))
            fail("due", &result);
        if (fs_session_store_confirm(store, sent.all, sent.count, 2, fs_time_wall(), &result))
            fail("confirm", &result);
        usleep(shown == CONFIRM_BATCH ? 0 : 10000);
    }
}

/* --- runs ----------------------------------------------------------------------------------------
 */

static double processor_time(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static void report(const char *what, const options_t *options, unsigned workers, fs_usec_t took,
                   double processor)
{
    double all = (double)options->operations * workers;

    printf("%-24s %8.0f ns each, %7.0f ns processor, %9.0f /s\n", what,
           (double)took * 1000 * workers / all, processor / all, all / ((double)took / 1e6));
    fflush(stdout);
}

static int is_wanted(const char *what, const options_t *options)
{
    return !options->only || !strncmp(what, options->only, strlen(options->only));
}

static void run_processes(const char *what, const options_t *options, int writes, unsigned workers)
{
    fs_usec_t began = fs_time_mono();
    double before = processor_time(RUSAGE_CHILDREN);
    pid_t pids[WORKERS];

    if (!is_wanted(what, options))
        return;
    for (unsigned i = 0; i < workers; i++)
        if (!(pids[i] = fork())) {
            job_t job = {options, open_store(options), writes, (uint64_t)i << 32};

            work(&job);
            fs_session_store_close(job.store);
            _exit(0);
        }
    for (unsigned i = 0; i < workers; i++) {
        int state;

        waitpid(pids[i], &state, 0);
        if (state)
            exit(1);
    }
    report(what, options, workers, fs_time_mono() - began,
           processor_time(RUSAGE_CHILDREN) - before);
}

static void *work_in_thread(void *job)
{
    work(job);
    return NULL;
}

static void run_threads(const char *what, const options_t *options, int writes)
{
    fs_session_store_t *store = is_wanted(what, options) ? open_store(options) : NULL;
    fs_usec_t began = fs_time_mono();
    double before = processor_time(RUSAGE_SELF);
    pthread_t threads[WORKERS];
    job_t jobs[WORKERS];

    if (!store)
        return;
    for (unsigned i = 0; i < WORKERS; i++) {
        jobs[i] = (job_t){options, store, writes, (uint64_t)i << 32};
        pthread_create(&threads[i], NULL, work_in_thread, &jobs[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    report(what, options, WORKERS, fs_time_mono() - began, processor_time(RUSAGE_SELF) - before);
    fs_session_store_close(store);
}

static void run_with_bank(const char *what, const options_t *options)
{
    pid_t agent;

    if (!is_wanted(what, options))
        return;
    agent = start_agent(options);
    run_processes(what, options, 1, 1);
    kill(agent, SIGKILL);
    waitpid(agent, NULL, 0);
}

static void take_options(options_t *options, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "d:n:o:b:r:")) != -1)
        if (option == 'd')
            options->dir = optarg;
        else if (option == 'n')
            options->sessions = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'o')
            options->operations = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'b')
            options->bytes = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'r')
            options->only = optarg;
        else
            exit(2);
    if (!options->sessions || !options->operations || !options->bytes)
        exit(2);
}

static void remove_store(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "pending", "trust",
                                        "turns",    "bell",     "space",   "boot"};
    char path[64];

    for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(int argc, char **argv)
{
    options_t options = {NULL, 10000, 200000, 1024, NULL};
    char made[] = "/tmp/bench-sessions-XXXXXX";
    fs_result_t result;

    apr_initialize();
    take_options(&options, argc, argv);
    if (!options.dir)
        options.dir = mkdtemp(made);
    if (fs_session_store_prepare(options.dir, (uid_t)-1, (gid_t)-1, 1, NULL, &result))
        fail("prepare", &result);
    fill(&options);
    printf("%u sessions, %u bytes, %u operations each\n", options.sessions, options.bytes,
           options.operations);
    run_processes("read, 1 process", &options, 0, 1);
    run_processes("read, 2 processes", &options, 0, 2);
    run_threads("read, 2 threads", &options, 0);
    run_processes("save, 1 process", &options, 1, 1);
    run_processes("save, 2 processes", &options, 1, 2);
    run_threads("save, 2 threads", &options, 1);
    run_with_bank("save, 1 process + bank", &options);
    if (options.dir == made)
        remove_store(made);
    return 0;
}
