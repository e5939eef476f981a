/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_rules.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fs_avail_role_t fs_avail_role(const fs_avail_caller_t *caller, uid_t own, int own_is_operator)
{
    if (!caller->local)
        return caller->is_signed ? FS_AVAIL_OPERATOR : FS_AVAIL_OBSERVE;
    if (caller->user == 0 || (caller->user == own && own_is_operator))
        return FS_AVAIL_OPERATOR;
    return FS_AVAIL_MONITOR;
}

const char *fs_avail_role_name(fs_avail_role_t role)
{
    return role == FS_AVAIL_OPERATOR  ? "operator"
           : role == FS_AVAIL_MONITOR ? "monitor"
                                      : "observe";
}

/* --- what may be told ------------------------------------------------------------------------- */

static int is_monitor_id(const char *id)
{
    return !strncmp(id, FS_AVAIL_MONITOR_PREFIX, strlen(FS_AVAIL_MONITOR_PREFIX));
}

/* FNV-1a of 64 bits: what is cut from a long name must still tell names apart. */
static uint64_t hash_of(const char *one, const char *other)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *one; one++)
        hash = (hash ^ (unsigned char)*one) * UINT64_C(1099511628211);
    hash = (hash ^ '/') * UINT64_C(1099511628211);
    for (; *other; other++)
        hash = (hash ^ (unsigned char)*other) * UINT64_C(1099511628211);
    return hash;
}

void fs_avail_monitor_id(const char *name, const char *server, char id[FS_NOTICE_NAME_SIZE])
{
    int length = snprintf(id, FS_NOTICE_NAME_SIZE, FS_AVAIL_MONITOR_PREFIX "%s%s%s", name,
                          *server ? "." : "", server);

    if (length >= FS_NOTICE_NAME_SIZE)
        snprintf(id, FS_NOTICE_NAME_SIZE, FS_AVAIL_MONITOR_PREFIX "%.38s.%016llx", name,
                 (unsigned long long)hash_of(name, server));
}

int fs_avail_is_sound(const fs_notice_t *notice, const char *key)
{
    char own[FS_NOTICE_KEY_SIZE];

    fs_notice_key(notice, own);
    return !strcmp(own, key) &&
           is_monitor_id(fs_notice_id(notice)) == (notice->role == FS_NOTICE_MONITOR);
}

static apr_status_t admit_monitor(fs_notice_t *notice, char *id, fs_usec_t since, fs_usec_t farm,
                                  fs_result_t *result)
{
    fs_window_t *window = &notice->window;

    if (notice->state == FS_NOTICE_UP)
        return fs_result_set(result, APR_EACCES, "FS1571",
                             "a monitor says \"down\" or \"degraded\", and takes that back: only "
                             "an operator overrules others with \"up\"");
    if (!strcmp(notice->application, FS_NOTICE_EVERY))
        return fs_result_set(result, APR_EACCES, "FS1571",
                             "a monitor speaks of one application, not of all");
    if (window->days || window->from > farm)
        return fs_result_set(result, APR_EACCES, "FS1571",
                             "a monitor says what is, not what is planned: leave out from and "
                             "weekly");
    if (notice->id && !is_monitor_id(notice->id))
        fs_avail_monitor_id(notice->id, "", id);
    else
        snprintf(id, FS_NOTICE_NAME_SIZE, "%s",
                 notice->id ? notice->id : FS_AVAIL_MONITOR_PREFIX "notice");
    notice->id = id;
    /* The beginning decides whose word counts where not all may: it outlasts renewals. */
    window->from = since && since <= farm ? since : farm;
    if (!window->until)
        window->until = farm + FS_AVAIL_MONITOR_DEFAULT;
    if (window->until > farm + FS_AVAIL_MONITOR_MOST)
        window->until = farm + FS_AVAIL_MONITOR_MOST;
    return APR_SUCCESS;
}

