/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change on its way from who says it to the whole farm, and the answer: what became of it on each
 * server.
 *
 *   loop      read, judge by role                               fs_avail_post; avail_take.c
 *   checker   a condition: does httpd understand it             run_checks
 *   loop      into the map, which publishes it here and sends it to all others
 *   backplane's thread: all who live have confirmed, or time is over
 *   loop      answer
 */
#include "avail_task.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "parts.h"
#include "reply.h"

#define CHECK_FOR  (2 * FS_USEC_PER_SEC) /* httpd's helpers look each second at least */
#define TASKS_MOST 256                   /* that wait for httpd */

static void free_task(fs_avail_task_t *task)
{
    json_decref(task->keys);
    json_decref(task->servers);
    free(task->notice);
    free(task);
}

void fs_avail_task_gone(void *baton, fs_http_call_t *call)
{
    ((fs_avail_task_t *)baton)->call = NULL;
}

/* Refuses; the task is over. */
void fs_avail_task_refuse(fs_avail_task_t *task, int status, const fs_result_t *result)
{
    fs_avail_agent_t *avail = task->agent->avail;
    const char *note = fs_log_gate(&avail->refused_gate, fs_time_mono());

    avail->refused++;
    if (note)
        fs_log(FS_LOG_NOTICE, "FS1585", "refused what %s said of availability: %s: %s%s", task->by,
               result->problem, result->detail, note);
    if (task->call)
        fs_http_call_problem(task->call, status, result);
    free_task(task);
}

int fs_avail_task_status(apr_status_t status)
{
    switch (status) {
    case APR_EACCES:
        return 403;
    case APR_EINVAL:
        return 400;
    case APR_TIMEUP:
        return 503;
    default:
        return 500;
    }
}

/* --- the answer ---------------------------------------------------------------------------------
 */

/* What is still in force of the application, though it was to be up. */
static json_t *what_is_left(const fs_avail_task_t *task, fs_usec_t farm)
{
    fs_avail_agent_t *avail = task->agent->avail;
    json_t *left = json_array();
    fs_avail_entry_t **entries;
    unsigned count;
    fs_window_at_t at;

    pthread_mutex_lock(&avail->lock);
    entries = fs_avail_table_list(avail->table, &count);
    for (unsigned i = 0; i < count; i++) {
        fs_window_at(&entries[i]->notice->window, farm, &at);
        if (at.in_force && entries[i]->heeded && entries[i]->notice->state == FS_NOTICE_DOWN &&
            fs_notice_about(entries[i]->notice, task->application))
            json_array_append_new(left, fs_avail_describe(entries[i], farm));
    }
    free(entries);
    pthread_mutex_unlock(&avail->lock);
    return left;
}

static double as_ms(fs_usec_t span)
{
    return (double)span / FS_USEC_PER_MSEC;
}

static json_t *describe_result(const fs_avail_task_t *task)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:O, s:i, s:i, s:f, s:b, s:O}", "server", task->agent->config.server, "act",
        task->notice ? "told" : "taken back", "keys", task->keys, "told", (int)task->told, "of",
        (int)task->servers_count, "ms", as_ms(fs_time_mono() - task->began), "saved", task->saved,
        "servers", task->servers);

    if (body && !task->notice)
        json_object_set_new(body, "left", what_is_left(task, fs_backplane_time(task->agent)));
    return body;
}

/* In the loop. */
void fs_avail_task_finish(void *baton)
{
    fs_avail_task_t *task = baton;

    if (task->call)
        fs_reply_json(task->call, describe_result(task));
    free_task(task);
}

static void add_server(fs_avail_task_t *task, const char *name, const char *url, int told,
                       const char *state, fs_usec_t took, fs_usec_t heard)
{
    json_t *one =
        json_pack("{s:s, s:s, s:s, s:b}", "name", name, "url", url, "state", state, "told", told);

    if (told)
        json_object_set_new(one, "ms", json_real(as_ms(took)));
    else if (heard)
        json_object_set_new(one, "silent_s",
                            json_real((double)(fs_time_mono() - heard) / FS_USEC_PER_SEC));
    json_array_append_new(task->servers, one);
    task->servers_count++;
    task->told += told != 0;
}

/* fs_backplane_told_fn: in the backplane's thread. */
void fs_avail_task_told(void *baton, const fs_told_t *told)
{
    static const char *const states[] = {"unknown", "alive", "suspect", "dead"};
    fs_avail_task_t *task = baton;

    task->saved = told->saved;
    for (unsigned i = 0; i < told->peer_count; i++) {
        const fs_told_peer_t *peer = &told->peers[i];

        add_server(task, peer->name, peer->url, peer->confirmed, states[peer->state], peer->took,
                   peer->heard);
    }
    fs_listen_post(task->agent, fs_avail_task_finish, task);
}

/* --- into the map -------------------------------------------------------------------------------
 */

static fs_priority_t priority_of(const fs_notice_t *notice)
{
    return notice->role == FS_NOTICE_OPERATOR ? FS_PRIORITY_OPERATOR : FS_PRIORITY_MONITOR;
}

