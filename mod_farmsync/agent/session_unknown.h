/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids that nobody in the farm knows, remembered for a moment so that a flood of requests with them
 * asks nobody again and again. Of a fixed size: a new one may push another one out. One thread at a
 * time.
 */
#ifndef FS_AGENT_SESSION_UNKNOWN_H
#define FS_AGENT_SESSION_UNKNOWN_H

#include "base/fs_time.h"
#include "session/fs_session_id.h"

#define FS_UNKNOWN_FOR   FS_USEC_PER_SEC
#define FS_UNKNOWN_COUNT 8192

typedef struct fs_unknown_t {
    struct {
        fs_session_key_t key;
        fs_usec_t until; /* mono; 0 free */
    } ids[FS_UNKNOWN_COUNT];
} fs_unknown_t;

void fs_unknown_add(fs_unknown_t *unknown, const fs_session_key_t *key, fs_usec_t now);
/* `now`: mono. 1 if it was added a moment ago. */
int fs_unknown_has(const fs_unknown_t *unknown, const fs_session_key_t *key, fs_usec_t now);
/* It came into being after all. */
void fs_unknown_forget(fs_unknown_t *unknown, const fs_session_key_t *key);

#endif
