/* SPDX-License-Identifier: Apache-2.0 */
/* What the directives say. Names, defaults and contexts are in doc/configuration.md. */
#ifndef FS_SETTINGS_H
#define FS_SETTINGS_H

#include <httpd.h>
#include <http_config.h>

#include "avail_settings.h"
#include "base/fs_log.h"
#include "reuse.h"
#include "route_settings.h"

#define FS_UNSET (-1)

/*
 * Of the whole server: only outside of <VirtualHost>, but for `avail`. NULL or FS_UNSET where
 * nothing was said.
 */
typedef struct fs_settings_t {
    const char *server;
    const char *state_dir;
    const char *database;
    const char *key_file;
    const char *ca_file;
    const char *certificate_file;
    const char *agent;
    const char *listen;               /* host:port of the agent for the other agents */
    const char *advertise;            /* host:port at which they reach it */
    int suspect_ms, dead_ms;          /* of silent peers */
    int outage_s;                     /* the longest that a server may be away */
    apr_array_header_t *peers;        /* of const char * */
    apr_array_header_t *monitors;     /* NULL, or known to monitors.c only */
    int monitor_share;                /* percent; 0 unset */
    apr_array_header_t *data_servers; /* of const char * */
    apr_array_header_t *groups;       /* of const char * */
    apr_off_t reuse_store;            /* bytes; FS_UNSET */
    int reuse_used;                   /* not a directive: FarmSyncReuse is On somewhere */
    int reuse_mirrors;                /* not a directive: and so is FarmSyncReuseMirror */
    int agent_log_level;              /* fs_log_level_t */
    int agent_poll_ms;
    const char *agent_members;  /* not a directive: what other modules add to agent.json */
    int agent_needed;           /* not a directive: an agent is of use for one of these */
    fs_avail_settings_t *avail; /* of each virtual host its own */
    fs_routing_t *routing;
    const char *address;        /* not a directive: where this server is reached, host:port */
    pid_t agent_parent; /* not a directive: the process that started the agent; 0 none did */
} fs_settings_t;

/* Of a place in the configuration: also per virtual host and directory. */
typedef struct fs_place_t {
    int on_stale; /* FS_STALE_SERVE, FS_STALE_REFUSE */
    int version_header;
    fs_reuse_place_t reuse;
    fs_routing_place_t route;
} fs_place_t;
#define FS_STALE_SERVE  0
#define FS_STALE_REFUSE 1

extern const command_rec fs_settings_commands[];

void *fs_settings_create_server(apr_pool_t *pool, server_rec *server);
void *fs_settings_merge_server(apr_pool_t *pool, void *base, void *add);
void *fs_settings_create_place(apr_pool_t *pool, char *path);
void *fs_settings_merge_place(apr_pool_t *pool, void *base, void *add);

/* The settings of the main server, and of the place that a request is in. */
fs_settings_t *fs_settings(const server_rec *main_server);
const fs_place_t *fs_settings_main_place(const server_rec *main_server);
int fs_settings_on_stale(const request_rec *r);
int fs_settings_version_header(const request_rec *r);

/* Fills in the defaults, once the configuration was read whole. */
void fs_settings_complete(apr_pool_t *pool, server_rec *main_server);
/* What is missing or contradicts itself, as a sentence that begins with its number; NULL if
 * nothing. */
const char *fs_settings_problem(apr_pool_t *pool, const fs_settings_t *settings);
/* What is wrong with the files that hold secrets, as the agent would say it; NULL if nothing. */
const char *fs_settings_file_problem(apr_pool_t *pool, const fs_settings_t *settings);
/* 1 if there is anything to get data from, so that an agent is of use. */
int fs_settings_have_source(const fs_settings_t *settings);
/* 1 if the agent has anything to do: data, or the backplane. */
int fs_settings_have_work(const fs_settings_t *settings);
/* 1 if httpd is to start the agent. */
int fs_settings_start_agent(const fs_settings_t *settings);

/* host:port, an IPv6 address in brackets. */
int fs_settings_is_address(const char *text);

/* The name of the group at that place of FarmSyncGroup. */
const char *fs_settings_group(const fs_settings_t *settings, int index);

#endif
