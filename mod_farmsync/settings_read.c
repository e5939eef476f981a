/* SPDX-License-Identifier: Apache-2.0 */
/* The directives of the whole server, and those of data: reading them. */
#include "settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <util_time.h>

#include "base/fs_name.h"
#include "control/fs_control.h"
#include "module.h"
#include "monitors.h"

#define POLL_MS_MIN         20
#define POLL_MS_MAX         60000
#define DATA_SERVERS_MAX    64
#define PEERS_MAX           256
#define PEER_TIMEOUT_MIN_MS 1500 /* peers say something each second */
#define PEER_TIMEOUT_MAX_MS 3600000
#define OUTAGE_MAX_DAYS     366

static fs_settings_t *settings_of(const cmd_parms *cmd)
{
    return ap_get_module_config(cmd->server->module_config, &farmsync_module);
}

static const char *set_server(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error)
        return error;
    if (!fs_name_is_good(value))
        return apr_psprintf(
            cmd->pool,
            "FS0660: FarmSyncServer \"%s\": give a name of 1 to 64 letters, digits, "
            "'.', '_', ':' or '-' that no other server of the farm has",
            value);
    settings_of(cmd)->server = value;
    return NULL;
}

static const char *set_state_dir(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *path = ap_server_root_relative(cmd->pool, value);

    if (error)
        return error;
    if (!path || strlen(path) > 512)
        return apr_psprintf(cmd->pool,
                            "FS0661: FarmSyncStateDir \"%s\": give the path of a directory on a "
                            "local disk, of at most 512 characters",
                            value);
    settings_of(cmd)->state_dir = path;
    return NULL;
}

/* A file that must be there when the configuration is read. The place in the struct is cmd->info.
 */
static const char *set_file(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *path = ap_server_root_relative(cmd->pool, value);
    apr_finfo_t info;
    apr_status_t status = APR_EBADPATH;

    if (error)
        return error;
    if (path)
        status = apr_stat(&info, path, APR_FINFO_TYPE, cmd->temp_pool);
    if (status == APR_SUCCESS && info.filetype != APR_REG)
        status = APR_EBADPATH;
    if (status != APR_SUCCESS)
        return apr_psprintf(cmd->pool,
                            "FS0662: %s \"%s\" is not a file that can be used (%pm): make it, or "
                            "correct the path",
                            cmd->cmd->name, value, &status);
    *(const char **)((char *)settings_of(cmd) + (apr_size_t)cmd->info) = path;
    return NULL;
}

static int is_base_url(const char *url)
{
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;

    return scheme && url[scheme] && url[scheme] != '/' && strlen(url) < 256 &&
           !strpbrk(url, " \t\r\n?#@\"");
}

static const char *add_data_server(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_settings_t *settings = settings_of(cmd);

    if (error)
        return error;
    if (!is_base_url(value))
        return apr_psprintf(cmd->pool,
                            "FS0663: FarmSyncDataServer \"%s\": give each data server as "
                            "http://host:port or https://host:port",
                            value);
    if (!settings->data_servers)
        settings->data_servers = apr_array_make(cmd->pool, 4, sizeof(const char *));
    if (settings->data_servers->nelts == DATA_SERVERS_MAX)
        return apr_psprintf(cmd->pool, "FS0663: FarmSyncDataServer: at most %d data servers",
                            DATA_SERVERS_MAX);
    APR_ARRAY_PUSH(settings->data_servers, const char *) = value;
    return NULL;
}

/* host:port with something on both sides of the last colon; an IPv6 address is in brackets. */
int fs_settings_is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

    if (!colon || colon == text || !digits || digits > 5 || colon[1 + digits] ||
        atoi(colon + 1) > 65535 || strlen(text) > 255 || strpbrk(text, " \t\r\n/?#@\""))
        return 0;
    return text[0] == '[' ? colon[-1] == ']' && colon - text > 3 : colon == strchr(text, ':');
}

static const char *set_listen(cmd_parms *cmd, void *unused, const char *address,
                              const char *advertise)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error)
        return error;
    if (!fs_settings_is_address(address) || (advertise && !fs_settings_is_address(advertise)))
        return apr_psprintf(cmd->pool,
                            "FS1460: FarmSyncListen \"%s\": give host:port or [address]:port, and "
                            "behind it, if other servers reach it at another one, that",
                            fs_settings_is_address(address) ? advertise : address);
    settings_of(cmd)->listen = address;
    settings_of(cmd)->advertise = advertise;
    return NULL;
}

