/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a small image. Where the caches hold the whole image, a look-up's time is the chain
 * of its steps, and that through directory, fingerprints and offsets is longer than a hash table's:
 * hash, slot, row. A large image has no such index: at a million rows it would wait for memory
 * twice. Each process makes its own when it opens the image, at most 33 KiB.
 */
#include "image/fs_image_format.h"

#include <stdlib.h>

/* 0, or -1 when the row isn't sound or its slot's neighbourhood is full. */
static int add_row(const fs_image_t *image, uint32_t *index, uint64_t slots, uint64_t place)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    fs_row_shape_t shape;
    fs_row_t row;
    uint64_t hash;
    uint32_t *slot;

    if (!fs_image_at(image, place, &row))
        return -1;
    shape = fs_row_shape(&row);
    if (!fs_row_key((const uint8_t *)row.data, &shape, image->key_count, key))
        return -1;
    hash = fs_key_hash(key, image->key_count, image->seed);
    slot = index + fs_hash_bucket(hash, slots);
    for (unsigned i = 0; i < FS_INDEX_PROBES; i++)
        if (!slot[i]) {
            slot[i] = fs_index_tag(hash) << FS_INDEX_PLACE_BITS |
                      (uint32_t)((const uint8_t *)row.data - image->heap);
            return 0;
        }
    return -1;
}

void fs_image_index(fs_image_t *image)
{
    uint64_t slots = 2 * image->rows;
    uint32_t *index;

    if (!image->small || !image->rows || image->rows > FS_INDEX_MOST_ROWS)
        return;
    index = calloc((size_t)slots + FS_INDEX_PROBES, sizeof(*index));
    for (uint64_t i = 0; index && i < image->rows; i++)
        if (add_row(image, index, slots, i)) {
            free(index);
            return;
        }
    image->index = index;
    image->index_slots = slots;
}
