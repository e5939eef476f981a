/* SPDX-License-Identifier: Apache-2.0 */
/* Text that grows in a pool, and how values are written in JSON and HTML. One thread at a time. */
#ifndef FS_TEXT_H
#define FS_TEXT_H

#include <apr_pools.h>

#include "image/fs_image.h"

typedef struct fs_text_t {
    apr_pool_t *pool;
    char *data; /* always followed by a NUL */
    apr_size_t length;
    apr_size_t room;
} fs_text_t;

void fs_text_init(fs_text_t *text, apr_pool_t *pool);
void fs_text_add(fs_text_t *text, const char *data, apr_size_t length);
void fs_text_puts(fs_text_t *text, const char *string);
void fs_text_printf(fs_text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes (RFC 8259); `data` is taken as UTF-8. */
void fs_text_json(fs_text_t *text, const char *data, apr_size_t length);
void fs_text_json_string(fs_text_t *text, const char *string);
/* A value as its column's type says: number, string, JSON as it is, base64 of bytes, or null. */
void fs_text_json_value(fs_text_t *text, fs_slice_t value, fs_column_type_t type);
/* Text between tags or in a quoted attribute. */
void fs_text_html(fs_text_t *text, const char *string);
/* A part of a path, percent-encoded so that it is one part. */
void fs_text_part(fs_text_t *text, const char *data, apr_size_t length);
char *fs_text_part_of(apr_pool_t *pool, const char *value);

#endif
