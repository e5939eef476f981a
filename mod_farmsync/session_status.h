/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to tell of the sessions of this host, for the page that mod_farmsync makes. */
#ifndef FS_SESSION_STATUS_H
#define FS_SESSION_STATUS_H

#include "parts.h"

/* Optional hook farmsync_section. */
int fs_session_section(apr_pool_t *pool, server_rec *main_server, farmsync_form_t form,
                       apr_array_header_t *sections);

#endif
