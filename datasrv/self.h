/* SPDX-License-Identifier: Apache-2.0 */
/* This data server's own rows of farmsync.member, one a group, like any other member's. */
#ifndef FS_DATASRV_SELF_H
#define FS_DATASRV_SELF_H

#include "roster.h"
#include "worker.h"

/* What was last reported; all zero at first. One thread. */
typedef struct fs_self_t {
    fs_usec_t reported; /* mono */
    uint64_t said;      /* over what matters, to report a change at once */
} fs_self_t;

/* Puts its rows into the roster when something changed, and every FS_SELF_EVERY. */
#define FS_SELF_EVERY (5 * FS_USEC_PER_SEC)
void fs_self_report(fs_self_t *self, const fs_worker_shared_t *shared, const char *address,
                    fs_roster_t *roster);

#endif
