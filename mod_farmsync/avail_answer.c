/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_answer.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

#include "avail_accept.h"
#include "module.h"
#include "text.h"

#define STATUS_FILTER "FARMSYNC_STATUS"
#define STATUS_NOTE   "farmsync-status"
#define CARRIER       HTTP_GATEWAY_TIME_OUT /* after this httpd keeps a connection */
#define CARRIER_TEXT  "504"
#define JITTER_LEAST  5   /* seconds past the end over which visitors come back */
#define JITTER_MOST   300 /* seconds */
#define DRAIN_BYTES   65536

static ap_filter_rec_t *status_filter_handle;

/* --- the status --------------------------------------------------------------------------------
 */

/* Writes the status that is meant into the first line, if that has the one that carried it. */
static apr_status_t status_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    const char *meant = filter->ctx, *data, *end, *line;
    apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);
    apr_size_t length;

    if (bucket == APR_BRIGADE_SENTINEL(brigade) || APR_BUCKET_IS_METADATA(bucket))
        return ap_pass_brigade(filter->next, brigade);
    if (!apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ) && length > 12 &&
        !memcmp(data, "HTTP/1.", 7) && !memcmp(data + 9, CARRIER_TEXT " ", 4) &&
        (end = memchr(data, '\n', length))) {
        line = apr_psprintf(filter->r->pool, "%.9s%s" CRLF, data, meant);
        apr_bucket_split(bucket, (apr_size_t)(end + 1 - data));
        APR_BUCKET_INSERT_BEFORE(bucket, apr_bucket_pool_create(line, strlen(line), filter->r->pool,
                                                                brigade->bucket_alloc));
        apr_bucket_delete(bucket);
    }
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* Sets the status so that httpd keeps the connection where it would close it for the status alone.
 */
static void set_status(request_rec *r, int status)
{
    r->status = status;
    r->status_line = NULL;
    if (!ap_status_drops_connection(status) || r->connection->master ||
        r->connection->keepalive == AP_CONN_CLOSE || r->expecting_100)
        return;
    r->status = CARRIER;
    apr_table_setn(r->notes, STATUS_NOTE, apr_itoa(r->pool, status));
    ap_add_output_filter_handle(status_filter_handle, (void *)ap_get_status_line(status), r,
                                r->connection);
}

/* Before any log is written. */
static int log_status(request_rec *r)
{
    const char *status = apr_table_get(r->notes, STATUS_NOTE);

    if (status)
        r->status = (int)apr_atoi64(status);
    return DECLINED;
}

/* --- the body -----------------------------------------------------------------------------------
 */

/* Reads and drops; 1 when the end was reached within `limit` bytes. */
static int drain(request_rec *r, apr_off_t limit)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    int at_end = 0;

    while (!at_end && limit >= 0) {
        apr_status_t status = ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES,
                                             APR_BLOCK_READ, DRAIN_BYTES);

        if (status || APR_BRIGADE_EMPTY(brigade))
            break;
        while (!APR_BRIGADE_EMPTY(brigade)) {
            apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);
            const char *data;
            apr_size_t length = 0;

            at_end |= APR_BUCKET_IS_EOS(bucket);
            if (!APR_BUCKET_IS_METADATA(bucket) &&
                apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ))
                limit = -1;
            limit -= (apr_off_t)length;
            apr_bucket_delete(bucket);
        }
    }
    apr_brigade_destroy(brigade);
    return at_end;
}

/* 1 if the visitor sends a body that is longer than one wants to read before he is answered. */
static int sends_much(request_rec *r, apr_off_t limit)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    return length && apr_atoi64(length) > limit;
}

/*
 * Reads what the visitor is sending; 1 if all was read. If there is more than one wants to read, or
 * he asked first, an HTTP/1 connection is closed after the answer, with httpd's patience for what
 * is on its way.
 */
