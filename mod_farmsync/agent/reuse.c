/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane.h"
#include "base/fs_log.h"
#include "listen.h"
#include "reply.h"
#include "reuse/fs_reuse_names.h"

#define KIND       "invalidate"
#define BODY_LIMIT (32u * 1024)
#define NAMES_MOST 200
#define WAIT_FOR   FS_USEC_PER_SEC
/* A server that was away for longer than its records live begins anew (doc/reuse.md). */
#define LIFE (INT64_C(24) * 3600 * FS_USEC_PER_SEC)

struct fs_agent_reuse_t {
    char path[1024];
    pthread_mutex_t lock;    /* for all below */
    fs_reuse_names_t *names; /* NULL: the file can't be had yet */
    fs_log_gate_t gate;
};

/* One POST on its way to all servers. */
typedef struct task_t {
    fs_agent_t *agent;
    fs_http_call_t *call; /* NULL: whoever asked has gone */
    unsigned names;
    fs_usec_t began;
    unsigned told, of;
    json_t *missed;
} task_t;

/* In whichever thread merged the records, one call at a time. */
static void on_changed(void *baton, const fs_record_t *records, unsigned count)
{
    fs_agent_reuse_t *reuse = baton;

    pthread_mutex_lock(&reuse->lock);
    for (unsigned i = 0; i < count && reuse->names; i++)
        if (!records[i].removed && fs_reuse_name_ok(records[i].key, strlen(records[i].key)))
            fs_reuse_names_invalidate(reuse->names, records[i].key, strlen(records[i].key));
    pthread_mutex_unlock(&reuse->lock);
}

