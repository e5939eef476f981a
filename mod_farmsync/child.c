/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "avail.h"
#include "base/fs_log.h"
#include "base/fs_time.h"
#include "module.h"
#include "route.h"

#define JOIN_TIMEOUT_S 2
#define LOCK_FILE      "children.lock"
#define LOCK_TRIES     100 /* a millisecond apart */
#define SAY_AGAIN      (60 * FS_USEC_PER_SEC)

/* The one thing of a request process that isn't a request's. */
typedef struct helper_t {
    fs_child_t child;
    pthread_t thread;
    int started;
    int joinable; /* a threaded MPM: cleanups run on an ordinary stack and may wait */
    _Atomic int stop;
} helper_t;

static helper_t *helper;

const fs_child_t *fs_child(void)
{
    return helper ? &helper->child : NULL;
}

int fs_child_says_again(_Atomic fs_usec_t *said)
{
    fs_usec_t now = fs_time_mono(), before = atomic_load(said);

    return (!before || now - before >= SAY_AGAIN) &&
           atomic_compare_exchange_strong(said, &before, now);
}

static void log_to_httpd(void *baton, fs_log_level_t level, const char *message)
{
    server_rec *server = baton;

    ap_log_error(APLOG_MARK, fs_module_level(level), 0, server, "%s", message);
}

/* --- following what is published ----------------------------------------------------------------
 */

/* Maps a view ahead; a failure is told once per view and minute. */
static void map_ahead(const fs_child_t *child, uint64_t id)
{
    fs_view_pin_t pin;
    fs_result_t result;

    if (fs_view_cache_pin(child->cache, id, &pin, &result) == APR_SUCCESS)
        fs_view_cache_unpin(child->cache, &pin);
    else if (strcmp(result.problem, "FS0509") != 0 && !helper->stop)
        fs_log_result(FS_LOG_WARNING, &result);
}

static void follow(const fs_child_t *child)
{
    uint64_t ids[2 * FS_CONTROL_GROUPS];
    unsigned count = 0;

    fs_control_refresh(child->control);
    fs_avail_follow();
    fs_routing_follow();
    if (!fs_control_attached(child->control))
        return;
    for (int i = 0; i < child->settings->groups->nelts; i++) {
        fs_control_group_t group;

        if (fs_control_group(child->control, fs_settings_group(child->settings, i), &group) < 0)
            continue;
        if (group.active_view)
            ids[count++] = group.active_view;
        if (group.staged_view && group.staged_view != group.active_view)
            ids[count++] = group.staged_view;
    }
    for (unsigned i = 0; i < count; i++)
        map_ahead(child, ids[i]);
    fs_view_cache_keep(child->cache, ids, count);
}

/*
 * How long to wait without being woken. Only who has an agent's page can be woken, and an agent
 * that is started with httpd makes it while this process is young: it is there a quarter later at
 * most.
 */
static fs_usec_t patience(fs_usec_t age)
{
    fs_usec_t quarter = age / 4;

    return quarter < FS_USEC_PER_MSEC ? FS_USEC_PER_MSEC
                                      : (quarter < FS_USEC_PER_SEC ? quarter : FS_USEC_PER_SEC);
}

static void *helper_main(void *data)
{
    helper_t *self = data;
    const fs_child_t *child = &self->child;
    fs_usec_t born = fs_time_mono();

    while (!self->stop) {
        uint32_t seen = fs_control_generation(child->control);

        follow(child);
        if (!self->stop)
            fs_control_wait(child->control, seen, patience(fs_time_mono() - born));
    }
    return NULL;
}

/* --- start and end ------------------------------------------------------------------------------
 */

/*
 * Keeps this module mapped to the end of the process: in a process that exits without having joined
 * the helper (prefork cleans up in a signal handler, where nothing can be waited for), the code
 * that it runs must not be unmapped under it.
 */
static void stay_mapped(void)
{
    Dl_info info;

    if (dladdr(&farmsync_module, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static apr_status_t stop_helper(void *data)
{
    helper_t *self = data;
    struct timespec deadline;

    self->stop = 1;
    if (!self->started || !self->joinable)
        return APR_SUCCESS;
    fs_control_wake(self->child.control);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += JOIN_TIMEOUT_S;
    pthread_timedjoin_np(self->thread, NULL, &deadline);
    return APR_SUCCESS;
}

static int start_thread(helper_t *self)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&self->thread, NULL, helper_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* The agent tries for a moment whether anybody holds it, hence the tries. */
static int hold_shared(int fd)
{
    for (int tries = LOCK_TRIES; fd >= 0 && tries; tries--) {
        if (!flock(fd, LOCK_SH | LOCK_NB))
            return 1;
        if (errno != EWOULDBLOCK)
            return 0;
        fs_time_sleep_until(fs_time_mono() + FS_USEC_PER_MSEC);
    }
    return 0;
}

/*
 * The agent ends when no child of httpd is left. Each child holds a shared lock on this file for
 * its whole life; the kernel drops it however the child ends.
 */
static void hold_children_lock(const fs_child_t *child, apr_pool_t *pool)
{
    const char *path = apr_pstrcat(pool, child->settings->state_dir, "/" LOCK_FILE, NULL);

    if (!hold_shared(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640)))
        ap_log_error(APLOG_MARK, APLOG_ERR, errno, child->server,
                     "FS0659: cannot hold a shared lock on %s: the agent may end although httpd "
                     "runs; check owner and mode of FarmSyncStateDir",
                     path);
}

static helper_t *make_helper(server_rec *server, fs_result_t *result)
{
    helper_t *self = calloc(1, sizeof(*self));

    if (!self) {
        fs_result_set(result, APR_ENOMEM, "FS0657", "out of memory");
        return NULL;
    }
    self->child.server = server;
    self->child.settings = fs_settings(server);
    self->child.cache = fs_view_cache_create(self->child.settings->state_dir);
    if (!self->child.cache ||
        fs_control_open_reader(&self->child.control, self->child.settings->state_dir, result) !=
            APR_SUCCESS) {
        fs_result_set(result, APR_ENOMEM, "FS0657", "out of memory");
        fs_view_cache_destroy(self->child.cache);
        free(self);
        return NULL;
    }
    return self;
}

void fs_child_init(apr_pool_t *pchild, server_rec *server)
{
    fs_result_t result;
    helper_t *self;
    int error;

    fs_time_init();
    fs_log_set(log_to_httpd, server, FS_LOG_DEBUG);
    self = make_helper(server, &result);
    if (!self) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, result.status, server,
                     "FS0657: this process cannot read farm data: %s", result.detail);
        return;
    }
    helper = self;
    hold_children_lock(&self->child, pchild);
    fs_avail_child_init(&self->child, pchild);
    fs_routing_child_init(&self->child);
    follow(&self->child); /* a new process has its data before its first request */
    ap_mpm_query(AP_MPMQ_IS_THREADED, &self->joinable);
    stay_mapped();
    error = start_thread(self);
    self->started = !error;
    if (error)
        ap_log_error(
            APLOG_MARK, APLOG_ERR, error, server,
            "FS0658: cannot start the helper thread: requests map new data themselves, and "
            "old data stays mapped; check the limit on threads");
    apr_pool_pre_cleanup_register(pchild, self, stop_helper);
}
