/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of another host that a worker looks at and answers, for the loop must not wait. */
#ifndef FS_AGENT_SESSION_ASKED_H
#define FS_AGENT_SESSION_ASKED_H

#include "session.h"

typedef struct fs_asked_t {
    fs_work_t work; /* first: a worker's function gets this */
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* loop's thread; NULL: the client has left */
    char from[FS_ORIGIN_SIZE];
    char *body;
    size_t length;
    fs_usec_t came;
    int status;
    fs_session_batch_writer_t answer;
    fs_result_t result;
} fs_asked_t;

/* Loop's thread: has a worker do `run`, which must call fs_asked_end. */
void fs_asked_begin(fs_agent_t *agent, fs_http_call_t *call,
                    void (*run)(fs_sessions_t *, fs_work_t *, fs_http_client_t *, apr_pool_t *));
/* Answers with asked->answer, or, if `status` isn't success, with `http_status` and asked->result;
 * frees it. */
void fs_asked_end(fs_asked_t *asked, apr_status_t status, int http_status);

#endif
