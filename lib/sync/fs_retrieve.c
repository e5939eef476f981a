/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_retrieve.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "sync/fs_part.h"
#include "sync/fs_verified.h"

#define SHORT_HEX 12 /* digits of a digest that messages show */

struct fs_retrieve_t {
    char *dir;
    char preferred[FS_RETRIEVE_URL_SIZE]; /* base URL of the server that gave the last image */
    fs_verified_t verified;
};

/* One image that is being brought. */
typedef struct job_t {
    fs_retrieve_t *retrieve;
    const fs_retrieve_means_t *means;
    const char *const *servers;
    unsigned server_count;
    const char *group;
    int64_t version;
    const fs_manifest_dataset_t *dataset;
    fs_retrieve_count_t *count;
    fs_result_t *result;
    char hex[FS_DIGEST_HEX_SIZE];
    char path[PATH_MAX];   /* of the whole image */
    unsigned char *is_out; /* per server: not worth asking again for this image */
    unsigned char
        *hangs;  /* per server: let a transfer time out, isn't asked again for this version */
    int sole;    /* the server all bytes of the part came from, -1 several or unknown */
    int unmixed; /* bytes of several servers didn't fit together: take all from one */
    char causes[FS_DETAIL_SIZE / 2];
} job_t;

apr_status_t fs_retrieve_create(fs_retrieve_t **retrieve, const char *dir, fs_result_t *result)
{
    apr_status_t status = fs_dir_make(dir, result);

    *retrieve = NULL;
    if (status)
        return status;
    *retrieve = calloc(1, sizeof(**retrieve));
    if (*retrieve && ((*retrieve)->dir = strdup(dir)) != NULL)
        return APR_SUCCESS;
    free(*retrieve);
    *retrieve = NULL;
    return fs_result_set(result, APR_ENOMEM, "FS0356", "cannot use %s: no memory", dir);
}

void fs_retrieve_destroy(fs_retrieve_t *retrieve)
{
    if (!retrieve)
        return;
    free(retrieve->dir);
    free(retrieve);
}

const char *fs_retrieve_dir(const fs_retrieve_t *retrieve)
{
    return retrieve->dir;
}

/* --- what is there -----------------------------------------------------------------------------
 */

