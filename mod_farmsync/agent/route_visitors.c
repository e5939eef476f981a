/* SPDX-License-Identifier: Apache-2.0 */
#include "route_visitors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route.h"

typedef struct fs_route_visitors_t {
    fs_route_store_t *store;
} fs_route_visitors_t;

apr_status_t fs_route_visitors_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_route_limits_t limits = {.unconfirmed = agent->config.route.capacity};
    fs_route_visitors_t *visitors = agent->route_visitors = calloc(1, sizeof(*visitors));
    char path[PATH_MAX];
    apr_status_t status;

    if (!visitors)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    snprintf(path, sizeof(path), "%s/" FS_ROUTE_STORE_DIR, agent->config.state_dir);
    status = fs_route_store_prepare(path, (uid_t)-1, (gid_t)-1, 0, NULL, result);
    if (!status && result->problem[0])
        fs_log_result(FS_LOG_WARNING, result);
    return status
               ? status
               : fs_route_store_open(&visitors->store, path, agent->config.server, &limits, result);
}

apr_status_t fs_route_visitors_start(fs_agent_t *agent, fs_result_t *result)
{
    return APR_SUCCESS;
}

void fs_route_visitors_wake(fs_agent_t *agent)
{
}

int fs_route_visitors_join(fs_agent_t *agent)
{
    return 1;
}

void fs_route_visitors_own(fs_agent_t *agent, fs_route_own_t *own)
{
    fs_route_total_t total = {0};
    fs_result_t ignored;

    fs_route_store_total(agent->route_visitors->store, agent->config.server, &total, &ignored);
    *own = (fs_route_own_t){.primaries = total.primaries,
                            .alternates = total.alternates,
                            .sequence = total.sequence,
                            .digest = total.digest,
                            .generation = total.generation,
                            .ready = 1};
}

void fs_route_visitors_ring(fs_agent_t *agent)
{
}

void fs_route_visitors_again(fs_agent_t *agent)
{
}

fs_route_store_t *fs_route_visitors_store(fs_agent_t *agent)
{
    return agent->route_visitors->store;
}
