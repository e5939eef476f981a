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
#include "sync/fs_retrieve_job.h"

#define SHORT_HEX 12 /* digits of a digest that messages show */

typedef fs_job_t job_t;

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

/* --- what is there -----------------------------------------------------------------------------
 */

/* Records a failure of this job; the sentence begins with what the image is. */
static apr_status_t job_failed(const job_t *job, apr_status_t status, const char *problem,
                               const char *format, ...) __attribute__((format(printf, 4, 5)));
static apr_status_t job_failed(const job_t *job, apr_status_t status, const char *problem,
                               const char *format, ...)
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
    return job_failed(
        job, APR_ENOSPC, "FS0352",
        "needs %llu bytes in %s and there is no room; free some. The older version stays",
        (unsigned long long)job->dataset->bytes, job->retrieve->dir);
}

/* Doesn't read the rows. */
apr_status_t fs_job_check_owner(const job_t *job, const char *path)
{
    const fs_image_schema_t *schema;
    apr_status_t status = APR_SUCCESS;
    fs_image_t *image;
    fs_result_t why;

    fs_result_clear(&why);
    if (fs_image_open(&image, path, &why))
        return job_failed(job, APR_EGENERAL, "FS0358", "is damaged: %s", why.detail);
    schema = fs_image_schema(image);
    if (strcmp(schema->group, job->group) != 0 || strcmp(schema->dataset, job->dataset->name) != 0)
        status =
            job_failed(job, APR_EMISMATCH, "FS0351",
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
            return job_failed(job, APR_ENOENT, "FS0357", "is not there");
        return job_failed(job, APR_FROM_OS_ERROR(errno), "FS0356", "cannot be read: %s: %s", path,
                          strerror(errno));
    }
    if (!fs_verified_has(&job->retrieve->verified, digest, &info)) {
        fs_result_clear(&why);
        if (fs_image_verify(path, digest, &why)) {
            if (strcmp(why.problem, "FS0111") == 0)
                return job_failed(job, APR_EGENERAL, "FS0356", "cannot be read: %s", why.detail);
            return job_failed(job, APR_EGENERAL, "FS0358", "is damaged: %s", why.detail);
        }
        fs_verified_add(&job->retrieve->verified, digest, &info);
    }
    return fs_job_check_owner(job, path);
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
    const char *note;

    if (!is_damaged(job, status))
        return status;
    note = fs_log_gate(&job->retrieve->damaged, fs_time_mono());
    if (note)
        fs_log(FS_LOG_WARNING, "FS0358", "%s%s", job->result->detail, note);
    if (unlink(job->path) && errno != ENOENT)
        return job_failed(job, APR_FROM_OS_ERROR(errno), "FS0356", "cannot be replaced: %s: %s",
                          job->path, strerror(errno));
    job->count->rejected++;
    return APR_ENOENT;
}

/* --- transfer ----------------------------------------------------------------------------------
 */

/* Remembers why somebody could not give it. */
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

apr_status_t fs_job_not_here(const job_t *job, apr_status_t status, const char *what)
{
    if (is_full(status))
        return no_room(job);
    return job_failed(job, status, "FS0356", "cannot be put into %s: %s", job->retrieve->dir, what);
}

int fs_job_stopped(const job_t *job)
{
    return job->means->stopped && job->means->stopped(job->means->baton);
}

apr_status_t fs_job_stop(const job_t *job)
{
    return job_failed(job, APR_EINTR, "FS0354", "was not fetched to its end: stopped");
}

/* Better not begun than broken off: others need the last free bytes, too. */
apr_status_t fs_job_check_room(const job_t *job, uint64_t have)
{
    struct statvfs info;

    if (statvfs(job->retrieve->dir, &info) == 0 && info.f_frsize &&
        (job->dataset->bytes - have) / info.f_frsize >= (uint64_t)info.f_bavail + 1)
        return no_room(job);
    return APR_SUCCESS;
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
    return error ? fs_job_not_here(job, APR_FROM_OS_ERROR(error), strerror(error)) : APR_EAGAIN;
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
    return error ? fs_job_not_here(job, APR_FROM_OS_ERROR(error), strerror(error)) : APR_SUCCESS;
}

