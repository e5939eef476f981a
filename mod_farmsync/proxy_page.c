/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_page.h"

#include "parts.h"

static fs_route_page_t *page; /* of this child */

static apr_status_t close_page(void *unused)
{
    fs_route_page_close(page);
    page = NULL;
    return APR_SUCCESS;
}

void fs_proxy_page_init(apr_pool_t *child_pool, server_rec *main_server)
{
    APR_OPTIONAL_FN_TYPE(farmsync_host) *host_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_host);
    const farmsync_host_t *host = host_of ? host_of(main_server, child_pool) : NULL;
    fs_result_t result = {0};

    page = NULL;
    if (!host || !host->state_dir)
        return;
    /* Where nothing is routed there is none. */
    if (!fs_route_page_open(&page, host->state_dir, 0, &result))
        apr_pool_cleanup_register(child_pool, NULL, close_page, apr_pool_cleanup_null);
    else
        page = NULL;
}

fs_route_page_t *fs_proxy_page(void)
{
    return page;
}

int fs_proxy_is_silent(const char *server)
{
    const fs_route_view_t *view = page ? fs_route_page_view(page, fs_time_mono()) : NULL;
    fs_route_entry_t entry;

    /* Not as the view has it, in which is what this host suspects for a moment. */
    return view && fs_route_page_entry(page, fs_route_view_find(view, server), &entry) &&
           (entry.server.state == FS_ROUTE_DEAD || entry.server.state == FS_ROUTE_SUSPECT);
}
