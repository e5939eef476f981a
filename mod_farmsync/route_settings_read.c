/* SPDX-License-Identifier: Apache-2.0 */
/* The directives of routing: reading them. */
#include "route_settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <http_core.h>
#include <util_time.h>

#include "module.h"
#include "route/fs_route_page.h"
#include "settings.h"

#define CHANGES_MOST 1000000
#define RATE_MOST    1000000

static fs_settings_t *settings_of(const cmd_parms *cmd)
{
    return ap_get_module_config(cmd->server->module_config, &farmsync_module);
}

/* --- a place ------------------------------------------------------------------------------------
 */

static fs_routing_place_t *place_of(void *config)
{
    return &((fs_place_t *)config)->route;
}

const char *fs_routing_set_on(cmd_parms *cmd, void *config, int value)
{
    if (value)
        settings_of(cmd)->routing->used = 1;
    place_of(config)->on = value;
    return NULL;
}

static const char *const by_words[] = {[FS_ROUTING_PROXY] = "proxy",
                                       [FS_ROUTING_REDIRECT] = "redirect",
                                       [FS_ROUTING_SERVE] = "serve",
                                       [FS_ROUTING_BALANCER] = "balancer"};

const char *fs_routing_by_name(fs_routing_by_t by)
{
    return by_words[by];
}

const char *fs_routing_set_by(cmd_parms *cmd, void *config, const char *value)
{
    for (int i = 0; i < 4; i++)
        if (!strcasecmp(value, by_words[i])) {
            place_of(config)->by = i;
            return NULL;
        }
    return apr_psprintf(cmd->pool,
                        "FS1622: FarmSyncRouteBy \"%s\": give proxy, redirect, serve or balancer",
                        value);
}

const char *fs_routing_set_cookie(cmd_parms *cmd, void *config, const char *name,
                                  const char *attributes)
{
    fs_cookie_t *cookie = apr_pcalloc(cmd->pool, sizeof(*cookie));
    const char *problem = fs_cookie_make(cookie, name, attributes, cmd->pool);

    if (problem)
        return apr_psprintf(cmd->pool,
                            "FS1623: FarmSyncRouteCookie %s: %s; give a name and, in quotes, "
                            "attributes as in \"Domain=example.com; SameSite=None\"",
                            name, problem);
    place_of(config)->cookie = cookie;
    place_of(config)->cookie_text =
        attributes ? apr_pstrcat(cmd->pool, name, " \"", attributes, "\"", NULL) : name;
    return NULL;
}

const char *fs_routing_set_visitor(cmd_parms *cmd, void *config, const char *value)
{
    const char *error = NULL;
    ap_expr_info_t *expression =
        ap_expr_parse_cmd(cmd, value, AP_EXPR_FLAG_STRING_RESULT, &error, NULL);

    if (error)
        return apr_psprintf(cmd->pool,
                            "FS1624: FarmSyncRouteVisitor \"%s\": %s; give an expression whose "
                            "value tells visitors apart, as in \"%%{HTTP:Authorization}\"",
                            value, error);
    place_of(config)->visitor = expression;
    place_of(config)->visitor_text = value;
    return NULL;
}

/* --- the whole server ---------------------------------------------------------------------------
 */

static fs_routing_field_t field_of(const cmd_parms *cmd)
{
    return (fs_routing_field_t)(apr_uintptr_t)cmd->info;
}

/* A whole number between the two, or -1. */
static int read_number(const char *value, int least, int most)
{
    char *end;
    long number = strtol(value, &end, 10);

    return isdigit((unsigned char)*value) && !*end && number >= least && number <= most
               ? (int)number
               : -1;
}

const char *fs_routing_set_number(cmd_parms *cmd, void *unused, const char *value)
{
    static const struct {
        int least, most;
    } range[] = {[FS_ROUTING_CAPACITY] = {0, 100000000},
                 [FS_ROUTING_BOUNCES] = {0, 8},
                 [FS_ROUTING_BUSY] = {1, 100}};
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_routing_field_t field = field_of(cmd);
    fs_routing_t *routing = settings_of(cmd)->routing;
    int number = read_number(value, range[field].least, range[field].most);

    if (error)
        return error;
    if (number < 0)
        return apr_psprintf(cmd->pool, "FS1625: %s \"%s\": give a whole number from %d to %d",
                            cmd->cmd->name, value, range[field].least, range[field].most);
    if (field == FS_ROUTING_CAPACITY)
        routing->capacity = number;
    else if (field == FS_ROUTING_BOUNCES)
        routing->bounces = number;
    else
        routing->busy = number;
    return NULL;
}

const char *fs_routing_set_slack(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    double slack = strtod(value, &end);

    if (error)
        return error;
    if (!isdigit((unsigned char)*value) || *end || !(slack >= 1 && slack <= 10))
        return apr_psprintf(cmd->pool, "FS1626: FarmSyncSlack \"%s\": give 1 to 10, as in 1.05",
                            value);
    settings_of(cmd)->routing->slack = slack;
    return NULL;
}

