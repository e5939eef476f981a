/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_forward.h"

#include <string.h>

#include <apr_poll.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

#include "proxy_body.h"
#include "proxy_page.h"
#include "proxy_workers.h"

#define NAME  "FARMSYNC_FORWARD"
#define FRESH "proxy-initial-not-pooled" /* mod_proxy_http: over a fresh connection */
#define LOOK  apr_time_from_msec(500)    /* while there is no answer */

typedef enum outcome_t {
    ANSWERED,
    UNREACHABLE, /* no connection: nothing has left this server */
    LOST,        /* it was sent, or some of its head, and the connection ended before an answer */
    FAILED       /* with a status of its own */
} outcome_t;

static ap_filter_rec_t *filter_handle;
static proxy_dir_conf *plain;

/* --- what is sent -------------------------------------------------------------------------------
 */

/* The URL as the client sent it, for modules that map and rewrite have been at r->uri. NULL: there
 * is none that could be sent on. */
static const char *original_path(request_rec *r)
{
    const char *path = r->unparsed_uri;

    if (path && *path != '/') { /* the absolute form; Host has been made to agree with it */
        path = strstr(path, "://");
        path = path ? path + 3 + strcspn(path + 3, "/?") : NULL;
        if (path && *path != '/')
            path = apr_pstrcat(r->pool, "/", path, NULL);
    }
    if (!path)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if (*c <= ' ' || *c == 127)
            return NULL;
    return path;
}

/* mod_proxy's settings of a place as nothing said: Host is kept, nothing is added. */
void fs_proxy_forward_init(apr_pool_t *child_pool)
{
    plain = proxy_module.create_dir_config(child_pool, NULL);
    plain->preserve_host = plain->preserve_host_set = 1;
    plain->add_forwarded_headers = 0;
    plain->add_forwarded_headers_set = 1;
}

/* The settings of this place, but those of mod_proxy. */
static ap_conf_vector_t *place_for_proxy(request_rec *r)
{
    ap_conf_vector_t *place =
        ap_merge_per_dir_configs(r->pool, r->per_dir_config, ap_create_per_dir_config(r->pool));

    ap_set_module_config(place, &proxy_module, plain);
    return place;
}

/* mod_proxy: before the head goes out, after what Connection names was taken out. r->headers_in is
 * a copy. */
static int add_token(request_rec *r)
{
    const fs_proxy_request_t *request = fs_proxy_request(r, 0);

    if (!request || !request->token)
        return DECLINED;
    apr_table_setn(r->headers_in, "FarmSync-Route", request->token);
    return OK;
}

static int is_idempotent(const request_rec *r)
{
    switch (r->method_number) {
    case M_GET: /* and HEAD */
    case M_OPTIONS:
    case M_TRACE:
    case M_PUT:
    case M_DELETE:
    case M_PROPFIND:
        return 1;
    default:
        return 0;
    }
}

/* Nobody is harmed if it is done twice. */
static int may_repeat(request_rec *r)
{
    return is_idempotent(r) && !ap_request_has_body(r) &&
           r->status == fs_proxy_request(r, 1)->status;
}

/*
 * Waits for the answer to begin, and gives up if nothing has been heard of its server meanwhile: a
 * machine that stands still takes connections and never answers. Only for what may be repeated
 * then.
 */
static void wait_for_answer(request_rec *r, const char *server, apr_socket_t *socket)
{
    apr_pollfd_t poll = {.p = r->pool, .desc_type = APR_POLL_SOCKET, .reqevents = APR_POLLIN};
    apr_interval_time_t left = 0;
    apr_int32_t count;

    poll.desc.s = socket;
    if (apr_socket_timeout_get(socket, &left) != APR_SUCCESS || left <= 0)
        return;
    for (; left > 0; left -= LOOK) {
        apr_status_t status = apr_poll(&poll, 1, &count, left < LOOK ? left : LOOK);

        if (!APR_STATUS_IS_TIMEUP(status) && !APR_STATUS_IS_EINTR(status))
            return;
        if (!fs_proxy_is_silent(server))
            continue;
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "FS1646: %s hasn't answered, and nothing is heard of it any more", server);
        apr_socket_shutdown(socket, APR_SHUTDOWN_READWRITE);
        return;
    }
    apr_socket_timeout_set(socket, 1); /* so much is left */
}

/* mod_proxy: all of the head has been sent, and the answer is about to be read. */
static int note_asked(request_rec *r, request_rec *answer)
{
    fs_proxy_request_t *request = fs_proxy_request(r, 0);

    if (!request || !request->token)
        return DECLINED;
    request->asked = 1;
    request->reused = answer->connection->keepalives > 0;
    if (fs_proxy_page() && may_repeat(r))
        wait_for_answer(r, request->target, ap_get_conn_socket(answer->connection));
    return OK;
}

/* The answer begins. */
static apr_status_t answer_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    request_rec *r = filter->r;
    fs_proxy_request_t *request = fs_proxy_request(r, 1);

    request->began = 1;
    r->connection->keepalives = request->keepalives;
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* --- one attempt --------------------------------------------------------------------------------
 */

/* Nothing of a body is sent before the other side asks for it, unless it is spoken to as HTTP/1.0.
 * 100 is a status as well. */
static int body_stayed(request_rec *r, const fs_proxy_request_t *request)
{
    return r->status == request->status &&
           !(ap_request_has_body(r) && apr_table_get(r->subprocess_env, "force-proxy-request-1.0"));
}

