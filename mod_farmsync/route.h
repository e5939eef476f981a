/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing in the request processes: every visitor has a server that is home to him, and another one
 * that stands by.
 *
 *   route_settings  directives             route_visit    who asks, and what is known of him
 *   route_host      page, store and keys   route_decide   where he belongs, and who learns of it
 *   route_arrive    what another server    route_send     sending a request to another server
 *                   said of a request      route_request  the hooks
 *   route_status    status page, metrics
 *
 * Where a visitor belongs is lib/route's arithmetic on the table that the agent publishes; who is
 * home where is in the store that all processes of the host share. A request with a cookie that
 * this thread looked up a moment ago, and whose home this is, needs neither.
 *
 * Nothing here refuses a request that could be served: without a table, a store or an answer of
 * libcrypto it is served here, and nobody's home changes.
 */
#ifndef FS_MOD_ROUTE_H
#define FS_MOD_ROUTE_H

#include <httpd.h>

#include "child.h"
#include "parts.h"
#include "route/fs_route_cookie.h"
#include "route/fs_route_page.h"
#include "route/fs_route_store.h"
#include "route/fs_route_token.h"
#include "route_settings.h"

/* --- route_host ---------------------------------------------------------------------------------
 */

/* What a process has. */
typedef struct fs_routing_host_t {
    server_rec *server; /* the main one */
    const fs_routing_t *routing;
    const char *self; /* this server's name */
    fs_route_keys_t *keys;
    fs_route_page_t *page;
    fs_route_store_t *store;
    APR_OPTIONAL_FN_TYPE(farmsync_forward) * forward;         /* NULL: not loaded */
    APR_OPTIONAL_FN_TYPE(farmsync_session_visitor) * session; /* NULL: not loaded */
} fs_routing_host_t;

/* NULL: this process doesn't route. */
const fs_routing_host_t *fs_routing_host(void);
void fs_routing_host_register(void);
/* In child_init, and from the helper thread each second. */
void fs_routing_child_init(const fs_child_t *child);
void fs_routing_follow(void);
void fs_routing_count(fs_route_count_t what);
/* Logs a failure of the store, once a minute and process. */
void fs_routing_say(const request_rec *r, const fs_result_t *result);

/* --- route_visit --------------------------------------------------------------------------------
 */

/* Where somebody is home, as somebody says. */
typedef struct fs_routing_home_t {
    uint32_t generation; /* 0: he has none */
    char primary[FS_ROUTE_NAME_SIZE];
    char alternate[FS_ROUTE_NAME_SIZE]; /* "" */
} fs_routing_home_t;

/* Who asks; of a main request. */
typedef struct fs_routing_visit_t {
    fs_routing_place_t place;
    fs_route_id_t id;
    enum { FS_ROUTING_NOBODY, FS_ROUTING_COOKIE, FS_ROUTING_TOKEN, FS_ROUTING_NAME } known_by;
    fs_routing_home_t home;
    int here;    /* home is here */
    int moved;   /* home changed with this request */
    int decided; /* all this holds: farmsync_visitor tells it */
    int stored;  /* the store has him just so */
    int expired; /* his cookie is old and nobody knows him any more: his home isn't kept for him */
    int named;   /* he is known without a cookie */
    fs_usec_t made;   /* his cookie, to the minute; 0: it was no cookie */
    const char *what; /* became of the request: the note for logs */
    int told;

    const fs_route_token_t *token; /* with which another server sent him; NULL */
    unsigned hops;                 /* servers that sent the request on */
    int foreign; /* what came as another server's word isn't: the request is routed nowhere */
} fs_routing_visit_t;

/* The text of the visitor's cookie that is his home's here, known since a moment: all that a
 * request at home needs. 1, or 0: look more closely. */
int fs_routing_visit_known(request_rec *r, fs_routing_visit_t *visit);
/* Finds out who it is and what is known of him here. Whoever isn't known gets a random id. */
void fs_routing_visit_find(request_rec *r, fs_routing_visit_t *visit);
/* Puts what the store says in the place of what the visitor's cookie said. */
void fs_routing_visit_follow(fs_routing_visit_t *visit, const fs_route_visitor_t *is);
/* His home is here: gives him the cookie that says so, or, if he has it, notes that it is right as
 * long as the table has this serial. */
void fs_routing_visit_settle(request_rec *r, const fs_routing_visit_t *visit, uint64_t serial);
/* His id, as farmsyncctl client takes it. */
const char *fs_routing_id_text(const request_rec *r, const fs_routing_visit_t *visit);
/* Environment, and note for logs. */
void fs_routing_visit_tell(request_rec *r, fs_routing_visit_t *visit);

/* --- route_arrive -------------------------------------------------------------------------------
 */

#define FS_ROUTING_HEADER    "FarmSync-Route"
#define FS_ROUTING_PARAMETER "farmsync-route"

/* post_read_request: takes the token that another server gave out of the request, before anybody
 * else sees it, and with it the client's address and scheme. */
int fs_routing_arrive(request_rec *r);
/* http_scheme, default_port: of a request that a client sent to the other server over TLS. */
const char *fs_routing_scheme(const request_rec *r);
apr_port_t fs_routing_port(const request_rec *r);

/* --- route_decide -------------------------------------------------------------------------------
 */

typedef struct fs_routing_target_t {
    uint32_t number;
    char name[FS_ROUTE_NAME_SIZE];
    int takes; /* his home can't be reached: this one takes its place */
} fs_routing_target_t;

typedef struct fs_routing_plan_t {
    fs_route_act_t act;
    unsigned count; /* of FS_ROUTE_SEND: who is tried, one after the other */
    fs_routing_target_t to[FARMSYNC_TARGETS];
    int tried; /* connections to them were */
} fs_routing_plan_t;

/* Where the visitor belongs. On FS_ROUTE_SERVE he has his home, and who must learn of it has. */
void fs_routing_decide(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan);
/* Where a balancer in this httpd is to send him: nothing is decided, and nobody learns of it. */
void fs_routing_observe(request_rec *r, fs_routing_visit_t *visit);
/* The request couldn't be sent: this server is his home from now on. */
void fs_routing_adopt(request_rec *r, fs_routing_visit_t *visit);

/* --- route_send ---------------------------------------------------------------------------------
 */

/* Whether requests can be sent on at all from this place. */
int fs_routing_can_send(const fs_routing_visit_t *visit);
/* DONE: it is answered, HTTP_...: the answer, DECLINED: it can't be sent, serve it here. If not
 * even that was tried, for nobody knows where a server is, that says nothing of whether it lives.
 */
int fs_routing_send(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan);

/* --- hooks --------------------------------------------------------------------------------------
 */

void fs_routing_register(void);
void fs_routing_status_register(void);

#endif
