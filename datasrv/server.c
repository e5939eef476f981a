/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <config.h>

#include "base/fs_log.h"
#include "bank_peers.h"
#include "daemon.h"
#include "follower.h"
#include "logfile.h"
#include "net/fs_sql.h"
#include "scribe.h"
#include "service.h"
#include "settings.h"

#define STOP_WITHIN  (10 * FS_USEC_PER_SEC) /* a promotion under way may end within this */
#define ADDRESS_SIZE 128
#define OTHER_FILES  256 /* besides connections and transfers: images, database, logs */

typedef struct server_t {
    fs_settings_t *settings; /* as read at the start: what others hold pointers into */
    fs_keyring_t ring;       /* as of the latest reload; HTTP thread */
    fs_board_t *board;
    fs_store_t *store;
    fs_deltas_t *deltas;
    fs_bank_t *bank; /* NULL: it could not be opened */
    fs_bank_peers_t *bank_peers;
    fs_bank_peer_setting_t peers[FS_SETTINGS_PEERS];
    fs_agents_t *agents;
    fs_relay_t *relay;
    fs_crier_t *crier;
    fs_roster_t *roster;
    fs_overview_t *overview;
    fs_groups_t *groups;
    fs_follower_t *follower;
    fs_scribe_t *scribe;
    fs_bell_t changed, looked;
    fs_service_t service;
    fs_http_server_t *http;
    struct event *on_stop[2], *on_reload, *watchdog;
    char address[ADDRESS_SIZE];
    int pid_fd, ready_fd;
} server_t;

/* A start that fails says so on standard error even when there is a log file. */
static int failed(const server_t *server, const fs_result_t *result)
{
    fs_log_result(FS_LOG_ERROR, result);
    if (server->settings && server->settings->log_file)
        fprintf(stderr, "datasrv: %s: %s\n", result->problem[0] ? result->problem : "FS0001",
                result->detail);
    return EXIT_FAILURE;
}

/* --- checks
 * ---------------------------------------------------------------------------------------- */

/* What a configuration names must be readable before anything is started or reloaded. */
static apr_status_t check_files(const fs_settings_t *settings, fs_keyring_t *ring,
                                fs_result_t *result)
{
    fs_sql_t *sql;
    apr_status_t status;

    memset(ring, 0, sizeof(*ring));
    if (settings->key_file) {
        status = fs_keyring_read(ring, settings->key_file, result);
        if (status != APR_SUCCESS)
            return status;
    }
    status = fs_sql_create(&sql, settings->database, result);
    if (status == APR_SUCCESS)
        fs_sql_destroy(sql);
    return status;
}

static apr_status_t check_image_dir(const fs_settings_t *settings, fs_result_t *result)
{
    struct stat info;

    if (stat(settings->image_dir, &info)) /* it is made at the start */
        return APR_SUCCESS;
    if (S_ISDIR(info.st_mode) && !access(settings->image_dir, R_OK | W_OK | X_OK))
        return APR_SUCCESS;
    return fs_result_set(
        result, APR_EGENERAL, "FS0813",
        "ImageDir %s is not a directory that this user can write in; correct it, or "
        "the directory's owner",
        settings->image_dir);
}

int fs_server_check(const char *config)
{
    fs_settings_t *settings = NULL;
    fs_keyring_t ring;
    fs_result_t result;
    apr_status_t status;

    fs_result_clear(&result);
    fs_sql_global_init();
    status = fs_settings_read(&settings, config, &result);
    if (status == APR_SUCCESS)
        status = check_files(settings, &ring, &result);
    if (status == APR_SUCCESS)
        status = check_image_dir(settings, &result);
    if (status == APR_SUCCESS)
        printf("%s is fine\n", config);
    else
        fprintf(stderr, "datasrv: %s: %s\n", result.problem, result.detail);
    fs_settings_free(settings);
    return status == APR_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- reload
 * ---------------------------------------------------------------------------------------- */

static void say_restart(const char *setting)
{
    fs_log(FS_LOG_WARNING, "FS0826", "%s was changed in the configuration; it needs a restart",
           setting);
}

/* The key is never dropped while running: that would open the server to everybody at once. */
static void take_ring(server_t *server, const fs_keyring_t *ring)
{
    if (server->ring.count && !ring->count) {
        say_restart("KeyFile");
        return;
    }
    server->ring = *ring;
    fs_http_server_set_ring(server->http, ring);
    fs_bank_peers_set_ring(server->bank_peers, ring);
    fs_agents_set_ring(server->agents, ring);
    server->service.signed_members = ring->count > 0;
}

static void reload(int signal_number, short what, void *baton)
{
    server_t *server = baton;
    fs_settings_t *settings = NULL;
    fs_keyring_t ring;
    fs_result_t result;
    apr_status_t status;
    char state[96];

    fs_result_clear(&result);
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)fs_time_mono());
    fs_notify(state);
    status = fs_settings_read(&settings, server->settings->file, &result);
    if (status == APR_SUCCESS)
        status = check_files(settings, &ring, &result);
    if (status == APR_SUCCESS)
        status = fs_logfile_open(settings->log_file, settings->log_level, &result);
    if (status == APR_SUCCESS) {
        fs_settings_need_restart(server->settings, settings, say_restart);
        take_ring(server, &ring);
        fs_board_set_keep(server->board, settings->keep_images);
        server->service.max_transfers = settings->max_transfers;
        fs_groups_set_wanted(server->groups, settings);
        fs_bell_ring(&server->changed);
        fs_log(FS_LOG_NOTICE, "FS0824", "reloaded %s", settings->file);
    } else {
        fs_log(FS_LOG_ERROR, "FS0825", "the reload was refused, everything stays as it was: %s: %s",
               result.problem, result.detail);
    }
    fs_settings_free(settings);
    fs_notify("READY=1");
}

