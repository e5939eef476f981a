/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_balancer.h"

#include <stdatomic.h>
#include <string.h>

#include <ap_provider.h>
#include <apr_strings.h>
#include <http_request.h>

#include "parts.h"
#include "proxy_page.h"

#define BALANCER "proxy:balancer://"

/* What counts as busy where it is chosen for a server that can still refuse. */
static const fs_route_settings_t settings = {.slack = 1, .busy = 0.8, .bounces = 1};

/* Of this child. */
static APR_OPTIONAL_FN_TYPE(farmsync_visitor) * visitor_of;
static APR_OPTIONAL_FN_TYPE(farmsync_balancer_cookie) * cookie_of;

void fs_proxy_balancer_init(void)
{
    visitor_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_visitor);
    cookie_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_balancer_cookie);
}

/* --- lbmethod -----------------------------------------------------------------------------------
 */

typedef struct search_t {
    const fs_route_view_t *view; /* NULL: nothing is known of the farm */
    const char *primary, *alternate;
    uint64_t spread;
    int any;   /* those that get nobody new, too */
    int found; /* the best one is home to the visitor, or his alternate */
} search_t;

/* A farm has hundreds of servers, and each member is asked for with each request: where its name
 * was found last. */
#define GUESSES 1024
static _Atomic uint32_t guesses[GUESSES];

static uint32_t number_of(const search_t *search, const proxy_worker *member)
{
    _Atomic uint32_t *guess = &guesses[((uintptr_t)member / sizeof(*member)) % GUESSES];
    const char *name = member->s->route;
    uint32_t number;

    if (!search->view || !*name)
        return FS_ROUTE_NOBODY;
    number = atomic_load_explicit(guess, memory_order_relaxed);
    if (!strcmp(fs_route_view_name(search->view, number), name))
        return number;
    number = fs_route_view_find(search->view, name);
    if (number != FS_ROUTE_NOBODY)
        atomic_store_explicit(guess, number, memory_order_relaxed);
    return number;
}

/* 2: the visitor's home; 1: his alternate; 0: another server; -1: isn't to be chosen. */
static int rank_of(const search_t *search, const proxy_worker *member, uint32_t number)
{
    int open =
        number != FS_ROUTE_NOBODY && search->view->table.servers[number].state == FS_ROUTE_ALIVE;

    if (!open)
        return search->any ? 0 : -1;
    if (search->primary && !strcmp(search->primary, member->s->route))
        return 2;
    if (search->alternate && !strcmp(search->alternate, member->s->route))
        return 1;
    return search->view->table.servers[number].capacity || search->any ? 0 : -1;
}

/* Of two that nothing is known of: the one that has less to do, or had less until now. */
static int is_idler(const proxy_worker *member, const proxy_worker *best)
{
    return member->s->busy != best->s->busy ? member->s->busy < best->s->busy
                                            : member->s->elected < best->s->elected;
}

/* Which of two gets a new visitor: as lib/route says, in a farm of these two. */
static int is_lower(const search_t *search, const proxy_worker *member, const proxy_worker *other)
{
    uint32_t number = number_of(search, member), best = number_of(search, other);
    fs_route_server_t pair[2];
    fs_route_table_t table = {.servers = pair, .count = 2, .self = 0};

    if (number == FS_ROUTE_NOBODY && best == FS_ROUTE_NOBODY)
        return is_idler(member, other);
    if (number == FS_ROUTE_NOBODY || best == FS_ROUTE_NOBODY)
        return best == FS_ROUTE_NOBODY;
    pair[0] = search->view->table.servers[best];
    pair[1] = search->view->table.servers[number];
    pair[0].state = pair[1].state = FS_ROUTE_ALIVE;
    return fs_route_lowest(&table, &settings, FS_ROUTE_NOBODY, search->spread) == 1;
}

static int is_best(proxy_worker *member, proxy_worker *best, void *baton)
{
    search_t *search = baton;
    int rank = rank_of(search, member, number_of(search, member));

    if (rank < 0)
        return 0;
    if (best) {
        int other = rank_of(search, best, number_of(search, best));

        if (rank != other ? rank < other : !is_lower(search, member, best))
            return 0;
    }
    search->found = rank;
    return 1;
}

