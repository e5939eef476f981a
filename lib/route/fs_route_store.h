/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is home where: the visitors of this host and of all others, an LMDB environment in a
 * directory that all processes of the host share.
 *
 *   data.mdb  visitors  id → primary, alternate, former home, generation, seen, flags
 *             homes     primary, id → nothing: the visitors of one server, in the order of their
 * ids servers   number → name, counts and digest of its visitors; as far as it told us names name →
 * number (of this file only) log       sequence → id: what this host changed, for the agent to tell
 *             fresh     time, id → nothing: who came once and hasn't shown a cookie yet
 *             nonces    expiry, nonce → nothing: tokens that were used
 *             meta
 *   boot      in which boot of the host it was opened, and whether it was settled
 *
 * Of two statements about one visitor the later one holds: the higher generation, then the greater
 * name of the home, then the greater one of the alternate. So all servers come to the same state,
 * whatever the order in which they hear of changes.
 *
 * A reader waits for nobody. Writers come one after the other and hold no lock across anything but
 * the page cache; a process that dies leaves the last committed state. Nothing is synced: after the
 * host went down the store is set aside, and its visitors come back with their cookies. LMDB writes
 * the file (no writable map), so a full disk is an error and not a signal.
 *
 * Open a store once in each process, after fork(); a store that was open at a fork refuses to work
 * in the child. Any number of threads may use it. Times are farm time (or the wall clock, where all
 * of a host use it) in microseconds, kept in seconds. Errors of all functions: FS1612 (LMDB or the
 * disk), FS1613 (open before a fork), and those that they name.
 */
#ifndef FS_ROUTE_STORE_H
#define FS_ROUTE_STORE_H

#include <sys/types.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "route/fs_route.h"

#define FS_ROUTE_STORE_DIR   "route/visitors" /* in StateDir */
#define FS_ROUTE_ID_BYTES    12
#define FS_ROUTE_NONCE_BYTES 12
#define FS_ROUTE_CONFIRM_S   60 /* an unconfirmed visitor is forgotten after that */

typedef struct fs_route_store_t fs_route_store_t;

/* Bounds; 0: the default. */
typedef struct fs_route_limits_t {
    uint32_t unconfirmed; /* visitors who came once; 10000. The server's capacity */
    uint64_t visitors;    /* of all servers; 10 million */
    uint64_t log;         /* changes that are kept for the others; 65536 */
    uint32_t nonces;      /* 100000; when full the one that expires first is forgotten */
} fs_route_limits_t;

typedef struct fs_route_visitor_t {
    uint8_t id[FS_ROUTE_ID_BYTES];
    const char *primary;   /* its home. What is returned is the store's, until it is closed */
    const char *alternate; /* "" if it has none */
    const char *former;  /* whose visitor it was before it was taken over; "". Not told to others */
    uint32_t generation; /* grows by 1 each time primary or alternate changes */
    int confirmed;       /* it has come back with its cookie */
    fs_usec_t seen;      /* of own visitors: last request, to within an eighth of `idle` */
} fs_route_visitor_t;

/* --- open ----------------------------------------------------------------------------------------
 */

/*
 * Before httpd's children and the agent are there: makes the store or checks the one that is there,
 * in a process of its own which runs as uid and gid (if this one is root's; (uid_t)-1: as it is),
 * so that a damaged file can crash nobody. A damaged store, or one of a host that went down without
 * fs_route_store_settle, is moved to `dir`/damaged and a new one made; then the status is success
 * and result->problem is FS1614 or FS1615, a warning; else it is "". `first`: nobody uses the store
 * yet: check every page; 0 at a graceful restart. `boot` names this boot of the host; NULL: as the
 * kernel says.
 */
apr_status_t fs_route_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
                                    const char *boot, fs_result_t *result);
/* When all processes have closed the store: syncs it, so that it is used after a reboot too. */
apr_status_t fs_route_store_settle(const char *dir, const char *boot, fs_result_t *result);

