/* SPDX-License-Identifier: Apache-2.0 */
/* A session's record: what is in it, and encoding it. */
#include "session/fs_session_record_internal.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 10 /* of the longest number */
#define HEAD_BYTES   (4 + 1 + FS_SESSION_NAME_SIZE + 48 + 16 * NUMBER_BYTES)
#define FEW_WRITERS  16

int fs_session_stamp_compare(const fs_session_stamp_t *a, const fs_session_stamp_t *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->writer == b->writer ? 0 : a->writer < b->writer ? -1 : 1;
}

int fs_session_entry_compare_keys(const fs_session_entry_t *a, const fs_session_entry_t *b)
{
    uint32_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, shorter);

    return order ? order : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

const fs_session_entry_t *fs_session_record_find(const fs_session_record_t *record, const char *key,
                                                 size_t length)
{
    fs_session_entry_t wanted = {.key = key, .key_length = (uint32_t)length};
    uint32_t low = 0, high = record->count;

    while (length <= FS_SESSION_KEY_LIMIT && low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = fs_session_entry_compare_keys(&wanted, &record->entries[middle]);

        if (!order)
            return record->entries[middle].value ? &record->entries[middle] : NULL;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int fs_session_record_has_values(const fs_session_record_t *record)
{
    for (uint32_t i = 0; i < record->count; i++)
        if (record->entries[i].value)
            return 1;
    return 0;
}

fs_usec_t fs_session_record_expires(const fs_session_record_t *record)
{
    fs_usec_t expires = record->ends ? record->ends : INT64_MAX;

    if (record->state == FS_SESSION_ALIAS)
        return record->target.until < expires ? record->target.until : expires;
    if (record->state == FS_SESSION_LIVE && record->idle &&
        record->used < INT64_MAX - record->idle && record->used + record->idle < expires)
        expires = record->used + record->idle;
    return expires;
}

/* --- writers -------------------------------------------------------------------------------------
 */

static int compare_writers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* There are two or three of them nearly always. */
static void sort_writers(uint64_t *writers, uint32_t count)
{
    if (count > FEW_WRITERS) {
        qsort(writers, count, sizeof(*writers), compare_writers);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        uint64_t writer = writers[i];
        uint32_t at = i;

        for (; at && writers[at - 1] > writer; at--)
            writers[at] = writers[at - 1];
        writers[at] = writer;
    }
}

/* All writers that the record names, rising, each once. */
static uint64_t *list_writers(const fs_session_record_t *record, apr_pool_t *pool, uint32_t *count)
{
    uint64_t *writers =
        apr_palloc(pool, (record->count + FS_RECORD_FIXED_WRITERS) * sizeof(*writers));
    uint32_t n = 0, kept = 0;

    writers[n++] = record->version.writer;
    writers[n++] = record->owner.writer;
    if (record->state == FS_SESSION_LIVE)
        writers[n++] = record->floor.writer;
    for (uint32_t i = 0; i < record->count; i++)
        if (record->entries[i].stamp.writer != writers[n - 1])
            writers[n++] = record->entries[i].stamp.writer;
    sort_writers(writers, n);
    for (uint32_t i = 0; i < n; i++)
        if (!kept || writers[i] != writers[kept - 1])
            writers[kept++] = writers[i];
    *count = kept;
    return writers;
}

static uint32_t find_writer(const uint64_t *writers, uint32_t count, uint64_t writer)
{
    uint32_t low = 0;

    while (count > 1) {
        uint32_t half = count / 2;

        if (writers[low + half] <= writer) {
            low += half;
            count -= half;
        } else {
            count = half;
        }
    }
    return low;
}

/* --- encode --------------------------------------------------------------------------------------
 */

typedef struct writing_t {
    uint8_t *at;
    const uint64_t *writers;
    uint32_t writer_count;
} writing_t;

static void put_number(writing_t *out, uint64_t number)
{
    for (; number > 127; number >>= 7)
        *out->at++ = (uint8_t)(number | 128);
    *out->at++ = (uint8_t)number;
}

static void put_bytes(writing_t *out, const void *bytes, size_t length)
{
    if (length)
        memcpy(out->at, bytes, length);
    out->at += length;
}

static void put_stamp(writing_t *out, const fs_session_stamp_t *stamp)
{
    put_number(out, stamp->epoch);
    put_number(out, stamp->sequence);
    put_number(out, find_writer(out->writers, out->writer_count, stamp->writer));
}

static void put_head(writing_t *out, const fs_session_record_t *record)
{
    size_t name = strlen(record->owner.name);

    put_bytes(out, "FSR", 3);
    *out->at++ = FS_RECORD_FORMAT;
    *out->at++ = (uint8_t)record->state;
    put_number(out, out->writer_count);
    for (uint32_t i = 0; i < out->writer_count; i++)
        for (int shift = 0; shift < 64; shift += 8)
            *out->at++ = (uint8_t)(out->writers[i] >> shift);
    put_stamp(out, &record->version);
    put_number(out, record->owner.epoch);
    put_number(out, find_writer(out->writers, out->writer_count, record->owner.writer));
    put_number(out, name);
    put_bytes(out, record->owner.name, name);
    put_number(out, (uint64_t)record->created);
    put_number(out, (uint64_t)record->ends);
    put_number(out, (uint64_t)record->used);
    put_number(out, (uint64_t)record->idle);
}

static void put_entry(writing_t *out, const fs_session_entry_t *entry)
{
    put_number(out, entry->key_length);
    put_number(out, entry->value ? (uint64_t)entry->value_length + 1 : 0);
    put_stamp(out, &entry->stamp);
    put_bytes(out, entry->key, entry->key_length);
    if (entry->value)
        put_bytes(out, entry->value, entry->value_length);
}

static int stamp_is_good(const fs_session_stamp_t *stamp)
{
    return stamp->epoch < FS_SESSION_EPOCH_LIMIT && stamp->sequence < FS_SESSION_COUNT_LIMIT;
}

/* What is wrong with everything but the entries, or NULL. */
static const char *check_head(const fs_session_record_t *record)
{
    if (record->state < FS_SESSION_LIVE || record->state > FS_SESSION_ENDED)
        return "its state is none";
    if (!stamp_is_good(&record->version) || record->owner.epoch >= FS_SESSION_EPOCH_LIMIT)
        return "its version or epoch is too large";
    if (record->created < 0 || record->ends < 0 || record->used < 0 || record->idle < 0 ||
        record->target.until < 0)
        return "it has a time before 1970";
    if (record->state != FS_SESSION_LIVE && record->count)
        return "it has entries but isn't live";
    if (record->count > FS_SESSION_ENTRY_LIMIT)
        return "it has too many entries";
    if (record->state == FS_SESSION_LIVE &&
        fs_session_stamp_compare(&record->floor, &record->version) > 0)
        return "its floor is above its version";
    return NULL;
}

static const char *check_entry(const fs_session_record_t *record, uint32_t i)
{
    const fs_session_entry_t *entry = &record->entries[i];

    if (!entry->key_length || entry->key_length > FS_SESSION_KEY_LIMIT)
        return "a key is empty or too long";
    if (entry->value_length > FS_SESSION_RECORD_LIMIT)
        return "a value is too long";
    if (i && fs_session_entry_compare_keys(&record->entries[i - 1], entry) >= 0)
        return "its keys are not in order";
    if (!stamp_is_good(&entry->stamp) ||
        fs_session_stamp_compare(&entry->stamp, &record->version) > 0)
        return "a key is newer than the session";
    if (!entry->value && !fs_session_stamp_compare(&entry->stamp, &record->floor))
        return "a tombstone stands at the floor";
    return NULL;
}

const char *fs_session_record_check(const fs_session_record_t *record, size_t *bytes)
{
    const char *problem = check_head(record);

    *bytes =
        HEAD_BYTES + (FS_RECORD_FIXED_WRITERS + (problem ? 0 : record->count)) * sizeof(uint64_t);
    if (!memchr(record->owner.name, '\0', sizeof(record->owner.name)))
        problem = "its owner's name is too long";
    for (uint32_t i = 0; !problem && i < record->count; i++) {
        problem = check_entry(record, i);
        *bytes +=
            5 * NUMBER_BYTES + record->entries[i].key_length + record->entries[i].value_length;
        if (!problem && *bytes > 2 * FS_SESSION_RECORD_LIMIT)
            problem = "it is too large";
    }
    return problem;
}

/* Writes the entry; `settled` (or NULL) becomes the same in what was written. */
static void put_settled(writing_t *out, const fs_session_entry_t *entry,
                        fs_session_entry_t *settled)
{
    put_entry(out, entry);
    if (!settled)
        return;
    *settled = *entry;
    if (entry->value)
        settled->value = (const char *)out->at - entry->value_length;
    settled->key =
        (const char *)out->at - (entry->value ? entry->value_length : 0) - entry->key_length;
}

static apr_status_t encode(const fs_session_record_t *record, fs_session_entry_t *settled,
                           apr_pool_t *pool, const uint8_t **bytes, size_t *length,
                           fs_result_t *result)
{
    size_t room;
    const char *problem = fs_session_record_check(record, &room);
    writing_t out = {NULL};
    uint8_t *begin;

    if (!problem) {
        out.writers = list_writers(record, pool, &out.writer_count);
        out.at = begin = apr_palloc(pool, room);
        put_head(&out, record);
        if (record->state == FS_SESSION_ALIAS) {
            put_bytes(&out, record->target.key.bytes, FS_SESSION_KEY_BYTES);
            put_bytes(&out, record->target.seal, FS_SESSION_SEAL_BYTES);
            put_number(&out, (uint64_t)record->target.until);
        } else if (record->state == FS_SESSION_LIVE) {
            put_stamp(&out, &record->floor);
            put_number(&out, record->count);
            for (uint32_t i = 0; i < record->count; i++)
                put_settled(&out, &record->entries[i], settled ? &settled[i] : NULL);
        }
        *bytes = begin;
        *length = (size_t)(out.at - begin);
        if (*length <= FS_SESSION_RECORD_LIMIT)
            return APR_SUCCESS;
        problem = "it is too large";
    }
    return fs_result_set(result, APR_EINVAL, "FS1203",
                         "a session cannot be written: %s; store less in it", problem);
}

apr_status_t fs_session_record_encode(const fs_session_record_t *record, apr_pool_t *pool,
                                      const uint8_t **bytes, size_t *length, fs_result_t *result)
{
    return encode(record, NULL, pool, bytes, length, result);
}

apr_status_t fs_session_record_settle(fs_session_record_t *record, apr_pool_t *pool,
                                      const uint8_t **bytes, size_t *length, fs_result_t *result)
{
    fs_session_entry_t *settled = NULL;
    apr_status_t status;

    if (record->count && record->count <= FS_SESSION_ENTRY_LIMIT)
        settled = apr_palloc(pool, record->count * sizeof(*settled));
    status = encode(record, settled, pool, bytes, length, result);
    if (status == APR_SUCCESS)
        record->entries = settled;
    return status;
}
