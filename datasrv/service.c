/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "settings.h"

#define MEMBER_LIMIT  (16 * 1024)
#define RENEWAL_LIMIT (16 * 1024) /* also of a list of all buckets */

void fs_service_refuse(fs_service_t *service, fs_http_call_t *call, int status, const char *number,
                       const char *format, ...)
{
    char detail[FS_DETAIL_SIZE];
    fs_result_t result;
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    fs_result_set(&result, APR_EGENERAL, number, "%s", detail);
    if (status == 404)
        service->counts.unknown++;
    else if (status == 503)
        service->counts.unready++;
    else
        service->counts.refused++;
    if (status == 503)
        fs_http_call_set_header(call, "Retry-After", "1");
    fs_http_call_problem(call, status, &result);
}

void fs_service_not_known_yet(fs_service_t *service, fs_http_call_t *call)
{
    fs_service_refuse(service, call, 503, "FS0835",
                      "not known yet: the database has not been read since the start. Ask another "
                      "data server");
}

void fs_service_no_group(fs_service_t *service, fs_http_call_t *call, const char *group)
{
    fs_service_refuse(
        service, call, 404, "FS0834",
        "there is no group %s here; SELECT group_name FROM farmsync.sync lists them, and "
        "Group in the configuration of datasrv limits them",
        group);
}

/* A name as the inside of a JSON string: a socket's path may hold anything. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ' || *text & 0x80)
            *text = '?';
}

/* GET /v1/time. Farm time is read last, so that the round trip that the asker measures is short. */
static void answer_time(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    fs_usec_t now, offset, bound;
    char source[64], body[192];
    int length;

    fs_http_call_set_header(call, "Cache-Control", "no-store");
    now = fs_time_mono();
    if (!fs_board_clock(service->board, now, &offset, &bound, source)) {
        fs_service_refuse(service, call, 503, "FS0832",
                          "farm time isn't known here yet: the database has not been reached since "
                          "the start. Ask another data server");
        return;
    }
    service->counts.times++;
    make_plain(source);
    length = snprintf(body, sizeof(body),
                      "{\"farm_time\":%" PRId64 ",\"bound\":%" PRId64 ",\"source\":\"%s\"}",
                      now + offset, bound, source);
    fs_http_call_answer(call, 200, "application/json", body, (size_t)length);
}

/* What a report says must agree with where it was sent and who signed it. */
static int check_report(fs_service_t *service, fs_http_call_t *call, const fs_member_t *member)
{
    const char *name = fs_http_call_rest(call), *origin = fs_http_call_origin(call);
    fs_published_t *published;

    if (strcmp(name, member->name)) {
        fs_service_refuse(service, call, 400, "FS0838",
                          "the report is of member %s but was sent to /v1/members/%.80s",
                          member->name, name);
        return 0;
    }
    if (service->signed_members && strcmp(name, origin)) {
        fs_service_refuse(service, call, 403, "FS0839",
                          "%s signed a report of %s; a member speaks for itself only", origin,
                          name);
        return 0;
    }
    if (!fs_board_group(service->board, member->group, &published) &&
        fs_board_listed(service->board)) {
        fs_service_no_group(service, call, member->group);
        return 0;
    }
    fs_published_drop(published);
    return 1;
}

/* PUT /v1/members/NAME */
static void take_report(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    size_t length;
    const char *body = fs_http_call_body(call, &length);
    fs_member_t member;
    fs_result_t result;

    fs_result_clear(&result);
    if (fs_member_parse(&member, body, length, &result) != APR_SUCCESS) {
        service->counts.refused++;
        fs_http_call_problem(call, 400, &result);
        return;
    }
    if (!check_report(service, call, &member))
        return;
    if (!fs_roster_put(service->roster, &member)) {
        fs_service_refuse(
            service, call, 503, "FS0840",
            "%u members wait to be written already and the database is away; come again",
            FS_ROSTER_MEMBERS);
        return;
    }
    service->counts.reports++;
    fs_http_call_answer(call, 204, NULL, NULL, 0);
}

/* GET /v1/members: where the agents listen, for those that don't ask the database. */
static void list_members(void *baton, fs_http_call_t *call)
{
    const fs_service_t *service = baton;
    char *text = service->agents ? fs_agents_json(service->agents) : NULL;

    fs_http_call_set_header(call, "Cache-Control", "no-store");
    fs_http_call_answer(call, text ? 200 : 503, "application/json", text ? text : "",
                        text ? strlen(text) : 0);
    free(text);
}

/* /v1/notices: what agents know and do. */
static void list_notices(void *service, fs_http_call_t *call)
{
    fs_relay_pass(((fs_service_t *)service)->relay, call, "GET", "/v1/notices");
}

static void list_planned(void *service, fs_http_call_t *call)
{
    fs_relay_pass(((fs_service_t *)service)->relay, call, "GET", "/v1/notices.ics");
}

static void show_notice(void *service, fs_http_call_t *call)
{
    fs_relay_pass(((fs_service_t *)service)->relay, call, "GET", "/v1/notices/");
}

static void tell_notice(void *service, fs_http_call_t *call)
{
    fs_relay_pass(((fs_service_t *)service)->relay, call, "POST", "/v1/notices");
}

static void take_notice_back(void *service, fs_http_call_t *call)
{
    fs_relay_pass(((fs_service_t *)service)->relay, call, "DELETE", "/v1/notices/");
}

const fs_http_route_t *fs_service_routes(unsigned *count)
{
    static const fs_http_route_t routes[] = {
        {"GET", "/v1/time", 0, 0, answer_time},
        {"GET", "/v1/groups/", FS_ROUTE_PREFIX, 0, fs_service_manifest},
        {"GET", "/v1/images/", FS_ROUTE_PREFIX, 0, fs_service_image},
        {"GET", "/v1/members", 0, 0, list_members},
        {"PUT", "/v1/members/", FS_ROUTE_PREFIX, MEMBER_LIMIT, take_report},
        {"POST", "/v1/sessions/offer", 0, FS_SESSION_BATCH_LIMIT, fs_service_offer},
        {"POST", "/v1/sessions/take", 0, FS_SESSION_BATCH_LIMIT, fs_service_take},
        {"POST", "/v1/sessions/versions", 0, FS_SESSION_BATCH_LIMIT, fs_service_versions},
        {"POST", "/v1/sessions/renew", 0, RENEWAL_LIMIT, fs_service_renew},
        {"POST", "/v1/sessions/state", 0, RENEWAL_LIMIT, fs_service_state},
        {"POST", "/v1/sessions/digest", 0, RENEWAL_LIMIT, fs_service_digest},
        {"POST", "/v1/sessions/bucket", 0, RENEWAL_LIMIT, fs_service_bucket},
        {"POST", "/v1/sessions/changes", 0, RENEWAL_LIMIT, fs_service_changes},
        {"GET", "/v1/notices", 0, 0, list_notices},
        {"GET", "/v1/notices.ics", 0, 0, list_planned},
        {"GET", "/v1/notices/", FS_ROUTE_PREFIX, 0, show_notice},
        {"POST", "/v1/notices", 0, MEMBER_LIMIT, tell_notice},
        {"DELETE", "/v1/notices/", FS_ROUTE_PREFIX, 0, take_notice_back},
        {"GET", "/healthz", FS_ROUTE_OPEN, 0, fs_service_health},
        {"GET", "/metrics", FS_ROUTE_OPEN, 0, fs_service_metrics},
        {"GET", "/", FS_ROUTE_OPEN, 0, fs_service_dashboard},
    };

    *count = sizeof(routes) / sizeof(routes[0]);
    return routes;
}
