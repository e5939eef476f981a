/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image from the one before and a delta: what a version costs on the wire when little changed.
 *
 * Data servers are asked with `from=` the newest image of the dataset that is here and verified.
 * What comes goes into a part of its own, because nobody can tell before whether it will be a delta
 * or, when the server has none, the image; the first bytes tell. An image takes the place of the
 * image's part and is treated as if it had been asked for. A delta that breaks off is continued
 * where it ended, on any server; whatever else goes wrong with it, it is thrown away, counted, and
 * the image is taken whole: the digest that the manifest promises decides, never the delta.
 */
#include "sync/fs_retrieve_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_log.h"

#define MAGIC       "FSDELTA\n" /* how a delta begins (doc/image-format.md) */
#define MAGIC_BYTES 8
#define SHORT_HEX   12
#define MOST_ROUNDS 64 /* over the servers, for one delta in one call */

/* --- what is here -------------------------------------------------------------------------------
 */

void fs_retrieve_forget_held(fs_retrieve_t *retrieve)
{
    free(retrieve->held);
    retrieve->held = NULL;
    retrieve->held_count = 0;
    retrieve->held_known = 0;
}

static void hold(void *baton, const fs_digest_t *digest)
{
    fs_retrieve_t *retrieve = baton;
    const fs_image_schema_t *schema;
    char path[PATH_MAX];
    fs_image_t *image;
    fs_held_t *grown, *held;

    if (fs_images_path(path, sizeof(path), retrieve->dir, digest) ||
        fs_image_open(&image, path, NULL))
        return;
    grown = realloc(retrieve->held, (retrieve->held_count + 1) * sizeof(*grown));
    if (grown) {
        retrieve->held = grown;
        held = &grown[retrieve->held_count++];
        schema = fs_image_schema(image);
        held->digest = *digest;
        held->version = fs_image_version(image);
        memcpy(held->group, schema->group, sizeof(held->group));
        memcpy(held->dataset, schema->dataset, sizeof(held->dataset));
    }
    fs_image_close(image);
}

/* Read through once, as everything is that is used. */
static int is_verified(fs_retrieve_t *retrieve, const fs_digest_t *digest, const char *path)
{
    struct stat info;

    if (stat(path, &info))
        return 0;
    if (fs_verified_has(&retrieve->verified, digest, &info))
        return 1;
    if (fs_image_verify(path, digest, NULL))
        return 0;
    fs_verified_add(&retrieve->verified, digest, &info);
    return 1;
}

/* The newest image of the job's dataset that is here and sound; NULL if there is none. */
static const fs_held_t *find_old(fs_job_t *job, char path[PATH_MAX])
{
    fs_retrieve_t *retrieve = job->retrieve;

    if (!retrieve->held_known) {
        retrieve->held_known = 1;
        fs_images_each(retrieve->dir, hold, retrieve);
    }
    for (;;) {
        fs_held_t *newest = NULL;

        for (unsigned i = 0; i < retrieve->held_count; i++) {
            fs_held_t *held = &retrieve->held[i];

            if (strcmp(held->group, job->group) == 0 &&
                strcmp(held->dataset, job->dataset->name) == 0 &&
                !fs_digest_equal(&held->digest, &job->dataset->digest) &&
                (!newest || held->version > newest->version))
                newest = held;
        }
        if (!newest || (fs_images_path(path, PATH_MAX, retrieve->dir, &newest->digest) == 0 &&
                        is_verified(retrieve, &newest->digest, path)))
            return newest;
        *newest = retrieve->held[--retrieve->held_count];
    }
}

/* --- the delta ----------------------------------------------------------------------------------
 */

typedef struct delta_t {
    fs_job_t *job;
    const fs_held_t *old;
    char old_path[PATH_MAX];
    fs_part_t part;   /* what comes */
    fs_part_t *image; /* the part of the image */
    int over;         /* it is to be had whole */
} delta_t;

/* 1 if what is in the part can't be a delta any more. */
static int is_no_delta(delta_t *delta)
{
    char begin[MAGIC_BYTES];
    ssize_t length = pread(fileno(delta->part.file), begin, sizeof(begin), 0);

    return length > 0 && memcmp(begin, MAGIC, (size_t)length) != 0;
}

