/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending a request on to another web server of the farm, through mod_proxy_http.
 *
 * The scheme handler of mod_proxy is called with a worker of this module's own; filters, header
 * fields and places of the administrator's proxies don't apply. The request goes out as it came in:
 * its URL before any rewriting, its Host, its X-Forwarded-For. The home does with it what it would
 * have done if it had come there at once.
 *
 * Nothing is lost that needn't be:
 * - no connection: the next server in the list, with what was read of the body
 * - a connection of the pool that the other side was just closing: once more over a fresh one. That
 *   is safe, for bodies wait for "100 Continue", and what has no body and isn't idempotent goes
 * over a fresh connection from the start
 * - a server that dies before it answers: the next in the list, if the request is idempotent and
 * has no body; else 502
 * - a server that stands still, of which the farm hears nothing any more: likewise, without a
 * second try
 * - an answer that breaks off is broken off to the client as well, and a timeout is 504
 */
#ifndef FS_PROXY_FORWARD_H
#define FS_PROXY_FORWARD_H

#include "parts.h"
#include "proxy_module.h"

/* farmsync_forward of parts.h. */
int fs_proxy_forward(request_rec *r, const farmsync_forward_t *to);
void fs_proxy_forward_register(apr_pool_t *pool);
/* In a child, before its threads. */
void fs_proxy_forward_init(apr_pool_t *child_pool);

#endif
