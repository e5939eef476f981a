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
#include "net/fs_http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 2000
#define POLL_MS            60000 /* libcurl's own timeouts and wakeups end a wait sooner */
#define CONNECTION_AGE_S   45l   /* shorter than the server's idle timeout of 60 s */

struct fs_http_client_t {
    CURL *easy;
    CURLM *multi;
    fs_keyring_t ring;
    char origin[FS_ORIGIN_SIZE];
    char *ca_file;
    char *cert_file;
    char *key_file;
    long connect_timeout_ms;
    atomic_int aborted;
};

/* One exchange while it runs. */
typedef struct transfer_t {
    fs_http_client_t *client;
    const char *url;
    fs_http_answer_t *answer;
    fs_result_t *result;
    char nonce[FS_NONCE_SIZE]; /* of the signed request, "" if unsigned */
    char header[FS_AUTH_SIZE]; /* FarmSync-Auth of the answer, "" if none */
    char error[CURL_ERROR_SIZE];
    char range_start[24]; /* first byte of Content-Range, "" if none */
    size_t limit;         /* in memory */
    size_t size;          /* allocated */
    FILE *file;           /* NULL: to memory */
    uint64_t from;        /* bytes that the file has already */
    uint64_t file_limit;
    uint64_t written;     /* bytes that the file has now */
    int accepted;         /* the headers allow writing to the file */
    apr_status_t refused; /* why a callback ended it; `result` is set */
    fs_usec_t active;     /* mono time of the last byte */
    fs_usec_t stall;      /* 0: none */
} transfer_t;

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

/* --- callbacks ----------------------------------------------------------------------------------
 */

#if LIBCURL_VERSION_NUM >= 0x075000
/* The connection is open, TLS included, and the request is about to be written. */
static int before_request(void *baton, char *peer, char *local, int peer_port, int local_port)
{
    transfer_t *transfer = baton;

    transfer->answer->sent = transfer->active = fs_time_mono();
    return CURL_PREREQFUNC_OK;
}
#endif

/* If `line` is the header `name`, copies its value, which is cut to `size`, and returns 1. */
static int take_header(const char *line, size_t length, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name);

    if (length <= name_length || line[name_length] != ':' || strncasecmp(line, name, name_length))
        return 0;
    line += name_length + 1;
    length -= name_length + 1;
    while (length && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    while (length && strchr(" \t\r\n", line[length - 1]))
        length--;
    if (length >= size)
        length = size - 1;
    memcpy(out, line, length);
    out[length] = '\0';
    return 1;
}

static apr_status_t check_signature(transfer_t *transfer, const void *body, size_t length)
{
    fs_result_t cause;
    apr_status_t status;

    if (!transfer->client->ring.count)
        return APR_SUCCESS;
    status =
        fs_auth_check_answer(&transfer->client->ring, transfer->header[0] ? transfer->header : NULL,
                             transfer->answer->status, transfer->nonce, body, length, &cause);
    if (status != APR_SUCCESS)
        fs_result_set(transfer->result, status, "FS0220",
                      "%s answered %d without a valid signature (%s: %s)", transfer->url,
                      transfer->answer->status, cause.problem, cause.detail);
    return status;
}

static apr_status_t cannot_write(transfer_t *transfer)
{
    int error = errno ? errno : EIO;

    return fs_result_set(transfer->result, APR_FROM_OS_ERROR(error), "FS0224",
                         "cannot write what %s sends: %s; check the free space of the state "
                         "directory",
                         transfer->url, strerror(error));
}

/* The answer's headers are whole: decides what the file becomes. */
static apr_status_t begin_file(transfer_t *transfer)
{
    int status = transfer->answer->status;
    apr_status_t checked;
    char from[24];

    if (status != 200 && status != 206)
        return APR_SUCCESS; /* its body is dropped, and the status reported at the end */
    checked = check_signature(transfer, "", 0);
    if (checked != APR_SUCCESS)
        return checked;
    snprintf(from, sizeof(from), "%llu", (unsigned long long)transfer->from);
    if (status == 206 && strcmp(from, transfer->range_start))
        return fs_result_set(transfer->result, APR_EGENERAL, "FS0223",
                             "%s answered 206 with another range than asked for (from byte %s, not "
                             "%s)",
                             transfer->url, transfer->range_start, from);
    transfer->written = status == 206 ? transfer->from : 0;
    errno = 0;
    if (fflush(transfer->file) || ftruncate(fileno(transfer->file), (off_t)transfer->written) ||
        fseeko(transfer->file, (off_t)transfer->written, SEEK_SET))
        return cannot_write(transfer);
    transfer->accepted = 1;
    return APR_SUCCESS;
}

