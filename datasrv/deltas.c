/* SPDX-License-Identifier: Apache-2.0 */
#include "deltas.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_log.h"
#include "image/fs_delta.h"
#include "sync/fs_retrieve.h"

#define SUFFIX      ".fsd"
#define LEAST_BYTES (UINT64_C(64) << 20)
#define TRY_AGAIN   (10 * FS_USEC_PER_SEC) /* after a failure, a full disk say */

typedef enum state_t { WANTED, MAKING, HERE, USELESS, FAILED } state_t;

typedef struct pair_t {
    fs_digest_t from, to;
    state_t state;
    uint64_t bytes;
    fs_usec_t asked;  /* mono, latest; while WANTED: first */
    fs_usec_t failed; /* mono */
} pair_t;

struct fs_deltas_t {
    fs_store_t *store;
    void (*made_fn)(void *baton);
    void *baton;
    pthread_t thread;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t wanted;
    int stop;
    unsigned count;
    pair_t pairs[FS_DELTAS_PAIRS];
    fs_deltas_totals_t totals;
};

static void path_of(const fs_deltas_t *deltas, const fs_digest_t *from, const fs_digest_t *to,
                    char path[PATH_MAX])
{
    char old[FS_DIGEST_HEX_SIZE], new[FS_DIGEST_HEX_SIZE];

    snprintf(path, PATH_MAX, "%s/%s-%s" SUFFIX, fs_store_dir(deltas->store), fs_digest_hex(to, new),
             fs_digest_hex(from, old));
}

/* Lock held. */
static pair_t *find(fs_deltas_t *deltas, const fs_digest_t *from, const fs_digest_t *to)
{
    for (unsigned i = 0; i < deltas->count; i++) {
        if (fs_digest_equal(&deltas->pairs[i].to, to) &&
            fs_digest_equal(&deltas->pairs[i].from, from))
            return &deltas->pairs[i];
    }
    return NULL;
}

/* --- forgetting ---------------------------------------------------------------------------------
 */

/* Takes a pair out; its file is the caller's to remove once the lock is free. Lock held. */
static pair_t take_out(fs_deltas_t *deltas, pair_t *pair)
{
    pair_t taken = *pair;

    if (pair->state == HERE) {
        deltas->totals.files--;
        deltas->totals.bytes -= pair->bytes;
    }
    *pair = deltas->pairs[--deltas->count];
    return taken;
}

static void remove_file(const fs_deltas_t *deltas, const pair_t *pair)
{
    char path[PATH_MAX];

    path_of(deltas, &pair->from, &pair->to, path);
    unlink(path);
}

/* The pair that was asked for longest ago and isn't being made, NULL if there is none. Lock held.
 */
static pair_t *oldest(fs_deltas_t *deltas, int with_file)
{
    pair_t *found = NULL;

    for (unsigned i = 0; i < deltas->count; i++) {
        pair_t *pair = &deltas->pairs[i];

        if (pair->state != MAKING && pair->state != WANTED && (pair->state == HERE || !with_file) &&
            (!found || pair->asked < found->asked))
            found = pair;
    }
    return found;
}

/* Makes room for one more pair; 0 if all are still to be made. Lock held, but not on return of 1.
 */
static int make_room(fs_deltas_t *deltas)
{
    pair_t *pair, gone;

    if (deltas->count < FS_DELTAS_PAIRS)
        return 1;
    pair = oldest(deltas, 0);
    if (!pair)
        return 0;
    gone = take_out(deltas, pair);
    if (gone.state == HERE)
        remove_file(deltas, &gone);
    return 1;
}

static void keep_within(fs_deltas_t *deltas)
{
    unsigned images;
    uint64_t limit, disk_free;

    fs_store_totals(deltas->store, &images, &limit, &disk_free);
    limit = limit > LEAST_BYTES ? limit : LEAST_BYTES;
    for (;;) {
        pair_t gone = {.state = FAILED};

        pthread_mutex_lock(&deltas->lock);
        if (deltas->totals.bytes > limit && deltas->totals.files > 1)
            gone = take_out(deltas, oldest(deltas, 1));
        pthread_mutex_unlock(&deltas->lock);
        if (gone.state != HERE)
            return;
        remove_file(deltas, &gone);
    }
}

