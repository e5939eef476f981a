/* SPDX-License-Identifier: Apache-2.0 */
/* What mod_farmsync notes of a main request, all of its subrequests and internal redirects. */
#ifndef FS_REQUEST_H
#define FS_REQUEST_H

#include <httpd.h>

typedef struct fs_request_t {
    struct request_pins_t *pins;       /* view.c: the versions that it reads */
    struct fs_routing_visit_t *routed; /* route_visit.c: who asks */
} fs_request_t;

/* Of the first request of such a chain (fs_view_first_request); NULL: nothing was noted yet. */
fs_request_t *fs_request(const request_rec *first);
fs_request_t *fs_request_make(request_rec *first);

#endif
