/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_transport.h"

#include <string.h>

#include "image/fs_delta.h"
#include "sync/fs_source.h"

#define RANGE_NOT_SATISFIABLE 416
#define SERVICE_UNAVAILABLE   503

static apr_status_t download(void *baton, const char *url, FILE *file, uint64_t from,
                             uint64_t limit, unsigned *wait, fs_result_t *result)
{
    const fs_transport_t *transport = baton;
    unsigned stall = transport->stall_ms ? transport->stall_ms : FS_TRANSPORT_STALL_MS;
    fs_http_answer_t answer;
    apr_status_t status;

    memset(&answer, 0, sizeof(answer));
    status = fs_http_download(transport->http, url, file, from, limit, stall, &answer, result);
    if (status && answer.status == RANGE_NOT_SATISFIABLE)
        status = APR_EOF;
    if (status && answer.status == SERVICE_UNAVAILABLE)
        *wait = answer.retry_after;
    fs_http_answer_clear(&answer);
    return status;
}

static apr_status_t build(void *baton, const char *group, const char *dataset, int64_t version,
                          const char *dir, fs_image_made_t *made, fs_result_t *result)
{
    const fs_transport_t *transport = baton;

    return fs_source_build(transport->sql, group, dataset, version, dir, made, result);
}

static int stopped(void *baton)
{
    const fs_transport_t *transport = baton;

    return transport->stop && *transport->stop;
}

void fs_transport_means(fs_transport_t *transport, fs_retrieve_means_t *means)
{
    memset(means, 0, sizeof(*means));
    means->baton = transport;
    means->apply = fs_delta_apply;
    means->download = transport->http ? download : NULL;
    means->build = transport->sql ? build : NULL;
    means->stopped = stopped;
}
