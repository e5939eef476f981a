/* SPDX-License-Identifier: Apache-2.0 */
#include "groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "sync/fs_source.h"

#define STATE_SIZE 1024 /* numbers and a reason of 512 characters, see farmsync.sync */

/* A group as the latest poll saw it: its row but for the time, as one text. */
typedef struct state_t {
    char name[FS_IMAGE_NAME_SIZE];
    char text[STATE_SIZE];
} state_t;

typedef struct served_t {
    state_t published; /* what the board shows; text "" none */
    fs_worker_t *worker;
} served_t;

struct fs_groups_t {
    fs_worker_shared_t shared;
    void (*published)(void *baton);
    void *baton;

    pthread_mutex_t lock; /* guards the next three */
    unsigned wanted_count;
    char wanted[FS_SETTINGS_GROUPS][FS_IMAGE_NAME_SIZE];
    int said_missing[FS_SETTINGS_GROUPS];

    unsigned count;
    served_t served[FS_BOARD_GROUPS];
    unsigned ending_count;
    fs_worker_t **ending; /* threads of groups that are no longer served */
    unsigned state_count;
    state_t states[FS_BOARD_GROUPS];
    int said_full;
};

fs_groups_t *fs_groups_create(const fs_worker_shared_t *shared, void (*published)(void *baton),
                              void *baton)
{
    fs_groups_t *groups = calloc(1, sizeof(*groups));

    if (!groups)
        return NULL;
    groups->shared = *shared;
    groups->published = published;
    groups->baton = baton;
    pthread_mutex_init(&groups->lock, NULL);
    return groups;
}

void fs_groups_set_wanted(fs_groups_t *groups, const fs_settings_t *settings)
{
    pthread_mutex_lock(&groups->lock);
    groups->wanted_count = settings->group_count;
    memcpy(groups->wanted, settings->groups, sizeof(groups->wanted));
    memset(groups->said_missing, 0, sizeof(groups->said_missing));
    pthread_mutex_unlock(&groups->lock);
}

static int is_wanted(fs_groups_t *groups, const char *name)
{
    int wanted;

    pthread_mutex_lock(&groups->lock);
    wanted = !groups->wanted_count;
    for (unsigned i = 0; i < groups->wanted_count && !wanted; i++)
        wanted = !strcmp(groups->wanted[i], name);
    pthread_mutex_unlock(&groups->lock);
    return wanted;
}

/* fs_sql_row_fn: keeps the row of a wanted group as one text. */
static apr_status_t keep_state(void *baton, const fs_slice_t *values, unsigned count,
                               fs_result_t *result)
{
    fs_groups_t *groups = baton;
    state_t *state = &groups->states[groups->state_count];
    char name[FS_IMAGE_NAME_SIZE];
    size_t used = 0;

    if (!count || !values[0].data)
        return APR_SUCCESS;
    snprintf(name, sizeof(name), "%.*s", (int)values[0].length, values[0].data);
    if (!is_wanted(groups, name))
        return APR_SUCCESS;
    if (groups->state_count == FS_BOARD_GROUPS) {
        if (!groups->said_full)
            fs_log(FS_LOG_ERROR, "FS0863",
                   "group %s and those after it are not served: a data server serves at most %d "
                   "groups. Share them out with Group among several data servers",
                   name, FS_BOARD_GROUPS);
        groups->said_full = 1;
        return APR_SUCCESS;
    }
    memcpy(state->name, name, sizeof(name));
    state->text[0] = '\0';
    for (unsigned i = 1; i < count && used < sizeof(state->text); i++)
        used += (size_t)snprintf(state->text + used, sizeof(state->text) - used, "%.*s\t",
                                 values[i].data ? (int)values[i].length : 0,
                                 values[i].data ? values[i].data : "");
    groups->state_count++;
    return APR_SUCCESS;
}

static served_t *find_served(fs_groups_t *groups, const char *name)
{
    for (unsigned i = 0; i < groups->count; i++)
        if (!strcmp(groups->served[i].published.name, name))
            return &groups->served[i];
    return NULL;
}

static const state_t *find_state(const fs_groups_t *groups, const char *name)
{
    for (unsigned i = 0; i < groups->state_count; i++)
        if (!strcmp(groups->states[i].name, name))
            return &groups->states[i];
    return NULL;
}

static served_t *serve(fs_groups_t *groups, const char name[FS_IMAGE_NAME_SIZE])
{
    served_t *served;

    if (groups->count == FS_BOARD_GROUPS || !fs_board_add(groups->shared.board, name))
        return NULL;
    served = &groups->served[groups->count];
    memset(served, 0, sizeof(*served));
    memcpy(served->published.name, name, sizeof(served->published.name));
    served->worker = fs_worker_start(&groups->shared, name);
    if (!served->worker) {
        fs_board_remove(groups->shared.board, name);
        return NULL;
    }
    groups->count++;
    fs_log(FS_LOG_NOTICE, "FS0862", "group %s is served from now on", name);
    return served;
}

