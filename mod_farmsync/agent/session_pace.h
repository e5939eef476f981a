/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When sessions were sent last. A change is sent as soon as no request is at the session; one that
 * is changed again and again (a page with many parts) needn't be sent each time, it is safe as long
 * as its changes arrive within the flush time. So what was sent rests for a part of that. Of a
 * fixed size: a session may push another one out, which is then sent sooner. One thread at a time.
 */
#ifndef FS_AGENT_SESSION_PACE_H
#define FS_AGENT_SESSION_PACE_H

#include "base/fs_time.h"
#include "session/fs_session_id.h"

#define FS_PACE_MOST  (250 * FS_USEC_PER_MSEC)
#define FS_PACE_COUNT 8192

typedef struct fs_pace_t {
    struct {
        fs_session_key_t key;
        fs_usec_t at; /* mono; 0 free */
    } sent[FS_PACE_COUNT];
} fs_pace_t;

void fs_pace_sent(fs_pace_t *pace, const fs_session_key_t *key, fs_usec_t now);
/* Until when it rests; not later than `now`: it may be sent. */
fs_usec_t fs_pace_until(const fs_pace_t *pace, const fs_session_key_t *key, fs_usec_t flush);

#endif
