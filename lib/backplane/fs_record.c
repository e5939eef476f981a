/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record: what is valid, its order, its hashes, and its bytes:
 *
 *   u8 flags (1: removed) · u8 priority · i64 time · u32 counter · u64 generation · i64 expires ·
 *   text origin · text kind · u16 length, key, NUL · u16 length, value, NUL
 */
#include <ctype.h>
#include <xxhash.h>

#include "backplane/fs_backplane.h"
#include "backplane/fs_bytes.h"

#define FLAG_REMOVED 1
#define TIME_LIMIT   (INT64_C(1) << 60) /* far beyond any clock, and sums don't overflow */
#define FIXED_BYTES  (1 + 1 + 8 + 4 + 8 + 8)

/* --- what is valid ------------------------------------------------------------------------------
 */

static int is_kind(const char *kind)
{
    size_t length = strlen(kind);

    if (!length || length >= FS_RECORD_KIND_SIZE)
        return 0;
    for (; *kind; kind++)
        if (!islower((unsigned char)*kind) && !isdigit((unsigned char)*kind) && *kind != '-')
            return 0;
    return 1;
}

/* The names that signatures take (fs_auth_is_origin). */
static int is_member(const char *name)
{
    size_t length = strlen(name);

    if (!length || length >= FS_MEMBER_SIZE)
        return 0;
    for (; *name; name++)
        if (*name <= ' ' || *name > '~' || strchr(",=\"\\", *name))
            return 0;
    return 1;
}

/* Bytes of the UTF-8 character at `text`, 0 if there is none that may be printed. RFC 3629. */
static unsigned character(const unsigned char *text)
{
    unsigned bytes = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < ' ' || text[0] == 0x7f || (text[0] >= 0x80 && text[0] < 0xc2) || text[0] > 0xf4)
        return 0;
    for (unsigned i = 1; i < bytes; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return bytes;
}

static int is_key(const char *key)
{
    const unsigned char *at = (const unsigned char *)key;
    size_t length = strlen(key);

    if (!length || length >= FS_RECORD_KEY_SIZE)
        return 0;
    while (*at) {
        unsigned bytes = character(at);

        if (!bytes)
            return 0;
        at += bytes;
    }
    return 1;
}

int fs_record_is_valid(const fs_record_t *record)
{
    return is_kind(record->kind) && is_key(record->key) && is_member(record->stamp.origin) &&
           record->stamp.when.time >= 0 && record->stamp.when.time < TIME_LIMIT &&
           record->expires >= 0 && record->expires < TIME_LIMIT &&
           (unsigned)record->priority < FS_PRIORITIES && record->length <= FS_RECORD_VALUE_LIMIT &&
           (!record->removed || (record->expires && !record->length));
}

/* --- order and hashes ---------------------------------------------------------------------------
 */

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int fs_record_compare(const fs_record_t *a, const fs_record_t *b)
{
    int by = fs_hlc_compare(&a->stamp.when, &b->stamp.when);

    if (!by)
        by = strcmp(a->stamp.origin, b->stamp.origin);
    if (!by)
        by = order(a->stamp.generation, b->stamp.generation);
    /* One author doesn't stamp twice alike, unless its disk or its name was copied. */
    if (!by)
        by = order(a->removed != 0, b->removed != 0);
    if (!by)
        by = order((uint64_t)a->expires, (uint64_t)b->expires);
    if (!by)
        by = order(a->priority, b->priority);
    if (!by)
        by = order(a->length, b->length);
    if (!by && a->length)
        by = memcmp(a->value, b->value, a->length);
    return by;
}

uint64_t fs_record_key_hash(const char *kind, const char *key)
{
    char text[FS_RECORD_KIND_SIZE + FS_RECORD_KEY_SIZE];
    size_t kind_length = strlen(kind) + 1, key_length = strlen(key);

    memcpy(text, kind, kind_length);
    memcpy(text + kind_length, key, key_length);
    return XXH64(text, kind_length + key_length, 0);
}

int fs_record_is_fleeting(const fs_record_t *record)
{
    return !record->removed && !strcmp(record->kind, FS_RECORD_FLEETING_KIND);
}

uint64_t fs_record_fingerprint(const fs_record_t *record)
{
    uint8_t bytes[FS_RECORD_BYTES_LIMIT];

    if (fs_record_is_fleeting(record))
        return XXH64(record->kind, strlen(record->kind), 0);
    return XXH64(bytes, fs_record_write(record, bytes), 0);
}

/* --- bytes --------------------------------------------------------------------------------------
 */

size_t fs_record_bytes(const fs_record_t *record)
{
    return FIXED_BYTES + strlen(record->stamp.origin) + 2 + strlen(record->kind) + 2 +
           strlen(record->key) + 3 + record->length + 3;
}

static uint8_t *put_block(uint8_t *out, const void *block, size_t length)
{
    out = fs_bytes_put(out, length, 2);
    if (length)
        memcpy(out, block, length);
    out[length] = '\0';
    return out + length + 1;
}

size_t fs_record_write(const fs_record_t *record, uint8_t *out)
{
    uint8_t *at = out;

    *at++ = record->removed ? FLAG_REMOVED : 0;
    *at++ = (uint8_t)record->priority;
    at = fs_bytes_put(at, (uint64_t)record->stamp.when.time, 8);
    at = fs_bytes_put(at, record->stamp.when.counter, 4);
    at = fs_bytes_put(at, record->stamp.generation, 8);
    at = fs_bytes_put(at, (uint64_t)record->expires, 8);
    at = fs_bytes_put_text(at, record->stamp.origin);
    at = fs_bytes_put_text(at, record->kind);
    at = put_block(at, record->key, strlen(record->key));
    at = put_block(at, record->value, record->length);
    return (size_t)(at - out);
}

int fs_record_read(fs_record_t *record, const uint8_t **at, const uint8_t *end)
{
    fs_bytes_t bytes = {.at = *at, .end = end};
    unsigned flags, priority;
    size_t key_length;
    const char *origin;

    memset(record, 0, sizeof(*record));
    flags = (unsigned)fs_bytes_get(&bytes, 1);
    priority = (unsigned)fs_bytes_get(&bytes, 1);
    record->stamp.when.time = (fs_usec_t)fs_bytes_get(&bytes, 8);
    record->stamp.when.counter = (uint32_t)fs_bytes_get(&bytes, 4);
    record->stamp.generation = fs_bytes_get(&bytes, 8);
    record->expires = (fs_usec_t)fs_bytes_get(&bytes, 8);
    origin = fs_bytes_get_text(&bytes, FS_MEMBER_SIZE - 1);
    record->kind = fs_bytes_get_text(&bytes, FS_RECORD_KIND_SIZE - 1);
    key_length = (size_t)fs_bytes_get(&bytes, 2);
    record->key = fs_bytes_get_block(&bytes, key_length);
    record->length = (size_t)fs_bytes_get(&bytes, 2);
    record->value = fs_bytes_get_block(&bytes, record->length);
    if (bytes.bad || flags & ~(unsigned)FLAG_REMOVED || priority >= FS_PRIORITIES ||
        strlen(record->key) != key_length)
        return -1;
    strcpy(record->stamp.origin, origin);
    record->removed = flags & FLAG_REMOVED;
    record->priority = (fs_priority_t)priority;
    *at = bytes.at;
    return fs_record_is_valid(record) ? 0 : -1;
}