static int take_body(request_rec *r, apr_off_t limit)
{
    int on_stream = r->connection->master != NULL, taken;

    if (!on_stream && r->expecting_100)
        return 0;
    if (!apr_table_get(r->headers_in, "Content-Length") &&
        !apr_table_get(r->headers_in, "Transfer-Encoding") &&
        (!on_stream || r->method_number == M_GET))
        return 1;
    taken = !sends_much(r, limit) && drain(r, limit);
    if (!taken && !on_stream)
        r->connection->keepalive = AP_CONN_CLOSE;
    return taken;
}

/* --- the texts ----------------------------------------------------------------------------------
 */

/*
 * Something from 0 to `most` that differs from visitor to visitor. It is no secret, and httpd's
 * random numbers are behind a lock.
 */
static int scatter(const request_rec *r, int most)
{
    apr_uint64_t mixed = ((apr_uint64_t)r->request_time ^ ((apr_uint64_t)r->connection->id << 40)) *
                         APR_UINT64_C(0x9e3779b97f4a7c15);

    return (int)((mixed >> 33) % ((apr_uint64_t)most + 1));
}

/* Seconds until one may try again: not all at once, when it is over. */
static int retry_after(const request_rec *r, const fs_avail_settings_t *settings,
                       const fs_avail_refusal_t *refusal)
{
    fs_usec_t left = refusal->end ? refusal->end - refusal->now : 0;
    fs_usec_t seconds = (left + FS_USEC_PER_SEC - 1) / FS_USEC_PER_SEC;
    int jitter;

    if (seconds <= 0)
        seconds = refusal->end ? 1 : settings->retry;
    if (seconds > INT32_MAX / 2)
        seconds = INT32_MAX / 2;
    jitter = (int)(seconds / 10);
    jitter = jitter < JITTER_LEAST ? JITTER_LEAST : jitter > JITTER_MOST ? JITTER_MOST : jitter;
    return (int)seconds + scatter(r, jitter);
}

/* "2026-11-21 14:30 UTC", rounded up to the minute, so that nobody comes too early. */
static const char *minute_text(apr_pool_t *pool, fs_usec_t time)
{
    char text[FS_TIME_TEXT_SIZE];

    fs_time_format(time + 60 * FS_USEC_PER_SEC - 1, text);
    text[10] = ' ';
    return apr_psprintf(pool, "%.16s UTC", text);
}

static const char *message_of(const fs_avail_refusal_t *refusal, const fs_avail_words_t *words)
{
    if (refusal->message)
        return refusal->message;
    return !strcmp(refusal->reason, "planned") ? words->planned : words->unplanned;
}

/* A message as HTML, its lines as lines. */
static void add_html_lines(fs_text_t *text, const char *message)
{
    char *copy = apr_pstrdup(text->pool, message), *line;

    while ((line = strsep(&copy, "\n"))) {
        fs_text_html(text, line);
        if (copy)
            fs_text_puts(text, "<br>\n");
    }
}

static void add_time(fs_text_t *text, const fs_avail_refusal_t *refusal)
{
    char iso[FS_TIME_TEXT_SIZE];

    fs_text_printf(text, "<time datetime=\"%s\">%s</time>", fs_time_format(refusal->end, iso),
                   minute_text(text->pool, refusal->end));
}

static void puts_all(fs_text_t *text, const char *const parts[])
{
    for (; *parts; parts++)
        fs_text_puts(text, *parts);
}