void fs_deltas_tidy(fs_deltas_t *deltas)
{
    for (unsigned i = 0;;) {
        pair_t gone = {.state = FAILED};

        pthread_mutex_lock(&deltas->lock);
        if (i >= deltas->count) {
            pthread_mutex_unlock(&deltas->lock);
            return;
        }
        if (deltas->pairs[i].state == MAKING || fs_store_has(deltas->store, &deltas->pairs[i].to))
            i++;
        else
            gone = take_out(deltas, &deltas->pairs[i]);
        pthread_mutex_unlock(&deltas->lock);
        if (gone.state == HERE)
            remove_file(deltas, &gone);
    }
}

/* --- making -------------------------------------------------------------------------------------
 */

/* The pair that was asked for first of those that are to be made. Lock held. */
static pair_t *next_wanted(fs_deltas_t *deltas)
{
    pair_t *found = NULL;

    for (unsigned i = 0; i < deltas->count; i++) {
        pair_t *pair = &deltas->pairs[i];

        if (pair->state == WANTED && (!found || pair->asked < found->asked))
            found = pair;
    }
    return found;
}

static state_t make(fs_deltas_t *deltas, const pair_t *pair, fs_delta_info_t *info,
                    uint64_t *image_bytes)
{
    char old[PATH_MAX], new[PATH_MAX], path[PATH_MAX];
    const char *dir = fs_store_dir(deltas->store);
    fs_result_t why;
    int fd = fs_store_image(deltas->store, &pair->to, image_bytes);

    if (fd < 0)
        return FAILED;
    close(fd);
    fs_result_clear(&why);
    path_of(deltas, &pair->from, &pair->to, path);
    if (fs_images_path(old, sizeof(old), dir, &pair->from) ||
        fs_images_path(new, sizeof(new), dir, &pair->to))
        return FAILED;
    if (fs_delta_make(old, new, path, info, &why) != APR_SUCCESS) {
        if (strcmp(why.problem, "FS0120") == 0)
            return USELESS;
        fs_log(FS_LOG_WARNING, "FS0867",
               "cannot make a delta, whole images are served meanwhile: %s: %s", why.problem,
               why.detail);
        return FAILED;
    }
    if (info->file_bytes < *image_bytes)
        return HERE;
    unlink(path);
    return USELESS;
}

/* Enters what became of it. */
static void note(fs_deltas_t *deltas, const pair_t *job, state_t state, const fs_delta_info_t *info,
                 fs_usec_t took)
{
    fs_deltas_totals_t *totals = &deltas->totals;
    pair_t *pair;

    pthread_mutex_lock(&deltas->lock);
    pair = find(deltas, &job->from, &job->to);
    pair->state = state;
    totals->took = took;
    if (state == HERE) {
        pair->bytes = info->file_bytes;
        pair->asked = fs_time_mono(); /* those who wait for it ask now */
        totals->files++;
        totals->bytes += pair->bytes;
        totals->made++;
    } else if (state == USELESS) {
        totals->useless++;
    } else {
        pair->failed = fs_time_mono();
        totals->failed++;
    }
    pthread_mutex_unlock(&deltas->lock);
}

static void make_one(fs_deltas_t *deltas, const pair_t *job)
{
    fs_delta_info_t info = {.file_bytes = 0};
    char old[FS_DIGEST_HEX_SIZE], new[FS_DIGEST_HEX_SIZE];
    fs_usec_t began = fs_time_mono(), took;
    uint64_t image_bytes = 0;
    state_t state = make(deltas, job, &info, &image_bytes);

    took = fs_time_mono() - began;
    if (state != FAILED)
        fs_log(FS_LOG_INFO, "FS0866",
               "delta from image %.12s to %.12s: %llu rows put, %llu removed, %llu bytes for an "
               "image of %llu%s, %lld ms",
               fs_digest_hex(&job->from, old), fs_digest_hex(&job->to, new),
               (unsigned long long)info.put_rows, (unsigned long long)info.removed_rows,
               (unsigned long long)info.file_bytes, (unsigned long long)image_bytes,
               state == USELESS ? ": the image is served" : "",
               (long long)(took / FS_USEC_PER_MSEC));
    note(deltas, job, state, &info, took);
    keep_within(deltas);
    deltas->made_fn(deltas->baton);
}

static void *run(void *baton)
{
    fs_deltas_t *deltas = baton;
    pair_t job, *pair;

    pthread_mutex_lock(&deltas->lock);
    while (!deltas->stop) {
        pair = next_wanted(deltas);
        if (!pair) {
            pthread_cond_wait(&deltas->wanted, &deltas->lock);
            continue;
        }
        pair->state = MAKING;
        job = *pair;
        pthread_mutex_unlock(&deltas->lock);
        make_one(deltas, &job);
        pthread_mutex_lock(&deltas->lock);
    }
    pthread_mutex_unlock(&deltas->lock);
    return NULL;
}

