/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StateDir/backplane: the records and peers, written whole and renamed. An operator's record is
 * written at once, others within a moment; a large state not so often that the disk does nothing
 * else. The last one is written when the agent ends, after the listeners did.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backplane_internal.h"
#include "base/fs_file.h"

#define FILE_LIMIT     (64u * 1024 * 1024)
#define KEEP_AFTER     (200 * FS_USEC_PER_MSEC)
#define FLEETING_AFTER (5 * FS_USEC_PER_SEC) /* what is said anew each second anyway */
#define KEEP_SHARE     20 /* the disk is busy with it for at most a 20th of the time */
#define RETRY_AFTER    (2 * FS_USEC_PER_SEC)

static void name_file(const fs_backplane_t *backplane, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/" FS_BACKPLANE_FILE, backplane->agent->config.state_dir);
}

/* --- restoring ----------------------------------------------------------------------------------
 */

static apr_status_t create(fs_backplane_t *backplane, const char *bytes, size_t length,
                           fs_result_t *result)
{
    const fs_agent_config_t *config = &backplane->agent->config;
    fs_moment_t now = fs_backplane_now(backplane);
    fs_exchange_settings_t settings = {.name = config->server,
                                       .generation =
                                           fs_exchange_generation(bytes, length, now.farm),
                                       .seed = (uint64_t)now.mono ^ (uint64_t)getpid() << 32,
                                       .suspect = config->suspect_ms * FS_USEC_PER_MSEC,
                                       .dead = config->dead_ms * FS_USEC_PER_MSEC};
    fs_map_settings_t map = {.origin = config->server,
                             .generation = settings.generation,
                             .outage = (fs_usec_t)config->outage_s * FS_USEC_PER_SEC};

    backplane->map = fs_map_create(&map);
    backplane->exchange = backplane->map ? fs_exchange_create(&settings, backplane->map) : NULL;
    if (!backplane->exchange)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    return APR_SUCCESS;
}

/* A file that can't be used is kept for whoever wants to know why; the others have what was in it.
 */
static void put_aside(const char *path, const fs_result_t *problem)
{
    char aside[PATH_MAX + 16];

    snprintf(aside, sizeof(aside), "%s.damaged", path);
    rename(path, aside);
    fs_log(FS_LOG_WARNING, "FS1475",
           "%s can't be used (%s: %s); it is %s now, and this server starts from the others", path,
           problem->problem, problem->detail, aside);
}

apr_status_t fs_backplane_restore(fs_backplane_t *backplane, fs_result_t *result)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t length = 0;
    fs_exchange_info_t info;
    apr_status_t status, loaded;
    fs_result_t problem;

    name_file(backplane, path);
    loaded = fs_file_read(path, FILE_LIMIT, &bytes, &length, &problem);
    status = create(backplane, bytes, length, result);
    if (!status && !loaded)
        loaded = fs_exchange_load(backplane->exchange, fs_backplane_now(backplane), bytes, length,
                                  &problem);
    free(bytes);
    if (status)
        return status;
    if (loaded && !APR_STATUS_IS_ENOENT(loaded))
        put_aside(path, &problem);
    backplane->kept = fs_map_serial(backplane->map);
    fs_exchange_info(backplane->exchange, &info);
    if (info.held)
        fs_log(FS_LOG_NOTICE, "FS1479",
               "backplane: this server was away for longer than FarmSyncLongestOutage: %u records "
               "count here only until another server says what is true",
               info.held);
    return APR_SUCCESS;
}

/* --- keeping ------------------------------------------------------------------------------------
 */

void fs_backplane_dirty(fs_backplane_t *backplane, const fs_record_t *record)
{
    if (fs_record_is_fleeting(record))
        return;
    backplane->urgent |= record->priority == FS_PRIORITY_OPERATOR;
    backplane->lasting = 1;
    pthread_cond_signal(&backplane->dirty);
}

static apr_status_t keep(fs_backplane_t *backplane)
{
    fs_usec_t start = fs_time_mono();
    char path[PATH_MAX];
    uint64_t serial;
    apr_status_t status;
    fs_result_t result;
    uint8_t *bytes;
    size_t length;

    pthread_mutex_lock(&backplane->lock);
    bytes = fs_exchange_save(backplane->exchange, fs_backplane_now(backplane), &length);
    serial = fs_map_serial(backplane->map);
    backplane->urgent = backplane->lasting = 0;
    pthread_mutex_unlock(&backplane->lock);
    if (!bytes)
        return APR_ENOMEM;
    name_file(backplane, path);
    status = fs_file_write(path, bytes, length, &result);
    free(bytes);
    fs_agent_trouble(&backplane->keeping, FS_LOG_ERROR, status ? &result : NULL, "FS1480",
                     "backplane: its state is on disk again");
    pthread_mutex_lock(&backplane->lock);
    if (!status)
        backplane->kept = serial;
    else
        backplane->lasting = 1;
    backplane->keep_took = fs_time_mono() - start;
    pthread_mutex_unlock(&backplane->lock);
    fs_backplane_ring(backplane); /* somebody may wait for this */
    return status;
}

/* Whether something isn't on disk that should be. The lock is held. */
static int is_dirty(const fs_backplane_t *backplane, fs_usec_t kept_at)
{
    return backplane->kept != fs_map_serial(backplane->map) &&
           (backplane->lasting || fs_time_mono() - kept_at >= FLEETING_AFTER);
}

/* The lock is held. Waits until there is something to keep, and it is time. */
static void wait_for_dirt(fs_backplane_t *backplane, fs_usec_t kept_at, fs_usec_t not_before)
{
    while (!fs_backplane_ending(backplane) && !is_dirty(backplane, kept_at))
        fs_agent_cond_wait(&backplane->dirty, &backplane->lock, FS_USEC_PER_SEC);
    while (!fs_backplane_ending(backplane) && fs_time_mono() < not_before && !backplane->urgent)
        fs_agent_cond_wait(&backplane->dirty, &backplane->lock, not_before - fs_time_mono());
}

void *fs_backplane_keep(void *baton)
{
    fs_backplane_t *backplane = baton;
    fs_usec_t not_before = 0, kept_at = 0;
    apr_status_t status = APR_SUCCESS;

    for (;;) {
        int last;

        pthread_mutex_lock(&backplane->lock);
        wait_for_dirt(backplane, kept_at, not_before);
        last = fs_backplane_ending(backplane);
        pthread_mutex_unlock(&backplane->lock);
        status = keep(backplane);
        if (last)
            break;
        kept_at = fs_time_mono();
        not_before = fs_time_mono() + (status ? RETRY_AFTER
                                       : backplane->keep_took * KEEP_SHARE > KEEP_AFTER
                                           ? backplane->keep_took * KEEP_SHARE
                                           : KEEP_AFTER);
        if (status)
            fs_agent_sleep(backplane->agent, RETRY_AFTER);
    }
    return NULL;
}
