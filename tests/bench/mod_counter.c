/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application of the session benchmarks and of the loss harness: a module that keeps numbers in
 * the visitor's session through mod_session's own functions, so that the very same code runs over
 * mod_session_cookie, mod_session_dbd and mod_session_farmsync.
 *
 * Handler "counter", the act is the last part of the path, names and values are [A-Za-z0-9_-]+:
 *
 *   get?KEY            the value, or "-"
 *   add?KEY[&MS]       value + 1, after as many milliseconds between reading and writing
 *   put?KEY=VALUE      the value that was there before, or "-"
 *   mark?KEY           sets KEY to 1; the keys that were there before, one a line
 *   all                KEY=VALUE, one a line
 *   end                takes everything out, as a logout does
 *
 * On other requests, a static page say: "?read" reads the entry "data", "?write" replaces it by 1 KiB
 * that was never there before.
 */
#include <string.h>

#include <httpd.h>
#include <apr_atomic.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_session.h>
#include <unistd.h>

#define WRITTEN_BYTES 1024
#define MOST_MS 10000

static APR_OPTIONAL_FN_TYPE(ap_session_load) *session_load;
static APR_OPTIONAL_FN_TYPE(ap_session_get) *session_get;
static APR_OPTIONAL_FN_TYPE(ap_session_set) *session_set;

static apr_uint32_t written;
static unsigned process;

static void retrieve(void)
{
    session_load = APR_RETRIEVE_OPTIONAL_FN(ap_session_load);
    session_get = APR_RETRIEVE_OPTIONAL_FN(ap_session_get);
    session_set = APR_RETRIEVE_OPTIONAL_FN(ap_session_set);
}

static session_rec *session_of(request_rec *r)
{
    session_rec *session = NULL;

    if (!session_load || session_load(r, &session) != APR_SUCCESS)
        return NULL;
    return session;
}

static const char *value_of(request_rec *r, session_rec *session, const char *key)
{
    const char *value = NULL;

    session_get(r, session, key, &value);
    return value;
}

static int add(request_rec *r, session_rec *session)
{
    char *hold = strchr(r->args, '&');
    const char *value;
    apr_int64_t number;

    if (hold)
        *hold++ = '\0';
    value = value_of(r, session, r->args);
    number = value ? apr_atoi64(value) : 0;
    if (hold) {
        apr_int64_t ms = apr_atoi64(hold);

        if (ms > 0)
            apr_sleep((ms < MOST_MS ? ms : MOST_MS) * 1000);
    }
    value = apr_psprintf(r->pool, "%" APR_INT64_T_FMT, number + 1);
    if (session_set(r, session, r->args, value) != APR_SUCCESS)
        return HTTP_INTERNAL_SERVER_ERROR;
    ap_rputs(value, r);
    return OK;
}

static int put(request_rec *r, session_rec *session)
{
    char *value = strchr(r->args, '=');
    const char *before;

    if (!value)
        return HTTP_BAD_REQUEST;
    *value++ = '\0';
    before = value_of(r, session, r->args);
    before = before ? apr_pstrdup(r->pool, before) : "-";
    if (session_set(r, session, r->args, value) != APR_SUCCESS)
        return HTTP_INTERNAL_SERVER_ERROR;
    ap_rputs(before, r);
    return OK;
}

static int say_entry(void *baton, const char *key, const char *value)
{
    ap_rprintf(baton, "%s=%s\n", key, value);
    return 1;
}

static int say_key(void *baton, const char *key, const char *value)
{
    ap_rprintf(baton, "%s\n", key);
    return 1;
}

static int mark(request_rec *r, session_rec *session)
{
    apr_table_do(say_key, r, session->entries, NULL);
    return session_set(r, session, r->args, "1") == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

static int end(request_rec *r, session_rec *session)
{
    const apr_array_header_t *entries = apr_table_elts(session->entries);
    const apr_table_entry_t *entry = (const apr_table_entry_t *)entries->elts;
    const char **keys = apr_palloc(r->pool, sizeof(*keys) * (size_t)entries->nelts);
    int count = entries->nelts;

    for (int i = 0; i < count; i++)
        keys[i] = entry[i].key;
    for (int i = 0; i < count; i++)
        session_set(r, session, keys[i], NULL);
    ap_rputs("ended", r);
    return OK;
}

static int handler(request_rec *r)
{
    session_rec *session;
    const char *act;

    if (!r->handler || strcmp(r->handler, "counter") != 0)
        return DECLINED;
    ap_set_content_type(r, "text/plain");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    session = session_of(r);
    if (!session)
        return HTTP_SERVICE_UNAVAILABLE;
    act = strrchr(r->uri, '/');
    act = act ? act + 1 : r->uri;
    if (!strcmp(act, "all")) {
        apr_table_do(say_entry, r, session->entries, NULL);
        return OK;
    }
    if (!strcmp(act, "end"))
        return end(r, session);
    if (!r->args || !*r->args)
        return HTTP_BAD_REQUEST;
    if (!strcmp(act, "add"))
        return add(r, session);
    if (!strcmp(act, "put"))
        return put(r, session);
    if (!strcmp(act, "mark"))
        return mark(r, session);
    if (!strcmp(act, "get")) {
        const char *value = value_of(r, session, r->args);

        ap_rputs(value ? value : "-", r);
        return OK;
    }
    return HTTP_NOT_FOUND;
}

static int fixup(request_rec *r)
{
    session_rec *session;

    if (!ap_is_initial_req(r) || !r->args || (strcmp(r->args, "read") && strcmp(r->args, "write")))
        return DECLINED;
    session = session_of(r);
    if (!session)
        return DECLINED;
    if (!strcmp(r->args, "read")) {
        const char *value = value_of(r, session, "data");

        return value && strlen(value) >= 16 ? DECLINED : HTTP_GONE;
    } else {
        char *value = apr_palloc(r->pool, WRITTEN_BYTES + 1);

        memset(value, 'x', WRITTEN_BYTES);
        value[WRITTEN_BYTES] = '\0';
        apr_snprintf(value, 24, "%08x%08x-", process, apr_atomic_inc32(&written));
        value[strlen(value)] = 'x';
        session_set(r, session, "data", value);
    }
    return DECLINED;
}

static void child_init(apr_pool_t *pool, server_rec *server)
{
    process = (unsigned)getpid();
}

static void hooks(apr_pool_t *pool)
{
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(fixup, NULL, NULL, APR_HOOK_LAST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA counter_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
