/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot is made from one publication and one moment: the notices that are in force, their
 * conditions compiled, sorted by application. Immutable. It lives in a pool with an allocator of
 * its own, so that any thread may make and destroy it.
 */
#ifndef FS_AVAIL_SNAPSHOT_H
#define FS_AVAIL_SNAPSHOT_H

#include <ap_expr.h>
#include <httpd.h>

#include "avail/fs_avail_page.h"

/* A notice that is in force. */
typedef struct fs_avail_rule_t {
    const fs_notice_t *notice;
    const ap_expr_info_t *condition; /* NULL: it has none */
    int late;                        /* the condition asks for what is known only at fixups */
    fs_usec_t start, end;            /* 0: open */
} fs_avail_rule_t;

/* Those of one application, in the order in which they are asked. */
typedef struct fs_avail_plan_t {
    int count, room;
    const fs_avail_rule_t **rules;
    fs_avail_marks_t *marks; /* NULL while there are no rules */
} fs_avail_plan_t;

/* A notice that can't be used here, and why. */
typedef struct fs_avail_unusable_t {
    const fs_notice_t *notice;
    const char *problem;
} fs_avail_unusable_t;

typedef struct fs_avail_snapshot_t {
    apr_pool_t *pool;
    fs_avail_t *avail;
    fs_usec_t made;         /* farm time */
    fs_usec_t change;       /* farm time when a window begins or ends; INT64_MAX never */
    int any;                /* a notice is in force for an application of this server */
    int late;               /* one of them is late */
    fs_avail_plan_t *plans; /* of each application */
    int unusable_count;
    fs_avail_unusable_t *unusable;
} fs_avail_snapshot_t;

/* In child_init: the applications of this server, and where its notices come from. */
void fs_avail_snapshot_init(server_rec *main_server, const fs_avail_reader_t *reader,
                            apr_pool_t *pool);
/*
 * Makes the snapshot of `now` (farm time); NULL if nothing could be read, which is logged once for
 * a publication. What can't be used is logged, and the agent told.
 */
fs_avail_snapshot_t *fs_avail_snapshot_make(fs_usec_t now);
void fs_avail_snapshot_destroy(fs_avail_snapshot_t *snapshot);

#endif
