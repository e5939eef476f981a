/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_config_fields.h"
#include "base/fs_file.h"
#include "base/fs_name.h"

#define POLL_MS_DEFAULT       1000
#define MONITOR_SHARE_DEFAULT 50

static const char *const fields[] = {
    "server",   "state_dir", "groups",        "database",   "data_servers", "key_file",
    "ca_file",  "cert_file", "address",       "log_level",  "poll_ms",      "home_after_ms",
    "listen",   "advertise", "peers",         "suspect_ms", "dead_ms",      "outage_s",
    "sessions", "monitors",  "monitor_share", "routing"};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static apr_status_t bad_value(const char *path, const char *field, const char *remedy,
                              fs_result_t *result)
{
    return fs_agent_field_bad(path, NULL, field, remedy, result);
}

/* A string field; NULL and a missing field leave *value NULL. */
static apr_status_t read_text(const json_t *root, const char *field, char **value, const char *path,
                              fs_result_t *result)
{
    const json_t *json = json_object_get(root, field);

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_string(json) || strlen(json_string_value(json)) != json_string_length(json))
        return bad_value(path, field, "give a string or null", result);
    *value = strdup(json_string_value(json));
    return *value ? APR_SUCCESS : fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
}

static apr_status_t read_groups(fs_agent_config_t *config, const json_t *root, const char *path,
                                fs_result_t *result)
{
    const json_t *list = json_object_get(root, "groups");
    size_t count = json_is_array(list) ? json_array_size(list) : 0;

    if (!count || count > FS_CONTROL_GROUPS)
        return bad_value(path, "groups", "give a list of 1 to 16 group names", result);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (!name || !fs_name_is_good(name))
            return bad_value(path, "groups",
                             "a group's name has 1 to 64 of letters, digits, '.', '_', ':', '-'",
                             result);
        for (unsigned k = 0; k < config->group_count; k++)
            if (!strcmp(config->groups[k], name))
                return bad_value(path, "groups", "a group is named twice", result);
        config->groups[config->group_count] = strdup(name);
        if (!config->groups[config->group_count++])
            return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    }
    return APR_SUCCESS;
}

static apr_status_t read_servers(fs_agent_config_t *config, const json_t *root, const char *path,
                                 fs_result_t *result)
{
    const json_t *list = json_object_get(root, "data_servers");
    size_t count = json_is_array(list) ? json_array_size(list) : 0;

    if ((list && !json_is_array(list) && !json_is_null(list)) || count > FS_SERVERS_MAX)
        return bad_value(path, "data_servers", "give a list of at most 64 URLs", result);
    for (size_t i = 0; i < count; i++) {
        const char *url = json_string_value(json_array_get(list, i));
        char *copy;

        if (!url || !fs_agent_is_base_url(url))
            return bad_value(path, "data_servers",
                             "give each as http://host:port or https://host:port", result);
        copy = strdup(url);
        if (!copy)
            return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
        if (copy[strlen(copy) - 1] == '/')
            copy[strlen(copy) - 1] = '\0';
        config->servers[config->server_count++] = copy;
    }
    return APR_SUCCESS;
}

/* One peer as a base URL: "host:port" has the scheme that this agent listens with itself. */
static char *peer_url(const fs_agent_config_t *config, const char *peer)
{
    char *url = NULL;

    if (strstr(peer, "://"))
        return strdup(peer);
    return asprintf(&url, "%s://%s", config->cert_file ? "https" : "http", peer) < 0 ? NULL : url;
}

static apr_status_t read_peers(fs_agent_config_t *config, const json_t *root, const char *path,
                               fs_result_t *result)
{
    const json_t *list = json_object_get(root, "peers");
    size_t count = json_is_array(list) ? json_array_size(list) : 0;

    if ((list && !json_is_array(list) && !json_is_null(list)) || count > FS_PEERS_MAX)
        return bad_value(path, "peers", "give a list of at most 256 addresses", result);
    for (size_t i = 0; i < count; i++) {
        const char *peer = json_string_value(json_array_get(list, i));
        char *url = peer ? peer_url(config, peer) : NULL;

        if (peer && !url)
            return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
        if (!url || !fs_agent_is_base_url(url)) {
            free(url);
            return bad_value(path, "peers", "give each as host:port; see FarmSyncPeer", result);
        }
        if (url[strlen(url) - 1] == '/')
            url[strlen(url) - 1] = '\0';
        config->peers[config->peer_count++] = url;
    }
    return APR_SUCCESS;
}

/* They are 0 where the file has none, and there is no other number to begin with. */
static apr_status_t read_numbers(fs_agent_config_t *config, const json_t *root, const char *path,
                                 fs_result_t *result)
{
    const struct {
        const char *field;
        unsigned *value;
        unsigned least, most, otherwise;
    } numbers[] = {{"poll_ms", &config->poll_ms, 20, 60000, POLL_MS_DEFAULT},
                   {"home_after_ms", &config->home_after_ms, 100, 3600000, FS_SERVERS_HOME_MS},
                   {"suspect_ms", &config->suspect_ms, 100, 3600000, 0},
                   {"dead_ms", &config->dead_ms, 100, 3600000, 0},
                   {"outage_s", &config->outage_s, 60, 366 * 86400, 0},
                   {"monitor_share", &config->monitor_share, 1, 100, MONITOR_SHARE_DEFAULT}};

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t number = numbers[i].otherwise;
        apr_status_t status = fs_agent_field_number(root, numbers[i].field, numbers[i].least,
                                                    numbers[i].most, &number, path, NULL, result);

        if (status)
            return status;
        *numbers[i].value = (unsigned)number;
    }
    return APR_SUCCESS;
}

