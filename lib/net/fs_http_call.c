/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer, as handlers see them. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/fs_http_internal.h"

/* Whether and what body of an answer is signed. */
typedef enum sign_t { SIGN_BODY, SIGN_EMPTY } sign_t;

fs_http_call_t *fs_http_call_create(fs_http_connection_t *connection)
{
    fs_http_call_t *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->connection = connection;
    call->extra = evbuffer_new();
    if (!call->extra) {
        free(call);
        return NULL;
    }
    return call;
}

void fs_http_call_free(fs_http_call_t *call)
{
    if (!call)
        return;
    evbuffer_free(call->extra);
    free(call->text);
    free(call->path);
    free(call->query);
    free(call->body);
    free(call);
}

/* --- the request --------------------------------------------------------------------------------
 */

const char *fs_http_call_rest(const fs_http_call_t *call)
{
    return call->rest ? call->rest : "";
}

const char *fs_http_call_origin(const fs_http_call_t *call)
{
    return call->origin;
}

const char *fs_http_call_query(const fs_http_call_t *call, const char *name)
{
    for (int i = 0; i < call->param_count; i++)
        if (!strcmp(call->params[i].name, name))
            return call->params[i].value;
    return NULL;
}

const char *fs_http_call_header(const fs_http_call_t *call, const char *name)
{
    return fs_http_head_field(&call->head, name);
}

const char *fs_http_call_body(const fs_http_call_t *call, size_t *length)
{
    *length = call->length;
    return call->body ? call->body : "";
}

int fs_http_call_is_local(const fs_http_call_t *call)
{
    return call->connection->local;
}

const char *fs_http_call_peer(const fs_http_call_t *call)
{
    return call->connection->peer;
}

/* --- the answer ---------------------------------------------------------------------------------
 */

void fs_http_call_set_header(fs_http_call_t *call, const char *name, const char *value)
{
    evbuffer_add_printf(call->extra, "%s: ", name);
    for (; *value; value++) /* a line break in a value would begin a header of somebody's choice */
        evbuffer_add(call->extra, (unsigned char)*value < ' ' ? " " : value, 1);
    evbuffer_add(call->extra, "\r\n", 2);
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {411, "Length Required"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};

    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Status";
}

static int is_head(const fs_http_call_t *call)
{
    return call->head.method && !strcmp(call->head.method, "HEAD");
}

static int may_have_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* Status line and header. `length` is what a GET would get; the body itself is the caller's. */
static void write_head(fs_http_call_t *call, int status, const char *content_type, uint64_t length,
                       const char *auth)
{
    fs_http_connection_t *connection = call->connection;
    struct evbuffer *out = bufferevent_get_output(connection->events);
    time_t now = time(NULL);
    struct tm utc;
    char date[64];

    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason_of(status), date);
    if (may_have_body(status)) {
        evbuffer_add_printf(out, "Content-Length: %" PRIu64 "\r\n", length);
        if (content_type)
            evbuffer_add_printf(out, "Content-Type: %s\r\n", content_type);
    }
    if (*auth)
        evbuffer_add_printf(out, "FarmSync-Auth: %s\r\n", auth);
    evbuffer_add_buffer(out, call->extra);
    evbuffer_add_printf(out, "Connection: %s\r\n\r\n",
                        connection->keep_alive ? "keep-alive" : "close");
}

/* The call is over: the connection goes on alone. */
static void finish(fs_http_call_t *call)
{
    fs_http_connection_t *connection = call->connection;

    connection->call = NULL;
    fs_http_call_free(call);
    fs_http_connection_sending(connection);
}

void fs_http_call_answer(fs_http_call_t *call, int status, const char *content_type,
                         const void *body, size_t length)
{
    fs_http_connection_t *connection = call->connection;
    size_t sent = is_head(call) || !may_have_body(status) ? 0 : length;
    char auth[FS_AUTH_SIZE] = "";

    if (connection->server->stopping)
        connection->keep_alive = 0;
    if (call->nonce[0])
        fs_auth_sign_answer(&connection->server->ring, status, call->nonce, body, sent, auth);
    write_head(call, status, content_type, length, auth);
    if (sent)
        bufferevent_write(connection->events, body, sent);
    finish(call);
}

