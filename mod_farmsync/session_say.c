/* SPDX-License-Identifier: Apache-2.0 */
#include "session_say.h"

#include <stdatomic.h>

#include "session_module.h"

#define SAY_AGAIN (10 * FS_USEC_PER_SEC)

void fs_session_say(const fs_session_host_t *host, request_rec *r, fs_session_count_t kind,
                    int level, const fs_result_t *result)
{
    static _Atomic fs_usec_t said[FS_SESSION_COUNTERS]; /* mono; 0 never */
    fs_usec_t now = fs_time_mono(), before = atomic_load(&said[kind]);

    fs_session_counters_add(host->counters, kind);
    if ((before && now - before < SAY_AGAIN) ||
        !atomic_compare_exchange_strong(&said[kind], &before, now))
        return;
    ap_log_rerror(APLOG_MARK, level, result->status, r,
                  "%s: %s (%" APR_UINT64_T_FMT " so far, said once in ten seconds)",
                  result->problem, result->detail, fs_session_counters_get(host->counters, kind));
}
