/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One database connection for all that is short: the clock, a look at the sync row, a report. A
 * farm of a hundred servers whose data servers are down is then a hundred connections and not five
 * hundred. It is opened when it is needed, and closed when it hasn't been for a while. What takes
 * long, promotion and building, uses connections of its own.
 */
#ifndef FS_AGENT_SQL_H
#define FS_AGENT_SQL_H

#include <pthread.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "net/fs_sql.h"

typedef struct fs_agent_sql_t {
    pthread_mutex_t lock;    /* all below; held between begin and end */
    const char *option_file; /* NULL: no database is configured */
    fs_sql_t *sql;
    unsigned failures;
    fs_usec_t retry_at; /* mono; until then `last` is the answer */
    fs_usec_t used;
    fs_result_t last;
} fs_agent_sql_t;

void fs_agent_sql_init(fs_agent_sql_t *shared, const char *option_file);
/*
 * The connection, for this thread alone until fs_agent_sql_end; NULL when there is none (then there
 * is no end to be called). While the database is away only one thread tries, now and then. The
 * option file is read when it is needed, so that it may be mended while the agent runs. Errors:
 * FS0553 (no database configured), those of fs_sql_create and fs_sql_connect.
 */
fs_sql_t *fs_agent_sql_begin(fs_agent_sql_t *shared, fs_result_t *result);
void fs_agent_sql_end(fs_agent_sql_t *shared);
/* Closes the connection if nobody used it for a while. */
void fs_agent_sql_idle(fs_agent_sql_t *shared);

#endif
