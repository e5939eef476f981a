/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's orders: a server is to be emptied, or not any more. They are told to any agent and
 * kept by all (records of kind "route-order"), so that a server that is away, or restarts, finds
 * its order when it is back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avail.h"
#include "avail_task.h"
#include "listen.h"
#include "reply.h"
#include "route_internal.h"

#define WAIT_FOR FS_USEC_PER_SEC

void fs_routing_take_order(fs_routing_t *routing, const fs_record_t *record)
{
    fs_routing_order_t order;
    int holds = !record->removed && !fs_routing_order_parse(&order, record->value, record->length);

    if (!record->removed && !holds)
        fs_log(FS_LOG_WARNING, "FS1670",
               "the order about %s from %s isn't heeded: its farmsync may be of another release; "
               "install the same on all servers",
               record->key, record->stamp.origin);
    fs_routing_table_order(routing->table, record->key, holds ? &order : NULL);
    routing->changed = 1;
}

/* --- one order on its way -----------------------------------------------------------------------
 */

typedef struct task_t {
    fs_agent_t *agent;
    fs_http_call_t *call; /* NULL: whoever asked has gone */
    char server[FS_ROUTE_NAME_SIZE];
    int drain;
    fs_usec_t began;
    unsigned told, of;
    int saved;
    json_t *missed;
} task_t;

static void free_task(task_t *task)
{
    json_decref(task->missed);
    free(task);
}

static void on_gone(void *baton, fs_http_call_t *call)
{
    ((task_t *)baton)->call = NULL;
}

/* In the loop. */
static void finish(void *baton)
{
    task_t *task = baton;

    if (task->call)
        fs_reply_json(task->call,
                      json_pack("{s:s, s:b, s:i, s:i, s:b, s:f, s:O}", "server", task->server,
                                "drain", task->drain, "told", (int)task->told, "of", (int)task->of,
                                "saved", task->saved, "ms",
                                (double)(fs_time_mono() - task->began) / FS_USEC_PER_MSEC, "missed",
                                task->missed));
    free_task(task);
}

/* In the backplane's thread. */
static void on_told(void *baton, const fs_told_t *told)
{
    task_t *task = baton;

    task->told = told->confirmed_count + 1; /* this server, too */
    task->of = told->peer_count + 1;
    task->saved = told->saved;
    fs_reply_add_missed(task->missed, told);
    fs_listen_post(task->agent, finish, task);
}

static apr_status_t put(task_t *task, const char *who, fs_result_t *result)
{
    fs_routing_order_t order = {.at = fs_backplane_time(task->agent)};
    char *value = NULL;
    apr_status_t status;

    memcpy(order.who, who, strlen(who) + 1);
    if (task->drain && !(value = fs_routing_order_print(&order)))
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    status = fs_backplane_put(task->agent, FS_ROUTE_ORDER_KIND, task->server, value,
                              value ? strlen(value) : 0, FS_PRIORITY_OPERATOR, 0, WAIT_FOR, on_told,
                              task, result);
    free(value);
    return status;
}

/* --- requests -----------------------------------------------------------------------------------
 */

/* Names of those who take part in routing, for who mistyped one. */
static void list_names(fs_routing_t *routing, char *text, size_t size)
{
    size_t length = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < routing->table->count && length + FS_ROUTE_NAME_SIZE + 2 < size; i++)
        if (routing->table->servers[i].name[0])
            length += (size_t)snprintf(text + length, size - length, "%s%s", length ? ", " : "",
                                       routing->table->servers[i].name);
}

static apr_status_t check_server(fs_agent_t *agent, const char *server, fs_result_t *result)
{
    char names[512];
    int known;

    pthread_mutex_lock(&agent->routing->lock);
    known = fs_routing_table_find(agent->routing->table, server) != NULL;
    list_names(agent->routing, names, sizeof(names));
    pthread_mutex_unlock(&agent->routing->lock);
    if (known)
        return APR_SUCCESS;
    return fs_result_set(result, APR_NOTFOUND, "FS1667",
                         "no server is called \"%.64s\"; these take part in routing: %s", server,
                         names);
}

/* Fills in what is asked for. *http is what a refusal is answered with. */
static apr_status_t read_order(task_t *task, json_t *body, char who[FS_ROUTE_WHO_SIZE], int *http,
                               fs_result_t *result)
{
    const char *server = json_string_value(json_object_get(body, "server"));
    const char *said = json_string_value(json_object_get(body, "who"));
    fs_avail_role_t role;
    char by[FS_ROUTE_WHO_SIZE];

    fs_avail_caller(task->agent, task->call, &role, by, sizeof(by));
    *http = 403;
    if (role != FS_AVAIL_OPERATOR)
        return fs_result_set(result, APR_EACCES, "FS1666",
                             "only an operator may drain a server: ask as root on a web server, or "
                             "sign with the farm key");
    *http = 400;
    if (!json_is_object(body) || !server)
        return fs_result_set(result, APR_EINVAL, "FS1668",
                             "give {\"server\": NAME}, and who you are as \"who\" if you like");
    fs_avail_task_copy(who, FS_ROUTE_WHO_SIZE, said && *said ? said : by);
    *http = 404;
    if (check_server(task->agent, server, result))
        return result->status;
    snprintf(task->server, sizeof(task->server), "%s", server);
    fs_log(FS_LOG_NOTICE, "FS1669", "routing: %s is to be %s, says %s (%s)", task->server,
           task->drain ? "drained" : "drained no longer", who, by);
    return APR_SUCCESS;
}

static void answer_order(fs_agent_t *agent, fs_http_call_t *call, int drain)
{
    size_t length;
    const char *text = fs_http_call_body(call, &length);
    json_t *body = json_loadb(text ? text : "", text ? length : 0, JSON_REJECT_DUPLICATES, NULL);
    task_t *task = calloc(1, sizeof(*task));
    char who[FS_ROUTE_WHO_SIZE];
    fs_result_t result;
    int http = 503;

    if (!task || !(task->missed = json_array())) {
        fs_result_set(&result, APR_ENOMEM, "FS0621", "out of memory");
        fs_http_call_problem(call, http, &result);
        free(task);
        json_decref(body);
        return;
    }
    task->agent = agent;
    task->call = call;
    task->drain = drain;
    task->began = fs_time_mono();
    if (read_order(task, body, who, &http, &result) == APR_SUCCESS) {
        fs_http_call_defer(call, on_gone, task);
        http = 503;
        if (put(task, who, &result) == APR_SUCCESS)
            task = NULL; /* on_told has it */
    }
    if (task) {
        fs_http_call_problem(call, http, &result);
        free_task(task);
    }
    json_decref(body);
}

/* POST /v1/route/drain {"server": "web3", "who": "anna"} */
void fs_routing_post_drain(void *agent, fs_http_call_t *call)
{
    answer_order(agent, call, 1);
}

/* POST /v1/route/undrain {"server": "web3", "who": "anna"} */
void fs_routing_post_undrain(void *agent, fs_http_call_t *call)
{
    answer_order(agent, call, 0);
}
