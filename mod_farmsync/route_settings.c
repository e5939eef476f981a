/* SPDX-License-Identifier: Apache-2.0 */
/* The directives of routing: reading, defaults, merging, and what configtest can find. */
#include "route_settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <http_core.h>
#include <util_time.h>

#include "module.h"
#include "parts.h"
#include "route/fs_route_page.h"
#include "settings.h"
#include "text.h"

#define COOKIE_DEFAULT   "farmsync"
#define CAPACITY_DEFAULT 10000
#define IDLE_DEFAULT_S   1800
#define RAMP_DEFAULT_S   60
#define RATE_DEFAULT     50
#define BUSY_DEFAULT     80
#define SLACK_DEFAULT    1.05
#define CHANGES_MOST     1000000
#define RATE_MOST        1000000

/* --- a place ------------------------------------------------------------------------------------
 */

void fs_routing_create_place(fs_routing_place_t *place)
{
    *place = (fs_routing_place_t){FS_UNSET, FS_UNSET, NULL, NULL, NULL, NULL};
}

void fs_routing_merge_place(fs_routing_place_t *place, const fs_routing_place_t *outer,
                            const fs_routing_place_t *inner)
{
    place->on = inner->on != FS_UNSET ? inner->on : outer->on;
    place->by = inner->by != FS_UNSET ? inner->by : outer->by;
    place->cookie = inner->cookie ? inner->cookie : outer->cookie;
    place->cookie_text = inner->cookie ? inner->cookie_text : outer->cookie_text;
    place->visitor = inner->visitor ? inner->visitor : outer->visitor;
    place->visitor_text = inner->visitor ? inner->visitor_text : outer->visitor_text;
}

void fs_routing_fill_place(fs_routing_place_t *place)
{
    static const fs_cookie_t cookie = {COOKIE_DEFAULT,
                                       "; Path=/; HttpOnly; SameSite=Lax",
                                       "; Path=/; HttpOnly; SameSite=Lax; Secure",
                                       "",
                                       "",
                                       0};

    if (place->on == FS_UNSET)
        place->on = 0;
    if (place->by == FS_UNSET)
        place->by = FS_ROUTING_PROXY;
    if (!place->cookie) {
        place->cookie = &cookie;
        place->cookie_text = COOKIE_DEFAULT;
    }
}

static fs_settings_t *settings_of(const cmd_parms *cmd)
{
    return ap_get_module_config(cmd->server->module_config, &farmsync_module);
}

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

static const char *const by_words[] = {"proxy", "redirect", "serve", "balancer"};

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

fs_routing_t *fs_routing_create(apr_pool_t *pool)
{
    fs_routing_t *routing = apr_pcalloc(pool, sizeof(*routing));

    routing->capacity = routing->bounces = routing->busy = FS_UNSET;
    routing->full_refuses = routing->robin = FS_UNSET;
    routing->idle_s = routing->returning = routing->return_rate = routing->ramp_s = FS_UNSET;
    routing->sync = FS_UNSET;
    return routing;
}

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

static const char *const return_words[] = {"idle", "never", "all"};

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

/* --- the whole ----------------------------------------------------------------------------------
 */

static int or_default(int value, int otherwise)
{
    return value == FS_UNSET ? otherwise : value;
}

static int used_anywhere(server_rec *server)
{
    for (; server; server = server->next)
        if (fs_settings(server)->routing->used)
            return 1;
    return 0;
}

void fs_routing_complete(apr_pool_t *pool, server_rec *main_server, const char *address)
{
    fs_routing_t *routing = fs_settings(main_server)->routing;

    routing->used = used_anywhere(main_server);
    routing->capacity = or_default(routing->capacity, CAPACITY_DEFAULT);
    routing->bounces = or_default(routing->bounces, 1);
    routing->busy = or_default(routing->busy, BUSY_DEFAULT);
    routing->slack = routing->slack > 0 ? routing->slack : SLACK_DEFAULT;
    routing->full_refuses = or_default(routing->full_refuses, 0);
    routing->robin = or_default(routing->robin, 0);
    routing->idle_s = or_default(routing->idle_s, IDLE_DEFAULT_S);
    routing->returning = or_default(routing->returning, FS_ROUTING_RETURN_IDLE);
    routing->return_rate = or_default(routing->return_rate, RATE_DEFAULT);
    routing->ramp_s = or_default(routing->ramp_s, RAMP_DEFAULT_S);
    routing->sync = or_default(routing->sync, 1);
    if (!routing->url)
        routing->url = apr_pstrcat(pool, "http://", address, NULL);
    routing->rules = (fs_route_settings_t){.slack = routing->slack,
                                           .busy = routing->busy / 100.0,
                                           .bounces = (unsigned)routing->bounces,
                                           .full_refuses = routing->full_refuses};
}

