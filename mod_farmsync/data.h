/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking values up: what expressions, RewriteMap, the HTTP handler and the C functions share.
 *
 *   path: DATASET / KEY 1 [ / KEY 2 .. ] [ / COLUMN ]     each part percent-encoded
 *
 * How many parts the key has is known from the dataset, so that a path says without a mark whether
 * it means the row or one value. Values lie in the mapped image; they stay valid to the end of the
 * request.
 */
#ifndef FS_DATA_H
#define FS_DATA_H

#include <httpd.h>

#include "text.h"
#include "view.h"

typedef enum fs_data_status_t {
    FS_DATA_FOUND,
    FS_DATA_NO_DATASET,
    FS_DATA_NO_ROW,
    FS_DATA_NO_COLUMN,
    FS_DATA_BAD_PATH,    /* not as many parts as the key has, or not decodable */
    FS_DATA_UNAVAILABLE, /* this server has no data of the group */
    FS_DATA_STALE        /* it has, but FarmSyncOnStale is refuse */
} fs_data_status_t;

typedef struct fs_data_t {
    fs_data_status_t status;
    const fs_pin_t *pin;     /* NULL if no group could be asked */
    const fs_image_t *image; /* NULL if there is no such dataset */
    fs_row_t row;            /* if FOUND and the path names a row */
    int column;              /* -1: the path means the row */
    fs_slice_t value;        /* of the column; data NULL is SQL NULL */
} fs_data_t;

#define FS_DATA_PARTS (FS_IMAGE_MAX_KEYS + 2)

/* Cuts a path into decoded parts; -1 if it has too many or a bad escape. Decodes into the pool only
 * what is encoded. */
int fs_data_split(apr_pool_t *pool, const char *path, fs_slice_t parts[FS_DATA_PARTS]);

/* Finds a dataset in the groups of this server and pins what it needs. */
fs_data_status_t fs_data_dataset(request_rec *r, const char *name, apr_size_t length,
                                 fs_data_t *data);
/* Finds a row, or a value, by parts or by path. */
fs_data_status_t fs_data_find(request_rec *r, const fs_slice_t *parts, int count, fs_data_t *data);
fs_data_status_t fs_data_get(request_rec *r, const char *path, fs_data_t *data);

/* Checks that a group's data may be used in this place; pins it. */
fs_data_status_t fs_data_group(request_rec *r, int group, fs_data_t *data);

/* Writes a row as a JSON object, its columns in the source's order. */
void fs_data_row_json(fs_text_t *text, const fs_image_t *image, const fs_row_t *row);

/* A value as a C string in the request's pool or the image: the column's, or the row as JSON.
 * NULL if there is none, or if it is longer than LimitRequestFieldSize (FS0671); "" for SQL NULL.
 */
const char *fs_data_string(request_rec *r, const char *path);

#endif
