/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_session_farmsync: sessions that outlive their server, as a provider of mod_session. Only
 * hooks here; each concern has its own file.
 *
 *   session_settings  directives           session_request  from the cookie to the session
 *   session_host      store, keys          session_find     looking it up
 *   session_cookie    cookies              session_change   what a request changed
 *   session_ask       the agent            session_save     storing it
 *   session_rest      SetHandler           session_reply    Set-Cookie, wishes of applications
 *   session_status    status, metrics      session_counters, session_say
 *
 * A module of its own, beside mod_farmsync, because the hooks of mod_session are symbols of that,
 * which must be loaded before.
 */
#include "session_module.h"

#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

#include "session_request.h"
#include "session_rest.h"
#include "session_status.h"
#include "session_visitor.h"

/* --- mod_session --------------------------------------------------------------------------------
 */

static apr_status_t session_load(request_rec *r, session_rec **z)
{
    fs_session_request_t *session = fs_session_load(r);

    if (!session)
        return DECLINED;
    fs_session_spare(r, session);
    *z = session->z;
    return OK;
}

static apr_status_t session_save(request_rec *r, session_rec *z)
{
    fs_session_request_t *session = fs_session_load(r);

    if (!session)
        return DECLINED;
    fs_session_replace(session, z);
    fs_session_save(r, session);
    return OK;
}

static apr_status_t session_decode(request_rec *r, session_rec *z)
{
    fs_session_decoded(r, z);
    return OK;
}

/* --- before, and when the response begins --------------------------------------------------------
 */

/* Is this the page that says that something went wrong? */
static int is_error_page(const request_rec *r)
{
    return r->prev && r->prev->status >= HTTP_BAD_REQUEST;
}

/*
 * mod_session goes on without a session whatever a provider answers. So where a request isn't to be
 * served without, its session is looked up before, when an error still counts.
 */
static int refuse_early(request_rec *r)
{
    const fs_session_place_t *place = fs_session_place(r);
    const fs_session_request_t *session;

    if (!place->cookie ||
        (place->on_unknown == FS_SESSION_UNKNOWN_NEW && place->lock != FS_SESSION_LOCK_EXCLUSIVE) ||
        !fs_session_is_on(r) || is_error_page(r))
        return DECLINED;
    session = fs_session_load(r);
    if (!session->late &&
        !(session->rules.refuse_unknown && session->found.what == FS_SESSION_FOUND_UNANSWERED))
        return DECLINED;
    apr_table_setn(r->err_headers_out, "Retry-After", "1");
    return HTTP_SERVICE_UNAVAILABLE;
}

/* Whether what was saved isn't kept as it was to be. A page that says so is sent as it is. */
static int is_unsure(request_rec *r)
{
    int unsure = 0;

    for (fs_session_request_t *session = fs_session_loaded(r); session; session = session->next) {
        unsure |= session->unsure;
        session->unsure = 0;
    }
    return unsure && r->status < HTTP_BAD_REQUEST && !is_error_page(r);
}

/*
 * Nothing of the answer was sent yet: an error page takes its place. Not by an error bucket: the
 * header filter forgets err_headers_out, and with it Retry-After and the cookie, before it sees
 * that.
 */
static apr_status_t refuse_late(request_rec *r, apr_bucket_brigade *brigade)
{
    apr_brigade_cleanup(brigade);
    apr_table_setn(r->err_headers_out, "Retry-After", "1");
    ap_die(HTTP_SERVICE_UNAVAILABLE, r);
    return AP_FILTER_ERROR;
}

/* Behind mod_session's own filter, which may save when the first of the response comes by. */
static apr_status_t out_filter(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    request_rec *r = filter->r;

    for (fs_session_request_t *session = fs_session_loaded(r); session; session = session->next)
        fs_session_finish(r, session);
    ap_remove_output_filter(filter);
    return is_unsure(r) ? refuse_late(r, brigade) : ap_pass_brigade(filter->next, brigade);
}

#define FILTER_NAME "FARMSYNC_SESSION_OUT"

static ap_filter_rec_t *out_filter_handle;
static const ap_filter_rec_t *mod_session_filter;

/* Has mod_session's filter nothing to do? It is inserted with each request. */
static int is_spared(request_rec *r)
{
    const fs_session_request_t *session = fs_session_loaded(r);

    return session && !session->next && session->spared && !r->prev && fs_session_place(r)->cookie;
}

static void remove_mod_session_filter(request_rec *r)
{
    ap_filter_t *filter = r->output_filters;

    while (filter && filter->frec != mod_session_filter)
        filter = filter->next;
    if (filter)
        ap_remove_output_filter(filter);
}

static void insert_filters(request_rec *r)
{
    if (r->main || !(fs_session_place(r)->cookie || fs_session_loaded(r)))
        return;
    if (is_spared(r))
        remove_mod_session_filter(r);
    ap_add_output_filter_handle(out_filter_handle, NULL, r, r->connection);
}

static int finish_late(request_rec *r)
{
    for (fs_session_request_t *session = fs_session_loaded(r); session; session = session->next)
        fs_session_finish_late(r, session);
    return DECLINED;
}

/* --- configuration ------------------------------------------------------------------------------
 */

/* After mod_farmsync's, whose settings are complete then. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    const char *problem = fs_session_complete(pconf, server);
    APR_OPTIONAL_FN_TYPE(farmsync_agent_member) *add =
        APR_RETRIEVE_OPTIONAL_FN(farmsync_agent_member);
    fs_session_farm_t *farm = fs_session_farm(server);

    if (problem) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, server, "%s", problem);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!farm->used || !farm->bank)
        return OK;
    add(server, "sessions", fs_session_agent_json(pconf, farm), farm->bank->nelts > 0);
    fs_session_complete(pconf, server); /* now there may be a reason for an agent */
    return OK;
}

/* Only a server that is going to run prepares its store, before mod_farmsync starts the agent. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    mod_session_filter = ap_get_output_filter_handle("MOD_SESSION_OUT");
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_CONFIG &&
        ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_NORMAL)
        return fs_session_host_prepare(pconf, server);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    static const char *const after_mod_session[] = {"mod_session.c", NULL};

    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_init(fs_session_host_child_init, NULL, NULL, APR_HOOK_LAST);
    ap_hook_session_load(session_load, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_session_save(session_save, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_session_decode(session_decode, after_mod_session, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_header_parser(refuse_early, NULL, NULL, APR_HOOK_MIDDLE);
    out_filter_handle =
        ap_register_output_filter(FILTER_NAME, out_filter, NULL, AP_FTYPE_CONTENT_SET + 1);
    ap_hook_insert_filter(insert_filters, after_mod_session, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(insert_filters, after_mod_session, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(fs_session_rest, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(finish_late, NULL, NULL, APR_HOOK_FIRST);
    fs_session_visitor_register();
    APR_OPTIONAL_HOOK(farmsync, farmsync_section, fs_session_section, NULL, NULL, APR_HOOK_MIDDLE);
}

__attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA session_farmsync_module = {
    STANDARD20_MODULE_STUFF, fs_session_create_place, fs_session_merge_place,
    fs_session_create_farm,  fs_session_merge_farm,   fs_session_commands,
    register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