/* --- what configtest finds ----------------------------------------------------------------------
 */

/* How requests are routed somewhere in the configuration, as bits 1 << fs_routing_by_t. */
static unsigned ways_in(const apr_array_header_t *sections, const fs_routing_place_t *outer)
{
    unsigned ways = 0;

    for (int i = 0; i < sections->nelts; i++) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(sections, i, ap_conf_vector_t *);
        const fs_place_t *inner = ap_get_module_config(section, &farmsync_module);
        fs_routing_place_t place;

        if (!inner)
            continue;
        fs_routing_merge_place(&place, outer, &inner->route);
        fs_routing_fill_place(&place);
        ways |= place.on ? 1u << place.by : 0;
    }
    return ways;
}

static unsigned ways_of(server_rec *server)
{
    unsigned ways = 0;

    for (; server; server = server->next) {
        const core_server_config *core = ap_get_core_module_config(server->module_config);
        fs_routing_place_t place = fs_settings_main_place(server)->route;

        ways |= ways_in(core->sec_url, &place) | ways_in(core->sec_dir, &place);
        fs_routing_fill_place(&place);
        ways |= place.on ? 1u << place.by : 0;
    }
    return ways;
}

static int can_forward(void)
{
    return APR_RETRIEVE_OPTIONAL_FN(farmsync_forward) &&
           ap_find_linked_module("mod_proxy_http.c") != NULL;
}

const char *fs_routing_problem(apr_pool_t *pool, server_rec *main_server)
{
    const fs_settings_t *settings = fs_settings(main_server);
    const fs_routing_t *routing = settings->routing;
    unsigned ways = ways_of(main_server);

    if (!routing->used)
        return NULL;
    if (!settings->key_file)
        return "FS1620: FarmSyncRoute needs FarmSyncKeyFile: visitors carry a cookie that is "
               "signed with the farm's key";
    if (!settings->listen)
        return "FS1621: FarmSyncRoute needs FarmSyncListen: the servers tell each other who is "
               "home where; give the address at which the other servers reach this one's agent";
    if (ways & 1u << FS_ROUTING_PROXY && !can_forward())
        return "FS1634: FarmSyncRouteBy proxy, which is the default, needs mod_proxy, "
               "mod_proxy_http and mod_proxy_farmsync: load them, or say FarmSyncRouteBy redirect "
               "or serve";
    if (ways & 1u << FS_ROUTING_REDIRECT && !routing->public_url)
        return "FS1635: FarmSyncRouteBy redirect needs a name by which clients reach just this "
               "server: give it as the second value of FarmSyncRouteURL";
    return NULL;
}

/* --- telling ------------------------------------------------------------------------------------
 */

static void json_text(fs_text_t *text, const char *name, const char *value)
{
    fs_text_printf(text, ", \"%s\": ", name);
    if (value)
        fs_text_json_string(text, value);
    else
        fs_text_puts(text, "null");
}

const char *fs_routing_json(apr_pool_t *pool, const fs_routing_t *routing)
{
    fs_text_t text;

    if (!routing->used)
        return NULL;
    fs_text_init(&text, pool);
    fs_text_printf(&text,
                   "{\"capacity\": %d, \"idle_s\": %d, \"return_rate\": %d, \"ramp_s\": %d, "
                   "\"slack\": %.4f, \"busy\": %d, \"bounces\": %d",
                   routing->capacity, routing->idle_s, routing->return_rate, routing->ramp_s,
                   routing->slack, routing->busy, routing->bounces);
    json_text(&text, "return", return_words[routing->returning]);
    json_text(&text, "url", routing->url);
    json_text(&text, "public", routing->public_url);
    json_text(&text, "rack", routing->rack);
    json_text(&text, "agent_check", routing->check);
    fs_text_puts(&text, "}");
    return text.data;
}