const char *fs_routing_set_seconds(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int idle = field_of(cmd) == FS_ROUTING_IDLE;
    apr_interval_time_t least = apr_time_from_sec(idle ? 10 : 0), span;
    apr_interval_time_t most = apr_time_from_sec(idle ? 30 * 86400 : 86400);

    if (error)
        return error;
    if (ap_timeout_parameter_parse(value, &span, "s") != APR_SUCCESS || span < least || span > most)
        return apr_psprintf(cmd->pool, "FS1627: %s \"%s\": give %d to %d seconds", cmd->cmd->name,
                            value, (int)apr_time_sec(least), (int)apr_time_sec(most));
    if (idle)
        settings_of(cmd)->routing->idle_s = (int)apr_time_sec(span);
    else
        settings_of(cmd)->routing->ramp_s = (int)apr_time_sec(span);
    return NULL;
}

const char *fs_routing_set_word(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int full = field_of(cmd) == FS_ROUTING_FULL;
    const char *first = full ? "serve" : "reached", *second = full ? "refuse" : "robin";
    int is_second = !strcasecmp(value, second);

    if (error)
        return error;
    if (!is_second && strcasecmp(value, first))
        return apr_psprintf(cmd->pool, "FS1628: %s \"%s\": give %s or %s", cmd->cmd->name, value,
                            first, second);
    if (full)
        settings_of(cmd)->routing->full_refuses = is_second;
    else
        settings_of(cmd)->routing->robin = is_second;
    return NULL;
}

/* What requests are sent to: a server, without a path. */
static const char *read_url(apr_pool_t *pool, const char *url)
{
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;
    size_t length = strlen(url);

    while (length > scheme && url[length - 1] == '/')
        length--;
    for (size_t i = 0; i < length; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return NULL;
    if (!scheme || length == scheme || length >= FS_ROUTE_URL_SIZE || strpbrk(url, "?#@\"<>") ||
        memchr(url + scheme, '/', length - scheme))
        return NULL;
    return apr_pstrmemdup(pool, url, length);
}

const char *fs_routing_set_url(cmd_parms *cmd, void *unused, const char *url, const char *open)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_routing_t *routing = settings_of(cmd)->routing;

    if (error)
        return error;
    routing->url = read_url(cmd->pool, url);
    routing->public_url = open ? read_url(cmd->pool, open) : NULL;
    if (!routing->url || (open && !routing->public_url))
        return apr_psprintf(cmd->pool,
                            "FS1629: FarmSyncRouteURL \"%s\": give where the other servers reach "
                            "this one as http://host:port or https://host:port, and behind it, for "
                            "FarmSyncRouteBy redirect, where clients reach just this one",
                            routing->url ? open : url);
    return NULL;
}

const char *fs_routing_set_rack(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    size_t length = strlen(value);

    if (error)
        return error;
    for (const char *at = value; *at && length; at++)
        if (*at <= ' ' || *at > '~' || strchr("\"\\<>&", *at))
            length = 0;
    if (!length || length >= FS_ROUTE_RACK_SIZE)
        return apr_psprintf(cmd->pool,
                            "FS1630: FarmSyncRack \"%s\": give a label of 1 to %d visible ASCII "
                            "characters without quotes",
                            value, FS_ROUTE_RACK_SIZE - 1);
    settings_of(cmd)->routing->rack = value;
    return NULL;
}

static const char *const return_words[] = {[FS_ROUTING_RETURN_IDLE] = "idle",
                                           [FS_ROUTING_RETURN_NEVER] = "never",
                                           [FS_ROUTING_RETURN_ALL] = "all"};

const char *fs_routing_return_name(fs_routing_return_t returning)
{
    return return_words[returning];
}

const char *fs_routing_set_return(cmd_parms *cmd, void *unused, const char *when, const char *rate)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    fs_routing_t *routing = settings_of(cmd)->routing;
    int number = rate ? read_number(rate, 1, RATE_MOST) : FS_UNSET;

    if (error)
        return error;
    routing->returning = FS_UNSET;
    for (int i = 0; i < 3; i++)
        if (!strcasecmp(when, return_words[i]))
            routing->returning = i;
    if (routing->returning == FS_UNSET || (rate && number < 0))
        return apr_psprintf(cmd->pool,
                            "FS1631: FarmSyncRouteReturn %s %s: give idle, never or all, and "
                            "behind it how many visitors a second may go back, 1 to %d",
                            when, rate ? rate : "", RATE_MOST);
    routing->return_rate = number;
    return NULL;
}

const char *fs_routing_set_sync(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int changes = read_number(value, 1, CHANGES_MOST);

    if (error)
        return error;
    if (!strcasecmp(value, "change"))
        changes = 1;
    else if (!strcasecmp(value, "end"))
        changes = FS_ROUTING_SYNC_END;
    if (changes < 0)
        return apr_psprintf(cmd->pool,
                            "FS1632: FarmSyncAlternateSync \"%s\": give change, a number of "
                            "changes from 1 to %d, or end",
                            value, CHANGES_MOST);
    settings_of(cmd)->routing->sync = changes;
    return NULL;
}

const char *fs_routing_set_check(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error)
        return error;
    if (!fs_settings_is_address(value))
        return apr_psprintf(cmd->pool,
                            "FS1633: FarmSyncAgentCheck \"%s\": give host:port or [address]:port "
                            "at which HAProxy reaches this server's agent",
                            value);
    settings_of(cmd)->routing->check = value;
    return NULL;
}
