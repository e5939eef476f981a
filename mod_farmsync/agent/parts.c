/* SPDX-License-Identifier: Apache-2.0 */
#include "parts.h"

#include <string.h>

#include "avail.h"
#include "backplane.h"
#include "listen.h"
#include "reuse.h"
#include "route.h"
#include "reuse_carry.h"
#include "session.h"

#define WAKE_AGAIN (20 * FS_USEC_PER_MSEC)

/* The listeners start last and end first: nobody calls a part that isn't there. */
static const fs_agent_part_t parts[] = {
    {"backplane", fs_backplane_open, fs_backplane_start, fs_backplane_wake, fs_backplane_join},
    {"availability", fs_avail_open, fs_avail_start, fs_avail_wake, fs_avail_join},
    {"reuse", fs_reuse_open, fs_reuse_start, fs_reuse_wake, fs_reuse_join},
    {"mirrors", fs_reuse_carry_open, fs_reuse_carry_start, fs_reuse_carry_wake,
     fs_reuse_carry_join},
    {"sessions", fs_sessions_open, fs_sessions_start, fs_sessions_wake, fs_sessions_join},
    {"routing", fs_routing_open, fs_routing_start, fs_routing_wake, fs_routing_join},
    {"listen", fs_listen_open, fs_listen_start, fs_listen_wake, fs_listen_join},
};
#define PART_COUNT (sizeof(parts) / sizeof(parts[0]))

apr_status_t fs_agent_start_thread(pthread_t *thread, void *(*run)(void *), void *baton,
                                   fs_result_t *result)
{
    int error = pthread_create(thread, NULL, run, baton);

    if (!error)
        return APR_SUCCESS;
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0622",
                         "cannot start a thread: %s; raise the limit of processes of httpd's user",
                         strerror(error));
}

apr_status_t fs_agent_parts_open(fs_agent_t *agent, fs_result_t *result)
{
    for (unsigned i = 0; i < PART_COUNT; i++) {
        apr_status_t status = parts[i].open ? parts[i].open(agent, result) : APR_SUCCESS;

        if (status)
            return status;
    }
    return APR_SUCCESS;
}

apr_status_t fs_agent_parts_start(fs_agent_t *agent, fs_result_t *result)
{
    for (unsigned i = 0; i < PART_COUNT; i++) {
        apr_status_t status = parts[i].start(agent, result);

        if (status)
            return status;
    }
    return APR_SUCCESS;
}

int fs_agent_parts_end(fs_agent_t *agent, fs_usec_t until)
{
    for (size_t i = PART_COUNT; i-- > 0;) {
        const fs_agent_part_t *part = &parts[i];

        part->wake(agent);
        while (!part->join(agent)) {
            if (fs_time_mono() >= until)
                return 0;
            fs_time_sleep_until(fs_time_mono() + WAKE_AGAIN);
            part->wake(agent);
        }
    }
    return 1;
}
