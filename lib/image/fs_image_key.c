/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fs_image_key.h"

size_t fs_key_encode(const fs_slice_t *key, unsigned count, uint8_t *out)
{
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        for (uint32_t j = 0; j < key[i].length; j++) {
            uint8_t byte = (uint8_t)key[i].data[j];

            if (byte < 2) {
                out[used++] = 1;
                byte++;
            }
            out[used++] = byte;
        }
        out[used++] = 0;
    }
    return used;
}

uint64_t fs_key_word(const uint8_t *encoded, size_t length, size_t skip)
{
    uint64_t word = 0;

    if (skip < length)
        memcpy(&word, encoded + skip, length - skip < 8 ? length - skip : 8);
    return __builtin_bswap64(word);
}

static uint64_t word_of_row(const uint8_t *row, uint64_t room, size_t skip, unsigned column_count,
                            unsigned key_count)
{
    uint8_t encoded[FS_KEY_ENCODED_SIZE];
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    fs_row_shape_t shape;

    if (!fs_row_parse(row, room, column_count, &shape) || !fs_row_key(row, &shape, key_count, key))
        return 0;
    return fs_key_word(encoded, fs_key_encode(key, key_count, encoded), skip);
}

void fs_key_sort(fs_sort_entry_t *entries, size_t count, size_t skip, const uint8_t *heap,
                 uint64_t heap_bytes, unsigned column_count, unsigned key_count)
{
    fs_sort_words(entries, count);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && entries[end].word == entries[i].word; end++)
            ;
        if (end - i < 2 || skip + 8 >= FS_KEY_ENCODED_SIZE)
            continue;
        for (size_t j = i; j < end; j++) {
            uint64_t at = entries[j].place;

            entries[j].word =
                word_of_row(heap + at, heap_bytes - at, skip + 8, column_count, key_count);
        }
        fs_key_sort(entries + i, end - i, skip + 8, heap, heap_bytes, column_count, key_count);
    }
}
