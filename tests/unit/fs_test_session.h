/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sessions share: seeded chance, writers, changes in one line. */
#ifndef FS_TEST_SESSION_H
#define FS_TEST_SESSION_H

#include <apr_strings.h>
#include <string.h>

#include "session/fs_session_merge.h"

#define NOW INT64_C(1800000000000000)
#define SEC FS_USEC_PER_SEC

/* splitmix64 */
static inline uint64_t chance(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint32_t below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(chance(state) % limit);
}

static inline fs_session_change_t change(const char *key, const char *value)
{
    fs_session_change_t made = {key, value, (uint32_t)strlen(key),
                                value ? (uint32_t)strlen(value) : 0};

    return made;
}

static inline fs_session_key_t key_of(uint64_t number)
{
    fs_session_key_t key;
    uint64_t seed = number;

    for (size_t i = 0; i < sizeof(key.bytes); i++)
        key.bytes[i] = (uint8_t)chance(&seed);
    return key;
}

/* The value of a key as text, or NULL. */
static inline const char *value_of(const fs_session_record_t *record, const char *key,
                                   apr_pool_t *pool)
{
    const fs_session_entry_t *entry = fs_session_record_find(record, key, strlen(key));

    return entry ? apr_pstrmemdup(pool, entry->value, entry->value_length) : NULL;
}

#endif
