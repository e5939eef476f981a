/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_batch.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT      1
#define HEAD_BYTES  56
#define ITEM_BYTES  (FS_SESSION_KEY_BYTES + 4)
#define STAMP_BYTES 20
#define FIRST_ROOM  4096

#define VERSION FS_SESSION_PART_VERSION
#define EXPIRES FS_SESSION_PART_EXPIRES
#define BASE    FS_SESSION_PART_BASE
#define OWNER   FS_SESSION_PART_OWNER
#define LEASE   FS_SESSION_PART_LEASE
#define BASES   FS_SESSION_PART_BASES
#define SEALED  FS_SESSION_PART_SEALED
#define COPY    (VERSION | EXPIRES | SEALED)
#define WHAT(w) (1U << FS_SESSION_WHAT_##w)

/* What each kind's items must have and may have, and what may have become of them. */
static const struct {
    unsigned demands, allows, whats;
} kinds[FS_SESSION_BATCH_KINDS] = {
    [FS_SESSION_BATCH_OFFER] = {COPY, BASE | OWNER, WHAT(NONE)},
    [FS_SESSION_BATCH_OFFERED] = {0, COPY | OWNER | LEASE,
                                  WHAT(STORED) | WHAT(HAVE) | WHAT(MERGE) | WHAT(FULL) |
                                      WHAT(TOO_LARGE) | WHAT(REFUSED)},
    [FS_SESSION_BATCH_TAKE] = {0, VERSION | OWNER, WHAT(NONE)},
    [FS_SESSION_BATCH_TAKEN] = {0, COPY | OWNER | LEASE,
                                WHAT(GRANTED) | WHAT(OWNED) | WHAT(UNKNOWN) | WHAT(REFUSED)},
    [FS_SESSION_BATCH_VERSIONS] = {VERSION, 0, WHAT(NONE)},
    [FS_SESSION_BATCH_DIFFERING] = {0, VERSION | OWNER, WHAT(UNKNOWN) | WHAT(DIFFERS)},
    [FS_SESSION_BATCH_RENEW] = {0, 0, WHAT(NONE)},
    [FS_SESSION_BATCH_RENEWED] = {0, OWNER, WHAT(NONE)},
    [FS_SESSION_BATCH_SCAN] = {0, SEALED, WHAT(NONE)},
    [FS_SESSION_BATCH_DIGEST] = {SEALED, 0, WHAT(NONE)},
    [FS_SESSION_BATCH_LIST] = {VERSION | EXPIRES, OWNER, WHAT(NONE)},
    [FS_SESSION_BATCH_STATE] = {OWNER, LEASE, WHAT(NONE)},
    [FS_SESSION_BATCH_HANDOVER] = {0, VERSION, WHAT(NONE)},
    [FS_SESSION_BATCH_HANDED] = {0, COPY | OWNER | LEASE | BASES,
                                 WHAT(GRANTED) | WHAT(OWNED) | WHAT(UNKNOWN) | WHAT(REFUSED) |
                                     WHAT(TAKING)},
    [FS_SESSION_BATCH_LATE] = {COPY, BASE, WHAT(NONE)},
    [FS_SESSION_BATCH_AHEAD] = {COPY, 0, WHAT(NONE)},
};

/* What is wrong with an item of this kind, or NULL. The same for writing and reading. */
static const char *check_item(fs_session_batch_kind_t kind, const fs_session_item_t *item)
{
    const unsigned demands = kinds[kind].demands;

    if (item->parts & ~(demands | kinds[kind].allows) || (item->parts & demands) != demands)
        return "an item has parts that its kind has not, or lacks one";
    if (item->flags & ~(unsigned)FS_SESSION_ITEM_FLAGS)
        return "an item has a flag that is none";
    if ((unsigned)item->what >= FS_SESSION_WHATS || !(kinds[kind].whats & 1U << item->what))
        return "an item has an outcome that its kind has not";
    if (item->parts & EXPIRES && item->expires < 0)
        return "an item expires before 1970";
    if (item->parts & SEALED && item->sealed_length > FS_SESSION_SEALED_LIMIT)
        return "a copy is too large";
    if (item->parts & BASES && item->base_count > FS_SESSION_BATCH_BASES)
        return "an item names too many bank servers";
    return NULL;
}

static int stamp_is_good(const fs_session_stamp_t *stamp)
{
    return stamp->epoch < FS_SESSION_EPOCH_LIMIT && stamp->sequence < FS_SESSION_COUNT_LIMIT;
}

/* --- write ---------------------------------------------------------------------------------------
 */

