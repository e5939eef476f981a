/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent answers of notices and monitors; avail_tell.c changes them. */
#include "avail.h"

#include <stdlib.h>
#include <string.h>

#include "avail_ics.h"
#include "listen.h"
#include "reply.h"

#define NOTICE_LIMIT (16u * 1024)

/* "uid 33" */
static int is_user(const char *peer, uid_t *user)
{
    char *end;
    unsigned long number;

    if (strncmp(peer, "uid ", 4))
        return 0;
    number = strtoul(peer + 4, &end, 10);
    *user = (uid_t)number;
    return end != peer + 4 && !*end;
}

void fs_avail_caller(fs_agent_t *agent, fs_http_call_t *call, fs_avail_role_t *role, char *text,
                     size_t size)
{
    const char *origin = fs_http_call_origin(call), *peer = fs_http_call_peer(call);
    fs_avail_caller_t caller = {.user = (uid_t)-1};

    caller.local = fs_http_call_is_local(call);
    caller.is_signed = !caller.local && *origin != '\0';
    if (caller.local && !is_user(peer, &caller.user))
        caller.user = (uid_t)-1;
    *role = fs_avail_role(&caller, getuid(), agent->avail->own_is_operator);
    snprintf(text, size, "%s%s%s", origin, *origin ? " at " : "", peer);
}

/* --- one notice as others see it ----------------------------------------------------------------
 */

static void set_time(json_t *object, const char *name, fs_usec_t time)
{
    char text[FS_TIME_TEXT_SIZE];

    json_object_set_new(object, name,
                        time > 0 && time != INT64_MAX ? json_string(fs_time_format(time, text))
                                                      : json_null());
}

json_t *fs_avail_describe(const fs_avail_entry_t *entry, fs_usec_t farm)
{
    fs_window_at_t at;
    fs_result_t ignored;
    json_t *json;
    size_t length;
    char *text = fs_notice_print(entry->notice, &length, &ignored);

    json = text ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    if (!json)
        return json_object();
    fs_window_at(&entry->notice->window, farm, &at);
    json_object_set_new(json, "key", json_string(entry->key));
    json_object_set_new(json, "server", json_string(entry->origin));
    json_object_set_new(json, "in_force", json_boolean(at.in_force));
    json_object_set_new(json, "heeded", json_boolean(entry->heeded));
    set_time(json, "starts", at.start);
    set_time(json, "ends", at.end);
    return json;
}

/* --- answers
 * --------------------------------------------------------------------------------------
 */

static json_t *servers_of(fs_agent_t *agent)
{
    static const char *const states[] = {"unknown", "alive", "suspect", "dead"};
    static const unsigned most = FS_EXCHANGE_PEERS;
    fs_peer_name_t *peers = calloc(most, sizeof(*peers));
    unsigned count = peers ? fs_peers_list(agent, peers, most) : 0;
    json_t *list = json_array();
    fs_usec_t now = fs_time_mono();

    json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", agent->config.server, "state",
                                          "alive", "url", fs_listen_url(agent)));
    for (unsigned i = 0; i < count; i++) {
        json_t *one = json_pack("{s:s, s:s, s:s}", "name", peers[i].name, "state",
                                states[peers[i].state], "url", peers[i].url);

        if (peers[i].heard)
            json_object_set_new(one, "silent_s",
                                json_real((double)(now - peers[i].heard) / FS_USEC_PER_SEC));
        json_array_append_new(list, one);
    }
    free(peers);
    return list;
}

/* Those of `application` (NULL: all) with the id (NULL: all). */
static json_t *notices_of(fs_agent_t *agent, const char *application, const char *id,
                          fs_usec_t farm)
{
    fs_avail_agent_t *avail = agent->avail;
    json_t *list = json_array();
    fs_avail_entry_t **entries;
    unsigned count;

    pthread_mutex_lock(&avail->lock);
    entries = fs_avail_table_list(avail->table, &count);
    for (unsigned i = 0; i < count; i++) {
        const fs_notice_t *notice = entries[i]->notice;

        if ((!application || !strcmp(application, notice->application)) &&
            (!id || !strcmp(id, fs_notice_id(notice))))
            json_array_append_new(list, fs_avail_describe(entries[i], farm));
    }
    free(entries);
    pthread_mutex_unlock(&avail->lock);
    return list;
}

