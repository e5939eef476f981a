/* SPDX-License-Identifier: Apache-2.0 */
#include "session_host.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_core.h>
#include <unixd.h>

#include "base/fs_lmdb.h"
#include "base/fs_log.h"
#include "session_alternate.h"
#include "session_module.h"

#define SETTLE_SECONDS 20 /* that httpd's end waits for the disk */

static fs_session_host_t *host;
static APR_OPTIONAL_FN_TYPE(farmsync_time) * farm_time;

const fs_session_host_t *fs_session_host(void)
{
    return host;
}

fs_usec_t fs_session_now(void)
{
    fs_usec_t now = farm_time ? farm_time() : 0;

    return now ? now : fs_time_wall();
}

/* --- the parent ---------------------------------------------------------------------------------
 */

static apr_status_t forget_ring(void *data)
{
    explicit_bzero(data, sizeof(fs_keyring_t));
    return APR_SUCCESS;
}

static apr_status_t read_keys(fs_session_farm_t *farm, apr_pool_t *pconf, fs_result_t *result)
{
    apr_status_t status;

    farm->ring = apr_pcalloc(pconf, sizeof(*farm->ring));
    apr_pool_cleanup_register(pconf, farm->ring, forget_ring, apr_pool_cleanup_null);
    status = fs_keyring_read(farm->ring, farm->host->key_file, result);
    return status;
}

static int become_httpd_user(void)
{
    if (geteuid() != 0)
        return 0;
    return setgid(ap_unixd_config.group_id) ||
           initgroups(ap_unixd_config.user_name, ap_unixd_config.group_id) ||
           setuid(ap_unixd_config.user_id);
}

static void settle_and_exit(const char *dir)
{
    fs_result_t result;

    alarm(SETTLE_SECONDS);
    signal(SIGALRM, SIG_DFL);
    _exit(become_httpd_user() || fs_session_store_settle(dir, NULL, &result));
}

typedef struct settling_t {
    const char *dir;
    pid_t parent;
} settling_t;

/* httpd ends, its children are gone. As httpd's user, in a process of its own: the file is that
 * user's, and may be damaged. */
static apr_status_t settle(void *data)
{
    const settling_t *settling = data;
    pid_t pid;

    if (settling->parent != getpid() || ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_EXITING)
        return APR_SUCCESS;
    pid = fork();
    if (pid == 0)
        settle_and_exit(settling->dir);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return APR_SUCCESS;
}

static void settle_at_end(apr_pool_t *pconf, const fs_session_farm_t *farm)
{
    settling_t *settling = apr_palloc(pconf, sizeof(*settling));

    settling->dir = farm->store_dir;
    settling->parent = getpid();
    apr_pool_cleanup_register(pconf, settling, settle, apr_pool_cleanup_null);
}

int fs_session_host_prepare(apr_pool_t *pconf, server_rec *server)
{
    APR_OPTIONAL_FN_TYPE(farmsync_make_state_dir) *make_dir =
        APR_RETRIEVE_OPTIONAL_FN(farmsync_make_state_dir);
    fs_session_farm_t *farm = fs_session_farm(server);
    fs_result_t result;
    apr_status_t status;

    if (!farm->used || !farm->store_dir)
        return OK;
    fs_result_clear(&result);
    status = make_dir(server, &result);
    if (status == APR_SUCCESS)
        status = read_keys(farm, pconf, &result);
    if (status == APR_SUCCESS)
        status = fs_session_store_prepare(farm->store_dir, ap_unixd_config.user_id,
                                          ap_unixd_config.group_id,
                                          !fs_lmdb_in_use(farm->store_dir), NULL, &result);
    if (status != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, server, "%s: %s", result.problem,
                     result.detail);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (*result.problem)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, server, "%s: %s", result.problem, result.detail);
    settle_at_end(pconf, farm);
    return OK;
}

/* --- a child ------------------------------------------------------------------------------------
 */

/*
 * Keeps this module, and with it LMDB, mapped to the end of the process: threads that still run at
 * exit have destructors in it.
 */
static void stay_mapped(void)
{
    Dl_info info;

    if (dladdr(&session_farmsync_module, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static void log_to_httpd(void *baton, fs_log_level_t level, const char *message)
{
    static const int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO, APLOG_DEBUG};

    ap_log_error(APLOG_MARK, levels[level], 0, (server_rec *)baton, "%s", message);
}

static apr_status_t make_keys(fs_session_host_t *made, fs_result_t *result)
{
    fs_session_secret_t secrets[FS_SESSION_SECRETS];
    unsigned count = 0;

    for (; count < made->farm->ring->count && count < FS_SESSION_SECRETS; count++) {
        secrets[count].bytes = made->farm->ring->keys[count].secret;
        secrets[count].length = made->farm->ring->keys[count].length;
    }
    return fs_session_keys_make(&made->keys, secrets, count, result);
}

static apr_status_t open_store(fs_session_host_t *made, fs_result_t *result)
{
    const fs_session_farm_t *farm = made->farm;
    fs_session_limits_t limits = {.sessions = (uint64_t)farm->sessions,
                                  .session_bytes = (size_t)farm->session_bytes,
                                  .store_bytes = (uint64_t)farm->store_bytes,
                                  .flush = farm->flush_ms * FS_USEC_PER_MSEC};

    return fs_session_store_open(&made->store, farm->store_dir, farm->host->server, &limits,
                                 result);
}

static void tell(server_rec *server, int level, const char *what, const fs_result_t *result)
{
    ap_log_error(APLOG_MARK, level, result->status, server, "FS1309: %s: %s: %s", what,
                 result->problem, result->detail);
}

void fs_session_host_child_init(apr_pool_t *pchild, server_rec *server)
{
    const fs_session_farm_t *farm = fs_session_farm(server);
    fs_session_host_t *made;
    fs_result_t result;

    if (!farm->used || !farm->ring)
        return;
    /* Never freed: a request may still run when the pools of the process go. */
    made = calloc(1, sizeof(*made));
    if (!made) {
        fs_result_set(&result, APR_ENOMEM, "FS1309", "out of memory");
        tell(server, APLOG_CRIT, "this process has no sessions", &result);
        return;
    }
    made->server = server;
    made->farm = farm;
    fs_time_init();
    fs_log_set(log_to_httpd, server, FS_LOG_DEBUG);
    stay_mapped();
    fs_session_alternate_init();
    farm_time = APR_RETRIEVE_OPTIONAL_FN(farmsync_time);
    snprintf(made->agent_socket, sizeof(made->agent_socket), "%s/agent.sock",
             farm->host->state_dir);
    made->counters = fs_session_counters_open(farm->store_dir, &result);
    if (*result.problem)
        tell(server, APLOG_WARNING, "counting sessions", &result);
    if (make_keys(made, &result) != APR_SUCCESS || open_store(made, &result) != APR_SUCCESS) {
        tell(server, APLOG_CRIT, "this process has no sessions", &result);
        return;
    }
    if (fs_session_trust_open(&made->trust, farm->store_dir, 0, &result) != APR_SUCCESS)
        tell(server, APLOG_ERR, "the agent is asked for each request", &result);
    if (fs_session_turns_open(&made->turns, farm->store_dir, &result) != APR_SUCCESS)
        tell(server, APLOG_ERR, "no session can be had exclusively", &result);
    host = made;
}
