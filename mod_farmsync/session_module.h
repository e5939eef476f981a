/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of mod_session_farmsync share. Each concern has its own header. */
#ifndef FS_SESSION_MODULE_H
#define FS_SESSION_MODULE_H

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

APLOG_USE_MODULE(session_farmsync);

#endif