apr_status_t fs_job_download(job_t *job, fs_part_t *part, unsigned which, const char *path,
                             uint64_t *have, uint64_t *now, fs_result_t *why)
{
    char url[FS_RETRIEVE_URL_SIZE];
    unsigned wait = 0;
    apr_status_t status;

    *have = *now = fs_part_size(part);
    if (snprintf(url, sizeof(url), "%s%s", job->servers[which], path) >= (int)sizeof(url)) {
        job->is_out[which] = 1;
        note_cause(job, "a data server", "its address is too long");
        return APR_EAGAIN;
    }
    job->count->resumed += *have != 0;
    status = job->means->download(job->means->baton, url, part->file, *have, job->dataset->bytes,
                                  &wait, why);
    *now = fs_part_size(part);
    job->count->bytes += *now > *have ? *now - *have : *now < *have ? *now : 0;
    if (is_full(status) || strcmp(why->problem, "FS0224") == 0)
        return fs_job_not_here(job, status, why->detail);
    if (!status || status == APR_EOF)
        return status;
    if (wait) {
        job->count->busy++;
        job->wait = job->wait && job->wait < wait ? job->wait : wait;
    }
    note_cause(job, job->servers[which], why->detail);
    job->is_out[which] = *now <= *have; /* nothing came: no use in asking again now */
    job->hangs[which] |= *now <= *have && APR_STATUS_IS_TIMEUP(status);
    return APR_EAGAIN;
}

apr_status_t fs_job_judge(job_t *job, fs_part_t *part, unsigned which, uint64_t now,
                          apr_status_t status)
{
    if (now == job->dataset->bytes)
        return accept_part(job, part);
    if (now > job->dataset->bytes || !status)
        return reject_part(job, part, "sent another length than was promised");
    return APR_EAGAIN;
}

/* One transfer from server `which`, from where the part ends. APR_EAGAIN: try on. */
static apr_status_t ask_server(job_t *job, fs_part_t *part, unsigned which)
{
    char path[FS_DIGEST_HEX_SIZE + 16];
    uint64_t have, now;
    apr_status_t status;
    fs_result_t why;
    int error;

    snprintf(path, sizeof(path), "/v1/images/%s", job->hex);
    error = job->unmixed && job->sole != (int)which ? fs_part_empty(part) : 0;
    if (error)
        return fs_job_not_here(job, APR_FROM_OS_ERROR(error), strerror(error));
    have = fs_part_size(part);
    status = fs_job_check_room(job, have);
    if (status)
        return status;
    fs_result_clear(&why);
    job->sole = have == 0 || job->sole == (int)which ? (int)which : -1;
    status = fs_job_download(job, part, which, path, &have, &now, &why);
    if (status && status != APR_EAGAIN && status != APR_EOF)
        return status;
    if (status == APR_EOF) {
        note_cause(job, job->servers[which], why.detail);
        job->is_out[which] = 1;
    }
    if (now < have)
        job->sole = (int)which; /* the server didn't continue; it began again from zero */
    return fs_job_judge(job, part, which, now, status);
}

/* Servers in their order, but the one that gave the last image first. */
int fs_job_server(const job_t *job, unsigned n)
{
    unsigned first = 0, which;

    n %= job->server_count;
    while (first < job->server_count && strcmp(job->servers[first], job->retrieve->preferred) != 0)
        first++;
    if (first == job->server_count)
        which = n;
    else
        which = n == 0 ? first : n <= first ? n - 1 : n;
    return job->is_out[which] || job->hangs[which] ? -1 : (int)which;
}

