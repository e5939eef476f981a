/* SPDX-License-Identifier: Apache-2.0 */
/* Files that all processes of a host map: counters, the trust page, the table of turns. */
#ifndef FS_SESSION_MAP_H
#define FS_SESSION_MAP_H

#include <stddef.h>

#include "base/fs_result.h"

/* Maps `bytes` of `path`, which is made (mode 0600) if it isn't there, with space on the disk. `fd`
 * is the caller's then; NULL: it is closed. Errors: FS1216. */
apr_status_t fs_session_map_open(void **map, size_t bytes, const char *path, int *fd,
                                 fs_result_t *result);
void fs_session_map_close(void *map, size_t bytes);

#endif
