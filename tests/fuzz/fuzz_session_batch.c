/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch of sessions from anybody: refused, or what is taken has just this encoding.
 */
#include <stdlib.h>
#include <string.h>

#include "session/fs_session_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(fs_session_batch_reader_t *reader, const uint8_t *data, size_t size)
{
    static fs_session_item_t item;
    fs_session_batch_writer_t writer;
    uint32_t count = 0;

    if (fs_session_batch_begin(&writer, &reader->head, NULL))
        abort();
    for (; fs_session_batch_next(reader, &item); count++)
        if (fs_session_batch_add(&writer, &item, NULL))
            abort();
    if (count != reader->head.count || writer.length != size ||
        memcmp(writer.bytes, data, size) != 0)
        abort();
    free(writer.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_session_batch_kind_t kind = size > 4 ? data[4] : FS_SESSION_BATCH_OFFER;
    fs_session_batch_reader_t reader;
    fs_result_t result;

    if (kind < FS_SESSION_BATCH_OFFER || kind >= FS_SESSION_BATCH_KINDS)
        kind = FS_SESSION_BATCH_OFFER;
    if (!fs_session_batch_read(&reader, kind, data, size, &result))
        write_again(&reader, data, size);
    else if (strcmp(result.problem, "FS1290") != 0)
        abort();
    return 0;
}
