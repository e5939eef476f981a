/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_proxy_farmsync: what of routing needs mod_proxy. Only settings and hooks here; each concern
 * has its own file.
 *
 *   proxy_forward    a request goes on to another server of the farm, and its answer comes back
 *   proxy_workers    connections to the farm's servers
 *   proxy_body       what was read of a body that isn't forwarded after all
 *   proxy_balancer   mod_proxy_balancer in front of the farm
 *   proxy_page       the table of servers
 *   proxy_status     DUMP_FARMSYNC
 *
 * A module of its own, beside mod_farmsync, because it uses symbols of mod_proxy, which must be
 * loaded before.
 */
#include "proxy_module.h"

#include <stddef.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <util_time.h>

#include "parts.h"
#include "proxy_balancer.h"
#include "proxy_forward.h"
#include "proxy_page.h"
#include "proxy_status.h"
#include "proxy_workers.h"

fs_proxy_request_t *fs_proxy_request(request_rec *r, int make)
{
    fs_proxy_request_t *request = ap_get_module_config(r->request_config, &proxy_farmsync_module);

    if (!request && make) {
        request = apr_pcalloc(r->pool, sizeof(*request));
        ap_set_module_config(r->request_config, &proxy_farmsync_module, request);
    }
    return request;
}

/* --- settings -----------------------------------------------------------------------------------
 */

const fs_proxy_settings_t *fs_proxy_settings(void)
{
    return ap_get_module_config(ap_server_conf->module_config, &proxy_farmsync_module);
}

static void *create_server(apr_pool_t *pool, server_rec *server)
{
    fs_proxy_settings_t *settings = apr_palloc(pool, sizeof(*settings));

    settings->connect = FS_PROXY_CONNECT;
    settings->answer = -1;
    settings->idle = FS_PROXY_IDLE;
    return settings;
}

typedef struct name_t {
    const char *name;
    size_t offset;
    apr_interval_time_t most;
} name_t;

static const name_t names[] = {
    {"connect=", offsetof(fs_proxy_settings_t, connect), apr_time_from_sec(60)},
    {"answer=", offsetof(fs_proxy_settings_t, answer), apr_time_from_sec(86400)},
    {"idle=", offsetof(fs_proxy_settings_t, idle), apr_time_from_sec(3600)},
};

static const char *set_forward(cmd_parms *cmd, void *unused, const char *word)
{
    void *settings = ap_get_module_config(cmd->server->module_config, &proxy_farmsync_module);
    const char *problem = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (problem)
        return problem;
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t length = strlen(names[i].name);
        apr_interval_time_t span;

        if (strncasecmp(word, names[i].name, length) != 0)
            continue;
        if (ap_timeout_parameter_parse(word + length, &span, "s") || span < 1000 ||
            span > names[i].most)
            break;
        *(apr_interval_time_t *)((char *)settings + names[i].offset) = span;
        return NULL;
    }
    return apr_psprintf(cmd->pool,
                        "FS1645: FarmSyncForward %s: give connect=, answer= or idle= and a time "
                        "such as 500ms or 5s (connect at most 60 s, answer 86400 s, idle 3600 s)",
                        word);
}

static const command_rec commands[] = {
    AP_INIT_ITERATE("FarmSyncForward", set_forward, NULL, RSRC_CONF,
                    "connect=TIME answer=TIME idle=TIME: of requests that go on to another server "
                    "of the farm; default connect=1s idle=1s, answer as ProxyTimeout"),
    {NULL}};

/* --- hooks --------------------------------------------------------------------------------------
 */

static void child_init(apr_pool_t *pool, server_rec *server)
{
    fs_proxy_workers_init(pool);
    fs_proxy_forward_init(pool);
    fs_proxy_page_init(pool, server);
    fs_proxy_balancer_init();
}

static int farmsync_forward(request_rec *r, const farmsync_forward_t *to)
{
    return fs_proxy_forward(r, to);
}

static void register_hooks(apr_pool_t *pool)
{
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_LAST);
    APR_REGISTER_OPTIONAL_FN(farmsync_forward);
    APR_OPTIONAL_HOOK(farmsync, farmsync_section, fs_proxy_section, NULL, NULL, APR_HOOK_MIDDLE);
    fs_proxy_forward_register(pool);
    fs_proxy_balancer_register(pool);
}

__attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA proxy_farmsync_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, create_server, NULL, commands, register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
