/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <config.h>

#include "base/fs_log.h"
#include "daemon.h"
#include "logfile.h"
#include "net/fs_sql.h"
#include "server_internal.h"

#define STOP_WITHIN (10 * FS_USEC_PER_SEC) /* a promotion under way may end within this */

/* A start that fails says so on standard error even when there is a log file. */
static int failed(const fs_server_t *server, const fs_result_t *result)
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
static void take_ring(fs_server_t *server, const fs_keyring_t *ring)
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
    fs_server_t *server = baton;
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
    fs_server_t *server = baton;

    fs_log(FS_LOG_NOTICE, "FS0821", "stopping on signal %s", strsignal(signal_number));
    fs_notify("STOPPING=1");
    fs_follower_stop(server->follower);
    fs_scribe_stop(server->scribe);
    fs_agents_stop(server->agents);
    fs_crier_stop(server->crier);
    fs_http_server_stop(server->http);
}

/* Ends the threads. A statement that still runs is given up: the database rolls it back. */
static void end_threads(fs_server_t *server)
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

static void watch_signals(fs_server_t *server)
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

static void forget_signals(fs_server_t *server)
{
    struct event *events[] = {server->on_stop[0], server->on_stop[1], server->on_reload,
                              server->watchdog};

    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (events[i])
            event_free(events[i]);
}

static apr_status_t prepare(fs_server_t *server, const char *config, int background,
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

static void serve(fs_server_t *server)
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
    fs_server_t server = {.pid_fd = -1, .ready_fd = -1};
    fs_result_t result;
    apr_status_t status;
    int code = EXIT_SUCCESS;

    fs_result_clear(&result);
    signal(SIGPIPE, SIG_IGN);
    fs_time_init();
    fs_sql_global_init();
    status = prepare(&server, config, background, &result);
    if (status == APR_SUCCESS)
        status = fs_server_make(&server, &result);
    if (status == APR_SUCCESS)
        status = fs_server_start(&server, &result);
    if (status == APR_SUCCESS)
        serve(&server);
    else
        code = failed(&server, &result);
    fs_server_free(&server);
    if (server.pid_fd >= 0)
        fs_pid_file_remove(server.settings->pid_file, server.pid_fd);
    if (status == APR_SUCCESS)
        fs_log(FS_LOG_NOTICE, "FS0822", "stopped");
    fs_settings_free(server.settings);
    return code;
}
