/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/images/HEX[?from=OLDHEX]
 *
 * With `from`, the answer is the delta from that image when there can be one and it is smaller,
 * else the image; its Content-Type tells.
 *
 * Who asks for an image that is being made here just now is kept waiting a moment: the manifest is
 * known before the image, and everybody asks at once. Who asks for a delta that isn't made yet is
 * kept waiting longer: it is made once for all who ask, and an image sent instead would cost a
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

#define IMAGE_TYPE "application/octet-stream"
#define DELTA_TYPE "application/vnd.farmsync.delta"
#define IMMUTABLE  "private, max-age=31536000, immutable"

static const struct timeval image_wait = {2, 0}; /* another data server may have it already */
static const struct timeval delta_wait = {10, 0};

/* What was asked for. */
typedef struct want_t {
    fs_digest_t to, from;
    int has_from;
} want_t;

struct fs_image_waiter_t {
    fs_service_t *service;
    fs_http_call_t *call;
    struct event *timer;
    want_t want;
    int image_here;
    fs_image_waiter_t *next, **before; /* *before is this waiter */
};

/* The image isn't here: somebody names it, so it is on its way, or nobody does. */
static int is_coming(fs_service_t *service, const fs_digest_t *digest)
{
    return fs_board_names(service->board, digest, 0);
}

/* Why an image isn't here: it is on its way, or nobody names it. */
static void refuse_image(fs_service_t *service, fs_http_call_t *call, const fs_digest_t *digest)
{
    if (is_coming(service, digest))
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

/* Whether there is something to be answered. Begins to make the delta if need be. */
static int is_ready(fs_service_t *service, const want_t *want)
{
    uint64_t size;
    int fd, ready;

    if (!fs_store_has(service->store, &want->to))
        return !is_coming(service, &want->to);
    if (!want->has_from)
        return 1;
    ready = fs_deltas_get(service->deltas, &want->from, &want->to, &fd, &size) != FS_DELTA_MAKING;
    if (fd >= 0)
        close(fd);
    return ready;
}

static void answer(fs_service_t *service, fs_http_call_t *call, const want_t *want)
{
    uint64_t size = 0;
    int fd = -1;

    if (!want->has_from) {
        send_image(service, call, &want->to);
    } else if (fs_deltas_get(service->deltas, &want->from, &want->to, &fd, &size) ==
               FS_DELTA_HERE) {
        if (may_send(service, call))
            send_delta(service, call, &want->from, &want->to, fd, size);
        else
            close(fd);
    } else {
        fs_http_call_set_whole(call);
        send_image(service, call, &want->to);
    }
}

/* --- waiting ------------------------------------------------------------------------------------
 */

static void forget(fs_image_waiter_t *waiter)
{
    *waiter->before = waiter->next;
    if (waiter->next)
        waiter->next->before = waiter->before;
    waiter->service->counts.image_waiting--;
    event_free(waiter->timer);
    free(waiter);
}

static void client_left(void *baton, fs_http_call_t *call)
{
    forget(baton);
}

static void come_again(fs_service_t *service, fs_http_call_t *call, const want_t *want)
{
    if (!fs_store_has(service->store, &want->to)) {
        refuse_image(service, call, &want->to);
        return;
    }
    service->counts.busy++;
    fs_service_refuse(service, call, 503, "FS0869", "the delta is being made here; come again");
}

static void waited_enough(int fd, short what, void *baton)
{
    fs_image_waiter_t *waiter = baton;
    fs_service_t *service = waiter->service;
    fs_http_call_t *call = waiter->call;
    want_t want = waiter->want;

    forget(waiter);
    come_again(service, call, &want);
}

/* Waits for what the waiter still lacks; 0, or -1 without memory. */
static int set_timer(fs_image_waiter_t *waiter)
{
    waiter->image_here = fs_store_has(waiter->service->store, &waiter->want.to);
    return event_add(waiter->timer, waiter->image_here ? &delta_wait : &image_wait);
}

static void keep_waiting(fs_service_t *service, fs_http_call_t *call, const want_t *want)
{
    fs_image_waiter_t *waiter = calloc(1, sizeof(*waiter));

    if (waiter) {
        waiter->service = service;
        waiter->call = call;
        waiter->want = *want;
        waiter->timer =
            event_new(fs_http_server_base(service->server), -1, 0, waited_enough, waiter);
    }
    if (!waiter || !waiter->timer || set_timer(waiter)) {
        if (waiter && waiter->timer)
            event_free(waiter->timer);
        free(waiter);
        come_again(service, call, want);
        return;
    }
    waiter->next = service->image_waiters;
    waiter->before = &service->image_waiters;
    if (waiter->next)
        waiter->next->before = &waiter->next;
    service->image_waiters = waiter;
    service->counts.image_waiting++;
    fs_http_call_defer(call, client_left, waiter);
}

/* Answering may end other calls, never begin one: the list only gets shorter meanwhile. */
void fs_service_image_made(void *baton)
{
    fs_service_t *service = baton;
    fs_image_waiter_t *next;

    for (fs_image_waiter_t *waiter = service->image_waiters; waiter; waiter = next) {
        fs_http_call_t *call = waiter->call;
        want_t want = waiter->want;

        next = waiter->next;
        if (!is_ready(service, &want)) {
            if (!waiter->image_here)
                set_timer(waiter);
            continue;
        }
        forget(waiter);
        answer(service, call, &want);
    }
}

void fs_service_image(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    const char *hex = fs_http_call_rest(call), *old = fs_http_call_query(call, "from");
    want_t want = {.has_from = 0};

    if (strlen(hex) != FS_DIGEST_HEX_SIZE - 1 || fs_digest_parse(&want.to, hex)) {
        fs_service_refuse(service, call, 404, "FS0836",
                          "an image is named by the 64 lower case hex digits of its digest");
        return;
    }
    if (old) {
        want.has_from = fs_digest_parse(&want.from, old) == 0;
        if (!want.has_from)
            fs_http_call_set_whole(call);
    }
    if (is_ready(service, &want))
        answer(service, call, &want);
    else
        keep_waiting(service, call, &want);
}
