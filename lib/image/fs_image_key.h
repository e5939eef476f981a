/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys as byte strings whose bytewise order is the key order, so that sorting needs no comparing of
 * columns: a column ends with 0; a byte 0 of the key becomes 1 1 and a byte 1 becomes 1 2.
 */
#ifndef FS_IMAGE_KEY_H
#define FS_IMAGE_KEY_H

#include "image/fs_image_format.h"
#include "image/fs_image_sort.h"

#define FS_KEY_ENCODED_SIZE (2 * FS_IMAGE_MAX_KEY + FS_IMAGE_MAX_KEYS)

/* Returns the length; `out` has FS_KEY_ENCODED_SIZE bytes. */
size_t fs_key_encode(const fs_slice_t *key, unsigned count, uint8_t *out);
/* Eight bytes of an encoded key from `skip` on, zeros after its end, as a number that sorts so. */
uint64_t fs_key_word(const uint8_t *encoded, size_t length, size_t skip);

/*
 * Sorts entries into key order. `word` is the key's fs_key_word at `skip`, before which all keys
 * are equal; `place` is the row's place in `heap`. No two keys are the same.
 */
void fs_key_sort(fs_sort_entry_t *entries, size_t count, size_t skip, const uint8_t *heap,
                 uint64_t heap_bytes, unsigned column_count, unsigned key_count);

#endif