/* --- asking -------------------------------------------------------------------------------------
 */

/* Lock held. */
static fs_delta_state_t ask(fs_deltas_t *deltas, const fs_digest_t *from, const fs_digest_t *to,
                            uint64_t *size)
{
    pair_t *pair = find(deltas, from, to);
    fs_usec_t now = fs_time_mono();

    if (pair && pair->state == HERE) {
        pair->asked = now;
        *size = pair->bytes;
        return FS_DELTA_HERE;
    }
    if (pair && (pair->state == WANTED || pair->state == MAKING))
        return FS_DELTA_MAKING;
    if (pair && (pair->state == USELESS || now < pair->failed + TRY_AGAIN)) {
        pair->asked = now;
        return FS_DELTA_NONE;
    }
    if (!pair) {
        if (!make_room(deltas))
            return FS_DELTA_NONE;
        pair = &deltas->pairs[deltas->count++];
        *pair = (pair_t){.from = *from, .to = *to};
    }
    pair->state = WANTED;
    pair->asked = now;
    pthread_cond_signal(&deltas->wanted);
    return FS_DELTA_MAKING;
}

fs_delta_state_t fs_deltas_get(fs_deltas_t *deltas, const fs_digest_t *from, const fs_digest_t *to,
                               int *fd, uint64_t *size)
{
    char path[PATH_MAX];
    fs_delta_state_t state;
    pair_t *pair;

    *fd = -1;
    if (fs_digest_equal(from, to) || !fs_store_has(deltas->store, to))
        return FS_DELTA_NONE;
    pthread_mutex_lock(&deltas->lock);
    if (find(deltas, from, to) || fs_store_has(deltas->store, from))
        state = ask(deltas, from, to, size);
    else
        state = FS_DELTA_NONE;
    pthread_mutex_unlock(&deltas->lock);
    if (state != FS_DELTA_HERE)
        return state;
    path_of(deltas, from, to, path);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd >= 0)
        return FS_DELTA_HERE;
    pthread_mutex_lock(
        &deltas->lock); /* somebody removed it: made again when it is asked for next */
    pair = find(deltas, from, to);
    if (pair && pair->state == HERE)
        take_out(deltas, pair);
    pthread_mutex_unlock(&deltas->lock);
    return FS_DELTA_NONE;
}

void fs_deltas_totals(fs_deltas_t *deltas, fs_deltas_totals_t *totals)
{
    pthread_mutex_lock(&deltas->lock);
    *totals = deltas->totals;
    pthread_mutex_unlock(&deltas->lock);
}

/* --- beginning and end --------------------------------------------------------------------------
 */

static void remove_leftovers(const fs_deltas_t *deltas)
{
    const size_t length = 2 * (FS_DIGEST_HEX_SIZE - 1) + 1;
    DIR *dir = opendir(fs_store_dir(deltas->store));
    const struct dirent *file;

    if (!dir)
        return;
    while ((file = readdir(dir)))
        if (strlen(file->d_name) == length + sizeof(SUFFIX) - 1 &&
            !strcmp(file->d_name + length, SUFFIX))
            unlinkat(dirfd(dir), file->d_name, 0);
    closedir(dir);
}

fs_deltas_t *fs_deltas_create(fs_store_t *store, void (*made)(void *baton), void *baton)
{
    fs_deltas_t *deltas = calloc(1, sizeof(*deltas));
    sigset_t blocked, before;
    int failed;

    if (!deltas)
        return NULL;
    deltas->store = store;
    deltas->made_fn = made;
    deltas->baton = baton;
    pthread_mutex_init(&deltas->lock, NULL);
    pthread_cond_init(&deltas->wanted, NULL);
    remove_leftovers(deltas);
    sigfillset(&blocked); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    failed = pthread_create(&deltas->thread, NULL, run, deltas);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        return deltas;
    pthread_cond_destroy(&deltas->wanted);
    pthread_mutex_destroy(&deltas->lock);
    free(deltas);
    return NULL;
}

void fs_deltas_destroy(fs_deltas_t *deltas)
{
    if (!deltas)
        return;
    pthread_mutex_lock(&deltas->lock);
    deltas->stop = 1;
    pthread_cond_signal(&deltas->wanted);
    pthread_mutex_unlock(&deltas->lock);
    pthread_join(deltas->thread, NULL);
    pthread_cond_destroy(&deltas->wanted);
    pthread_mutex_destroy(&deltas->lock);
    free(deltas);
}
