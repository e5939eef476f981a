/* SPDX-License-Identifier: Apache-2.0 */
#include "crier.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "sqlthread.h"

#define LOOK_EVERY       (250 * FS_USEC_PER_MSEC)
#define ADDRESS_EVERY    (5 * FS_USEC_PER_SEC)
#define AGAIN_AFTER      (1 * FS_USEC_PER_SEC) /* when nobody could be told */
#define STATEMENT_S      5
#define WAIT_MS          "1000" /* for servers that don't answer */
#define PATH_SIZE        1000
#define ANSWER_SIZE      512
#define TELL_WITHIN      ((FS_CRIER_TAKES_S - 2) * FS_USEC_PER_SEC)
#define APPLICATION_SIZE 65
#define WHO_SIZE         129

struct fs_crier_t {
    fs_worker_shared_t shared;
    fs_sqlthread_t thread;
    fs_bell_t bell;

    /* the thread's own */
    fs_agents_asker_t asker;
    uint64_t connects;             /* of the follower: another number means the database is back */
    fs_usec_t address_at, look_at; /* mono */
    fs_log_gate_t gate;
};

/* An order as notice_take gives it. */
typedef struct order_t {
    int64_t id, before_us;
    int is_down;
    char application[APPLICATION_SIZE];
    char who[WHO_SIZE];
    char *body;
} order_t;

/* --- taking ----------------------------------------------------------------------------------- */

static void copy_slice(char *out, size_t size, const fs_slice_t *value)
{
    snprintf(out, size, "%.*s", (int)value->length, value->data ? (const char *)value->data : "");
}

static int64_t number_of(const fs_slice_t *value)
{
    char text[32];

    copy_slice(text, sizeof(text), value);
    return strtoll(text, NULL, 10);
}

/* fs_sql_row_fn */
static apr_status_t keep_order(void *baton, const fs_slice_t *values, unsigned count,
                               fs_result_t *result)
{
    order_t *order = baton;

    if (count < 6 || order->body)
        return APR_SUCCESS;
    order->id = number_of(&values[0]);
    order->is_down = values[1].length == 4; /* down, up */
    copy_slice(order->application, sizeof(order->application), &values[2]);
    order->body = strndup(values[3].data ? (const char *)values[3].data : "", values[3].length);
    copy_slice(order->who, sizeof(order->who), &values[4]);
    order->before_us = number_of(&values[5]);
    return order->body ? APR_SUCCESS : APR_ENOMEM;
}

/* fs_sql_row_fn */
static apr_status_t keep_count(void *baton, const fs_slice_t *values, unsigned count,
                               fs_result_t *result)
{
    *(int64_t *)baton = number_of(&values[0]);
    return APR_SUCCESS;
}

/* --- telling ---------------------------------------------------------------------------------- */

/* The notice of a "down": what was said, with whom and what it is about. malloc'ed, or NULL. */
static char *make_notice(const order_t *order)
{
    json_t *notice = json_loads(order->body, JSON_REJECT_DUPLICATES, NULL);
    char *text;

    if (!json_is_object(notice)) {
        json_decref(notice);
        return NULL;
    }
    json_object_set_new(notice, "application", json_string(order->application));
    json_object_set_new(notice, "who", json_string(order->who));
    if (!json_object_get(notice, "state"))
        json_object_set_new(notice, "state", json_string("down"));
    text = json_dumps(notice, JSON_COMPACT);
    json_decref(notice);
    return text;
}

/* DELETE of what an "up" takes back. */
static void make_up_path(const order_t *order, char path[PATH_SIZE])
{
    json_t *body = json_loads(order->body, 0, NULL);
    const char *id = json_string_value(json_object_get(body, "id"));

    fs_agents_add_part(path, PATH_SIZE, order->application);
    if (id) {
        strcat(path, "/"); /* an application's name is much shorter than the room */
        fs_agents_add_part(path, PATH_SIZE, id);
    }
    fs_agents_add_query(path, PATH_SIZE, "who", order->who);
    json_decref(body);
}

