/* SPDX-License-Identifier: Apache-2.0 */
/* Counting and logging what may happen with each request: of each kind one line in a while. */
#ifndef FS_SESSION_SAY_H
#define FS_SESSION_SAY_H

#include "session_host.h"

/* Counts it, and logs it unless one of its kind was logged within the last ten seconds by this
 * process. Any thread. */
void fs_session_say(const fs_session_host_t *host, request_rec *r, fs_session_count_t kind,
                    int level, const fs_result_t *result);

#endif
