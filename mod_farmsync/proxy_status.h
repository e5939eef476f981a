/* SPDX-License-Identifier: Apache-2.0 */
/* What DUMP_FARMSYNC says of mod_proxy_farmsync. */
#ifndef FS_PROXY_STATUS_H
#define FS_PROXY_STATUS_H

#include "parts.h"

/* farmsync_section of parts.h. */
int fs_proxy_section(apr_pool_t *pool, server_rec *main_server, farmsync_form_t form,
                     apr_array_header_t *sections);

#endif
