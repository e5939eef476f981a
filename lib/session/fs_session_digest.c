/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_digest.h"

#include "session/fs_session_mix.h"

unsigned fs_session_bucket(const fs_session_key_t *key)
{
    return (key->bytes[0] | (unsigned)key->bytes[1] << 8) % FS_SESSION_BUCKETS;
}

void fs_session_digest_flip(fs_session_digest_t *digest, const fs_session_key_t *key,
                            const fs_session_stamp_t *version)
{
    uint64_t hash = fs_session_mix(fs_session_mix_load(key->bytes) + UINT64_C(0x9e3779b97f4a7c15));

    hash = fs_session_mix(hash ^ fs_session_mix_load(key->bytes + 8));
    hash = fs_session_mix(hash + version->epoch);
    hash = fs_session_mix(hash ^ version->sequence);
    hash = fs_session_mix(hash + version->writer);
    digest->buckets[fs_session_bucket(key)] ^= hash;
}

unsigned fs_session_digest_differences(const fs_session_digest_t *a, const fs_session_digest_t *b,
                                       uint16_t differing[FS_SESSION_BUCKETS])
{
    unsigned count = 0;

    for (unsigned i = 0; i < FS_SESSION_BUCKETS; i++)
        if (a->buckets[i] != b->buckets[i])
            differing[count++] = (uint16_t)i;
    return count;
}

void fs_session_digest_write(const fs_session_digest_t *digest,
                             uint8_t bytes[FS_SESSION_DIGEST_BYTES])
{
    for (unsigned i = 0; i < FS_SESSION_DIGEST_BYTES; i++)
        bytes[i] = (uint8_t)(digest->buckets[i / 8] >> i % 8 * 8);
}

apr_status_t fs_session_digest_read(fs_session_digest_t *digest, const void *bytes, size_t length,
                                    fs_result_t *result)
{
    if (length != FS_SESSION_DIGEST_BYTES)
        return fs_result_set(result, APR_EINVAL, "FS1260",
                             "a digest of sessions has %zu bytes, not %d; run the same farmsync on "
                             "all hosts",
                             length, FS_SESSION_DIGEST_BYTES);
    for (unsigned i = 0; i < FS_SESSION_BUCKETS; i++)
        digest->buckets[i] = fs_session_mix_load((const uint8_t *)bytes + (size_t)i * 8);
    return APR_SUCCESS;
}
