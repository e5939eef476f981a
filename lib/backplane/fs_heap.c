/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of the entries that expire; each knows where it is, so that it can leave. */
#include <stdlib.h>

#include "backplane/fs_map_internal.h"

static void place(fs_map_t *map, size_t index, fs_entry_t *entry)
{
    map->heap[index] = entry;
    entry->heap = index + 1;
}

static void sift_up(fs_map_t *map, size_t index, fs_entry_t *entry)
{
    while (index) {
        size_t above = (index - 1) / 2;

        if (map->heap[above]->record.expires <= entry->record.expires)
            break;
        place(map, index, map->heap[above]);
        index = above;
    }
    place(map, index, entry);
}

static void sift_down(fs_map_t *map, size_t index, fs_entry_t *entry)
{
    for (;;) {
        size_t below = 2 * index + 1;

        if (below >= map->heap_count)
            break;
        if (below + 1 < map->heap_count &&
            map->heap[below + 1]->record.expires < map->heap[below]->record.expires)
            below++;
        if (entry->record.expires <= map->heap[below]->record.expires)
            break;
        place(map, index, map->heap[below]);
        index = below;
    }
    place(map, index, entry);
}

int fs_heap_add(fs_map_t *map, fs_entry_t *entry)
{
    if (map->heap_count == map->heap_size) {
        size_t size = map->heap_size ? 2 * map->heap_size : 64;
        fs_entry_t **heap = realloc(map->heap, size * sizeof(*heap));

        if (!heap)
            return -1;
        map->heap = heap;
        map->heap_size = size;
    }
    sift_up(map, map->heap_count++, entry);
    return 0;
}

void fs_heap_remove(fs_map_t *map, fs_entry_t *entry)
{
    size_t index = entry->heap - 1;
    fs_entry_t *last;

    if (!entry->heap)
        return;
    entry->heap = 0;
    last = map->heap[--map->heap_count];
    if (last == entry)
        return;
    if (index && map->heap[(index - 1) / 2]->record.expires > last->record.expires)
        sift_up(map, index, last);
    else
        sift_down(map, index, last);
}