static apr_status_t tell(fs_crier_t *crier, const order_t *order, fs_http_answer_t *answer,
                         fs_result_t *result)
{
    fs_usec_t until = fs_time_mono() + TELL_WITHIN;
    char path[PATH_SIZE] = "/v1/notices", before[32];
    char *body = order->is_down ? make_notice(order) : NULL;
    apr_status_t status;

    memset(answer, 0, sizeof(*answer));
    if (order->is_down && !body) {
        answer->status = 400;
        return fs_result_set(result, APR_SUCCESS, "FS0882", "the order's text is no JSON object");
    }
    if (!order->is_down) {
        strcat(path, "/");
        make_up_path(order, path);
    }
    snprintf(before, sizeof(before), "%" PRId64, order->before_us);
    fs_agents_add_query(path, PATH_SIZE, "before", before);
    fs_agents_add_query(path, PATH_SIZE, "wait", WAIT_MS);
    status = fs_agents_ask(&crier->asker, order->is_down ? "POST" : "DELETE", path, body,
                           body ? strlen(body) : 0, until, answer, result);
    free(body);
    return status;
}

/* --- what came of it -------------------------------------------------------------------------- */

/* Adds "; web5 not reached" for those who weren't. */
static void add_missing(const json_t *servers, char text[ANSWER_SIZE])
{
    const json_t *one;
    size_t i;

    json_array_foreach(servers, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        size_t length = strlen(text);

        if (!json_is_true(json_object_get(one, "told")))
            snprintf(text + length, ANSWER_SIZE - length, "; %s not reached, is told on return",
                     name && *name ? name : "a server");
    }
}

/* The agent's answer in words for farmsync.notices. */
static void describe(const fs_http_answer_t *answer, const fs_result_t *result,
                     char text[ANSWER_SIZE])
{
    json_t *body = answer->body ? json_loadb(answer->body, answer->length, 0, NULL) : NULL;
    const char *problem = json_string_value(json_object_get(body, "problem")),
               *detail = json_string_value(json_object_get(body, "detail"));

    if (answer->status == 200) {
        snprintf(text, ANSWER_SIZE, "%d of %d servers in %.0f ms",
                 (int)json_integer_value(json_object_get(body, "told")),
                 (int)json_integer_value(json_object_get(body, "of")),
                 json_number_value(json_object_get(body, "ms")));
        if (!json_array_size(json_object_get(body, "keys")))
            snprintf(text, ANSWER_SIZE, "there was nothing to take back");
        add_missing(json_object_get(body, "servers"), text);
    } else if (detail) {
        snprintf(text, ANSWER_SIZE, "%s: %s", problem ? problem : "", detail);
    } else {
        snprintf(text, ANSWER_SIZE, "%s: %.480s", result->problem, result->detail);
    }
    json_decref(body);
}

/* Whether it is done (told), will never be (refused), or is to be tried again (waiting). */
static const char *state_of(apr_status_t status, const fs_http_answer_t *answer)
{
    if (answer->status == 200 || answer->status == 404)
        return "told";
    if (status == APR_SUCCESS && (answer->status == 400 || answer->status == 403 ||
                                  answer->status == 413 || answer->status == 422))
        return "refused";
    return "waiting";
}

