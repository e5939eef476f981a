/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process has for routing. The parent prepares page and store before there are children and
 * an agent, and reads the farm's key, which the children may not; each child opens them after its
 * fork and keeps them to its end.
 */
#include "route.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <scoreboard.h>
#include <unixd.h>

#include "agent_process.h"
#include "base/fs_apart.h"
#include "base/fs_lmdb.h"
#include "child.h"
#include "module.h"
#include "settings.h"

#define SETTLE_SECONDS 20 /* that httpd's end waits for the disk */
#define COUNT_EVERY    (900 * FS_USEC_PER_MSEC)

static struct {
    fs_routing_host_t host;
    int ready;
} self;

const fs_routing_host_t *fs_routing_host(void)
{
    return self.ready ? &self.host : NULL;
}

void fs_routing_count(fs_route_count_t what)
{
    fs_route_count(self.host.page, what);
}

void fs_routing_say(const request_rec *r, const fs_result_t *result)
{
    static _Atomic fs_usec_t said;

    if (fs_child_says_again(&said))
        ap_log_rerror(APLOG_MARK, APLOG_ERR, result->status, r,
                      "FS1637: routing goes on without the store of visitors: %s: %s",
                      result->problem, result->detail);
}

/* --- the parent ---------------------------------------------------------------------------------
 */

static uid_t httpd_user(void)
{
    return geteuid() ? (uid_t)-1 : ap_unixd_config.user_id;
}

static gid_t httpd_group(void)
{
    return geteuid() ? (gid_t)-1 : ap_unixd_config.group_id;
}

static apr_status_t forget_ring(void *data)
{
    explicit_bzero(data, sizeof(fs_keyring_t));
    return APR_SUCCESS;
}

static apr_status_t read_ring(const fs_settings_t *settings, apr_pool_t *pconf, fs_result_t *result)
{
    fs_keyring_t *ring = apr_pcalloc(pconf, sizeof(*ring));

    apr_pool_cleanup_register(pconf, ring, forget_ring, apr_pool_cleanup_null);
    settings->routing->ring = ring;
    return fs_keyring_read(ring, settings->key_file, result);
}

typedef struct settling_t {
    const char *dir;
    pid_t parent;
} settling_t;

static apr_status_t settle_apart(void *data, fs_result_t *result)
{
    return fs_route_store_settle(((const settling_t *)data)->dir, NULL, result);
}

/* httpd ends, its children are gone; an agent that runs by itself may go on. The file is httpd's
 * user's, and may be damaged. */
