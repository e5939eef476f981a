/* SPDX-License-Identifier: Apache-2.0 */
#include "backplane/fs_backplane.h"

fs_hlc_t fs_hlc_next(fs_hlc_t *clock, fs_usec_t now)
{
    if (now > clock->time) {
        clock->time = now;
        clock->counter = 0;
    } else if (++clock->counter == 0) {
        clock->time++;
    }
    return *clock;
}

int fs_hlc_compare(const fs_hlc_t *a, const fs_hlc_t *b)
{
    if (a->time != b->time)
        return a->time < b->time ? -1 : 1;
    return (a->counter > b->counter) - (a->counter < b->counter);
}

void fs_hlc_observe(fs_hlc_t *clock, const fs_hlc_t *seen)
{
    if (fs_hlc_compare(seen, clock) > 0)
        *clock = *seen;
}
