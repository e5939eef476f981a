/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What datasrv answers over HTTP. doc/datasrv.md describes the interface for its callers.
 *
 * Everything here runs in the HTTP thread and takes what it needs from the board, the store and the
 * roster: no answer ever waits for the database. Long polls are deferred calls in a list; a
 * published manifest wakes them.
 */
#ifndef FS_DATASRV_SERVICE_H
#define FS_DATASRV_SERVICE_H

#include "board.h"
#include "deltas.h"
#include "finding.h"
#include "net/fs_http_server.h"
#include "overview.h"
#include "roster.h"
#include "bank_peers.h"
#include "bell.h"
#include "crier.h"
#include "store.h"

/* Counted by the HTTP thread for /metrics. */
typedef struct fs_service_counts_t {
    uint64_t times, manifests, unchanged, images, image_bytes, reports, pages;
    uint64_t deltas, delta_bytes;
    uint64_t unknown, unready, refused; /* answers 404, 503, other 4xx */
    uint64_t busy;                      /* of the 503: transfers put off */
    unsigned waiting;                   /* long polls open now */
    unsigned image_waiting;             /* calls that wait for an image or a delta now */
} fs_service_counts_t;

typedef struct fs_waiter_t fs_waiter_t;
typedef struct fs_image_waiter_t fs_image_waiter_t;

typedef struct fs_service_t {
    fs_board_t *board;
    fs_store_t *store;
    fs_deltas_t *deltas;
    fs_roster_t *roster;
    fs_overview_t *overview;
    fs_bank_peers_t *bank_peers; /* NULL: it has none */
    fs_bank_t *bank;             /* NULL: it could not be opened */
    fs_relay_t *relay;           /* of what is asked of notices */
    fs_agents_t *agents;         /* that reported just now */
    fs_bell_t *looked;           /* of the thread that reads the dashboard's tables */
    const char *name;
    fs_http_server_t *server; /* set before it runs */
    unsigned max_transfers;   /* images and deltas sent at once */
    int signed_members;       /* a key is configured: a member speaks for itself only */
    fs_usec_t started;        /* mono */
    fs_service_counts_t counts;
    fs_waiter_t *waiters; /* doubly linked */
    fs_image_waiter_t *image_waiters;
} fs_service_t;

const fs_http_route_t *fs_service_routes(unsigned *count);
/* A manifest on the board has changed: answers the long polls that waited for it. HTTP thread. */
void fs_service_published(void *service);
/* An image or a delta was made, or can't be: answers the calls that waited for it. HTTP thread. */
void fs_service_image_made(void *service);

/* --- parts of the service
 * ------------------------------------------------------------------------- */

/* waiters.c: GET /v1/groups/G/manifest */
void fs_service_manifest(void *service, fs_http_call_t *call);
/* images.c: GET /v1/images/HEX */
void fs_service_image(void *service, fs_http_call_t *call);
/* health.c, metrics.c, dashboard.c: GET /healthz, /metrics, / */
void fs_service_health(void *service, fs_http_call_t *call);
void fs_service_metrics(void *service, fs_http_call_t *call);
void fs_service_dashboard(void *service, fs_http_call_t *call);

/* bank_service.c: POST /v1/sessions/... */
void fs_service_offer(void *service, fs_http_call_t *call);
void fs_service_take(void *service, fs_http_call_t *call);
void fs_service_versions(void *service, fs_http_call_t *call);
void fs_service_renew(void *service, fs_http_call_t *call);
void fs_service_state(void *service, fs_http_call_t *call);
void fs_service_digest(void *service, fs_http_call_t *call);
void fs_service_bucket(void *service, fs_http_call_t *call);
void fs_service_changes(void *service, fs_http_call_t *call);

/* bank_page.c: the session bank in what these three show. */
struct evbuffer;
void fs_bank_print_metrics(fs_service_t *service, struct evbuffer *out);
void fs_bank_print_page(fs_service_t *service, struct evbuffer *out);
/* Nothing of it makes the data server fail. */
void fs_bank_find(fs_service_t *service, fs_health_t *health);

/* Answers with a problem and counts it. */
void fs_service_refuse(fs_service_t *service, fs_http_call_t *call, int status, const char *number,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

void fs_service_not_known_yet(fs_service_t *service, fs_http_call_t *call);
void fs_service_no_group(fs_service_t *service, fs_http_call_t *call, const char *group);

#endif
