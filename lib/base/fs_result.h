/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A result for people: what failed, for what, and what to do about it.
 *
 * Functions return apr_status_t for control flow and fill a caller-owned fs_result_t, so that the
 * log, the JSON and the status page all say the same useful sentence. No allocation, no pool; may be
 * used from any thread as long as one thread owns the struct.
 */
#ifndef FS_RESULT_H
#define FS_RESULT_H

#include <apr_errno.h>

#define FS_PROBLEM_SIZE 8
#define FS_DETAIL_SIZE  1024

typedef struct fs_result_t {
    apr_status_t status;            /* APR_SUCCESS or what failed */
    char problem[FS_PROBLEM_SIZE];  /* message number "FS0123"; listed in doc/messages.md */
    char detail[FS_DETAIL_SIZE];    /* one sentence: what failed, for which key or peer, what to do */
} fs_result_t;

/* Forgets whatever `result` held. */
void fs_result_clear(fs_result_t *result);

/*
 * Records a failure and returns `status`, so that callers can `return fs_result_set(...)`.
 * `result` may be NULL (then only the status is returned). `problem` is a literal such as "FS0123".
 * If `status` is a system error, its text is not appended: say what matters in the format.
 */
apr_status_t fs_result_set(fs_result_t *result, apr_status_t status, const char *problem,
                           const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
