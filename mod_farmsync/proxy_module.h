/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of mod_proxy_farmsync share. */
#ifndef FS_PROXY_MODULE_H
#define FS_PROXY_MODULE_H

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <mod_proxy.h>

APLOG_USE_MODULE(proxy_farmsync);
extern module AP_MODULE_DECLARE_DATA proxy_farmsync_module;

/* FarmSyncForward, of the main server; -1: not said. Microseconds. */
typedef struct fs_proxy_settings_t {
    apr_interval_time_t connect; /* until a connection is made */
    apr_interval_time_t answer;  /* for each read and write; -1: as mod_proxy's */
    apr_interval_time_t idle;    /* a connection that wasn't used for so long isn't used again */
} fs_proxy_settings_t;

#define FS_PROXY_CONNECT apr_time_from_sec(1)
#define FS_PROXY_IDLE    apr_time_from_sec(1)

const fs_proxy_settings_t *fs_proxy_settings(void);

/* What is going on with a request that this module has to do with. */
typedef struct fs_proxy_request_t {
    const char *token;    /* goes out as FarmSync-Route while it is forwarded; NULL */
    const char *target;   /* name of the server that it is forwarded to */
    int status;           /* of the request before it was forwarded */
    int keepalives;       /* requests on the client's connection before this one */
    unsigned asked : 1;   /* all of the head has been sent */
    unsigned reused : 1;  /* over a connection that had been used before */
    unsigned began : 1;   /* the client gets an answer */
    unsigned swapped : 1; /* mod_proxy_balancer was shown another Cookie */
    const char *cookie;   /* the client's own; NULL: he has none */
} fs_proxy_request_t;

/* NULL if there is none and `make` is 0. */
fs_proxy_request_t *fs_proxy_request(request_rec *r, int make);

#endif
