/* SPDX-License-Identifier: Apache-2.0 */
/* Where below its <Location> a request points to. */
#ifndef FS_PLACE_H
#define FS_PLACE_H

#include <httpd.h>

/*
 * The rest of the request's path below the <Location> that gave it its handler, percent-encoded,
 * without a slash at its begin or end; "" for the place itself.
 */
const char *fs_place_rest(request_rec *r);

#endif