static void say(fs_crier_t *crier, const order_t *order, const char *state, const char *text)
{
    const char *note;

    if (!strcmp(state, "told")) {
        fs_log(FS_LOG_NOTICE, "FS0883", "passed on that %s is %s, as %s said: %s",
               order->application, order->is_down ? "down" : "up", order->who, text);
        return;
    }
    note = fs_log_gate(&crier->gate, fs_time_mono());
    if (note)
        fs_log(FS_LOG_WARNING, "FS0884", "notice %" PRId64 " of %s on %s %s: %s%s", order->id,
               order->who, order->application,
               strcmp(state, "refused") ? "could not be passed on and waits" : "was refused", text,
               note);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* 1 while the follower has its connection; a new one of its own means another one here. */
static int database_is_there(fs_crier_t *crier)
{
    fs_database_facts_t database;

    fs_board_database(crier->shared.board, &database);
    if (database.up && database.connects != crier->connects) {
        crier->connects = database.connects;
        fs_sql_disconnect(crier->thread.sql);
    }
    return database.up;
}

/* Passes the oldest order on. Returns 1 if it is done with, so that the next one is looked for. */
static int pass_one(fs_crier_t *crier, fs_result_t *result)
{
    order_t order = {0};
    fs_http_answer_t answer;
    char text[ANSWER_SIZE];
    const char *state;
    apr_status_t status = fs_sql_rows(crier->thread.sql, keep_order, &order, result,
                                      "CALL farmsync.notice_take(%s, %d)", crier->shared.who,
                                      (int64_t)FS_CRIER_TAKES_S);

    if (status != APR_SUCCESS || !order.body) {
        free(order.body);
        return 0;
    }
    status = tell(crier, &order, &answer, result);
    state = state_of(status, &answer);
    describe(&answer, result, text);
    say(crier, &order, state, text);
    fs_http_answer_clear(&answer);
    free(order.body);
    status =
        fs_sql_run(crier->thread.sql, NULL, result, "CALL farmsync.notice_told(%d, %s, %s, %s)",
                   order.id, crier->shared.who, state, text);
    return status == APR_SUCCESS && strcmp(state, "waiting") != 0;
}

static apr_status_t look(fs_crier_t *crier, fs_result_t *result)
{
    int64_t waiting = 0;
    apr_status_t status = fs_sql_connect(crier->thread.sql, result);

    crier->look_at = fs_time_mono() + LOOK_EVERY;
    if (status == APR_SUCCESS && crier->address_at <= fs_time_mono()) {
        status = fs_agents_read(crier->asker.agents, crier->thread.sql, result);
        crier->address_at = fs_time_mono() + ADDRESS_EVERY;
    }
    if (status == APR_SUCCESS)
        status = fs_sql_rows(crier->thread.sql, keep_count, &waiting, result,
                             "SELECT COUNT(*) FROM farmsync.notice WHERE state = 'waiting'");
    while (status == APR_SUCCESS && waiting-- > 0 && !fs_sqlthread_stopped(&crier->thread))
        if (!pass_one(crier, result)) {
            crier->look_at = fs_time_mono() + AGAIN_AFTER;
            break;
        }
    return status;
}

static void work(void *baton)
{
    fs_crier_t *crier = baton;
    fs_result_t result;

    while (!fs_sqlthread_stopped(&crier->thread)) {
        fs_result_clear(&result);
        if (database_is_there(crier) && look(crier, &result) != APR_SUCCESS) {
            const char *note = fs_log_gate(&crier->gate, fs_time_mono());

            crier->look_at = fs_time_mono() + AGAIN_AFTER;
            if (note && fs_sql_error(crier->thread.sql) == FS_SQL_REFUSED)
                fs_log(FS_LOG_WARNING, "FS0885",
                       "what is said of availability can't be read from the database: %s: %s. Run "
                       "install.sql of this release%s",
                       result.problem, result.detail, note);
        }
        fs_bell_wait(&crier->bell, crier->look_at > fs_time_mono() ? crier->look_at
                                                                   : fs_time_mono() + LOOK_EVERY);
    }
    fs_agents_asker_clear(&crier->asker);
}

apr_status_t fs_crier_start(fs_crier_t **crier, const fs_worker_shared_t *shared,
                            fs_agents_t *agents, fs_result_t *result)
{
    fs_crier_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    *crier = NULL;
    if (!made)
        return fs_result_set(result, APR_ENOMEM, "FS0812", "out of memory");
    made->shared = *shared;
    made->asker.agents = agents;
    fs_bell_init(&made->bell);
    status = fs_sqlthread_start(&made->thread, shared->option_file, STATEMENT_S, &made->bell, work,
                                made, result);
    if (status == APR_SUCCESS)
        *crier = made;
    else
        free(made);
    return status;
}

void fs_crier_stop(fs_crier_t *crier)
{
    if (crier)
        fs_sqlthread_stop(&crier->thread);
}

int fs_crier_join(fs_crier_t *crier, fs_usec_t until)
{
    if (!crier)
        return 1;
    if (!fs_sqlthread_join(&crier->thread, until))
        return 0;
    fs_bell_destroy(&crier->bell);
    free(crier);
    return 1;
}
