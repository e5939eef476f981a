/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which bank servers keep a session: rendezvous hashing (Thaler and Ravishankar, 1996) over the
 * session's key.
 *
 * Every host computes the same choice from the same list, so nobody has to be asked where a session
 * is. Each server has a score for each key; the highest come first, with one rule before it: a
 * server in a rack of which fewer were chosen so far. When a server dies, its sessions spread over
 * all others; when one comes, it takes an equal part from each. No session moves that need not.
 *
 * A bank is not changed after it was made: any number of threads may use it. A server's name is its
 * identity, so that it keeps its sessions when it gets another address or place in the list.
 */
#ifndef FS_SESSION_BANK_H
#define FS_SESSION_BANK_H

#include <apr_pools.h>

#include "session/fs_session_id.h"

#define FS_SESSION_BANK_LIMIT 256 /* servers */

typedef struct fs_session_bank_t fs_session_bank_t;

typedef struct fs_session_server_t {
    const char *name; /* not empty, each once */
    const char *rack; /* NULL or "": none is known, it counts as a rack of its own */
} fs_session_server_t;

/* Copies what it needs into `pool`. Errors: FS1240 too many, or two have one name. */
apr_status_t fs_session_bank_make(fs_session_bank_t **bank, const fs_session_server_t *servers,
                                  unsigned count, apr_pool_t *pool, fs_result_t *result);

/*
 * The first `wanted` servers for a key, best first, as indexes into the list the bank was made of.
 * `usable` has a byte for each server, 0 for one that is down or drained; NULL: all are usable.
 * Returns how many there are: fewer than `wanted` if so few are usable.
 *
 * After a change of `usable`, who has a session copies it to those in the new choice that were not
 * in the old one: one server for each that went.
 */
unsigned fs_session_bank_choose(const fs_session_bank_t *bank, const fs_session_key_t *key,
                                unsigned wanted, const uint8_t *usable, unsigned *chosen);

#endif