/* Fills the part from the servers in turn. APR_EAGAIN: none of them could give it. */
static apr_status_t fill_part(job_t *job, fs_part_t *part)
{
    uint64_t have = fs_part_size(part);
    apr_status_t status = APR_EAGAIN;

    if (have > job->dataset->bytes)
        status = reject_part(job, part, "more bytes than were promised");
    else if (have && have == job->dataset->bytes)
        status = accept_part(job, part);
    for (unsigned turn = 0; turn < FS_RETRIEVE_ROUNDS * job->server_count; turn++) {
        int which = fs_job_server(job, turn);

        if (status != APR_EAGAIN)
            break;
        if (which < 0)
            continue;
        if (fs_job_stopped(job))
            return fs_job_stop(job);
        status = ask_server(job, part, (unsigned)which);
        if (!status)
            snprintf(job->retrieve->preferred, sizeof(job->retrieve->preferred), "%s",
                     job->servers[which]);
    }
    return status == APR_EAGAIN && fs_job_stopped(job) ? fs_job_stop(job) : status;
}

/* Nobody gave it, but somebody will in a moment. */
static apr_status_t busy(job_t *job)
{
    job->count->wait = job->wait;
    return job_failed(job, APR_EBUSY, "FS0384", "is to be had in a moment: %s", job->causes);
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
        return job_failed(job, APR_ENOMEM, "FS0356", "was not fetched: no memory");
    status = fs_part_open(&part, job->retrieve->dir, &job->dataset->digest, job->result);
    if (!status) {
        /* Whoever held the part before may have completed it. */
        status = check_present(job);
        if (APR_STATUS_IS_ENOENT(status)) {
            job->sole = -1;
            job->unmixed = 0;
            status = fs_job_use_delta(job, &part);
            if (status == APR_EAGAIN)
                status = fill_part(job, &part);
            job->count->transferred += !status;
            if (status == APR_EAGAIN && job->wait && !job->means->impatient)
                status = busy(job);
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
        return job_failed(job, APR_ENOENT, "FS0350",
                          "cannot be had: %s; check that a data server runs and can be reached",
                          job->causes[0] ? job->causes : "no data server is known");
    fs_result_clear(&why);
    status = job->means->build(job->means->baton, job->group, job->dataset->name, job->version,
                               job->retrieve->dir, &made, &why);
    if (is_full(status))
        return no_room(job);
    if (status && fs_job_stopped(job))
        return fs_job_stop(job);
    if (status)
        return job_failed(job, status, "FS0350", "cannot be had: %s%sfrom SQL: %s: %s", job->causes,
                          job->causes[0] ? "; " : "", why.problem, why.detail);
    if (!fs_digest_equal(&made.digest, &job->dataset->digest)) {
        job->count->rejected++;
        return job_failed(
            job, APR_EMISMATCH, "FS0355",
            "was built from SQL and became %.*s; was its version table changed by hand?", SHORT_HEX,
            fs_digest_hex(&made.digest, hex));
    }
    job->count->built++;
    return check_present(job);
}

static apr_status_t bring(job_t *job)
{
    apr_status_t status;

    fs_digest_hex(&job->dataset->digest, job->hex);
    job->causes[0] = '\0';
    job->wait = 0;
    if (fs_images_path(job->path, sizeof(job->path), job->retrieve->dir, &job->dataset->digest))
        return job_failed(job, APR_ENAMETOOLONG, "FS0356", "has too long a path");
    status = check_present(job);
    if (!status)
        job->count->present++;
    if (!APR_STATUS_IS_ENOENT(status))
        return status;
    if (fs_job_stopped(job))
        return fs_job_stop(job);
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
        if (ends_all(status) || (APR_STATUS_IS_EBUSY(status) && job.wait))
            break;
    }
    free(job.hangs);
    fs_retrieve_forget_held(retrieve);
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
            job_failed(&job, APR_ENAMETOOLONG, "FS0356", "has too long a path");
            return 0;
        }
        if (check_file(&job, job.path))
            return 0;
    }
    return 1;
}
