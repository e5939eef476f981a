/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two tables of the dashboard that only the database has: every member of the farm, and the
 * history. Read only while somebody looks at the dashboard, at most once in two seconds, however
 * many look.
 */
#ifndef FS_DATASRV_OVERVIEW_H
#define FS_DATASRV_OVERVIEW_H

#include <stdatomic.h>

#include "base/fs_time.h"
#include "net/fs_sql.h"

#define FS_OVERVIEW_MEMBERS 2000
#define FS_OVERVIEW_HISTORY 25

typedef struct fs_table_t {
    unsigned columns, rows;
    char **cells; /* [rows * columns], NULL for SQL NULL */
} fs_table_t;

enum {
    FS_MEMBER_NAME,
    FS_MEMBER_KIND,
    FS_MEMBER_GROUP,
    FS_MEMBER_ADDRESS,
    FS_MEMBER_ACTIVE,
    FS_MEMBER_STAGED,
    FS_MEMBER_BOUND,
    FS_MEMBER_SOURCE,
    FS_MEMBER_PROBLEM,
    FS_MEMBER_SILENT, /* microseconds since it was seen */
    FS_MEMBER_COLUMNS
};
enum {
    FS_HISTORY_AT,
    FS_HISTORY_GROUP,
    FS_HISTORY_ACTION,
    FS_HISTORY_VERSION,
    FS_HISTORY_WHO,
    FS_HISTORY_ROWS,
    FS_HISTORY_DETAIL,
    FS_HISTORY_COLUMNS
};

/* What was read: immutable, shared by reference. */
typedef struct fs_glance_t {
    atomic_uint references;
    fs_usec_t read; /* mono */
    fs_table_t members, history;
} fs_glance_t;
void fs_glance_drop(fs_glance_t *glance); /* NULL is fine */

typedef struct fs_overview_t fs_overview_t;
fs_overview_t *fs_overview_create(void);
void fs_overview_destroy(fs_overview_t *overview);
/* Somebody looks. Returns the latest glance (drop it), NULL if there is none yet; any thread. */
fs_glance_t *fs_overview_look(fs_overview_t *overview);
/* Mono time at which to read again, INT64_MAX while nobody looks. The scribe's. */
fs_usec_t fs_overview_due(fs_overview_t *overview);
apr_status_t fs_overview_read(fs_overview_t *overview, fs_sql_t *sql, fs_result_t *result);

#endif
