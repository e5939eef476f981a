/* SPDX-License-Identifier: Apache-2.0 */
/* What the directives of routing say. Names, defaults and contexts are in doc/configuration.md. */
#ifndef FS_ROUTE_SETTINGS_H
#define FS_ROUTE_SETTINGS_H

#include <ap_expr.h>
#include <httpd.h>
#include <http_config.h>

#include "net/fs_key.h"
#include "route/fs_route.h"
#include "session_cookie.h"

typedef enum fs_routing_by_t {
    FS_ROUTING_PROXY,
    FS_ROUTING_REDIRECT,
    FS_ROUTING_SERVE,
    FS_ROUTING_BALANCER /* a balancer in this httpd asks; nothing is done here */
} fs_routing_by_t;

typedef enum fs_routing_return_t {
    FS_ROUTING_RETURN_IDLE,
    FS_ROUTING_RETURN_NEVER,
    FS_ROUTING_RETURN_ALL
} fs_routing_return_t;

/* Of a place in the configuration; FS_UNSET or NULL where nothing was said. Cookie and visitor are
 * of a server or virtual host. */
typedef struct fs_routing_place_t {
    int on;
    int by; /* fs_routing_by_t */
    const fs_cookie_t *cookie;
    const char *cookie_text; /* as it was given */
    const ap_expr_info_t *visitor;
    const char *visitor_text;
} fs_routing_place_t;

void fs_routing_create_place(fs_routing_place_t *place);
void fs_routing_merge_place(fs_routing_place_t *place, const fs_routing_place_t *outer,
                            const fs_routing_place_t *inner);
/* What holds for a request, or of the whole server, defaults filled in. */
void fs_routing_fill_place(fs_routing_place_t *place);

/* Of the whole server. */
typedef struct fs_routing_t {
    int used;     /* not a directive: FarmSyncRoute is On somewhere */
    int capacity; /* visitors; 0: this server is nobody's home */
    int bounces;
    double slack;
    int busy; /* percent */
    int full_refuses;
    int robin;
    const char *url, *public_url, *rack;
    int idle_s;
    int returning; /* fs_routing_return_t */
    int return_rate;
    int ramp_s;
    int sync; /* changes of a session after which its copy goes to the alternate; 0: at the end */
    const char *check;
    fs_route_settings_t rules; /* not a directive: the same for lib/route */
    fs_keyring_t *ring;        /* not a directive: read by the parent; NULL: it didn't */
} fs_routing_t;
#define FS_ROUTING_SYNC_END 0

fs_routing_t *fs_routing_create(apr_pool_t *pool);
/* Fills in the defaults, once the configuration was read whole; `address` is this server's. */
void fs_routing_complete(apr_pool_t *pool, server_rec *main_server, const char *address);
/* What is missing or contradicts itself; NULL if nothing. */
const char *fs_routing_problem(apr_pool_t *pool, server_rec *main_server);
/* The member "routing" of agent.json; NULL: there is none. */
const char *fs_routing_json(apr_pool_t *pool, const fs_routing_t *routing);
const char *fs_routing_return_name(fs_routing_return_t returning);
const char *fs_routing_by_name(fs_routing_by_t by);

const char *fs_routing_set_on(cmd_parms *cmd, void *config, int value);
const char *fs_routing_set_by(cmd_parms *cmd, void *config, const char *value);
const char *fs_routing_set_cookie(cmd_parms *cmd, void *config, const char *name,
                                  const char *attributes);
