/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copies of sessions that this bank server keeps: an LMDB environment in a directory.
 *
 *   data.mdb  main    key → slot (label, owner, change number) and the sealed copy
 *             aside   key → the same, of a second copy that only a host can merge with the first
 *             expiry  time, key → nothing: not later than the slot expires
 *             hosts   name → the length of its lease
 *             meta    "format", "instance", "sequence"; "peer NAME" → how far it was read
 *   boot      in which boot of the host it was opened, and whether it was closed (base/fs_boot.h)
 *
 * Nothing is answered before it is committed. A commit ends in the page cache: the death of this
 * process at any moment loses nothing that was confirmed. The power cut of the host may leave the
 * file damaged, so after one it is set aside and the server begins empty, as a new instance: its
 * copies are on another server too (that is what the second one is for), and from there they come
 * back. With `sync` each commit is on the disk before it is confirmed, and the file is used again
 * whatever happened.
 *
 * One process; any thread. LMDB lets one write at a time. Times are farm time.
 */
#ifndef FS_DATASRV_BANK_STORE_H
#define FS_DATASRV_BANK_STORE_H

#include <lmdb.h>

#include "session/fs_session_batch.h"
#include "session/fs_session_take.h"

#define FS_BANK_PEER_PREFIX "@" /* of a bank server's name, where hosts' names stand, too */

typedef struct fs_bank_limits_t {
    uint64_t bytes;    /* of all copies with what they need around them */
    uint64_t sessions; /* 0: as many as fit */
    int sync;
} fs_bank_limits_t;

typedef struct fs_bank_store_t fs_bank_store_t;

/*
 * Makes or opens it. A damaged one, or one of a host that lost power, is moved to DIR/damaged and a
 * new one made; then the status is success and result->problem is FS1402 or FS1403, a warning; else
 * it is "". `boot` names this boot of the host; NULL: as the kernel says. Before threads. Errors:
 * FS1400, FS1401 (another process has it).
 */
apr_status_t fs_bank_store_open(fs_bank_store_t **store, const char *dir,
                                const fs_bank_limits_t *limits, const char *boot,
                                fs_result_t *result);
/* Syncs and closes it, so that it is used after a reboot too. NULL is fine. */
void fs_bank_store_close(fs_bank_store_t *store);
uint64_t fs_bank_store_instance(const fs_bank_store_t *store);

/* --- transactions --------------------------------------------------------------------------------
 */

/* What the store has to know of hosts. */
typedef struct fs_bank_leases_t {
    void *baton;
    /* How long the lease of `owner` still runs, for `taker`. */
    fs_usec_t (*left)(void *baton, const char *owner, const char *taker);
    /* A session goes from one host to another. Before it is committed, so that the one who lost it
     * hears of it with his next renewal; if the commit fails he finds out by comparing. */
    void (*moved)(void *baton, const fs_session_key_t *key, const char *from, const char *to);
    /* `taker` wants a session whose owner lives, but can't reach him: he is told. */
    void (*wanted)(void *baton, const fs_session_key_t *key, const char *owner, const char *taker);
} fs_bank_leases_t;

typedef struct fs_bank_work_t {
    fs_bank_store_t *store;
    const fs_bank_leases_t *leases;
    MDB_txn *txn;
    fs_usec_t now; /* farm time; 0: not known, nothing expires */
    int writes;
    uint64_t sequence;
    size_t spent; /* of what one transaction may use of the file: see fs_bank_step */
    uint64_t stored, merges, granted, refused, full, removed; /* counted; reset by begin */
} fs_bank_work_t;

/* These return 0 or an error of LMDB or the system; after one the work must be aborted. `leases`
 * may be NULL when it only reads. */
int fs_bank_begin(fs_bank_work_t *work, fs_bank_store_t *store, const fs_bank_leases_t *leases,
                  int writes, fs_usec_t now);
/* Before each item: commits what was done and goes on in another transaction when this one might
 * use more of the file than has space reserved. Work that only reads goes on. */
int fs_bank_step(fs_bank_work_t *work);
int fs_bank_commit(fs_bank_work_t *work);
void fs_bank_abort(fs_bank_work_t *work);
/* FS1404 says what failed and what to do. */
apr_status_t fs_bank_failed(int error, fs_result_t *result);

/*
 * The answer to one item. `room` bytes are left for a copy in the answer: without room for it the
 * outcome is REFUSED, and nothing is changed. answer->sealed points into the store until the work
 * ends.
 */
int fs_bank_offer(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                  size_t room, fs_session_item_t *answer);
/* With two copies held, `aside` becomes a second item of the same key and outcome; else its
 * parts are 0. */
int fs_bank_take(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                 size_t room, fs_session_item_t *answer, fs_session_item_t *aside);
/* *differs: the item isn't held in just this version, or another host owns it (if who asks is one:
 * another bank server's name begins with FS_BANK_PEER_PREFIX). */
int fs_bank_compare(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                    fs_session_item_t *answer, int *differs);

/* *wants: a copy with this label, which another server has, is missing here. */
int fs_bank_wants(fs_bank_work_t *work, const fs_session_item_t *label, int *wants);

/* Removes expired copies, looking at `limit` at most; *more if there are more. */
int fs_bank_expire(fs_bank_work_t *work, unsigned limit, int *more);

/* Shows labels (version, expires, owner, flags) in the order of their keys, those after `after`
 * (NULL: from the first), at most `limit`; those that changed after `since`. `see` returns 0 to go
 * on; *last is the last one looked at, *more whether there are more. */
typedef int fs_bank_see_fn(void *baton, const fs_session_item_t *label);
int fs_bank_scan(fs_bank_work_t *work, const fs_session_key_t *after, uint64_t since,
                 unsigned limit, fs_bank_see_fn *see, void *baton, fs_session_key_t *last,
                 int *more);

/* Hosts and their leases, so that a restart doesn't take them for dead. */
int fs_bank_put_host(fs_bank_work_t *work, const char *name, uint32_t lease_ms);
int fs_bank_each_host(fs_bank_work_t *work,
                      void (*see)(void *baton, const char *name, uint32_t lease_ms), void *baton);

/* How far a peer's changes are known to be here. MDB_NOTFOUND. */
typedef struct fs_bank_mark_t {
    uint64_t instance, sequence;
} fs_bank_mark_t;
int fs_bank_get_mark(fs_bank_work_t *work, const char *peer, fs_bank_mark_t *mark);
int fs_bank_put_mark(fs_bank_work_t *work, const char *peer, const fs_bank_mark_t *mark);

typedef struct fs_bank_totals_t {
    uint64_t sessions, aside, bytes, limit_bytes, limit_sessions;
    uint64_t sequence; /* of the latest change */
    int full;
} fs_bank_totals_t;
int fs_bank_count(fs_bank_work_t *work, fs_bank_totals_t *totals);

#endif
