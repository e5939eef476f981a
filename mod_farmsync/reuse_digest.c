/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content-Digest and Repr-Digest (RFC 9530), for clients that ask for them (Want-Content-Digest,
 * Want-Repr-Digest): a SHA-256 of the page as it is sent, after compression. Behind all filters
 * that change it, and before ranges are cut out of it.
 */
#include "reuse.h"

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include "base/fs_digest.h"
#include "module.h"

typedef struct digest_t {
    apr_bucket_brigade *kept;
    fs_digest_sum_t *sum;
    apr_off_t length, limit;
} digest_t;

/* "sha-256=10, sha-512=0": a preference above 0. */
static int wants_sha256(const char *field)
{
    const char *at = field ? field : "";

    while ((at = strstr(at, "sha-256")) != NULL) {
        at += 7;
        at += strspn(at, " \t");
        if (*at == '=' && strspn(at + 1, " \t0") < strcspn(at + 1, ",;"))
            return 1;
    }
    return 0;
}

int fs_reuse_wants_digest(const request_rec *r)
{
    return !r->header_only && (wants_sha256(apr_table_get(r->headers_in, "Want-Content-Digest")) ||
                               wants_sha256(apr_table_get(r->headers_in, "Want-Repr-Digest")));
}

static apr_status_t drop(void *data)
{
    digest_t *digest = data;
    fs_digest_t unused;

    if (digest->sum)
        fs_digest_end(digest->sum, &unused);
    digest->sum = NULL;
    return APR_SUCCESS;
}

static digest_t *begin(ap_filter_t *filter)
{
    request_rec *r = filter->r;
    fs_reuse_place_t place;
    digest_t *digest;

    if (r->status != HTTP_OK || !fs_reuse_place(r, &place))
        return NULL;
    digest = apr_pcalloc(r->pool, sizeof(*digest));
    digest->kept = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    digest->limit = place.limit;
    digest->sum = fs_digest_begin();
    apr_pool_cleanup_register(r->pool, digest, drop, apr_pool_cleanup_null);
    filter->ctx = digest;
    return digest;
}

static apr_status_t let_go(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    digest_t *digest = filter->ctx;

    if (digest)
        apr_pool_cleanup_run(filter->r->pool, digest, drop);
    return fs_reuse_let_go(filter, digest ? digest->kept : NULL, brigade);
}

static void say(request_rec *r, digest_t *digest)
{
    char text[64];
    const char *value;
    fs_digest_t sum;

    fs_digest_end(digest->sum, &sum);
    digest->sum = NULL;
    apr_base64_encode(text, (const char *)sum.bytes, sizeof(sum.bytes));
    value = apr_psprintf(r->pool, "sha-256=:%s:", text);
    /* A range has another content, of the same representation. */
    if (!apr_table_get(r->headers_in, "Range") &&
        wants_sha256(apr_table_get(r->headers_in, "Want-Content-Digest")))
        apr_table_setn(r->headers_out, "Content-Digest", value);
    if (wants_sha256(apr_table_get(r->headers_in, "Want-Repr-Digest")))
        apr_table_setn(r->headers_out, "Repr-Digest", value);
}

/* 1 if the bucket can't be part of a page that is kept back. */
static int is_none(digest_t *digest, apr_bucket *bucket)
{
    const char *bytes;
    apr_size_t length;

    if (APR_BUCKET_IS_FLUSH(bucket) || AP_BUCKET_IS_ERROR(bucket))
        return 1;
    if (APR_BUCKET_IS_METADATA(bucket))
        return 0;
    if (apr_bucket_read(bucket, &bytes, &length, APR_NONBLOCK_READ) != APR_SUCCESS)
        return 1;
    fs_digest_add(digest->sum, bytes, length);
    digest->length += (apr_off_t)length;
    return digest->length > digest->limit;
}

apr_status_t fs_reuse_digest_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    digest_t *digest = filter->ctx ? filter->ctx : begin(filter);

    if (!digest)
        return let_go(filter, brigade);
    while (!APR_BRIGADE_EMPTY(brigade)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);

        if (APR_BUCKET_IS_EOS(bucket)) {
            say(filter->r, digest);
            return let_go(filter, brigade);
        }
        if (is_none(digest, bucket))
            return let_go(filter, brigade);
        APR_BUCKET_REMOVE(bucket);
        apr_bucket_setaside(bucket, filter->r->pool);
        APR_BRIGADE_INSERT_TAIL(digest->kept, bucket);
    }
    return APR_SUCCESS;
}