static outcome_t outcome_of(request_rec *r, const fs_proxy_request_t *request, const char *url,
                            int *status)
{
    if (*status == OK || *status == DONE || request->began || r->status == HTTP_SWITCHING_PROTOCOLS)
        return ANSWERED;
    if (apr_table_get(r->notes, "proxy_timedout")) {
        *status = HTTP_GATEWAY_TIME_OUT;
        return FAILED;
    }
    if (*status == DECLINED) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FS1643: %s: no module speaks this protocol to another server; load "
                      "mod_proxy_http, and mod_ssl with SSLProxyEngine on for https",
                      url);
        return UNREACHABLE;
    }
    if (!request->asked && (*status == HTTP_SERVICE_UNAVAILABLE ||
                            (*status == HTTP_INTERNAL_SERVER_ERROR && !strncmp(url, "https:", 6))))
        return UNREACHABLE;
    if (*status == HTTP_BAD_GATEWAY)
        return LOST;
    return FAILED;
}

static outcome_t attempt(request_rec *r, const farmsync_target_t *target, proxy_worker *worker,
                         const char *path, int *status)
{
    fs_proxy_request_t *request = fs_proxy_request(r, 1);
    proxy_server_conf *conf = ap_get_module_config(r->server->module_config, &proxy_module);
    char *url = apr_pstrcat(r->pool, target->url, path, NULL);
    outcome_t outcome;

    request->target = target->server;
    request->token = target->token;
    request->status = r->status;
    request->asked = 0;
    request->reused = 1; /* if it ends while the head is sent */
    /* With 0, mod_proxy_http tells of a connection that was lost, instead of ending the client's.
     * The answer is sent with the true number, which it is limited by. */
    request->keepalives = r->connection->keepalives;
    r->connection->keepalives = 0;
    *status = proxy_run_scheme_handler(r, worker, conf, url, NULL, 0);
    r->connection->keepalives = request->began ? r->connection->keepalives : request->keepalives;
    outcome = outcome_of(r, request, target->url, status);
    request->token = NULL;
    if (outcome == UNREACHABLE || outcome == LOST) { /* as if it hadn't been tried */
        apr_table_unset(r->notes, "error-notes");
        apr_table_unset(r->notes, "verbose-error-to");
        r->status_line = NULL;
    }
    return outcome;
}

/* The same server, once more if its connection was an old one, and it isn't given up. */
static outcome_t ask(request_rec *r, const farmsync_target_t *target, const char *path, int *status)
{
    proxy_worker *worker = fs_proxy_worker(r, target->url);
    const fs_proxy_request_t *request = fs_proxy_request(r, 1);
    outcome_t outcome;

    if (!worker)
        return UNREACHABLE;
    outcome = attempt(r, target, worker, path, status);
    if (outcome == LOST && request->reused && body_stayed(r, request) &&
        !fs_proxy_is_silent(target->server)) {
        apr_table_setn(r->subprocess_env, FRESH, "1");
        outcome = attempt(r, target, worker, path, status);
    }
    return outcome;
}

/* --- all of them --------------------------------------------------------------------------------
 */

static int try_all(request_rec *r, const farmsync_forward_t *to, const char *path)
{
    for (unsigned i = 0; i < to->count && i < FARMSYNC_TARGETS; i++) {
        const farmsync_target_t *target = &to->targets[i];
        int status = OK, final;
        outcome_t outcome = ask(r, target, path, &status);

        apr_table_setn(r->subprocess_env, "FARMSYNC_FORWARDED", target->server);
        if (outcome == ANSWERED)
            return OK;
        if (outcome == FAILED)
            return status;
        final = outcome == LOST && !may_repeat(r);
        ap_log_rerror(
            APLOG_MARK, APLOG_WARNING, 0, r, "FS1644: %s at %s %s; %s", target->server, target->url,
            outcome == LOST ? "ended the connection without an answer" : "can't be reached",
            final ? "the request may have had its effect, so it isn't repeated"
                  : "the request goes to the next server, or is served here");
        if (to->failed)
            to->failed(r, target);
        if (final)
            return HTTP_BAD_GATEWAY;
    }
    apr_table_unset(r->subprocess_env, "FARMSYNC_FORWARDED");
    return DECLINED;
}

int fs_proxy_forward(request_rec *r, const farmsync_forward_t *to)
{
    const char *path = original_path(r), *fresh = apr_table_get(r->subprocess_env, FRESH);
    ap_conf_vector_t *place = r->per_dir_config;
    int proxyreq = r->proxyreq, result;
    ap_filter_t *filter;

    if (!path || r->method_number == M_CONNECT || proxyreq == PROXYREQ_PROXY)
        return DECLINED;
    filter = ap_add_output_filter_handle(filter_handle, NULL, r, r->connection);
    r->per_dir_config = place_for_proxy(r);
    r->proxyreq = PROXYREQ_REVERSE;
    /* What can't be repeated doesn't go over a connection that may just be ending. */
    if (!is_idempotent(r) && !ap_request_has_body(r))
        apr_table_setn(r->subprocess_env, FRESH, "1");
    result = try_all(r, to, path);
    if (fresh)
        apr_table_setn(r->subprocess_env, FRESH, fresh);
    else
        apr_table_unset(r->subprocess_env, FRESH);
    r->per_dir_config = place;
    if (result != OK) {
        r->proxyreq = proxyreq;
        ap_remove_output_filter(filter);
    }
    if (result == DECLINED)
        fs_proxy_body_give_back(r);
    return result;
}

void fs_proxy_forward_register(apr_pool_t *pool)
{
    APR_OPTIONAL_HOOK(proxy, fixups, add_token, NULL, NULL, APR_HOOK_LAST);
    APR_OPTIONAL_HOOK(proxy, create_req, note_asked, NULL, NULL, APR_HOOK_MIDDLE);
    filter_handle = ap_register_output_filter(NAME, answer_filter, NULL, AP_FTYPE_RESOURCE);
    fs_proxy_body_register();
}
