/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request process has: the control page, the mapped views, and a helper thread.
 *
 * The helper waits on the page's generation. When something is published it maps the new views, so
 * that no request has to, and lets go of those that are neither active nor staged any more, so that
 * an idle process doesn't hold old data for hours. Requests never wait for it: they read the page
 * and map what is missing themselves.
 *
 * The thread stops in a pre-cleanup of the child's pool, not at child_stopping: a child that drains
 * after a graceful restart goes on to switch on time. Nothing here is ever unmapped or freed at
 * exit, because a request that still runs may be reading it; the process's end does that.
 */
#ifndef FS_CHILD_H
#define FS_CHILD_H

#include <httpd.h>

#include "control/fs_control.h"
#include "control/fs_view_cache.h"
#include "settings.h"

typedef struct fs_child_t {
    const fs_settings_t *settings;
    server_rec *server; /* the main server */
    fs_control_t *control;
    fs_view_cache_t *cache;
} fs_child_t;

void fs_child_init(apr_pool_t *pchild, server_rec *server);
/* This process's child, or NULL if there is none (the parent, or memory ran out at the start). */
const fs_child_t *fs_child(void);
/*
 * Whether this process should say something now that each request may give it reason to say: once a
 * minute. `said`: when it did so (mono), 0 at first; one for each thing that is said. Any thread.
 */
int fs_child_says_again(_Atomic fs_usec_t *said);

#endif
