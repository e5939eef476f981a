/* SPDX-License-Identifier: Apache-2.0 */
/* Where datasrv's messages go: a file that can be reopened after rotation, or standard error. */
#ifndef FS_DATASRV_LOGFILE_H
#define FS_DATASRV_LOGFILE_H

#include "base/fs_log.h"
#include "base/fs_result.h"

/*
 * Sends the log of this process to `path` (appended, mode 0640), NULL: to standard error, from
 * `level` on. Called again it reopens the file, which is how a rotated log is let go. On failure
 * the former target stays. Lines are written with one write(2) each, so that threads never mix
 * theirs. FS0810: cannot open.
 */
apr_status_t fs_logfile_open(const char *path, fs_log_level_t level, fs_result_t *result);

#endif
