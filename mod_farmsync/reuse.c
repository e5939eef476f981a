/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <apr_shm.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_request.h>
#include <openssl/crypto.h>
#include <unixd.h>

#include "agent_process.h"
#include "module.h"
#include "net/fs_key.h"
#include "settings.h"

/* Between those that make a page (AP_FTYPE_RESOURCE) and those that compress it. */
#define FILTER_TYPE ((ap_filter_type)(AP_FTYPE_CONTENT_SET - 2))
/* Behind those that change headers (mod_headers). */
#define KEEP_TYPE ((ap_filter_type)(AP_FTYPE_CONTENT_SET + 2))
/* Behind all that change the page. */
#define DIGEST_TYPE ((ap_filter_type)(AP_FTYPE_CONTENT_SET + 3))

/* Of a farm without a key, whose check values are then no secret; as long as they are equal. */
#define PUBLIC_SECRET "a farm without a key of its own"

typedef struct shared_t {
    _Atomic uint64_t counts[FS_REUSE_COUNTS];
} shared_t;

/* Made by the parent in each generation, inherited by its children. */
static shared_t *shared;
static fs_reuse_key_t *key;
/* Each child's own. */
static fs_reuse_store_t *store;

fs_reuse_key_t *fs_reuse_key(void)
{
    return key;
}

void fs_reuse_count(fs_reuse_count_t what, apr_uint64_t by)
{
    if (shared)
        atomic_fetch_add_explicit(&shared->counts[what], by, memory_order_relaxed);
}

int fs_reuse_counts(apr_uint64_t counts[FS_REUSE_COUNTS])
{
    for (unsigned i = 0; shared && i < FS_REUSE_COUNTS; i++)
        counts[i] = atomic_load_explicit(&shared->counts[i], memory_order_relaxed);
    return shared != NULL;
}

fs_reuse_store_t *fs_reuse_store(void)
{
    return store;
}

/* Forgets what belongs to a pool that goes. */
static apr_status_t forget(void *unused)
{
    shared = NULL;
    fs_reuse_key_free(key);
    key = NULL;
    return APR_SUCCESS;
}

static void read_key(server_rec *server)
{
    const char *file = fs_settings(server)->key_file;
    const void *secret = PUBLIC_SECRET;
    size_t length = sizeof(PUBLIC_SECRET) - 1;
    fs_keyring_t ring = {0};
    fs_result_t result;

    if (file && fs_keyring_read(&ring, file, &result) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, result.status, server,
                     "%s: %s; pages get no check values", result.problem, result.detail);
        return;
    }
    if (file && ring.count) {
        secret = ring.keys[0].secret;
        length = ring.keys[0].length;
    }
    if (fs_reuse_key_make(&key, secret, length, &result) != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, result.status, server, "%s: %s", result.problem,
                     result.detail);
    OPENSSL_cleanse(&ring, sizeof(ring));
}

/* A virtual host has settings of its own when directives stand in it. */
static int used_anywhere(server_rec *server)
{
    for (; server; server = server->next) {
        const fs_settings_t *settings =
            ap_get_module_config(server->module_config, &farmsync_module);

        if (settings->reuse_used)
            return 1;
    }
    return 0;
}

static apr_uint64_t store_size(const fs_settings_t *settings)
{
    return settings->reuse_store == FS_UNSET ? FS_REUSE_STORE_DEFAULT
                                             : (apr_uint64_t)settings->reuse_store;
}

static const char *store_path(const fs_settings_t *settings, apr_pool_t *pool)
{
    return apr_pstrcat(pool, settings->state_dir, "/reuse", NULL);
}

static void prepare_store(server_rec *server, apr_pool_t *pool)
{
    const fs_settings_t *settings = fs_settings(server);
    apr_uint64_t size = store_size(settings);
    int root = geteuid() == 0;
    fs_result_t result;

    if (size && settings->state_dir &&
        fs_reuse_store_prepare(store_path(settings, pool), size,
                               root ? ap_unixd_config.user_id : (uid_t)-1,
                               root ? ap_unixd_config.group_id : (gid_t)-1, &result) != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_WARNING, result.status, server, "%s: %s", result.problem,
                     result.detail);
}

/* Before the agent starts, which has the same files open. */
static void prepare_files(server_rec *server, apr_pool_t *pool)
{
    apr_uid_t uid = geteuid() ? (apr_uid_t)-1 : ap_unixd_config.user_id;
    apr_gid_t gid = geteuid() ? (apr_gid_t)-1 : ap_unixd_config.group_id;
    const fs_settings_t *settings = fs_settings(server);
    fs_result_t result;

    if (settings->state_dir && fs_agent_make_state_dir(settings, &result) != APR_SUCCESS)
        return; /* whoever starts the agent says so */
    prepare_store(server, pool);
    fs_reuse_known_prepare(server, pool, uid, gid);
    fs_reuse_mirror_prepare(server, pool, uid, gid);
}

static void child_init(apr_pool_t *pchild, server_rec *server)
{
    const fs_settings_t *settings = fs_settings(server);
    fs_result_t result;

    store = NULL;
    if (!key || !settings->state_dir)
        return;
    prepare_store(server, pchild); /* by the parent, but it may have been removed since */
    if (store_size(settings) &&
        fs_reuse_store_open(&store, store_path(settings, pchild), &result) != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_WARNING, result.status, server, "%s: %s", result.problem,
                     result.detail);
    fs_reuse_known_child_init(pchild, server);
    fs_reuse_mirror_child_init(pchild, server);
}

/* The children can't read the key any more: they run as httpd's user. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *server)
{
    apr_shm_t *memory;
    apr_status_t status;

    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_CONFIG ||
        ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL)
        return OK;
    apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    if (!used_anywhere(server))
        return OK;
    read_key(server);
    prepare_files(server, ptemp);
    status = apr_shm_create(&memory, sizeof(*shared), NULL, pconf);
    if (status == APR_SUCCESS)
        shared = memset(apr_shm_baseaddr_get(memory), 0, sizeof(*shared));
    else
        ap_log_error(APLOG_MARK, APLOG_WARNING, status, server,
                     "FS1703: there is no shared memory for the counts of FarmSyncReuse; see "
                     "the host's limits (ipcs -lm). Pages get check values all the same");
    return OK;
}

static void insert_filter(request_rec *r)
{
    fs_reuse_place_t place;

    if (!r->main && r->method_number == M_GET && fs_reuse_place(r, &place)) {
        ap_add_output_filter(FS_REUSE_FILTER, NULL, r, r->connection);
        if (fs_reuse_wants_digest(r))
            ap_add_output_filter(FS_REUSE_DIGEST_FILTER, NULL, r, r->connection);
    }
}

void fs_reuse_register(void)
{
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_optional_fn_retrieve(fs_reuse_mirror_functions, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(fs_reuse_known_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(fs_reuse_mirror_move, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(fs_reuse_fixup, NULL, NULL, APR_HOOK_LAST);
    ap_hook_insert_filter(insert_filter, NULL, NULL, APR_HOOK_LAST);
    fs_reuse_status_register();
    ap_register_output_filter(FS_REUSE_FILTER, fs_reuse_filter, NULL, FILTER_TYPE);
    ap_register_output_filter(FS_REUSE_DIGEST_FILTER, fs_reuse_digest_filter, NULL, DIGEST_TYPE);
    ap_register_output_filter(FS_REUSE_KEEP_FILTER, fs_reuse_keep_filter, NULL, KEEP_TYPE);
}
