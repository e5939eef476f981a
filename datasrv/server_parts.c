/* SPDX-License-Identifier: Apache-2.0 */
/* What the program is made of: making, starting and freeing the parts in their order. */
#include "server_internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/fs_log.h"

#define OTHER_FILES 256 /* besides connections and transfers: images, database, logs */

static void published(void *baton)
{
    fs_server_t *server = baton;

    fs_http_server_post(server->http, fs_service_published, &server->service);
}

static void image_made(void *baton)
{
    fs_server_t *server = baton;

    fs_http_server_post(server->http, fs_service_image_made, &server->service);
}

/* A connection is a file, and so is what is being sent on it. */
static void raise_file_limit(const fs_settings_t *settings)
{
    rlim_t need = (rlim_t)settings->max_connections + settings->max_transfers + OTHER_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < need)
        fs_log(FS_LOG_WARNING, "FS0870",
               "this process may open %llu files, %u connections can take %llu; raise its limit "
               "(LimitNOFILE), or lower MaxConnections",
               (unsigned long long)limit.rlim_cur, settings->max_connections,
               (unsigned long long)need);
}

static apr_status_t make_http(fs_server_t *server, fs_result_t *result)
{
    const fs_settings_t *settings = server->settings;
    fs_http_server_settings_t http = {
        .listen = settings->listen,
        .ring = &server->ring,
        .cert_file = settings->tls_certificate_file,
        .key_file = settings->tls_key_file,
        .client_ca_file = settings->client_ca_file,
        .max_connections = settings->max_connections,
        .idle_timeout_s = settings->idle_timeout,
    };
    unsigned count;
    const fs_http_route_t *routes = fs_service_routes(&count);
    apr_status_t status =
        fs_http_server_create(&server->http, &http, routes, count, &server->service, result);
    const char *port = strrchr(settings->listen, ':');

    if (status != APR_SUCCESS)
        return status;
    raise_file_limit(settings);
    snprintf(server->address, sizeof(server->address), "%s://%.*s:%u",
             settings->tls_certificate_file ? "https" : "http",
             port ? (int)(port - settings->listen) : (int)strlen(settings->listen),
             settings->listen, fs_http_server_port(server->http));
    return APR_SUCCESS;
}

static fs_worker_shared_t shared_parts(fs_server_t *server)
{
    return (fs_worker_shared_t){server->board,
                                server->store,
                                server->settings->database,
                                server->settings->name,
                                &server->changed,
                                image_made,
                                server};
}

/* Without its bank a data server still serves data. */
static void open_bank(fs_server_t *server)
{
    const fs_settings_t *settings = server->settings;
    fs_bank_setup_t setup = {
        .dir = settings->session_dir,
        .name = settings->session_name,
        .rack = settings->session_rack,
        .limits = {(uint64_t)settings->session_memory << 20, settings->session_limit,
                   (int)settings->session_sync},
        .copies = settings->session_copies,
        .peers = server->peers,
        .peer_count = settings->peer_count,
        .board = server->board,
    };
    fs_result_t result;

    for (unsigned i = 0; i < settings->peer_count; i++)
        server->peers[i] = (fs_bank_peer_setting_t){settings->peers[i].url, settings->peers[i].name,
                                                    settings->peers[i].rack};
    fs_result_clear(&result);
    if (fs_bank_create(&server->bank, &setup, &result) != APR_SUCCESS)
        fs_log_result(FS_LOG_ERROR, &result);
}