static void put_u64(uint8_t **at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *(*at)++ = (uint8_t)(number >> 8 * i);
}

static void put_bytes(uint8_t **at, const void *bytes, size_t length)
{
    if (length)
        memcpy(*at, bytes, length);
    *at += length;
}

static void put_name(uint8_t **at, const char *name)
{
    size_t length = strlen(name);

    *(*at)++ = (uint8_t)length;
    put_bytes(at, name, length);
}

static void put_stamp(uint8_t **at, const fs_session_stamp_t *stamp)
{
    put_u64(at, stamp->epoch, 4);
    put_u64(at, stamp->sequence, 8);
    put_u64(at, stamp->writer, 8);
}

static apr_status_t refuse(fs_result_t *result, const char *problem)
{
    return fs_result_set(result, APR_EINVAL, "FS1291",
                         "a batch of sessions cannot be written: %s; report this", problem);
}

static apr_status_t make_room(fs_session_batch_writer_t *writer, size_t more)
{
    size_t room = writer->room;
    uint8_t *bytes;

    while (room - writer->length < more)
        room *= 2;
    if (room == writer->room)
        return APR_SUCCESS;
    bytes = realloc(writer->bytes, room);
    if (!bytes)
        return APR_ENOMEM;
    writer->bytes = bytes;
    writer->room = room;
    return APR_SUCCESS;
}

apr_status_t fs_session_batch_begin(fs_session_batch_writer_t *writer,
                                    const fs_session_batch_t *head, fs_result_t *result)
{
    uint8_t *at;

    memset(writer, 0, sizeof(*writer));
    if (head->kind < FS_SESSION_BATCH_OFFER || head->kind >= FS_SESSION_BATCH_KINDS ||
        head->flags & ~(unsigned)FS_SESSION_BATCH_FLAGS || head->lease > FS_SESSION_LEASE_LIMIT ||
        !memchr(head->name, '\0', sizeof(head->name)))
        return refuse(result, "its head is outside its limits");
    writer->bytes = at = malloc(FIRST_ROOM);
    if (!at)
        return APR_ENOMEM;
    writer->room = FIRST_ROOM;
    writer->kind = head->kind;
    put_bytes(&at, "FSB", 3);
    *at++ = FORMAT;
    *at++ = (uint8_t)head->kind;
    *at++ = (uint8_t)head->flags;
    *at++ = (uint8_t)strlen(head->name);
    *at++ = 0;
    put_u64(&at, 0, 4); /* items, see fs_session_batch_add */
    put_u64(&at, head->lease, 4);
    put_u64(&at, head->copies, 4);
    put_u64(&at, 0, 4);
    put_u64(&at, head->instance, 8);
    put_u64(&at, head->boot, 8);
    put_u64(&at, head->sequence, 8);
    put_u64(&at, head->mark, 8);
    put_bytes(&at, head->name, strlen(head->name));
    writer->length = (size_t)(at - writer->bytes);
    return APR_SUCCESS;
}

static size_t item_size(const fs_session_item_t *item)
{
    size_t size = ITEM_BYTES;

    if (item->parts & VERSION)
        size += STAMP_BYTES;
    if (item->parts & EXPIRES)
        size += 8;
    if (item->parts & BASE)
        size += STAMP_BYTES;
    if (item->parts & OWNER)
        size += 1 + strlen(item->owner);
    if (item->parts & LEASE)
        size += 4;
    if (item->parts & BASES)
        size++;
    for (uint32_t i = 0; item->parts & BASES && i < item->base_count; i++)
        size += 1 + strlen(item->bases[i].name) + STAMP_BYTES;
    if (item->parts & SEALED)
        size += 4 + item->sealed_length;
    return size;
}

static void put_item(uint8_t **at, const fs_session_item_t *item)
{
    put_bytes(at, item->key.bytes, FS_SESSION_KEY_BYTES);
    *(*at)++ = (uint8_t)item->what;
    *(*at)++ = (uint8_t)item->flags;
    put_u64(at, item->parts, 2);
    if (item->parts & VERSION)
        put_stamp(at, &item->version);
    if (item->parts & EXPIRES)
        put_u64(at, (uint64_t)item->expires, 8);
    if (item->parts & BASE)
        put_stamp(at, &item->base);
    if (item->parts & OWNER)
        put_name(at, item->owner);
    if (item->parts & LEASE)
        put_u64(at, item->lease, 4);
    if (item->parts & BASES)
        *(*at)++ = (uint8_t)item->base_count;
    for (uint32_t i = 0; item->parts & BASES && i < item->base_count; i++) {
        put_name(at, item->bases[i].name);
        put_stamp(at, &item->bases[i].version);
    }
    if (item->parts & SEALED) {
        put_u64(at, item->sealed_length, 4);
        put_bytes(at, item->sealed, item->sealed_length);
    }
}

