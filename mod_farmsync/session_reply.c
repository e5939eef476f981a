/* SPDX-License-Identifier: Apache-2.0 */
#include "session_reply.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "session_module.h"

#define WISH_HEADER "FarmSync-Session"
#define WISH_NAME   "farmsync-session"

static fs_session_wish_t wish_of(const char *text)
{
    return !text                        ? FS_SESSION_WISH_NONE
           : !strcasecmp(text, "renew") ? FS_SESSION_WISH_RENEW
           : !strcasecmp(text, "end")   ? FS_SESSION_WISH_END
                                        : FS_SESSION_WISH_NONE;
}

static fs_session_wish_t wish_in(request_rec *r)
{
    fs_session_wish_t header = wish_of(apr_table_get(r->headers_out, WISH_HEADER));
    fs_session_wish_t note = wish_of(apr_table_get(r->notes, WISH_NAME));
    fs_session_wish_t variable = wish_of(apr_table_get(r->subprocess_env, WISH_NAME));

    if (!header)
        header = wish_of(apr_table_get(r->err_headers_out, WISH_HEADER));
    apr_table_unset(r->headers_out, WISH_HEADER);
    apr_table_unset(r->err_headers_out, WISH_HEADER);
    return header > note ? (header > variable ? header : variable)
                         : (note > variable ? note : variable);
}

fs_session_wish_t fs_session_wish(request_rec *r, request_rec *first)
{
    fs_session_wish_t wish = wish_in(r), other;

    if (r == first)
        return wish;
    other = wish_in(first);
    return wish > other ? wish : other;
}

typedef struct keeping_t {
    const char *name;
    size_t length;
    apr_array_header_t *others;
} keeping_t;

static int keep_other(void *baton, const char *key, const char *value)
{
    keeping_t *keeping = baton;

    if (strncmp(value, keeping->name, keeping->length) || value[keeping->length] != '=')
        APR_ARRAY_PUSH(keeping->others, const char *) = value;
    return 1;
}

static void take_away(apr_table_t *headers, const char *name, apr_pool_t *pool)
{
    keeping_t keeping = {name, strlen(name), NULL};

    if (!apr_table_get(headers, "Set-Cookie"))
        return;
    keeping.others = apr_array_make(pool, 4, sizeof(const char *));
    apr_table_do(keep_other, &keeping, headers, "Set-Cookie", NULL);
    apr_table_unset(headers, "Set-Cookie");
    for (int i = 0; i < keeping.others->nelts; i++)
        apr_table_addn(headers, "Set-Cookie", APR_ARRAY_IDX(keeping.others, i, const char *));
}

void fs_session_set_cookie(request_rec *r, const fs_cookie_t *cookie, const char *id)
{
    int tls;

    while (r->main)
        r = r->main;
    tls = !strcmp(ap_http_scheme(r), "https");
    take_away(r->err_headers_out, cookie->name, r->pool);
    apr_table_addn(r->err_headers_out, "Set-Cookie", fs_cookie_text(cookie, id, tls, r->pool));
}
