/* SPDX-License-Identifier: Apache-2.0 */
/* Routing's part of the status page, of /server-status, and of DUMP_FARMSYNC. */
#include <inttypes.h>

#include <apr_strings.h>

#include "module.h"
#include "route.h"
#include "settings.h"
#include "text.h"

/* What there is to tell. */
typedef struct facts_t {
    const fs_routing_host_t *host;
    uint32_t self;
    uint32_t count;
    fs_route_entry_t *entries; /* name "": none with this number */
    uint64_t counts[FS_ROUTE_COUNTS];
} facts_t;

static int gather(apr_pool_t *pool, facts_t *facts)
{
    const fs_route_view_t *view;

    facts->host = fs_routing_host();
    if (!facts->host)
        return 0;
    view = fs_route_page_view(facts->host->page, fs_time_mono());
    facts->self = view ? view->table.self : FS_ROUTE_NOBODY;
    facts->count = view ? view->table.count : 0;
    facts->entries = apr_pcalloc(pool, (facts->count + 1) * sizeof(*facts->entries));
    for (uint32_t i = 0; i < facts->count; i++)
        if (fs_route_page_entry(facts->host->page, i, &facts->entries[i]))
            facts->entries[i].server.state = view->table.servers[i].state;
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        facts->counts[what] = fs_route_counted(facts->host->page, (fs_route_count_t)what);
    return 1;
}

static const char *state_name(const fs_route_server_t *server)
{
    switch (server->state) {
    case FS_ROUTE_ALIVE:
        return server->ramp > 0 && server->ramp < 1 ? "ramping" : "alive";
    case FS_ROUTE_DRAINING:
        return "draining";
    case FS_ROUTE_SUSPECT:
        return "suspect";
    default:
        return "dead";
    }
}

static uint64_t homes_of(const fs_route_server_t *server)
{
    return server->primaries + server->sent;
}

/* --- HTML ---------------------------------------------------------------------------------------
 */

static void html_server(fs_text_t *text, const facts_t *facts, uint32_t i)
{
    const fs_route_entry_t *entry = &facts->entries[i];
    const fs_route_server_t *server = &entry->server;

    fs_text_puts(text, "<tr><td>");
    fs_text_html(text, entry->name);
    fs_text_puts(text, i == facts->self ? " (this one)</td><td>" : "</td><td>");
    fs_text_html(text, entry->where.rack);
    fs_text_printf(text,
                   "</td><td class=\"%s\">%s</td><td>%" PRIu64 "</td><td>%" PRIu32
                   "</td><td>%.1f %%</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td>",
                   server->state == FS_ROUTE_ALIVE ? "good" : "bad", state_name(server),
                   homes_of(server), server->capacity, 100 * fs_route_ratio(server),
                   entry->alternates, server->given);
    if (server->workers)
        fs_text_printf(text, "<td>%" PRIu32 " of %" PRIu32 "</td></tr>\n", server->busy,
                       server->workers);
    else
        fs_text_puts(text, "<td>unknown</td></tr>\n");
}

