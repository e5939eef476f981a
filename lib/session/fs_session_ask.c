/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_ask.h"

#include <string.h>

void fs_session_fetch_write(uint8_t body[FS_SESSION_FETCH_BYTES], const fs_session_key_t *key,
                            const uint8_t seal[FS_SESSION_SEAL_BYTES])
{
    memcpy(body, key->bytes, FS_SESSION_KEY_BYTES);
    memcpy(body + FS_SESSION_KEY_BYTES, seal, FS_SESSION_SEAL_BYTES);
}

int fs_session_fetch_read(const void *body, size_t length, fs_session_key_t *key,
                          uint8_t seal[FS_SESSION_SEAL_BYTES])
{
    if (length != FS_SESSION_FETCH_BYTES)
        return -1;
    memcpy(key->bytes, body, FS_SESSION_KEY_BYTES);
    memcpy(seal, (const uint8_t *)body + FS_SESSION_KEY_BYTES, FS_SESSION_SEAL_BYTES);
    return 0;
}

static uint8_t *put(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(number >> 8 * i);
    return at + bytes;
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t number = 0;

    while (bytes--)
        number = number << 8 | at[bytes];
    return number;
}

void fs_session_ack_write(uint8_t body[FS_SESSION_ACK_BYTES], const fs_session_key_t *key,
                          const fs_session_stamp_t *version)
{
    uint8_t *at = body + FS_SESSION_KEY_BYTES;

    memcpy(body, key->bytes, FS_SESSION_KEY_BYTES);
    at = put(at, version->epoch, 4);
    at = put(at, version->sequence, 8);
    put(at, version->writer, 8);
}

int fs_session_ack_read(const void *body, size_t length, fs_session_key_t *key,
                        fs_session_stamp_t *version)
{
    const uint8_t *at = (const uint8_t *)body + FS_SESSION_KEY_BYTES;

    if (length != FS_SESSION_ACK_BYTES)
        return -1;
    memcpy(key->bytes, body, FS_SESSION_KEY_BYTES);
    version->epoch = (uint32_t)get(at, 4);
    version->sequence = get(at + 4, 8);
    version->writer = get(at + 12, 8);
    return 0;
}
