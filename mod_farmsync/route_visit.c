/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks. A visitor is known by the token of the server that sent him here, by his cookie, by
 * what the administrator named (FarmSyncRouteVisitor), or by his session; else he is new.
 *
 * Two may say where he is home: he himself, by his cookie, and this host's store. Whatever is later
 * holds: the store may not have heard yet of what a cookie says, and a cookie may be an old one.
 */
#include <inttypes.h>
#include <string.h>

#include <apr_escape.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "avail_state.h"
#include "base/fs_known.h"
#include "module.h"
#include "request.h"
#include "route.h"
#include "view.h"

#define COOKIES_TRIED 8                       /* of our name, in one request */
#define KNOWN_SPAN    apr_time_from_sec(60)   /* for which a look into the store holds */
#define KNOWN_SHARE   16                      /* of `idle`, if that is less: he is seen meanwhile */
#define KNOWN_PLACES  256                     /* a thread */
#define RENEW_SPAN    (600 * FS_USEC_PER_SEC) /* after which a cookie that ends is given again */
#define TEXT_SIZE     FS_ROUTE_TEXT_SIZE(FS_ROUTE_COOKIE_BYTES)

/* --- cookies that this thread knows -------------------------------------------------------------
 */

typedef struct known_t {
    fs_route_cookie_t cookie;
    uint64_t serial;   /* of the table, when its home was found to be here; 0: it wasn't */
    apr_time_t looked; /* then */
} known_t;

static const fs_known_shape_t shape = {KNOWN_PLACES, TEXT_SIZE, sizeof(known_t)};
static _Thread_local fs_known_memory_t
    memory[FS_KNOWN_MEMORY(KNOWN_PLACES, TEXT_SIZE, sizeof(known_t))];

/* The next cookie of that name; the part that is signed. */
static int next_cookie(const char **at, const fs_routing_visit_t *visit, const char **text,
                       size_t *length)
{
    if (!*at || !fs_cookie_next(at, visit->place.cookie->name, text, length))
        return 0;
    *length = fs_route_cookie_signed(*text, *length);
    return 1;
}

static void take_cookie(fs_routing_visit_t *visit, const fs_route_cookie_t *cookie)
{
    visit->known_by = FS_ROUTING_COOKIE;
    visit->id = cookie->id;
    visit->made = fs_route_cookie_made(cookie);
    visit->home.generation = cookie->generation;
    memcpy(visit->home.primary, cookie->primary, sizeof(cookie->primary));
    memcpy(visit->home.alternate, cookie->alternate, sizeof(cookie->alternate));
}

/* Whoever gives up visitors of this server gives the table a new serial; but that they come must be
 * noted now and then. */
static int holds(const known_t *known, apr_time_t now)
{
    const fs_routing_host_t *host = fs_routing_host();
    apr_time_t age = now - known->looked,
               share = apr_time_from_sec(host->routing->idle_s) / KNOWN_SHARE;

    return known->serial && known->serial == fs_route_page_serial(host->page) && age >= 0 &&
           age < (share < KNOWN_SPAN ? share : KNOWN_SPAN);
}

int fs_routing_visit_known(request_rec *r, fs_routing_visit_t *visit)
{
    const fs_routing_host_t *host = fs_routing_host();
    const char *at = apr_table_get(r->headers_in, "Cookie"), *text;
    size_t length;
    known_t known;

    if (!next_cookie(&at, visit, &text, &length) ||
        !fs_known_find(&shape, memory, fs_route_keys_epoch(host->keys), text, length, &known) ||
        !holds(&known, r->request_time))
        return 0;
    take_cookie(visit, &known.cookie);
    visit->here = visit->stored = visit->decided = 1;
    return 1;
}

/* Of this farm: by what this thread knows, or by its signature. */
static int read_cookie(const char *text, size_t length, fs_route_cookie_t *cookie)
{
    const fs_route_keys_t *keys = fs_routing_host()->keys;
    known_t known = {0};

    if (!fs_known_find(&shape, memory, fs_route_keys_epoch(keys), text, length, &known)) {
        if (fs_route_cookie_read(keys, text, length, &known.cookie))
            return 0;
        fs_known_add(&shape, memory, fs_route_keys_epoch(keys), text, length, &known);
    }
    *cookie = known.cookie;
    return 1;
}

/* --- finding out who it is ----------------------------------------------------------------------
 */

