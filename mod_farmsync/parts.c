/* SPDX-License-Identifier: Apache-2.0 */
/* mod_farmsync's side of parts.h. */
#include "parts_own.h"

#include <apr_strings.h>

#include "agent_process.h"
#include "base/fs_time.h"
#include "child.h"
#include "settings.h"

APR_IMPLEMENT_OPTIONAL_HOOK_RUN_ALL(farmsync, FARMSYNC, int, farmsync_section,
                                    (apr_pool_t * pool, server_rec *main_server,
                                     farmsync_form_t form, apr_array_header_t *sections),
                                    (pool, main_server, form, sections), OK, DECLINED)

static const farmsync_host_t *farmsync_host(server_rec *main_server, apr_pool_t *pool)
{
    const fs_settings_t *settings = fs_settings(main_server);
    farmsync_host_t *host = apr_palloc(pool, sizeof(*host));

    host->server = settings->server;
    host->state_dir = settings->state_dir;
    host->key_file = settings->key_file;
    host->data_servers = settings->data_servers;
    host->agent = fs_settings_start_agent(settings);
    host->route = settings->routing->used;
    host->alternate_sync = settings->routing->sync;
    return host;
}

static void farmsync_agent_member(server_rec *main_server, const char *name, const char *json,
                                  int needed)
{
    fs_settings_t *settings = fs_settings(main_server);
    apr_pool_t *pool = settings->data_servers->pool; /* of the configuration */

    settings->agent_members =
        apr_pstrcat(pool, settings->agent_members ? settings->agent_members : "", "  \"", name,
                    "\": ", json, ",\n", NULL);
    settings->agent_needed |= needed;
}

static apr_status_t farmsync_make_state_dir(server_rec *main_server, fs_result_t *result)
{
    return fs_agent_make_state_dir(fs_settings(main_server), result);
}

static apr_int64_t farmsync_time(void)
{
    const fs_child_t *child = fs_child();
    fs_control_clock_t clock;
    fs_usec_t farm, bound;

    if (!child || !fs_control_clock(child->control, &clock) ||
        !fs_control_now(&clock, fs_time_mono(), &farm, &bound))
        return 0;
    return farm;
}

void fs_parts_tell(fs_text_t *text, server_rec *main_server, farmsync_form_t form,
                   const char *before)
{
    apr_array_header_t *sections = apr_array_make(text->pool, 2, sizeof(const char *));

    farmsync_run_farmsync_section(text->pool, main_server, form, sections);
    for (int i = 0; i < sections->nelts; i++) {
        fs_text_puts(text, before);
        fs_text_puts(text, APR_ARRAY_IDX(sections, i, const char *));
    }
}

void fs_parts_register(void)
{
    APR_REGISTER_OPTIONAL_FN(farmsync_host);
    APR_REGISTER_OPTIONAL_FN(farmsync_agent_member);
    APR_REGISTER_OPTIONAL_FN(farmsync_make_state_dir);
    APR_REGISTER_OPTIONAL_FN(farmsync_time);
}