static const char *add_peer(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_settings_t *settings = settings_of(cmd);

    if (error)
        return error;
    if (!fs_settings_is_address(value) && !is_base_url(value))
        return apr_psprintf(cmd->pool,
                            "FS1461: FarmSyncPeer \"%s\": give the host:port that another server "
                            "of the farm names in FarmSyncListen",
                            value);
    if (!settings->peers)
        settings->peers = apr_array_make(cmd->pool, 8, sizeof(const char *));
    if (settings->peers->nelts == PEERS_MAX)
        return apr_psprintf(cmd->pool, "FS1461: FarmSyncPeer: at most %d peers", PEERS_MAX);
    APR_ARRAY_PUSH(settings->peers, const char *) = value;
    return NULL;
}

static const char *set_peer_timeout(cmd_parms *cmd, void *unused, const char *suspect,
                                    const char *dead)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_interval_time_t first, last;

    if (error)
        return error;
    if (ap_timeout_parameter_parse(suspect, &first, "s") != APR_SUCCESS ||
        ap_timeout_parameter_parse(dead, &last, "s") != APR_SUCCESS ||
        first < apr_time_from_msec(PEER_TIMEOUT_MIN_MS) || last <= first ||
        last > apr_time_from_msec(PEER_TIMEOUT_MAX_MS))
        return apr_psprintf(
            cmd->pool,
            "FS1464: FarmSyncPeerTimeout %s %s: give after what silence a server is "
            "suspected, and after what longer one it counts as dead: %d ms to %d ms",
            suspect, dead, PEER_TIMEOUT_MIN_MS, PEER_TIMEOUT_MAX_MS);
    settings_of(cmd)->suspect_ms = (int)(first / 1000);
    settings_of(cmd)->dead_ms = (int)(last / 1000);
    return NULL;
}

static const char *set_longest_outage(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long days = strtol(value, &end, 10);

    if (error)
        return error;
    if (end == value || *end || days < 1 || days > OUTAGE_MAX_DAYS)
        return apr_psprintf(cmd->pool, "FS1465: FarmSyncLongestOutage \"%s\": give 1 to %d days",
                            value, OUTAGE_MAX_DAYS);
    settings_of(cmd)->outage_s = (int)days * 86400;
    return NULL;
}

static const char *add_group(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_settings_t *settings = settings_of(cmd);

    if (error)
        return error;
    if (!fs_name_is_good(value))
        return apr_psprintf(cmd->pool,
                            "FS0664: FarmSyncGroup \"%s\": a group's name has 1 to 64 letters, "
                            "digits, '.', '_', ':' or '-'",
                            value);
    if (!settings->groups)
        settings->groups = apr_array_make(cmd->pool, 2, sizeof(const char *));
    if (settings->groups->nelts == FS_CONTROL_GROUPS)
        return apr_psprintf(cmd->pool, "FS0664: FarmSyncGroup: a server can have %d groups",
                            FS_CONTROL_GROUPS);
    for (int i = 0; i < settings->groups->nelts; i++) {
        if (!strcmp(fs_settings_group(settings, i), value))
            return apr_psprintf(cmd->pool, "FS0664: FarmSyncGroup \"%s\" is given twice", value);
    }
    APR_ARRAY_PUSH(settings->groups, const char *) = value;
    return NULL;
}

static const char *set_agent(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error)
        return error;
    settings_of(cmd)->agent =
        strcasecmp(value, "none") ? ap_server_root_relative(cmd->pool, value) : "none";
    return NULL;
}

static const char *set_agent_log_level(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_log_level_t level;

    if (error)
        return error;
    if (fs_log_parse_level(value, &level))
        return apr_psprintf(cmd->pool,
                            "FS0665: FarmSyncAgentLogLevel \"%s\": give error, warning, notice, "
                            "info or debug",
                            value);
    settings_of(cmd)->agent_log_level = (int)level;
    return NULL;
}

static const char *set_agent_poll(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_interval_time_t interval;

    if (error)
        return error;
    if (ap_timeout_parameter_parse(value, &interval, "ms") != APR_SUCCESS ||
        interval < POLL_MS_MIN * 1000 || interval > POLL_MS_MAX * 1000)
        return apr_psprintf(cmd->pool,
                            "FS0666: FarmSyncAgentPoll \"%s\": give %d to %d milliseconds, as in "
                            "500 or 500ms or 1s",
                            value, POLL_MS_MIN, POLL_MS_MAX);
    settings_of(cmd)->agent_poll_ms = (int)(interval / 1000);
    return NULL;
}