static apr_status_t settle(void *data)
{
    const settling_t *settling = data;
    fs_result_t result;
    int died;

    if (settling->parent == getpid() && ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
        fs_apart_run(settle_apart, data, httpd_user(), httpd_group(), SETTLE_SECONDS, &died,
                     &result);
    return APR_SUCCESS;
}

static void settle_at_end(apr_pool_t *pconf, const char *dir)
{
    settling_t *settling = apr_palloc(pconf, sizeof(*settling));

    settling->dir = dir;
    settling->parent = getpid();
    apr_pool_cleanup_register(pconf, settling, settle, apr_pool_cleanup_null);
}

static apr_status_t prepare(const fs_settings_t *settings, apr_pool_t *pconf, fs_result_t *result)
{
    const char *dir = apr_pstrcat(pconf, settings->state_dir, "/" FS_ROUTE_STORE_DIR, NULL);
    apr_status_t status = fs_agent_make_state_dir(settings, result);

    if (status == APR_SUCCESS)
        status = read_ring(settings, pconf, result);
    if (status == APR_SUCCESS)
        status = fs_route_page_prepare(settings->state_dir, httpd_user(), httpd_group(), result);
    if (status == APR_SUCCESS)
        status = fs_route_store_prepare(dir, httpd_user(), httpd_group(), !fs_lmdb_in_use(dir),
                                        NULL, result);
    if (status == APR_SUCCESS)
        settle_at_end(pconf, dir);
    return status;
}

/* Before the agent starts, which uses the same files. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    const fs_settings_t *settings = fs_settings(server);
    fs_result_t result;

    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_CONFIG ||
        ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL || !settings->routing->used)
        return OK;
    fs_result_clear(&result);
    if (prepare(settings, pconf, &result) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, server, "%s: %s", result.problem,
                     result.detail);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (*result.problem)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, server, "%s: %s", result.problem, result.detail);
    return OK;
}

/* --- a child ------------------------------------------------------------------------------------
 */

static apr_status_t make_keys(fs_routing_host_t *host, fs_result_t *result)
{
    const fs_keyring_t *ring = host->routing->ring;
    fs_route_secret_t secrets[FS_ROUTE_KEYS];
    unsigned count = 0;

    for (; count < ring->count && count < FS_ROUTE_KEYS; count++)
        secrets[count] = (fs_route_secret_t){ring->keys[count].secret, ring->keys[count].length};
    return fs_route_keys_make(&host->keys, secrets, count, result);
}

static apr_status_t open_all(fs_routing_host_t *host, const fs_settings_t *settings,
                             fs_result_t *result)
{
    fs_route_limits_t limits = {.unconfirmed = (uint32_t)host->routing->capacity};
    char *dir = apr_pstrcat(settings->data_servers->pool, settings->state_dir,
                            "/" FS_ROUTE_STORE_DIR, NULL);
    apr_status_t status = make_keys(host, result);

    if (status == APR_SUCCESS)
        status = fs_route_page_open(&host->page, settings->state_dir, 0, result);
    if (status == APR_SUCCESS)
        status = fs_route_store_open(&host->store, dir, host->self, &limits, result);
    return status;
}

void fs_routing_child_init(const fs_child_t *child)
{
    fs_routing_host_t *host = &self.host;
    fs_result_t result;

    if (!child->settings->routing->used || !child->settings->routing->ring)
        return;
    host->server = child->server;
    host->routing = child->settings->routing;
    host->self = child->settings->server;
    host->forward = APR_RETRIEVE_OPTIONAL_FN(farmsync_forward);
    host->session = APR_RETRIEVE_OPTIONAL_FN(farmsync_session_visitor);
    if (open_all(host, child->settings, &result) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, result.status, child->server,
                     "FS1636: this process doesn't route, it serves whoever comes: %s: %s",
                     result.problem, result.detail);
        return;
    }
    self.ready = 1;
    fs_routing_follow();
}

/* --- this server's workers ----------------------------------------------------------------------
 */

static uint32_t query(int what)
{
    int value = 0;

    return ap_mpm_query(what, &value) == APR_SUCCESS && value > 0 ? (uint32_t)value : 1;
}

static int is_busy(const worker_score *score)
{
    return score->status != SERVER_READY && score->status != SERVER_DEAD &&
           score->status != SERVER_STARTING && score->status != SERVER_IDLE_KILL;
}

static uint32_t count_busy(void)
{
    int daemons = (int)query(AP_MPMQ_HARD_LIMIT_DAEMONS);
    int threads = (int)query(AP_MPMQ_HARD_LIMIT_THREADS);
    uint32_t busy = 0;

    for (int i = 0; i < daemons; i++) {
        const process_score *process = ap_get_scoreboard_process(i);

        for (int j = 0; process && process->pid && j < threads; j++) {
            const worker_score *score = ap_get_scoreboard_worker_from_indexes(i, j);

            busy += score && is_busy(score);
        }
    }
    return busy;
}

void fs_routing_follow(void)
{
    if (self.ready && fs_route_page_count_workers(self.host.page, fs_time_mono(), COUNT_EVERY))
        fs_route_page_set_workers(self.host.page, count_busy(),
                                  query(AP_MPMQ_MAX_DAEMONS) * query(AP_MPMQ_MAX_THREADS));
}

void fs_routing_host_register(void)
{
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_FIRST);
}
