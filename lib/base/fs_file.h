/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are either whole or not there. */
#ifndef FS_FILE_H
#define FS_FILE_H

#include <stddef.h>

#include "base/fs_result.h"

/*
 * Writes `data` to a temporary file beside `path`, syncs it and renames it over `path`, so that a full
 * disk or a kill leaves either the old file or the new one. Mode 0640. Errors: FS0010.
 */
apr_status_t fs_file_write(const char *path, const void *data, size_t length, fs_result_t *result);

/*
 * Reads a whole file of at most `limit` bytes into malloc'ed memory with a NUL behind it; the caller
 * frees. Errors: FS0011 (APR_ENOENT when it isn't there), FS0012 when it is larger than `limit`.
 */
apr_status_t fs_file_read(const char *path, size_t limit, char **data, size_t *length,
                          fs_result_t *result);

/* Makes a directory (mode 0750) and its parents; existing ones are fine. Errors: FS0013. */
apr_status_t fs_dir_make(const char *path, fs_result_t *result);

#endif