static void html(fs_text_t *text, const facts_t *facts)
{
    fs_text_puts(text, "<h2>routing</h2>\n");
    if (!facts->count)
        fs_text_puts(text, "<p class=\"bad\">The agent has published no servers: whoever comes is "
                           "served here.</p>\n");
    else
        fs_text_puts(text, "<table><thead><tr><th>server</th><th>rack</th><th>state</th>"
                           "<th>home to</th><th>capacity</th><th>filled</th><th>alternate of</th>"
                           "<th>of these, this server's</th><th>busy workers</th></tr></thead>\n");
    for (uint32_t i = 0; i < facts->count; i++)
        if (*facts->entries[i].name)
            html_server(text, facts, i);
    fs_text_puts(text, facts->count ? "</table>\n<table>\n" : "<table>\n");
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        fs_text_printf(text, "<tr><td>%s</td><td>%" PRIu64 "</td></tr>\n",
                       fs_route_count_name((fs_route_count_t)what), facts->counts[what]);
    fs_text_puts(text, "</table>\n");
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static void json_member(fs_text_t *text, const char *before, const char *name, const char *value)
{
    fs_text_printf(text, "%s\"%s\":", before, name);
    if (value && *value)
        fs_text_json_string(text, value);
    else
        fs_text_puts(text, "null");
}

static void json_server(fs_text_t *text, const facts_t *facts, uint32_t i)
{
    const fs_route_entry_t *entry = &facts->entries[i];
    const fs_route_server_t *server = &entry->server;

    json_member(text, "{", "name", entry->name);
    json_member(text, ",", "state", state_name(server));
    json_member(text, ",", "url", entry->where.url);
    json_member(text, ",", "public", entry->where.public_url);
    json_member(text, ",", "rack", entry->where.rack);
    fs_text_printf(text,
                   ",\"self\":%s,\"primaries\":%" PRIu64 ",\"sent\":%" PRIu64
                   ",\"capacity\":%" PRIu32 ",\"ratio\":%.4f,\"alternates\":%" PRIu64
                   ",\"given\":%" PRIu64 ",\"busy\":%" PRIu32 ",\"workers\":%" PRIu32 "}",
                   i == facts->self ? "true" : "false", server->primaries, server->sent,
                   server->capacity, fs_route_ratio(server), entry->alternates, server->given,
                   server->busy, server->workers);
}

static void json(fs_text_t *text, const facts_t *facts)
{
    const char *before = "\n";

    json_member(text, "\"routing\":{", "server", facts->host->self);
    fs_text_puts(text, ",\"servers\":[");
    for (uint32_t i = 0; i < facts->count; i++) {
        if (!*facts->entries[i].name)
            continue;
        fs_text_puts(text, before);
        json_server(text, facts, i);
        before = ",\n";
    }
    fs_text_puts(text, "],\"counts\":{");
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        fs_text_printf(text, "%s\"%s\":%" PRIu64, what ? "," : "",
                       fs_route_count_name((fs_route_count_t)what), facts->counts[what]);
    fs_text_puts(text, "}}");
}

/* --- metrics and lines --------------------------------------------------------------------------
 */

static void head(fs_text_t *text, const char *name, const char *type, const char *help)
{
    fs_text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

typedef double value_fn(const fs_route_entry_t *entry);

static double primaries(const fs_route_entry_t *entry)
{
    return (double)homes_of(&entry->server);
}

static double alternates(const fs_route_entry_t *entry)
{
    return (double)entry->alternates;
}

static double capacity(const fs_route_entry_t *entry)
{
    return entry->server.capacity;
}

static double alive(const fs_route_entry_t *entry)
{
    return entry->server.state == FS_ROUTE_ALIVE;
}

static void metrics(fs_text_t *text, const facts_t *facts)
{
    static const struct {
        const char *name, *help;
        value_fn *value;
    } gauges[] = {
        {"farmsync_route_primaries", "Visitors that a server is home to, as known here.",
         primaries},
        {"farmsync_route_alternates", "Visitors that a server stands by for.", alternates},
        {"farmsync_route_capacity", "Visitors that a server can be home to.", capacity},
        {"farmsync_route_alive", "1 if a server gets visitors from here.", alive},
    };

    for (unsigned g = 0; g < sizeof(gauges) / sizeof(gauges[0]); g++) {
        head(text, gauges[g].name, "gauge", gauges[g].help);
        for (uint32_t i = 0; i < facts->count; i++)
            if (*facts->entries[i].name)
                fs_text_printf(text, "%s{server=\"%s\"} %.0f\n", gauges[g].name,
                               facts->entries[i].name, gauges[g].value(&facts->entries[i]));
    }
    head(text, "farmsync_route_total", "counter", "What became of requests and their cookies.");
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        fs_text_printf(text, "farmsync_route_total{what=\"%s\"} %" PRIu64 "\n",
                       fs_route_count_name((fs_route_count_t)what), facts->counts[what]);
}

static void lines(fs_text_t *text, const facts_t *facts)
{
    for (uint32_t i = 0; i < facts->count; i++) {
        const fs_route_entry_t *entry = &facts->entries[i];

        if (*entry->name)
            fs_text_printf(text,
                           "FarmSyncRoute[%s]State: %s\nFarmSyncRoute[%s]Primaries: %" PRIu64
                           "\nFarmSyncRoute[%s]Capacity: %" PRIu32 "\n",
                           entry->name, state_name(&entry->server), entry->name,
                           homes_of(&entry->server), entry->name, entry->server.capacity);
    }
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        fs_text_printf(text, "FarmSyncRoute_%s: %" PRIu64 "\n",
                       fs_route_count_name((fs_route_count_t)what), facts->counts[what]);
}

static void report(fs_text_t *text, const facts_t *facts)
{
    fs_text_printf(text,
                   "<dt>FarmSync routing: home to %" PRIu64 " of %" PRIu32
                   " visitors; requests at home %" PRIu64 ", sent on %" PRIu64
                   "; homes taken over %" PRIu64 "</dt>\n",
                   facts->self < facts->count ? homes_of(&facts->entries[facts->self].server) : 0,
                   (uint32_t)facts->host->routing->capacity, facts->counts[FS_ROUTE_COUNT_HOME],
                   facts->counts[FS_ROUTE_COUNT_PROXIED] + facts->counts[FS_ROUTE_COUNT_REDIRECTED],
                   facts->counts[FS_ROUTE_COUNT_TAKEN_OVER]);
}

/* --- DUMP_FARMSYNC ------------------------------------------------------------------------------
 */

static void dump_line(fs_text_t *text, const char *directive, const char *value)
{
    fs_text_printf(text, "  %-24s %s\n", directive, value);
}

static void dump_number(fs_text_t *text, const char *directive, int number, const char *unit)
{
    fs_text_printf(text, "  %-24s %d%s\n", directive, number, unit);
}

static void dump(fs_text_t *text, const server_rec *server)
{
    const fs_routing_t *routing = fs_settings(server)->routing;
    fs_routing_place_t place = fs_settings_main_place(server)->route;

    fs_routing_fill_place(&place);
    dump_line(text, "FarmSyncRoute",
              place.on        ? "On"
              : routing->used ? "Off (On in places)"
                              : "Off");
    dump_line(text, "FarmSyncRouteBy", fs_routing_by_name((fs_routing_by_t)place.by));
    dump_line(text, "FarmSyncRouteCookie", place.cookie_text);
    dump_line(text, "FarmSyncRouteVisitor", place.visitor_text ? place.visitor_text : "(none)");
    dump_number(text, "FarmSyncCapacity", routing->capacity, "");
    dump_number(text, "FarmSyncBounces", routing->bounces, "");
    dump_number(text, "FarmSyncBusy", routing->busy, " %");
    fs_text_printf(text, "  %-24s %g\n", "FarmSyncSlack", routing->slack);
    dump_line(text, "FarmSyncRouteFull", routing->full_refuses ? "refuse" : "serve");
    dump_line(text, "FarmSyncRouteAssign", routing->robin ? "robin" : "reached");
    fs_text_printf(text, "  %-24s %s %s\n", "FarmSyncRouteURL", routing->url,
                   routing->public_url ? routing->public_url : "");
    dump_line(text, "FarmSyncRack", routing->rack ? routing->rack : "(none)");
    dump_number(text, "FarmSyncRouteIdle", routing->idle_s, " s");
    fs_text_printf(text, "  %-24s %s %d\n", "FarmSyncRouteReturn",
                   fs_routing_return_name((fs_routing_return_t)routing->returning),
                   routing->return_rate);
    dump_number(text, "FarmSyncRouteRamp", routing->ramp_s, " s");
    if (routing->sync == FS_ROUTING_SYNC_END)
        dump_line(text, "FarmSyncAlternateSync", "end");
    else
        dump_number(text, "FarmSyncAlternateSync", routing->sync, "");
    dump_line(text, "FarmSyncAgentCheck", routing->check ? routing->check : "(none)");
}

/* --- the section --------------------------------------------------------------------------------
 */

static int section(apr_pool_t *pool, server_rec *server, farmsync_form_t form,
                   apr_array_header_t *sections)
{
    facts_t facts;
    fs_text_t text;

    fs_text_init(&text, pool);
    if (form == FARMSYNC_DUMP) {
        dump(&text, server);
    } else {
        if (!gather(pool, &facts))
            return DECLINED;
        switch (form) {
        case FARMSYNC_HTML:
            html(&text, &facts);
            break;
        case FARMSYNC_JSON:
            json(&text, &facts);
            break;
        case FARMSYNC_METRICS:
            metrics(&text, &facts);
            break;
        case FARMSYNC_REPORT:
            report(&text, &facts);
            break;
        default:
            lines(&text, &facts);
        }
    }
    APR_ARRAY_PUSH(sections, const char *) = text.data;
    return OK;
}

void fs_routing_status_register(void)
{
    APR_OPTIONAL_HOOK(farmsync, farmsync_section, section, NULL, NULL, APR_HOOK_MIDDLE);
}
