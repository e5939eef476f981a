/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent answers of routing.
 *
 *   GET /v1/route                       all servers, and what was counted here
 *   GET /v1/route/visitor?id=, ?cookie= where a visitor is home, as known here
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "reply.h"
#include "route/fs_route_cookie.h"
#include "route_internal.h"

#define ORDER_LIMIT 4096u

static void set_time(json_t *object, const char *name, fs_usec_t time)
{
    char text[FS_TIME_TEXT_SIZE];

    json_object_set_new(object, name,
                        time > 0 ? json_string(fs_time_format(time, text)) : json_null());
}

/* --- servers ------------------------------------------------------------------------------------
 */

/* What the others haven't said of themselves yet, but was counted here. */
static void set_counted(json_t *one, const fs_route_page_t *page, uint32_t number)
{
    fs_route_entry_t entry;

    if (!fs_route_page_entry(page, number, &entry))
        return;
    json_object_set_new(one, "sent", json_integer((json_int_t)entry.server.sent));
    json_object_set_new(one, "given", json_integer((json_int_t)entry.server.given));
}

static json_t *describe_server(const fs_routing_t *routing, uint32_t number, fs_usec_t mono)
{
    const fs_routing_server_t *server = &routing->table->servers[number];
    const fs_routing_record_t *said = &server->said;
    double capacity = said->capacity ? said->capacity : 1;
    json_t *one = json_pack(
        "{s:s, s:s, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:f, s:b, s:s}", "name",
        server->name, "state", fs_routing_state_name(server->state), "self", number == 0, "url",
        said->url, "public", said->public_url, "rack", said->rack, "capacity",
        (json_int_t)said->capacity, "primaries", (json_int_t)said->primaries, "alternates",
        (json_int_t)said->alternates, "ratio", (double)said->primaries / capacity, "busy",
        (json_int_t)said->busy, "workers", (json_int_t)said->workers, "shed",
        (json_int_t)said->shed, "ramp", server->ramp, "ready", said->ready, "agent", server->agent);

    if (!one)
        return json_object();
    set_time(one, "since", said->since);
    if (number && server->heard)
        json_object_set_new(one, "silent_s",
                            json_real((double)(mono - server->heard) / FS_USEC_PER_SEC));
    if (server->ordered) {
        json_t *order = json_pack("{s:s}", "who", server->order.who);

        set_time(order, "at", server->order.at);
        json_object_set_new(one, "order", order);
    }
    set_counted(one, routing->page, number);
    return one;
}

static json_t *counted(const fs_route_page_t *page)
{
    json_t *all = json_object();

    for (fs_route_count_t what = 0; what < FS_ROUTE_COUNTS; what++)
        json_object_set_new(all, fs_route_count_name(what),
                            json_integer((json_int_t)fs_route_counted(page, what)));
    return all;
}

/* How the identities of visitors travel. */
static json_t *exchanged(fs_agent_t *agent)
{
    fs_route_share_info_t info;

    fs_route_visitors_info(agent, &info);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "told",
                     (json_int_t)info.told, "heard", (json_int_t)info.heard, "given",
                     (json_int_t)info.given, "copies", (json_int_t)info.copies, "healed",
                     (json_int_t)info.healed, "reminded", (json_int_t)info.reminded, "expired",
                     (json_int_t)info.expired, "once", (json_int_t)info.once, "returned",
                     (json_int_t)info.returned, "forgotten", (json_int_t)info.forgotten, "copying",
                     (json_int_t)info.copying, "behind", (json_int_t)info.behind, "late",
                     info.late);
}

/* Whether this server would keep one more, and how the farm is. */
static void set_farm(json_t *body, const fs_routing_t *routing)
{
    const fs_routing_table_t *table = routing->table;
    fs_route_entry_t *entries = calloc(table->count, sizeof(*entries));
    fs_route_server_t *servers = calloc(table->count, sizeof(*servers));
    fs_route_table_t view = {.servers = servers, .count = table->count};
    uint64_t visitors = 0, capacity = 0;

    if (entries && servers) {
        fs_routing_table_entries(table, entries);
        for (uint32_t i = 0; i < table->count; i++) {
            servers[i] = entries[i].server;
            if (servers[i].state == FS_ROUTE_DEAD)
                continue;
            visitors += servers[i].primaries;
            capacity += servers[i].capacity;
        }
        json_object_set_new(body, "visitors", json_integer((json_int_t)visitors));
        json_object_set_new(body, "capacity", json_integer((json_int_t)capacity));
        json_object_set_new(body, "mean", json_real(fs_route_mean(&view)));
        json_object_set_new(body, "willing",
                            json_boolean(fs_route_is_willing(&view, &routing->config->settings)));
    }
    free(entries);
    free(servers);
}

/* GET /v1/route */
static void answer_route(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    fs_routing_t *routing = agent->routing;
    fs_usec_t mono = fs_time_mono();
    json_t *body = json_object(), *servers = json_array();

    json_object_set_new(body, "server", json_string(agent->config.server));
    set_time(body, "farm_time", fs_backplane_time(agent));
    pthread_mutex_lock(&routing->lock);
    set_farm(body, routing);
    for (uint32_t i = 0; i < routing->table->count; i++)
        if (routing->table->servers[i].name[0])
            json_array_append_new(servers, describe_server(routing, i, mono));
    pthread_mutex_unlock(&routing->lock);
    json_object_set_new(body, "servers", servers);
    json_object_set_new(body, "counted", counted(routing->page));
    json_object_set_new(body, "visitors_told", exchanged(agent));
    fs_reply_json(call, body);
}