/* Records a failure of this job; the sentence begins with what the image is. */
__attribute__((format(printf, 4, 5))) static apr_status_t
fail(const job_t *job, apr_status_t status, const char *problem, const char *format, ...)
{
    char text[FS_DETAIL_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return fs_result_set(job->result, status, problem,
                         "image %.*s of dataset '%s' (group '%s', version %lld) %s", SHORT_HEX,
                         job->hex, job->dataset->name, job->group, (long long)job->version, text);
}

static apr_status_t no_room(const job_t *job)
{
    return fail(job, APR_ENOSPC, "FS0352",
                "needs %llu bytes in %s and there is no room; free some. The older version stays",
                (unsigned long long)job->dataset->bytes, job->retrieve->dir);
}

/* Whether the image at `path` is of the expected group and dataset. Doesn't read the rows. */
static apr_status_t check_owner(const job_t *job, const char *path)
{
    const fs_image_schema_t *schema;
    apr_status_t status = APR_SUCCESS;
    fs_image_t *image;
    fs_result_t why;

    fs_result_clear(&why);
    if (fs_image_open(&image, path, &why))
        return fail(job, APR_EGENERAL, "FS0358", "is damaged: %s", why.detail);
    schema = fs_image_schema(image);
    if (strcmp(schema->group, job->group) != 0 || strcmp(schema->dataset, job->dataset->name) != 0)
        status = fail(job, APR_EMISMATCH, "FS0351",
                      "is refused: it holds dataset '%s' of group '%s'; ask who made the manifest",
                      schema->dataset, schema->group);
    fs_image_close(image);
    return status;
}

/* Reads the file unless it was verified before. APR_ENOENT: not there. FS0358: damaged. */
static apr_status_t check_file(job_t *job, const char *path)
{
    const fs_digest_t *digest = &job->dataset->digest;
    struct stat info;
    fs_result_t why;

    if (stat(path, &info)) {
        if (errno == ENOENT)
            return fail(job, APR_ENOENT, "FS0357", "is not there");
        return fail(job, APR_FROM_OS_ERROR(errno), "FS0356", "cannot be read: %s: %s", path,
                    strerror(errno));
    }
    if (!fs_verified_has(&job->retrieve->verified, digest, &info)) {
        fs_result_clear(&why);
        if (fs_image_verify(path, digest, &why)) {
            if (strcmp(why.problem, "FS0111") == 0)
                return fail(job, APR_EGENERAL, "FS0356", "cannot be read: %s", why.detail);
            return fail(job, APR_EGENERAL, "FS0358", "is damaged: %s", why.detail);
        }
        fs_verified_add(&job->retrieve->verified, digest, &info);
    }
    return check_owner(job, path);
}

static int is_damaged(const job_t *job, apr_status_t status)
{
    return status && strcmp(job->result->problem, "FS0358") == 0;
}

/* As check_file for the final name, where a damaged file is removed so that it can be fetched anew.
 */
static apr_status_t check_present(job_t *job)
{
    apr_status_t status = check_file(job, job->path);

    if (!is_damaged(job, status))
        return status;
    fs_log_result(FS_LOG_WARNING, job->result);
    if (unlink(job->path) && errno != ENOENT)
        return fail(job, APR_FROM_OS_ERROR(errno), "FS0356", "cannot be replaced: %s: %s",
                    job->path, strerror(errno));
    job->count->rejected++;
    return APR_ENOENT;
}

/* --- transfer ----------------------------------------------------------------------------------
 */

static void note_cause(job_t *job, const char *who, const char *what)
{
    size_t used = strlen(job->causes);

    snprintf(job->causes + used, sizeof(job->causes) - used, "%s%.96s: %.200s", used ? "; " : "",
             who, what);
}

static int is_full(apr_status_t status)
{
    return APR_STATUS_IS_ENOSPC(status) || status == APR_FROM_OS_ERROR(EDQUOT) ||
           status == APR_FROM_OS_ERROR(EFBIG);
}

/* What this host couldn't do; no server can help. */
static apr_status_t not_here(const job_t *job, apr_status_t status, const char *what)
{
    if (is_full(status))
        return no_room(job);
    return fail(job, status, "FS0356", "cannot be put into %s: %s", job->retrieve->dir, what);
}

static int stopped(const job_t *job)
{
    return job->means->stopped && job->means->stopped(job->means->baton);
}

static apr_status_t stop(const job_t *job)
{
    return fail(job, APR_EINTR, "FS0354", "was not fetched to its end: stopped");
}

/* Better not begun than broken off: others need the last free bytes, too. */
static int room_is_short(const job_t *job, uint64_t have)
{
    struct statvfs info;

    return statvfs(job->retrieve->dir, &info) == 0 && info.f_frsize &&
           (job->dataset->bytes - have) / info.f_frsize >= (uint64_t)info.f_bavail + 1;
}

/* Bytes that are not what was promised. Who gave them all by himself isn't asked again. APR_EAGAIN.
 */
static apr_status_t reject_part(job_t *job, fs_part_t *part, const char *why)
{
    int error;

    job->count->rejected++;
    if (job->sole >= 0) {
        job->is_out[job->sole] = 1;
        note_cause(job, job->servers[job->sole], why);
    } else {
        job->unmixed = 1;
        note_cause(job, "pieces from several transfers", why);
    }
    job->sole = -1;
    error = fs_part_empty(part);
    return error ? not_here(job, APR_FROM_OS_ERROR(error), strerror(error)) : APR_EAGAIN;
}

/* The part has all its bytes: APR_SUCCESS if it is now the image, APR_EAGAIN if it was thrown away.
 */
static apr_status_t accept_part(job_t *job, fs_part_t *part)
{
    apr_status_t status = check_file(job, part->path);
    int error;

    if (is_damaged(job, status))
        return reject_part(job, part, "sent something else than was promised");
    if (status)
        return status;
    error = fs_part_finish(part, job->path);
    return error ? not_here(job, APR_FROM_OS_ERROR(error), strerror(error)) : APR_SUCCESS;
}

/* One transfer from server `which`, from where the part ends. APR_EAGAIN: try on. */
static apr_status_t ask_server(job_t *job, fs_part_t *part, unsigned which)
{
    uint64_t have, now;
    char url[FS_RETRIEVE_URL_SIZE];
    apr_status_t status;
    fs_result_t why;
    int error;

    if (snprintf(url, sizeof(url), "%s/v1/images/%s", job->servers[which], job->hex) >=
        (int)sizeof(url)) {
        job->is_out[which] = 1;
        note_cause(job, "a data server", "its address is too long");
        return APR_EAGAIN;
    }
    error = job->unmixed && job->sole != (int)which ? fs_part_empty(part) : 0;
    if (error)
        return not_here(job, APR_FROM_OS_ERROR(error), strerror(error));
    have = fs_part_size(part);
    if (room_is_short(job, have))
        return no_room(job);
    fs_result_clear(&why);
    job->sole = have == 0 || job->sole == (int)which ? (int)which : -1;
    job->count->resumed += have != 0;
    status =
        job->means->download(job->means->baton, url, part->file, have, job->dataset->bytes, &why);
    now = fs_part_size(part);
    job->count->bytes += now > have ? now - have : now < have ? now : 0;
    if (now < have)
        job->sole = (int)which; /* the server didn't continue; it began again from zero */
    if (is_full(status) || strcmp(why.problem, "FS0224") == 0)
        return not_here(job, status, why.detail);
    if (now == job->dataset->bytes)
        return accept_part(job, part);
    if (now > job->dataset->bytes || (!status && now < job->dataset->bytes))
        return reject_part(job, part, "sent another length than was promised");
    note_cause(job, job->servers[which], why.detail);
    job->is_out[which] = now <= have; /* nothing came: no use in asking again now */
    job->hangs[which] |= now <= have && APR_STATUS_IS_TIMEUP(status);
    return APR_EAGAIN;
}

/* Servers in their order, but the one that gave the last image first. */
static unsigned nth_server(const job_t *job, unsigned n)
{
    unsigned first = 0;

    while (first < job->server_count && strcmp(job->servers[first], job->retrieve->preferred) != 0)
        first++;
    if (first == job->server_count)
        return n;
    return n == 0 ? first : n <= first ? n - 1 : n;
}

/* Fills the part from the servers in turn. APR_EAGAIN: none of them could give it. */
static apr_status_t fill_part(job_t *job, fs_part_t *part)
{
    uint64_t have = fs_part_size(part);
    apr_status_t status = APR_EAGAIN;

    job->sole = -1;
    job->unmixed = 0;
    if (have > job->dataset->bytes)
        status = reject_part(job, part, "more bytes than were promised");
    else if (have && have == job->dataset->bytes)
        status = accept_part(job, part);
    for (unsigned turn = 0; turn < FS_RETRIEVE_ROUNDS * job->server_count; turn++) {
        unsigned which = nth_server(job, turn % job->server_count);

        if (status != APR_EAGAIN)
            break;
        if (job->is_out[which] || job->hangs[which])
            continue;
        if (stopped(job))
            return stop(job);
        status = ask_server(job, part, which);
        if (!status)
            snprintf(job->retrieve->preferred, sizeof(job->retrieve->preferred), "%s",
                     job->servers[which]);
    }
    return status == APR_EAGAIN && stopped(job) ? stop(job) : status;
}

/* APR_EAGAIN: no server could give it. */
static apr_status_t transfer(job_t *job)
{
    apr_status_t status;
    fs_part_t part;

    if (!job->means->download || !job->server_count)
        return APR_EAGAIN;
    job->is_out = calloc(job->server_count, 1);
    if (!job->is_out)
        return fail(job, APR_ENOMEM, "FS0356", "was not fetched: no memory");
    status = fs_part_open(&part, job->retrieve->dir, &job->dataset->digest, job->result);
    if (!status) {
        /* Whoever held the part before may have completed it. */
        status = check_present(job);
        if (APR_STATUS_IS_ENOENT(status)) {
            status = fill_part(job, &part);
            job->count->transferred += !status;
        }
        /* Kept to be continued, but not if it is whole, refused or in the way of others. */
        fs_part_close(&part, APR_STATUS_IS_ENOSPC(status) || status == APR_EMISMATCH ||
                                 fs_part_size(&part) == 0);
    }
    free(job->is_out);
    return status;
}

/* --- building ----------------------------------------------------------------------------------
 */

static apr_status_t build(job_t *job)
{
    fs_image_made_t made;
    char hex[FS_DIGEST_HEX_SIZE];
    apr_status_t status;
    fs_result_t why;

    if (!job->means->build)
        return fail(job, APR_ENOENT, "FS0350",
                    "cannot be had: %s; check that a data server runs and can be reached",
                    job->causes[0] ? job->causes : "no data server is known");
    fs_result_clear(&why);
    status = job->means->build(job->means->baton, job->group, job->dataset->name, job->version,
                               job->retrieve->dir, &made, &why);
    if (is_full(status))
        return no_room(job);
    if (status && stopped(job))
        return stop(job);
    if (status)
        return fail(job, status, "FS0350", "cannot be had: %s%sfrom SQL: %s: %s", job->causes,
                    job->causes[0] ? "; " : "", why.problem, why.detail);
    if (!fs_digest_equal(&made.digest, &job->dataset->digest)) {
        job->count->rejected++;
        return fail(job, APR_EMISMATCH, "FS0355",
                    "was built from SQL and became %.*s; was its version table changed by hand?",
                    SHORT_HEX, fs_digest_hex(&made.digest, hex));
    }
    job->count->built++;
    return check_present(job);
}

static apr_status_t bring(job_t *job)
{
    apr_status_t status;

    fs_digest_hex(&job->dataset->digest, job->hex);
    job->causes[0] = '\0';
    if (fs_images_path(job->path, sizeof(job->path), job->retrieve->dir, &job->dataset->digest))
        return fail(job, APR_ENAMETOOLONG, "FS0356", "has too long a path");
    status = check_present(job);
    if (!status)
        job->count->present++;
    if (!APR_STATUS_IS_ENOENT(status))
        return status;
    if (stopped(job))
        return stop(job);
    status = transfer(job);
    return status == APR_EAGAIN ? build(job) : status;
}

/* After these the other images need not be tried. */
static int ends_all(apr_status_t status)
{
    return APR_STATUS_IS_ENOSPC(status) || APR_STATUS_IS_EINTR(status);
}

apr_status_t fs_retrieve_version(fs_retrieve_t *retrieve, const fs_retrieve_means_t *means,
                                 const char *const *servers, unsigned server_count,
                                 const char *group, const fs_manifest_version_t *version,
                                 fs_retrieve_count_t *count, fs_result_t *result)
{
    fs_retrieve_count_t unwanted = {0};
    fs_result_t one;
    job_t job = {.retrieve = retrieve,
                 .means = means,
                 .servers = servers,
                 .server_count = server_count,
                 .group = group,
                 .version = version->version,
                 .count = count ? count : &unwanted,
                 .result = &one};
    apr_status_t first = APR_SUCCESS;

    job.hangs = calloc(server_count + 1, 1);
    if (!job.hangs)
        return fs_result_set(result, APR_ENOMEM, "FS0356", "group %s: no memory", group);
    for (unsigned i = 0; i < version->dataset_count; i++) {
        apr_status_t status;

        fs_result_clear(&one);
        job.dataset = &version->datasets[i];
        status = bring(&job);
        if (status && !first) {
            first = status;
            if (result)
                *result = one;
        }
        if (ends_all(status))
            break;
    }
    free(job.hangs);
    return first;
}

int fs_retrieve_have(fs_retrieve_t *retrieve, const char *group,
                     const fs_manifest_version_t *version, fs_result_t *result)
{
    fs_result_t unwanted;
    job_t job = {.retrieve = retrieve,
                 .group = group,
                 .version = version->version,
                 .result = result ? result : &unwanted};

    for (unsigned i = 0; i < version->dataset_count; i++) {
        job.dataset = &version->datasets[i];
        fs_digest_hex(&job.dataset->digest, job.hex);
        if (fs_images_path(job.path, sizeof(job.path), retrieve->dir, &job.dataset->digest)) {
            fail(&job, APR_ENAMETOOLONG, "FS0356", "has too long a path");
            return 0;
        }
        if (check_file(&job, job.path))
            return 0;
    }
    return 1;
}