/* `self` is this server's name. The caller closes it; in a forked child that does nothing. */
apr_status_t fs_route_store_open(fs_route_store_t **store, const char *dir, const char *self,
                                 const fs_route_limits_t *limits, fs_result_t *result);
void fs_route_store_close(fs_route_store_t *store);

/* --- for requests --------------------------------------------------------------------------------
 */

/* What is known of a visitor; without a lock. APR_NOTFOUND without a message if nothing. */
apr_status_t fs_route_store_find(fs_route_store_t *store, const uint8_t id[FS_ROUTE_ID_BYTES],
                                 fs_route_visitor_t *visitor, fs_result_t *result);

/* Which of two statements about one visitor holds: <0 b, 0 they are the same, >0 a. */
int fs_route_visitor_compare(const fs_route_visitor_t *a, const fs_route_visitor_t *b);

/*
 * Says where a visitor is home from now on: a new one (generation 1, not confirmed), one that was
 * adopted or taken over (generation + 1, confirmed), or one that isn't known here any more but has
 * a good cookie (the cookie's generation). It holds if it is later than what is there (an
 * unconfirmed one that is the same becomes confirmed); `seen` becomes `now`. `is`, unless NULL, is
 * what is there afterwards.
 * APR_EMISMATCH without a message: what is there is later, follow `is`. APR_ENOSPC: FS1616 there
 * are as many unconfirmed visitors, or visitors of all servers, as there may be: serve it, it is
 * taken when it comes back.
 */
apr_status_t fs_route_store_claim(fs_route_store_t *store, const fs_route_visitor_t *visitor,
                                  fs_usec_t now, fs_route_visitor_t *is, fs_result_t *result);

/*
 * A visitor of this server came again with its cookie: confirms it, and notes when it was seen if
 * that is older than idle/8; mostly it only reads. `is`, unless NULL, is what is there.
 * APR_NOTFOUND: it isn't known.
 */
apr_status_t fs_route_store_seen(fs_route_store_t *store, const uint8_t id[FS_ROUTE_ID_BYTES],
                                 fs_usec_t now, fs_usec_t idle, fs_route_visitor_t *is,
                                 fs_result_t *result);

/* A token was used. APR_EEXIST without a message: it was used before. */
apr_status_t fs_route_store_nonce(fs_route_store_t *store,
                                  const uint8_t nonce[FS_ROUTE_NONCE_BYTES], fs_usec_t expires,
                                  fs_usec_t now, fs_result_t *result);

/* --- counts --------------------------------------------------------------------------------------
 */

/* Of one server's visitors, as far as they are known here. */
typedef struct fs_route_total_t {
    uint64_t primaries;   /* home there; unconfirmed ones included */
    uint64_t unconfirmed; /* of them */
    uint64_t alternates;  /* visitors of whatever server that it stands by for */
    uint64_t given;       /* visitors of this server (`self`) that it stands by for */
    uint64_t digest;      /* of the confirmed ones: equal if two servers know the same */
    /* The log of that server that was merged here (fs_route_store_heard); of this one: its own. */
    uint64_t generation;
    uint64_t sequence;
} fs_route_total_t;

/* All 0 if nothing is known of that server. */
apr_status_t fs_route_store_total(fs_route_store_t *store, const char *server,
                                  fs_route_total_t *total, fs_result_t *result);
/* Of all servers that the store has heard of, until `fn` returns non-zero. */
typedef int fs_route_total_fn(void *baton, const char *server, const fs_route_total_t *total);
apr_status_t fs_route_store_totals(fs_route_store_t *store, fs_route_total_fn *fn, void *baton,
                                   fs_result_t *result);

/* --- for the agent: what to tell, and what was told ----------------------------------------------
 */

typedef int fs_route_visitor_fn(void *baton, const fs_route_visitor_t *visitor);

