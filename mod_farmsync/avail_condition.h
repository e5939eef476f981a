/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions of notices, and of FarmSyncAvailable: httpd's expressions. Any thread. */
#ifndef FS_AVAIL_CONDITION_H
#define FS_AVAIL_CONDITION_H

#include <ap_expr.h>
#include <apr_pools.h>

/*
 * Compiles a condition into `pool`; what is wrong with it, or NULL. Without access to files,
 * because not everybody who tells notices may read them, and without effect on Vary.
 */
const char *fs_avail_condition_compile(apr_pool_t *pool, const char *condition,
                                       ap_expr_info_t **info);
/*
 * 1 if a condition asks for what httpd knows of a request only after it was mapped to a place and
 * its visitor was asked for a password. Looked for in the text, whether it is quoted or not: to be
 * asked late is never wrong.
 */
int fs_avail_condition_is_late(const char *condition);
/* A pool that shares nothing with others, so that any thread may make and destroy it; or NULL. */
apr_pool_t *fs_avail_condition_pool(void);

#endif
