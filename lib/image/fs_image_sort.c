/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An in-place radix sort from the most significant byte ("American flag sort", McIlroy, Bostic and
 * McIlroy 1993): as many steps as there are differing bytes, whatever the input, where a quicksort
 * would have bad inputs and a merge sort would need the memory twice.
 */
#include "image/fs_image_sort.h"

#define SMALL 32

static void sort_small(fs_sort_entry_t *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        fs_sort_entry_t entry = entries[i];
        size_t j = i;

        for (; j && entries[j - 1].word > entry.word; j--)
            entries[j] = entries[j - 1];
        entries[j] = entry;
    }
}

static void sort_byte(fs_sort_entry_t *entries, size_t count, unsigned shift)
{
    size_t next[256] = {0}, end[256], from = 0;

    for (size_t i = 0; i < count; i++)
        next[entries[i].word >> shift & 255]++;
    for (unsigned b = 0; b < 256; b++) {
        size_t size = next[b];

        next[b] = from;
        end[b] = from += size;
    }
    for (unsigned b = 0; b < 256; b++) {
        while (next[b] < end[b]) {
            fs_sort_entry_t entry = entries[next[b]];
            unsigned home;

            while ((home = entry.word >> shift & 255) != b) {
                fs_sort_entry_t other = entries[next[home]];

                entries[next[home]++] = entry;
                entry = other;
            }
            entries[next[b]++] = entry;
        }
    }
    if (shift == 0)
        return;
    for (unsigned b = 0; b < 256; b++) {
        size_t start = b ? end[b - 1] : 0, size = end[b] - start;

        if (size > SMALL)
            sort_byte(entries + start, size, shift - 8);
        else
            sort_small(entries + start, size);
    }
}

void fs_sort_words(fs_sort_entry_t *entries, size_t count)
{
    if (count > SMALL)
        sort_byte(entries, count, 56);
    else
        sort_small(entries, count);
}
