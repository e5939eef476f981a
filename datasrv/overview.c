/* SPDX-License-Identifier: Apache-2.0 */
#include "overview.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define READ_EVERY (2 * FS_USEC_PER_SEC)
#define LOOKED_FOR                                                                                 \
    (10 * FS_USEC_PER_SEC) /* so long after a look somebody is taken to be watching */
#define CELL_MAX 1024

struct fs_overview_t {
    pthread_mutex_t lock; /* guards everything below */
    fs_glance_t *latest;
    fs_usec_t looked; /* mono, 0 never */
    fs_usec_t read;   /* mono, 0 never */
};

fs_overview_t *fs_overview_create(void)
{
    fs_overview_t *overview = calloc(1, sizeof(*overview));

    if (overview)
        pthread_mutex_init(&overview->lock, NULL);
    return overview;
}

void fs_overview_destroy(fs_overview_t *overview)
{
    if (!overview)
        return;
    fs_glance_drop(overview->latest);
    pthread_mutex_destroy(&overview->lock);
    free(overview);
}

static void table_free(fs_table_t *table)
{
    for (size_t i = 0; i < (size_t)table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
}

void fs_glance_drop(fs_glance_t *glance)
{
    if (!glance || atomic_fetch_sub(&glance->references, 1) != 1)
        return;
    table_free(&glance->members);
    table_free(&glance->history);
    free(glance);
}

fs_glance_t *fs_overview_look(fs_overview_t *overview)
{
    fs_glance_t *latest;

    pthread_mutex_lock(&overview->lock);
    overview->looked = fs_time_mono();
    latest = overview->latest;
    if (latest)
        atomic_fetch_add(&latest->references, 1);
    pthread_mutex_unlock(&overview->lock);
    return latest;
}

fs_usec_t fs_overview_due(fs_overview_t *overview)
{
    fs_usec_t due = INT64_MAX;

    pthread_mutex_lock(&overview->lock);
    if (overview->looked && overview->looked + LOOKED_FOR > fs_time_mono())
        due = overview->read ? overview->read + READ_EVERY : 0;
    pthread_mutex_unlock(&overview->lock);
    return due;
}

/* fs_sql_row_fn: keeps the row's text. */
static apr_status_t keep_row(void *baton, const fs_slice_t *values, unsigned count,
                             fs_result_t *result)
{
    fs_table_t *table = baton;
    char **more =
        realloc(table->cells, (size_t)(table->rows + 1) * table->columns * sizeof(*table->cells));

    if (!more)
        return APR_ENOMEM;
    table->cells = more;
    for (unsigned i = 0; i < table->columns; i++) {
        size_t length = i < count && values[i].data ? values[i].length : 0;

        more[(size_t)table->rows * table->columns + i] =
            i < count && values[i].data
                ? strndup(values[i].data, length < CELL_MAX ? length : CELL_MAX)
                : NULL;
    }
    table->rows++;
    return APR_SUCCESS;
}

static apr_status_t read_tables(fs_glance_t *glance, fs_sql_t *sql, fs_result_t *result)
{
    apr_status_t status;

    glance->members.columns = FS_MEMBER_COLUMNS;
    glance->history.columns = FS_HISTORY_COLUMNS;
    status = fs_sql_rows(sql, keep_row, &glance->members, result,
                         "SELECT name, kind, group_name, address, version_active, version_staged, "
                         "clock_bound_us, clock_source, problem, "
                         "TIMESTAMPDIFF(MICROSECOND, seen, UTC_TIMESTAMP(6)) "
                         "FROM farmsync.member ORDER BY kind, name, group_name LIMIT %d",
                         (int64_t)FS_OVERVIEW_MEMBERS);
    if (status != APR_SUCCESS)
        return status;
    return fs_sql_rows(sql, keep_row, &glance->history, result,
                       "SELECT at, group_name, action, version, who, rows_changed, detail "
                       "FROM farmsync.history ORDER BY id DESC LIMIT %d",
                       (int64_t)FS_OVERVIEW_HISTORY);
}

apr_status_t fs_overview_read(fs_overview_t *overview, fs_sql_t *sql, fs_result_t *result)
{
    fs_glance_t *glance = calloc(1, sizeof(*glance));
    apr_status_t status;

    if (!glance)
        return APR_ENOMEM;
    atomic_init(&glance->references, 1);
    status = read_tables(glance, sql, result);
    glance->read = fs_time_mono();
    pthread_mutex_lock(&overview->lock);
    overview->read = glance->read;
    if (status == APR_SUCCESS) {
        fs_glance_t *former = overview->latest;

        overview->latest = glance;
        glance = former;
    }
    pthread_mutex_unlock(&overview->lock);
    fs_glance_drop(glance);
    return status;
}
