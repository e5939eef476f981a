/* SPDX-License-Identifier: Apache-2.0 */
/* What the directives of routing said (route_settings_read.c): defaults, merging, what configtest
 * can find, and what the agent is told. */
#include "route_settings.h"

#include <apr_strings.h>
#include <http_core.h>

#include "module.h"
#include "parts.h"
#include "settings.h"
#include "text.h"

#define COOKIE_DEFAULT   "farmsync"
#define CAPACITY_DEFAULT 10000
#define IDLE_DEFAULT_S   1800
#define RAMP_DEFAULT_S   60
#define RATE_DEFAULT     50
#define BUSY_DEFAULT     80
#define SLACK_DEFAULT    1.05

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
    json_text(&text, "return", fs_routing_return_name(routing->returning));
    json_text(&text, "url", routing->url);
    json_text(&text, "public", routing->public_url);
    json_text(&text, "rack", routing->rack);
    json_text(&text, "agent_check", routing->check);
    fs_text_puts(&text, "}");
    return text.data;
}
