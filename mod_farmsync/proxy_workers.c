/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_workers.h"

#include <stdatomic.h>
#include <string.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <apr_uri.h>

/* Servers of a farm (FS_ROUTE_SERVERS) several times over, for their URLs may change. */
#define SLOTS 2048 /* a power of 2 */
#define MOST  (SLOTS / 2)

#define ADDRESS_TTL_S 30

typedef struct entry_t {
    const char *url;
    const server_rec *server; /* TLS is set up for each virtual host on its own; NULL: plain HTTP */
    proxy_worker *worker;
} entry_t;

/* Entries are only ever added: readers need no lock. */
static struct {
    apr_pool_t *pool;
    apr_thread_mutex_t *mutex; /* for adding */
    unsigned count;
    _Atomic(entry_t *) slots[SLOTS];
} workers;

void fs_proxy_workers_init(apr_pool_t *child_pool)
{
    apr_pool_create(&workers.pool, child_pool);
    apr_pool_tag(workers.pool, "farmsync workers");
    apr_thread_mutex_create(&workers.mutex, APR_THREAD_MUTEX_DEFAULT, workers.pool);
}

static unsigned slot_of(const char *url, const server_rec *server)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return (apr_hashfunc_default(url, &length) ^ (unsigned)((apr_uintptr_t)server >> 4)) &
           (SLOTS - 1);
}

/* The entry, or NULL and the slot where it belongs. */
static entry_t *find(const char *url, const server_rec *server, unsigned *slot)
{
    for (*slot = slot_of(url, server);; *slot = (*slot + 1) & (SLOTS - 1)) {
        entry_t *entry = atomic_load_explicit(&workers.slots[*slot], memory_order_acquire);

        if (!entry || (entry->server == server && !strcmp(entry->url, url)))
            return entry;
    }
}

static void configure(proxy_worker_shared *shared, request_rec *r)
{
    const fs_proxy_settings_t *settings = fs_proxy_settings();
    const proxy_server_conf *conf = ap_get_module_config(r->server->module_config, &proxy_module);
    apr_interval_time_t answer = settings->answer;

    if (answer < 0)
        answer = conf->timeout_set ? conf->timeout : r->server->timeout;
    shared->conn_timeout = settings->connect;
    shared->conn_timeout_set = 1;
    shared->timeout = answer;
    shared->timeout_set = 1;
    /* Bodies wait for "100 Continue": so none is lost on a connection that the other side was just
     * closing. */
    shared->ping_timeout = answer;
    shared->ping_timeout_set = 1;
    shared->ttl = settings->idle;
    apr_cpystrn(shared->upgrade, "websocket", sizeof(shared->upgrade));
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 130)
    shared->address_ttl = ADDRESS_TTL_S;
    shared->address_ttl_set = 1;
#endif
}

/* Where a name can't be resolved, mod_proxy would answer with an error that can't be told from
 * others. */
static apr_status_t resolve(const char *url, apr_pool_t *scratch)
{
    apr_sockaddr_t *address;
    apr_uri_t uri;
    apr_status_t status = apr_uri_parse(scratch, url, &uri);

    if (status)
        return status;
    if (!uri.hostname)
        return APR_EINVAL;
    return apr_sockaddr_info_get(&address, uri.hostname, APR_UNSPEC,
                                 uri.port ? uri.port : apr_uri_port_of_scheme(uri.scheme), 0,
                                 scratch);
}

/* The mutex is held. */
static proxy_worker *make(request_rec *r, const char *url)
{
    proxy_worker *worker = NULL;
    apr_status_t status = resolve(url, r->pool);
    const char *problem;

    if (status) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, status, r,
                      "FS1640: %s: its host has no address here; give FarmSyncRouteURL of that "
                      "server an address that its farm can resolve",
                      url);
        return NULL;
    }
    problem = ap_proxy_define_worker(workers.pool, &worker, NULL, NULL, url, 0);
    if (!problem) {
        configure(worker->s, r);
        status = ap_proxy_initialize_worker(worker, r->server, workers.pool);
    }
    if (problem || status) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, status, r,
                      "FS1641: %s: mod_proxy makes no connections to it (%s); look at "
                      "FarmSyncRouteURL of that server",
                      url, problem ? problem : "it can't be initialized");
        return NULL;
    }
    return worker;
}

/* The mutex is held. */
static entry_t *add(request_rec *r, const char *url, const server_rec *server, unsigned slot)
{
    entry_t *entry;
    proxy_worker *worker;

    if (workers.count >= MOST) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FS1642: this process knows %d addresses of servers already and takes no "
                      "further one; look which server changes its FarmSyncRouteURL all the time",
                      MOST);
        return NULL;
    }
    worker = make(r, url);
    if (!worker)
        return NULL;
    entry = apr_palloc(workers.pool, sizeof(*entry));
    entry->url = apr_pstrdup(workers.pool, url);
    entry->server = server;
    entry->worker = worker;
    workers.count++;
    atomic_store_explicit(&workers.slots[slot], entry, memory_order_release);
    return entry;
}

proxy_worker *fs_proxy_worker(request_rec *r, const char *url)
{
    const server_rec *server = strncmp(url, "https:", 6) ? NULL : r->server;
    unsigned slot;
    entry_t *entry = find(url, server, &slot);

    if (!entry && workers.mutex) {
        apr_thread_mutex_lock(workers.mutex);
        entry = find(url, server, &slot);
        if (!entry)
            entry = add(r, url, server, slot);
        apr_thread_mutex_unlock(workers.mutex);
    }
    return entry ? entry->worker : NULL;
}
