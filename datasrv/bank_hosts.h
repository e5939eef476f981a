/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bank knows of the hosts: when each was last heard and for how long it may trust itself
 * after that, which sessions were taken away from it, and whether it has brought what it has
 * (fs_session_resync.h, of which the other bank servers are partners, too). In memory; any thread.
 */
#ifndef FS_DATASRV_BANK_HOSTS_H
#define FS_DATASRV_BANK_HOSTS_H

#include "bank_store.h"

#define FS_BANK_HOSTS       1024
#define FS_BANK_TAKEN       1024 /* sessions taken from a host that it can still be told of */
#define FS_BANK_WANTED      64   /* sessions of a host that others want, at a time */
#define FS_BANK_WANTED_FOR  (3 * FS_USEC_PER_SEC)
#define FS_BANK_SETTLE      (2 * FS_USEC_PER_SEC) /* after the start nobody is taken for gone */
#define FS_BANK_PEER_PREFIX "@"                   /* of a bank server's name among the partners */

typedef struct fs_bank_hosts_t fs_bank_hosts_t;

fs_bank_hosts_t *fs_bank_hosts_create(fs_usec_t now);
void fs_bank_hosts_destroy(fs_bank_hosts_t *hosts);

/* A host that was known before the restart. */
void fs_bank_hosts_known(fs_bank_hosts_t *hosts, const char *name, uint32_t lease_ms,
                         fs_usec_t now);
/* A signed request came; counts for hosts that have renewed before. */
void fs_bank_hosts_heard(fs_bank_hosts_t *hosts, const char *name, fs_usec_t now);

/*
 * A host renews: `asked` is the head of its request, `answer` gets flags and mark for it. *lease is
 * 1 if its lease is another than before, to be kept. Returns 0 if there are too many hosts: FS1405.
 */
int fs_bank_hosts_renew(fs_bank_hosts_t *hosts, const char *name, const fs_session_batch_t *asked,
                        uint64_t boot, fs_usec_t now, fs_session_batch_t *answer, int *lease);
/* Adds what was taken from a host after `mark` to the answer to its renewal, and what others want
 * of it (FS_SESSION_ITEM_WANTED). */
apr_status_t fs_bank_hosts_taken(fs_bank_hosts_t *hosts, const char *name, uint64_t mark,
                                 fs_usec_t now, fs_session_batch_writer_t *writer);

/* As fs_bank_leases_t wants them; the baton is the hosts. `left` reads the clock. */
fs_usec_t fs_bank_hosts_left(void *hosts, const char *owner, const char *taker);
void fs_bank_hosts_moved(void *hosts, const fs_session_key_t *key, const char *from,
                         const char *to);
void fs_bank_hosts_wanted(void *hosts, const fs_session_key_t *key, const char *owner,
                          const char *taker);

/* Adds an item for each host that lives. */
apr_status_t fs_bank_hosts_state(fs_bank_hosts_t *hosts, fs_usec_t now,
                                 fs_session_batch_writer_t *writer);
/* Whether `name` isn't known to live: nobody has heard it for `silent`. */
int fs_bank_hosts_gone(fs_bank_hosts_t *hosts, const char *name, fs_usec_t silent, fs_usec_t now);

/* Partners of the resynchronization: hosts that a peer names, and peers. */
void fs_bank_hosts_named(fs_bank_hosts_t *hosts, const char *name, fs_usec_t now);
void fs_bank_hosts_peer_named(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t now);
/* 0 if the peer's pass isn't done. */
int fs_bank_hosts_peer_heard(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t lease,
                             fs_usec_t now);
void fs_bank_hosts_peer_done(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t began,
                             fs_usec_t now);

typedef struct fs_bank_sync_t {
    int in_sync;
    unsigned hosts;                       /* that live */
    unsigned behind;                      /* partners whose pass isn't done */
    char waits_for[FS_SESSION_NAME_SIZE]; /* one of these */
    fs_usec_t behind_since;               /* mono, the first of these */
} fs_bank_sync_t;
/* Also finds out who is gone: call it at least each tenth of a second. */
void fs_bank_hosts_sync(fs_bank_hosts_t *hosts, fs_usec_t now, fs_bank_sync_t *sync);

#endif