static apr_status_t make_agents(fs_server_t *server)
{
    const fs_agents_settings_t agents = {
        .ring = &server->ring,
        .origin = server->settings->name,
        .ca_file = server->settings->client_ca_file,
        .cert_file = server->settings->tls_certificate_file,
        .key_file = server->settings->tls_key_file,
    };

    server->agents = fs_agents_create(&agents);
    return server->agents ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t fs_server_make(fs_server_t *server, fs_result_t *result)
{
    fs_worker_shared_t shared;
    apr_status_t status = fs_store_open(&server->store, server->settings->image_dir, result);

    if (status != APR_SUCCESS)
        return status;
    fs_bell_init(&server->changed);
    fs_bell_init(&server->looked);
    server->board = fs_board_create(server->settings->keep_images);
    server->roster = fs_roster_create();
    server->overview = fs_overview_create();
    server->deltas = fs_deltas_create(server->store, image_made, server);
    if (!server->board || !server->roster || !server->overview || !server->deltas)
        return APR_ENOMEM;
    shared = shared_parts(server);
    server->groups = fs_groups_create(&shared, published, server);
    if (!server->groups)
        return APR_ENOMEM;
    fs_groups_set_wanted(server->groups, server->settings);
    if (make_agents(server) != APR_SUCCESS)
        return APR_ENOMEM;
    open_bank(server);
    server->service = (fs_service_t){
        .board = server->board,
        .store = server->store,
        .deltas = server->deltas,
        .bank = server->bank,
        .max_transfers = server->settings->max_transfers,
        .roster = server->roster,
        .overview = server->overview,
        .looked = &server->looked,
        .name = server->settings->name,
        .signed_members = server->ring.count > 0,
        .started = fs_time_mono(),
    };
    status = make_http(server, result);
    server->service.server = server->http;
    return status;
}

static apr_status_t start_bank(fs_server_t *server, fs_result_t *result)
{
    const fs_bank_peers_setup_t peers = {
        .bank = server->bank,
        .ring = &server->ring,
        .ca_file = server->settings->client_ca_file,
        .cert_file = server->settings->tls_certificate_file,
        .key_file = server->settings->tls_key_file,
    };
    apr_status_t status = fs_bank_start(server->bank, server->http, result);

    if (status == APR_SUCCESS)
        status = fs_bank_peers_start(&server->bank_peers, &peers, result);
    server->service.bank_peers = server->bank_peers;
    return status;
}

static apr_status_t start_tellers(fs_server_t *server, const fs_worker_shared_t *shared,
                                  fs_result_t *result)
{
    apr_status_t status;

    fs_http_global_init();
    status = fs_relay_start(&server->relay, server->agents, result);

    if (status != APR_SUCCESS)
        return status;
    fs_relay_set_server(server->relay, server->http);
    server->service.relay = server->relay;
    server->service.agents = server->agents;
    return fs_crier_start(&server->crier, shared, server->agents, result);
}

apr_status_t fs_server_start(fs_server_t *server, fs_result_t *result)
{
    const fs_worker_shared_t shared = shared_parts(server);
    const fs_follower_parts_t follower = {shared, server->groups};
    const fs_scribe_parts_t scribe = {shared,           server->deltas,  server->roster,
                                      server->overview, &server->looked, server->address};
    sigset_t blocked, before;
    apr_status_t status;

    /* Signals are the main thread's: the others inherit this mask. */
    sigfillset(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    status = server->bank ? start_bank(server, result) : APR_SUCCESS;
    if (status == APR_SUCCESS)
        status = fs_scribe_start(&server->scribe, &scribe, result);
    if (status == APR_SUCCESS) {
        status = start_tellers(server, &shared, result);
        if (status == APR_SUCCESS)
            status = fs_follower_start(&server->follower, &follower, result);
        if (status != APR_SUCCESS) { /* they have nothing to do yet */
            fs_crier_stop(server->crier);
            fs_crier_join(server->crier, INT64_MAX);
            fs_scribe_stop(server->scribe);
            fs_scribe_join(server->scribe, INT64_MAX);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

void fs_server_free(fs_server_t *server)
{
    fs_deltas_destroy(server->deltas); /* its thread posts to the HTTP thread */
    fs_bank_peers_stop(server->bank_peers);
    fs_bank_destroy(server->bank); /* as its threads do */
    fs_relay_stop(server->relay);
    if (server->http)
        fs_http_server_destroy(server->http);
    fs_agents_destroy(server->agents);
    fs_groups_destroy(server->groups);
    fs_overview_destroy(server->overview);
    fs_roster_destroy(server->roster);
    fs_board_destroy(server->board);
    fs_store_close(server->store);
}
