/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the directives said (settings_read.c): defaults, merging, and what configtest can find.
 *
 * A value of FS_UNSET or NULL means that nothing was said; a merge takes the inner value if it was
 * said, so that saying the default explicitly overrides an outer setting.
 */
#include "settings.h"

#include <string.h>
#include <unistd.h>

#include <ap_listen.h>
#include <apr_strings.h>
#include <http_core.h>

#include "base/fs_name.h"
#include "net/fs_key.h"
#include "net/fs_sql_options.h"
#include "module.h"
#include "monitors.h"

#define POLL_MS_DEFAULT         1000
#define GROUP_DEFAULT           "default"
#define PEER_SUSPECT_DEFAULT_MS 3000
#define PEER_DEAD_DEFAULT_MS    10000
#define OUTAGE_DEFAULT_DAYS     7

void *fs_settings_create_server(apr_pool_t *pool, server_rec *server)
{
    fs_settings_t *settings = apr_pcalloc(pool, sizeof(*settings));

    settings->reuse_store = FS_UNSET;
    settings->agent_log_level = FS_UNSET;
    settings->agent_poll_ms = FS_UNSET;
    settings->suspect_ms = settings->dead_ms = settings->outage_s = FS_UNSET;
    settings->avail = fs_avail_settings_create(pool);
    settings->routing = fs_routing_create(pool);
    return settings;
}

/* All but `avail` are of the whole server: a virtual host sees what the main server says. */
void *fs_settings_merge_server(apr_pool_t *pool, void *base, void *add)
{
    fs_settings_t *settings = apr_pmemdup(pool, base, sizeof(*settings));
    const fs_settings_t *inner = add;

    settings->avail = fs_avail_settings_merge(pool, settings->avail, inner->avail);
    settings->reuse_used |= inner->reuse_used;
    settings->reuse_mirrors |= inner->reuse_mirrors;
    settings->routing->used |= inner->routing->used;
    return settings;
}

void *fs_settings_create_place(apr_pool_t *pool, char *path)
{
    fs_place_t *place = apr_palloc(pool, sizeof(*place));

    place->on_stale = FS_UNSET;
    place->version_header = FS_UNSET;
    fs_reuse_create_place(&place->reuse);
    fs_routing_create_place(&place->route);
    return place;
}

void *fs_settings_merge_place(apr_pool_t *pool, void *base, void *add)
{
    const fs_place_t *outer = base, *inner = add;
    fs_place_t *place = apr_palloc(pool, sizeof(*place));

    place->on_stale = inner->on_stale != FS_UNSET ? inner->on_stale : outer->on_stale;
    place->version_header =
        inner->version_header != FS_UNSET ? inner->version_header : outer->version_header;
    fs_reuse_merge_place(&place->reuse, &outer->reuse, &inner->reuse);
    fs_routing_merge_place(&place->route, &outer->route, &inner->route);
    return place;
}

fs_settings_t *fs_settings(const server_rec *main_server)
{
    return ap_get_module_config(main_server->module_config, &farmsync_module);
}

const fs_place_t *fs_settings_main_place(const server_rec *main_server)
{
    return ap_get_module_config(main_server->lookup_defaults, &farmsync_module);
}

int fs_settings_on_stale(const request_rec *r)
{
    const fs_place_t *place = ap_get_module_config(r->per_dir_config, &farmsync_module);

    return place->on_stale == FS_UNSET ? FS_STALE_SERVE : place->on_stale;
}

int fs_settings_version_header(const request_rec *r)
{
    const fs_place_t *place = ap_get_module_config(r->per_dir_config, &farmsync_module);

    return place->version_header == FS_UNSET ? 0 : place->version_header;
}

