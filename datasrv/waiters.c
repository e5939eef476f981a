/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v1/groups/G/manifest?epoch=E&wait=MS
 *
 * A caller that has epoch E already is kept waiting, at most MS, until the group's epoch is
 * another. A waiting call costs its connection, a list entry and a timer; it is answered from the
 * JSON that was printed once when the manifest was published.
 *
 * 304 says "nothing newer is in the database", so it is only said when the database has confirmed
 * it lately; otherwise the answer is 503, and the caller asks somebody whose database is there. 203
 * is in between: with a manifest, that the database doesn't stand behind it just now; without one,
 * of a group that waits for servers to be ready, that it hasn't confirmed it within
 * FS_CYCLE_CONFIRMED. A server's right to go on serving what it has may hang upon that.
 */
#include "service.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_cycle.h"

#define WAIT_MAX_MS      25000
#define CONFIRMED_LATELY (2 * FS_USEC_PER_SEC)
#define TAIL             "/manifest"

struct fs_waiter_t {
    fs_service_t *service;
    fs_http_call_t *call;
    struct event *timer;
    int64_t epoch;
    char group[FS_IMAGE_NAME_SIZE];
    fs_waiter_t *next, **before; /* *before is this waiter */
};

/* A decimal number of at most `most`. Returns 0 if it is none. */
static int read_number(const char *text, int64_t most, int64_t *number)
{
    char *end;

    if (*text < '0' || *text > '9')
        return 0;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return !errno && !*end && *number <= most;
}

/* Whether the database had this manifest `age` ago or later. */
static int is_confirmed(fs_service_t *service, const fs_published_t *published, fs_usec_t age)
{
    fs_database_facts_t database;
    fs_usec_t asked;

    fs_board_database(service->board, &database);
    asked = published->asked > database.polled ? published->asked : database.polled;
    return asked && asked + age >= fs_time_mono();
}

/* Whether an answer may say that the database stands behind it. */
static int can_be_relied_on(fs_service_t *service, const fs_published_t *published)
{
    return is_confirmed(service, published,
                        published->manifest->state == FS_GROUP_WAITING ? FS_CYCLE_CONFIRMED
                                                                       : CONFIRMED_LATELY);
}

static void send_manifest(fs_service_t *service, fs_http_call_t *call,
                          const fs_published_t *published)
{
    service->counts.manifests++;
    fs_http_call_set_header(call, "Cache-Control", "no-store");
    fs_http_call_answer(call, can_be_relied_on(service, published) ? 200 : 203, "application/json",
                        published->json, published->length);
}

static void send_unchanged(fs_service_t *service, fs_http_call_t *call, const char *group)
{
    fs_published_t *published;
    int status = 304, lately;

    fs_board_group(service->board, group, &published);
    lately = published && is_confirmed(service, published, CONFIRMED_LATELY);
    if (published && !can_be_relied_on(service, published))
        status = 203;
    fs_published_drop(published);
    if (!lately) {
        fs_service_refuse(
            service, call, 503, "FS0841",
            "nothing newer is known here, but the database is away and cannot confirm "
            "it. Ask another data server");
        return;
    }
    service->counts.unchanged++;
    fs_http_call_answer(call, status, NULL, NULL, 0);
}

/* Answers if there is something to tell; 0: the caller may wait. */
static int answer_if_new(fs_service_t *service, fs_http_call_t *call, const char *group,
                         int64_t epoch)
{
    fs_published_t *published;

    if (!fs_board_group(service->board, group, &published) && fs_board_listed(service->board)) {
        fs_service_no_group(service, call, group);
        return 1;
    }
    if (!published) {
        fs_service_not_known_yet(service, call);
        return 1;
    }
    if (published->manifest->epoch == epoch) {
        fs_published_drop(published);
        return 0;
    }
    send_manifest(service, call, published);
    fs_published_drop(published);
    return 1;
}

