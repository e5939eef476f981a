/* SPDX-License-Identifier: Apache-2.0 */
#include "session_pace.h"

#include "session/fs_session_mix.h"

static unsigned place_of(const fs_session_key_t *key)
{
    return (unsigned)(fs_session_mix_load(key->bytes) % FS_PACE_COUNT);
}

void fs_pace_sent(fs_pace_t *pace, const fs_session_key_t *key, fs_usec_t now)
{
    unsigned at = place_of(key);

    pace->sent[at].key = *key;
    pace->sent[at].at = now;
}

fs_usec_t fs_pace_until(const fs_pace_t *pace, const fs_session_key_t *key, fs_usec_t flush)
{
    unsigned at = place_of(key);
    fs_usec_t rest = flush / 2 < FS_PACE_MOST ? flush / 2 : FS_PACE_MOST;

    if (!pace->sent[at].at || fs_session_key_compare(&pace->sent[at].key, key))
        return 0;
    return pace->sent[at].at + rest;
}