/* What only a caller can do wrong: a reader cannot make an item of these. */
static const char *check_values(const fs_session_item_t *item)
{
    if (item->parts & OWNER && !memchr(item->owner, '\0', sizeof(item->owner)))
        return "an owner's name is too long";
    for (uint32_t i = 0; item->parts & BASES && i < item->base_count; i++)
        if (!memchr(item->bases[i].name, '\0', sizeof(item->bases[i].name)) ||
            !stamp_is_good(&item->bases[i].version))
            return "a base is outside its limits";
    if ((item->parts & VERSION && !stamp_is_good(&item->version)) ||
        (item->parts & BASE && !stamp_is_good(&item->base)))
        return "a version is too large";
    return NULL;
}

apr_status_t fs_session_batch_add(fs_session_batch_writer_t *writer, const fs_session_item_t *item,
                                  fs_result_t *result)
{
    const char *problem = check_item(writer->kind, item);
    apr_status_t status;
    uint8_t *at;
    size_t size;

    if (!problem)
        problem = check_values(item);
    if (problem)
        return refuse(result, problem);
    size = item_size(item);
    if (writer->count == FS_SESSION_BATCH_ITEMS || size > FS_SESSION_BATCH_LIMIT - writer->length)
        return APR_ENOSPC;
    status = make_room(writer, size);
    if (status != APR_SUCCESS)
        return status;
    at = writer->bytes + writer->length;
    put_item(&at, item);
    writer->length += size;
    writer->count++;
    at = writer->bytes + 8;
    put_u64(&at, writer->count, 4);
    return APR_SUCCESS;
}

void fs_session_batch_flag(fs_session_batch_writer_t *writer, unsigned flags)
{
    writer->bytes[5] |= (uint8_t)(flags & FS_SESSION_BATCH_FLAGS);
}

int fs_session_batch_filled(const fs_session_batch_writer_t *writer)
{
    return writer->count == FS_SESSION_BATCH_ITEMS || writer->length >= FS_SESSION_BATCH_FILL;
}

/* --- read ----------------------------------------------------------------------------------------
 */

typedef struct reading_t {
    const uint8_t *at, *end;
    const char *problem; /* the first one; then everything reads as 0 */
} reading_t;

static const uint8_t *get_bytes(reading_t *in, size_t length)
{
    const uint8_t *bytes = in->at;

    if (in->problem || length > (size_t)(in->end - in->at)) {
        if (!in->problem)
            in->problem = "it is cut short";
        return NULL;
    }
    in->at += length;
    return bytes;
}

static uint64_t get_u64(reading_t *in, unsigned bytes)
{
    const uint8_t *at = get_bytes(in, bytes);
    uint64_t number = 0;

    for (unsigned i = bytes; at && i > 0; i--)
        number = number << 8 | at[i - 1];
    return number;
}

static void get_text(reading_t *in, char name[FS_SESSION_NAME_SIZE], size_t length)
{
    const uint8_t *text = get_bytes(in, length);

    name[0] = '\0';
    if (!text)
        return;
    if (length >= FS_SESSION_NAME_SIZE || memchr(text, '\0', length)) {
        in->problem = "a name is none";
        return;
    }
    memcpy(name, text, length);
    name[length] = '\0';
}

static void get_stamp(reading_t *in, fs_session_stamp_t *stamp)
{
    stamp->epoch = (uint32_t)get_u64(in, 4);
    stamp->sequence = get_u64(in, 8);
    stamp->writer = get_u64(in, 8);
    if (!stamp_is_good(stamp))
        in->problem = "a version is too large";
}

static void get_bases(reading_t *in, fs_session_item_t *item)
{
    item->base_count = (uint32_t)get_u64(in, 1);
    if (item->base_count > FS_SESSION_BATCH_BASES) {
        item->base_count = 0;
        in->problem = "an item names too many bank servers";
    }
    for (uint32_t i = 0; !in->problem && i < item->base_count; i++) {
        get_text(in, item->bases[i].name, (size_t)get_u64(in, 1));
        get_stamp(in, &item->bases[i].version);
    }
}

