/* SPDX-License-Identifier: Apache-2.0 */
#include "backplane/fs_message.h"

static const char magic[4] = {'F', 'S', 'B', '1'};

uint8_t *fs_message_write(const fs_message_t *message, uint8_t *out)
{
    memcpy(out, magic, sizeof(magic));
    out += sizeof(magic);
    *out++ = (uint8_t)message->type;
    *out++ = (uint8_t)message->flags;
    out = fs_bytes_put_text(out, message->from);
    out = fs_bytes_put_text(out, message->to);
    out = fs_bytes_put(out, message->generation, 8);
    out = fs_bytes_put(out, message->known, 8);
    out = fs_bytes_put(out, message->sequence, 8);
    out = fs_bytes_put(out, (uint64_t)message->clock.time, 8);
    out = fs_bytes_put(out, message->clock.counter, 4);
    out = fs_bytes_put(out, (uint64_t)message->farm, 8);
    out = fs_bytes_put(out, message->digest, 8);
    out = fs_bytes_put(out, message->count, 4);
    *out++ = (uint8_t)message->unreachable_count;
    for (unsigned i = 0; i < message->unreachable_count; i++)
        out = fs_bytes_put_text(out, message->unreachable[i]);
    return out;
}

static int is_type(unsigned type)
{
    unsigned request = type & ~(unsigned)FS_MESSAGE_ANSWER;

    return type == FS_MESSAGE_REFUSED || (request && request < FS_MESSAGE_TYPES);
}

int fs_message_read(fs_message_t *message, const void *data, size_t length)
{
    fs_bytes_t bytes = {.at = data, .end = (const uint8_t *)data + length};

    memset(message, 0, sizeof(*message));
    if (length < sizeof(magic) || length > FS_MESSAGE_LIMIT || memcmp(data, magic, sizeof(magic)))
        return -1;
    bytes.at += sizeof(magic);
    message->type = (unsigned)fs_bytes_get(&bytes, 1);
    message->flags = (unsigned)fs_bytes_get(&bytes, 1);
    message->from = fs_bytes_get_text(&bytes, FS_MEMBER_SIZE - 1);
    message->to = fs_bytes_get_text(&bytes, FS_MEMBER_SIZE - 1);
    message->generation = fs_bytes_get(&bytes, 8);
    message->known = fs_bytes_get(&bytes, 8);
    message->sequence = fs_bytes_get(&bytes, 8);
    message->clock.time = (fs_usec_t)fs_bytes_get(&bytes, 8);
    message->clock.counter = (uint32_t)fs_bytes_get(&bytes, 4);
    message->farm = (fs_usec_t)fs_bytes_get(&bytes, 8);
    message->digest = fs_bytes_get(&bytes, 8);
    message->count = (uint32_t)fs_bytes_get(&bytes, 4);
    message->unreachable_count = (unsigned)fs_bytes_get(&bytes, 1);
    if (message->unreachable_count > FS_UNREACHABLE_LIMIT)
        return -1;
    for (unsigned i = 0; i < message->unreachable_count; i++)
        message->unreachable[i] = fs_bytes_get_text(&bytes, FS_MEMBER_SIZE - 1);
    message->body = bytes;
    return bytes.bad || !is_type(message->type) || !message->from[0] || message->clock.time < 0 ||
                   message->farm < 0 || message->clock.time >> 60 || message->farm >> 60
               ? -1
               : 0;
}

uint8_t *fs_message_put_entry(uint8_t *out, const fs_message_entry_t *entry)
{
    out = fs_bytes_put(out, entry->hash, 8);
    out = fs_bytes_put(out, entry->fingerprint, 8);
    out = fs_bytes_put(out, (uint64_t)entry->when.time, 8);
    out = fs_bytes_put(out, entry->when.counter, 4);
    return fs_bytes_put(out, entry->priority, 1);
}

void fs_message_get_entry(fs_bytes_t *body, fs_message_entry_t *entry)
{
    entry->hash = fs_bytes_get(body, 8);
    entry->fingerprint = fs_bytes_get(body, 8);
    entry->when.time = (fs_usec_t)fs_bytes_get(body, 8);
    entry->when.counter = (uint32_t)fs_bytes_get(body, 4);
    entry->priority = (unsigned)fs_bytes_get(body, 1);
}
