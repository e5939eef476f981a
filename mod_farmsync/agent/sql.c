/* SPDX-License-Identifier: Apache-2.0 */
#include "sql.h"

#include <string.h>

#include "plan.h"

#define RETRY_FIRST    (200 * FS_USEC_PER_MSEC)
#define RETRY_LAST     (5 * FS_USEC_PER_SEC)
#define READ_TIMEOUT_S 5 /* nothing here takes long */
#define IDLE           (10 * FS_USEC_PER_SEC)

void fs_agent_sql_init(fs_agent_sql_t *shared, const char *option_file)
{
    memset(shared, 0, sizeof(*shared));
    pthread_mutex_init(&shared->lock, NULL);
    shared->option_file = option_file;
}

static apr_status_t connect_now(fs_agent_sql_t *shared, fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;

    if (!shared->sql)
        status = fs_sql_create(&shared->sql, shared->option_file, result);
    if (status) {
        shared->sql = NULL;
        return status;
    }
    fs_sql_set_read_timeout(shared->sql, READ_TIMEOUT_S);
    status = fs_sql_connect(shared->sql, result);
    if (status) {
        /* Read the option file again next time: it may be what is wrong. */
        fs_sql_destroy(shared->sql);
        shared->sql = NULL;
    }
    return status;
}

fs_sql_t *fs_agent_sql_begin(fs_agent_sql_t *shared, fs_result_t *result)
{
    fs_usec_t now;

    if (!shared->option_file) {
        fs_result_set(result, APR_ENOTIMPL, "FS0553",
                      "no data server answers and no database is configured; see "
                      "FarmSyncDataServer and FarmSyncDatabase");
        return NULL;
    }
    pthread_mutex_lock(&shared->lock);
    now = fs_time_mono();
    shared->used = now;
    if (!shared->sql && now < shared->retry_at) {
        *result = shared->last;
        pthread_mutex_unlock(&shared->lock);
        return NULL;
    }
    if (connect_now(shared, result)) {
        shared->failures++;
        shared->last = *result;
        shared->retry_at =
            fs_time_mono() + fs_plan_backoff(shared->failures, RETRY_FIRST, RETRY_LAST, 0.5);
        pthread_mutex_unlock(&shared->lock);
        return NULL;
    }
    shared->failures = 0;
    return shared->sql;
}

void fs_agent_sql_end(fs_agent_sql_t *shared)
{
    if (fs_sql_error(shared->sql) == FS_SQL_LOST)
        fs_sql_disconnect(shared->sql);
    pthread_mutex_unlock(&shared->lock);
}

void fs_agent_sql_idle(fs_agent_sql_t *shared)
{
    if (pthread_mutex_trylock(&shared->lock))
        return;
    if (shared->sql && fs_time_mono() - shared->used > IDLE) {
        fs_sql_destroy(shared->sql);
        shared->sql = NULL;
    }
    pthread_mutex_unlock(&shared->lock);
}
