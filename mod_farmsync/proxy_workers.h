/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_proxy's workers for the farm's servers: a child makes one when it first sends a request to a
 * server, and keeps it with its connections. They belong to this module alone, so that what the
 * administrator says of his own (ProxyPass, <Proxy>) stays untouched, and a server joins without a
 * restart.
 */
#ifndef FS_PROXY_WORKERS_H
#define FS_PROXY_WORKERS_H

#include "proxy_module.h"

/* In a child, before its threads. */
void fs_proxy_workers_init(apr_pool_t *child_pool);

/* The worker of a URL without a path. Any thread. NULL: its host has no address, or the URL is bad;
 * that is in the log then. */
proxy_worker *fs_proxy_worker(request_rec *r, const char *url);

#endif