static int by_token(fs_routing_visit_t *visit)
{
    const fs_route_token_t *token = visit->token;

    if (!token)
        return 0;
    visit->known_by = FS_ROUTING_TOKEN;
    visit->id = token->id;
    visit->home.generation = *token->primary ? token->generation : 0;
    memcpy(visit->home.primary, token->primary, sizeof(token->primary));
    memcpy(visit->home.alternate, token->alternate, sizeof(token->alternate));
    visit->named = (token->flags & FS_ROUTE_TOKEN_NAMED) != 0;
    return 1;
}

/* The first one that was made by this farm; any other is as if it weren't there. */
static int by_cookie(const request_rec *r, fs_routing_visit_t *visit)
{
    const char *at = apr_table_get(r->headers_in, "Cookie"), *text;
    fs_route_cookie_t cookie;
    int foreign = 0;
    size_t length;

    for (unsigned tried = 0; tried < COOKIES_TRIED; tried++) {
        if (!next_cookie(&at, visit, &text, &length))
            break;
        if (read_cookie(text, length, &cookie)) {
            take_cookie(visit, &cookie);
            return 1;
        }
        foreign = 1;
    }
    if (foreign) {
        fs_routing_count(FS_ROUTE_COUNT_COOKIE_FORGED);
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r,
                      "FS1657: a cookie isn't one that this farm made with a key that it has, so "
                      "who brings it is new");
    }
    return 0;
}

/* What the administrator says that visitors are known by, or their session. */
static const char *name_of(request_rec *r, const fs_routing_visit_t *visit, size_t *length)
{
    unsigned char *session = apr_palloc(r->pool, FARMSYNC_VISITOR_BYTES);
    const char *error = NULL, *text = NULL;

    if (visit->place.visitor)
        text = ap_expr_str_exec(r, visit->place.visitor, &error);
    if (text && !error && *text) {
        *length = strlen(text);
        return text;
    }
    if (!fs_routing_host()->session || !fs_routing_host()->session(r, session))
        return NULL;
    *length = FARMSYNC_VISITOR_BYTES;
    return (const char *)session;
}

void fs_routing_visit_follow(fs_routing_visit_t *visit, const fs_route_visitor_t *is)
{
    visit->home.generation = is->generation;
    apr_cpystrn(visit->home.primary, is->primary, sizeof(visit->home.primary));
    apr_cpystrn(visit->home.alternate, is->alternate, sizeof(visit->home.alternate));
    visit->stored = 1;
    visit->expired = 0;
}

/* What the store knows of the id; 0 nothing. */
static int look_up(const request_rec *r, const fs_routing_visit_t *visit, fs_route_visitor_t *is)
{
    fs_result_t result;
    apr_status_t status =
        fs_route_store_find(fs_routing_host()->store, visit->id.bytes, is, &result);

    if (status != APR_SUCCESS && status != APR_NOTFOUND)
        fs_routing_say(r, &result);
    return status == APR_SUCCESS;
}

/* While the farm changes its key, he may be known by the other one. */
static int by_name(request_rec *r, fs_routing_visit_t *visit)
{
    const fs_route_keys_t *keys = fs_routing_host()->keys;
    fs_route_visitor_t is;
    fs_route_id_t id;
    size_t length;
    const char *name = name_of(r, visit, &length);

    if (!name || fs_route_id_of(&id, keys, 0, name, length))
        return 0;
    visit->known_by = FS_ROUTING_NAME;
    visit->named = 1;
    for (unsigned key = 0; key < fs_route_keys_count(keys); key++)
        if (!fs_route_id_of(&visit->id, keys, key, name, length) && look_up(r, visit, &is)) {
            fs_routing_visit_follow(visit, &is);
            return 1;
        }
    visit->id = id;
    return 1;
}

/* Whether the cookie is so old that who had it would be forgotten everywhere. */
static int is_old(const fs_routing_visit_t *visit)
{
    return visit->made && fs_avail_now() - visit->made >
                              (fs_routing_host()->routing->idle_s + 60) * FS_USEC_PER_SEC;
}

/* The later one of what he says and what the store says. */
static void compare(const request_rec *r, fs_routing_visit_t *visit)
{
    fs_route_visitor_t says = {.primary = visit->home.primary,
                               .alternate = visit->home.alternate,
                               .former = "",
                               .generation = visit->home.generation};
    fs_route_visitor_t is;
    int order;

    memcpy(says.id, visit->id.bytes, sizeof(says.id));
    if (!look_up(r, visit, &is)) {
        visit->expired = visit->known_by == FS_ROUTING_COOKIE && is_old(visit);
        if (visit->expired)
            fs_routing_count(FS_ROUTE_COUNT_COOKIE_EXPIRED);
        return;
    }
    order = visit->home.generation ? fs_route_visitor_compare(&is, &says) : 1;
    visit->stored = order == 0;
    if (order <= 0)
        return;
    if (visit->known_by == FS_ROUTING_COOKIE)
        fs_routing_count(FS_ROUTE_COUNT_COOKIE_STALE);
    if (APLOGrdebug(r) && strcmp(is.primary, visit->home.primary) != 0)
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r,
                      "FS1658: visitor %s says that his home is %s (generation %" PRIu32
                      "); known is %s (generation %" PRIu32 ")",
                      fs_routing_id_text(r, visit),
                      *visit->home.primary ? visit->home.primary : "nowhere",
                      visit->home.generation, is.primary, is.generation);
    fs_routing_visit_follow(visit, &is);
}

