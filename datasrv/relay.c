/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of notices over HTTP, passed on to an agent. */
#include "crier.h"

#include <stdlib.h>
#include <string.h>

#include "bell.h"

#define PATH_SIZE  1000
#define JOBS_MOST  256
#define TYPE       "application/json"
#define WITHIN     (12 * FS_USEC_PER_SEC)
#define LOOK_AGAIN (1 * FS_USEC_PER_SEC)

typedef struct job_t {
    struct job_t *next;
    fs_relay_t *relay;
    fs_http_call_t *call; /* the loop's; NULL: whoever asked has gone */
    const char *method;
    char path[PATH_SIZE];
    char *body;
    size_t length;
    apr_status_t status;
    fs_http_answer_t answer;
    fs_result_t result;
} job_t;

struct fs_relay_t {
    fs_http_server_t *server;
    fs_agents_asker_t asker; /* the thread's */
    fs_bell_t bell;
    pthread_t thread;
    pthread_mutex_t lock; /* the list and `stop` */
    job_t *jobs;
    unsigned count;
    int stop;
};

static void free_job(job_t *job)
{
    fs_http_answer_clear(&job->answer);
    free(job->body);
    free(job);
}

static void on_gone(void *baton, fs_http_call_t *call)
{
    ((job_t *)baton)->call = NULL;
}

static const char *type_of(const job_t *job)
{
    if (strstr(job->path, ".ics"))
        return "text/calendar; charset=utf-8";
    return job->answer.status >= 400 ? "application/problem+json" : TYPE;
}

/* In the loop. */
static void finish(void *baton)
{
    job_t *job = baton;

    if (job->call && job->answer.status && !job->status)
        fs_http_call_answer(job->call, job->answer.status, type_of(job),
                            job->answer.body ? job->answer.body : "", job->answer.length);
    else if (job->call)
        fs_http_call_problem(job->call, 503, &job->result);
    free_job(job);
}

static job_t *next_job(fs_relay_t *relay, int *stop)
{
    job_t *job;

    pthread_mutex_lock(&relay->lock);
    job = relay->jobs;
    if (job) {
        relay->jobs = job->next;
        relay->count--;
    }
    *stop = relay->stop;
    pthread_mutex_unlock(&relay->lock);
    return job;
}

static void *run(void *baton)
{
    fs_relay_t *relay = baton;
    int stop = 0;

    while (!stop) {
        job_t *job = next_job(relay, &stop);

        if (!job) {
            fs_bell_wait(&relay->bell, fs_time_mono() + LOOK_AGAIN);
            continue;
        }
        if (stop) {
            free_job(job);
            continue;
        }
        job->status = fs_agents_ask(&relay->asker, job->method, job->path, job->body, job->length,
                                    fs_time_mono() + WITHIN, &job->answer, &job->result);
        fs_http_server_post(relay->server, finish, job);
    }
    fs_agents_asker_clear(&relay->asker);
    return NULL;
}

apr_status_t fs_relay_start(fs_relay_t **relay, fs_agents_t *agents, fs_result_t *result)
{
    fs_relay_t *made = calloc(1, sizeof(*made));

    *relay = NULL;
    if (!made)
        return fs_result_set(result, APR_ENOMEM, "FS0812", "out of memory");
    made->asker.agents = agents;
    fs_bell_init(&made->bell);
    pthread_mutex_init(&made->lock, NULL);
    if (!pthread_create(&made->thread, NULL, run, made)) {
        *relay = made;
        return APR_SUCCESS;
    }
    fs_bell_destroy(&made->bell);
    free(made);
    return fs_result_set(result, APR_EGENERAL, "FS0812",
                         "cannot start a thread; raise the limit of tasks of this service");
}

void fs_relay_set_server(fs_relay_t *relay, fs_http_server_t *server)
{
    relay->server = server;
}

void fs_relay_stop(fs_relay_t *relay)
{
    job_t *job;
    int stop;

    if (!relay)
        return;
    pthread_mutex_lock(&relay->lock);
    relay->stop = 1;
    pthread_mutex_unlock(&relay->lock);
    fs_bell_ring(&relay->bell);
    pthread_join(relay->thread, NULL);
    while ((job = next_job(relay, &stop)))
        free_job(job);
    fs_bell_destroy(&relay->bell);
    free(relay);
}

/* What the caller asked for; who he is goes with it, for the agent's log and the notice. */
static void add_asked(job_t *job)
{
    static const char *const passed[] = {"wait", "unchecked", "who", "why", "history", "before"};
    const char *origin = fs_http_call_origin(job->call),
               *who = fs_http_call_query(job->call, "who");

    for (unsigned i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        const char *value = fs_http_call_query(job->call, passed[i]);

        if (value)
            fs_agents_add_query(job->path, sizeof(job->path), passed[i], value);
    }
    if (!who && strcmp(job->method, "GET") != 0)
        fs_agents_add_query(job->path, sizeof(job->path), "who",
                            *origin ? origin : fs_http_call_peer(job->call));
}

static int put_job(fs_relay_t *relay, job_t *job)
{
    job_t **place = &relay->jobs;
    int room;

    pthread_mutex_lock(&relay->lock);
    room = relay->count < JOBS_MOST;
    if (room) {
        while (*place)
            place = &(*place)->next;
        *place = job;
        relay->count++;
    }
    pthread_mutex_unlock(&relay->lock);
    return room;
}

void fs_relay_pass(fs_relay_t *relay, fs_http_call_t *call, const char *method, const char *path)
{
    job_t *job = calloc(1, sizeof(*job));
    fs_result_t result;
    const char *body;

    fs_result_set(&result, APR_EGENERAL, "FS0886",
                  "%d requests wait for agents already: come again", JOBS_MOST);
    if (!job) {
        fs_http_call_problem(call, 503, &result);
        return;
    }
    job->relay = relay;
    job->call = call;
    job->method = method;
    snprintf(job->path, sizeof(job->path), "%s", path);
    if (*fs_http_call_rest(call))
        for (const char *c = fs_http_call_rest(call); *c; c++) {
            const char one[2] = {*c, '\0'};

            if (*c == '/')
                strncat(job->path, "/", sizeof(job->path) - strlen(job->path) - 1);
            else
                fs_agents_add_part(job->path, sizeof(job->path), one);
        }
    body = fs_http_call_body(call, &job->length);
    job->body = job->length ? malloc(job->length) : NULL;
    if (job->body)
        memcpy(job->body, body, job->length);
    add_asked(job);
    if ((job->length && !job->body) || !put_job(relay, job)) {
        fs_http_call_problem(call, 503, &result);
        free_job(job);
        return;
    }
    fs_http_call_defer(call, on_gone, job);
    fs_bell_ring(&relay->bell);
}
