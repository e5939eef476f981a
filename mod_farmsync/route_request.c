/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hooks of routing.
 *
 *   post_read_request  what another server said is taken out of the request   (route_arrive)
 *   header_parser      where the visitor belongs; the request is served here, or sent there
 *
 * header_parser is the first phase in which all that a place in the configuration says is known,
 * <Directory> and <If> too, and the last one before authentication, sessions and filters: they
 * belong to the server that serves the request. What was refused before (availability, in the
 * quick handler) needs no home.
 */
#include <string.h>

#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "avail.h"
#include "child.h"
#include "module.h"
#include "request.h"
#include "route.h"
#include "settings.h"
#include "view.h"

#define RETRY_AFTER "10" /* seconds, of who found all servers full */

static const fs_routing_place_t *place_of(const request_rec *r)
{
    const fs_place_t *place = ap_get_module_config(r->per_dir_config, &farmsync_module);

    return &place->route;
}

/* Handlers that tell of this very server: ours, and those of httpd. */
static int is_of_server(request_rec *r)
{
    static const char *const httpds[] = {"server-status", "server-info", "balancer-manager"};
    const core_dir_config *section = ap_get_core_module_config(r->per_dir_config);
    const char *error = NULL, *handler = section->handler;

    if (section->expr_handler)
        handler = ap_expr_str_exec(r, section->expr_handler, &error);
    if (!handler || error)
        return 0;
    for (unsigned i = 0; i < sizeof(httpds) / sizeof(httpds[0]); i++)
        if (!strcmp(handler, httpds[i]))
            return 1;
    return !strncmp(handler, "farmsync-", 9);
}

static int is_routed(const request_rec *r)
{
    return !r->main && !r->prev && fs_routing_host() && place_of(r)->on == 1 &&
           r->proxyreq != PROXYREQ_PROXY && r->method_number != M_CONNECT && r->uri &&
           r->uri[0] == '/';
}

static fs_routing_visit_t *visit_of(request_rec *r)
{
    fs_request_t *request = fs_request_make(r);

    if (!request->routed)
        request->routed = apr_pcalloc(r->pool, sizeof(*request->routed));
    request->routed->place = *place_of(r);
    fs_routing_fill_place(&request->routed->place);
    return request->routed;
}

static int refuse(request_rec *r, fs_routing_visit_t *visit)
{
    fs_routing_count(FS_ROUTE_COUNT_REFUSED);
    visit->what = "refused";
    apr_table_setn(r->err_headers_out, "Retry-After", RETRY_AFTER);
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    return HTTP_SERVICE_UNAVAILABLE;
}

/* He has a home that lives, as far as is known. */
static int is_home_elsewhere(const fs_routing_visit_t *visit, const fs_routing_plan_t *plan)
{
    return visit->home.generation && !visit->expired && !plan->to[0].takes;
}

/* Sends it on. If nobody takes it, it is kept, unless this server is nobody's home. */
static int send_on(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan)
{
    static _Atomic fs_usec_t said;
    int status = fs_routing_send(r, visit, plan);

    if (status != DECLINED)
        return status;
    if (!fs_routing_host()->routing->capacity)
        return refuse(r, visit);
    if (plan->tried || !is_home_elsewhere(visit, plan))
        fs_routing_adopt(r, visit);
    else if (fs_child_says_again(&said))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "FS1656: nothing says where %s is, so a request of its visitor is served "
                      "here; set FarmSyncRouteURL there. Said once a minute",
                      plan->to[0].name);
    return DECLINED;
}

/*
 * Somebody who wants to know whether the server is there, or what it would allow: balancers,
 * monitors, browsers before a request to another site. They bring no cookie and keep none, and
 * would each be a new visitor with each request.
 */
static int only_asks(const request_rec *r, const fs_routing_visit_t *visit)
{
    return !visit->home.generation && !visit->named && fs_routing_host()->routing->capacity &&
           (r->header_only || r->method_number == M_OPTIONS || r->method_number == M_TRACE);
}

static int look_closely(request_rec *r, fs_routing_visit_t *visit)
{
    uint64_t serial = fs_route_page_serial(fs_routing_host()->page);
    fs_routing_plan_t plan;
    int status = DECLINED;

    if (visit->foreign || is_of_server(r) || fs_avail_is_probe(r))
        return DECLINED;
    fs_routing_visit_find(r, visit);
    if (visit->foreign || only_asks(r, visit))
        return DECLINED;
    fs_routing_decide(r, visit, &plan);
    if (plan.act == FS_ROUTE_REFUSE)
        status = refuse(r, visit);
    else if (plan.act == FS_ROUTE_SEND)
        status = send_on(r, visit, &plan);
    if (visit->here)
        fs_routing_visit_settle(r, visit, serial);
    fs_routing_visit_tell(r, visit);
    return status;
}

static int header_parser(request_rec *r)
{
    fs_routing_visit_t *visit;

    if (!is_routed(r))
        return DECLINED;
    visit = visit_of(r);
    if (visit->place.by == FS_ROUTING_BALANCER) {
        fs_routing_observe(r, visit);
        return DECLINED;
    }
    if (!visit->foreign && fs_routing_visit_known(r, visit)) {
        fs_routing_count(FS_ROUTE_COUNT_HOME);
        visit->what = "home";
        fs_routing_visit_tell(r, visit);
        return DECLINED;
    }
    return look_closely(r, visit);
}

static int farmsync_visitor(request_rec *r, farmsync_visitor_t *visitor)
{
    const fs_request_t *request = fs_request(fs_view_first_request(r));
    const fs_routing_visit_t *visit = request ? request->routed : NULL;

    if (!visit || !visit->decided)
        return 0;
    memcpy(visitor->id, visit->id.bytes, sizeof(visitor->id));
    visitor->primary = visit->home.primary;
    visitor->alternate = *visit->home.alternate ? visit->home.alternate : NULL;
    visitor->generation = visit->home.generation;
    visitor->here = visit->here;
    visitor->moved = visit->moved;
    return 1;
}

static const char *farmsync_balancer_cookie(request_rec *r)
{
    fs_routing_place_t place = *place_of(r);

    fs_routing_fill_place(&place);
    return fs_routing_host() && place.on && place.by == FS_ROUTING_BALANCER ? place.cookie->name
                                                                            : NULL;
}

void fs_routing_register(void)
{
    static const char *const after_remoteip[] = {"mod_remoteip.c", NULL};

    fs_routing_host_register();
    fs_routing_status_register();
    ap_hook_post_read_request(fs_routing_arrive, after_remoteip, NULL, APR_HOOK_FIRST);
    ap_hook_header_parser(header_parser, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_http_scheme(fs_routing_scheme, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_default_port(fs_routing_port, NULL, NULL, APR_HOOK_FIRST);
    APR_REGISTER_OPTIONAL_FN(farmsync_visitor);
    APR_REGISTER_OPTIONAL_FN(farmsync_balancer_cookie);
}
