/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many HTTP requests under way at the same time, in one thread, with the farm key's signatures and
 * kept connections: to tell or ask several servers at once. As fs_http_client.h otherwise.
 *
 * One thread at a time, but fs_http_fan_wake.
 */
#ifndef FS_HTTP_FAN_H
#define FS_HTTP_FAN_H

#include "net/fs_http_client.h"

typedef struct fs_http_fan_t fs_http_fan_t;

/* NULL when memory is short. */
fs_http_fan_t *fs_http_fan_create(const fs_http_settings_t *settings);
/* What is under way is given up, without a word. */
void fs_http_fan_destroy(fs_http_fan_t *fan);

typedef struct fs_http_fan_request_t {
    uint64_t id; /* the caller's */
    const char *method;
    const char *url;
    const char *content_type; /* of the body */
    const void *body;         /* copied; NULL none */
    size_t length;
    size_t limit;        /* of the answer, bytes */
    unsigned timeout_ms; /* of the whole */
} fs_http_fan_request_t;

/* Begins a request. Errors: FS0221, FS0225, as fs_http_exchange; then it isn't under way. */
apr_status_t fs_http_fan_start(fs_http_fan_t *fan, const fs_http_fan_request_t *request,
                               fs_result_t *result);
/* A request is over: as fs_http_exchange returned. The answer is valid during the call. May start
 * further ones. */
typedef void fs_http_fan_fn(void *baton, uint64_t id, apr_status_t status,
                            const fs_http_answer_t *answer, const fs_result_t *result);
/* Goes on with what is under way; waits for at most `wait_ms` for something to happen, or until
 * fs_http_fan_wake, and calls fn for each that is over. */
void fs_http_fan_run(fs_http_fan_t *fan, unsigned wait_ms, fs_http_fan_fn *fn, void *baton);
/* Ends the wait, now or at the next one. Any thread. */
void fs_http_fan_wake(fs_http_fan_t *fan);
unsigned fs_http_fan_count(const fs_http_fan_t *fan); /* under way */

#endif
