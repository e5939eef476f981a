/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's record from anybody: refused or taken, and what is taken has one encoding, can be
 * changed and merged with itself.
 */
#include <apr_general.h>
#include <stdlib.h>
#include <string.h>

#include "session/fs_session_merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const fs_session_record_t *record, const uint8_t *data, size_t size,
                        apr_pool_t *pool)
{
    const uint8_t *bytes;
    size_t length;

    if (fs_session_record_encode(record, pool, &bytes, &length, NULL) || length != size ||
        memcmp(bytes, data, size) != 0)
        abort();
}

static void change(fs_session_record_t *record, apr_pool_t *pool)
{
    fs_session_writer_t writer = {7, "web1", 1};
    fs_session_change_t changes[2] = {{"key", "value", 3, 5}, {"a", NULL, 1, 0}};
    fs_session_record_t merged, before = *record;
    const uint8_t *bytes;
    size_t length;

    if (fs_session_merge(&merged, record, &before, pool) !=
        (FS_SESSION_MERGED_SAME_A | FS_SESSION_MERGED_SAME_B))
        abort();
    if (fs_session_apply(record, changes, 2, &writer, pool, NULL))
        return;
    if (fs_session_record_encode(record, pool, &bytes, &length, NULL) ||
        !(fs_session_merge(&merged, record, &before, pool) & FS_SESSION_MERGED_SAME_A))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *pool;
    fs_session_record_t record;
    fs_result_t result;

    if (!pool && (apr_initialize() || apr_pool_create(&pool, NULL)))
        abort();
    apr_pool_clear(pool);
    if (fs_session_record_decode(&record, data, size, pool, &result)) {
        if (strcmp(result.problem, "FS1204") != 0)
            abort();
        return 0;
    }
    check_again(&record, data, size, pool);
    change(&record, pool);
    return 0;
}
