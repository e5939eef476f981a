/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/sessions/...: what hosts and other bank servers ask the session bank. HTTP thread. */
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "service.h"

/* Who asks, or NULL: then the call is answered. */
static const char *check_caller(fs_service_t *service, fs_http_call_t *call)
{
    const char *origin = fs_http_call_origin(call);

    if (!service->bank) {
        fs_service_refuse(service, call, 503, "FS1406",
                          "no sessions are kept here: the session bank could not be opened; the "
                          "log of datasrv says why. Use another data server");
        return NULL;
    }
    if (origin[0])
        return origin;
    fs_service_refuse(service, call, 403, "FS1407",
                      "sessions are kept for signed callers only; give datasrv and the web servers "
                      "a KeyFile");
    return NULL;
}

static void gone(void *baton, fs_http_call_t *call)
{
    fs_bank_job_t *job = baton;

    job->call = NULL;
}

static fs_bank_job_t *make_job(fs_bank_task_t task, const char *origin, fs_http_call_t *call)
{
    fs_bank_job_t *job = calloc(1, sizeof(*job));
    size_t length;
    const char *body = fs_http_call_body(call, &length);

    if (!job || !(job->body = malloc(length + 1))) {
        free(job);
        return NULL;
    }
    job->task = task;
    job->call = call;
    job->length = length;
    memcpy(job->origin, origin, strnlen(origin, sizeof(job->origin) - 1));
    if (length)
        memcpy(job->body, body, length); /* the call may go before its job is done */
    return job;
}

static void queue(fs_service_t *service, fs_http_call_t *call, fs_bank_task_t task,
                  fs_session_batch_kind_t kind)
{
    const char *origin = check_caller(service, call);
    fs_bank_job_t *job;
    fs_result_t result;

    if (!origin)
        return;
    service->bank->counts.asked++;
    job = make_job(task, origin, call);
    if (!job) {
        fs_http_call_answer(call, 503, NULL, NULL, 0);
        return;
    }
    fs_result_clear(&result);
    if (fs_session_batch_read(&job->reader, kind, job->body, job->length, &result) != APR_SUCCESS) {
        service->counts.refused++;
        fs_http_call_problem(call, 400, &result);
        fs_bank_job_free(job);
        return;
    }
    fs_http_call_defer(call, gone, job);
    if (fs_bank_submit(service->bank, job) == APR_SUCCESS)
        return;
    job->call = NULL;
    fs_service_refuse(service, call, 503, "FS1408",
                      "too many requests wait for the session bank; come again, or use another "
                      "data server");
    fs_bank_job_free(job);
}

/* Whatever a host asks says that it lives; another bank server isn't one. */
static void heard(fs_service_t *service, fs_http_call_t *call)
{
    if (service->bank)
        fs_bank_hosts_heard(service->bank->hosts, fs_http_call_origin(call), fs_time_mono());
}

void fs_service_offer(void *service, fs_http_call_t *call)
{
    heard(service, call);
    queue(service, call, FS_BANK_OFFERS, FS_SESSION_BATCH_OFFER);
}

void fs_service_take(void *service, fs_http_call_t *call)
{
    heard(service, call);
    queue(service, call, FS_BANK_TAKES, FS_SESSION_BATCH_TAKE);
}

void fs_service_versions(void *service, fs_http_call_t *call)
{
    heard(service, call);
    queue(service, call, FS_BANK_COMPARES, FS_SESSION_BATCH_VERSIONS);
}

void fs_service_digest(void *service, fs_http_call_t *call)
{
    queue(service, call, FS_BANK_DIGEST, FS_SESSION_BATCH_SCAN);
}

void fs_service_bucket(void *service, fs_http_call_t *call)
{
    queue(service, call, FS_BANK_BUCKETS, FS_SESSION_BATCH_SCAN);
}

void fs_service_changes(void *service, fs_http_call_t *call)
{
    queue(service, call, FS_BANK_CHANGES, FS_SESSION_BATCH_SCAN);
}