static const char *set_on_stale(cmd_parms *cmd, void *config, const char *value)
{
    fs_place_t *place = config;

    if (!strcasecmp(value, "serve"))
        place->on_stale = FS_STALE_SERVE;
    else if (!strcasecmp(value, "refuse"))
        place->on_stale = FS_STALE_REFUSE;
    else
        return apr_psprintf(cmd->pool, "FS0667: FarmSyncOnStale \"%s\": give serve or refuse",
                            value);
    return NULL;
}

static const char *set_version_header(cmd_parms *cmd, void *config, int value)
{
    ((fs_place_t *)config)->version_header = value;
    return NULL;
}

#define OFFSET_OF(field) ((void *)offsetof(fs_settings_t, field))

const command_rec fs_settings_commands[] = {
    AP_INIT_TAKE1("FarmSyncServer", set_server, NULL, RSRC_CONF,
                  "this server's name in the farm; default ServerName:port"),
    AP_INIT_TAKE1("FarmSyncStateDir", set_state_dir, NULL, RSRC_CONF,
                  "directory for data and state; default farmsync in the runtime directory"),
    AP_INIT_TAKE1("FarmSyncDatabase", set_file, OFFSET_OF(database), RSRC_CONF,
                  "MySQL option file whose group [farmsync] says how to reach the database"),
    AP_INIT_ITERATE("FarmSyncDataServer", add_data_server, NULL, RSRC_CONF,
                    "one or more data servers, http://host:port"),
    AP_INIT_TAKE1("FarmSyncKeyFile", set_file, OFFSET_OF(key_file), RSRC_CONF,
                  "file with the farm's key"),
    AP_INIT_TAKE1("FarmSyncCAFile", set_file, OFFSET_OF(ca_file), RSRC_CONF,
                  "PEM file of the authorities that sign the data servers' certificates"),
    AP_INIT_TAKE1("FarmSyncCertificateFile", set_file, OFFSET_OF(certificate_file), RSRC_CONF,
                  "PEM file of this server's certificate and private key for data servers"),
    AP_INIT_TAKE12("FarmSyncListen", set_listen, NULL, RSRC_CONF,
                   "host:port at which the agents of the other servers speak to this one's"),
    AP_INIT_ITERATE("FarmSyncPeer", add_peer, NULL, RSRC_CONF,
                    "host:port of other servers' FarmSyncListen; also learned from the database"),
    AP_INIT_TAKE_ARGV("FarmSyncMonitor", fs_monitors_add, NULL, RSRC_CONF,
                      "name, application, http, tcp or script, target, and options name=value"),
    AP_INIT_TAKE1("FarmSyncMonitorShare", fs_monitors_set_share, NULL, RSRC_CONF,
                  "percentage of the servers on which monitors may take an application down; "
                  "default 50"),
    AP_INIT_TAKE2("FarmSyncPeerTimeout", set_peer_timeout, NULL, RSRC_CONF,
                  "after what silence a server is suspected, and dead; default 3s 10s"),
    AP_INIT_TAKE1("FarmSyncLongestOutage", set_longest_outage, NULL, RSRC_CONF,
                  "days that a server may be away and bring what it knows; default 7"),
    AP_INIT_ITERATE("FarmSyncGroup", add_group, NULL, RSRC_CONF,
                    "one or more groups of datasets that this server has; default: default"),
    AP_INIT_TAKE1("FarmSyncAgent", set_agent, NULL, RSRC_CONF,
                  "path of farmsync-agent, or none to start it by other means"),
    AP_INIT_TAKE1("FarmSyncAgentLogLevel", set_agent_log_level, NULL, RSRC_CONF,
                  "error, warning, notice (default), info or debug"),
    AP_INIT_TAKE1("FarmSyncAgentPoll", set_agent_poll, NULL, RSRC_CONF,
                  "how often the agent looks for news, in milliseconds; default 1000"),
    AP_INIT_TAKE1("FarmSyncOnStale", set_on_stale, NULL, RSRC_CONF | ACCESS_CONF,
                  "serve (default) or refuse data that may not be in force any more"),
    AP_INIT_FLAG("FarmSyncVersionHeader", set_version_header, NULL, RSRC_CONF | ACCESS_CONF,
                 "On: responses that used farm data say so in FarmSync-Version; default Off"),
    FS_AVAIL_COMMANDS,
    FS_REUSE_COMMANDS,
    FS_ROUTING_COMMANDS,
    {NULL}};
