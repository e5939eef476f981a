/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_body.h"

#include <util_filter.h>

#define NAME "FARMSYNC_BODY"

/* Where mod_proxy_http keeps it from one worker to the next, in r->pool. */
#define PREFETCHED "proxy-req-input"

static ap_filter_rec_t *filter_handle;

/* Up to `bytes` of `held` as buckets of their own into `out`. */
static apr_status_t copy(apr_bucket_brigade *held, apr_bucket_brigade *out, apr_off_t bytes)
{
    for (apr_bucket *bucket = APR_BRIGADE_FIRST(held);
         bytes > 0 && bucket != APR_BRIGADE_SENTINEL(held); bucket = APR_BUCKET_NEXT(bucket)) {
        apr_bucket *copied;
        apr_status_t status = apr_bucket_copy(bucket, &copied);

        if (status)
            return status;
        if (copied->length != (apr_size_t)-1 && (apr_off_t)copied->length > bytes) {
            status = apr_bucket_split(copied, (apr_size_t)bytes);
            if (status)
                return status;
            apr_bucket_delete(APR_BUCKET_NEXT(copied));
        }
        APR_BRIGADE_INSERT_TAIL(out, copied);
        bytes -= (apr_off_t)copied->length;
    }
    return APR_SUCCESS;
}

static apr_status_t move(apr_bucket_brigade *held, apr_bucket_brigade *out, apr_off_t bytes)
{
    apr_bucket *after = APR_BRIGADE_SENTINEL(held);
    apr_status_t status = APR_SUCCESS;

    if (bytes >= 0)
        status = apr_brigade_partition(held, bytes, &after);
    if (status && !APR_STATUS_IS_INCOMPLETE(status))
        return status;
    while (APR_BRIGADE_FIRST(held) != after && !APR_BRIGADE_EMPTY(held)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(held);

        APR_BUCKET_REMOVE(bucket);
        APR_BRIGADE_INSERT_TAIL(out, bucket);
    }
    /* The end goes with the last of the body. */
    if (!APR_BRIGADE_EMPTY(held) && APR_BUCKET_IS_EOS(APR_BRIGADE_FIRST(held))) {
        apr_bucket *end = APR_BRIGADE_FIRST(held);

        APR_BUCKET_REMOVE(end);
        APR_BRIGADE_INSERT_TAIL(out, end);
    }
    return APR_SUCCESS;
}

static apr_status_t body_filter(ap_filter_t *filter, apr_bucket_brigade *out, ap_input_mode_t mode,
                                apr_read_type_e block, apr_off_t bytes)
{
    apr_bucket_brigade *held = filter->ctx;

    if (mode == AP_MODE_INIT)
        return APR_SUCCESS;
    if (APR_BRIGADE_EMPTY(held)) {
        ap_filter_t *next = filter->next;

        ap_remove_input_filter(filter);
        return ap_get_brigade(next, out, mode, block, bytes);
    }
    switch (mode) {
    case AP_MODE_READBYTES:
        return move(held, out, bytes);
    case AP_MODE_EXHAUSTIVE:
        return move(held, out, -1);
    case AP_MODE_SPECULATIVE:
        return copy(held, out, bytes);
    case AP_MODE_GETLINE:
        return apr_brigade_split_line(out, held, block, bytes > 0 ? bytes : HUGE_STRING_LEN);
    default:
        return APR_ENOTIMPL;
    }
}

void fs_proxy_body_give_back(request_rec *r)
{
    apr_bucket_brigade *prefetched = NULL, *held;

    apr_pool_userdata_get((void **)&prefetched, PREFETCHED, r->pool);
    if (!prefetched)
        return;
    /* A proxy of the administrator's that serves the request here starts anew. */
    apr_pool_userdata_setn(NULL, PREFETCHED, NULL, r->pool);
    if (APR_BRIGADE_EMPTY(prefetched))
        return;
    held = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    APR_BRIGADE_CONCAT(held, prefetched);
    ap_add_input_filter_handle(filter_handle, held, r, r->connection);
}

void fs_proxy_body_register(void)
{
    filter_handle = ap_register_input_filter(NAME, body_filter, NULL, AP_FTYPE_PROTOCOL - 1);
}