static apr_status_t read_log_level(fs_agent_config_t *config, const json_t *root, const char *path,
                                   fs_result_t *result)
{
    const json_t *level = json_object_get(root, "log_level");

    config->log_level = FS_LOG_NOTICE;
    if (level && (!json_is_string(level) ||
                  fs_log_parse_level(json_string_value(level), &config->log_level)))
        return bad_value(path, "log_level", "give error, warning, notice, info or debug", result);
    return APR_SUCCESS;
}

static apr_status_t read_texts(fs_agent_config_t *config, const json_t *root, const char *path,
                               fs_result_t *result)
{
    const struct {
        const char *field;
        char **value;
    } texts[] = {{"server", &config->server},      {"state_dir", &config->state_dir},
                 {"database", &config->database},  {"key_file", &config->key_file},
                 {"ca_file", &config->ca_file},    {"cert_file", &config->cert_file},
                 {"address", &config->address},    {"listen", &config->listen},
                 {"advertise", &config->advertise}};

    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        apr_status_t status = read_text(root, texts[i].field, texts[i].value, path, result);

        if (status)
            return status;
    }
    return APR_SUCCESS;
}

static apr_status_t check_whole(const fs_agent_config_t *config, const char *path,
                                fs_result_t *result)
{
    if (!config->server || !fs_name_is_good(config->server))
        return bad_value(path, "server",
                         "a server's name has 1 to 64 of letters, digits, '.', '_', ':', '-'; see "
                         "FarmSyncServer",
                         result);
    if (!config->state_dir || config->state_dir[0] != '/')
        return bad_value(path, "state_dir", "give an absolute path; see FarmSyncStateDir", result);
    if (config->address && strlen(config->address) > 127)
        return bad_value(path, "address", "give host:port in at most 127 characters", result);
    if (config->listen && strlen(config->listen) > 255)
        return bad_value(path, "listen", "give host:port; see FarmSyncListen", result);
    if (config->advertise && strlen(config->advertise) > 255)
        return bad_value(path, "advertise", "give host:port; see FarmSyncListen", result);
    if (!config->database && !config->server_count && !config->listen && !config->monitor_count)
        return bad_value(path, "data_servers",
                         "there is neither a data server nor a database to get data from; give "
                         "FarmSyncDataServer or FarmSyncDatabase, or both, or FarmSyncListen if "
                         "only availability is wanted",
                         result);
    return APR_SUCCESS;
}

static apr_status_t read_root(fs_agent_config_t *config, const json_t *root, const char *path,
                              fs_result_t *result)
{
    apr_status_t status = fs_agent_fields_known(root, fields, FIELD_COUNT, path, NULL, result);

    if (!status)
        status = read_texts(config, root, path, result);
    if (!status)
        status = read_groups(config, root, path, result);
    if (!status)
        status = read_servers(config, root, path, result);
    if (!status)
        status = read_peers(config, root, path, result);
    if (!status)
        status = read_numbers(config, root, path, result);
    if (!status)
        status = read_log_level(config, root, path, result);
    if (!status)
        status = fs_agent_config_read_sessions(&config->sessions, json_object_get(root, "sessions"),
                                               path, result);
    if (!status)
        status = fs_monitors_read(config->monitors, &config->monitor_count,
                                  json_object_get(root, "monitors"), path, result);
    if (!status)
        status = fs_agent_config_read_route(&config->route, json_object_get(root, "routing"), path,
                                            result);
    return status ? status : check_whole(config, path, result);
}

apr_status_t fs_agent_config_parse(fs_agent_config_t *config, const char *json, size_t length,
                                   const char *path, fs_result_t *result)
{
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    apr_status_t status;

    memset(config, 0, sizeof(*config));
    if (!json_is_object(root)) {
        json_decref(root);
        return fs_result_set(result, APR_EINVAL, "FS0550",
                             "%s is not a JSON object (line %d: %s); restart httpd so that "
                             "mod_farmsync writes it again",
                             path, root ? 1 : error.line, root ? "another type" : error.text);
    }
    status = read_root(config, root, path, result);
    json_decref(root);
    if (status)
        fs_agent_config_clear(config);
    return status;
}

apr_status_t fs_agent_config_read(fs_agent_config_t *config, const char *path, fs_result_t *result)
{
    char *json;
    size_t length;
    apr_status_t status = fs_file_read(path, FS_AGENT_CONFIG_LIMIT, &json, &length, result);

    memset(config, 0, sizeof(*config));
    if (status)
        return status;
    status = fs_agent_config_parse(config, json, length, path, result);
    free(json);
    return status;
}

void fs_agent_config_clear(fs_agent_config_t *config)
{
    for (unsigned i = 0; i < config->group_count; i++)
        free(config->groups[i]);
    for (unsigned i = 0; i < config->server_count; i++)
        free(config->servers[i]);
    for (unsigned i = 0; i < config->peer_count; i++)
        free(config->peers[i]);
    free(config->server);
    free(config->listen);
    free(config->advertise);
    free(config->state_dir);
    free(config->database);
    free(config->key_file);
    free(config->ca_file);
    free(config->cert_file);
    free(config->address);
    fs_agent_config_clear_sessions(&config->sessions);
    fs_agent_config_clear_route(&config->route);
    fs_monitors_clear(config->monitors, config->monitor_count);
    memset(config, 0, sizeof(*config));
}
