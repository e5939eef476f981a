/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of agent.json that is about routing, its member "routing":
 *
 *   {"capacity": 10000, "url": "http://10.0.0.1:80", "public": null, "rack": null,
 *    "idle_s": 1800, "return": "idle", "return_rate": 50, "ramp_s": 60,
 *    "slack": 1.05, "busy": 80, "bounces": 1, "agent_check": "127.0.0.1:4490"}
 *
 * All but these are refused; what is missing is as above, but without an agent_check. null for the
 * whole: the agent takes no part in routing.
 */
#ifndef FS_AGENT_CONFIG_ROUTE_H
#define FS_AGENT_CONFIG_ROUTE_H

#include <jansson.h>

#include "base/fs_result.h"
#include "route/fs_route_page.h"

#define FS_ROUTE_CAPACITY_MAX 100000000u

/* What becomes of visitors who were taken over when their server is back. */
typedef enum fs_agent_return_t {
    FS_AGENT_RETURN_IDLE, /* those who weren't seen for a while go back */
    FS_AGENT_RETURN_NEVER,
    FS_AGENT_RETURN_ALL
} fs_agent_return_t;

typedef struct fs_agent_route_config_t {
    int enabled;
    uint32_t capacity;           /* visitors; 0: it is nobody's home, and sends all to others */
    char url[FS_ROUTE_URL_SIZE]; /* "": made of the server's address */
    char public_url[FS_ROUTE_URL_SIZE]; /* "": visitors reach it at `url`, or not at all */
    char rack[FS_ROUTE_RACK_SIZE];      /* "": none */
    unsigned idle_s;                    /* a visitor who isn't seen for so long is forgotten */
    fs_agent_return_t return_policy;
    unsigned return_rate; /* visitors a second that go back, at most */
    unsigned ramp_s;      /* 0: a server that returned is whole at once */
    fs_route_settings_t settings;
    char *agent_check; /* host:port; NULL none */
} fs_agent_route_config_t;

/* Errors: FS0551 (unknown field), FS0552 (bad value), FS0621. */
apr_status_t fs_agent_config_read_route(fs_agent_route_config_t *route, const json_t *json,
                                        const char *path, fs_result_t *result);
void fs_agent_config_clear_route(fs_agent_route_config_t *route);

/* What may stand for a server in a record, a URL "http://host[:port]" without a path; and for a
 * rack: 1 to 63 visible characters without quotes and what HTML means. mod_farmsync takes no more.
 */
int fs_agent_route_is_url(const char *url);
int fs_agent_route_is_rack(const char *rack);

#endif
