/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the visitors' part share. */
#ifndef FS_AGENT_ROUTE_VISITORS_INTERNAL_H
#define FS_AGENT_ROUTE_VISITORS_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/fs_log.h"
#include "net/fs_http_fan.h"
#include "net/fs_http_server.h"
#include "route.h"
#include "route_visitors.h"

#define FS_VISITORS_CHANGES "/v1/route/changes"
#define FS_VISITORS_PAGES   "/v1/route/visitors"
#define FS_VISITORS_TYPE    "application/vnd.farmsync.visitors"
#define FS_VISITORS_ASKED   256 /* calls that wait for the thread, at most */

/* A call that the thread merges and answers, for the loop must not wait for a disk. */
typedef struct fs_told_call_t {
    STAILQ_ENTRY(fs_told_call_t) link;
    struct fs_route_visitors_t *visitors;
    fs_http_call_t *call; /* loop's thread; NULL: whoever told it has gone */
    char origin[FS_ORIGIN_SIZE];
    int has_origin; /* somebody signs in this farm */
    char *body;
    size_t length;
    uint8_t *answer;
    size_t answer_length; /* 0: `result` says why */
    fs_result_t result;
} fs_told_call_t;

typedef struct fs_route_visitors_t {
    fs_agent_t *agent;
    fs_route_store_t *store;
    fs_http_fan_t *fan;
    pthread_t thread;
    int started, joined;

    pthread_mutex_t lock; /* all below, until the thread's own */
    STAILQ_HEAD(, fs_told_call_t) told;
    unsigned told_count;
    int again;
    fs_route_share_info_t info;
    _Atomic int rung;
    _Atomic int ready;

    /* The thread's own. */
    fs_route_share_t *share;
    fs_route_peer_t *peers;
    fs_route_peer_status_t *statuses;
    fs_usec_t looked, began;
    fs_trouble_t storing;
    fs_log_gate_t healing, giving;
} fs_route_visitors_t;

/* route_visitors_http.c */
apr_status_t fs_visitors_routes(fs_agent_t *agent, fs_result_t *result);
/* The thread: merges and answers all that others told. */
void fs_visitors_serve(fs_route_visitors_t *visitors, fs_moment_t now);
/* The thread has ended, and so have the listeners. */
void fs_visitors_drop_told(fs_route_visitors_t *visitors);
/* Begins a request of the share's. */
apr_status_t fs_visitors_send(fs_route_visitors_t *visitors,
                              const fs_route_share_request_t *request, fs_result_t *result);

#endif
