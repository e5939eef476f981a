/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's configuration: StateDir/agent.json, written by mod_farmsync from httpd's directives,
 * or by hand. Names and values are checked; what isn't known is refused rather than overlooked,
 * because a mistyped field that is ignored is found only when it would have been needed.
 */
#ifndef FS_AGENT_CONFIG_H
#define FS_AGENT_CONFIG_H

#include "agent_config_route.h"
#include "agent_config_sessions.h"
#include "base/fs_log.h"
#include "base/fs_result.h"
#include "control/fs_control.h"
#include "monitor.h"
#include "plan.h"

#define FS_PEERS_MAX 256

/* Strings are malloc'ed, NULL where the file has null. */
typedef struct fs_agent_config_t {
    char *server; /* this server's name in farmsync.member */
    char *state_dir;
    unsigned group_count;
    char *groups[FS_CONTROL_GROUPS];
    char *database; /* MySQL option file */
    unsigned server_count;
    char *servers[FS_SERVERS_MAX]; /* base URLs of data servers, without a slash at the end */
    char *key_file;
    char *ca_file;
    char *cert_file;
    char *listen;    /* address for the other agents; NULL none */
    char *advertise; /* host:port at which they reach it, if that is another; NULL */
    unsigned peer_count;
    char *peers[FS_PEERS_MAX]; /* base URLs of other agents */
    unsigned suspect_ms;       /* a silent peer is suspected; 0: the default */
    unsigned dead_ms;          /* ... and dead */
    unsigned outage_s;         /* the longest that a server may be away; 0: the default */
    char *address;             /* where this web server is reached, for people; "" unknown */
    fs_log_level_t log_level;
    unsigned poll_ms;       /* between two looks at the database while no data server answers */
    unsigned home_after_ms; /* FS_SERVERS_HOME_MS; written by hand, for tests */
    fs_agent_sessions_t sessions;
    fs_agent_route_config_t route;
    unsigned monitor_count;
    fs_monitor_config_t monitors[FS_MONITORS_MAX];
    unsigned monitor_share; /* percent of the servers that monitors may take down */
} fs_agent_config_t;

#define FS_AGENT_CONFIG_LIMIT (256u * 1024)

/* Errors: FS0011, FS0012, FS0550 (not JSON), FS0551 (unknown field), FS0552 (bad value). */
apr_status_t fs_agent_config_read(fs_agent_config_t *config, const char *path, fs_result_t *result);
apr_status_t fs_agent_config_parse(fs_agent_config_t *config, const char *json, size_t length,
                                   const char *path, fs_result_t *result);
void fs_agent_config_clear(fs_agent_config_t *config);

#endif