static proxy_worker *find_member(proxy_balancer *balancer, request_rec *r)
{
    fs_route_page_t *page = fs_proxy_page();
    search_t search = {.view = page ? fs_route_page_view(page, fs_time_mono()) : NULL};
    farmsync_visitor_t visitor;
    proxy_worker *member;

    if (visitor_of && visitor_of(r, &visitor)) {
        search.primary = visitor.primary;
        search.alternate = visitor.alternate;
        memcpy(&search.spread, visitor.id, sizeof(search.spread));
    }
    member = ap_proxy_balancer_get_best_worker(balancer, r, is_best, &search);
    if (!member) { /* rather to one that is drained or seems dead than to nobody */
        search.any = 1;
        member = ap_proxy_balancer_get_best_worker(balancer, r, is_best, &search);
    }
    if (member) {
        uint32_t number = number_of(&search, member);

        member->s->elected++;
        if (!search.found && number != FS_ROUTE_NOBODY)
            fs_route_page_sent(page, number);
    }
    return member;
}

static apr_status_t nothing(proxy_balancer *balancer, server_rec *server)
{
    return APR_SUCCESS;
}

static const proxy_balancer_method method = {
    .name = "farmsync", .finder = find_member, .reset = nothing, .age = nothing};

/* --- stickysession ------------------------------------------------------------------------------
 */

/* The balancer that a request goes to, if it goes by the affinity cookie. */
static int goes_by(request_rec *r, const char *cookie)
{
    proxy_server_conf *conf = ap_get_module_config(r->server->module_config, &proxy_module);
    const proxy_balancer *balancer =
        ap_proxy_get_balancer(r->pool, conf, r->filename + strlen("proxy:"), 1);

    return balancer && !strcmp(balancer->s->sticky, cookie);
}

/* Cookie without those of that name: how mod_proxy_balancer looks for it. */
static const char *others(apr_pool_t *pool, const char *header, const char *name)
{
    size_t length = strlen(name);
    const char *rest = "";

    while (*header) {
        size_t span = strcspn(header, ";,");
        const char *pair = header + strspn(header, " \t");

        if (pair < header + span && (strncmp(pair, name, length) || pair[length] != '='))
            rest =
                apr_pstrcat(pool, rest, *rest ? "; " : "",
                            apr_pstrmemdup(pool, pair, (apr_size_t)(header + span - pair)), NULL);
        header += span + (header[span] != 0);
    }
    return rest;
}

/* After routing has found out whose request it is. */
static int show_route(request_rec *r)
{
    const char *cookie, *shown;
    fs_proxy_request_t *request;
    farmsync_visitor_t visitor;

    if (r->main || r->proxyreq != PROXYREQ_REVERSE || !r->filename ||
        strncasecmp(r->filename, BALANCER, strlen(BALANCER)) != 0)
        return DECLINED;
    cookie = cookie_of ? cookie_of(r) : NULL;
    if (!cookie || !goes_by(r, cookie))
        return DECLINED;
    request = fs_proxy_request(r, 1);
    request->cookie = apr_table_get(r->headers_in, "Cookie");
    request->swapped = 1;
    shown = request->cookie ? others(r->pool, request->cookie, cookie) : "";
    if (visitor_of(r, &visitor) && visitor.primary)
        shown =
            apr_pstrcat(r->pool, cookie, "=-.", visitor.primary, *shown ? "; " : "", shown, NULL);
    if (*shown)
        apr_table_setn(r->headers_in, "Cookie", shown);
    else
        apr_table_unset(r->headers_in, "Cookie");
    return DECLINED;
}

/* mod_proxy: the member is chosen, r->headers_in is the copy that goes out. */
static int give_own_cookies(request_rec *r)
{
    const fs_proxy_request_t *request = fs_proxy_request(r, 0);

    if (!request || !request->swapped)
        return DECLINED;
    if (request->cookie)
        apr_table_setn(r->headers_in, "Cookie", request->cookie);
    else
        apr_table_unset(r->headers_in, "Cookie");
    return OK;
}

void fs_proxy_balancer_register(apr_pool_t *pool)
{
    /* Before mod_proxy's own: its balancer is asked in the handler only, but rewriting may be too.
     */
    ap_hook_fixups(show_route, NULL, NULL, APR_HOOK_LAST);
    APR_OPTIONAL_HOOK(proxy, fixups, give_own_cookies, NULL, NULL, APR_HOOK_FIRST);
    ap_register_provider(pool, PROXY_LBMETHOD, "farmsync", "0", &method);
}
