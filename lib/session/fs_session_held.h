/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of sessions that this host holds ahead for other hosts, as the alternate of their
 * visitors: sealed, as on the bank, so that without the visitor's id nobody can read them. An LMDB
 * environment in a directory, beside the store of the host's own sessions, which it has nothing to
 * do with: a copy here is nobody's property. It is merged like any other copy that is found when
 * this host takes the session.
 *
 * Bounded by number and bytes: the copies that are here for longest go first. They outlive the
 * agent, not the host: of a host that went down nobody knows whether they are whole.
 *
 * Any number of threads and processes (one agent takes over from another). Errors of all
 * functions: FS1217.
 */
#ifndef FS_SESSION_HELD_H
#define FS_SESSION_HELD_H

#include "session/fs_session_batch.h"

typedef struct fs_session_held_t fs_session_held_t;

/* Makes `dir` if it isn't there. `boot` names this boot of the host; NULL: as the kernel says.
 * `sessions` and `bytes` are the most that are held. */
apr_status_t fs_session_held_open(fs_session_held_t **held, const char *dir, const char *boot,
                                  uint64_t sessions, uint64_t bytes, fs_result_t *result);
void fs_session_held_close(fs_session_held_t *held);

/* Takes copies (AHEAD batches' items) in one transaction; older ones than those that are held are
 * passed over. `outcomes[i]`: STORED, HAVE (this one or a newer one is held), TOO_LARGE. */
apr_status_t fs_session_held_put(fs_session_held_t *held, const fs_session_item_t *items,
                                 unsigned count, const char *home, fs_usec_t now,
                                 fs_session_what_t *outcomes, fs_result_t *result);

/* The copy of a session, whose bytes are the pool's; `item->owner` is the host that sent it.
 * APR_NOTFOUND without a message: none is held, or it has expired. */
apr_status_t fs_session_held_get(fs_session_held_t *held, const fs_session_key_t *key,
                                 fs_usec_t now, apr_pool_t *pool, fs_session_item_t *item,
                                 fs_result_t *result);
/* It is here as a session of this host now: forgets it if it isn't newer than `version`. */
apr_status_t fs_session_held_drop(fs_session_held_t *held, const fs_session_key_t *key,
                                  const fs_session_stamp_t *version, fs_result_t *result);

/* Forgets up to `limit` that have expired. */
apr_status_t fs_session_held_expire(fs_session_held_t *held, fs_usec_t now, unsigned limit,
                                    fs_result_t *result);
apr_status_t fs_session_held_count(fs_session_held_t *held, uint64_t *sessions, uint64_t *bytes,
                                   fs_result_t *result);

#endif
