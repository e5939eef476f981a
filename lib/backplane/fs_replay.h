/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of a sender's sequence numbers have been seen: a window below the highest, as in IPsec
 * (RFC 4303 section 3.4.3). What lies below the window counts as seen. Pure.
 */
#ifndef FS_REPLAY_H
#define FS_REPLAY_H

#include <stdint.h>
#include <string.h>

#define FS_REPLAY_WINDOW 4096

typedef struct fs_replay_t {
    uint64_t highest;                     /* 0: none was seen */
    uint64_t seen[FS_REPLAY_WINDOW / 64]; /* bit of n: n modulo the window */
} fs_replay_t;

/* Nothing up to `highest` will be taken. */
static inline void fs_replay_begin(fs_replay_t *replay, uint64_t highest)
{
    memset(replay->seen, 0xff, sizeof(replay->seen));
    replay->highest = highest;
}

static inline void fs_replay_forget(fs_replay_t *replay, uint64_t number)
{
    replay->seen[number % FS_REPLAY_WINDOW / 64] &= ~(UINT64_C(1) << number % 64);
}

/* Takes note of a number. Returns 1 if it is new, 0 if it was seen, or is too old to tell. */
static inline int fs_replay_take(fs_replay_t *replay, uint64_t number)
{
    uint64_t *word = &replay->seen[number % FS_REPLAY_WINDOW / 64];
    uint64_t bit = UINT64_C(1) << number % 64;

    if (!number || number == UINT64_MAX)
        return 0;
    if (number > replay->highest) {
        if (number - replay->highest >= FS_REPLAY_WINDOW)
            memset(replay->seen, 0, sizeof(replay->seen));
        else
            for (uint64_t n = replay->highest + 1; n <= number; n++)
                fs_replay_forget(replay, n);
        replay->highest = number;
    } else if (replay->highest - number >= FS_REPLAY_WINDOW || *word & bit) {
        return 0;
    }
    *word |= bit;
    return 1;
}

#endif
