/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the agent's routing share. */
#ifndef FS_AGENT_ROUTE_INTERNAL_H
#define FS_AGENT_ROUTE_INTERNAL_H

#include <jansson.h>

#include "backplane.h"
#include "net/fs_http_server.h"
#include "route.h"
#include "route_visitors.h"

typedef struct fs_route_check_t fs_route_check_t;

typedef struct fs_routing_t {
    fs_agent_t *agent;
    const fs_agent_route_config_t *config;
    fs_route_page_t *page;
    pthread_mutex_t lock; /* all below, up to the next comment */
    pthread_cond_t due;
    fs_routing_table_t *table;
    int changed;   /* something came that is to be published */
    int wanted;    /* the others are to be told at once */
    int maint;     /* the operator took everything on this server alone down */
    unsigned full; /* table->passed_over that is in the log */
    char line[FS_ROUTING_LINE_SIZE];

    /* The thread's. */
    pthread_t thread;
    int started, joined;
    fs_routing_record_t told; /* as the others know this server */
    fs_usec_t told_at;        /* mono; 0: this life hasn't yet */
    fs_usec_t looked;         /* mono: the last round */
    fs_usec_t since;          /* farm time: ready since; 0: it isn't */
    int goes_on;              /* was ready, and wasn't away long enough for anybody to suspect it */
    fs_route_entry_t *entries;
    fs_peer_name_t *peers;
    fs_usec_t awake;   /* mono: since when this process runs without standing still; 0: its start */
    int httpd_counted; /* its request processes have counted their workers since then */
    int httpd_stands;  /* ... and have stopped to */
    fs_route_shed_t shed;
    fs_trouble_t telling;

    fs_route_check_t *check; /* the loop's */
} fs_routing_t;

/* --- route_status.c: the routing thread --------------------------------------------------------
 */

/* What this server has to say now. */
void fs_routing_own(fs_routing_t *routing, fs_routing_record_t *own);
/* From the record that an agent before this one left: whether this one goes on in its place. */
void fs_routing_resume(fs_routing_t *routing, const fs_routing_record_t *before);
/* The thread stood still for so long that the others may have given this server up. */
void fs_routing_was_away(fs_routing_t *routing, fs_usec_t span);
/* Tells the others, if it is time to. */
void fs_routing_tell(fs_routing_t *routing, const fs_routing_record_t *own, int at_once);
/* Whether the operator has taken down everything on this server, while others go on; `otherwise` if
 * that can't be said at once. */
int fs_routing_is_maintained(fs_agent_t *agent, int otherwise);

/* --- route_order.c ---------------------------------------------------------------------------- */

/* A record of kind "route-order". routing->lock is held. */
void fs_routing_take_order(fs_routing_t *routing, const fs_record_t *record);
void fs_routing_post_drain(void *agent, fs_http_call_t *call);
void fs_routing_post_undrain(void *agent, fs_http_call_t *call);

/* --- route_http.c ----------------------------------------------------------------------------- */

apr_status_t fs_routing_routes(fs_agent_t *agent, fs_result_t *result);

/* --- route_check.c: listeners' loop ------------------------------------------------------------
 */

/* FarmSyncAgentCheck. What can't be listened on is tried again; that is no reason not to run. */
apr_status_t fs_route_check_start(fs_agent_t *agent, fs_result_t *result);

#endif