/* After the last put of the task: what is wrong with it ends the task here. */
void fs_avail_task_put_done(fs_avail_task_t *task, apr_status_t status, const fs_result_t *result)
{
    if (!status)
        return; /* on_told has the task now, and may have ended it */
    if (!strcmp(result->problem, "FS1474")) {
        task->saved = 0; /* it was put, but nobody waits for the others */
        fs_avail_task_finish(task);
    } else {
        fs_avail_task_refuse(task, 503, result);
    }
}

void fs_avail_task_begin(fs_avail_task_t *task, fs_usec_t took)
{
    add_server(task, task->agent->config.server, fs_listen_url(task->agent), 1, "alive", took, 0);
}

apr_status_t fs_avail_task_put(fs_avail_task_t *task, const fs_notice_t *notice, int last,
                               fs_result_t *result)
{
    char key[FS_NOTICE_KEY_SIZE], *json;
    apr_status_t status;
    size_t length;

    json = fs_notice_print(notice, &length, result);
    if (!json)
        return result->status;
    fs_notice_key(notice, key);
    status = fs_backplane_put(task->agent, FS_NOTICE_KIND, key, json, length, priority_of(notice),
                              fs_avail_expires(notice), task->wait,
                              last ? fs_avail_task_told : NULL, last ? task : NULL, result);
    free(json);
    return status;
}

static void log_told(const fs_avail_task_t *task)
{
    const fs_notice_t *notice = task->notice;
    char until[FS_TIME_TEXT_SIZE] = "";
    const char *note = notice->role == FS_NOTICE_OPERATOR
                           ? ""
                           : fs_log_gate(&task->agent->avail->told_gate, fs_time_mono());

    if (note)
        fs_log(FS_LOG_NOTICE, "FS1584", "%s/%s is %s (%s)%s%s, says %s (%s, %s)%s",
               notice->application, notice->id, fs_notice_state_name(notice->state),
               fs_notice_reason(notice), notice->window.until ? " until " : "",
               notice->window.until ? fs_time_format(notice->window.until, until) : "", task->who,
               fs_avail_role_name(task->role), task->by, note);
}

/* The notice was found good: tells it. In the loop. */
static void tell(fs_avail_task_t *task)
{
    char key[FS_NOTICE_KEY_SIZE];
    fs_result_t result;

    task->notice->time = fs_backplane_time(task->agent);
    task->notice->who = task->who;
    fs_notice_key(task->notice, key);
    json_array_append_new(task->keys, json_string(key));
    if (fs_notice_check(task->notice, &result)) {
        fs_avail_task_refuse(task, 400, &result);
        return;
    }
    task->agent->avail->told++;
    log_told(task);
    fs_avail_task_begin(task, fs_time_mono() - task->began);
    fs_avail_task_put_done(task, fs_avail_task_put(task, task->notice, 1, &result), &result);
}

/* --- conditions ---------------------------------------------------------------------------------
 */

/* In the loop: the checker is done with it. */
static void checked(void *baton)
{
    fs_avail_task_t *task = baton;

    if (task->status)
        fs_avail_task_refuse(task, task->status == APR_EINVAL ? 422 : 503, &task->result);
    else
        tell(task);
}

static fs_avail_task_t *next_task(fs_agent_t *agent)
{
    fs_avail_agent_t *avail = agent->avail;
    fs_avail_task_t *task;

    pthread_mutex_lock(&avail->tasks_lock);
    while (!avail->tasks && !fs_agent_stopping(agent))
        fs_agent_cond_wait(&avail->tasks_due, &avail->tasks_lock, FS_USEC_PER_SEC);
    task = avail->tasks;
    if (task)
        avail->tasks = task->next;
    pthread_mutex_unlock(&avail->tasks_lock);
    return task;
}

static void *run_checks(void *baton)
{
    fs_agent_t *agent = baton;
    fs_avail_task_t *task;

    while (!fs_agent_stopping(agent)) {
        task = next_task(agent);
        if (!task)
            continue;
        task->status = fs_avail_check(agent->avail->checker, task->notice->condition, CHECK_FOR,
                                      &task->result);
        fs_listen_post(agent, checked, task);
    }
    return NULL;
}

apr_status_t fs_avail_start_checks(fs_agent_t *agent, fs_result_t *result)
{
    apr_status_t status =
        fs_agent_start_thread(&agent->avail->check_thread, run_checks, agent, result);

    agent->avail->check_started = !status;
    return status;
}

static void check_condition(fs_avail_task_t *task)
{
    fs_avail_agent_t *avail = task->agent->avail;
    fs_avail_task_t **place = &avail->tasks;
    unsigned count = 0;
    fs_result_t result;

    pthread_mutex_lock(&avail->tasks_lock);
    for (; *place; place = &(*place)->next)
        count++;
    if (count < TASKS_MOST)
        *place = task;
    pthread_cond_signal(&avail->tasks_due);
    pthread_mutex_unlock(&avail->tasks_lock);
    if (count < TASKS_MOST)
        return;
    fs_result_set(&result, APR_TIMEUP, "FS1586",
                  "%d conditions wait to be checked by httpd already: come again", TASKS_MOST);
    fs_avail_task_refuse(task, 503, &result);
}

