/* SPDX-License-Identifier: Apache-2.0 */
/* The images of the published versions: which are missing here, and making them. */
#include <stdio.h>

#include "base/fs_log.h"
#include "worker_internal.h"

#define RETRY_FIRST (200 * FS_USEC_PER_MSEC)
#define RETRY_LAST  (5 * FS_USEC_PER_SEC) /* of a build that fails, a full disk say */

static int store_has(void *baton, const fs_digest_t *digest)
{
    const fs_worker_t *worker = baton;

    return fs_store_has(worker->shared.store, digest);
}

static void store_made(void *baton, const fs_image_made_t *made)
{
    const fs_worker_t *worker = baton;

    fs_store_accept(worker->shared.store, made);
}

/* An image that wasn't here is counted before anybody can be sent it. */
static void store_built(void *baton, const fs_image_made_t *made)
{
    fs_worker_t *worker = baton;

    worker->facts.builds++;
    fs_worker_tell(worker);
    store_made(baton, made);
}

fs_source_images_t fs_worker_images(fs_worker_t *worker)
{
    return (fs_source_images_t){worker, store_has, store_made};
}

const fs_manifest_dataset_t *fs_worker_missing(fs_worker_t *worker, int64_t *version)
{
    const fs_manifest_version_t *versions[2];
    const fs_manifest_dataset_t *found = NULL;
    unsigned count, missing = 0;

    if (!worker->current)
        return NULL;
    count =
        fs_published_versions(worker->current, fs_board_farm_time(worker->shared.board), versions);
    for (unsigned v = 0; v < count; v++) {
        for (unsigned d = 0; d < versions[v]->dataset_count; d++) {
            if (fs_store_has(worker->shared.store, &versions[v]->datasets[d].digest))
                continue;
            missing++;
            if (!found) {
                found = &versions[v]->datasets[d];
                *version = versions[v]->version;
            }
        }
    }
    if (missing != worker->facts.images_missing) {
        worker->facts.images_missing = missing;
        fs_worker_tell(worker);
    }
    return found;
}

static apr_status_t build(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version,
                          fs_result_t *result)
{
    fs_source_images_t images = {worker, store_has, store_built};
    fs_image_made_t made;
    char expected[FS_DIGEST_HEX_SIZE], got[FS_DIGEST_HEX_SIZE];
    fs_usec_t began = fs_time_mono();
    apr_status_t status = fs_sql_connect(worker->sql, result);

    if (status == APR_SUCCESS)
        status = fs_source_build_known(worker->sql, worker->group, wanted->name, version,
                                       fs_store_dir(worker->shared.store), &images, &made, result);
    if (status != APR_SUCCESS)
        return status;
    worker->facts.build_took = fs_time_mono() - began;
    if (!fs_digest_equal(&made.digest, &wanted->digest))
        return fs_result_set(
            result, APR_EGENERAL, "FS0856",
            "the image built here is %s but version %lld has %s; is another release "
            "of farmsync at work, or were rows of farmsync.data_%s changed by hand?",
            fs_digest_hex(&made.digest, got), (long long)version,
            fs_digest_hex(&wanted->digest, expected), wanted->name);
    fs_log(
        FS_LOG_INFO, "FS0854",
        "group %s, dataset %s: built the image of version %lld (%llu rows, %llu bytes) in %lld ms",
        worker->group, wanted->name, (long long)version, (unsigned long long)made.rows,
        (unsigned long long)made.bytes, (long long)(worker->facts.build_took / FS_USEC_PER_MSEC));
    return APR_SUCCESS;
}

/* An image that an earlier process or this one's promotion left only needs to be verified. */
static apr_status_t bring(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version,
                          fs_result_t *result)
{
    apr_status_t status = fs_store_take(worker->shared.store, &wanted->digest, result);

    if (status == APR_SUCCESS) {
        worker->facts.images_verified++;
        return APR_SUCCESS;
    }
    if (status != APR_ENOENT)
        fs_log_result(FS_LOG_WARNING, result);
    fs_result_clear(result);
    return build(worker, wanted, version, result);
}

void fs_worker_bring(fs_worker_t *worker, const fs_manifest_dataset_t *wanted, int64_t version)
{
    fs_result_t cause;
    fs_usec_t pause = RETRY_FIRST << (worker->build_failures < 5 ? worker->build_failures : 5);

    fs_result_clear(&cause);
    snprintf(worker->facts.building, sizeof(worker->facts.building), "%s", wanted->name);
    fs_worker_tell(worker);
    if (bring(worker, wanted, version, &cause) == APR_SUCCESS) {
        worker->shared.image_made(worker->shared.baton);
        worker->facts.building[0] = '\0';
        worker->build_failures = 0;
        fs_worker_tell(worker);
        return;
    }
    worker->facts.building[0] = '\0';
    worker->facts.build_failures++;
    worker->build_failures++;
    worker->build_after = fs_time_mono() + (pause < RETRY_LAST ? pause : RETRY_LAST);
    fs_result_set(&worker->facts.image_problem, cause.status, "FS0855",
                  "group %s, dataset %s, version %lld: cannot make its image here, agents get it "
                  "elsewhere; it is tried again: %s: %s",
                  worker->group, wanted->name, (long long)version, cause.problem, cause.detail);
    fs_worker_problem(worker, &worker->facts.image_problem, &worker->image_said, FS_LOG_ERROR,
                      &cause);
}