/* The thread ends after the step it is in; it is joined when it has. */
static void let_end(fs_groups_t *groups, fs_worker_t *worker)
{
    fs_worker_t **more =
        realloc(groups->ending, (groups->ending_count + 1) * sizeof(*groups->ending));

    fs_worker_stop(worker);
    if (!more) {
        fs_worker_free(worker); /* out of memory: waits for it here */
        return;
    }
    groups->ending = more;
    groups->ending[groups->ending_count++] = worker;
}

static void join_ended(fs_groups_t *groups)
{
    for (unsigned i = 0; i < groups->ending_count;) {
        if (!fs_worker_ended(groups->ending[i])) {
            i++;
            continue;
        }
        fs_worker_free(groups->ending[i]);
        groups->ending[i] = groups->ending[--groups->ending_count];
    }
}

static void drop_at(fs_groups_t *groups, unsigned index)
{
    served_t *served = &groups->served[index];

    fs_log(FS_LOG_NOTICE, "FS0864", "group %s is no longer served", served->published.name);
    fs_board_remove(groups->shared.board, served->published.name);
    let_end(groups, served->worker);
    groups->served[index] = groups->served[--groups->count];
    groups->published(groups->baton);
}

/* Says once of each configured group that the database doesn't have it. */
static void say_missing(fs_groups_t *groups)
{
    pthread_mutex_lock(&groups->lock);
    for (unsigned i = 0; i < groups->wanted_count; i++) {
        int missing = !find_state(groups, groups->wanted[i]);

        if (missing && !groups->said_missing[i])
            fs_log(FS_LOG_WARNING, "FS0833",
                   "group %s is configured here but farmsync.sync has no such row; it is served as "
                   "soon as it has. Correct Group, or add a dataset to the group",
                   groups->wanted[i]);
        groups->said_missing[i] = missing;
    }
    pthread_mutex_unlock(&groups->lock);
}

static apr_status_t publish(fs_groups_t *groups, served_t *served, const state_t *state,
                            fs_sql_t *sql, fs_result_t *result)
{
    fs_manifest_t *manifest = NULL;
    fs_published_t *published;
    fs_usec_t asked = fs_time_mono();
    apr_status_t status = fs_source_manifest(sql, state->name, &manifest, result);

    if (status != APR_SUCCESS)
        return status;
    published = fs_published_make(manifest);
    if (!published)
        return APR_ENOMEM;
    published->asked = asked;
    fs_board_publish(groups->shared.board, state->name, published);
    served->published = *state;
    fs_worker_wake(served->worker);
    groups->published(groups->baton);
    return APR_SUCCESS;
}

static apr_status_t reconcile(fs_groups_t *groups, fs_sql_t *sql, fs_result_t *result)
{
    for (unsigned i = groups->count; i-- > 0;)
        if (!find_state(groups, groups->served[i].published.name))
            drop_at(groups, i);
    say_missing(groups);
    for (unsigned i = 0; i < groups->state_count; i++) {
        const state_t *state = &groups->states[i];
        served_t *served = find_served(groups, state->name);
        apr_status_t status;

        if (!served && !(served = serve(groups, state->name)))
            continue;
        if (!strcmp(served->published.text, state->text))
            continue;
        status = publish(groups, served, state, sql, result);
        if (status != APR_SUCCESS &&
            strcmp(result->problem, "FS0370")) /* removed meanwhile: fine */
            return status;
    }
    fs_board_set_listed(groups->shared.board);
    return APR_SUCCESS;
}

apr_status_t fs_groups_poll(fs_groups_t *groups, fs_sql_t *sql, fs_result_t *result)
{
    apr_status_t status;

    groups->state_count = 0;
    join_ended(groups);
    status = fs_sql_rows(sql, keep_state, groups, result,
                         "SELECT group_name, epoch, version, active_version, activation_us, grid_us, "
                         "interval_us, lead_us, state, pinned_version, reason "
                         "FROM farmsync.sync_us ORDER BY group_name");
    return status == APR_SUCCESS ? reconcile(groups, sql, result) : status;
}

void fs_groups_wake(fs_groups_t *groups)
{
    for (unsigned i = 0; i < groups->count; i++)
        fs_worker_wake(groups->served[i].worker);
}

void fs_groups_stop(fs_groups_t *groups)
{
    while (groups->count)
        let_end(groups, groups->served[--groups->count].worker);
}

int fs_groups_ended(fs_groups_t *groups)
{
    join_ended(groups);
    return !groups->ending_count;
}

void fs_groups_destroy(fs_groups_t *groups)
{
    if (!groups)
        return;
    pthread_mutex_destroy(&groups->lock);
    free(groups->ending);
    free(groups);
}
