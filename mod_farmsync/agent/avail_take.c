/* SPDX-License-Identifier: Apache-2.0 */
/* What was told of availability is taken back. */
#include "avail_task.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs_name.h"

#define KEYS_MOST 64 /* that one DELETE takes back */

/* What a DELETE is about: the keys, and where only the present occurrence is, the notice anew. */
typedef struct taken_back_t {
    unsigned count;
    struct {
        char key[FS_NOTICE_KEY_SIZE];
        fs_usec_t from; /* 0: the whole notice goes; else it goes on from then */
        fs_notice_role_t role;
    } one[KEYS_MOST];
} taken_back_t;

static void take_entry(taken_back_t *taken, const fs_avail_entry_t *entry, fs_usec_t from)
{
    if (taken->count == KEYS_MOST)
        return;
    snprintf(taken->one[taken->count].key, FS_NOTICE_KEY_SIZE, "%s", entry->key);
    taken->one[taken->count].from = from;
    taken->one[taken->count++].role = entry->notice->role;
}

/* What operators say that makes the application unavailable now. avail->lock is held. */
static void choose_in_force(fs_avail_task_t *task, fs_usec_t farm, taken_back_t *taken)
{
    fs_avail_agent_t *avail = task->agent->avail;
    unsigned count;
    fs_avail_entry_t **entries = fs_avail_table_list(avail->table, &count);
    fs_window_at_t at;

    for (unsigned i = 0; i < count; i++) {
        const fs_notice_t *notice = entries[i]->notice;

        fs_window_at(&notice->window, farm, &at);
        if (at.in_force && notice->role == FS_NOTICE_OPERATOR && notice->state != FS_NOTICE_UP &&
            !strcmp(notice->application, task->application))
            take_entry(taken, entries[i], notice->window.days ? at.end : 0);
    }
    free(entries);
}

static void choose(fs_avail_task_t *task, const char *id, taken_back_t *taken)
{
    fs_avail_agent_t *avail = task->agent->avail;
    fs_usec_t farm = fs_backplane_time(task->agent);
    char key[FS_NOTICE_KEY_SIZE];
    fs_avail_entry_t *entry;

    taken->count = 0;
    pthread_mutex_lock(&avail->lock);
    if (id) {
        snprintf(key, sizeof(key), "%s/%s", task->application, id);
        entry = fs_avail_table_get(avail->table, key);
        if (entry)
            take_entry(taken, entry, 0);
    } else {
        choose_in_force(task, farm, taken);
    }
    pthread_mutex_unlock(&avail->lock);
}

/* A weekly notice goes on with its next occurrence. */
static apr_status_t put_off(fs_avail_task_t *task, const char *key, fs_usec_t from, int last,
                            fs_result_t *result)
{
    fs_record_t *record = fs_backplane_get(task->agent, FS_NOTICE_KIND, key);
    fs_notice_t *notice = NULL;
    apr_status_t status = APR_SUCCESS;

    if (record)
        status = fs_notice_parse(&notice, record->value, record->length, 0, result);
    free(record);
    if (notice) {
        notice->window.from = from;
        notice->time = fs_backplane_time(task->agent);
        status = fs_avail_task_put(task, notice, last, result);
    } else if (!status) {
        status = fs_result_set(result, APR_NOTFOUND, "FS1583", "there is no notice %s here", key);
    }
    free(notice);
    return status;
}

