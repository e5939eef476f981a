/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One easy handle driven through a multi handle: curl_multi_wakeup is what lets another thread end
 * a wait at once, and the loop here is where the stall limit is kept in milliseconds (libcurl's own
 * is in whole seconds). The multi handle also keeps the open connections.
 *
 * Nothing of the environment counts: no proxy, no netrc, no cookies, no redirect, http and https
 * only. A farm's parts name each other in their configuration, and a signature covers one request
 * to one path; whatever sends it elsewhere is a mistake.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "net/fs_http_transfer.h"

#define CONNECT_TIMEOUT_MS 2000
#define POLL_MS            60000 /* libcurl's own timeouts and wakeups end a wait sooner */
#define CONNECTION_AGE_S   45l   /* shorter than the server's idle timeout of 60 s */

static void library_init(void)
{
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void fs_http_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, library_init);
}

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

fs_http_client_t *fs_http_client_create(const fs_http_settings_t *settings)
{
    fs_http_client_t *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    client->easy = curl_easy_init();
    client->multi = curl_multi_init();
    if (settings->ring)
        client->ring = *settings->ring;
    snprintf(client->origin, sizeof(client->origin), "%s",
             settings->origin ? settings->origin : "");
    client->ca_file = copy_text(settings->ca_file);
    client->cert_file = copy_text(settings->cert_file);
    client->key_file = copy_text(settings->key_file);
    client->connect_timeout_ms =
        settings->connect_timeout_ms ? (long)settings->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    if (!client->easy || !client->multi) {
        fs_http_client_destroy(client);
        return NULL;
    }
    return client;
}

void fs_http_client_destroy(fs_http_client_t *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    curl_multi_cleanup(client->multi);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    explicit_bzero(&client->ring, sizeof(client->ring));
    free(client);
}

void fs_http_client_abort(fs_http_client_t *client)
{
    atomic_store(&client->aborted, 1);
    curl_multi_wakeup(client->multi);
}

void fs_http_answer_clear(fs_http_answer_t *answer)
{
    free(answer->body);
    memset(answer, 0, sizeof(*answer));
}

/* --- the exchange -------------------------------------------------------------------------------
 */

/*
 * Path and query of `url` as libcurl sends them, which is what the signature covers. NULL when they
 * are not plain: libcurl would percent-encode a space or a byte beyond ASCII on its way.
 */
static const char *path_of(const char *url)
{
    const char *path = strstr(url, "://");

    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '#')
            return NULL;
    if (!path)
        return NULL;
    path += 3;
    path += strcspn(path, "/?");
    return *path == '?' ? NULL : *path ? path : "/";
}

static apr_status_t add_headers(fs_http_transfer_t *transfer, const char *method, const void *body,
                                size_t length, struct curl_slist **headers)
{
    fs_http_client_t *client = transfer->client;
    const char *path = path_of(transfer->url);
    char auth[FS_AUTH_SIZE], line[FS_AUTH_SIZE + 32];

    if (!path)
        return fs_result_set(transfer->result, APR_EINVAL, "FS0221",
                             "cannot ask %s: it is no plain http or https URL", transfer->url);
    *headers = curl_slist_append(NULL, "Expect:"); /* no round trip before the body */
    *headers = curl_slist_append(*headers, "Accept:");
    if (body) {
        snprintf(line, sizeof(line), "Content-Type: %s",
                 transfer->content_type ? transfer->content_type : "application/json");
        *headers = curl_slist_append(*headers, line);
    }
    if (!client->ring.count)
        return APR_SUCCESS;
    fs_auth_sign_request(&client->ring, client->origin, method, path, body, length, transfer->nonce,
                         auth);
    if (!auth[0])
        return fs_result_set(transfer->result, APR_EINVAL, "FS0225",
                             "cannot sign a request: \"%s\" can't be the name of a member; use up "
                             "to 64 letters, digits and punctuation without space, comma or quote",
                             client->origin);
    snprintf(line, sizeof(line), "FarmSync-Auth: %s", auth);
    *headers = curl_slist_append(*headers, line);
    return APR_SUCCESS;
}

static void set_method(CURL *easy, const char *method, const void *body, size_t length)
{
    if (!strcmp(method, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1l);
        return;
    }
    if (body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1l);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    }
    if (strcmp(method, "GET") || body)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_security(const fs_http_client_t *client, CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1l);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (client->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    if (client->cert_file) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, client->cert_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY,
                         client->key_file ? client->key_file : client->cert_file);
    }
}

static void set_transfer(fs_http_transfer_t *transfer, unsigned timeout_ms)
{
    CURL *easy = transfer->easy;

    curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1l);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_AGE_S);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, transfer->client->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, fs_http_header_came);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, fs_http_body_came);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
#if LIBCURL_VERSION_NUM >= 0x075000
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, fs_http_before_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
#endif
}

/* Runs the handle to its end, an abort or a stall. */
static CURLcode drive(fs_http_transfer_t *transfer)
{
    fs_http_client_t *client = transfer->client;
    CURLcode code = CURLE_FAILED_INIT;
    int running = 1, queued;

    transfer->active = fs_time_mono();
    if (curl_multi_add_handle(client->multi, client->easy))
        return code;
    for (;;) {
        CURLMsg *message;

        if (curl_multi_perform(client->multi, &running))
            break;
        if (!running) {
            message = curl_multi_info_read(client->multi, &queued);
            code = message && message->msg == CURLMSG_DONE ? message->data.result : code;
            break;
        }
        if (atomic_load(&client->aborted)) {
            code = CURLE_ABORTED_BY_CALLBACK;
            snprintf(transfer->error, sizeof(transfer->error), "shutting down");
            break;
        }
        if (transfer->stall && fs_time_mono() - transfer->active > transfer->stall) {
            code = CURLE_OPERATION_TIMEDOUT;
            snprintf(transfer->error, sizeof(transfer->error), "nothing came for %lld ms",
                     (long long)(transfer->stall / FS_USEC_PER_MSEC));
            break;
        }
        curl_multi_poll(client->multi, NULL, 0,
                        transfer->stall && transfer->stall < POLL_MS * FS_USEC_PER_MSEC
                            ? (int)(transfer->stall / FS_USEC_PER_MSEC) + 1
                            : POLL_MS,
                        NULL);
    }
    curl_multi_remove_handle(client->multi, client->easy);
    return code;
}

