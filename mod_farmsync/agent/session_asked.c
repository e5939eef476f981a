/* SPDX-License-Identifier: Apache-2.0 */
#include "session_asked.h"

#include <stdlib.h>
#include <string.h>

#include "listen.h"

static void asked_gone(void *baton, fs_http_call_t *call)
{
    ((fs_asked_t *)baton)->call = NULL;
}

static void answer_call(void *baton)
{
    fs_asked_t *asked = baton;

    if (asked->call && asked->status == 200)
        fs_http_call_answer(asked->call, 200, FS_SESSION_BATCH_TYPE, asked->answer.bytes,
                            asked->answer.length);
    else if (asked->call)
        fs_http_call_problem(asked->call, asked->status, &asked->result);
    free(asked->answer.bytes);
    free(asked->body);
    free(asked);
}

void fs_asked_begin(fs_agent_t *agent, fs_http_call_t *call,
                    void (*run)(fs_sessions_t *, fs_work_t *, fs_http_client_t *, apr_pool_t *))
{
    fs_asked_t *asked = calloc(1, sizeof(*asked));
    size_t length;
    const char *body = fs_http_call_body(call, &length);
    fs_result_t result;

    if (asked)
        asked->body = malloc(length + 1);
    if (!asked || !asked->body) {
        free(asked);
        fs_result_set(&result, APR_ENOMEM, "FS0621", "out of memory");
        fs_http_call_problem(call, 503, &result);
        return;
    }
    memcpy(asked->body, body, length);
    asked->length = length;
    asked->sessions = agent->sessions;
    asked->call = call;
    asked->came = fs_session_clock();
    snprintf(asked->from, sizeof(asked->from), "%s", fs_http_call_origin(call));
    asked->work.run = run;
    fs_http_call_defer(call, asked_gone, asked);
    fs_work_add(agent->sessions, &asked->work);
}

void fs_asked_end(fs_asked_t *asked, apr_status_t status, int http_status)
{
    asked->status = status ? http_status : 200;
    fs_listen_post(asked->sessions->agent, answer_call, asked);
}
