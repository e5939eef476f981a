/* SPDX-License-Identifier: Apache-2.0 */
/* What mod_proxy_http has read of a body, given back to the handlers of this server. */
#ifndef FS_PROXY_BODY_H
#define FS_PROXY_BODY_H

#include "proxy_module.h"

/* No connection could be made: what was read ahead of the body comes again when it is read. */
void fs_proxy_body_give_back(request_rec *r);
void fs_proxy_body_register(void);

#endif