void fs_routing_visit_find(request_rec *r, fs_routing_visit_t *visit)
{
    if (by_token(visit) || by_cookie(r, visit)) {
        compare(r, visit);
        return;
    }
    if (by_name(r, visit))
        return;
    visit->known_by = FS_ROUTING_NOBODY;
    if (fs_route_id_random(&visit->id))
        visit->foreign = 1; /* nobody can be told apart: it is served */
}

/* --- telling ------------------------------------------------------------------------------------
 */

/* Caches in between must not give one visitor's cookie to another. */
static void give_cookie(request_rec *r, const fs_routing_visit_t *visit)
{
    int tls = !strcmp(ap_http_scheme(r), "https");
    fs_route_cookie_t cookie = {.id = visit->id, .generation = visit->home.generation};
    char text[FS_ROUTE_COOKIE_SIZE];

    cookie.made = fs_route_cookie_minutes(fs_avail_now());
    memcpy(cookie.primary, visit->home.primary, sizeof(cookie.primary));
    memcpy(cookie.alternate, visit->home.alternate, sizeof(cookie.alternate));
    if (fs_route_cookie_write(fs_routing_host()->keys, &cookie, text))
        return;
    apr_table_addn(r->err_headers_out, "Set-Cookie",
                   fs_cookie_text(visit->place.cookie, text, tls, r->pool));
    apr_table_mergen(r->err_headers_out, "Cache-Control", "private");
}

static int says_the_same(const fs_route_cookie_t *cookie, const fs_routing_visit_t *visit)
{
    return !memcmp(cookie->id.bytes, visit->id.bytes, sizeof(visit->id.bytes)) &&
           cookie->generation == visit->home.generation &&
           !strcmp(cookie->primary, visit->home.primary) &&
           !strcmp(cookie->alternate, visit->home.alternate);
}

/* One that ends by itself is given again in time. */
static int ends_soon(const fs_routing_visit_t *visit, const fs_route_cookie_t *cookie)
{
    return visit->place.cookie->lasts && fs_avail_now() - fs_route_cookie_made(cookie) > RENEW_SPAN;
}

void fs_routing_visit_settle(request_rec *r, const fs_routing_visit_t *visit, uint64_t serial)
{
    const char *at = apr_table_get(r->headers_in, "Cookie"), *text;
    known_t known = {.serial = serial, .looked = r->request_time};
    size_t length;

    for (unsigned tried = 0; tried < COOKIES_TRIED; tried++) {
        if (!next_cookie(&at, visit, &text, &length))
            break;
        if (!read_cookie(text, length, &known.cookie))
            continue;
        if (!says_the_same(&known.cookie, visit) || ends_soon(visit, &known.cookie))
            break;
        if (!tried) /* only the first one is looked at next time */
            fs_known_add(&shape, memory, fs_route_keys_epoch(fs_routing_host()->keys), text, length,
                         &known);
        return;
    }
    if (!visit->named || visit->moved)
        give_cookie(r, visit);
}

const char *fs_routing_id_text(const request_rec *r, const fs_routing_visit_t *visit)
{
    return apr_pescape_hex(r->pool, visit->id.bytes, sizeof(visit->id.bytes), 0);
}

/* Names that are nobody else's, so that nothing need be looked for before they are added. */
void fs_routing_visit_tell(request_rec *r, fs_routing_visit_t *visit)
{
    if (visit->told)
        apr_table_unset(r->notes, "farmsync-route");
    visit->told = 1;
    if (visit->what)
        apr_table_addn(r->notes, "farmsync-route", visit->what);
    if (!visit->decided)
        return;
    apr_table_addn(r->subprocess_env, "FARMSYNC_ROUTE", visit->home.primary);
    if (*visit->home.alternate)
        apr_table_addn(r->subprocess_env, "FARMSYNC_ALTERNATE", visit->home.alternate);
    if (visit->moved)
        apr_table_addn(r->subprocess_env, "FARMSYNC_ROUTE_CHANGED", "1");
}
