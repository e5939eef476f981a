/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of routing: every request goes to the servers that TryForward names, in order, with
 * "token-of-NAME" as token. Which ones failed is in X-Failed of the answer. The handler try-body says
 * what it got.
 *
 *   TryForward NAME URL
 */
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>

#include "parts.h"

module AP_MODULE_DECLARE_DATA try_forward_module;

typedef struct place_t {
    farmsync_forward_t to;
} place_t;

static void *create_place(apr_pool_t *pool, char *path)
{
    return apr_pcalloc(pool, sizeof(place_t));
}

static void *merge_place(apr_pool_t *pool, void *outer, void *inner)
{
    return ((place_t *)inner)->to.count ? inner : outer;
}

static const char *set_target(cmd_parms *cmd, void *config, const char *name, const char *url)
{
    farmsync_forward_t *to = &((place_t *)config)->to;

    if (to->count == FARMSYNC_TARGETS)
        return "TryForward: too many";
    to->targets[to->count].server = name;
    to->targets[to->count].url = url;
    to->targets[to->count++].token = apr_pstrcat(cmd->pool, "token-of-", name, NULL);
    return NULL;
}

static void failed(request_rec *r, const farmsync_target_t *target)
{
    apr_table_mergen(r->err_headers_out, "X-Failed", target->server);
}

static int forward(request_rec *r)
{
    const place_t *place = ap_get_module_config(r->per_dir_config, &try_forward_module);
    APR_OPTIONAL_FN_TYPE(farmsync_forward) *send = APR_RETRIEVE_OPTIONAL_FN(farmsync_forward);
    farmsync_forward_t to = place->to;
    int result;

    if (!to.count || r->main || r->prev)
        return DECLINED;
    to.failed = failed;
    result = send(r, &to);
    return result == OK ? DONE : result;
}

/* SetHandler try-body: says how long the body is, and what its bytes add up to. */
static int read_body(request_rec *r)
{
    unsigned long length = 0, sum = 0;
    char buffer[1000];
    long got = 0;

    if (!r->handler || strcmp(r->handler, "try-body"))
        return DECLINED;
    if (ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK))
        return HTTP_BAD_REQUEST;
    if (ap_should_client_block(r))
        while ((got = ap_get_client_block(r, buffer, sizeof(buffer))) > 0)
            for (long i = 0; i < got; i++, length++)
                sum += (unsigned char)buffer[i];
    if (got < 0)
        return HTTP_BAD_REQUEST;
    ap_rprintf(r, "here %lu %lu", length, sum);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    ap_hook_handler(read_body, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_header_parser(forward, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

static const command_rec commands[] = {
    AP_INIT_TAKE2("TryForward", set_target, NULL, RSRC_CONF | ACCESS_CONF, "NAME URL"), {NULL}};

module AP_MODULE_DECLARE_DATA try_forward_module = {
    STANDARD20_MODULE_STUFF, create_place, merge_place, NULL, NULL, commands, register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
