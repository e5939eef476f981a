/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter that keeps a page back until it is complete, gives it its check value, and sends 304
 * instead of it to a client that holds it.
 *
 * Whatever isn't a page of known end passes untouched: what has a validator of its own or isn't to
 * be stored, what is larger than the limit, and what comes in pieces, which is to be seen at once:
 * a flush by who makes it, or a pause that is longer than FarmSyncReuseWait.
 */
#include "reuse.h"

#include <string.h>

#include <apr_poll.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <util_filter.h>

#include "module.h"

#define NO_ETAG "no-etag"
#define NAP     (APR_USEC_PER_SEC / 1000)

typedef struct page_t {
    fs_reuse_place_t place;
    apr_bucket_brigade *kept;
    fs_reuse_sum_t *sum;
    apr_off_t length;
    apr_interval_time_t waited;
} page_t;

typedef enum keep_t {
    KEEP_MORE,  /* it goes on */
    KEEP_WHOLE, /* all of it is there */
    KEEP_NOT,   /* it is none of ours */
    KEEP_FAILED
} keep_t;

static const char *out_header(const request_rec *r, const char *name)
{
    const char *value = apr_table_get(r->headers_out, name);

    return value ? value : apr_table_get(r->err_headers_out, name);
}

/*
 * A tag that the page's maker stands by. mod_include leaves the file's in its place, with a note by
 * which it is taken away at the very end.
 */
static int has_own_tag(const request_rec *r)
{
    return !apr_table_get(r->notes, NO_ETAG) && out_header(r, "ETag");
}

/* Whether a list of tokens has this one, with or without a value. */
static int has_token(request_rec *r, const char *field, const char *token)
{
    return field && ap_find_token(r->pool, field, token);
}

/* Sent bit by bit by nature. */
static int is_stream(const request_rec *r)
{
    return r->content_type && (!strncasecmp(r->content_type, "text/event-stream", 17) ||
                               !strncasecmp(r->content_type, "multipart/x-mixed-replace", 25));
}

static int is_page(request_rec *r)
{
    return r->status == HTTP_OK && r->method_number == M_GET && r->proxyreq != PROXYREQ_PROXY &&
           !has_own_tag(r) && !out_header(r, "Last-Modified") && !out_header(r, "Content-Range") &&
           !is_stream(r) && !has_token(r, out_header(r, "Cache-Control"), "no-store") &&
           !apr_table_get(r->subprocess_env, "no-reuse");
}

static apr_status_t drop_sum(void *data)
{
    page_t *page = data;

    fs_reuse_sum_drop(page->sum);
    page->sum = NULL;
    return APR_SUCCESS;
}

static page_t *begin_page(ap_filter_t *filter)
{
    request_rec *r = filter->r;
    const fs_reuse_key_t *key = fs_reuse_key();
    page_t *page = apr_pcalloc(r->pool, sizeof(*page));

    if (!key || !fs_reuse_place(r, &page->place) || !is_page(r))
        return NULL;
    page->sum = fs_reuse_sum_begin(key);
    if (!page->sum)
        return NULL;
    apr_pool_cleanup_register(r->pool, page, drop_sum, apr_pool_cleanup_null);
    page->kept = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    filter->ctx = page;
    return page;
}

/* The page is none of ours after all: what was kept back goes out, and all that comes. */
static apr_status_t let_go(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    page_t *page = filter->ctx;

    if (page) {
        apr_pool_cleanup_run(filter->r->pool, page, drop_sum);
        APR_BRIGADE_PREPEND(brigade, page->kept);
    }
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* Waits until a pipe or socket has more, for at most `span`; a short nap for what can't be asked.
 */
static void wait_for_more(request_rec *r, apr_bucket *bucket, apr_interval_time_t span)
{
    apr_pollfd_t what = {.p = r->pool, .reqevents = APR_POLLIN | APR_POLLHUP};
    apr_int32_t ready;

    if (APR_BUCKET_IS_PIPE(bucket)) {
        what.desc_type = APR_POLL_FILE;
        what.desc.f = bucket->data;
    } else if (APR_BUCKET_IS_SOCKET(bucket)) {
        what.desc_type = APR_POLL_SOCKET;
        what.desc.s = bucket->data;
    } else {
        apr_sleep(span < NAP ? span : NAP);
        return;
    }
    apr_poll(&what, 1, &ready, span);
}

/* Reads one bucket into the sum, waiting a little if the rest of it isn't there. */
static keep_t read_bucket(request_rec *r, page_t *page, apr_bucket *bucket)
{
    apr_interval_time_t limit = (apr_interval_time_t)page->place.wait_ms * 1000;
    const char *bytes;
    apr_size_t length;
    apr_status_t status;

    while (APR_STATUS_IS_EAGAIN(status =
                                    apr_bucket_read(bucket, &bytes, &length, APR_NONBLOCK_READ))) {
        apr_time_t begun = apr_time_now();

        if (page->waited >= limit) {
            fs_reuse_count(FS_REUSE_STREAMED, 1);
            return KEEP_NOT;
        }
        wait_for_more(r, bucket, limit - page->waited);
        page->waited += apr_time_now() - begun;
    }
    if (status != APR_SUCCESS && !APR_STATUS_IS_EOF(status))
        return KEEP_FAILED;
    if (status == APR_SUCCESS) {
        fs_reuse_sum_add(page->sum, bytes, length);
        page->length += (apr_off_t)length;
    }
    if (page->length <= page->place.limit)
        return KEEP_MORE;
    fs_reuse_count(FS_REUSE_LARGE, 1);
    return KEEP_NOT;
}

/* A page whose length is known has an end; a flush only wants it to be seen sooner. */
static int is_flush(const request_rec *r, const page_t *page)
{
    if (r->proxyreq && (!page->length || apr_table_get(r->headers_out, "Content-Length")))
        return 0;
    fs_reuse_count(FS_REUSE_STREAMED, 1);
    return 1;
}

/* Moves what is good of the page from `brigade` to what is kept. */
static keep_t keep_page(request_rec *r, page_t *page, apr_bucket_brigade *brigade)
{
    while (!APR_BRIGADE_EMPTY(brigade)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);
        keep_t kept = KEEP_MORE;

        if (APR_BUCKET_IS_EOS(bucket))
            return KEEP_WHOLE;
        if (AP_BUCKET_IS_ERROR(bucket) || (APR_BUCKET_IS_FLUSH(bucket) && is_flush(r, page)))
            return KEEP_NOT;
        if (!APR_BUCKET_IS_METADATA(bucket))
            kept = read_bucket(r, page, bucket);
        if (kept != KEEP_MORE)
            return kept;
        APR_BUCKET_REMOVE(bucket);
        if (apr_bucket_setaside(bucket, r->pool) == APR_ENOMEM)
            return KEEP_FAILED;
        APR_BRIGADE_INSERT_TAIL(page->kept, bucket);
    }
    return KEEP_MORE;
}

