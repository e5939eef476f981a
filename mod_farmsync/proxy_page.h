/* SPDX-License-Identifier: Apache-2.0 */
/* The table of servers (lib/route) in a child. */
#ifndef FS_PROXY_PAGE_H
#define FS_PROXY_PAGE_H

#include "proxy_module.h"
#include "route/fs_route_page.h"

/* In a child, before its threads. */
void fs_proxy_page_init(apr_pool_t *child_pool, server_rec *main_server);
/* NULL: nothing is routed here. */
fs_route_page_t *fs_proxy_page(void);
/* Nothing has been heard of that server for a while, or it isn't ready, as this host's agent says.
 * Not what only this host's request processes suspect. */
int fs_proxy_is_silent(const char *server);

#endif
