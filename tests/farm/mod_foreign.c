/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody else's module that reads farm data through the optional functions of mod_farmsync.h: all it
 * knows of farmsync is that header. Its handler answers, for test_c_api.py, what they give:
 *
 *   ?get=PATH     ?value=DATASET,COLUMN,KEY,...     ?row=DATASET,KEY,...     ?version=GROUP
 */
#include <string.h>

#include <httpd.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "mod_farmsync.h"

#define PARTS 32

static APR_OPTIONAL_FN_TYPE(farmsync_get) *get;
static APR_OPTIONAL_FN_TYPE(farmsync_value) *value_of;
static APR_OPTIONAL_FN_TYPE(farmsync_row) *row_of;
static APR_OPTIONAL_FN_TYPE(farmsync_version) *version_of;

static void retrieve(void)
{
    get = APR_RETRIEVE_OPTIONAL_FN(farmsync_get);
    value_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_value);
    row_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_row);
    version_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_version);
}

static unsigned split(char *list, const char *parts[PARTS])
{
    unsigned count = 0;

    for (;;) {
        char *comma = strchr(list, ',');

        parts[count++] = list;
        if (!comma || count == PARTS)
            return count;
        *comma = '\0';
        list = comma + 1;
    }
}

static int say_value(request_rec *r, int code, const char *value, apr_size_t length)
{
    ap_rprintf(r, "%d %s %" APR_SIZE_T_FMT " ", code, value ? "value" : "null", length);
    if (value) {
        ap_rwrite(value, (int)length, r);
        ap_rprintf(r, " %d", value[length]); /* 0: it is followed by a NUL */
    }
    return OK;
}

static int say_column(void *baton, const char *name, const char *value, apr_size_t length)
{
    request_rec *r = baton;

    ap_rprintf(r, "%s=%s;", name, value ? apr_pstrmemdup(r->pool, value, length) : "NULL");
    return !strcmp(name, "note"); /* that is enough */
}

static int handler(request_rec *r)
{
    const char *parts[PARTS], *value = "untouched";
    apr_size_t length = 4711;
    char *argument;
    unsigned count;
    int code;

    if (!r->handler || strcmp(r->handler, "foreign") != 0)
        return DECLINED;
    ap_set_content_type(r, "text/plain");
    if (!get || !value_of || !row_of || !version_of) {
        ap_rputs("no farmsync", r);
        return OK;
    }
    argument = r->args ? strchr(r->args, '=') : NULL;
    if (!argument)
        return HTTP_BAD_REQUEST;
    *argument++ = '\0';
    if (!strcmp(r->args, "get")) {
        code = get(r, argument, &value, &length);
        return say_value(r, code, value, length);
    }
    if (!strcmp(r->args, "version")) {
        ap_rprintf(r, "%" APR_INT64_T_FMT, version_of(r, argument));
        return OK;
    }
    count = split(argument, parts);
    if (!strcmp(r->args, "value") && count > 1) {
        code = value_of(r, parts[0], parts + 2, NULL, count - 2, parts[1], &value, &length);
        return say_value(r, code, value, length);
    }
    if (!strcmp(r->args, "row")) {
        code = row_of(r, parts[0], parts + 1, NULL, count - 1, say_column, r);
        ap_rprintf(r, "%d", code);
        return OK;
    }
    return HTTP_BAD_REQUEST;
}

static void hooks(apr_pool_t *pool)
{
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA foreign_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
