/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in force in this process.
 *
 *   slot: [ BUSY / OPEN / count of pins | snapshot ]        x SLOTS
 *
 * A snapshot (avail_snapshot.h) holds until another publication comes, or the
 * moment at which a window begins or ends. Whoever finds that it doesn't hold any more makes the
 * next one, as a rule the helper thread before any request comes; nobody waits. A snapshot lives in
 * a pool with an allocator of its own that goes with its last pin, so that memory doesn't grow
 * however often something changes.
 */
#ifndef FS_AVAIL_STATE_H
#define FS_AVAIL_STATE_H

#include "avail_snapshot.h"

typedef struct fs_avail_pin_t {
    const fs_avail_snapshot_t *snapshot; /* NULL: nothing is known, out of memory */
    int slot;                            /* -1: a snapshot of its own */
} fs_avail_pin_t;

/* 1 if nothing is in force for any application now. One atomic load and a comparison, and a look at
 * the clock if a window is to begin later. */
int fs_avail_quiet(void);
/* 1 if a condition may have to be asked at fixups. */
int fs_avail_any_late(void);

/* The snapshot that holds now. Let go of it soon, and in any case before waiting for anything. */
void fs_avail_pin(fs_avail_pin_t *pin);
void fs_avail_unpin(fs_avail_pin_t *pin);

/* NULL if the process has none. */
fs_avail_reader_t *fs_avail_reader(void);

/* Farm time; the wall clock's while it isn't known. */
fs_usec_t fs_avail_now(void);
/* The first that decides conditions aside; NULL: the application is up. */
const fs_avail_rule_t *fs_avail_decisive(const fs_avail_plan_t *plan);
/* For the status page: why the publication that counts isn't the one in use; NULL if it is. */
const char *fs_avail_trouble(apr_pool_t *pool);

#endif
