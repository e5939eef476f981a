/* SPDX-License-Identifier: Apache-2.0 */
/* SetHandler farmsync-data: farm data over HTTP. */
#ifndef FS_HANDLER_DATA_H
#define FS_HANDLER_DATA_H

#include <httpd.h>

int fs_handler_data(request_rec *r);

#endif
