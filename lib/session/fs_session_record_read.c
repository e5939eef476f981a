/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding a session's record: whatever the bytes are, nothing is read beyond them. */
#include "session/fs_session_record_internal.h"

#include <string.h>

#include "session/fs_session_mix.h"

typedef struct reading_t {
    const uint8_t *at, *end;
    const uint8_t *writers; /* in the bytes */
    uint64_t writer_count;
    uint8_t *used;       /* by writer: a stamp names it */
    const char *problem; /* the first one; then everything reads as 0 */
} reading_t;

/*
 * Times and sequences are numbers of 8 bytes: where as many can be read, all groups of 7 bits are
 * moved together at once. Returns 0 if the number is longer, or isn't good.
 */
static int get_at_once(reading_t *in, uint64_t limit, uint64_t *number)
{
    uint64_t word, ends;
    int last;

    if (in->end - in->at < 8)
        return 0;
    word = fs_session_mix_load(in->at);
    ends = ~word & UINT64_C(0x8080808080808080);
    if (!ends)
        return 0;
    last = __builtin_ctzll(ends) / 8;
    word &= (ends ^ (ends - 1)) & UINT64_C(0x7f7f7f7f7f7f7f7f);
    word = (word & UINT64_C(0x007f007f007f007f)) | (word & UINT64_C(0x7f007f007f007f00)) >> 1;
    word = (word & UINT64_C(0x00003fff00003fff)) | (word & UINT64_C(0x3fff00003fff0000)) >> 2;
    word = (word & UINT64_C(0x000000000fffffff)) | (word & UINT64_C(0x0fffffff00000000)) >> 4;
    if ((last && !in->at[last]) || word > limit)
        return 0;
    in->at += last + 1;
    *number = word;
    return 1;
}

static uint64_t get_long_number(reading_t *in, uint64_t limit)
{
    const uint8_t *at = in->at;
    uint64_t number = 0;

    if (in->problem)
        return 0;
    if (get_at_once(in, limit, &number))
        return number;
    for (unsigned shift = 0; shift <= 63; shift += 7) {
        uint8_t byte;

        if (at == in->end) {
            in->problem = "it is cut short";
            return 0;
        }
        byte = *at++;
        number |= (uint64_t)(byte & 127) << shift;
        if (byte & 128)
            continue;
        /* The 10th byte has one bit; a last byte of 0 would be another spelling. */
        if ((shift == 63 && byte > 1) || (shift && !byte) || number > limit)
            break;
        in->at = at;
        return number;
    }
    in->problem = "a number is outside its limits";
    return 0;
}

static inline uint64_t get_number(reading_t *in, uint64_t limit)
{
    if (!in->problem && in->at < in->end && *in->at < 128 && *in->at <= limit)
        return *in->at++;
    return get_long_number(in, limit);
}

static const uint8_t *get_bytes(reading_t *in, uint64_t length)
{
    const uint8_t *bytes = in->at;

    if (in->problem || length > (uint64_t)(in->end - in->at)) {
        if (!in->problem)
            in->problem = "it is cut short";
        return NULL;
    }
    in->at += length;
    return bytes;
}

static uint64_t writer_at(const reading_t *in, uint64_t index)
{
    return fs_session_mix_load(in->writers + index * 8);
}

static uint64_t get_writer(reading_t *in)
{
    uint64_t index = get_number(in, in->writer_count - 1);

    if (in->problem)
        return 0;
    in->used[index] = 1;
    return writer_at(in, index);
}

static void get_writers(reading_t *in, apr_pool_t *pool)
{
    in->writer_count = get_number(in, FS_SESSION_ENTRY_LIMIT + FS_RECORD_FIXED_WRITERS);
    in->writers = get_bytes(in, in->writer_count * sizeof(uint64_t));
    if (!in->problem && !in->writer_count)
        in->problem = "it names no writer";
    for (uint64_t i = 1; !in->problem && i < in->writer_count; i++)
        if (writer_at(in, i - 1) >= writer_at(in, i))
            in->problem = "its writers are not in order";
    if (!in->problem)
        in->used = apr_pcalloc(pool, in->writer_count);
}

static void get_stamp(reading_t *in, fs_session_stamp_t *stamp)
{
    stamp->epoch = (uint32_t)get_number(in, FS_SESSION_EPOCH_LIMIT - 1);
    stamp->sequence = get_number(in, FS_SESSION_COUNT_LIMIT - 1);
    stamp->writer = get_writer(in);
}

