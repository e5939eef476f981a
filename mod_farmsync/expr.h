/* SPDX-License-Identifier: Apache-2.0 */
/* Farm data in expressions and in RewriteMap. */
#ifndef FS_EXPR_H
#define FS_EXPR_H

#include <httpd.h>
#include <ap_expr.h>

/* %{farmsync:DATASET/KEY/COLUMN} and farmsync('...'): hook expr_lookup. */
int fs_expr_lookup(ap_expr_lookup_parms *parms);
/* RewriteMap NAME int:farmsync: called in pre_config; nothing happens without mod_rewrite. */
void fs_rewritemap_register(void);

#endif
