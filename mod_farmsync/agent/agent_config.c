/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_config.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_file.h"

#define POLL_MS_DEFAULT 1000
#define POLL_MS_MIN     20
#define POLL_MS_MAX     60000

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
    return fs_result_set(result, APR_EINVAL, "FS0552", "%s: \"%s\" is not usable: %s", path, field,
                         remedy);
}

static apr_status_t check_fields(const json_t *root, const char *path, fs_result_t *result)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)root, name, value)
    {
        unsigned i = 0;

        while (i < FIELD_COUNT && strcmp(fields[i], name) != 0)
            i++;
        if (i == FIELD_COUNT)
            return fs_result_set(result, APR_EINVAL, "FS0551",
                                 "%s: unknown field \"%.60s\"; remove it, or if mod_farmsync wrote "
                                 "it, install module and agent of the same release",
                                 path, name);
    }
    return APR_SUCCESS;
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

/* Group and server names go into URLs, file names and SQL: the same characters everywhere. */
static int is_name(const char *text)
{
    size_t length = strlen(text);

    if (!length || length >= FS_IMAGE_NAME_SIZE || text[0] == '.')
        return 0;
    for (; *text; text++)
        if (!isascii((unsigned char)*text) ||
            (!isalnum((unsigned char)*text) && !strchr("._:-", *text)))
            return 0;
    return 1;
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

        if (!name || !is_name(name))
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

static int is_base_url(const char *url)
{
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;

    return scheme && url[scheme] && url[scheme] != '/' && strlen(url) < 256 &&
           !strpbrk(url, " \t\r\n?#@\"");
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

        if (!url || !is_base_url(url))
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
        if (!url || !is_base_url(url)) {
            free(url);
            return bad_value(path, "peers", "give each as host:port; see FarmSyncPeer", result);
        }
        if (url[strlen(url) - 1] == '/')
            url[strlen(url) - 1] = '\0';
        config->peers[config->peer_count++] = url;
    }
    return APR_SUCCESS;
}

/* A whole number; a missing field and null leave it 0. */
static apr_status_t read_limit(const json_t *root, const char *field, json_int_t least,
                               json_int_t most, unsigned *value, const char *path,
                               fs_result_t *result)
{
    const json_t *json = json_object_get(root, field);
    json_int_t number = json_integer_value(json);

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_integer(json) || number < least || number > most)
        return bad_value(path, field, "give a whole number within its range; see doc/agent.md",
                         result);
    *value = (unsigned)number;
    return APR_SUCCESS;
}

static apr_status_t read_backplane(fs_agent_config_t *config, const json_t *root, const char *path,
                                   fs_result_t *result)
{
    apr_status_t status =
        read_limit(root, "suspect_ms", 100, 3600000, &config->suspect_ms, path, result);

    if (!status)
        status = read_limit(root, "dead_ms", 100, 3600000, &config->dead_ms, path, result);
    if (!status)
        status = read_limit(root, "outage_s", 60, 366 * 86400, &config->outage_s, path, result);
    return status;
}

static apr_status_t read_numbers(fs_agent_config_t *config, const json_t *root, const char *path,
                                 fs_result_t *result)
{
    const json_t *poll = json_object_get(root, "poll_ms");
    const json_t *level = json_object_get(root, "log_level");
    const json_t *home = json_object_get(root, "home_after_ms");

    config->poll_ms = POLL_MS_DEFAULT;
    config->log_level = FS_LOG_NOTICE;
    if (poll) {
        json_int_t value = json_integer_value(poll);

        if (!json_is_integer(poll) || value < POLL_MS_MIN || value > POLL_MS_MAX)
            return bad_value(path, "poll_ms", "give 20 to 60000 milliseconds", result);
        config->poll_ms = (unsigned)value;
    }
    config->home_after_ms = FS_SERVERS_HOME_MS;
    if (home) {
        json_int_t value = json_integer_value(home);

        if (!json_is_integer(home) || value < 100 || value > 3600000)
            return bad_value(path, "home_after_ms", "give 100 to 3600000 milliseconds", result);
        config->home_after_ms = (unsigned)value;
    }
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
    if (!config->server || !is_name(config->server))
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

static apr_status_t read_monitors(fs_agent_config_t *config, const json_t *root, const char *path,
                                  fs_result_t *result)
{
    const json_t *share = json_object_get(root, "monitor_share");
    json_int_t percent = json_integer_value(share);

    config->monitor_share = MONITOR_SHARE_DEFAULT;
    if (share) {
        if (!json_is_integer(share) || percent < 1 || percent > 100)
            return bad_value(path, "monitor_share", "give a percentage, 1 to 100", result);
        config->monitor_share = (unsigned)percent;
    }
    return fs_monitors_read(config->monitors, &config->monitor_count,
                            json_object_get(root, "monitors"), path, result);
}

static apr_status_t read_root(fs_agent_config_t *config, const json_t *root, const char *path,
                              fs_result_t *result)
{
    apr_status_t status = check_fields(root, path, result);

    if (!status)
        status = read_texts(config, root, path, result);
    if (!status)
        status = read_groups(config, root, path, result);
    if (!status)
        status = read_servers(config, root, path, result);
    if (!status)
        status = read_peers(config, root, path, result);
    if (!status)
        status = read_backplane(config, root, path, result);
    if (!status)
        status = read_numbers(config, root, path, result);
    if (!status)
        status = fs_agent_config_read_sessions(&config->sessions, json_object_get(root, "sessions"),
                                               path, result);
    if (!status)
        status = read_monitors(config, root, path, result);
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
