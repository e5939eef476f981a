/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version a request is served from.
 *
 * At its first use of a group's data a request pins the view that its farm time asks for, and keeps
 * it to its end, so that it sees one version of all datasets of the group whatever happens
 * meanwhile. Subrequests and internal redirects belong to the request that they come from. The pin
 * is let go by a cleanup of that request's pool.
 */
#ifndef FS_VIEW_H
#define FS_VIEW_H

#include <httpd.h>

#include "control/fs_view_cache.h"

typedef struct fs_pin_t {
    const char *group;
    int64_t version;
    int stale; /* something newer may be in force */
    int index; /* of the group's record and marks; -1 if it has none */
    unsigned lookups;
    unsigned misses;
    int refused;
    fs_view_pin_t pin; /* pin.view NULL: there is nothing to serve */
} fs_pin_t;

/* The request's pin of the group at that place of FarmSyncGroup; NULL if this process has no data.
 */
fs_pin_t *fs_view_pin(request_rec *r, int group);
/* The request that all subrequests and internal redirects belong to. */
request_rec *fs_view_first_request(request_rec *r);

#endif
