/* SPDX-License-Identifier: Apache-2.0 */
#include "scribe.h"

#include <stdlib.h>

#include "base/fs_log.h"
#include "self.h"
#include "sqlthread.h"
#include "sync/fs_source.h"

#define WRITE_EVERY  (1 * FS_USEC_PER_SEC)
#define TIDY_EVERY   (1 * FS_USEC_PER_SEC)
#define LOOK_EVERY   (250 * FS_USEC_PER_MSEC) /* whether the database is there */
#define RETRY_LAST   (30 * FS_USEC_PER_SEC)   /* writes that hang pile up in the database */
#define STATEMENT_S  5                        /* longer than the follower's: nobody waits */
#define SAY_FAILURES 2 /* once may be the database that went away, which the follower says */

struct fs_scribe_t {
    fs_scribe_parts_t parts;
    fs_sqlthread_t thread;

    /* the thread's own */
    fs_usec_t write_at, tidy_at; /* mono */
    unsigned failures;           /* of writing, in a row */
    uint64_t connects;           /* of the follower: another number means the database is back */
    fs_self_t self;
};

/* --- members -----------------------------------------------------------------------------------
 */

static void not_written(fs_scribe_t *scribe, unsigned count, const fs_result_t *result)
{
    fs_usec_t pause = WRITE_EVERY << (scribe->failures < 5 ? scribe->failures : 5);

    scribe->failures++;
    scribe->write_at = fs_time_mono() + (pause < RETRY_LAST ? pause : RETRY_LAST);
    fs_sql_disconnect(scribe->thread.sql);
    if (scribe->failures == SAY_FAILURES)
        fs_log(FS_LOG_WARNING, "FS0871",
               "the rows of %u members can't be written now and are kept: %s: %s. The farm's data "
               "isn't touched by that; does something lock table farmsync.member?",
               count, result->problem, result->detail);
}

static void written(fs_scribe_t *scribe)
{
    if (scribe->failures >= SAY_FAILURES)
        fs_log(FS_LOG_NOTICE, "FS0877", "members' rows are written again");
    scribe->failures = 0;
}

/* Members that cannot be written now are kept: newer word replaces theirs, or they go next time. */
static void write_members(fs_scribe_t *scribe)
{
    fs_roster_t *roster = scribe->parts.roster;
    fs_member_t *members;
    fs_result_t result;
    unsigned count;

    fs_result_clear(&result);
    fs_self_report(&scribe->self, &scribe->parts.shared, scribe->parts.address, roster);
    count = fs_roster_take(roster, &members);
    scribe->write_at = fs_time_mono() + WRITE_EVERY;
    if (!count)
        return;
    if (fs_source_report(scribe->thread.sql, members, count, &result) == APR_SUCCESS) {
        free(members);
        written(scribe);
        return;
    }
    if (fs_sql_error(scribe->thread.sql) == FS_SQL_REFUSED) { /* would be refused for ever */
        fs_log(FS_LOG_WARNING, "FS0860", "the rows of %u members could not be written: %s: %s",
               count, result.problem, result.detail);
        free(members);
        return;
    }
    fs_roster_give_back(roster, members, count);
    if (fs_sql_error(scribe->thread.sql) != FS_SQL_CONFLICT)
        not_written(scribe, count, &result);
}

/* --- the dashboard, the directory --------------------------------------------------------------
 */

static void read_overview(fs_scribe_t *scribe)
{
    fs_result_t result;

    fs_result_clear(&result);
    if (fs_sql_connect(scribe->thread.sql, &result) == APR_SUCCESS &&
        fs_overview_read(scribe->parts.overview, scribe->thread.sql, &result) == APR_SUCCESS)
        return;
    fs_log(FS_LOG_DEBUG, "FS0865", "the dashboard's tables could not be read: %s: %s",
           result.problem, result.detail);
}

static int is_named(void *baton, const fs_digest_t *digest)
{
    return fs_board_names(baton, digest, 1);
}

static void tidy(fs_scribe_t *scribe)
{
    fs_board_t *board = scribe->parts.shared.board;
    fs_usec_t now = fs_time_mono();

    if (fs_board_complete(board))
        fs_store_tidy(scribe->parts.shared.store, now, is_named, board);
    fs_deltas_tidy(scribe->parts.deltas);
    scribe->tidy_at = now + TIDY_EVERY;
}

/* --- the thread --------------------------------------------------------------------------------
 */

/* 1 while the follower has its connection; a new one of its own means another one here. */
static int database_is_there(fs_scribe_t *scribe)
{
    fs_database_facts_t database;

    fs_board_database(scribe->parts.shared.board, &database);
    if (database.up && database.connects != scribe->connects) {
        scribe->connects = database.connects;
        scribe->write_at = 0;
        fs_sql_disconnect(scribe->thread.sql);
    }
    return database.up;
}

/* Does what is due and returns the mono time at which to come again. */
static fs_usec_t do_due(fs_scribe_t *scribe)
{
    if (!database_is_there(scribe))
        return fs_time_mono() + LOOK_EVERY;
    if (scribe->write_at <= fs_time_mono())
        write_members(scribe);
    if (fs_overview_due(scribe->parts.overview) <= fs_time_mono())
        read_overview(scribe);
    if (scribe->tidy_at <= fs_time_mono())
        tidy(scribe);
    return fs_time_mono() + LOOK_EVERY;
}

static void work(void *baton)
{
    fs_scribe_t *scribe = baton;

    while (!fs_sqlthread_stopped(&scribe->thread))
        fs_bell_wait(scribe->parts.looked, do_due(scribe));
}

apr_status_t fs_scribe_start(fs_scribe_t **scribe, const fs_scribe_parts_t *parts,
                             fs_result_t *result)
{
    fs_scribe_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    if (!made)
        return APR_ENOMEM;
    made->parts = *parts;
    status = fs_sqlthread_start(&made->thread, parts->shared.option_file, STATEMENT_S,
                                parts->looked, work, made, result);
    if (status == APR_SUCCESS)
        *scribe = made;
    else
        free(made);
    return status;
}

void fs_scribe_stop(fs_scribe_t *scribe)
{
    fs_sqlthread_stop(&scribe->thread);
}

int fs_scribe_join(fs_scribe_t *scribe, fs_usec_t until)
{
    if (!fs_sqlthread_join(&scribe->thread, until))
        return 0;
    free(scribe);
    return 1;
}
