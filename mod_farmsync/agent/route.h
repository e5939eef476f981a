/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing in the agent: which servers there are, in what state, and who is home where.
 *
 *   route.c            life; the thread that judges the servers, publishes them to the request
 *                      processes (lib/route/fs_route_page.h) and tells the others of this one
 *   route_status.c     what this server says of itself, and when
 *   route_order.c      POST /v1/route/drain, /v1/route/undrain: the operator's orders
 *   route_http.c       GET /v1/route, /v1/route/visitor
 *   route_check.c      the port of HAProxy's agent-check
 *   route_table.h      what is made of all that: decisions only
 *   route_visitors*.c  the visitors' identities
 *
 * A server that was away is "starting" until it has compared its visitors with the others, so that
 * it serves nobody who was taken over meanwhile. An agent that follows on another one within the
 * time in which nobody suspects it goes on as it was: a restart of httpd moves nobody.
 *
 * routing->lock protects table and status. It is never held across a call of the backplane's.
 */
#ifndef FS_AGENT_ROUTE_H
#define FS_AGENT_ROUTE_H

#include "agent.h"
#include "route_table.h"

apr_status_t fs_routing_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_routing_start(fs_agent_t *agent, fs_result_t *result);
void fs_routing_wake(fs_agent_t *agent);
int fs_routing_join(fs_agent_t *agent);

/* --- for route_visitors*.c: any thread ---------------------------------------------------------
 */

/* Another server that takes part in routing. */
typedef struct fs_route_peer_t {
    char name[FS_ROUTE_NAME_SIZE];
    char agent[FS_PEER_URL_SIZE]; /* base URL of its agent; "" not known */
    fs_routing_state_t state;
    uint32_t number; /* in the page */
    int ready;       /* as it says */
    uint64_t sequence, digest, generation;
    fs_usec_t heard; /* mono; 0 never */
} fs_route_peer_t;
/* All others, at most `max`; returns how many. */
unsigned fs_route_peers(fs_agent_t *agent, fs_route_peer_t *peers, unsigned max);
/* What fs_route_visitors_own says has changed in a way that the others should know at once. */
void fs_route_tell_soon(fs_agent_t *agent);
/* 1 if an operator has ordered that this server is to be empty; 0 also if it takes no part. */
int fs_route_drains(fs_agent_t *agent);
/* Visitors who were home here were given up: request processes are to look again. */
void fs_route_bump(fs_agent_t *agent);

#endif
