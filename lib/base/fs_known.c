/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_known.h"

#include <stdatomic.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define WAYS 2 /* texts of one place in the table */

/* In the table; the text and then the fact follow. */
typedef struct entry_t {
    uint64_t epoch; /* 0: empty */
    uint64_t length;
} entry_t;

uint64_t fs_known_epoch(void)
{
    static _Atomic uint64_t last;

    return atomic_fetch_add(&last, 1) + 1;
}

static size_t entry_words(const fs_known_shape_t *shape)
{
    return sizeof(entry_t) / sizeof(uint64_t) + FS_KNOWN_WORDS(shape->text + shape->fact);
}

/* Of the first of the texts that share a place. */
static size_t place_of(const fs_known_shape_t *shape, const void *text, size_t length)
{
    return ((size_t)XXH3_64bits(text, length) & (shape->places / WAYS - 1)) * WAYS *
           entry_words(shape);
}

static uint64_t difference_at(const uint8_t *a, const uint8_t *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x ^ y;
}

/* In a time that depends on the length only: whatever is compared, no step is left out. */
static int differ(const uint8_t *a, const uint8_t *b, size_t length)
{
    uint64_t differences = 0;

    if (length < sizeof(uint64_t)) {
        for (size_t i = 0; i < length; i++) {
            differences |= a[i] ^ b[i];
            __asm__ volatile("" : "+r"(differences)); /* the compiler mustn't know better */
        }
        return differences != 0;
    }
    for (size_t i = 0; i + sizeof(uint64_t) < length; i += sizeof(uint64_t)) {
        differences |= difference_at(a + i, b + i);
        __asm__ volatile("" : "+r"(differences));
    }
    /* The last eight bytes, some of them for the second time. */
    a += length - sizeof(uint64_t);
    b += length - sizeof(uint64_t);
    return (differences | difference_at(a, b)) != 0;
}

int fs_known_find(const fs_known_shape_t *shape, const fs_known_memory_t *memory, uint64_t epoch,
                  const void *text, size_t length, void *fact)
{
    const fs_known_memory_t *at;

    if (!length || length > shape->text)
        return 0;
    at = memory + place_of(shape, text, length);
    for (unsigned way = 0; way < WAYS; way++, at += entry_words(shape)) {
        const entry_t *entry = (const entry_t *)at;
        const uint8_t *kept = (const uint8_t *)(entry + 1);

        if (entry->epoch != epoch || entry->length != length || differ(kept, text, length))
            continue;
        memcpy(fact, kept + shape->text, shape->fact);
        return 1;
    }
    return 0;
}

void fs_known_add(const fs_known_shape_t *shape, fs_known_memory_t *memory, uint64_t epoch,
                  const void *text, size_t length, const void *fact)
{
    size_t words = entry_words(shape);
    entry_t *entry;
    uint8_t *kept;

    if (!length || length > shape->text)
        return;
    memory += place_of(shape, text, length);
    memcpy(memory + words, memory, words * sizeof(*memory)); /* the older of the two goes */
    entry = (entry_t *)memory;
    kept = (uint8_t *)(entry + 1);
    entry->epoch = epoch;
    entry->length = length;
    memcpy(kept, text, length);
    memcpy(kept + shape->text, fact, shape->fact);
}
