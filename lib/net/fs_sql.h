/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL through MySQL or MariaDB Connector/C; keeps to the API that both have.
 *
 * A connection belongs to one thread at a time. Session settings made on connect: utf8mb4, time
 * zone +00:00, strict sql_mode, READ COMMITTED, innodb_lock_wait_timeout 2 s, wsrep_sync_wait=1
 * where it exists, autocommit on, a transaction that is idle for 30 s is ended (MariaDB).
 * mysql_library_init must have run (fs_sql_global_init) before threads start; the process ignores
 * SIGPIPE from then on. Nothing here may be used inside httpd's children.
 */
#ifndef FS_SQL_H
#define FS_SQL_H

#include <stddef.h>
#include <stdint.h>

#include "base/fs_result.h"
#include "image/fs_image.h"

typedef struct fs_sql_t fs_sql_t;

void fs_sql_global_init(void);
void fs_sql_thread_end(void); /* each thread that used SQL, before it ends */

/*
 * Reads a MySQL option file, group [farmsync]: host (comma separated list, each with or without
 * ":port", tried in order), port, socket, user, password, ssl-ca, ssl-cert, ssl-key,
 * ssl-verify-server-cert. ssl-ca makes TLS a must. Does not connect yet. Errors: FS0301 cannot
 * read, FS0302 bad line or value, FS0303 readable by every user.
 */
apr_status_t fs_sql_create(fs_sql_t **sql, const char *option_file, fs_result_t *result);
void fs_sql_destroy(fs_sql_t *sql);

/*
 * How long to wait for the server to say anything more of an answer, from the next connect on.
 * 0: 30 s, the default. A long promotion needs more.
 */
void fs_sql_set_read_timeout(fs_sql_t *sql, unsigned seconds);

/*
 * Connects if not connected; tries the hosts in order, each for 2 s. A host that accepts but can't
 * run statements (a Galera node without its cluster) is passed over. Errors: FS0304 (all hosts and
 * causes named).
 */
apr_status_t fs_sql_connect(fs_sql_t *sql, fs_result_t *result);
void fs_sql_disconnect(fs_sql_t *sql);
/* "host:port" or socket path of the connection; "" if none. Identifies the clock that is measured.
 */
const char *fs_sql_peer(const fs_sql_t *sql);

/* What a caller can do about an error. */
typedef enum fs_sql_error_t {
    FS_SQL_OK,       /* also when a row callback ended it: the server did nothing wrong */
    FS_SQL_LOST,     /* connection closed, by the server or here: connect again, later */
    FS_SQL_CONFLICT, /* 1213, 1205, 1020, 1047, 3101: somebody else did it; rolled back */
    FS_SQL_REFUSED   /* the statement: bad data, privilege, SIGNAL (its text is in the result) */
} fs_sql_error_t;
fs_sql_error_t fs_sql_error(const fs_sql_t *sql); /* of the last call */

/*
 * Runs one statement; `format` is printf-like with only %s (quoted and escaped as a string, NULL
 * for a null pointer), %d (int64_t: cast the argument), %i (an identifier, back-quoted), %r (SQL
 * text put in as it is; never anything that comes from outside) and %%. Rows and further result
 * sets are thrown away. `affected` may be NULL; after CALL it holds the procedure's last
 * statement's. Nothing connects by itself. Errors: FS0305 (server's number and text), FS0306 not
 * connected, FS0307 out of memory.
 */
apr_status_t fs_sql_run(fs_sql_t *sql, uint64_t *affected, fs_result_t *result, const char *format,
                        ...);

/*
 * Called for each row, streaming; a status other than APR_SUCCESS ends it and is returned. The
 * values are valid during the call only. The callback must not use the connection.
 */
typedef apr_status_t fs_sql_row_fn(void *baton, const fs_slice_t *values, unsigned count,
                                   fs_result_t *result);
/*
 * As fs_sql_run, giving the rows of the (first) result set one by one without storing them. When
 * the callback ends it, the rest is read and dropped; if more than 100,000 rows are left the
 * connection is closed instead (fs_sql_error: FS_SQL_LOST), which rolls back.
 */
apr_status_t fs_sql_rows(fs_sql_t *sql, fs_sql_row_fn *fn, void *baton, fs_result_t *result,
                         const char *format, ...);

#endif