/* --- answered at once ----------------------------------------------------------------------------
 */

static int read_head(fs_service_t *service, fs_http_call_t *call, fs_session_batch_kind_t kind,
                     fs_session_batch_t *head)
{
    fs_session_batch_reader_t reader;
    fs_result_t result;
    size_t length;
    const char *body = fs_http_call_body(call, &length);

    fs_result_clear(&result);
    if (fs_session_batch_read(&reader, kind, body, length, &result) == APR_SUCCESS) {
        *head = reader.head;
        return 1;
    }
    service->counts.refused++;
    fs_http_call_problem(call, 400, &result);
    return 0;
}

static void answer_batch(fs_http_call_t *call, fs_session_batch_writer_t *writer,
                         apr_status_t status)
{
    if (status == APR_SUCCESS)
        fs_http_call_answer(call, 200, FS_SESSION_BATCH_TYPE, writer->bytes, writer->length);
    else
        fs_http_call_answer(call, 503, NULL, NULL, 0);
    free(writer->bytes);
}

/* Hosts and bank servers that disagree about names would look for sessions in different places. */
static void check_names(fs_service_t *service, const char *origin, const fs_session_batch_t *asked)
{
    static fs_log_gate_t gate; /* HTTP thread */
    const fs_bank_setup_t *setup = &service->bank->setup;
    const char *note;

    if ((!asked->name[0] || !strcmp(asked->name, setup->name)) &&
        (!asked->copies || asked->copies == setup->copies || !setup->peer_count))
        return;
    note = fs_log_gate(&gate, fs_time_mono());
    if (note)
        fs_log(FS_LOG_WARNING, "FS1411",
               "%s calls this bank server %s and keeps %u copies of a session; here SessionName is "
               "%s and SessionCopies %u. Make them the same, so that bank servers know who keeps "
               "what%s",
               origin, asked->name, asked->copies, setup->name, setup->copies, note);
}

void fs_service_renew(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    const char *origin = check_caller(service, call);
    fs_session_batch_writer_t writer = {NULL};
    fs_session_batch_t asked, head;
    apr_status_t status;
    int lease;

    if (!origin || !read_head(service, call, FS_SESSION_BATCH_RENEW, &asked))
        return;
    service->bank->counts.asked++;
    check_names(service, origin, &asked);
    head = fs_bank_head(service->bank, FS_SESSION_BATCH_RENEWED);
    if (!fs_bank_hosts_renew(service->bank->hosts, origin, &asked, service->bank->boot,
                             fs_time_mono(), &head, &lease)) {
        fs_service_refuse(service, call, 503, "FS1405",
                          "this bank server knows %d web servers already; use another one for more",
                          FS_BANK_HOSTS);
        return;
    }
    if (lease)
        fs_bank_keep_host(service->bank, origin, asked.lease);
    status = fs_session_batch_begin(&writer, &head, NULL);
    if (status == APR_SUCCESS)
        status = fs_bank_hosts_taken(service->bank->hosts, origin,
                                     head.flags & FS_SESSION_BATCH_ALL ? head.mark : asked.mark,
                                     fs_time_mono(), &writer);
    answer_batch(call, &writer, status);
}

void fs_service_state(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    fs_session_batch_writer_t writer = {NULL};
    fs_session_batch_t asked, head;
    fs_bank_totals_t totals;
    apr_status_t status;

    if (!check_caller(service, call) || !read_head(service, call, FS_SESSION_BATCH_STATE, &asked))
        return;
    head = fs_bank_head(service->bank, FS_SESSION_BATCH_STATE);
    fs_bank_totals(service->bank, &totals);
    head.sequence = totals.sequence;
    memcpy(head.name, service->bank->setup.name,
           strnlen(service->bank->setup.name, sizeof(head.name) - 1));
    status = fs_session_batch_begin(&writer, &head, NULL);
    if (status == APR_SUCCESS)
        status = fs_bank_hosts_state(service->bank->hosts, fs_time_mono(), &writer);
    answer_batch(call, &writer, status);
}
