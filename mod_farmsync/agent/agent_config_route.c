/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_config_route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_config_fields.h"

static const char *const fields[] = {"capacity", "url",         "public", "rack",
                                     "idle_s",   "return",      "ramp_s", "return_rate",
                                     "slack",    "agent_check", "busy",   "bounces"};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))
#define PART        "routing"

static apr_status_t bad_value(const char *path, const char *field, const char *remedy,
                              fs_result_t *result)
{
    return fs_agent_field_bad(path, PART, field, remedy, result);
}

int fs_agent_route_is_url(const char *url)
{
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;
    size_t length = strlen(url);

    if (!scheme || length >= FS_ROUTE_URL_SIZE || !url[scheme])
        return 0;
    for (url += scheme; *url; url++)
        if (*url <= ' ' || *url > '~' || strchr("/?#@\"<>", *url))
            return 0;
    return 1;
}

int fs_agent_route_is_rack(const char *rack)
{
    size_t length = strlen(rack);

    if (!length || length >= FS_ROUTE_RACK_SIZE)
        return 0;
    for (; *rack; rack++)
        if (*rack <= ' ' || *rack > '~' || strchr("\"\\<>&", *rack))
            return 0;
    return 1;
}

/* A field that is text, null or missing (then *text is NULL). */
static int read_text(const json_t *json, const char *field, const char **text)
{
    const json_t *value = json_object_get(json, field);

    *text = json_string_value(value);
    return !value || json_is_null(value) || (*text && strlen(*text) == json_string_length(value));
}

/* One trailing slash is what people write after a host. */
static int read_url(const json_t *json, const char *field, char out[FS_ROUTE_URL_SIZE])
{
    const char *text;
    size_t length;

    if (!read_text(json, field, &text))
        return -1;
    length = text ? strlen(text) : 0;
    if (!text)
        return 0;
    if (length >= FS_ROUTE_URL_SIZE)
        return -1;
    memcpy(out, text, length + 1);
    if (length && out[length - 1] == '/')
        out[length - 1] = '\0';
    return fs_agent_route_is_url(out) ? 0 : -1;
}

static apr_status_t read_texts(fs_agent_route_config_t *route, const json_t *json, const char *path,
                               fs_result_t *result)
{
    const char *rack, *policy, *check;

    if (read_url(json, "url", route->url))
        return bad_value(path, "url", "give http://host:port; see FarmSyncRouteURL", result);
    if (read_url(json, "public", route->public_url))
        return bad_value(path, "public", "give http://host or https://host; see FarmSyncRouteURL",
                         result);
    if (!read_text(json, "rack", &rack) || (rack && *rack && !fs_agent_route_is_rack(rack)))
        return bad_value(path, "rack", "give 1 to 63 visible characters; see FarmSyncRack", result);
    snprintf(route->rack, sizeof(route->rack), "%s", rack ? rack : "");
    if (!read_text(json, "return", &policy) ||
        (policy && strcmp(policy, "idle") && strcmp(policy, "never") && strcmp(policy, "all")))
        return bad_value(path, "return", "give idle, never or all; see FarmSyncRouteReturn",
                         result);
    route->return_policy = !policy || *policy == 'i' ? FS_AGENT_RETURN_IDLE
                           : *policy == 'n'          ? FS_AGENT_RETURN_NEVER
                                                     : FS_AGENT_RETURN_ALL;
    if (!read_text(json, "agent_check", &check) || (check && (!*check || strlen(check) > 255)))
        return bad_value(path, "agent_check", "give host:port; see FarmSyncAgentCheck", result);
    route->agent_check = check ? strdup(check) : NULL;
    return check && !route->agent_check
               ? fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory")
               : APR_SUCCESS;
}

typedef struct range_t {
    const char *field;
    double least, most, otherwise;
    int whole;
} range_t;

static apr_status_t read_number(const json_t *json, const range_t *range, double *number,
                                const char *path, fs_result_t *result)
{
    const json_t *value = json_object_get(json, range->field);
    char remedy[96];

    *number = range->otherwise;
    if (!value)
        return APR_SUCCESS;
    *number = json_number_value(value);
    if ((range->whole ? json_is_integer(value) : json_is_number(value)) &&
        *number >= range->least && *number <= range->most)
        return APR_SUCCESS;
    snprintf(remedy, sizeof(remedy), "give %s%.10g to %.10g",
             range->whole ? "a whole number, " : "", range->least, range->most);
    return bad_value(path, range->field, remedy, result);
}

static apr_status_t read_numbers(fs_agent_route_config_t *route, const json_t *json,
                                 const char *path, fs_result_t *result)
{
    enum { CAPACITY, IDLE, RATE, RAMP, SLACK, BUSY, BOUNCES, NUMBERS };
    static const range_t known[NUMBERS] = {{"capacity", 0, FS_ROUTE_CAPACITY_MAX, 10000, 1},
                                           {"idle_s", 1, 366 * 86400, 1800, 1},
                                           {"return_rate", 1, 1000000, 50, 1},
                                           {"ramp_s", 0, 86400, 60, 1},
                                           {"slack", 1, 100, 1.05, 0},
                                           {"busy", 1, 100, 80, 1},
                                           {"bounces", 0, 16, 1, 1}};
    double numbers[NUMBERS];

    for (unsigned i = 0; i < NUMBERS; i++) {
        apr_status_t status = read_number(json, &known[i], &numbers[i], path, result);

        if (status)
            return status;
    }
    route->capacity = (uint32_t)numbers[CAPACITY];
    route->idle_s = (unsigned)numbers[IDLE];
    route->return_rate = (unsigned)numbers[RATE];
    route->ramp_s = (unsigned)numbers[RAMP];
    route->settings.slack = numbers[SLACK];
    route->settings.busy = numbers[BUSY] / 100;
    route->settings.bounces = (unsigned)numbers[BOUNCES];
    return APR_SUCCESS;
}

apr_status_t fs_agent_config_read_route(fs_agent_route_config_t *route, const json_t *json,
                                        const char *path, fs_result_t *result)
{
    apr_status_t status;

    if (!json || json_is_null(json))
        return APR_SUCCESS;
    if (!json_is_object(json))
        return bad_value(path, "", "give an object or null", result);
    status = fs_agent_fields_known(json, fields, FIELD_COUNT, path, PART, result);
    if (!status)
        status = read_texts(route, json, path, result);
    if (!status)
        status = read_numbers(route, json, path, result);
    route->enabled = !status;
    return status;
}

void fs_agent_config_clear_route(fs_agent_route_config_t *route)
{
    free(route->agent_check);
    memset(route, 0, sizeof(*route));
}