/* Of no use: the image is taken whole, and that is said. APR_EAGAIN. */
static apr_status_t give_up(delta_t *delta, const char *problem, const char *why)
{
    fs_job_t *job = delta->job;
    const char *note = fs_log_gate(&job->retrieve->spoilt, fs_time_mono());

    job->count->spoilt++;
    delta->over = 1;
    if (!note)
        return APR_EAGAIN;
    fs_log(FS_LOG_WARNING, "FS0383",
           "image %.*s of dataset '%s' (group '%s', version %lld) could not be made from a delta "
           "and is taken whole: %s%s%s%s",
           SHORT_HEX, job->hex, job->dataset->name, job->group, (long long)job->version, problem,
           *problem ? ": " : "", why, note);
    return APR_EAGAIN;
}

/* Puts old image and delta together. */
static apr_status_t apply(delta_t *delta)
{
    fs_job_t *job = delta->job;
    fs_image_made_t made;
    apr_status_t status;
    struct stat info;
    fs_result_t why;

    fs_result_clear(&why);
    status = job->means->apply(delta->old_path, delta->part.path, job->retrieve->dir,
                               &job->dataset->digest, job->dataset->bytes, &made, &why);
    if (APR_STATUS_IS_ENOSPC(status) || status == APR_FROM_OS_ERROR(EDQUOT))
        return fs_job_not_here(job, status, why.detail);
    if (status)
        return give_up(delta, why.problem, why.detail);
    if (stat(job->path, &info))
        return fs_job_not_here(job, APR_FROM_OS_ERROR(errno), strerror(errno));
    fs_verified_add(&job->retrieve->verified, &job->dataset->digest, &info);
    job->count->deltas++;
    job->count->delta_bytes += fs_part_size(&delta->part);
    return fs_job_check_owner(job, job->path);
}

/* The server sent the image: goes on as if that had been asked for. */
static apr_status_t take_image(delta_t *delta, unsigned which, uint64_t now, apr_status_t status)
{
    int error = fs_part_adopt(delta->image, &delta->part);

    delta->over = 1;
    delta->job->sole = (int)which;
    if (error)
        return fs_job_not_here(delta->job, APR_FROM_OS_ERROR(error), strerror(error));
    return fs_job_judge(delta->job, delta->image, which, now, status);
}

/* One transfer. APR_EAGAIN: try on. */
static apr_status_t ask(delta_t *delta, unsigned which)
{
    char path[2 * FS_DIGEST_HEX_SIZE + 32], old[FS_DIGEST_HEX_SIZE];
    fs_job_t *job = delta->job;
    uint64_t have, now;
    apr_status_t status;
    fs_result_t why;

    snprintf(path, sizeof(path), "/v1/images/%s?from=%s", job->hex,
             fs_digest_hex(&delta->old->digest, old));
    fs_result_clear(&why);
    status = fs_job_download(job, &delta->part, which, path, &have, &now, &why);
    if (status && status != APR_EAGAIN && status != APR_EOF)
        return status;
    if (now && is_no_delta(delta))
        return take_image(delta, which, now, status);
    if (status == APR_SUCCESS || status == APR_EOF)
        return apply(delta);
    return APR_EAGAIN;
}

/*
 * Asks until no server is left to be asked: one that brings a piece each time brings all in the
 * end, which is less than the image would be.
 */
static apr_status_t fill(delta_t *delta)
{
    fs_job_t *job = delta->job;
    apr_status_t status = fs_job_check_room(job, 0);

    if (status)
        return status;
    status = APR_EAGAIN;
    for (unsigned turn = 0; turn < MOST_ROUNDS * job->server_count; turn++) {
        int which = fs_job_server(job, turn);

        if (status != APR_EAGAIN || delta->over)
            break;
        if (which < 0)
            continue;
        if (fs_job_stopped(job))
            return fs_job_stop(job);
        status = ask(delta, (unsigned)which);
        if (!status)
            snprintf(job->retrieve->preferred, sizeof(job->retrieve->preferred), "%s",
                     job->servers[which]);
    }
    return status;
}

apr_status_t fs_job_use_delta(fs_job_t *job, fs_part_t *image)
{
    delta_t delta = {.job = job, .image = image};
    apr_status_t status;

    if (!job->means->apply || fs_part_size(image))
        return APR_EAGAIN;
    delta.old = find_old(job, delta.old_path);
    if (!delta.old)
        return APR_EAGAIN;
    status = fs_part_open_delta(&delta.part, job->retrieve->dir, &job->dataset->digest,
                                &delta.old->digest, job->result);
    if (status)
        return status;
    status = fill(&delta);
    /* Kept only to be continued. */
    fs_part_close(&delta.part, delta.over ||
                                   !(status == APR_EAGAIN || APR_STATUS_IS_EINTR(status)) ||
                                   (delta.part.file && fs_part_size(&delta.part) == 0));
    return status;
}