static void html_page(fs_text_t *text, const fs_avail_refusal_t *refusal,
                      const fs_avail_words_t *words)
{
    static const char style[] =
        "</title>\n<style>"
        "body{font:17px/1.6 system-ui,sans-serif;max-width:38rem;margin:15vh auto;"
        "padding:0 1.2rem;color:#1c2430;background:#fff}h1{font-size:1.6rem}"
        "@media(prefers-color-scheme:dark){body{color:#dde2e8;background:#15191f}"
        "a{color:#8ab4f8}}</style></head><body>\n<h1>";

    puts_all(text, (const char *const[]){"<!DOCTYPE html>\n<html lang=\"", words->language,
                                         "\"><head><meta charset=\"utf-8\">\n"
                                         "<meta name=\"viewport\" content=\"width=device-width\">\n"
                                         "<meta name=\"robots\" content=\"noindex\">\n<title>",
                                         words->title, style, words->title, "</h1>\n<p", NULL});
    if (refusal->message && strcmp(refusal->language, "*") != 0)
        puts_all(text, (const char *const[]){" lang=\"", refusal->language, "\"", NULL});
    fs_text_puts(text, ">");
    add_html_lines(text, message_of(refusal, words));
    puts_all(text, (const char *const[]){"</p>\n<p><strong>", words->not_processed,
                                         "</strong></p>\n", NULL});
    if (refusal->end) {
        puts_all(text, (const char *const[]){"<p>", words->again, " ", NULL});
        add_time(text, refusal);
        fs_text_puts(text, "</p>\n");
    }
    if (refusal->link) {
        fs_text_puts(text, "<p><a href=\"");
        fs_text_html(text, refusal->link);
        puts_all(text, (const char *const[]){"\">", words->more, "</a></p>\n", NULL});
    }
    fs_text_puts(text, "</body></html>\n");
}

static void plain_text(fs_text_t *text, const fs_avail_refusal_t *refusal,
                       const fs_avail_words_t *words)
{
    puts_all(text, (const char *const[]){message_of(refusal, words), "\n", words->not_processed,
                                         "\n", NULL});
    if (refusal->end)
        puts_all(text, (const char *const[]){words->again, " ",
                                             minute_text(text->pool, refusal->end), "\n", NULL});
    if (refusal->link)
        puts_all(text, (const char *const[]){words->more, ": ", refusal->link, "\n", NULL});
}

static void add_member(fs_text_t *text, const char *name, const char *value)
{
    if (!value)
        return;
    fs_text_printf(text, ",\"%s\":", name);
    fs_text_json_string(text, value);
}

static void add_moment(fs_text_t *text, const char *name, fs_usec_t time)
{
    char iso[FS_TIME_TEXT_SIZE];

    if (time)
        fs_text_printf(text, ",\"%s\":\"%s\"", name, fs_time_format(time, iso));
}

/* RFC 9457; its members beyond the standard's are ours. */
static void problem_json(fs_text_t *text, const fs_avail_refusal_t *refusal,
                         const fs_avail_words_t *words, int status, int retry)
{
    static const char *const codes[] = {"unknown", "planned", "outage", "testing"};
    const char *title = ap_get_status_line(status);

    fs_text_printf(text, "{\"type\":\"about:blank\",\"status\":%d,\"title\":", status);
    fs_text_json_string(text, strlen(title) > 4 ? title + 4 : title);
    add_member(text, "detail", message_of(refusal, words));
    fs_text_puts(text, ",\"processed\":false");
    add_member(text, "application", refusal->application);
    add_member(text, "notice", refusal->notice);
    add_member(text, "reason", refusal->reason);
    for (int i = 0; i < 4; i++) {
        if (!strcmp(refusal->reason, codes[i]))
            fs_text_printf(text, ",\"reason_code\":%d", i);
    }
    add_member(text, "component", refusal->component);
    add_moment(text, "starts", refusal->start);
    add_moment(text, "ends", refusal->end);
    add_member(text, "link", refusal->link);
    fs_text_printf(text, ",\"retry_after\":%d}\n", retry);
}

/* One marker of an administrator's document: <!--farmsync:message--> and others. */
static void add_marker(fs_text_t *text, const char *name, apr_size_t length,
                       const fs_avail_refusal_t *refusal, const fs_avail_words_t *words)
{
    const struct {
        const char *name, *value;
    } values[] = {{"application", refusal->application},
                  {"reason", refusal->reason},
                  {"component", refusal->component},
                  {"link", refusal->link},
                  {"title", words->title},
                  {"not-processed", words->not_processed},
                  {"language", words->language}};

    if (length == 7 && !memcmp(name, "message", 7)) {
        add_html_lines(text, message_of(refusal, words));
    } else if (length == 5 && !memcmp(name, "until", 5)) {
        if (refusal->end)
            add_time(text, refusal);
    } else {
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            if (length == strlen(values[i].name) && !memcmp(name, values[i].name, length) &&
                values[i].value)
                fs_text_html(text, values[i].value);
        }
    }
}