static void forget(fs_waiter_t *waiter)
{
    *waiter->before = waiter->next;
    if (waiter->next)
        waiter->next->before = waiter->before;
    waiter->service->counts.waiting--;
    event_free(waiter->timer);
    free(waiter);
}

static void client_left(void *baton, fs_http_call_t *call)
{
    forget(baton);
}

static void waited_enough(int fd, short what, void *baton)
{
    fs_waiter_t *waiter = baton;
    fs_service_t *service = waiter->service;
    fs_http_call_t *call = waiter->call;
    char group[FS_IMAGE_NAME_SIZE];

    memcpy(group, waiter->group, sizeof(group));
    forget(waiter);
    send_unchanged(service, call, group);
}

static int keep_waiting(fs_service_t *service, fs_http_call_t *call, const char *group,
                        int64_t epoch, int64_t wait_ms)
{
    struct timeval span = {(time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000) * 1000};
    fs_waiter_t *waiter = calloc(1, sizeof(*waiter));

    if (!waiter)
        return 0;
    waiter->timer = event_new(fs_http_server_base(service->server), -1, 0, waited_enough, waiter);
    if (!waiter->timer || event_add(waiter->timer, &span)) {
        if (waiter->timer)
            event_free(waiter->timer);
        free(waiter);
        return 0;
    }
    waiter->service = service;
    waiter->call = call;
    waiter->epoch = epoch;
    snprintf(waiter->group, sizeof(waiter->group), "%s", group);
    waiter->next = service->waiters;
    waiter->before = &service->waiters;
    if (waiter->next)
        waiter->next->before = &waiter->next;
    service->waiters = waiter;
    service->counts.waiting++;
    fs_http_call_defer(call, client_left, waiter);
    return 1;
}

/* "G/manifest" gives G. Returns 0 for any other path. */
static int group_of(const char *rest, char group[FS_IMAGE_NAME_SIZE])
{
    size_t length = strlen(rest), tail = sizeof(TAIL) - 1;

    if (length <= tail || strcmp(rest + length - tail, TAIL) || length - tail >= FS_IMAGE_NAME_SIZE)
        return 0;
    memcpy(group, rest, length - tail);
    group[length - tail] = '\0';
    return 1;
}

void fs_service_manifest(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    const char *epoch_text = fs_http_call_query(call, "epoch");
    const char *wait_text = fs_http_call_query(call, "wait");
    char group[FS_IMAGE_NAME_SIZE];
    int64_t epoch = -1, wait_ms = 0;

    if (!group_of(fs_http_call_rest(call), group)) {
        fs_service_refuse(service, call, 404, "FS0842", "there is only /v1/groups/GROUP/manifest");
        return;
    }
    if ((epoch_text && !read_number(epoch_text, INT64_MAX, &epoch)) ||
        (wait_text && !read_number(wait_text, INT64_MAX, &wait_ms))) {
        fs_service_refuse(service, call, 400, "FS0843",
                          "epoch and wait must be whole numbers; wait is in milliseconds");
        return;
    }
    if (answer_if_new(service, call, group, epoch))
        return;
    if (wait_ms > WAIT_MAX_MS)
        wait_ms = WAIT_MAX_MS;
    if (!wait_ms || !keep_waiting(service, call, group, epoch, wait_ms))
        send_unchanged(service, call, group);
}

void fs_service_published(void *baton)
{
    fs_service_t *service = baton;
    fs_waiter_t *waiter, *next;

    for (waiter = service->waiters; waiter; waiter = next) {
        fs_published_t *published;
        int there = fs_board_group(service->board, waiter->group, &published);

        next = waiter->next;
        if (!there || (published && published->manifest->epoch != waiter->epoch)) {
            fs_http_call_t *call = waiter->call;
            char group[FS_IMAGE_NAME_SIZE];
            int64_t epoch = waiter->epoch;

            memcpy(group, waiter->group, sizeof(group));
            forget(waiter);
            if (!answer_if_new(service, call, group, epoch))
                send_unchanged(service, call, group);
        }
        fs_published_drop(published);
    }
}
