/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to tell about this server, gathered once and told in several ways: HTML, JSON,
 * Prometheus, /server-status and DUMP_FARMSYNC. Reads the control page and marks only; a request's
 * pin is not touched.
 */
#ifndef FS_FACTS_H
#define FS_FACTS_H

#include <httpd.h>

#include "control/fs_control.h"
#include "control/fs_view_cache.h"
#include "settings.h"

typedef struct fs_group_facts_t {
    const char *name;
    int known;                 /* the agent has published it */
    fs_control_group_t record; /* zeroed if not known */
    fs_choice_t choice;        /* what a request would be served from now */
    int64_t floor;
    uint64_t requests, lookups, misses, refused;
    fs_usec_t first_new, last_old;
    fs_usec_t first_new_bound, last_old_bound; /* INT64_MAX: farm time was not measured then */
    fs_usec_t until_activation; /* from now; negative: since; only with a known clock */
    fs_usec_t heard_age;        /* -1 unknown */
    const fs_view_t *view;      /* what is served, NULL if nothing; pinned until fs_facts_done */
    fs_view_pin_t pin;
    const char *unreadable; /* why this process can't map what it is to serve, NULL if it can */
    const char *trouble;    /* why the group isn't well, NULL if it is */
} fs_group_facts_t;

typedef struct fs_facts_t {
    const fs_settings_t *settings;
    int attached; /* the control page can be read */
    fs_result_t attach_problem;
    int64_t agent_pid;
    fs_usec_t agent_age; /* since its last beat; -1 never */
    int agent_alive;
    fs_control_clock_t clock;
    int clock_known; /* measured */
    fs_usec_t farm, bound;
    fs_usec_t measured_age;
    unsigned views_mapped, views_pinned; /* in this process */
    int healthy;
    const char *reason; /* why not, or what limits it; "ok" */
    int group_count;
    fs_group_facts_t *groups;
} fs_facts_t;

/*
 * Gathers with the control page and views of this process, or with `cache` NULL without looking
 * into views. `on_stale` decides whether a stale group makes the server unhealthy.
 */
fs_facts_t *fs_facts_gather(apr_pool_t *pool, const fs_settings_t *settings, fs_control_t *control,
                            fs_view_cache_t *cache, int on_stale);
/* Lets go of the views. */
void fs_facts_done(fs_facts_t *facts, fs_view_cache_t *cache);

const char *fs_facts_clock_state(const fs_facts_t *facts);
const char *fs_facts_group_state(const fs_group_facts_t *group);
/* The version that an operator has pinned the group to, 0 if none. */
int64_t fs_facts_pinned(const fs_group_facts_t *group);
/* "42.5 s", "3 min", "2 h" of a span; "never" below zero. */
const char *fs_facts_span(apr_pool_t *pool, fs_usec_t span);

#endif
