/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for a session. */
#include "session_fetch.h"

#include <stdlib.h>
#include <string.h>

#include "listen.h"

static void answer_waiter(void *baton)
{
    fs_waiter_t *waiter = baton;
    const char *text = waiter->status == 200   ? "{\"state\":\"here\"}\n"
                       : waiter->status == 404 ? "{\"state\":\"unknown\"}\n"
                                               : "{\"state\":\"unsure\"}\n";

    if (waiter->call) {
        if (waiter->status == 503)
            fs_http_call_set_header(waiter->call, "Retry-After", "1");
        fs_http_call_answer(waiter->call, waiter->status, "application/json", text, strlen(text));
    }
    free(waiter);
}

void fs_waiter_gone(void *baton, fs_http_call_t *call)
{
    fs_waiter_t *waiter = baton;

    pthread_mutex_lock(&waiter->sessions->lock);
    waiter->call = NULL;
    pthread_mutex_unlock(&waiter->sessions->lock);
}

/* The lock is held. */
void fs_waiter_release(fs_sessions_t *sessions, fs_waiter_t *waiter, int status)
{
    waiter->status = status;
    fs_listen_post(sessions->agent, answer_waiter, waiter);
}

void fs_waiter_answer_now(fs_http_call_t *call, int status)
{
    fs_waiter_t *waiter = calloc(1, sizeof(*waiter));

    if (!waiter) {
        fs_http_call_answer(call, 503, "text/plain", "out of memory\n", 14);
        return;
    }
    waiter->call = call;
    waiter->status = status;
    answer_waiter(waiter);
}
