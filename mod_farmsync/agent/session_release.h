/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that this host gave away: which bank servers have been told. While one has not, it still
 * takes this host for the owner, and would give the session back to it although another host has
 * it; so a question goes to a server only after it was told. And hosts to whom this one said that
 * it doesn't have a session: for a moment they are asked first, for they may be taking it because
 * of that. One thread at a time.
 */
#ifndef FS_AGENT_SESSION_RELEASE_H
#define FS_AGENT_SESSION_RELEASE_H

#include "base/fs_time.h"
#include "session/fs_session_record.h"
#include "session_table.h"

typedef struct fs_releases_t {
    fs_key_table_t table;
} fs_releases_t;

apr_status_t fs_releases_init(fs_releases_t *releases);
void fs_releases_end(fs_releases_t *releases);
/* The session goes to another host now: nobody has been told. Without memory: as if all had. */
void fs_release_begin(fs_releases_t *releases, const fs_session_key_t *key);
/* It is this host's again, or forgotten. */
void fs_release_end(fs_releases_t *releases, const fs_session_key_t *key);
void fs_release_told(fs_releases_t *releases, const fs_session_key_t *key, unsigned server);
int fs_release_is_told(const fs_releases_t *releases, const fs_session_key_t *key, unsigned server);

#define FS_DISCLAIMED_COUNT 4096
#define FS_DISCLAIMED_HOSTS 4 /* of one session; the earliest makes way for a fifth */

typedef struct fs_disclaimed_t {
    struct {
        fs_session_key_t key;
        fs_usec_t until[FS_DISCLAIMED_HOSTS]; /* 0 free */
        char to[FS_DISCLAIMED_HOSTS][FS_SESSION_NAME_SIZE];
    } ids[FS_DISCLAIMED_COUNT];
} fs_disclaimed_t;

void fs_disclaimed_add(fs_disclaimed_t *disclaimed, const fs_session_key_t *key, const char *to,
                       fs_usec_t until);
/* He says that he neither has nor takes it: what he was told before doesn't count any more. */
void fs_disclaimed_drop(fs_disclaimed_t *disclaimed, const fs_session_key_t *key, const char *to);
/* Who was told so. Returns how many. */
unsigned fs_disclaimed_to(const fs_disclaimed_t *disclaimed, const fs_session_key_t *key,
                          fs_usec_t now, char to[FS_DISCLAIMED_HOSTS][FS_SESSION_NAME_SIZE]);

#endif
