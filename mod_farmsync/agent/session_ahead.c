/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other hosts have this one hold as the alternate of their visitors. It is never served as it
 * is: when a visitor comes, his session is fetched as any other, only that one copy is here
 * already. So the bank is asked as long as it answers, which settles whose the session is and sends
 * nothing that is here already; a copy that is behind can't win over a newer one. Where no bank
 * server answers, it is what there is.
 */
#include "session_ahead.h"

#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "session_asked.h"

#define EXPIRE_STEPS 1000

apr_status_t fs_ahead_open(fs_sessions_t *sessions, fs_result_t *result)
{
    const fs_agent_sessions_t *config = sessions->config;
    char dir[sizeof(sessions->dir) + 8];

    if (!sessions->agent->config.route.enabled)
        return APR_SUCCESS;
    snprintf(dir, sizeof(dir), "%s-ahead", sessions->dir);
    return fs_session_held_open(&sessions->held, dir, NULL,
                                config->sessions ? config->sessions : UINT64_MAX,
                                config->store_bytes, result);
}

/* --- what comes ---------------------------------------------------------------------------------
 */

static apr_status_t keep(fs_asked_t *asked, fs_session_batch_reader_t *reader, apr_pool_t *pool)
{
    fs_sessions_t *sessions = asked->sessions;
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFERED};
    unsigned count = 0, most = reader->head.count;
    fs_session_item_t *items = apr_pcalloc(pool, (most + 1) * sizeof(*items));
    fs_session_what_t *outcomes = apr_pcalloc(pool, (most + 1) * sizeof(*outcomes));
    apr_status_t status;

    while (count < most && fs_session_batch_next(reader, &items[count]))
        count++;
    status = fs_session_held_put(sessions->held, items, count, asked->from,
                                 fs_sessions_farm(sessions), outcomes, &asked->result);
    if (!status)
        status = fs_session_batch_begin(&asked->answer, &head, &asked->result);
    for (unsigned i = 0; i < count && !status; i++) {
        fs_session_item_t answer = {.key = items[i].key, .what = outcomes[i]};

        status = fs_session_batch_add(&asked->answer, &answer, &asked->result);
    }
    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < count && !status; i++) {
        fs_unknown_forget(&sessions->unknown, &items[i].key);
        sessions->ahead.took += outcomes[i] == FS_SESSION_WHAT_STORED;
    }
    pthread_mutex_unlock(&sessions->lock);
    return status;
}

static void take_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                     apr_pool_t *pool)
{
    fs_asked_t *asked = (fs_asked_t *)work;
    fs_session_batch_reader_t reader;
    apr_status_t status = fs_session_batch_read(&reader, FS_SESSION_BATCH_AHEAD, asked->body,
                                                asked->length, &asked->result);

    if (status) {
        fs_asked_end(asked, status, 400);
        return;
    }
    status = keep(asked, &reader, pool);
    if (status)
        fs_log_result(FS_LOG_ERROR, &asked->result);
    fs_asked_end(asked, status, 503);
}

void fs_ahead_take(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    fs_result_t result;

    if (agent->sessions->held) {
        fs_asked_begin(agent, call, take_run);
        return;
    }
    fs_result_set(&result, APR_NOTFOUND, "FS1380",
                  "this server takes no part in routing, and so holds no sessions for others");
    fs_http_call_problem(call, 404, &result);
}

/* --- when a session is taken --------------------------------------------------------------------
 */

int fs_ahead_get(fs_sessions_t *sessions, const fs_session_key_t *key, fs_session_item_t *item)
{
    apr_pool_t *pool;
    fs_result_t result;
    apr_status_t status;
    uint8_t *bytes = NULL;

    if (!sessions->held || apr_pool_create(&pool, NULL))
        return 0;
    status =
        fs_session_held_get(sessions->held, key, fs_sessions_farm(sessions), pool, item, &result);
    if (!status && (bytes = malloc(item->sealed_length + 1))) {
        memcpy(bytes, item->sealed, item->sealed_length);
        item->sealed = bytes;
    } else if (status && status != APR_NOTFOUND) {
        fs_log_result(FS_LOG_ERROR, &result);
    }
    apr_pool_destroy(pool);
    return bytes != NULL;
}

void fs_ahead_taken(fs_sessions_t *sessions, const fs_session_key_t *key,
                    const fs_session_stamp_t *version, int served)
{
    fs_result_t result;

    if (!sessions->held)
        return;
    if (fs_session_held_drop(sessions->held, key, version, &result))
        fs_log_result(FS_LOG_ERROR, &result);
    pthread_mutex_lock(&sessions->lock);
    sessions->ahead.served += served != 0;
    pthread_mutex_unlock(&sessions->lock);
}

void fs_ahead_expire(fs_sessions_t *sessions)
{
    fs_result_t result;

    if (sessions->held &&
        fs_session_held_expire(sessions->held, fs_sessions_farm(sessions), EXPIRE_STEPS, &result))
        fs_log_result(FS_LOG_ERROR, &result);
}
