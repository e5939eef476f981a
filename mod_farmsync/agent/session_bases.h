/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each bank server was last known to hold of the sessions of this host, and that is in the
 * host's copy: the `base` of an offer (fs_session_offer.h). A note is forgotten together with the
 * copy that it is about, and all notes of a server when it begins anew.
 *
 * It is memory that may be lost: an offer without a base only costs a merge. So it has a fixed size
 * (pages that aren't used cost nothing), new notes replace old ones, and it isn't kept when the
 * agent ends. One thread at a time.
 */
#ifndef FS_AGENT_SESSION_BASES_H
#define FS_AGENT_SESSION_BASES_H

#include "session/fs_session_record.h"

typedef struct fs_bases_t fs_bases_t;

/* For about `sessions` of them and `servers` bank servers. NULL when memory is short. */
fs_bases_t *fs_bases_make(uint32_t sessions, unsigned servers);
void fs_bases_free(fs_bases_t *bases);

/* The version that `server` is known to hold; NULL if none is known. Valid until the next change.
 */
const fs_session_stamp_t *fs_bases_get(const fs_bases_t *bases, const fs_session_key_t *key,
                                       unsigned server);
void fs_bases_set(fs_bases_t *bases, const fs_session_key_t *key, unsigned server,
                  const fs_session_stamp_t *version);
/* The host's copy is gone. */
void fs_bases_forget(fs_bases_t *bases, const fs_session_key_t *key);
/* The server holds nothing any more of what it held. */
void fs_bases_forget_server(fs_bases_t *bases, unsigned server);

#endif