static size_t header_came(char *line, size_t one, size_t length, void *baton)
{
    transfer_t *transfer = baton;
    fs_usec_t now = fs_time_mono();
    char range[64];
    long status;

    transfer->active = now;
    if (length >= 5 && !memcmp(line, "HTTP/", 5)) { /* again after a 100 */
        transfer->answer->received = now;
        transfer->header[0] = transfer->range_start[0] = '\0';
        return length;
    }
    take_header(line, length, "FarmSync-Auth", transfer->header, sizeof(transfer->header));
    if (take_header(line, length, "Content-Range", range, sizeof(range)) &&
        !strncmp(range, "bytes ", 6))
        snprintf(transfer->range_start, sizeof(transfer->range_start), "%.*s",
                 (int)strspn(range + 6, "0123456789"), range + 6);
    if (length > 2 || (length && *line != '\r' && *line != '\n'))
        return length;
    curl_easy_getinfo(transfer->client->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->answer->status = (int)status;
    if (transfer->file && status >= 200)
        transfer->refused = begin_file(transfer);
    return transfer->refused == APR_SUCCESS ? length : 0;
}

static apr_status_t too_large(transfer_t *transfer, uint64_t limit)
{
    return fs_result_set(transfer->result, APR_EGENERAL, "FS0222",
                         "%s sends more than the %llu bytes that are allowed", transfer->url,
                         (unsigned long long)limit);
}

static apr_status_t keep_in_memory(transfer_t *transfer, const char *data, size_t length)
{
    fs_http_answer_t *answer = transfer->answer;

    if (length > transfer->limit - answer->length)
        return too_large(transfer, transfer->limit);
    if (answer->length + length + 1 > transfer->size) {
        size_t size = (answer->length + length + 1) * 2;
        char *grown = realloc(answer->body, size);

        if (!grown)
            return fs_result_set(transfer->result, APR_ENOMEM, "FS0221",
                                 "%s: out of memory for its answer", transfer->url);
        answer->body = grown;
        transfer->size = size;
    }
    memcpy(answer->body + answer->length, data, length);
    answer->length += length;
    answer->body[answer->length] = '\0';
    return APR_SUCCESS;
}

static apr_status_t keep_in_file(transfer_t *transfer, const char *data, size_t length)
{
    if (!transfer->accepted)
        return APR_SUCCESS;
    if (transfer->written > transfer->file_limit ||
        length > transfer->file_limit - transfer->written)
        return too_large(transfer, transfer->file_limit);
    errno = 0;
    if (fwrite(data, 1, length, transfer->file) != length)
        return cannot_write(transfer);
    transfer->written += length;
    return APR_SUCCESS;
}

static size_t body_came(char *data, size_t one, size_t length, void *baton)
{
    transfer_t *transfer = baton;

    transfer->active = fs_time_mono();
    transfer->refused = transfer->file ? keep_in_file(transfer, data, length)
                                       : keep_in_memory(transfer, data, length);
    return transfer->refused == APR_SUCCESS ? length : 0;
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

static apr_status_t add_headers(transfer_t *transfer, const char *method, const void *body,
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
    if (body)
        *headers = curl_slist_append(*headers, "Content-Type: application/json");
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

static void set_security(const fs_http_client_t *client)
{
    CURL *easy = client->easy;

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

static void set_transfer(transfer_t *transfer, unsigned timeout_ms)
{
    CURL *easy = transfer->client->easy;

    curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1l);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_AGE_S);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, transfer->client->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
#if LIBCURL_VERSION_NUM >= 0x075000
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
#endif
}

/* Runs the handle to its end, an abort or a stall. */
static CURLcode drive(transfer_t *transfer)
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

/* What libcurl knows of the exchange; `start` is the mono time before it. */
static void read_facts(transfer_t *transfer, fs_usec_t start)
{
    fs_http_answer_t *answer = transfer->answer;
    CURL *easy = transfer->client->easy;
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

static apr_status_t run_transfer(transfer_t *transfer, const char *method, const void *body,
                                 size_t length, unsigned timeout_ms)
{
    fs_http_client_t *client = transfer->client;
    struct curl_slist *headers = NULL;
    apr_status_t status;
    fs_usec_t start;
    CURLcode code;
    char range[32];

    curl_easy_reset(client->easy);
    status = add_headers(transfer, method, body, length, &headers);
    if (status == APR_SUCCESS) {
        set_security(client);
        set_transfer(transfer, timeout_ms);
        set_method(client->easy, method, body, length);
        curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, headers);
        if (transfer->from) {
            snprintf(range, sizeof(range), "%llu-", (unsigned long long)transfer->from);
            curl_easy_setopt(client->easy, CURLOPT_RANGE, range);
        }
        start = fs_time_mono();
        code = drive(transfer);
        read_facts(transfer, start);
        status = transfer->refused;
        if (status == APR_SUCCESS && code != CURLE_OK)
            status = fs_result_set(transfer->result,
                                   code == CURLE_OPERATION_TIMEDOUT ? APR_TIMEUP : APR_EGENERAL,
                                   "FS0221", "%s did not answer: %s", transfer->url,
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
    transfer_t transfer = {
        .client = client, .url = url, .answer = answer, .result = result, .limit = limit};
    apr_status_t status;

    memset(answer, 0, sizeof(*answer));
    status = run_transfer(&transfer, method, body, length, timeout_ms);
    if (status == APR_SUCCESS)
        status = keep_in_memory(&transfer, "", 0); /* a body that is empty is "" all the same */
    if (status == APR_SUCCESS)
        status = check_signature(&transfer, answer->body, answer->length);
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
    transfer_t transfer = {.client = client,
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
        status = cannot_write(&transfer);
    answer->length = transfer.written;
    if (status == APR_SUCCESS && !transfer.accepted)
        status =
            fs_result_set(result, APR_EGENERAL, "FS0223", "%s answered %d", url, answer->status);
    return status;
}
