/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The farm clock: how far this host's monotonic clock is from the database's, and within what
 * bound.
 *
 * The clock filter of RFC 5905 section 10: the last eight exchanges, of which the one with the
 * smallest possible error counts: half its round trip, plus what the remote end says of its own
 * error, plus what the two clocks may have drifted since (FS_CLOCK_DRIFT_PPM). Samples of different
 * remote clocks are never mixed, nor are samples from before and after a step of the remote clock.
 * Pure; one thread at a time.
 */
#ifndef FS_FARM_CLOCK_H
#define FS_FARM_CLOCK_H

#include "base/fs_time.h"

#define FS_CLOCK_SAMPLES 8
#define FS_CLOCK_DRIFT_PPM                                                                         \
    250 /* two clocks drift apart by no more than this; NTP slews by up to 500 */
#define FS_CLOCK_BOUND_LIMIT                                                                       \
    (FS_USEC_PER_SEC * 86400) /* of a round trip and of a remote's own error */

typedef struct fs_clock_sample_t {
    fs_usec_t sent;         /* mono, before asking */
    fs_usec_t received;     /* mono, after the answer */
    fs_usec_t remote;       /* farm time the other side read in between */
    fs_usec_t remote_bound; /* of the other side's own error; 0 for the database itself */
} fs_clock_sample_t;

typedef struct fs_farm_clock_t {
    char source[64];
    unsigned count; /* of samples held */
    unsigned next;
    fs_clock_sample_t samples[FS_CLOCK_SAMPLES];
} fs_farm_clock_t;

void fs_farm_clock_init(fs_farm_clock_t *clock);
/*
 * Adds a sample of `source`; another source than before forgets the old samples. Returns 1 if
 * taken, 0 if refused (received before sent, negative bound, remote out of 1970..9999).
 */
int fs_farm_clock_add(fs_farm_clock_t *clock, const char *source, const fs_clock_sample_t *sample);
/* Best estimate at mono `now`: farm = now + *offset, error <= *bound. 0 if there is no sample. */
int fs_farm_clock_read(const fs_farm_clock_t *clock, fs_usec_t now, fs_usec_t *offset,
                       fs_usec_t *bound);

#endif
