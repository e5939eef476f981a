/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why half the round trip is a hard bound: the remote clock was read somewhere between `sent` and
 * `received`, so the offset lies between remote - received and remote - sent, however unevenly the
 * delay was spread over the two ways. The middle of that is wrong by at most half. All clocks are
 * read in whole microseconds, cut off: one more at worst for the exchange, and one for the reading
 * to which the offset is added later.
 *
 * A remote that measures somebody else's clock passes on its estimate and the bound of that at the
 * moment of its answer. How its own clock goes on doesn't matter, so bounds add up along the chain
 * and drift counts once: that of this host's clock against the one that is measured in the end.
 */
#include "sync/fs_farm_clock.h"

#include <stdio.h>
#include <string.h>

#define READING_ERROR 2 /* of truncated microseconds, see above */
#define YEAR_10000    (INT64_C(253402300800) * FS_USEC_PER_SEC)

/* What one sample says at mono time `now`. */
typedef struct estimate_t {
    fs_usec_t offset;
    fs_usec_t bound;
} estimate_t;

void fs_farm_clock_init(fs_farm_clock_t *clock)
{
    memset(clock, 0, sizeof(*clock));
}

/* How far two clocks may have gone apart in `span`, rounded up. */
static fs_usec_t drift(fs_usec_t span)
{
    return span / 1000000 * FS_CLOCK_DRIFT_PPM +
           (span % 1000000 * FS_CLOCK_DRIFT_PPM + 999999) / 1000000;
}

static estimate_t estimate(const fs_clock_sample_t *sample, fs_usec_t now)
{
    fs_usec_t trip = sample->received - sample->sent;
    fs_usec_t since = now - sample->sent, until = sample->received - now;
    estimate_t result;

    result.offset = sample->remote - sample->sent - trip / 2;
    /* The remote was read at either end of the trip, or between; `now` may be an older reading. */
    result.bound = (trip + 1) / 2 + READING_ERROR + sample->remote_bound +
                   drift(since > until ? since : until);
    return result;
}

static int sane(const fs_clock_sample_t *sample)
{
    return sample->sent >= 0 && sample->received >= sample->sent &&
           sample->received - sample->sent <= FS_CLOCK_BOUND_LIMIT && sample->remote_bound >= 0 &&
           sample->remote_bound <= FS_CLOCK_BOUND_LIMIT && sample->remote >= 0 &&
           sample->remote < YEAR_10000;
}

/* Whether no offset satisfies both what is held and the new sample. */
static int contradicts(const fs_farm_clock_t *clock, const fs_clock_sample_t *sample)
{
    estimate_t fresh = estimate(sample, sample->received);

    for (unsigned i = 0; i < clock->count; i++) {
        estimate_t held = estimate(&clock->samples[i], sample->received);
        fs_usec_t apart = fresh.offset - held.offset;

        if ((apart < 0 ? -apart : apart) > fresh.bound + held.bound)
            return 1;
    }
    return 0;
}

int fs_farm_clock_add(fs_farm_clock_t *clock, const char *source, const fs_clock_sample_t *sample)
{
    if (!sane(sample))
        return 0;
    if (strncmp(clock->source, source, sizeof(clock->source) - 1) != 0 ||
        contradicts(clock, sample)) {
        fs_farm_clock_init(clock);
        snprintf(clock->source, sizeof(clock->source), "%s", source);
    }
    clock->samples[clock->next] = *sample;
    clock->next = (clock->next + 1) % FS_CLOCK_SAMPLES;
    if (clock->count < FS_CLOCK_SAMPLES)
        clock->count++;
    return 1;
}

int fs_farm_clock_read(const fs_farm_clock_t *clock, fs_usec_t now, fs_usec_t *offset,
                       fs_usec_t *bound)
{
    estimate_t best = {0, INT64_MAX};

    for (unsigned i = 0; i < clock->count; i++) {
        estimate_t one = estimate(&clock->samples[i], now);

        if (one.bound < best.bound)
            best = one;
    }
    if (!clock->count)
        return 0;
    *offset = best.offset;
    *bound = best.bound;
    return 1;
}
