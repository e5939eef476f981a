/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the servers of a farm come to know the same of their visitors, and of whom they let go.
 *
 * Each server tells every other one what it changed, from its log, in order; each asks another one
 * for all of its visitors, page by page, when the log doesn't reach back to what it has, or when
 * the digests that both know for the same place of the log differ. Who finds in a copy that another
 * server holds an older statement than it knows tells it so. As the later statement about a visitor
 * holds whatever the order (fs_route_store.h), all come to the same state: after losses,
 * partitions, restarts, and stores that were lost.
 *
 * What a server said last before it died may have reached some only: when it is dead each one asks
 * all others how far they have heard its log, and copies its visitors from whoever has heard more.
 *
 * A server that was away isn't ready until it has compared with all that it can reach: it would
 * serve visitors who were taken over. Of servers that are dead it asks somebody else; and of
 * itself, if its own store was lost. Nobody takes what a server that isn't ready has for all it
 * has.
 *
 * No clock is read and nothing is sent here. One thread at a time. The store's errors are logged by
 * whoever calls: FS1612 and FS1616 of fs_route_store.h.
 */
#ifndef FS_ROUTE_SHARE_H
#define FS_ROUTE_SHARE_H

#include "backplane/fs_exchange.h" /* fs_moment_t */
#include "route/fs_route_delta.h"

typedef struct fs_route_share_t fs_route_share_t;

/* What becomes of visitors who were taken over when their server is back. */
typedef enum fs_route_return_t {
    FS_ROUTE_RETURN_IDLE, /* those not seen for a quarter of `idle` go back */
    FS_ROUTE_RETURN_NEVER,
    FS_ROUTE_RETURN_ALL
} fs_route_return_t;

typedef struct fs_route_share_settings_t {
    const char *self;
    fs_usec_t idle; /* a visitor who wasn't seen for so long is forgotten */
    fs_route_return_t return_policy;
    unsigned return_rate; /* a second, to each server, at most */
} fs_route_share_settings_t;

/* NULL when memory is short. The store stays the caller's. */
fs_route_share_t *fs_route_share_create(fs_route_store_t *store,
                                        const fs_route_share_settings_t *settings, fs_moment_t now);
void fs_route_share_destroy(fs_route_share_t *share);

/* Another server, as it is known now. */
typedef struct fs_route_peer_status_t {
    const char *name;
    int dead;      /* nothing is heard of it, for long */
    int reachable; /* its agent is heard, and its address is known */
    int serves;    /* it takes visitors: those it had before may go back to it */
    int ready;     /* it has compared with the others: what it says of its visitors is all */
    /* As it said last; generation 0: it hasn't said anything. */
    uint64_t generation;
    uint64_t sequence;
    uint64_t digest;
} fs_route_peer_status_t;
/* 1: there may be servers of which this one hasn't heard yet, as it has only just started. When
 * that is over, it compares with those that there are. Before fs_route_share_peers. */
void fs_route_share_partial(fs_route_share_t *share, fs_moment_t now, int partial);
/* All that there are. Each second, and when something has changed. */
void fs_route_share_peers(fs_route_share_t *share, fs_moment_t now,
                          const fs_route_peer_status_t *peers, unsigned count);

/* This server was cut off, or stood still: it isn't ready until it has compared anew. */
void fs_route_share_again(fs_route_share_t *share, fs_moment_t now);
/* 1: it has compared with the others, or there are none, or that took too long. */
int fs_route_share_ready(const fs_route_share_t *share);

/* Forgets who is idle, gives back who may return, forgets servers that are gone. Each 100 ms to
 * 1 s. */
apr_status_t fs_route_share_tick(fs_route_share_t *share, fs_moment_t now, fs_result_t *result);

/* --- asking and telling --------------------------------------------------------------------------
 */

typedef struct fs_route_share_request_t {
    uint64_t id;
    char peer[FS_ROUTE_NAME_SIZE];
    int asks; /* for a page of the visitors of `of` behind `after`; else `body` is for it */
    char of[FS_ROUTE_NAME_SIZE];
    int goes_on; /* behind `after`; else from the first */
    uint8_t after[FS_ROUTE_ID_BYTES];
    const uint8_t *body; /* until the next call */
    size_t length;
} fs_route_share_request_t;

/* 1: the next request that is to go out now. At most one of each kind to one peer is under way. */
int fs_route_share_next(fs_route_share_t *share, fs_moment_t now,
                        fs_route_share_request_t *request);
/* How a request ended: the answer's body, or NULL: there was none, or not what it should be. */
apr_status_t fs_route_share_answer(fs_route_share_t *share, fs_moment_t now, uint64_t id,
                                   const void *bytes, size_t length, fs_result_t *result);

/*
 * What another server tells (`origin`, as signed; NULL: nobody signs in this farm). Writes the
 * answer to `out` and returns its length; 0: it was refused, `result` says why: FS1618, or the
 * store's.
 */
size_t fs_route_share_serve(fs_route_share_t *share, fs_moment_t now, const char *origin,
                            const void *bytes, size_t length, uint8_t out[FS_ROUTE_DELTA_LIMIT],
                            fs_result_t *result);
/* A page of the visitors of `of` (self if NULL) behind `after` (NULL: from the first), for whoever
 * asks. Of the store only: any thread. 0: `result` says why. */
size_t fs_route_share_page(fs_route_store_t *store, const char *self, const char *of,
                           const uint8_t *after, uint8_t out[FS_ROUTE_DELTA_LIMIT],
                           fs_result_t *result);

/* --- how it is -----------------------------------------------------------------------------------
 */

typedef struct fs_route_share_info_t {
    uint64_t told;      /* changes that others have confirmed */
    uint64_t heard;     /* statements of others that hold */
    uint64_t given;     /* of them: visitors of this server that were taken over */
    uint64_t copies;    /* full copies that were merged */
    uint64_t healed;    /* of them: because digests differed */
    uint64_t reminded;  /* statements that another server was told because it held older ones */
    uint64_t expired;   /* own visitors who were idle */
    uint64_t once;      /* who came once only */
    uint64_t returned;  /* given back */
    uint64_t forgotten; /* visitors of servers that are gone */
    unsigned copying;   /* now */
    unsigned behind;    /* peers who haven't confirmed everything */
    int late;           /* ready though not all were compared: that took too long */
} fs_route_share_info_t;
void fs_route_share_info(const fs_route_share_t *share, fs_route_share_info_t *info);

#endif
