/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that may kill whoever does it, done in a process of its own: reading a file that was damaged
 * from outside through a library that trusts it.
 */
#ifndef FS_APART_H
#define FS_APART_H

#include <sys/types.h>

#include "base/fs_result.h"

typedef apr_status_t fs_apart_fn(void *baton, fs_result_t *result);

/*
 * Forks, becomes uid and gid (if this process is root's; (uid_t)-1: stays as it is), calls `fn` and
 * brings back its result; what it writes to memory is lost. It has `seconds`. `died`: it was
 * killed, by what it read or by the time; then the status is APR_EGENERAL without a message.
 * Errors: FS0014 (no process can be made, or it can't change its user). Not for processes with
 * threads that hold locks `fn` needs.
 */
apr_status_t fs_apart_run(fs_apart_fn *fn, void *baton, uid_t uid, gid_t gid, unsigned seconds,
                          int *died, fs_result_t *result);

#endif
