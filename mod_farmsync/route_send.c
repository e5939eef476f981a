/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending a request to the server where its visitor is home: by mod_proxy_farmsync, or by telling
 * the client to go there. With it goes a token that says who he is and how often he was sent on.
 */
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "avail_state.h"
#include "module.h"
#include "route.h"

#define SUSPECT_SPAN FS_USEC_PER_SEC

int fs_routing_can_send(const fs_routing_visit_t *visit)
{
    return visit->place.by == FS_ROUTING_REDIRECT ||
           (visit->place.by == FS_ROUTING_PROXY && fs_routing_host()->forward);
}

/* NULL: libcrypto failed. */
static const char *token_text(request_rec *r, const fs_routing_visit_t *visit,
                              fs_route_token_kind_t kind, const char *to, int takes)
{
    fs_route_token_t token = {.id = visit->id};
    char text[FS_ROUTE_TOKEN_SIZE];

    token.hops = (uint8_t)(visit->hops < 255 ? visit->hops + 1 : 255);
    token.expires = fs_avail_now() + fs_route_token_span(kind);
    token.flags = (takes ? FS_ROUTE_TOKEN_GONE : 0) | (visit->named ? FS_ROUTE_TOKEN_NAMED : 0);
    apr_cpystrn(token.from, fs_routing_host()->self, sizeof(token.from));
    apr_cpystrn(token.to, to, sizeof(token.to));
    if (visit->home.generation && !visit->expired) {
        token.generation = visit->home.generation;
        memcpy(token.primary, visit->home.primary, sizeof(token.primary));
        memcpy(token.alternate, visit->home.alternate, sizeof(token.alternate));
    } else {
        token.flags |= FS_ROUTE_TOKEN_NEW;
    }
    if (kind == FS_ROUTE_TOKEN_PROXY) {
        apr_cpystrn(token.address, r->useragent_ip ? r->useragent_ip : "", sizeof(token.address));
        if (!strcmp(ap_http_scheme(r), "https"))
            token.flags |= FS_ROUTE_TOKEN_TLS;
    }
    return fs_route_token_write(fs_routing_host()->keys, kind, &token, text)
               ? NULL
               : apr_pstrdup(r->pool, text);
}

static void count_sent(fs_routing_visit_t *visit, fs_route_count_t what)
{
    fs_routing_count(what);
    if (!visit->home.generation || visit->expired)
        fs_routing_count(FS_ROUTE_COUNT_BOUNCES_OUT);
}

/* --- passing it on ------------------------------------------------------------------------------
 */

/* No connection could be made: for a moment nobody here tries again. */
static void note_failed(request_rec *r, const farmsync_target_t *target)
{
    const fs_routing_host_t *host = fs_routing_host();
    fs_usec_t now = fs_time_mono();
    const fs_route_view_t *view = fs_route_page_view(host->page, now);
    uint32_t number = view ? fs_route_view_find(view, target->server) : FS_ROUTE_NOBODY;

    if (number != FS_ROUTE_NOBODY)
        fs_route_page_suspect(host->page, number, now + SUSPECT_SPAN);
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "FS1639: %s can't be reached at %s: for a second its visitors go to their "
                  "alternates from here",
                  target->server, target->url);
}

/* 0: nobody knows where it is, or libcrypto failed. */
static int add_target(request_rec *r, const fs_routing_visit_t *visit,
                      const fs_routing_target_t *server, farmsync_forward_t *to)
{
    farmsync_target_t *target = &to->targets[to->count];
    fs_route_where_t where;

    if (!fs_route_page_where(fs_routing_host()->page, server->number, &where) || !*where.url)
        return 0;
    target->server = apr_pstrdup(r->pool, server->name);
    target->url = apr_pstrdup(r->pool, where.url);
    target->token = token_text(r, visit, FS_ROUTE_TOKEN_PROXY, target->server, server->takes);
    to->count += target->token != NULL;
    return target->token != NULL;
}

static int forward(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan)
{
    farmsync_forward_t to = {.failed = note_failed};
    int status;

    /* Not to his alternate if it is his home that nobody knows the way to: it would take him over.
     */
    for (unsigned i = 0; i < plan->count; i++)
        if (!add_target(r, visit, &plan->to[i], &to))
            break;
    if (!to.count)
        return DECLINED;
    plan->tried = 1;
    visit->what = "proxied";
    fs_routing_visit_tell(r, visit);
    status = fs_routing_host()->forward(r, &to);
    if (status == DECLINED)
        return DECLINED;
    count_sent(visit, FS_ROUTE_COUNT_PROXIED);
    return status == OK ? DONE : status;
}

/* --- telling the client to go there -------------------------------------------------------------
 */

static int redirect(request_rec *r, fs_routing_visit_t *visit, const fs_routing_plan_t *plan)
{
    fs_route_where_t where;
    const char *token, *path = r->parsed_uri.path ? r->parsed_uri.path : "/";

    if (!fs_route_page_where(fs_routing_host()->page, plan->to[0].number, &where) ||
        !*where.public_url)
        return DECLINED;
    token = token_text(r, visit, FS_ROUTE_TOKEN_REDIRECT, plan->to[0].name, plan->to[0].takes);
    if (!token)
        return DECLINED;
    apr_table_setn(r->headers_out, "Location",
                   apr_pstrcat(r->pool, where.public_url, path, "?", r->args ? r->args : "",
                               r->args ? "&" : "", FS_ROUTING_PARAMETER "=", token, NULL));
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    visit->what = "redirected";
    count_sent(visit, FS_ROUTE_COUNT_REDIRECTED);
    return HTTP_TEMPORARY_REDIRECT;
}

int fs_routing_send(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan)
{
    int status = DECLINED;

    if (visit->place.by == FS_ROUTING_REDIRECT)
        status = redirect(r, visit, plan);
    if (status == DECLINED && fs_routing_host()->forward)
        status = forward(r, visit, plan);
    return status;
}
