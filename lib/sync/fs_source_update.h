/* SPDX-License-Identifier: Apache-2.0 */
/* One image that is being built from SQL, and building it from an earlier one. Private to lib/sync.
 */
#ifndef FS_SOURCE_UPDATE_H
#define FS_SOURCE_UPDATE_H

#include "sync/fs_source_image.h"

#define FS_SOURCE_TABLE "data_"

typedef struct fs_source_job_t {
    fs_sql_t *sql;
    const char *group;
    const char *dataset;
    int64_t version; /* that is built */
    const char *dir;
    const fs_source_images_t *images; /* may be NULL */
    char table[sizeof(FS_SOURCE_TABLE) + FS_IMAGE_NAME_SIZE];
    fs_image_schema_t schema;
    int described;
    int64_t since;        /* the version number that the image carries */
    fs_digest_t promised; /* what farmsync.image says of this version already */
    int promised_known;
    fs_image_builder_t *builder;
    int refused;           /* by a row function here, not by the database */
    int64_t base;          /* the version whose image was at hand, 0 none */
    uint64_t put, removed; /* rows that changed since */
} fs_source_job_t;

/* Row function: adds a row to the builder of the job. */
apr_status_t fs_source_take_row(void *job, const fs_slice_t *values, unsigned count,
                                fs_result_t *result);

/*
 * Makes the image from the newest earlier one in job->dir and the rows that changed since.
 * APR_ENOENT: there is none. Other errors: with job->refused set a full build would fail alike;
 * else, if job->base is set, one may do better, unless fs_sql_error says that the connection or the
 * transaction is lost.
 */
apr_status_t fs_source_update(fs_source_job_t *job, fs_image_made_t *made, fs_result_t *result);

#endif