/* Whether the client holds the page with this tag; then `*held` is its own form of the tag. */
static int client_holds(request_rec *r, const char *tag, const char **held)
{
    const char *field = apr_table_get(r->headers_in, "If-None-Match");
    size_t length;

    if (!field)
        return 0;
    switch (fs_reuse_match(field, tag, held, &length)) {
    case FS_REUSE_SAME:
        *held = apr_pstrmemdup(r->pool, *held, length);
        return 1;
    case FS_REUSE_ANY:
        *held = tag;
        return 1;
    default:
        return 0;
    }
}

static void set_tag(request_rec *r, const char *tag)
{
    apr_table_unset(r->notes, NO_ETAG);
    apr_table_setn(r->headers_out, "ETag", tag);
}

static int is_compressor(const char *name)
{
    return strstr(name, "deflate") || strstr(name, "brotli");
}

/*
 * Filters that would compress the page do different things to the tag and to Vary of a 304: there
 * is nothing to compress, so they are taken out, and what they would have said is said (RFC 9110
 * §15.4.5: Vary as in the 200).
 */
static void take_compressors_out(ap_filter_t *filter)
{
    request_rec *r = filter->r;
    const char *vary = out_header(r, "Vary");
    int found = 0;

    for (ap_filter_t *next, *at = filter->next; at && at->frec; at = next) {
        next = at->next;
        if (at->r != r || !is_compressor(at->frec->name))
            continue;
        found = 1;
        ap_remove_output_filter(at);
    }
    if (found && !(vary && ap_find_token(r->pool, vary, "Accept-Encoding")))
        apr_table_mergen(r->headers_out, "Vary", "Accept-Encoding");
}

/* 304, with what belongs to it and no body (RFC 9110 §15.4.5). */
static apr_status_t send_not_modified(ap_filter_t *filter, apr_bucket_brigade *brigade,
                                      const char *held)
{
    page_t *page = filter->ctx;
    request_rec *r = filter->r;

    take_compressors_out(filter);
    set_tag(r, held);
    apr_table_unset(r->headers_out, "Content-Length");
    r->status = HTTP_NOT_MODIFIED;
    r->status_line = NULL;
    apr_brigade_cleanup(page->kept);
    fs_reuse_count(FS_REUSE_HELD, 1);
    fs_reuse_count(FS_REUSE_SPARED, (apr_uint64_t)page->length);
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* All of the page is kept; `brigade` begins with its end. */
static apr_status_t finish_page(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    page_t *page = filter->ctx;
    request_rec *r = filter->r;
    char *tag = apr_palloc(r->pool, FS_REUSE_TAG_SIZE);
    fs_reuse_sum_t *sum = page->sum;
    const char *held;

    page->sum = NULL;
    if (r->header_only && !page->length) { /* whoever makes it left the body away */
        fs_reuse_sum_drop(sum);
        return let_go(filter, brigade);
    }
    if (fs_reuse_sum_end(sum, tag))
        return let_go(filter, brigade);
    fs_reuse_count(FS_REUSE_TAGGED, 1);
    if (client_holds(r, tag, &held))
        return send_not_modified(filter, brigade, held);
    set_tag(r, tag);
    return let_go(filter, brigade);
}

apr_status_t fs_reuse_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    page_t *page = filter->ctx;

    if (APR_BRIGADE_EMPTY(brigade))
        return APR_SUCCESS;
    if (!page)
        page = begin_page(filter);
    if (!page)
        return let_go(filter, brigade);
    switch (keep_page(filter->r, page, brigade)) {
    case KEEP_MORE:
        return APR_SUCCESS;
    case KEEP_WHOLE:
        return finish_page(filter, brigade);
    case KEEP_NOT:
        return let_go(filter, brigade);
    default:
        let_go(filter, brigade);
        return APR_EGENERAL;
    }
}
