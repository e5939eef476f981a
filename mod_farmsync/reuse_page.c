/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter that keeps a page back until it is complete.
 *
 * Whatever isn't a page of known end passes untouched: what isn't to be stored, what is larger than
 * the limit, and what comes in pieces, which is to be seen at once: a flush by who makes it, or a
 * pause that is longer than FarmSyncReuseWait.
 */
#include "reuse.h"

#include <string.h>

#include <apr_poll.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include "module.h"

#define NAP (APR_USEC_PER_SEC / 1000)

typedef enum keep_t {
    KEEP_MORE,  /* it goes on */
    KEEP_WHOLE, /* all of it is there */
    KEEP_NOT,   /* it is none of ours */
    KEEP_FAILED
} keep_t;

const char *fs_reuse_header(const request_rec *r, const char *name)
{
    const char *value = apr_table_get(r->headers_out, name);

    return value ? value : apr_table_get(r->err_headers_out, name);
}

/* Sent bit by bit by nature. */
static int is_stream(const request_rec *r)
{
    return r->content_type && (!strncasecmp(r->content_type, "text/event-stream", 17) ||
                               !strncasecmp(r->content_type, "multipart/x-mixed-replace", 25));
}

int fs_reuse_may_be_stored(request_rec *r)
{
    const char *control = fs_reuse_header(r, "Cache-Control");

    return !control || !ap_find_token(r->pool, control, "no-store");
}

static int is_page(request_rec *r)
{
    return r->status == HTTP_OK && r->method_number == M_GET && r->proxyreq != PROXYREQ_PROXY &&
           !fs_reuse_header(r, "Content-Range") && !is_stream(r) && fs_reuse_may_be_stored(r) &&
           !apr_table_get(r->subprocess_env, "no-reuse");
}

static apr_status_t drop_sum(void *data)
{
    fs_reuse_page_t *page = data;

    fs_reuse_sum_drop(page->sum);
    page->sum = NULL;
    return APR_SUCCESS;
}

/* NULL if it is none of ours. */
static fs_reuse_page_t *begin_page(ap_filter_t *filter)
{
    request_rec *r = filter->r;
    fs_reuse_key_t *key = fs_reuse_key();
    fs_reuse_page_t *page = apr_pcalloc(r->pool, sizeof(*page));

    page->depends = fs_reuse_known_take(r);
    if (!fs_reuse_place(r, &page->place) || !is_page(r))
        return NULL;
    page->tags = fs_reuse_wants_tag(r);
    page->mirrors = fs_reuse_wants_mirror(r, &page->place);
    if (key && (page->tags || page->mirrors)) {
        page->sum = fs_reuse_sum_begin(key);
        apr_pool_cleanup_register(r->pool, page, drop_sum, apr_pool_cleanup_null);
    }
    page->differs = fs_reuse_wants_difference(r, &page->place);
    if (!page->sum && !page->differs)
        return NULL;
    page->kept = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    filter->ctx = page;
    return page;
}

apr_status_t fs_reuse_let_go(ap_filter_t *filter, apr_bucket_brigade *kept,
                             apr_bucket_brigade *brigade)
{
    if (kept)
        APR_BRIGADE_PREPEND(brigade, kept);
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* The page is done with, or none of ours after all. */
static apr_status_t let_go(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    fs_reuse_page_t *page = filter->ctx;

    if (page)
        apr_pool_cleanup_run(filter->r->pool, page, drop_sum);
    return fs_reuse_let_go(filter, page ? page->kept : NULL, brigade);
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
static keep_t read_bucket(request_rec *r, fs_reuse_page_t *page, apr_bucket *bucket)
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
static int is_flush(const request_rec *r, const fs_reuse_page_t *page)
{
    if (r->proxyreq && (!page->length || apr_table_get(r->headers_out, "Content-Length")))
        return 0;
    fs_reuse_count(FS_REUSE_STREAMED, 1);
    return 1;
}

/* Moves what is good of the page from `brigade` to what is kept. */
static keep_t keep_page(request_rec *r, fs_reuse_page_t *page, apr_bucket_brigade *brigade)
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

/* All of the page is kept; `brigade` begins with its end. */
static apr_status_t finish_page(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    fs_reuse_page_t *page = filter->ctx;

    if (page->sum && fs_reuse_tag(filter, page)) {
        apr_brigade_cleanup(page->kept);
        return let_go(filter, brigade);
    }
    if (page->differs)
        fs_reuse_differ(filter, page);
    return let_go(filter, brigade);
}

apr_status_t fs_reuse_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    fs_reuse_page_t *page = filter->ctx;

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
