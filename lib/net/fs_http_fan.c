/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fs_http_fan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "net/fs_http_transfer.h"

typedef struct fs_http_one_t {
    LIST_ENTRY(fs_http_one_t) link;
    fs_http_transfer_t transfer;
    fs_http_answer_t answer;
    fs_result_t result;
    struct curl_slist *headers;
    fs_usec_t start;
    uint64_t id;
    char *url;
    void *body;
} fs_http_one_t;

struct fs_http_fan_t {
    fs_http_client_t *client; /* its multi handle drives all; its easy handle isn't used */
    LIST_HEAD(, fs_http_one_t) under_way;
    unsigned count;
};

fs_http_fan_t *fs_http_fan_create(const fs_http_settings_t *settings)
{
    fs_http_fan_t *fan = calloc(1, sizeof(*fan));

    if (!fan)
        return NULL;
    LIST_INIT(&fan->under_way);
    fan->client = fs_http_client_create(settings);
    if (!fan->client) {
        free(fan);
        return NULL;
    }
    return fan;
}

static void free_one(fs_http_one_t *one)
{
    if (one->transfer.easy)
        curl_easy_cleanup(one->transfer.easy);
    curl_slist_free_all(one->headers);
    fs_http_answer_clear(&one->answer);
    free(one->url);
    free(one->body);
    free(one);
}

static void end_one(fs_http_fan_t *fan, fs_http_one_t *one)
{
    curl_multi_remove_handle(fan->client->multi, one->transfer.easy);
    LIST_REMOVE(one, link);
    fan->count--;
}

void fs_http_fan_destroy(fs_http_fan_t *fan)
{
    if (!fan)
        return;
    while (!LIST_EMPTY(&fan->under_way)) {
        fs_http_one_t *one = LIST_FIRST(&fan->under_way);

        end_one(fan, one);
        free_one(one);
    }
    fs_http_client_destroy(fan->client);
    free(fan);
}

void fs_http_fan_wake(fs_http_fan_t *fan)
{
    curl_multi_wakeup(fan->client->multi);
}

unsigned fs_http_fan_count(const fs_http_fan_t *fan)
{
    return fan->count;
}

static fs_http_one_t *make_one(fs_http_fan_t *fan, const fs_http_fan_request_t *request)
{
    fs_http_one_t *one = calloc(1, sizeof(*one));

    if (!one)
        return NULL;
    one->id = request->id;
    one->url = strdup(request->url);
    one->body = request->body ? malloc(request->length + 1) : NULL;
    one->transfer = (fs_http_transfer_t){.client = fan->client,
                                         .easy = curl_easy_init(),
                                         .content_type = request->content_type,
                                         .url = one->url,
                                         .answer = &one->answer,
                                         .result = &one->result,
                                         .limit = request->limit};
    if (!one->url || !one->transfer.easy || (request->body && !one->body)) {
        free_one(one);
        return NULL;
    }
    if (request->body)
        memcpy(one->body, request->body, request->length);
    return one;
}

apr_status_t fs_http_fan_start(fs_http_fan_t *fan, const fs_http_fan_request_t *request,
                               fs_result_t *result)
{
    fs_http_one_t *one = make_one(fan, request);
    apr_status_t status;

    if (!one)
        return fs_result_set(result, APR_ENOMEM, "FS0221", "cannot ask %s: out of memory",
                             request->url);
    status = fs_http_prepare(&one->transfer, request->method, one->body, request->length,
                             request->timeout_ms, &one->headers);
    if (status == APR_SUCCESS) {
        curl_easy_setopt(one->transfer.easy, CURLOPT_PRIVATE, one);
        one->start = fs_time_mono();
        if (curl_multi_add_handle(fan->client->multi, one->transfer.easy))
            status = fs_result_set(&one->result, APR_ENOMEM, "FS0221",
                                   "cannot ask %s: libcurl takes no more requests", request->url);
    }
    if (status) {
        if (result)
            *result = one->result;
        free_one(one);
        return status;
    }
    LIST_INSERT_HEAD(&fan->under_way, one, link);
    fan->count++;
    return APR_SUCCESS;
}

/* As fs_http_exchange judges it. */
static apr_status_t judge(fs_http_one_t *one, CURLcode code)
{
    fs_http_transfer_t *transfer = &one->transfer;
    apr_status_t status = transfer->refused;

    fs_http_read_facts(transfer, one->start);
    if (!status && code != CURLE_OK)
        status = fs_result_set(&one->result,
                               code == CURLE_OPERATION_TIMEDOUT ? APR_TIMEUP : APR_EGENERAL,
                               "FS0221", "%s did not answer: %s", transfer->url,
                               transfer->error[0] ? transfer->error : curl_easy_strerror(code));
    if (!status)
        status = fs_http_keep_in_memory(transfer, "", 0);
    if (!status)
        status = fs_http_check_signature(transfer, one->answer.body, one->answer.length);
    return status;
}

static unsigned take_done(fs_http_fan_t *fan, fs_http_fan_fn *fn, void *baton)
{
    CURLMsg *message;
    unsigned done = 0;
    int queued;

    while ((message = curl_multi_info_read(fan->client->multi, &queued))) {
        fs_http_one_t *one = NULL;
        CURLcode code = message->data.result;
        apr_status_t status;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&one);
        status = judge(one, code);
        end_one(fan, one);
        fn(baton, one->id, status, &one->answer, &one->result);
        free_one(one);
        done++;
    }
    return done;
}

void fs_http_fan_run(fs_http_fan_t *fan, unsigned wait_ms, fs_http_fan_fn *fn, void *baton)
{
    int running;

    curl_multi_perform(fan->client->multi, &running);
    if (take_done(fan, fn, baton))
        return;
    curl_multi_poll(fan->client->multi, NULL, 0, (int)wait_ms, NULL);
    curl_multi_perform(fan->client->multi, &running);
    take_done(fan, fn, baton);
}
