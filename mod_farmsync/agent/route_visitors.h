/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is home where: this server's visitors are told to the others, and theirs are merged into the
 * store that the request processes look into (lib/route/fs_route_store.h). What is said to whom is
 * decided by lib/route/fs_route_share.h.
 *
 *   POST /v1/route/changes    another agent tells what it changed (FarmSyncListen; signed)
 *   GET  /v1/route/visitors   it asks for a page of this server's visitors, or of another one's
 *
 * Opened and ended as a part (parts.h) by route.c. What route.h offers is there from `open` on.
 */
#ifndef FS_AGENT_ROUTE_VISITORS_H
#define FS_AGENT_ROUTE_VISITORS_H

#include "agent.h"
#include "route/fs_route_share.h"

apr_status_t fs_route_visitors_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_route_visitors_start(fs_agent_t *agent, fs_result_t *result);
void fs_route_visitors_wake(fs_agent_t *agent);
int fs_route_visitors_join(fs_agent_t *agent);

/* What this server says of its visitors. */
typedef struct fs_route_own_t {
    uint64_t primaries, alternates;
    uint64_t sequence, digest, generation;
    int ready; /* compared with the others since it was away */
} fs_route_own_t;
/* Any thread; quick. */
void fs_route_visitors_own(fs_agent_t *agent, fs_route_own_t *own);

/* The state or the record of another server has changed: fs_route_peers has it. Any thread; doesn't
 * wait. */
void fs_route_visitors_ring(fs_agent_t *agent);
/* This server was away for longer than the others wait: it isn't ready until it has compared. */
void fs_route_visitors_again(fs_agent_t *agent);

/* For reading. Any thread. */
fs_route_store_t *fs_route_visitors_store(fs_agent_t *agent);
/* What was told and heard, for status pages. Any thread. */
void fs_route_visitors_info(fs_agent_t *agent, fs_route_share_info_t *info);

#endif