static void get_parts(reading_t *in, fs_session_item_t *item)
{
    if (item->parts & VERSION)
        get_stamp(in, &item->version);
    if (item->parts & EXPIRES) {
        uint64_t expires = get_u64(in, 8);

        item->expires = expires > INT64_MAX ? -1 : (fs_usec_t)expires;
    }
    if (item->parts & BASE)
        get_stamp(in, &item->base);
    if (item->parts & OWNER)
        get_text(in, item->owner, (size_t)get_u64(in, 1));
    if (item->parts & LEASE)
        item->lease = (uint32_t)get_u64(in, 4);
    if (item->parts & BASES)
        get_bases(in, item);
    if (item->parts & SEALED) {
        item->sealed_length = (uint32_t)get_u64(in, 4);
        item->sealed = get_bytes(in, item->sealed_length);
    }
}

/* What doesn't count is 0, but for the bases: they are many bytes. */
static void clear_item(fs_session_item_t *item)
{
    item->version = item->base = (fs_session_stamp_t){0};
    item->expires = 0;
    item->owner[0] = '\0';
    item->lease = item->base_count = item->sealed_length = 0;
    item->sealed = NULL;
}

static void get_item(reading_t *in, fs_session_item_t *item)
{
    const uint8_t *key = get_bytes(in, FS_SESSION_KEY_BYTES);

    clear_item(item);
    if (key)
        memcpy(item->key.bytes, key, FS_SESSION_KEY_BYTES);
    item->what = (fs_session_what_t)get_u64(in, 1);
    item->flags = (unsigned)get_u64(in, 1);
    item->parts = (unsigned)get_u64(in, 2);
    if (item->parts & ~(unsigned)FS_SESSION_PARTS)
        in->problem = "an item has a part that is none";
    if (!in->problem)
        get_parts(in, item);
}

static void get_head(reading_t *in, fs_session_batch_kind_t kind, fs_session_batch_t *head)
{
    const uint8_t *magic = get_bytes(in, 4);
    uint64_t length, zeros;

    if (!magic || memcmp(magic, "FSB", 3) != 0 || magic[3] != FORMAT) {
        in->problem = "it has another format; run the same farmsync on all hosts";
        return;
    }
    head->kind = (fs_session_batch_kind_t)get_u64(in, 1);
    head->flags = (unsigned)get_u64(in, 1);
    length = get_u64(in, 1);
    zeros = get_u64(in, 1);
    head->count = (uint32_t)get_u64(in, 4);
    head->lease = (uint32_t)get_u64(in, 4);
    head->copies = (uint32_t)get_u64(in, 4);
    zeros |= get_u64(in, 4);
    head->instance = get_u64(in, 8);
    head->boot = get_u64(in, 8);
    head->sequence = get_u64(in, 8);
    head->mark = get_u64(in, 8);
    get_text(in, head->name, (size_t)length);
    if (in->problem)
        return;
    if (head->kind != kind)
        in->problem = "it is of another kind than was expected here";
    else if (zeros || head->flags & ~(unsigned)FS_SESSION_BATCH_FLAGS)
        in->problem = "it has a flag that is none";
    else if (head->count > FS_SESSION_BATCH_ITEMS || head->lease > FS_SESSION_LEASE_LIMIT)
        in->problem = "it has too many items, or too long a lease";
}

apr_status_t fs_session_batch_read(fs_session_batch_reader_t *reader, fs_session_batch_kind_t kind,
                                   const void *bytes, size_t length, fs_result_t *result)
{
    reading_t in = {.at = bytes, .end = (const uint8_t *)bytes + length};
    fs_session_item_t item;

    memset(reader, 0, sizeof(*reader));
    if (length > FS_SESSION_BATCH_LIMIT)
        in.problem = "it is too large";
    else
        get_head(&in, kind, &reader->head);
    reader->at = in.at;
    reader->end = in.end;
    for (uint32_t i = 0; !in.problem && i < reader->head.count; i++) {
        get_item(&in, &item);
        if (!in.problem)
            in.problem = check_item(kind, &item);
    }
    if (!in.problem && in.at != in.end)
        in.problem = "something follows it";
    if (!in.problem) {
        reader->left = reader->head.count;
        return APR_SUCCESS;
    }
    memset(reader, 0, sizeof(*reader));
    return fs_result_set(result, APR_EINVAL, "FS1290",
                         "a batch of sessions of %zu bytes cannot be used: %s", length, in.problem);
}

int fs_session_batch_next(fs_session_batch_reader_t *reader, fs_session_item_t *item)
{
    reading_t in = {.at = reader->at, .end = reader->end};

    if (!reader->left)
        return 0;
    get_item(&in, item); /* fs_session_batch_read has checked it */
    reader->at = in.at;
    reader->left--;
    return 1;
}
