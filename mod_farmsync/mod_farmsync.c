/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_farmsync: farm data in the request processes. Only hooks here; each concern has its own file.
 *
 *   settings        directives                     view      which version a request is served from
 *   agent_process   farmsync-agent                 data      looking values up
 *   avail*          whether a request is refused   reuse*    what clients have already
 *   route*          which server a visitor belongs to
 *   child           what a process has mapped      expr, rewritemap, handler_data, api: ways to
 * read facts           what there is to tell          status*, server_status, dump: who tells it
 *
 * A request that doesn't use farm data meets two string compares here, in the handlers, and nothing
 * else. Only core symbols, optional functions and optional hooks are used, so that the module may
 * be loaded before those that it works with.
 */
#include "module.h"

#include <ap_expr.h>
#include <apr_optional_hooks.h>
#include <http_core.h>
#include <http_protocol.h>
#include <mod_status.h>

#include "agent_process.h"
#include "api.h"
#include "avail.h"
#include "base/fs_log.h"
#include "child.h"
#include "expr.h"
#include "handler_data.h"
#include "parts_own.h"
#include "reuse.h"
#include "route.h"
#include "settings.h"
#include "status.h"

int fs_module_level(int fs_log_level)
{
    static const int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO, APLOG_DEBUG};

    return levels[fs_log_level];
}

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    fs_rewritemap_register();
    return OK;
}

/* Runs for configtest too: what is wrong for certain is refused here. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    const char *problem;

    fs_settings_complete(pconf, server);
    problem = fs_settings_problem(ptemp, fs_settings(server));
    if (!problem)
        problem = fs_routing_problem(ptemp, server);
    /* A server that runs isn't stopped by a file that only the agent needs, and may read later. */
    if (!problem && ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST)
        problem = fs_settings_file_problem(ptemp, fs_settings(server));
    if (!problem)
        return OK;
    ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, server, "%s", problem);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/*
 * At the first start this runs twice, and the first time everything is thrown away again; at a
 * graceful restart it runs once. Only a server that is going to run starts an agent: after all that
 * is prepared here and in other modules, for the agent uses the same files, and as some module may
 * still say that this configuration can't run.
 */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_CONFIG &&
        ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_NORMAL)
        fs_agent_start(pconf, server);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_test_config(fs_status_dump, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_child_init(fs_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(fs_agent_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_expr_lookup(fs_expr_lookup, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(fs_handler_data, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(fs_handler_status, NULL, NULL, APR_HOOK_MIDDLE);
    APR_OPTIONAL_HOOK(ap, status_hook, fs_status_server_status, NULL, NULL, APR_HOOK_MIDDLE);
    fs_api_register();
    fs_avail_register();
    fs_reuse_register();
    fs_routing_register();
    fs_parts_register();
}

__attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA farmsync_module = {
    STANDARD20_MODULE_STUFF,  fs_settings_create_place,
    fs_settings_merge_place,  fs_settings_create_server,
    fs_settings_merge_server, fs_settings_commands,
    register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
