/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_config_sessions.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent_config_fields.h"
#include "session/fs_session_record.h"

#define NAME_MAX_LENGTH 64

static const char *const fields[] = {"bank",       "copies",   "flush_ms",      "lease_ms",
                                     "timeout_ms", "sessions", "session_bytes", "store_bytes"};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))
#define PART        "sessions"

static apr_status_t bad_value(const char *path, const char *field, const char *remedy,
                              fs_result_t *result)
{
    return fs_agent_field_bad(path, PART, field, remedy, result);
}

static int is_label(const char *text)
{
    size_t length = text ? strlen(text) : 0;

    if (!length || length > NAME_MAX_LENGTH)
        return 0;
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || strchr(",=\"\\", *text))
            return 0;
    return 1;
}

static int is_taken(const fs_agent_sessions_t *sessions, const char *name)
{
    for (unsigned i = 0; i < sessions->bank_count; i++)
        if (!strcmp(sessions->bank[i].name, name))
            return 1;
    return 0;
}

static apr_status_t read_server(fs_agent_sessions_t *sessions, const json_t *json, const char *path,
                                fs_result_t *result)
{
    const char *url = json_string_value(json_object_get(json, "url"));
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *rack = json_string_value(json_object_get(json, "rack"));
    fs_agent_bank_server_t *server = &sessions->bank[sessions->bank_count];

    if (!url || !fs_agent_is_base_url(url) || !is_label(name) || (rack && !is_label(rack)) ||
        is_taken(sessions, name))
        return bad_value(path, "bank",
                         "give each server as {\"url\": \"http://host:port\", \"name\": ..., "
                         "\"rack\": ... or null}, each name once",
                         result);
    server->url = strdup(url);
    server->name = strdup(name);
    server->rack = rack ? strdup(rack) : NULL;
    sessions->bank_count++;
    if (!server->url || !server->name || (rack && !server->rack))
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    if (server->url[strlen(server->url) - 1] == '/')
        server->url[strlen(server->url) - 1] = '\0';
    return APR_SUCCESS;
}

static apr_status_t read_bank(fs_agent_sessions_t *sessions, const json_t *list, const char *path,
                              fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;

    if ((list && !json_is_array(list)) || json_array_size(list) > FS_AGENT_BANK_MAX)
        return bad_value(path, "bank", "give a list of at most 64 servers", result);
    for (size_t i = 0; i < json_array_size(list) && status == APR_SUCCESS; i++)
        status = read_server(sessions, json_array_get(list, i), path, result);
    return status;
}

static apr_status_t read_numbers(fs_agent_sessions_t *sessions, const json_t *json,
                                 const char *path, fs_result_t *result)
{
    enum { COPIES, FLUSH, LEASE, TIMEOUT, SESSIONS, SESSION_BYTES, STORE_BYTES, NUMBERS };
    static const struct {
        const char *field;
        uint64_t least, most, otherwise;
    } known[NUMBERS] = {{"copies", 1, 8, 2},
                        {"flush_ms", 1, 60000, 200},
                        {"lease_ms", 50, 60000, 300},
                        {"timeout_ms", 1, 60000, 500},
                        {"sessions", 0, INT64_MAX, 0},
                        {"session_bytes", 1024, FS_SESSION_RECORD_LIMIT, 1 << 20},
                        {"store_bytes", 1 << 20, INT64_MAX, UINT64_C(1) << 30}};
    uint64_t numbers[NUMBERS];

    for (unsigned i = 0; i < NUMBERS; i++) {
        apr_status_t status;

        numbers[i] = known[i].otherwise;
        status = fs_agent_field_number(json, known[i].field, known[i].least, known[i].most,
                                       &numbers[i], path, PART, result);
        if (status != APR_SUCCESS)
            return status;
    }
    sessions->copies = (unsigned)numbers[COPIES];
    sessions->flush_ms = (unsigned)numbers[FLUSH];
    sessions->lease_ms = (unsigned)numbers[LEASE];
    sessions->timeout_ms = (unsigned)numbers[TIMEOUT];
    sessions->sessions = numbers[SESSIONS];
    sessions->session_bytes = (size_t)numbers[SESSION_BYTES];
    sessions->store_bytes = numbers[STORE_BYTES];
    return APR_SUCCESS;
}

apr_status_t fs_agent_config_read_sessions(fs_agent_sessions_t *sessions, const json_t *json,
                                           const char *path, fs_result_t *result)
{
    apr_status_t status;

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_object(json))
        return bad_value(path, "", "give an object or null", result);
    status = fs_agent_fields_known(json, fields, FIELD_COUNT, path, PART, result);
    if (status == APR_SUCCESS)
        status = read_bank(sessions, json_object_get(json, "bank"), path, result);
    if (status == APR_SUCCESS)
        status = read_numbers(sessions, json, path, result);
    sessions->enabled = status == APR_SUCCESS;
    return status;
}

void fs_agent_config_clear_sessions(fs_agent_sessions_t *sessions)
{
    for (unsigned i = 0; i < sessions->bank_count; i++) {
        free(sessions->bank[i].url);
        free(sessions->bank[i].name);
        free(sessions->bank[i].rack);
    }
    memset(sessions, 0, sizeof(*sessions));
}
