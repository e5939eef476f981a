/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed texts whose signature was checked before: what a visitor's cookie holds comes with each of
 * his requests, and checking it again costs more than the rest of looking at it. A table remembers
 * texts together with a fact that was learned of each (a key that is computed from it, the servers
 * it names), so that a request of a known one computes nothing.
 *
 * A table belongs to one thread, has a constant size and no lock. Of the texts that share a place
 * in it, the two that came last are kept. It holds only texts that were found good; whoever can't
 * sign can't fill it. That a text is known tells nothing that its sender didn't have: only the
 * whole text is found, and comparing takes the same time wherever a guess begins to differ.
 *
 *   static const fs_known_shape_t shape = {256, FS_ID_LENGTH, sizeof(fact_t)};
 *   static _Thread_local fs_known_memory_t memory[FS_KNOWN_MEMORY(256, FS_ID_LENGTH,
 *                                                                  sizeof(fact_t))];
 *
 *   if (fs_known_find(&shape, memory, keys->epoch, text, length, &fact))
 *       return ...;
 *   check the signature, find out the fact
 *   fs_known_add(&shape, memory, keys->epoch, text, length, &fact);
 *
 * The epoch stands for everything on which the fact rests beside the text: the keys that it was
 * checked with. When they change there is a new epoch, and nothing is known any more.
 */
#ifndef FS_KNOWN_H
#define FS_KNOWN_H

#include <stddef.h>
#include <stdint.h>

/* The same for each use of one memory. */
typedef struct fs_known_shape_t {
    size_t places; /* a power of two, 2 or more: so many texts are kept */
    size_t text;   /* bytes of the longest text that is kept */
    size_t fact;   /* bytes of each fact; facts are copied, and compared with nothing */
} fs_known_shape_t;

/* All zero is an empty table. */
typedef uint64_t fs_known_memory_t;
#define FS_KNOWN_WORDS(bytes)               (((bytes) + 7) / 8)
#define FS_KNOWN_MEMORY(places, text, fact) ((places) * (2 + FS_KNOWN_WORDS((text) + (fact))))

/* Another number at each call in this process, never 0. Any thread. */
uint64_t fs_known_epoch(void);

/* 1 and the fact, or 0: it has to be checked. */
int fs_known_find(const fs_known_shape_t *shape, const fs_known_memory_t *memory, uint64_t epoch,
                  const void *text, size_t length, void *fact);
/* Remembers a text that was found good. One that is too long for the shape isn't kept. */
void fs_known_add(const fs_known_shape_t *shape, fs_known_memory_t *memory, uint64_t epoch,
                  const void *text, size_t length, const void *fact);

#endif
