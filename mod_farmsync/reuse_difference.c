/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differences by RFC 9842. A page that goes out over TLS says of which URLs it may be the
 * dictionary (Use-As-Dictionary) and is kept; a client that asks for one of these names the page it
 * holds (Available-Dictionary), and if this server holds it too, it gets the difference ("dcz").
 *
 * A dictionary belongs to its origin. What the client names is looked up, never believed: a page
 * that this server hasn't is as if nothing had been named. Whether a client keeps a page for that
 * follows from its freshness, as with any other use of a cache.
 */
#include "reuse.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "module.h"
#include "reuse/fs_reuse_dictionary.h"

#define LEVEL 3
/* A difference that is longer than this share of the page is no better than what compression alone
 * gives. */
#define WORTH 4
/* Of a page that is so short nothing is worth it. */
#define SHORTEST 256

/* What a page of text is made of; the rest is compressed by nature. */
static int is_text(const char *type)
{
    return type && (!strncasecmp(type, "text/", 5) || strstr(type, "javascript") ||
                    strstr(type, "json") || strstr(type, "xml") || strstr(type, "wasm"));
}

int fs_reuse_wants_difference(request_rec *r, const fs_reuse_place_t *place)
{
    return place->differences && fs_reuse_store() && !r->header_only &&
           !strcmp(ap_http_scheme(r), "https") && is_text(r->content_type) &&
           !fs_reuse_header(r, "Content-Encoding") && !apr_table_get(r->headers_in, "Range") &&
           !apr_table_get(r->subprocess_env, "no-dictionary");
}

static uint64_t origin_of(request_rec *r)
{
    return fs_reuse_origin(apr_psprintf(r->pool, "https://%s:%u", r->hostname ? r->hostname : "",
                                        (unsigned)ap_get_server_port(r)));
}

/*
 * The path as a pattern that matches only itself (WHATWG URL Pattern), in a string of RFC 8941.
 * NULL if it has what a string can't have.
 */
static const char *own_pattern(request_rec *r)
{
    const char *path = r->unparsed_uri && r->unparsed_uri[0] == '/' ? r->unparsed_uri : r->uri;
    size_t length = strcspn(path, "?");
    char *out = apr_palloc(r->pool, 3 * length + 1), *at = out;

    for (size_t i = 0; i < length; i++) {
        if (path[i] <= 0x20 || path[i] >= 0x7f || path[i] == '"' || path[i] == '\\')
            return NULL;
        if (strchr("*:(){}+", path[i])) {
            *at++ = '\\';
            *at++ = '\\';
        }
        *at++ = path[i];
    }
    *at = 0;
    return out;
}

static void announce(request_rec *r, const fs_reuse_place_t *place)
{
    const char *match = place->match ? place->match : own_pattern(r);

    if (match)
        apr_table_setn(r->headers_out, "Use-As-Dictionary",
                       apr_psprintf(r->pool, "match=\"%s\"", match));
    apr_table_mergen(r->headers_out, "Vary", "Accept-Encoding, Available-Dictionary");
}

/* The dictionary that the client names, if it can be used; the caller frees. */
static void *find_dictionary(request_rec *r, fs_digest_t *digest, size_t *length)
{
    const char *available = apr_table_get(r->headers_in, "Available-Dictionary");
    const char *encodings = apr_table_get(r->headers_in, "Accept-Encoding");
    void *dictionary;

    if (!available || !encodings || fs_reuse_available(available, digest) ||
        !fs_reuse_accepts_dcz(encodings))
        return NULL;
    dictionary = fs_reuse_store_get(fs_reuse_store(), origin_of(r), digest, length);
    if (!dictionary)
        fs_reuse_count(FS_REUSE_DICTIONARY, 1);
    return dictionary;
}

/* Another representation has another strong tag. */
static void set_suffix(request_rec *r)
{
    const char *tag = apr_table_get(r->headers_out, "ETag");
    size_t length = tag ? strlen(tag) : 0;

    if (length > 2 && tag[0] == '"' && tag[length - 1] == '"')
        apr_table_setn(r->headers_out, "ETag",
                       apr_psprintf(r->pool, "%.*s-dcz\"", (int)length - 1, tag));
}

/* The page becomes its difference, which is the caller's no more. */
static void replace_page(ap_filter_t *filter, fs_reuse_page_t *page, char *coded, size_t length)
{
    request_rec *r = filter->r;
    apr_bucket *bucket = apr_bucket_heap_create(coded, length, free, r->connection->bucket_alloc);

    apr_brigade_cleanup(page->kept);
    APR_BRIGADE_INSERT_TAIL(page->kept, bucket);
    fs_reuse_take_compressors_out(filter);
    set_suffix(r);
    apr_table_setn(r->headers_out, "Content-Encoding", "dcz");
    ap_set_content_length(r, (apr_off_t)length);
    fs_reuse_count(FS_REUSE_DIFFERED, 1);
    fs_reuse_count(FS_REUSE_SPARED, (apr_uint64_t)page->length - length);
}

static void send_difference(ap_filter_t *filter, fs_reuse_page_t *page, const char *body,
                            size_t length)
{
    fs_reuse_coder_t *coder = NULL;
    fs_digest_t digest;
    fs_result_t result;
    size_t held = 0, coded_length;
    void *coded, *dictionary = find_dictionary(filter->r, &digest, &held);
    apr_status_t status = APR_ENOMEM;

    if (!dictionary)
        return;
    fs_result_clear(&result);
    coder = fs_reuse_coder_create(LEVEL);
    if (coder)
        status = fs_reuse_dcz(coder, dictionary, held, &digest, body, length, length / WORTH,
                              &coded, &coded_length, &result);
    if (status == APR_SUCCESS)
        replace_page(filter, page, coded, coded_length);
    else if (status != APR_EMISMATCH)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, status, filter->r, "%s: %s",
                      result.problem[0] ? result.problem : "FS1710", result.detail);
    fs_reuse_coder_destroy(coder);
    free(dictionary);
}

void fs_reuse_differ(ap_filter_t *filter, fs_reuse_page_t *page)
{
    request_rec *r = filter->r;
    apr_size_t length;
    char *body;

    if (page->length < SHORTEST ||
        apr_brigade_pflatten(page->kept, &body, &length, r->pool) != APR_SUCCESS)
        return;
    page->body = body;
    announce(r, &page->place);
    send_difference(filter, page, body, length);
    ap_add_output_filter(FS_REUSE_KEEP_FILTER, page, r, r->connection);
}

apr_status_t fs_reuse_keep_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    request_rec *r = filter->r;
    const fs_reuse_page_t *page = filter->ctx;

    if (fs_reuse_may_be_stored(r))
        fs_reuse_store_put(fs_reuse_store(), origin_of(r), page->body, (size_t)page->length);
    else
        apr_table_unset(r->headers_out, "Use-As-Dictionary");
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}
