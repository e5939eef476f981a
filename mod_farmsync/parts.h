/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mod_farmsync and the modules that build on it (mod_session_farmsync) have for each other.
 *
 * All of it are optional functions and an optional hook, so that the modules may be loaded in any
 * order. They are of one release: nothing here is promised to others (mod_farmsync.h is).
 */
#ifndef FS_PARTS_H
#define FS_PARTS_H

#include <apr_hooks.h>
#include <apr_optional.h>
#include <apr_optional_hooks.h>
#include <httpd.h>

/* What the directives of mod_farmsync say, defaults filled in. */
typedef struct farmsync_host_t {
    const char *server;
    const char *state_dir; /* NULL: there is no default here, and configtest says so */
    const char *key_file;  /* NULL: none */
    const apr_array_header_t *data_servers; /* of const char *, base URLs */
    int agent;                              /* httpd starts an agent */
    int route;          /* FarmSyncRoute is On somewhere */
    int alternate_sync; /* FarmSyncAlternateSync: each so many changes; 0: at the end */
} farmsync_host_t;

/* From check_config at APR_HOOK_LAST on; in `pool`. */
APR_DECLARE_OPTIONAL_FN(const farmsync_host_t *, farmsync_host,
                        (server_rec * main_server, apr_pool_t *pool));

/*
 * Adds a member to agent.json: call it in check_config at APR_HOOK_LAST. `needed`: an agent is of
 * use for that alone.
 */
APR_DECLARE_OPTIONAL_FN(void, farmsync_agent_member,
                        (server_rec * main_server, const char *name, const char *json, int needed));

/* Makes the state directory and gives it to httpd's user: in post_config, for who needs it before
 * the agent starts. Errors: FS0013, FS0650, in `result` (an fs_result_t). */
struct fs_result_t;
APR_DECLARE_OPTIONAL_FN(apr_status_t, farmsync_make_state_dir,
                        (server_rec * main_server, struct fs_result_t *result));

/* Farm time in microseconds, in a child; 0 if it isn't known. Any thread. */
APR_DECLARE_OPTIONAL_FN(apr_int64_t, farmsync_time, (void));

/* --- routing ------------------------------------------------------------------------------------
 */

#define FARMSYNC_VISITOR_BYTES 12

/* Who asks, where FarmSyncRoute is on. Names are the request's, or constant. */
typedef struct farmsync_visitor_t {
    unsigned char id[FARMSYNC_VISITOR_BYTES];
    const char *primary;   /* the server that is home to him */
    const char *alternate; /* NULL: there is no other server */
    apr_uint32_t generation;
    int here;  /* this server is his home */
    int moved; /* his home or his alternate changed with this request */
} farmsync_visitor_t;

/* From header_parser on (routing runs there as APR_HOOK_REALLY_FIRST); 0: the request has none. Any
 * request of a chain of subrequests and internal redirects gives that of the main request. */
APR_DECLARE_OPTIONAL_FN(int, farmsync_visitor, (request_rec * r, farmsync_visitor_t *visitor));

/*
 * The first 96 bits of the visitor's session, by the session cookies that the request brings; 0: it
 * has none. Looks nothing up. mod_session_farmsync.
 */
APR_DECLARE_OPTIONAL_FN(int, farmsync_session_visitor,
                        (request_rec * r, unsigned char bytes[FARMSYNC_VISITOR_BYTES]));

/* The name of the affinity cookie where FarmSyncRoute is On and FarmSyncRouteBy balancer; else
 * NULL. */
APR_DECLARE_OPTIONAL_FN(const char *, farmsync_balancer_cookie, (request_rec * r));

typedef struct farmsync_target_t {
    const char *server; /* its name */
    const char *url;    /* http://host:port or https://host:port, of its FarmSyncRouteURL */
    const char *token;  /* value of the header FarmSync-Route of the request that goes there */
} farmsync_target_t;

#define FARMSYNC_TARGETS 2

typedef struct farmsync_forward_t {
    unsigned count;
    farmsync_target_t targets[FARMSYNC_TARGETS]; /* in this order */
    /* To be called when no connection to a target can be made, before the next one is tried. */
    void (*failed)(request_rec *r, const farmsync_target_t *target);
} farmsync_forward_t;

/*
 * Sends the request on and brings the answer, all of it, in header_parser, so that neither
 * authentication nor sessions nor filters of this server see it: they run at the target. OK: it is
 * answered; HTTP_...: it is to be answered with that error; DECLINED: no connection could be made
 * and nothing of the body was read, so it is to be served here. mod_proxy_farmsync.
 */
APR_DECLARE_OPTIONAL_FN(int, farmsync_forward, (request_rec * r, const farmsync_forward_t *to));

/* The name of the affinity cookie where FarmSyncRouteBy is balancer; NULL elsewhere. */
APR_DECLARE_OPTIONAL_FN(const char *, farmsync_balancer_cookie, (request_rec * r));

/* --- status -------------------------------------------------------------------------------------
 */

typedef enum farmsync_form_t {
    FARMSYNC_HTML,    /* of the handler farmsync-status: <h2> and what belongs below it */
    FARMSYNC_JSON,    /* one member of the object: "name":value */
    FARMSYNC_METRICS, /* Prometheus text, whole lines */
    FARMSYNC_REPORT,  /* of /server-status: HTML */
    FARMSYNC_AUTO,    /* of /server-status?auto: lines "Key: value" */
    FARMSYNC_DUMP     /* of DUMP_FARMSYNC: settings, lines as "  Directive value" */
} farmsync_form_t;

/*
 * Optional hook: pushes a text onto `sections` (of const char *), or nothing.
 *   APR_OPTIONAL_HOOK(farmsync, farmsync_section, function, NULL, NULL, APR_HOOK_MIDDLE)
 */
#define FARMSYNC_DECLARE(type) type
APR_DECLARE_EXTERNAL_HOOK(farmsync, FARMSYNC, int, farmsync_section,
                          (apr_pool_t * pool, server_rec *main_server, farmsync_form_t form,
                           apr_array_header_t *sections))

#endif
