/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building an image with the reason why it failed, which decides what becomes of a promotion.
 * Private to lib/sync.
 */
#ifndef FS_SOURCE_IMAGE_H
#define FS_SOURCE_IMAGE_H

#include "sync/fs_source.h"

typedef enum fs_build_failure_t {
    FS_BUILD_DATA, /* a row or the dataset's description: every builder would fail alike */
    FS_BUILD_HERE, /* this host: disk full, no memory */
    FS_BUILD_SQL   /* a statement failed: fs_sql_error tells which way */
} fs_build_failure_t;

/* As fs_source_build_known; *failure is set when it fails. */
apr_status_t fs_source_build_image(fs_sql_t *sql, const char *group, const char *dataset,
                                   int64_t version, const char *dir,
                                   const fs_source_images_t *images, fs_image_made_t *made,
                                   fs_build_failure_t *failure, fs_result_t *result);

/* A number in a row, whatever its type; 0, or -1 if it is NULL or none. */
int fs_source_number(const fs_slice_t *value, int64_t *number);
/* Whether a value is this text. */
int fs_source_is_text(const fs_slice_t *value, const char *text);

/*
 * Reads a dataset's columns from farmsync.dataset.columns, a JSON array of
 * {"name":"sku","type":"text","key":1}. malloc'ed columns; the caller frees schema->columns.
 * FS0373 names what is wrong. Group and dataset names are the caller's to fill.
 */
apr_status_t fs_source_columns(fs_image_schema_t *schema, const char *dataset, const char *json,
                               size_t length, fs_result_t *result);

/*
 * The list of columns as SQL, back-quoted and in order, for fs_sql's %r; malloc'ed, NULL without
 * memory.
 */
char *fs_source_column_list(const fs_image_schema_t *schema);

#endif