static void refuse(fs_http_call_t *call, int status, apr_status_t problem, const char *number,
                   const char *text)
{
    fs_result_t result;

    fs_result_set(&result, problem, number, "%s", text);
    fs_http_call_problem(call, status, &result);
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void on_gone(void *baton, fs_http_call_t *call)
{
    ((task_t *)baton)->call = NULL;
}

/* In the loop. */
static void finish(void *baton)
{
    task_t *task = baton;
    json_t *body = json_pack("{s:i, s:i, s:i, s:f, s:O}", "names", (int)task->names, "told",
                             (int)task->told, "of", (int)task->of, "ms",
                             (double)(fs_time_mono() - task->began) / FS_USEC_PER_MSEC, "missed",
                             task->missed);

    if (task->call)
        fs_reply_json(task->call, body);
    else
        json_decref(body);
    json_decref(task->missed);
    free(task);
}

/* In the backplane's thread. */
static void on_told(void *baton, const fs_told_t *told)
{
    task_t *task = baton;

    task->told = told->confirmed_count + 1; /* this server, too */
    task->of = told->peer_count + 1;
    fs_reply_add_missed(task->missed, told);
    fs_listen_post(task->agent, finish, task);
}

static apr_status_t put(task_t *task, const char *name, int last, fs_result_t *result)
{
    return fs_backplane_put(task->agent, KIND, name, "1", 1, FS_PRIORITY_MEMBER,
                            fs_backplane_time(task->agent) + LIFE, last ? WAIT_FOR : 0,
                            last ? on_told : NULL, task, result);
}

/* Puts all names; 0 if the answer comes from on_told. */
static apr_status_t put_all(task_t *task, json_t *names, fs_result_t *result)
{
    size_t count = json_array_size(names);

    for (size_t i = 0; i < count; i++) {
        apr_status_t status =
            put(task, json_string_value(json_array_get(names, i)), i + 1 == count, result);

        if (status != APR_SUCCESS)
            return status;
    }
    return APR_SUCCESS;
}

static int are_names(json_t *names)
{
    size_t count = json_array_size(names);

    if (!count || count > NAMES_MOST)
        return 0;
    for (size_t i = 0; i < count; i++) {
        json_t *name = json_array_get(names, i);

        if (!json_is_string(name) ||
            !fs_reuse_name_ok(json_string_value(name), json_string_length(name)))
            return 0;
    }
    return 1;
}

/* POST /v1/invalidate {"names": ["cart/17", "prices"]} */
static void answer_invalidate(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    size_t length;
    const char *body = fs_http_call_body(call, &length);
    json_t *root = json_loadb(body ? body : "", body ? length : 0, JSON_REJECT_DUPLICATES, NULL);
    json_t *names = json_object_get(root, "names");
    task_t *task = NULL;
    fs_result_t result;

    if (!are_names(names)) {
        refuse(call, 400, APR_EINVAL, "FS1720",
               "give {\"names\": [...]} with 1 to 200 names that pages depend on, each of 1 to "
               "128 visible characters without comma and blank");
    } else if (!(task = calloc(1, sizeof(*task))) || !(task->missed = json_array())) {
        free(task);
        refuse(call, 503, APR_ENOMEM, "FS1721", "the agent has no memory; try again");
    } else {
        task->agent = agent;
        task->call = call;
        task->names = (unsigned)json_array_size(names);
        task->began = fs_time_mono();
        fs_http_call_defer(call, on_gone, task);
        if (put_all(task, names, &result) != APR_SUCCESS) {
            fs_http_call_problem(call, 503, &result);
            json_decref(task->missed);
            free(task);
        }
    }
    json_decref(root);
}

static const fs_http_route_t routes[] = {
    {"POST", "/v1/invalidate", 0, BODY_LIMIT, answer_invalidate},
};

/* --- the part ------------------------------------------------------------------------------------
 */

/*
 * Without the file pages are made each time, which is no reason for an agent not to run: the
 * request processes see that it isn't the one who writes there.
 */
static void complain(fs_agent_reuse_t *reuse, const fs_result_t *result)
{
    const char *kept = fs_log_gate(&reuse->gate, fs_time_mono());

    if (kept)
        fs_log(FS_LOG_WARNING, result->problem, "%s%s", result->detail, kept);
}

/* The lock is held. */
static void open_names(fs_agent_reuse_t *reuse)
{
    fs_result_t result;

    if (fs_reuse_names_open_writer(&reuse->names, reuse->path, &result) != APR_SUCCESS)
        complain(reuse, &result);
}

/* The lock is held. */
static void follow_names(fs_agent_reuse_t *reuse)
{
    int anew = 0;
    fs_result_t result;

    if (fs_reuse_names_follow(reuse->names, reuse->path, &anew, &result) != APR_SUCCESS)
        complain(reuse, &result);
    if (anew)
        fs_log(FS_LOG_NOTICE, "FS1725",
               "%s was replaced or removed while it was in use; the one that is there now is used "
               "from here on, and each page is made once before its clients are told that they "
               "have it",
               reuse->path);
}

void fs_reuse_look(fs_agent_t *agent)
{
    fs_agent_reuse_t *reuse = agent->reuse;

    pthread_mutex_lock(&reuse->lock);
    if (reuse->names)
        follow_names(reuse);
    else
        open_names(reuse);
    pthread_mutex_unlock(&reuse->lock);
}

apr_status_t fs_reuse_open(fs_agent_t *agent, fs_result_t *result)
{
    agent->reuse = calloc(1, sizeof(*agent->reuse));
    if (!agent->reuse)
        return fs_result_set(result, APR_ENOMEM, "FS1721", "the agent has no memory; try again");
    pthread_mutex_init(&agent->reuse->lock, NULL);
    snprintf(agent->reuse->path, sizeof(agent->reuse->path), "%s/reuse-names",
             agent->config.state_dir);
    open_names(agent->reuse);
    if (fs_backplane_watch(agent, KIND, on_changed, agent->reuse, result) != APR_SUCCESS)
        return result->status;
    return fs_agent_listen_add(agent, routes, sizeof(routes) / sizeof(*routes), result);
}

apr_status_t fs_reuse_start(fs_agent_t *agent, fs_result_t *result)
{
    return APR_SUCCESS;
}

void fs_reuse_wake(fs_agent_t *agent)
{
}

/* The names stay mapped: other parts' threads may still be telling what changed. */
int fs_reuse_join(fs_agent_t *agent)
{
    return 1;
}
