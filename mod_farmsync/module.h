/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of mod_farmsync share. Each concern has its own header. */
#ifndef FS_MODULE_H
#define FS_MODULE_H

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

APLOG_USE_MODULE(farmsync);

/* The httpd log level of a library message. */
int fs_module_level(int fs_log_level);

#endif
