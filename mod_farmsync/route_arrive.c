/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What another server said of a request: a token in the URL, where the client was redirected, or in
 * a header, where the other server passes the request on. It is taken out before anybody else sees
 * it, the application and the access log too. It brings who the visitor is, how often he was sent
 * on, and, in the header, the client's own address and whether it speaks TLS.
 */
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "avail_state.h"
#include "module.h"
#include "request.h"
#include "route.h"
#include "view.h"

#define PARAMETER        FS_ROUTING_PARAMETER "="
#define PARAMETER_LENGTH (sizeof(PARAMETER) - 1)
#define QUERY_ENDS       "& #"

/* --- taking it out ------------------------------------------------------------------------------
 */

/* The next parameter of ours; `query`: the text is a query only. */
static const char *find_parameter(const char *text, const char *from, int query)
{
    const char *at = from;

    while ((at = strstr(at, PARAMETER))) {
        if (at == text ? query : at[-1] == '&' || (at[-1] == '?' && !query))
            return at;
        at += PARAMETER_LENGTH;
    }
    return NULL;
}

/* The text without all of them, and the value of the last one. */
static char *without_parameter(apr_pool_t *pool, const char *text, int query, const char **value)
{
    char *made = apr_pstrdup(pool, text), *at;

    while ((at = (char *)find_parameter(made, made, query))) {
        char *end = at + strcspn(at, QUERY_ENDS);

        *value =
            apr_pstrmemdup(pool, at + PARAMETER_LENGTH, (apr_size_t)(end - at) - PARAMETER_LENGTH);
        if (*end == '&')
            end++;
        else if (at > made)
            at--; /* the ? or & before it */
        memmove(at, end, strlen(end) + 1);
    }
    return made;
}

static const char *take_parameter(request_rec *r)
{
    const char *value = NULL, *ignored;

    if (!r->args || !find_parameter(r->args, r->args, 1))
        return NULL;
    r->args = without_parameter(r->pool, r->args, 1, &value);
    if (!*r->args)
        r->args = NULL;
    r->parsed_uri.query = r->args;
    r->unparsed_uri = without_parameter(r->pool, r->unparsed_uri, 0, &ignored);
    r->the_request = without_parameter(r->pool, r->the_request, 0, &ignored);
    return value;
}

/* --- what it says -------------------------------------------------------------------------------
 */

/* The address that the client has, instead of that of the server which passes the request on. */
static void take_address(request_rec *r, const fs_route_token_t *token)
{
    int family = strchr(token->address, ':') ? APR_INET6 : APR_INET; /* else the kernel is asked */
    apr_sockaddr_t *address;
    char *text;

    if (!*token->address ||
        apr_sockaddr_info_get(&address, token->address, family, 0, 0, r->pool) != APR_SUCCESS)
        return;
    text = apr_pstrdup(r->pool, token->address);
    r->useragent_addr = address;
    r->useragent_ip = text;
}

/* A redirect's token counts once. */
static int is_used(request_rec *r, const fs_route_token_t *token, fs_usec_t now)
{
    fs_result_t result;
    apr_status_t status =
        fs_route_store_nonce(fs_routing_host()->store, token->nonce, token->expires, now, &result);

    if (status == APR_SUCCESS)
        return 0;
    if (status != APR_EEXIST)
        fs_routing_say(r, &result);
    fs_routing_count(FS_ROUTE_COUNT_TOKEN_REPLAYED);
    return 1;
}

static fs_routing_visit_t *visit_of(request_rec *r)
{
    fs_request_t *request = fs_request_make(fs_view_first_request(r));

    if (!request->routed)
        request->routed = apr_pcalloc(r->pool, sizeof(*request->routed));
    return request->routed;
}

/* One that is for another server says only that the request goes round. */
static void take_word(request_rec *r, fs_routing_visit_t *visit, fs_route_token_kind_t kind,
                      fs_route_token_t *token, fs_usec_t now)
{
    visit->hops = token->hops;
    if (kind == FS_ROUTE_TOKEN_PROXY)
        take_address(r, token);
    if (strcmp(token->to, fs_routing_host()->self) != 0) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "FS1638: %s sent a request to %s, and it came to %s: see what "
                      "FarmSyncRouteURL says on %s",
                      token->from, token->to, fs_routing_host()->self, token->to);
        return;
    }
    if (kind == FS_ROUTE_TOKEN_PROXY || !is_used(r, token, now))
        visit->token = token;
}

static void look(request_rec *r, fs_route_token_kind_t kind, const char *text)
{
    fs_route_token_t *token = apr_pcalloc(r->pool, sizeof(*token));
    fs_routing_visit_t *visit = visit_of(r);
    fs_usec_t now = fs_avail_now();

    switch (fs_route_token_read(fs_routing_host()->keys, kind, text, strlen(text), now, token)) {
    case FS_ROUTE_TOKEN_GOOD:
        take_word(r, visit, kind, token, now);
        return;
    case FS_ROUTE_TOKEN_EXPIRED:
        fs_routing_count(FS_ROUTE_COUNT_TOKEN_EXPIRED);
        visit->hops = token->hops;
        break;
    default:
        fs_routing_count(FS_ROUTE_COUNT_TOKEN_FORGED);
    }
    /* Servers that don't know each other's key would pass it on for ever. */
    visit->foreign = kind == FS_ROUTE_TOKEN_PROXY;
}

int fs_routing_arrive(request_rec *r)
{
    const char *header, *parameter;

    if (!fs_routing_host())
        return DECLINED;
    header = apr_table_get(r->headers_in, FS_ROUTING_HEADER);
    parameter = take_parameter(r);
    if (parameter)
        look(r, FS_ROUTE_TOKEN_REDIRECT, parameter);
    if (header) {
        apr_table_unset(r->headers_in, FS_ROUTING_HEADER);
        look(r, FS_ROUTE_TOKEN_PROXY, header);
    }
    return DECLINED;
}

/* --- TLS that ended at the other server ---------------------------------------------------------
 */

static int is_tls(const request_rec *r)
{
    const fs_request_t *request = fs_request(fs_view_first_request((request_rec *)r));
    const fs_route_token_t *token = request && request->routed ? request->routed->token : NULL;

    return token && token->flags & FS_ROUTE_TOKEN_TLS;
}

const char *fs_routing_scheme(const request_rec *r)
{
    return is_tls(r) ? "https" : NULL;
}

apr_port_t fs_routing_port(const request_rec *r)
{
    return is_tls(r) ? 443 : 0;
}