void fs_http_read_facts(fs_http_transfer_t *transfer, fs_usec_t start)
{
    fs_http_answer_t *answer = transfer->answer;
    CURL *easy = transfer->easy;
    curl_off_t retry_after = 0;
    long connects = 0, status = 0;

    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    answer->reused = status && connects == 0;
    answer->retry_after = retry_after > 0 ? (unsigned)retry_after : 0;
#if LIBCURL_VERSION_NUM < 0x075000
    {
        curl_off_t before = 0;

        /* Earlier than the truth by what libcurl does before it starts its own clock: safe. */
        curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &before);
        answer->sent = start + before;
    }
#endif
    if (!answer->sent)
        answer->sent = start;
    if (!answer->received)
        answer->received = fs_time_mono();
}

apr_status_t fs_http_prepare(fs_http_transfer_t *transfer, const char *method, const void *body,
                             size_t length, unsigned timeout_ms, struct curl_slist **headers)
{
    apr_status_t status = add_headers(transfer, method, body, length, headers);

    if (status)
        return status;
    set_security(transfer->client, transfer->easy);
    set_transfer(transfer, timeout_ms);
    set_method(transfer->easy, method, body, length);
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, *headers);
    return APR_SUCCESS;
}

static apr_status_t status_of(CURL *easy, CURLcode code)
{
    long error = 0;

    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    return code == CURLE_OPERATION_TIMEDOUT                         ? APR_TIMEUP
           : code == CURLE_COULDNT_CONNECT && error == ECONNREFUSED ? APR_ECONNREFUSED
                                                                    : APR_EGENERAL;
}

static apr_status_t run_transfer(fs_http_transfer_t *transfer, const char *method, const void *body,
                                 size_t length, unsigned timeout_ms)
{
    fs_http_client_t *client = transfer->client;
    struct curl_slist *headers = NULL;
    apr_status_t status;
    fs_usec_t start;
    CURLcode code;
    char range[32];

    curl_easy_reset(client->easy);
    status = fs_http_prepare(transfer, method, body, length, timeout_ms, &headers);
    if (status == APR_SUCCESS) {
        if (transfer->from) {
            snprintf(range, sizeof(range), "%llu-", (unsigned long long)transfer->from);
            curl_easy_setopt(client->easy, CURLOPT_RANGE, range);
        }
        start = fs_time_mono();
        code = drive(transfer);
        fs_http_read_facts(transfer, start);
        status = transfer->refused;
        if (status == APR_SUCCESS && code != CURLE_OK)
            status = fs_result_set(transfer->result, status_of(client->easy, code), "FS0221",
                                   "%s did not answer: %s", transfer->url,
                                   transfer->error[0] ? transfer->error : curl_easy_strerror(code));
    }
    curl_easy_reset(client->easy); /* forgets the pointers into this exchange; connections stay */
    curl_slist_free_all(headers);
    return status;
}

apr_status_t fs_http_exchange(fs_http_client_t *client, const char *method, const char *url,
                              const void *body, size_t length, size_t limit, unsigned timeout_ms,
                              fs_http_answer_t *answer, fs_result_t *result)
{
    fs_http_transfer_t transfer = {.client = client,
                                   .easy = client->easy,
                                   .url = url,
                                   .answer = answer,
                                   .result = result,
                                   .limit = limit};
    apr_status_t status;

    memset(answer, 0, sizeof(*answer));
    status = run_transfer(&transfer, method, body, length, timeout_ms);
    if (status == APR_SUCCESS)
        status =
            fs_http_keep_in_memory(&transfer, "", 0); /* a body that is empty is "" all the same */
    if (status == APR_SUCCESS)
        status = fs_http_check_signature(&transfer, answer->body, answer->length);
    if (status != APR_SUCCESS) {
        free(answer->body);
        answer->body = NULL;
        answer->length = 0;
    }
    return status;
}

apr_status_t fs_http_download(fs_http_client_t *client, const char *url, FILE *file, uint64_t from,
                              uint64_t limit, unsigned stall_ms, fs_http_answer_t *answer,
                              fs_result_t *result)
{
    fs_http_transfer_t transfer = {.client = client,
                                   .easy = client->easy,
                                   .url = url,
                                   .answer = answer,
                                   .result = result,
                                   .file = file,
                                   .from = from,
                                   .file_limit = limit,
                                   .written = from,
                                   .stall = (fs_usec_t)stall_ms * FS_USEC_PER_MSEC};
    apr_status_t status;

    memset(answer, 0, sizeof(*answer));
    status = run_transfer(&transfer, "GET", NULL, 0, 0);
    errno = 0;
    if (fflush(file) && status == APR_SUCCESS)
        status = fs_http_cannot_write(&transfer);
    answer->length = transfer.written;
    if (status == APR_SUCCESS && !transfer.accepted)
        status =
            fs_result_set(result, APR_EGENERAL, "FS0223", "%s answered %d", url, answer->status);
    return status;
}