/* A JSON string of text that may not be UTF-8. */
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);

    if (!string) {
        char *copy = strdup(text);

        for (char *c = copy; c && *c; c++)
            if (*c & 0x80)
                *c = '?';
        string = json_string(copy ? copy : "");
        free(copy);
    }
    return string;
}

void fs_http_call_problem(fs_http_call_t *call, int status, const fs_result_t *result)
{
    json_t *problem = json_pack("{s:s, s:s, s:i, s:o, s:o}", "type", "about:blank", "title",
                                reason_of(status), "status", status, "detail",
                                json_text(result->detail), "problem", json_text(result->problem));
    char *text = problem ? json_dumps(problem, JSON_COMPACT) : NULL;

    fs_http_call_answer(call, status, "application/problem+json", text ? text : "{}",
                        text ? strlen(text) : 2);
    free(text);
    json_decref(problem);
}

void fs_http_call_refuse(fs_http_call_t *call, int status, const char *problem, const char *format,
                         ...)
{
    fs_result_t result;
    va_list args;

    fs_result_set(&result, APR_EGENERAL, problem, "%s", "");
    va_start(args, format);
    vsnprintf(result.detail, sizeof(result.detail), format, args);
    va_end(args);
    fs_http_call_problem(call, status, &result);
}

/* --- files --------------------------------------------------------------------------------------
 */

/* If-Range (RFC 9110 section 13.1.5): a range of another version of the file would be of no use. */
static int range_wanted(const fs_http_call_t *call, const char *etag)
{
    const char *condition = fs_http_call_header(call, "If-Range");

    return !call->whole && !strcmp(call->head.method, "GET") &&
           (!condition || !strcmp(condition, etag));
}

/* Head of an answer whose body is a file; the signature covers the empty body (fs_key.h). */
static void write_file_head(fs_http_call_t *call, int status, const char *content_type,
                            uint64_t length)
{
    fs_http_connection_t *connection = call->connection;
    char auth[FS_AUTH_SIZE] = "";

    if (connection->server->stopping)
        connection->keep_alive = 0;
    if (call->nonce[0])
        fs_auth_sign_answer(&connection->server->ring, status, call->nonce, "", 0, auth);
    write_head(call, status, content_type, length, auth);
}

static void send_file(fs_http_call_t *call, int fd, int status, const char *content_type,
                      uint64_t first, uint64_t length)
{
    fs_http_connection_t *connection = call->connection;
    struct evbuffer *out = bufferevent_get_output(connection->events);

    write_file_head(call, status, content_type, length);
    if (is_head(call) || !length)
        close(fd);
    else if (evbuffer_add_file(out, fd, (ev_off_t)first, (ev_off_t)length)) {
        close(fd);
        connection->keep_alive = 0; /* the body is missing: the client sees it cut short */
    } else {
        fs_http_connection_sending_file(connection);
    }
    finish(call);
}

void fs_http_call_set_whole(fs_http_call_t *call)
{
    call->whole = 1;
}

void fs_http_call_file(fs_http_call_t *call, int fd, uint64_t size, const char *content_type,
                       const char *etag)
{
    const char *known = fs_http_call_header(call, "If-None-Match");
    uint64_t first = 0, last = 0;
    int ranged = 0;
    char text[80];

    fs_http_call_set_header(call, "ETag", etag);
    fs_http_call_set_header(call, "Accept-Ranges", "bytes");
    if (known && fs_http_etag_matches(known, etag)) {
        close(fd);
        fs_http_call_answer(call, 304, NULL, NULL, 0);
        return;
    }
    if (range_wanted(call, etag))
        ranged = fs_http_parse_range(fs_http_call_header(call, "Range"), size, &first, &last);
    if (ranged < 0) {
        close(fd);
        snprintf(text, sizeof(text), "bytes */%" PRIu64, size);
        fs_http_call_set_header(call, "Content-Range", text);
        fs_http_call_refuse(call, 416, "FS0248",
                            "the range lies behind the file's %" PRIu64 " bytes", size);
        return;
    }
    if (ranged) {
        snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, size);
        fs_http_call_set_header(call, "Content-Range", text);
        send_file(call, fd, 206, content_type, first, last - first + 1);
    } else {
        send_file(call, fd, 200, content_type, 0, size);
    }
}

void fs_http_call_defer(fs_http_call_t *call, void (*gone)(void *baton, fs_http_call_t *call),
                        void *baton)
{
    call->gone = gone;
    call->gone_baton = baton;
}