const char *fs_settings_group(const fs_settings_t *settings, int index)
{
    return APR_ARRAY_IDX(settings->groups, index, const char *);
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static apr_port_t port_of(const server_rec *server)
{
    if (server->port)
        return server->port;
    if (ap_listeners && ap_listeners->bind_addr)
        return ap_listeners->bind_addr->port;
    return DEFAULT_HTTP_PORT;
}

void fs_settings_complete(apr_pool_t *pool, server_rec *main_server)
{
    fs_settings_t *settings = fs_settings(main_server);
    const char *routing;

    fs_avail_settings_complete(pool, main_server);
    settings->address = apr_psprintf(
        pool, "%s:%d", main_server->server_hostname ? main_server->server_hostname : "localhost",
        (int)port_of(main_server));
    if (!settings->server)
        settings->server = settings->address;
    if (!settings->state_dir)
        settings->state_dir = ap_runtime_dir_relative(pool, "farmsync");
    if (!settings->agent)
        settings->agent = FS_AGENT_PATH;
    if (!settings->data_servers)
        settings->data_servers = apr_array_make(pool, 1, sizeof(const char *));
    if (settings->suspect_ms == FS_UNSET) {
        settings->suspect_ms = PEER_SUSPECT_DEFAULT_MS;
        settings->dead_ms = PEER_DEAD_DEFAULT_MS;
    }
    if (settings->outage_s == FS_UNSET)
        settings->outage_s = OUTAGE_DEFAULT_DAYS * 86400;
    if (!settings->peers)
        settings->peers = apr_array_make(pool, 1, sizeof(const char *));
    if (!settings->groups) {
        settings->groups = apr_array_make(pool, 1, sizeof(const char *));
        APR_ARRAY_PUSH(settings->groups, const char *) = GROUP_DEFAULT;
    }
    fs_routing_complete(pool, main_server, settings->address);
    routing = fs_routing_json(pool, settings->routing);
    if (routing)
        settings->agent_members = apr_pstrcat(pool, "  \"routing\": ", routing, ",\n", NULL);
    if (settings->agent_log_level == FS_UNSET)
        settings->agent_log_level = FS_LOG_NOTICE;
    if (settings->agent_poll_ms == FS_UNSET)
        settings->agent_poll_ms = POLL_MS_DEFAULT;
}

int fs_settings_have_source(const fs_settings_t *settings)
{
    return settings->database || settings->data_servers->nelts;
}

int fs_settings_have_work(const fs_settings_t *settings)
{
    return fs_settings_have_source(settings) || settings->listen || settings->agent_needed ||
           settings->monitors;
}

int fs_settings_start_agent(const fs_settings_t *settings)
{
    return strcmp(settings->agent, "none") != 0 && fs_settings_have_work(settings);
}

const char *fs_settings_file_problem(apr_pool_t *pool, const fs_settings_t *settings)
{
    apr_status_t status = APR_SUCCESS;
    fs_sql_options_t options;
    fs_keyring_t ring;
    fs_result_t result;

    /* Whoever runs configtest may not be allowed to read secrets: that is no error. */
    if (settings->key_file && !access(settings->key_file, R_OK)) {
        status = fs_keyring_read(&ring, settings->key_file, &result);
        explicit_bzero(&ring, sizeof(ring));
    }
    if (!status && settings->database && !access(settings->database, R_OK)) {
        status = fs_sql_options_read(&options, settings->database, &result);
        explicit_bzero(&options, sizeof(options));
    }
    return status ? apr_psprintf(pool, "%s: %s", result.problem, result.detail) : NULL;
}

/* What the agent will find out with certainty; a name is looked up there. */
static int is_loopback(const char *address)
{
    return !strncmp(address, "127.", 4) || !strncmp(address, "[::1]:", 6) ||
           !strncmp(address, "localhost:", 10);
}

const char *fs_settings_problem(apr_pool_t *pool, const fs_settings_t *settings)
{
    apr_finfo_t info;

    if (!fs_name_is_good(settings->server))
        return apr_psprintf(pool,
                            "FS0660: this server needs a name: give FarmSyncServer a name of 1 to "
                            "64 letters, digits, '.', '_', ':' or '-' (\"%s\", from ServerName, "
                            "can't be it)",
                            settings->server);
    if (!settings->state_dir)
        return "FS0661: FarmSyncStateDir has no default here: give it the path of a directory";
    if (settings->data_servers->nelts && !settings->key_file)
        return "FS0668: FarmSyncDataServer needs FarmSyncKeyFile: name a file, readable by httpd's "
               "user only, with a line \"k1 HEX\" whose HEX is 64 random hex digits, the same on "
               "all servers of the farm";
    if (settings->certificate_file && !settings->data_servers->nelts && !settings->listen)
        return "FS0669: FarmSyncCertificateFile is of no use without FarmSyncDataServer or "
               "FarmSyncListen: add one, or take it out";
    if (settings->listen && !settings->key_file && !is_loopback(settings->listen))
        return apr_psprintf(pool,
                            "FS1462: FarmSyncListen %s needs FarmSyncKeyFile: whoever reaches it "
                            "could speak for the farm; without a key only 127.0.0.1 and [::1] are "
                            "listened on",
                            settings->listen);
    if (fs_monitors_problem(pool, settings))
        return fs_monitors_problem(pool, settings);
    if (settings->peers->nelts && !settings->listen)
        return "FS1463: FarmSyncPeer is of no use without FarmSyncListen: give the address at "
               "which "
               "the other servers reach this one";
    if (fs_settings_start_agent(settings) &&
        (apr_stat(&info, settings->agent, APR_FINFO_TYPE | APR_FINFO_UPROT, pool) != APR_SUCCESS ||
         info.filetype != APR_REG || !(info.protection & APR_FPROT_UEXECUTE)))
        return apr_psprintf(pool,
                            "FS0670: FarmSyncAgent: %s is not a program that can be started: "
                            "install farmsync-agent there, give its path, or say none",
                            settings->agent);
    return NULL;
}