apr_status_t fs_avail_admit(fs_notice_t *notice, fs_avail_role_t role, char *id, fs_usec_t since,
                            fs_usec_t farm, fs_result_t *result)
{
    if (role == FS_AVAIL_OBSERVE)
        return fs_result_set(result, APR_EACCES, "FS1570",
                             "who isn't known may look at notices, but not tell any: use the "
                             "agent's socket, or sign with the farm key");
    if (role == FS_AVAIL_MONITOR)
        notice->role = FS_NOTICE_MONITOR;
    if (notice->window.until && !fs_window_pending(&notice->window, farm))
        return fs_result_set(result, APR_EINVAL, "FS1572",
                             "this notice is over already, or never in force: give a later time");
    if (notice->role == FS_NOTICE_MONITOR)
        return admit_monitor(notice, id, since, farm, result);
    if (notice->id && is_monitor_id(notice->id))
        return fs_result_set(result, APR_EINVAL, "FS1573",
                             "ids that begin with \"" FS_AVAIL_MONITOR_PREFIX
                             "\" belong to monitors: give another one");
    snprintf(id, FS_NOTICE_NAME_SIZE, "%s", fs_notice_id(notice));
    notice->id = id;
    return APR_SUCCESS;
}

/* --- rate ------------------------------------------------------------------------------------- */

int fs_avail_bucket_take(fs_avail_bucket_t *bucket, fs_usec_t now)
{
    double fill = bucket->filled ? (double)(now - bucket->filled) * FS_AVAIL_PER_SECOND / 1e6
                                 : FS_AVAIL_BURST;

    bucket->filled = now;
    bucket->tokens += fill > 0 ? fill : 0;
    if (bucket->tokens > FS_AVAIL_BURST)
        bucket->tokens = FS_AVAIL_BURST;
    if (bucket->tokens < 1)
        return 0;
    bucket->tokens -= 1;
    return 1;
}

/* --- share ------------------------------------------------------------------------------------ */

unsigned fs_avail_allowed(unsigned servers, unsigned percent)
{
    unsigned allowed = servers * percent / 100;

    return allowed ? allowed : 1;
}

/* The servers of one application that monitors have taken down so far. */
typedef struct taken_t {
    const char *names[FS_AVAIL_SERVERS_MOST];
    unsigned count;
    int all;
} taken_t;

static int has(const taken_t *taken, const char *server)
{
    for (unsigned i = 0; i < taken->count; i++)
        if (!strcmp(taken->names[i], server))
            return 1;
    return 0;
}

/* Takes the notice's servers if they are no more than allowed then. */
static int take(taken_t *taken, const fs_notice_t *notice, unsigned servers, unsigned allowed)
{
    unsigned before = taken->count;

    if (!notice->server_count) {
        if (allowed < servers)
            return 0;
        return taken->all = 1;
    }
    for (unsigned i = 0; i < notice->server_count && taken->count < FS_AVAIL_SERVERS_MOST; i++)
        if (!has(taken, notice->servers[i]))
            taken->names[taken->count++] = notice->servers[i];
    if (taken->all || taken->count <= allowed)
        return 1;
    taken->count = before;
    return 0;
}

int fs_avail_is_limited(const fs_notice_t *notice)
{
    return notice->role == FS_NOTICE_MONITOR && notice->state == FS_NOTICE_DOWN;
}

static int counts_now(const fs_notice_t *notice, fs_usec_t farm)
{
    fs_window_at_t at;

    fs_window_at(&notice->window, farm, &at);
    return at.in_force && fs_avail_is_limited(notice);
}

/* By application, then by beginning; then by key, so that all servers have the same order. */
static int compare(const void *one, const void *other)
{
    const fs_notice_t *a = ((const fs_avail_item_t *)one)->notice;
    const fs_notice_t *b = ((const fs_avail_item_t *)other)->notice;
    int order = strcmp(a->application, b->application);

    if (order)
        return order;
    if (a->window.from != b->window.from)
        return a->window.from < b->window.from ? -1 : 1;
    return strcmp(fs_notice_id(a), fs_notice_id(b));
}

unsigned fs_avail_share(fs_avail_item_t *items, unsigned count, unsigned servers, unsigned percent,
                        fs_usec_t farm)
{
    unsigned allowed = fs_avail_allowed(servers, percent), left_out = 0;
    taken_t taken;

    taken.count = 0;
    taken.all = 0;
    qsort(items, count, sizeof(*items), compare);
    for (unsigned i = 0; i < count; i++) {
        const fs_notice_t *notice = items[i].notice;

        if (i && strcmp(notice->application, items[i - 1].notice->application)) {
            taken.count = 0;
            taken.all = 0;
        }
        items[i].heeded = !counts_now(notice, farm) || take(&taken, notice, servers, allowed);
        left_out += !items[i].heeded;
    }
    return left_out;
}