static void own_document(fs_text_t *text, const fs_avail_document_t *document,
                         const fs_avail_refusal_t *refusal, const fs_avail_words_t *words)
{
    static const char begin[] = "<!--farmsync:", finish[] = "-->";
    const char *at = document->text, *marker, *end;

    while ((marker = strstr(at, begin)) && (end = strstr(marker, finish))) {
        fs_text_add(text, at, (apr_size_t)(marker - at));
        marker += sizeof(begin) - 1;
        add_marker(text, marker, (apr_size_t)(end - marker), refusal, words);
        at = end + sizeof(finish) - 1;
    }
    fs_text_puts(text, at);
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void set_headers(request_rec *r, const fs_avail_refusal_t *refusal, int retry)
{
    apr_table_t *headers = r->err_headers_out; /* so that an ErrorDocument has them, too */

    apr_table_setn(headers, "Retry-After", apr_itoa(r->pool, retry));
    apr_table_setn(headers, "Cache-Control", "no-store");
    if (refusal->link)
        apr_table_addn(headers, "Link",
                       apr_psprintf(r->pool, "<%s>; rel=\"status\"", refusal->link));
}

/*
 * Sends the answer. A stream of HTTP/2 that ends while the visitor still sends is broken off, which
 * clients take for an error: what is left of it is read after the answer.
 */
static int send_text(request_rec *r, const fs_text_t *text, int taken)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);

    ap_set_content_length(r, (apr_off_t)text->length);
    ap_run_insert_error_filter(r); /* Header always */
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_pool_create(text->data, text->length, r->pool,
                                                            r->connection->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(r->connection->bucket_alloc));
    ap_pass_brigade(r->output_filters, brigade); /* who doesn't want it any more needs no error */
    if (!taken && r->connection->master)
        drain(r, APR_INT64_MAX);
    return DONE;
}

int fs_avail_refuse(request_rec *r, const fs_avail_settings_t *settings,
                    const fs_avail_refusal_t *refusal)
{
    const char *accept = apr_table_get(r->headers_in, "Accept-Language");
    const char *wanted =
        refusal->message && strcmp(refusal->language, "*") != 0 ? refusal->language : accept;
    const fs_avail_words_t *words = fs_avail_words(wanted, settings->language);
    const fs_avail_document_t *document =
        fs_avail_settings_document(settings, refusal->application, words->language);
    fs_avail_form_t form = fs_avail_form(apr_table_get(r->headers_in, "Accept"),
                                         apr_table_get(r->headers_in, "Content-Type"));
    int status = fs_avail_settings_status(settings, refusal->application);
    int retry = retry_after(r, settings, refusal), taken;
    fs_text_t text;

    set_headers(r, refusal, retry);
    if (document && !document->text)
        return status;
    taken = take_body(r, settings->body);
    set_status(r, status);
    fs_text_init(&text, r->pool);
    if (form == FS_AVAIL_JSON) {
        problem_json(&text, refusal, words, status, retry);
        ap_set_content_type(r, "application/problem+json");
        return send_text(r, &text, taken);
    }
    apr_table_setn(r->headers_out, "Content-Language", words->language);
    if (form == FS_AVAIL_TEXT) {
        plain_text(&text, refusal, words);
        ap_set_content_type(r, "text/plain; charset=utf-8");
        return send_text(r, &text, taken);
    }
    if (document)
        own_document(&text, document, refusal, words);
    else
        html_page(&text, refusal, words);
    ap_set_content_type(r, "text/html; charset=utf-8");
    return send_text(r, &text, taken);
}

void fs_avail_answer_register(void)
{
    status_filter_handle =
        ap_register_output_filter(STATUS_FILTER, status_filter, NULL, AP_FTYPE_TRANSCODE);
    ap_hook_log_transaction(log_status, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
