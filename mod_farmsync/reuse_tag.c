/* SPDX-License-Identifier: Apache-2.0 */
/* A page's check value, and 304 instead of the page to a client that holds it. */
#include "reuse.h"

#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>

#include "module.h"

#define NO_ETAG "no-etag"

/*
 * A tag that the page's maker stands by. mod_include leaves the file's in its place, with a note by
 * which it is taken away at the very end.
 */
static int has_own_tag(const request_rec *r)
{
    return !apr_table_get(r->notes, NO_ETAG) && fs_reuse_header(r, "ETag");
}

int fs_reuse_wants_tag(const request_rec *r)
{
    return !has_own_tag(r) && !fs_reuse_header(r, "Last-Modified");
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
void fs_reuse_take_compressors_out(ap_filter_t *filter)
{
    request_rec *r = filter->r;
    const char *vary = fs_reuse_header(r, "Vary");
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

/* 304, with what belongs to it (RFC 9110 §15.4.5). */
static void become_not_modified(ap_filter_t *filter, const fs_reuse_page_t *page, const char *held)
{
    request_rec *r = filter->r;

    fs_reuse_take_compressors_out(filter);
    if (held)
        set_tag(r, held);
    apr_table_unset(r->headers_out, "Content-Length");
    r->status = HTTP_NOT_MODIFIED;
    r->status_line = NULL;
    fs_reuse_count(FS_REUSE_HELD, 1);
    fs_reuse_count(FS_REUSE_SPARED, (apr_uint64_t)page->length);
}

int fs_reuse_tag(ap_filter_t *filter, fs_reuse_page_t *page)
{
    request_rec *r = filter->r;
    char *tag = apr_palloc(r->pool, FS_REUSE_TAG_SIZE);
    fs_reuse_sum_t *sum = page->sum;
    const char *held;

    page->sum = NULL;
    if (r->header_only && !page->length) { /* whoever makes it left the body away */
        fs_reuse_sum_drop(sum);
        return 0;
    }
    if (fs_reuse_sum_end(sum, tag))
        return 0;
    if (page->tags) {
        fs_reuse_count(FS_REUSE_TAGGED, 1);
        if (page->depends)
            fs_reuse_known_put(r, page, tag);
    }
    if (page->mirrors && fs_reuse_mirror(r, page, tag)) {
        become_not_modified(filter, page, page->tags ? tag : fs_reuse_header(r, "ETag"));
        return 1;
    }
    if (!page->tags)
        return 0;
    if (client_holds(r, tag, &held)) {
        become_not_modified(filter, page, held);
        return 1;
    }
    set_tag(r, tag);
    return 0;
}