/* --- visitors -----------------------------------------------------------------------------------
 */

static int hex_digit(char digit)
{
    const char *digits = "0123456789abcdef", *found = digit ? strchr(digits, digit) : NULL;

    return found ? (int)(found - digits) : -1;
}

static int read_id(const char *text, uint8_t id[FS_ROUTE_ID_BYTES])
{
    if (strlen(text) != 2 * FS_ROUTE_ID_BYTES)
        return -1;
    for (unsigned i = 0; i < FS_ROUTE_ID_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -1;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static void write_id(const uint8_t id[FS_ROUTE_ID_BYTES], char text[2 * FS_ROUTE_ID_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < FS_ROUTE_ID_BYTES; i++) {
        text[2 * i] = digits[id[i] >> 4];
        text[2 * i + 1] = digits[id[i] & 15];
    }
    text[2 * FS_ROUTE_ID_BYTES] = '\0';
}

static const char not_ours[] = "this affinity cookie was not made by this farm, or with a key that "
                               "is no longer in the key file";

static apr_status_t read_cookie(const fs_agent_t *agent, const char *text,
                                fs_route_cookie_t *cookie, fs_result_t *result)
{
    fs_route_secret_t secrets[FS_ROUTE_KEYS];
    fs_route_keys_t *keys;
    unsigned count = agent->ring.count < FS_ROUTE_KEYS ? agent->ring.count : FS_ROUTE_KEYS;
    int bad;

    if (!count)
        return fs_result_set(result, APR_EINVAL, "FS1675", "%s", not_ours);
    for (unsigned i = 0; i < count; i++)
        secrets[i] = (fs_route_secret_t){agent->ring.keys[i].secret, agent->ring.keys[i].length};
    if (fs_route_keys_make(&keys, secrets, count, result))
        return result->status;
    bad = fs_route_cookie_read(keys, text, fs_route_cookie_signed(text, strlen(text)), cookie);
    fs_route_keys_free(keys);
    return bad ? fs_result_set(result, APR_EINVAL, "FS1675", "%s", not_ours) : APR_SUCCESS;
}

static json_t *describe_visitor(fs_routing_t *routing, const fs_route_visitor_t *visitor,
                                const char *id)
{
    const fs_routing_server_t *home;
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "id", id, "primary", visitor->primary,
                  "alternate", visitor->alternate, "former", visitor->former ? visitor->former : "",
                  "generation", (json_int_t)visitor->generation, "confirmed", visitor->confirmed);

    set_time(body, "seen", visitor->seen);
    pthread_mutex_lock(&routing->lock);
    home = fs_routing_table_find(routing->table, visitor->primary);
    json_object_set_new(body, "state",
                        json_string(home ? fs_routing_state_name(home->state) : "unknown"));
    pthread_mutex_unlock(&routing->lock);
    return body;
}

/* What its cookie says of it, beside what is known here. */
static void set_cookie(json_t *body, const fs_route_cookie_t *cookie)
{
    json_t *said = json_pack("{s:s, s:s, s:I}", "primary", cookie->primary, "alternate",
                             cookie->alternate, "generation", (json_int_t)cookie->generation);

    set_time(said, "made", fs_route_cookie_made(cookie));
    json_object_set_new(body, "cookie", said);
}

/* GET /v1/route/visitor?id=HEX or ?cookie=VALUE */
static void answer_visitor(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    const char *text = fs_http_call_query(call, "id");
    const char *value = fs_http_call_query(call, "cookie");
    char id[2 * FS_ROUTE_ID_BYTES + 1];
    fs_route_visitor_t visitor;
    fs_route_cookie_t cookie;
    apr_status_t status = APR_SUCCESS;
    fs_route_id_t bytes;
    fs_result_t result;
    int http = 400;
    json_t *body;

    if (value)
        status = read_cookie(agent, value, &cookie, &result);
    else if (!text || read_id(text, bytes.bytes))
        status = fs_result_set(&result, APR_EINVAL, "FS1674",
                               "give ?id= with the 24 hex digits of a visitor, or ?cookie= with "
                               "the value of its affinity cookie");
    if (value && !status)
        bytes = cookie.id;
    if (!status) {
        http = 404;
        status =
            fs_route_store_find(fs_route_visitors_store(agent), bytes.bytes, &visitor, &result);
        write_id(bytes.bytes, id);
        if (APR_STATUS_IS_NOTFOUND(status))
            fs_result_set(&result, status, "FS1673",
                          "visitor %s isn't known here: it wasn't seen for long, or has only just "
                          "come for the first time",
                          id);
        else if (status)
            http = 503;
    }
    if (status) {
        fs_http_call_problem(call, http, &result);
        return;
    }
    body = describe_visitor(agent->routing, &visitor, id);
    if (value)
        set_cookie(body, &cookie);
    fs_reply_json(call, body);
}

apr_status_t fs_routing_routes(fs_agent_t *agent, fs_result_t *result)
{
    static const fs_http_route_t routes[] = {
        {"GET", "/v1/route", 0, 0, answer_route},
        {"GET", "/v1/route/visitor", 0, 0, answer_visitor},
        {"POST", "/v1/route/drain", 0, ORDER_LIMIT, fs_routing_post_drain},
        {"POST", "/v1/route/undrain", 0, ORDER_LIMIT, fs_routing_post_undrain},
    };

    return fs_agent_listen_add(agent, routes, sizeof(routes) / sizeof(routes[0]), result);
}
