/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Availability in the request processes: a request for an application that is down is refused
 * before anything else happens to it.
 *
 *   avail_settings   directives                       avail_answer   what the visitor gets
 *   avail_state      what is in force, in memory      avail_accept   in which form and language
 *   avail_snapshot   made from a publication           avail_status   status page, metrics
 *   avail_condition  httpd's expressions
 *   avail_request    whether a request is refused
 *
 * While nothing is down, a request costs one atomic load and a comparison.
 */
#ifndef FS_MOD_AVAIL_H
#define FS_MOD_AVAIL_H

#include <httpd.h>

#include "child.h"

/* Hooks: quick_handler, fixups, log_transaction. */
void fs_avail_register(void);

/* In child_init, before the process serves anything; and from the helper thread, each second and
 * whenever something was published. */
void fs_avail_child_init(const fs_child_t *child, apr_pool_t *pchild);
void fs_avail_follow(void);

/* "up", "down" or "degraded": what is in force for an application now, conditions aside; "" if
 * there is no such application. */
const char *fs_avail_state(const char *application);

/* 1 if the agent of this host sent it, to see how an application here is. */
int fs_avail_is_probe(request_rec *r);

/* The status section: an optional hook of parts.h. */
void fs_avail_status_register(void);

#endif