/*
 * What this host changed after `from`, up to `most` changes of the log: calls `fn` for each visitor
 * as it is now, with primary "" if it is gone. `to` becomes the sequence that was reached.
 * APR_EGENERAL without a message: the log doesn't reach back to `from`; a full copy is needed.
 */
apr_status_t fs_route_store_changes(fs_route_store_t *store, uint64_t from, unsigned most,
                                    fs_route_visitor_fn *fn, void *baton, uint64_t *to,
                                    fs_result_t *result);

/*
 * The visitors of `server` with an id greater than `after` (NULL: from the first), in order, until
 * `most` were shown or `fn` returns non-zero. `unconfirmed`: those too.
 */
apr_status_t fs_route_store_each(fs_route_store_t *store, const char *server,
                                 const uint8_t after[FS_ROUTE_ID_BYTES], unsigned most,
                                 int unconfirmed, fs_route_visitor_fn *fn, void *baton,
                                 fs_result_t *result);

/* What another server said. */
typedef struct fs_route_news_t {
    const char *from;                   /* its name */
    const fs_route_visitor_t *visitors; /* primary "": not its visitor any more */
    unsigned count;                     /* at most FS_ROUTE_NEWS_MOST in one transaction */
    /* A page of a full copy of `from`'s visitors (or of those of another server, `of`): those
     * that are known here with ids above `after` (NULL: the first) up to `upto` (NULL: the last)
     * and are not in `visitors` are not its visitors any more. */
    int whole;
    const char *of;
    const uint8_t *after;
    const uint8_t *upto;
    /* Its log, as far as this goes; 0: leave it as it was. */
    uint64_t generation;
    uint64_t sequence;
} fs_route_news_t;
#define FS_ROUTE_NEWS_MOST 1024 /* requests that write wait for one that merges: milliseconds */

typedef struct fs_route_merged_t {
    unsigned taken;   /* statements that hold now */
    unsigned given;   /* of them, visitors of this server that are another's now */
    unsigned gotten;  /* of them, visitors of another that are this server's now */
    unsigned removed; /* not its visitors any more */
    int more;         /* not all were removed that aren't in a page: merge it once more */
    unsigned older;   /* what is here is later: whoever said it doesn't know */
} fs_route_merged_t;

/* Merges it, whole or not at all. `older`, unless NULL, is called for what is here and later.
 * Errors: FS1616 no more visitors fit. */
apr_status_t fs_route_store_merge(fs_route_store_t *store, const fs_route_news_t *news,
                                  fs_usec_t now, fs_route_visitor_fn *older, void *baton,
                                  fs_route_merged_t *merged, fs_result_t *result);

typedef struct fs_route_swept_t {
    unsigned unconfirmed; /* forgotten: came once only */
    unsigned idle;        /* forgotten: not seen for `idle` */
    unsigned nonces;
    uint8_t next[FS_ROUTE_ID_BYTES]; /* where the next sweep goes on */
} fs_route_swept_t;
/* Forgets some of what is over: looks at up to `most` of the own visitors after swept->next (all 0
 * at first; it begins anew behind the last one). */
apr_status_t fs_route_store_sweep(fs_route_store_t *store, fs_usec_t now, fs_usec_t idle,
                                  unsigned most, fs_route_swept_t *swept, fs_result_t *result);

/*
 * Gives up to `most` visitors back to `server`, whose they were before, with this server as
 * alternate; those not seen since `before` only. `after` is where it goes on, all 0 at first and
 * behind the last one. Counts them in `returned`.
 */
apr_status_t fs_route_store_return(fs_route_store_t *store, const char *server, fs_usec_t before,
                                   unsigned most, uint8_t after[FS_ROUTE_ID_BYTES],
                                   unsigned *returned, fs_usec_t now, fs_result_t *result);

/* Forgets up to `most` visitors of a server that is gone for good; `removed` of them. */
apr_status_t fs_route_store_forget(fs_route_store_t *store, const char *server, unsigned most,
                                   unsigned *removed, fs_result_t *result);

#endif
