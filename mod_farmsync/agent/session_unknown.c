/* SPDX-License-Identifier: Apache-2.0 */
#include "session_unknown.h"

#include "session/fs_session_mix.h"

static unsigned place_of(const fs_session_key_t *key)
{
    return (unsigned)(fs_session_mix_load(key->bytes) % FS_UNKNOWN_COUNT);
}

void fs_unknown_add(fs_unknown_t *unknown, const fs_session_key_t *key, fs_usec_t now)
{
    unsigned at = place_of(key);

    unknown->ids[at].key = *key;
    unknown->ids[at].until = now + FS_UNKNOWN_FOR;
}

int fs_unknown_has(const fs_unknown_t *unknown, const fs_session_key_t *key, fs_usec_t now)
{
    unsigned at = place_of(key);

    return unknown->ids[at].until > now && !fs_session_key_compare(&unknown->ids[at].key, key);
}

void fs_unknown_forget(fs_unknown_t *unknown, const fs_session_key_t *key)
{
    unsigned at = place_of(key);

    if (!fs_session_key_compare(&unknown->ids[at].key, key))
        unknown->ids[at].until = 0;
}