/* The last one carries the task: what it confirms was confirmed of those before. */
static void take_all_back(fs_avail_task_t *task, const taken_back_t *taken, const char *why)
{
    fs_agent_t *agent = task->agent;
    apr_status_t status = APR_SUCCESS;
    fs_result_t result;

    for (unsigned i = 0; i < taken->count; i++) {
        fs_log(FS_LOG_NOTICE, "FS1588", "%s is taken back by %s (%s, %s)%s%s", taken->one[i].key,
               task->who, fs_avail_role_name(task->role), task->by, *why ? ": " : "", why);
        fs_avail_remember(agent, "taken back", taken->one[i].key, NULL, agent->config.server,
                          task->who, why);
        json_array_append_new(task->keys, json_string(taken->one[i].key));
    }
    fs_avail_task_begin(task, fs_time_mono() - task->began);
    for (unsigned i = 0; i < taken->count && !status; i++) {
        int last = i + 1 == taken->count;

        if (taken->one[i].from)
            status = put_off(task, taken->one[i].key, taken->one[i].from, last, &result);
        else
            status = fs_backplane_put(
                agent, FS_NOTICE_KIND, taken->one[i].key, NULL, 0,
                taken->one[i].role == FS_NOTICE_OPERATOR ? FS_PRIORITY_OPERATOR
                                                         : FS_PRIORITY_MONITOR,
                0, task->wait, last ? fs_avail_task_told : NULL, last ? task : NULL, &result);
    }
    fs_avail_task_put_done(task, status, &result);
}

/* A monitor takes back its own kind, one by one. `id` is replaced by the whole one. */
static apr_status_t check_taker(const fs_avail_task_t *task, const char **id,
                                char room[FS_NOTICE_NAME_SIZE], fs_result_t *result)
{
    if (!fs_name_is_good(task->application) && strcmp(task->application, FS_NOTICE_EVERY))
        return fs_result_set(result, APR_EINVAL, "FS1589",
                             "DELETE /v1/notices/APPLICATION, or .../APPLICATION/ID");
    if (task->role == FS_AVAIL_OPERATOR)
        return APR_SUCCESS;
    if (!*id)
        return fs_result_set(result, APR_EACCES, "FS1571",
                             "a monitor takes back one notice of its own: give its id");
    if (strncmp(*id, FS_AVAIL_MONITOR_PREFIX, strlen(FS_AVAIL_MONITOR_PREFIX)) != 0) {
        fs_avail_monitor_id(*id, "", room);
        *id = room;
    }
    return APR_SUCCESS;
}

static void take_back(fs_avail_task_t *task, const char *id)
{
    const char *why = fs_http_call_query(task->call, "why");
    char plain[256] = "";
    taken_back_t taken;
    fs_result_t result;

    if (why)
        fs_avail_task_copy(plain, sizeof(plain), why);
    choose(task, id, &taken);
    if (!taken.count && id) {
        fs_result_set(&result, APR_NOTFOUND, "FS1583", "there is no notice %s/%s here",
                      task->application, id);
        fs_avail_task_refuse(task, 404, &result);
        return;
    }
    fs_http_call_defer(task->call, fs_avail_task_gone, task);
    if (taken.count)
        take_all_back(task, &taken, plain);
    else
        fs_avail_task_finish(task);
}

/* DELETE /v1/notices/APPLICATION[/ID][?wait=MS][&before=US][&who=NAME][&why=TEXT] */
void fs_avail_delete(void *baton, fs_http_call_t *call)
{
    fs_avail_task_t *task = fs_avail_task_make(baton, call);
    const char *rest = fs_http_call_rest(call), *slash = strchr(rest, '/');
    const char *id = slash ? slash + 1 : NULL;
    char room[FS_NOTICE_NAME_SIZE];
    fs_result_t result;
    apr_status_t status;
    int http = 403;

    if (!task) {
        fs_result_set(&result, APR_ENOMEM, "FS0621", "out of memory");
        fs_http_call_problem(call, 500, &result);
        return;
    }
    if ((size_t)snprintf(task->application, sizeof(task->application), "%.*s",
                         (int)(slash ? slash - rest : (long)strlen(rest)),
                         rest) >= sizeof(task->application))
        task->application[0] = '\0'; /* no name is so long */
    status = fs_avail_task_check(task, &http, &result);
    if (!status) {
        status = check_taker(task, &id, room, &result);
        http = fs_avail_task_status(status);
    }
    if (status)
        fs_avail_task_refuse(task, http, &result);
    else
        take_back(task, id);
}