/* --- stop
 * ------------------------------------------------------------------------------------------ */

static void stop(int signal_number, short what, void *baton)
{
    server_t *server = baton;

    fs_log(FS_LOG_NOTICE, "FS0821", "stopping on signal %s", strsignal(signal_number));
    fs_notify("STOPPING=1");
    fs_follower_stop(server->follower);
    fs_scribe_stop(server->scribe);
    fs_agents_stop(server->agents);
    fs_crier_stop(server->crier);
    fs_http_server_stop(server->http);
}

/* Ends the threads. A statement that still runs is given up: the database rolls it back. */
static void end_threads(server_t *server)
{
    fs_usec_t until = fs_time_mono() + STOP_WITHIN;

    if (fs_follower_join(server->follower, until) && fs_scribe_join(server->scribe, until) &&
        fs_crier_join(server->crier, until))
        return;
    fs_log(FS_LOG_WARNING, "FS0823",
           "a statement still runs in the database after %d s; leaving it to be rolled back",
           (int)(STOP_WITHIN / FS_USEC_PER_SEC));
    if (server->settings->pid_file)
        fs_pid_file_remove(server->settings->pid_file, server->pid_fd);
    _exit(EXIT_SUCCESS);
}

/* --- start
 * ----------------------------------------------------------------------------------------- */

static void alive(int fd, short what, void *baton)
{
    fs_notify("WATCHDOG=1");
}

static void published(void *baton)
{
    server_t *server = baton;

    fs_http_server_post(server->http, fs_service_published, &server->service);
}

static void image_made(void *baton)
{
    server_t *server = baton;

    fs_http_server_post(server->http, fs_service_image_made, &server->service);
}

static void watch_signals(server_t *server)
{
    struct event_base *base = fs_http_server_base(server->http);
    unsigned long long watchdog = fs_notify_watchdog() / 2;

    server->on_stop[0] = evsignal_new(base, SIGTERM, stop, server);
    server->on_stop[1] = evsignal_new(base, SIGINT, stop, server);
    server->on_reload = evsignal_new(base, SIGHUP, reload, server);
    event_add(server->on_stop[0], NULL);
    event_add(server->on_stop[1], NULL);
    event_add(server->on_reload, NULL);
    if (watchdog) {
        struct timeval period = {(time_t)(watchdog / 1000000), (suseconds_t)(watchdog % 1000000)};

        server->watchdog = event_new(base, -1, EV_PERSIST, alive, server);
        event_add(server->watchdog, &period);
    }
}

static void forget_signals(server_t *server)
{
    struct event *events[] = {server->on_stop[0], server->on_stop[1], server->on_reload,
                              server->watchdog};

    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (events[i])
            event_free(events[i]);
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

static apr_status_t make_http(server_t *server, fs_result_t *result)
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

static fs_worker_shared_t shared_parts(server_t *server)
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
static void open_bank(server_t *server)
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

static apr_status_t make_agents(server_t *server)
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

static apr_status_t make_parts(server_t *server, fs_result_t *result)
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

static apr_status_t start_bank(server_t *server, fs_result_t *result)
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

static apr_status_t start_tellers(server_t *server, const fs_worker_shared_t *shared,
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

static apr_status_t start_threads(server_t *server, fs_result_t *result)
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

static void free_parts(server_t *server)
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

static apr_status_t prepare(server_t *server, const char *config, int background,
                            fs_result_t *result)
{
    apr_status_t status = fs_settings_read(&server->settings, config, result);

    if (status == APR_SUCCESS)
        status = check_files(server->settings, &server->ring, result);
    if (status == APR_SUCCESS && background && !server->settings->pid_file) {
        server->settings->pid_file = strdup(FS_DEFAULT_PID_FILE);
        status = server->settings->pid_file ? APR_SUCCESS : APR_ENOMEM;
    }
    if (status == APR_SUCCESS && background)
        status = fs_daemon_detach(&server->ready_fd, result);
    if (status == APR_SUCCESS)
        status = fs_logfile_open(server->settings->log_file, server->settings->log_level, result);
    if (status == APR_SUCCESS && server->settings->pid_file)
        status = fs_pid_file_take(server->settings->pid_file, &server->pid_fd, result);
    return status;
}

static void serve(server_t *server)
{
    watch_signals(server);
    fs_log(FS_LOG_NOTICE, "FS0820", "datasrv %s of farmsync %s is ready at %s",
           server->settings->name, PACKAGE_VERSION, server->address);
    if (server->ready_fd >= 0)
        fs_daemon_ready(server->ready_fd);
    fs_notify("READY=1");
    fs_http_server_run(server->http);
    end_threads(server);
    forget_signals(server);
}

int fs_server_run(const char *config, int background)
{
    server_t server = {.pid_fd = -1, .ready_fd = -1};
    fs_result_t result;
    apr_status_t status;
    int code = EXIT_SUCCESS;

    fs_result_clear(&result);
    signal(SIGPIPE, SIG_IGN);
    fs_time_init();
    fs_sql_global_init();
    status = prepare(&server, config, background, &result);
    if (status == APR_SUCCESS)
        status = make_parts(&server, &result);
    if (status == APR_SUCCESS)
        status = start_threads(&server, &result);
    if (status == APR_SUCCESS)
        serve(&server);
    else
        code = failed(&server, &result);
    free_parts(&server);
    if (server.pid_fd >= 0)
        fs_pid_file_remove(server.settings->pid_file, server.pid_fd);
    if (status == APR_SUCCESS)
        fs_log(FS_LOG_NOTICE, "FS0822", "stopped");
    fs_settings_free(server.settings);
    return code;
}
