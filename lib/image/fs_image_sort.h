/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting what the builder remembers of each row, in place: there may be 2^31 of them. */
#ifndef FS_IMAGE_SORT_H
#define FS_IMAGE_SORT_H

#include <stddef.h>
#include <stdint.h>

typedef struct fs_sort_entry_t {
    uint64_t word;  /* what is sorted by: a hash, or eight bytes of a key */
    uint64_t place; /* where the row is */
} fs_sort_entry_t;

/* Sorts by word; entries of one word stay in no particular order. No memory is taken. */
void fs_sort_words(fs_sort_entry_t *entries, size_t count);

#endif
