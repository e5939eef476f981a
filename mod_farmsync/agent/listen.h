/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the agent is spoken to:
 *
 *   StateDir/agent.sock   HTTP/1.1 on a unix socket, mode 0660, owned by httpd's user: the request
 *                         processes, farmsyncctl and monitors of this host. Not signed: the file's
 *                         permissions are the protection. Routes with FS_ROUTE_LOCAL exist here
 * only. FarmSyncListen        the other agents and data servers. Signed with the farm key; TLS with
 *                         FarmSyncCertificateFile, mutual with FarmSyncCAFile. Without a key it
 *                         listens on loopback only.
 *
 * One thread, one loop, one table of routes for both: handlers never run at the same time, and must
 * not wait; what takes time is deferred (fs_http_call_defer) and answered from the loop's thread
 * (fs_listen_post). A handler's baton is the agent.
 *
 * Take-over: the next agent of the same httpd asks the one before it for its listening sockets
 * (StateDir/agent.handover) before it ends it. Connections that come in between wait in the
 * sockets' queues; none is refused.
 */
#ifndef FS_AGENT_LISTEN_H
#define FS_AGENT_LISTEN_H

#include "agent.h"
#include "net/fs_http_server.h"

#define FS_LISTEN_ROUTES_MAX 96
#define FS_LISTEN_SOCKET     "agent.sock"
#define FS_LISTEN_EXCHANGE   "/v1/exchange" /* of the backplane */

/* Adds routes; method and path must be literals. In a part's `open` only. Too many: refused,
 * FS1450. */
apr_status_t fs_agent_listen_add(fs_agent_t *agent, const fs_http_route_t *routes, unsigned count,
                                 fs_result_t *result);
/* Runs fn(baton) in the loop's thread soon. Any thread, from the part's `start` on. */
void fs_listen_post(fs_agent_t *agent, void (*fn)(void *), void *baton);
/* The loop, for a part's own timers; set up in `start`, used in the loop's thread only. */
struct event_base *fs_listen_base(fs_agent_t *agent);
/*
 * Base URL at which other servers reach this agent, "http://10.0.0.1:4480"; "" if FarmSyncListen
 * isn't set. Any thread, from the part's `start` on.
 */
const char *fs_listen_url(const fs_agent_t *agent);

/* Before the agent before this one is ended: gets its sockets. 1 if they are here. */
int fs_listen_take_over(void *agent, int another);

apr_status_t fs_listen_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_listen_start(fs_agent_t *agent, fs_result_t *result);
void fs_listen_wake(fs_agent_t *agent);
int fs_listen_join(fs_agent_t *agent);

#endif