const char *fs_routing_set_visitor(cmd_parms *cmd, void *config, const char *value);
const char *fs_routing_set_number(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_slack(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_seconds(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_word(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_url(cmd_parms *cmd, void *unused, const char *url, const char *open);
const char *fs_routing_set_rack(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_return(cmd_parms *cmd, void *unused, const char *when, const char *rate);
const char *fs_routing_set_sync(cmd_parms *cmd, void *unused, const char *value);
const char *fs_routing_set_check(cmd_parms *cmd, void *unused, const char *value);

/* What tells the directives that share a function apart: cmd->info. */
typedef enum fs_routing_field_t {
    FS_ROUTING_CAPACITY,
    FS_ROUTING_BOUNCES,
    FS_ROUTING_BUSY,
    FS_ROUTING_IDLE,
    FS_ROUTING_RAMP,
    FS_ROUTING_FULL,
    FS_ROUTING_ASSIGN
} fs_routing_field_t;
#define FS_ROUTING_FIELD(field) ((void *)(apr_uintptr_t)(field))

/* Rows of the table of directives. */
#define FS_ROUTING_COMMANDS                                                                        \
    AP_INIT_FLAG("FarmSyncRoute", fs_routing_set_on, NULL, RSRC_CONF | ACCESS_CONF,                \
                 "On: each visitor has a server that is home to him; default Off"),                \
        AP_INIT_TAKE1("FarmSyncRouteBy", fs_routing_set_by, NULL, RSRC_CONF | ACCESS_CONF,         \
                      "how a request gets to its home: proxy (default), redirect, serve (here, "   \
                      "which becomes its home), or balancer (one in this httpd asks)"),            \
        AP_INIT_TAKE12("FarmSyncRouteCookie", fs_routing_set_cookie, NULL, RSRC_CONF,              \
                       "name and attributes of the cookie; default farmsync"),                     \
        AP_INIT_TAKE1("FarmSyncRouteVisitor", fs_routing_set_visitor, NULL, RSRC_CONF,             \
                      "expression by whose value visitors without the cookie are known"),          \
        AP_INIT_TAKE1("FarmSyncCapacity", fs_routing_set_number,                                   \
                      FS_ROUTING_FIELD(FS_ROUTING_CAPACITY), RSRC_CONF,                            \
                      "visitors that this server can be home to; default 10000, 0: none"),         \
        AP_INIT_TAKE1("FarmSyncBounces", fs_routing_set_number,                                    \
                      FS_ROUTING_FIELD(FS_ROUTING_BOUNCES), RSRC_CONF,                             \
                      "how often a new visitor may be sent on; default 1"),                        \
        AP_INIT_TAKE1("FarmSyncBusy", fs_routing_set_number, FS_ROUTING_FIELD(FS_ROUTING_BUSY),    \
                      RSRC_CONF,                                                                   \
                      "percentage of capacity or workers at which a server takes nobody new; "     \
                      "default 80"),                                                               \
        AP_INIT_TAKE1("FarmSyncSlack", fs_routing_set_slack, NULL, RSRC_CONF,                      \
                      "how far above the farm's mean a server still takes new visitors; default "  \
                      "1.05"),                                                                     \
        AP_INIT_TAKE1("FarmSyncRouteFull", fs_routing_set_word, FS_ROUTING_FIELD(FS_ROUTING_FULL), \
                      RSRC_CONF,                                                                   \
                      "serve (default) or refuse new visitors when all servers are full"),         \
        AP_INIT_TAKE1("FarmSyncRouteAssign", fs_routing_set_word,                                  \
                      FS_ROUTING_FIELD(FS_ROUTING_ASSIGN), RSRC_CONF,                              \
                      "new visitors stay at the server reached (default), or go round: robin"),    \
        AP_INIT_TAKE12("FarmSyncRouteURL", fs_routing_set_url, NULL, RSRC_CONF,                    \
                       "where other servers reach this one, and where clients do; default "        \
                       "http:// and ServerName"),                                                  \
        AP_INIT_TAKE1("FarmSyncRack", fs_routing_set_rack, NULL, RSRC_CONF,                        \
                      "what fails together with this server; alternates are in another one"),      \
        AP_INIT_TAKE1("FarmSyncRouteIdle", fs_routing_set_seconds,                                 \
                      FS_ROUTING_FIELD(FS_ROUTING_IDLE), RSRC_CONF,                                \
                      "after how long a visitor who doesn't come is forgotten; default 1800"),     \
        AP_INIT_TAKE12("FarmSyncRouteReturn", fs_routing_set_return, NULL, RSRC_CONF,              \
                       "who goes back to a server that returned: idle (default), never or all, "   \
                       "and how many a second; default 50"),                                       \
        AP_INIT_TAKE1("FarmSyncRouteRamp", fs_routing_set_seconds,                                 \
                      FS_ROUTING_FIELD(FS_ROUTING_RAMP), RSRC_CONF,                                \
                      "over how long a server that started gets its full share; default 60"),      \
        AP_INIT_TAKE1("FarmSyncAlternateSync", fs_routing_set_sync, NULL, RSRC_CONF,               \
                      "when the alternate gets a copy of a session: change (default), a number "   \
                      "of changes, or end"),                                                       \
        AP_INIT_TAKE1("FarmSyncAgentCheck", fs_routing_set_check, NULL, RSRC_CONF,                 \
                      "host:port at which the agent answers HAProxy's agent-check")

#endif