/* --- requests -----------------------------------------------------------------------------------
 */

/* Query ?wait=MS: how long the others are waited for. */
static fs_usec_t wait_of(const fs_http_call_t *call)
{
    const char *text = fs_http_call_query(call, "wait");
    fs_usec_t wait = text ? strtoll(text, NULL, 10) * FS_USEC_PER_MSEC : FS_AVAIL_TELL_WAIT;

    return wait < 0 ? 0 : wait > FS_AVAIL_TELL_MOST ? FS_AVAIL_TELL_MOST : wait;
}

/* Copies what somebody says of himself; control characters would end a line of the log. */
void fs_avail_task_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
    for (; *out; out++)
        if ((unsigned char)*out < ' ' || *out == 127)
            *out = '?';
}

fs_avail_task_t *fs_avail_task_make(fs_agent_t *agent, fs_http_call_t *call)
{
    fs_avail_task_t *task = calloc(1, sizeof(*task));
    const char *who = fs_http_call_query(call, "who");

    if (!task)
        return NULL;
    task->agent = agent;
    task->call = call;
    task->began = fs_time_mono();
    task->wait = wait_of(call);
    task->keys = json_array();
    task->servers = json_array();
    fs_avail_caller(agent, call, &task->role, task->by, sizeof(task->by));
    fs_avail_task_copy(task->who, sizeof(task->who), who && *who ? who : task->by);
    return task;
}

/*
 * What holds for whatever is said: who may, how often, and until when. A data server that passes on
 * what was said in the database says until when it may (?before=): if it was held up, another one
 * has done it since, and something later may have been said.
 */
apr_status_t fs_avail_task_check(fs_avail_task_t *task, int *status, fs_result_t *result)
{
    const char *before = fs_http_call_query(task->call, "before");

    *status = 403;
    if (task->role == FS_AVAIL_OBSERVE)
        return fs_result_set(result, APR_EACCES, "FS1570",
                             "who isn't known may look at notices, but not tell any: use the "
                             "agent's socket, or sign with the farm key");
    *status = 409;
    if (before && strtoll(before, NULL, 10) < fs_backplane_time(task->agent))
        return fs_result_set(result, APR_EINVAL, "FS1587",
                             "too late: this was to be passed on before %.20s (microseconds since "
                             "1970); nothing was changed",
                             before);
    *status = 429;
    if (task->role == FS_AVAIL_MONITOR &&
        !fs_avail_bucket_take(&task->agent->avail->bucket, fs_time_mono())) {
        task->agent->avail->limited++;
        fs_http_call_set_header(task->call, "Retry-After", "1");
        return fs_result_set(result, APR_EAGAIN, "FS1579",
                             "monitors may change %d notices a second here, and %d at once: tell "
                             "changes only, or look at fewer things",
                             FS_AVAIL_PER_SECOND, FS_AVAIL_BURST);
    }
    return APR_SUCCESS;
}

/* Reads and judges a notice that was posted. */
static apr_status_t take_notice(fs_avail_task_t *task, fs_result_t *result)
{
    fs_usec_t farm = fs_backplane_time(task->agent);
    char key[FS_NOTICE_KEY_SIZE];
    apr_status_t status;
    const char *body;
    size_t length;

    body = fs_http_call_body(task->call, &length);
    status = fs_notice_parse(&task->notice, body, length, 1, result);
    if (status)
        return status;
    if (task->notice->who && task->notice->who[0])
        fs_avail_task_copy(task->who, sizeof(task->who), task->notice->who);
    status = fs_avail_admit(task->notice, task->role, task->id, 0, farm, result);
    if (status || task->notice->role != FS_NOTICE_MONITOR)
        return status;
    fs_notice_key(task->notice, key);
    task->notice->window.from = fs_avail_since(task->agent->avail, key, farm);
    if (!task->notice->window.from)
        task->notice->window.from = farm;
    return APR_SUCCESS;
}

/* POST /v1/notices[?wait=MS][&unchecked=1][&before=US] */
void fs_avail_post(void *baton, fs_http_call_t *call)
{
    fs_avail_task_t *task = fs_avail_task_make(baton, call);
    fs_result_t result;
    apr_status_t status;
    int http = 400;

    if (!task) {
        fs_result_set(&result, APR_ENOMEM, "FS0621", "out of memory");
        fs_http_call_problem(call, 500, &result);
        return;
    }
    status = fs_avail_task_check(task, &http, &result);
    if (!status) {
        status = take_notice(task, &result);
        http = fs_avail_task_status(status);
    }
    if (status) {
        fs_avail_task_refuse(task, http, &result);
        return;
    }
    fs_http_call_defer(call, fs_avail_task_gone, task);
    if (task->notice->condition && !fs_http_call_query(call, "unchecked"))
        check_condition(task);
    else
        tell(task);
}
