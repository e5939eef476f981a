/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql/procedures/ready.sql in C, for the tests: the decision about a version that waits, as pure
 * arithmetic. test_ready.c drives a simulated farm with it; test_sql_ready.py has the database and
 * this decide about the same rows (through tests/tools/fs_ready) and compares.
 */
#ifndef READY_MODEL_H
#define READY_MODEL_H

#include "base/fs_time.h"

#define READY_FRESH      (5 * FS_USEC_PER_SEC)
#define READY_COUNTS     (60 * FS_USEC_PER_SEC)
#define READY_NOTICE     (3 * FS_USEC_PER_SEC)
#define READY_HOLD_PAUSE (10 * FS_USEC_PER_SEC)

typedef enum ready_state_t { READY_RUNNING, READY_WAITING, READY_STATE_HELD } ready_state_t;

typedef enum ready_outcome_t {
    READY_WAIT,
    READY_GO,
    READY_PUT_OFF,
    READY_ACTIVATED,
    READY_HELD
} ready_outcome_t;

/* The columns of sync that matter. */
typedef struct ready_row_t {
    ready_state_t state;
    int percent;
    int hold; /* at the limit */
    fs_usec_t interval, min_lead, limit;
    fs_usec_t planned, until;
    fs_usec_t activation; /* an order; without meaning while it waits */
} ready_row_t;

typedef struct ready_member_t {
    fs_usec_t seen;
    int lacks; /* something: content, time, or it has a problem */
} ready_member_t;

static inline fs_usec_t ready_most(fs_usec_t a, fs_usec_t b)
{
    return a > b ? a : b;
}

static inline fs_usec_t ready_least(fs_usec_t a, fs_usec_t b)
{
    return a < b ? a : b;
}

/* ready_times */
static inline fs_usec_t ready_step(const ready_row_t *row)
{
    return ready_least(row->min_lead, row->interval / 2);
}

static inline fs_usec_t ready_notice(const ready_row_t *row)
{
    return ready_most(ready_step(row), READY_NOTICE);
}

/* ready_stage, of a version that next_activation put at `time`, which is on the grid. */
static inline void ready_stage(ready_row_t *row, fs_usec_t time, fs_usec_t now)
{
    fs_usec_t late =
        ready_most(0, now + ready_step(row) + ready_notice(row) - time) + row->interval - 1;

    row->state = READY_WAITING;
    row->planned = time + late / row->interval * row->interval;
    row->until = row->planned + row->limit;
}

/* ready_go */
static inline void ready_go(ready_row_t *row, fs_usec_t now)
{
    row->state = READY_RUNNING;
    row->activation = ready_most(row->planned, now + ready_notice(row));
}

/* resume */
static inline void ready_again(ready_row_t *row, fs_usec_t now)
{
    row->state = READY_WAITING;
    row->planned =
        ready_most(row->planned, now + READY_HOLD_PAUSE + ready_step(row) + ready_notice(row));
    row->until = row->planned + row->limit;
}

static inline void ready_put_off(ready_row_t *row, fs_usec_t now)
{
    fs_usec_t step = ready_step(row), soon = now + ready_notice(row);
    fs_usec_t late = ready_most(0, soon - row->planned);

    row->planned += (late / step + 1) * step;
    row->planned = ready_most(ready_least(row->planned, row->until), soon);
}

/* decide, of a row that waits. */
static inline ready_outcome_t ready_decide(ready_row_t *row, const ready_member_t *members,
                                           unsigned count, fs_usec_t now)
{
    unsigned counted = 0, ready = 0;

    for (unsigned i = 0; i < count; i++) {
        fs_usec_t silent = now - members[i].seen;

        if (silent > ready_most(row->limit, READY_COUNTS))
            continue;
        counted++;
        ready += silent <= READY_FRESH && !members[i].lacks;
    }
    if (ready * 100 >= counted * (unsigned)row->percent) {
        ready_go(row, now);
        return READY_GO;
    }
    if (now < row->planned - ready_notice(row))
        return READY_WAIT;
    if (row->planned < row->until) {
        ready_put_off(row, now);
        return READY_PUT_OFF;
    }
    if (row->hold) {
        row->state = READY_STATE_HELD;
        return READY_HELD;
    }
    ready_go(row, now);
    return READY_ACTIVATED;
}

#endif