static void get_owner(reading_t *in, fs_session_owner_t *owner)
{
    const uint8_t *name;
    uint64_t length;

    owner->epoch = (uint32_t)get_number(in, FS_SESSION_EPOCH_LIMIT - 1);
    owner->writer = get_writer(in);
    length = get_number(in, FS_SESSION_NAME_SIZE - 1);
    name = get_bytes(in, length);
    if (name && memchr(name, '\0', length))
        in->problem = "its owner's name is none";
    if (name)
        memcpy(owner->name, name, length);
}

static void get_target(reading_t *in, fs_session_target_t *target)
{
    const uint8_t *bytes = get_bytes(in, FS_SESSION_KEY_BYTES + FS_SESSION_SEAL_BYTES);

    if (bytes) {
        memcpy(target->key.bytes, bytes, FS_SESSION_KEY_BYTES);
        memcpy(target->seal, bytes + FS_SESSION_KEY_BYTES, FS_SESSION_SEAL_BYTES);
    }
    target->until = (fs_usec_t)get_number(in, INT64_MAX);
}

static void get_entry(reading_t *in, fs_session_entry_t *entry)
{
    uint64_t value;

    entry->key_length = (uint32_t)get_number(in, FS_SESSION_KEY_LIMIT);
    value = get_number(in, FS_SESSION_RECORD_LIMIT);
    get_stamp(in, &entry->stamp);
    entry->key = (const char *)get_bytes(in, entry->key_length);
    entry->value_length = value ? (uint32_t)(value - 1) : 0;
    entry->value = value ? (const char *)get_bytes(in, entry->value_length) : NULL;
}

static void get_entries(reading_t *in, fs_session_record_t *record, apr_pool_t *pool)
{
    uint64_t count;

    get_stamp(in, &record->floor);
    count = get_number(in, FS_SESSION_ENTRY_LIMIT);
    if (count > (uint64_t)(in->end - in->at)) /* each takes more than a byte */
        in->problem = "it is cut short";
    if (in->problem)
        return;
    record->entries = apr_pcalloc(pool, (count + 1) * sizeof(*record->entries));
    for (; !in->problem && record->count < count; record->count++)
        get_entry(in, &record->entries[record->count]);
}

static void get_record(reading_t *in, fs_session_record_t *record, apr_pool_t *pool)
{
    const uint8_t *head = get_bytes(in, 5);

    if (!head || memcmp(head, "FSR", 3) != 0 || head[3] != FS_RECORD_FORMAT) {
        in->problem = "it has another format; run the same farmsync on all hosts";
        return;
    }
    record->state = head[4];
    get_writers(in, pool);
    if (in->problem)
        return;
    get_stamp(in, &record->version);
    get_owner(in, &record->owner);
    record->created = (fs_usec_t)get_number(in, INT64_MAX);
    record->ends = (fs_usec_t)get_number(in, INT64_MAX);
    record->used = (fs_usec_t)get_number(in, INT64_MAX);
    record->idle = (fs_usec_t)get_number(in, INT64_MAX);
    if (record->state == FS_SESSION_ALIAS)
        get_target(in, &record->target);
    else if (record->state == FS_SESSION_LIVE)
        get_entries(in, record, pool);
    for (uint64_t i = 0; !in->problem && i < in->writer_count; i++)
        if (!in->used[i])
            in->problem = "it names a writer without a change";
}

apr_status_t fs_session_record_decode(fs_session_record_t *record, const void *bytes, size_t length,
                                      apr_pool_t *pool, fs_result_t *result)
{
    reading_t in = {.at = bytes, .end = (const uint8_t *)bytes + length};
    size_t room;

    memset(record, 0, sizeof(*record));
    if (length > FS_SESSION_RECORD_LIMIT)
        in.problem = "it is too large";
    else
        get_record(&in, record, pool);
    if (!in.problem && in.at != in.end)
        in.problem = "something follows it";
    if (!in.problem)
        in.problem = fs_session_record_check(record, &room);
    if (!in.problem)
        return APR_SUCCESS;
    memset(record, 0, sizeof(*record));
    return fs_result_set(result, APR_EINVAL, "FS1204",
                         "a session's record of %zu bytes cannot be used: %s", length, in.problem);
}