/* What httpd here can't use of the notices: such a notice has no effect on this server. */
static json_t *problems_of(fs_agent_t *agent)
{
    char *problems, *rest, *line;
    json_t *list = json_array();

    pthread_mutex_lock(&agent->avail->lock);
    rest = problems = fs_avail_problems(agent->avail->writer);
    pthread_mutex_unlock(&agent->avail->lock);
    while ((line = strsep(&rest, "\n")))
        if (*line)
            json_array_append_new(list, json_string(line));
    free(problems);
    return list;
}

/* GET /v1/notices[?history=N] */
static void answer_list(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    const char *history = fs_http_call_query(call, "history");
    fs_usec_t farm = fs_backplane_time(agent);
    long most = history ? strtol(history, NULL, 10) : 0;
    json_t *body = json_object();

    json_object_set_new(body, "server", json_string(agent->config.server));
    set_time(body, "farm_time", farm);
    if (history) {
        if (most < 1 || most > FS_AVAIL_HISTORY_SHOWN)
            most = FS_AVAIL_HISTORY_SHOWN;
        json_object_set_new(body, "history", fs_avail_history(agent, (unsigned)most));
    } else {
        json_object_set_new(body, "notices", notices_of(agent, NULL, NULL, farm));
        json_object_set_new(body, "problems", problems_of(agent));
        json_object_set_new(body, "servers", servers_of(agent));
    }
    fs_reply_json(call, body);
}

/* GET /v1/notices/APPLICATION[/ID] */
static void answer_one(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    fs_usec_t farm = fs_backplane_time(agent);
    char *application = strdup(fs_http_call_rest(call)), *id;
    fs_result_t result;
    json_t *list;

    id = application ? strchr(application, '/') : NULL;
    if (id)
        *id++ = '\0';
    list = notices_of(agent, application, id, farm);
    free(application);
    if (!id || json_array_size(list)) {
        fs_reply_json(call, json_pack("{s:o}", "notices", list));
        return;
    }
    json_decref(list);
    fs_result_set(&result, APR_NOTFOUND, "FS1583", "there is no notice %.200s here",
                  fs_http_call_rest(call));
    fs_http_call_problem(call, 404, &result);
}

/* GET /v1/notices.ics: what operators have planned. */
static void answer_calendar(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;
    fs_avail_agent_t *avail = agent->avail;
    fs_avail_entry_t **entries;
    unsigned count;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (out) {
        fs_ics_begin(out, "Availability");
        pthread_mutex_lock(&avail->lock);
        entries = fs_avail_table_list(avail->table, &count);
        for (unsigned i = 0; i < count; i++)
            if (entries[i]->notice->role == FS_NOTICE_OPERATOR)
                fs_ics_notice(out, entries[i]->notice);
        free(entries);
        pthread_mutex_unlock(&avail->lock);
        fs_ics_end(out);
        fclose(out);
    }
    fs_http_call_answer(call, 200, "text/calendar; charset=utf-8", text ? text : "", length);
    free(text);
}

/* GET /v1/monitors */
static void answer_monitors(void *baton, fs_http_call_t *call)
{
    fs_agent_t *agent = baton;

    fs_reply_json(call, json_pack("{s:o}", "monitors", fs_monitors_describe(agent)));
}

apr_status_t fs_avail_routes(fs_agent_t *agent, fs_result_t *result)
{
    static const fs_http_route_t routes[] = {
        {"GET", "/v1/notices", 0, 0, answer_list},
        {"POST", "/v1/notices", 0, NOTICE_LIMIT, fs_avail_post},
        {"GET", "/v1/notices.ics", 0, 0, answer_calendar},
        {"GET", "/v1/notices/", FS_ROUTE_PREFIX, 0, answer_one},
        {"DELETE", "/v1/notices/", FS_ROUTE_PREFIX, 0, fs_avail_delete},
        {"GET", "/v1/monitors", 0, 0, answer_monitors},
    };

    return fs_agent_listen_add(agent, routes, sizeof(routes) / sizeof(routes[0]), result);
}
