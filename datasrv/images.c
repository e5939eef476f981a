/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/images/HEX[?from=OLDHEX]
 *
 * With `from`, the answer is the delta from that image when there can be one and it is smaller,
 * else the image; its Content-Type tells. Who asks for a delta that isn't made yet is kept waiting,
 * at most DELTA_WAIT: it is made once for all who ask, and an image sent instead would cost a
 * hundred times as much.
 *
 * A part of a delta and a part of an image don't fit together. So a range that was asked for of a
 * delta is not looked at when the whole image is the answer.
 *
 * Not more than MaxTransfers bodies are on their way at once; who comes beyond that is told to come
 * again, which costs less than a farm of transfers that all crawl.
 */
#include "service.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DELTA_WAIT_S 10
#define DELTA_TYPE   "application/vnd.farmsync.delta"
#define IMAGE_TYPE   "application/octet-stream"
#define IMMUTABLE    "private, max-age=31536000, immutable"

struct fs_delta_waiter_t {
    fs_service_t *service;
    fs_http_call_t *call;
    struct event *timer;
    fs_digest_t from, to;
    fs_delta_waiter_t *next, **before; /* *before is this waiter */
};

/* Why an image isn't here: it is on its way, or nobody names it. */
static void refuse_image(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *digest)
{
    if (fs_board_names(service->board, digest, 0))
        fs_service_refuse(service, call, 503, "FS0837",
                          "the image is being made here; come again, or ask another data server");
    else if (!fs_board_complete(service->board))
        fs_service_not_known_yet(service, call);
    else
        fs_service_refuse(
            service, call, 404, "FS0836",
            "no version in force or staged names this image; ask for the manifest again");
}

/* Whether one more transfer may begin; else the call is answered. */
static int may_send(fs_service_t *service, fs_http_call_t *call)
{
    if (fs_http_server_files(service->server) < service->max_transfers)
        return 1;
    service->counts.busy++;
    fs_service_refuse(service, call, 503, "FS0868",
                      "%u images and deltas are being sent already (MaxTransfers); come again",
                      service->max_transfers);
    return 0;
}

static void send_image(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *digest)
{
    char etag[FS_DIGEST_HEX_SIZE + 2], hex[FS_DIGEST_HEX_SIZE];
    uint64_t size;
    int fd;

    if (!may_send(service, call))
        return;
    fd = fs_store_image(service->store, digest, &size);
    if (fd < 0) {
        refuse_image(service, call, digest);
        return;
    }
    snprintf(etag, sizeof(etag), "\"%s\"", fs_digest_hex(digest, hex));
    service->counts.images++;
    service->counts.image_bytes += size;
    fs_http_call_set_header(call, "Cache-Control", IMMUTABLE);
    fs_http_call_file(call, fd, size, IMAGE_TYPE, etag);
}

static void send_delta(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *from,
                       const fs_digest_t *to, int fd, uint64_t size)
{
    char etag[2 * FS_DIGEST_HEX_SIZE + 3], old[FS_DIGEST_HEX_SIZE], new[FS_DIGEST_HEX_SIZE];

    snprintf(etag, sizeof(etag), "\"%s-%s\"", fs_digest_hex(to, new), fs_digest_hex(from, old));
    service->counts.deltas++;
    service->counts.delta_bytes += size;
    fs_http_call_set_header(call, "Cache-Control", IMMUTABLE);
    fs_http_call_file(call, fd, size, DELTA_TYPE, etag);
}

/* Answers, unless the delta is still to be made: then 0. */
static int answer_delta(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *from,
                        const fs_digest_t *to)
{
    uint64_t size = 0;
    int fd;

    switch (fs_deltas_get(service->deltas, from, to, &fd, &size)) {
    case FS_DELTA_MAKING:
        return 0;
    case FS_DELTA_HERE:
        if (may_send(service, call))
            send_delta(service, call, from, to, fd, size);
        else
            close(fd);
        return 1;
    case FS_DELTA_NONE:
        break;
    }
    fs_http_call_set_whole(call);
    send_image(service, call, to);
    return 1;
}

/* --- waiting for a delta ------------------------------------------------------------------------
 */

static void forget(fs_delta_waiter_t *waiter)
{
    *waiter->before = waiter->next;
    if (waiter->next)
        waiter->next->before = waiter->before;
    waiter->service->counts.delta_waiting--;
    event_free(waiter->timer);
    free(waiter);
}

static void client_left(void *baton, fs_http_call_t *call)
{
    forget(baton);
}

static void refuse_waiting(fs_service_t *service, fs_http_call_t *call)
{
    service->counts.busy++;
    fs_service_refuse(service, call, 503, "FS0869", "the delta is being made here; come again");
}

static void waited_enough(int fd, short what, void *baton)
{
    fs_delta_waiter_t *waiter = baton;
    fs_service_t *service = waiter->service;
    fs_http_call_t *call = waiter->call;

    forget(waiter);
    refuse_waiting(service, call);
}

static void keep_waiting(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *from,
                         const fs_digest_t *to)
{
    static const struct timeval span = {DELTA_WAIT_S, 0};
    fs_delta_waiter_t *waiter = calloc(1, sizeof(*waiter));

    if (waiter)
        waiter->timer =
            event_new(fs_http_server_base(service->server), -1, 0, waited_enough, waiter);
    if (!waiter || !waiter->timer || event_add(waiter->timer, &span)) {
        if (waiter && waiter->timer)
            event_free(waiter->timer);
        free(waiter);
        refuse_waiting(service, call);
        return;
    }
    waiter->service = service;
    waiter->call = call;
    waiter->from = *from;
    waiter->to = *to;
    waiter->next = service->delta_waiters;
    waiter->before = &service->delta_waiters;
    if (waiter->next)
        waiter->next->before = &waiter->next;
    service->delta_waiters = waiter;
    service->counts.delta_waiting++;
    fs_http_call_defer(call, client_left, waiter);
}

/* Answering may end other calls, never begin one: the list only gets shorter meanwhile. */
void fs_service_delta_made(void *baton)
{
    fs_service_t *service = baton;
    fs_delta_waiter_t *next;

    for (fs_delta_waiter_t *waiter = service->delta_waiters; waiter; waiter = next) {
        fs_http_call_t *call = waiter->call;
        fs_digest_t from = waiter->from, to = waiter->to;
        uint64_t size;
        int fd;

        next = waiter->next;
        if (fs_deltas_get(service->deltas, &from, &to, &fd, &size) == FS_DELTA_MAKING)
            continue;
        if (fd >= 0)
            close(fd);
        forget(waiter);
        if (!answer_delta(service, call, &from, &to))
            refuse_waiting(service, call);
    }
}

void fs_service_image(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    const char *hex = fs_http_call_rest(call), *old = fs_http_call_query(call, "from");
    fs_digest_t digest, from;

    if (strlen(hex) != FS_DIGEST_HEX_SIZE - 1 || fs_digest_parse(&digest, hex)) {
        fs_service_refuse(service, call, 404, "FS0836",
                          "an image is named by the 64 lower case hex digits of its digest");
    } else if (!fs_store_has(service->store, &digest)) {
        refuse_image(service, call, &digest);
    } else if (!old) {
        send_image(service, call, &digest);
    } else if (fs_digest_parse(&from, old)) {
        fs_http_call_set_whole(call);
        send_image(service, call, &digest);
    } else if (!answer_delta(service, call, &from, &digest)) {
        keep_waiting(service, call, &from, &digest);
    }
}
