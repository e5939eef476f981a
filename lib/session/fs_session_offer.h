/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bank server does with a copy that a host offers. It can't read copies, so it can't merge
 * them: it takes one only if nothing of what it holds can be missing in it: if it holds none, or
 * the host says that it built on just the version that is held (`base`), and the offered one is
 * later. Else the host gets what is held, merges it into its own, and offers the result. A host
 * that was fenced (another one took the session over while it was cut off) thus can't overwrite
 * what came after it, and of two that took over at once neither overwrites the other.
 *
 * A host remembers for each copy that it has, and for each server, the version that the server was
 * last known to hold and that is in the copy. It forgets that together with the copy: what it
 * fetches later may be older. The same writer in the same epoch is no proof of anything, for a host
 * that let a session go may take an old copy over again and arrive at the same epoch.
 *
 * Any thread.
 */
#ifndef FS_SESSION_OFFER_H
#define FS_SESSION_OFFER_H

#include "session/fs_session_record.h"

typedef enum fs_session_offered_t {
    FS_SESSION_TAKE, /* store it, confirm it */
    FS_SESSION_HAVE, /* it is held already: confirm it */
    FS_SESSION_MERGE /* answer with what is held */
} fs_session_offered_t;

/* `held` and `base` may be NULL: nothing is held; the host has never seen a copy from here. */
fs_session_offered_t fs_session_offer(const fs_session_stamp_t *held,
                                      const fs_session_stamp_t *base,
                                      const fs_session_stamp_t *offered);

#endif
