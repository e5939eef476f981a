/* SPDX-License-Identifier: Apache-2.0 */
#include "follower.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "sqlthread.h"
#include "sync/fs_source.h"

#define QUICK_SAMPLES     FS_CLOCK_SAMPLES
#define SAMPLE_EVERY      (1 * FS_USEC_PER_SEC)
#define POLL_EVERY        (250 * FS_USEC_PER_MSEC)
#define RECONNECT_FIRST   (50 * FS_USEC_PER_MSEC)
#define RECONNECT_LAST    (1 * FS_USEC_PER_SEC)
#define SHORT_STATEMENT_S 3 /* all statements of this thread are short: no answer means away */

struct fs_follower_t {
    fs_follower_parts_t parts;
    fs_sqlthread_t thread;

    /* the thread's own */
    fs_farm_clock_t clock;
    int connected, up;
    unsigned failures;    /* of connecting, in a row */
    fs_usec_t away_since; /* mono */
    fs_usec_t sample_at, poll_at;
};

/* --- the database's coming and going
 * --------------------------------------------------------------- */

static void database_away(fs_follower_t *follower, const fs_result_t *why)
{
    fs_board_t *board = follower->parts.shared.board;

    if (follower->up)
        follower->away_since = fs_time_mono();
    if (fs_board_database_away(board, why))
        fs_log(FS_LOG_ERROR, "FS0830",
               "the database is away: %s: %s. What is here goes on being served; it is tried again "
               "within a second",
               why->problem, why->detail);
    fs_sql_disconnect(follower->thread.sql);
    follower->connected = follower->up = 0;
}

static void database_back(fs_follower_t *follower)
{
    follower->up = 1;
    follower->failures = 0;
    if (!fs_board_database_up(follower->parts.shared.board))
        return;
    if (follower->away_since)
        fs_log(FS_LOG_NOTICE, "FS0831", "the database %s is back after %lld ms",
               fs_sql_peer(follower->thread.sql),
               (long long)((fs_time_mono() - follower->away_since) / FS_USEC_PER_MSEC));
    else
        fs_log(FS_LOG_NOTICE, "FS0829", "connected to the database %s",
               fs_sql_peer(follower->thread.sql));
    fs_groups_wake(follower->parts.groups);
}

static fs_usec_t back_off(unsigned failures)
{
    fs_usec_t pause = failures < 5 ? RECONNECT_FIRST << failures : RECONNECT_LAST;

    return pause < RECONNECT_LAST ? pause : RECONNECT_LAST;
}

/* --- what is done regularly
 * ------------------------------------------------------------------------ */

static apr_status_t take_sample(fs_follower_t *follower, fs_result_t *result)
{
    fs_clock_sample_t sample;
    apr_status_t status = fs_source_clock(follower->thread.sql, &sample, result);

    if (status != APR_SUCCESS)
        return status;
    fs_farm_clock_add(&follower->clock, fs_sql_peer(follower->thread.sql), &sample);
    fs_board_set_clock(follower->parts.shared.board, &follower->clock);
    fs_board_database_answered(follower->parts.shared.board);
    follower->sample_at = fs_time_mono() + SAMPLE_EVERY;
    return APR_SUCCESS;
}

static apr_status_t take_first_samples(fs_follower_t *follower, fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;

    for (unsigned i = 0; i < QUICK_SAMPLES && status == APR_SUCCESS; i++)
        status = take_sample(follower, result);
    return status;
}

static apr_status_t poll_groups(fs_follower_t *follower, fs_result_t *result)
{
    fs_usec_t asked = fs_time_mono();
    apr_status_t status = fs_groups_poll(follower->parts.groups, follower->thread.sql, result);

    if (status == APR_SUCCESS) {
        fs_board_database_answered(follower->parts.shared.board);
        fs_board_database_polled(follower->parts.shared.board, asked);
    }
    follower->poll_at = fs_time_mono() + POLL_EVERY;
    return status;
}

/* Everything that is due now, in the order of its urgency. */
static apr_status_t do_due(fs_follower_t *follower, fs_result_t *result)
{
    fs_usec_t now = fs_time_mono();
    apr_status_t status = APR_SUCCESS;

    if (follower->poll_at <= now)
        status = poll_groups(follower, result);
    if (status == APR_SUCCESS && follower->sample_at <= now)
        status = take_sample(follower, result);
    return status;
}

static fs_usec_t earliest(const fs_follower_t *follower)
{
    return follower->poll_at < follower->sample_at ? follower->poll_at : follower->sample_at;
}

/* --- the thread
 * ------------------------------------------------------------------------------------ */

/*
 * One round: connects if need be, does what is due, says when to come again. The database counts as
 * there only when it has answered the clock and the groups, so that a server without the schema,
 * say, isn't "back" each second.
 */
static fs_usec_t round_once(fs_follower_t *follower)
{
    fs_result_t result;
    apr_status_t status = APR_SUCCESS;

    fs_result_clear(&result);
    if (!follower->connected) {
        status = fs_sql_connect(follower->thread.sql, &result);
        if (status == APR_SUCCESS) {
            follower->connected = 1;
            follower->poll_at = 0;
            status = take_first_samples(follower, &result);
        }
    }
    if (status == APR_SUCCESS)
        status = do_due(follower, &result);
    if (status != APR_SUCCESS && fs_sql_error(follower->thread.sql) == FS_SQL_CONFLICT)
        return fs_time_mono() + RECONNECT_FIRST; /* a poll that met a cluster change: again */
    if (status != APR_SUCCESS) {
        database_away(follower, &result);
        return fs_time_mono() + back_off(follower->failures++);
    }
    if (!follower->up)
        database_back(follower);
    return earliest(follower);
}

static void work(void *baton)
{
    fs_follower_t *follower = baton;

    while (!fs_sqlthread_stopped(&follower->thread)) {
        fs_usec_t until = round_once(follower);

        if (fs_bell_wait(follower->parts.shared.changed, until) && follower->up)
            follower->poll_at = 0;
    }
    fs_groups_stop(follower->parts.groups);
    while (!fs_groups_ended(follower->parts.groups))
        fs_bell_wait(follower->parts.shared.changed, fs_time_mono() + 20 * FS_USEC_PER_MSEC);
}

apr_status_t fs_follower_start(fs_follower_t **follower, const fs_follower_parts_t *parts,
                               fs_result_t *result)
{
    fs_follower_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    if (!made)
        return APR_ENOMEM;
    made->parts = *parts;
    fs_farm_clock_init(&made->clock);
    status = fs_sqlthread_start(&made->thread, parts->shared.option_file, SHORT_STATEMENT_S,
                                parts->shared.changed, work, made, result);
    if (status == APR_SUCCESS)
        *follower = made;
    else
        free(made);
    return status;
}

void fs_follower_stop(fs_follower_t *follower)
{
    fs_sqlthread_stop(&follower->thread);
}

int fs_follower_join(fs_follower_t *follower, fs_usec_t until)
{
    if (!fs_sqlthread_join(&follower->thread, until))
        return 0;
    free(follower);
    return 1;
}
