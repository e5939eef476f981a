/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Availability in the agent: takes notices from people, tools and monitors, and brings what the
 * farm's map has of them to the request processes.
 *
 *   avail.c          the map's notices -> this server's publication      any thread that merges;
 *                    windows, the share of monitors                      a thread for the rest
 *   avail_http.c     /v1/notices                                         listeners' loop
 *   avail_tell.c     a notice on its way: condition, rules, map, answer; loop, and a thread for
 *   avail_take.c     what is taken back                                  conditions
 *   avail_history.c  StateDir/notices.log                                any thread
 *   monitor_run.c    a thread for each monitor
 *
 * What an operator says is published by the very thread that merges it, before the backplane
 * confirms it: a server that has confirmed answers accordingly. What monitors say is gathered for
 * some milliseconds, so that a flood of it costs one publication and not a thousand.
 *
 * avail->lock protects the table and the writer. It is taken before the backplane's lock, and never
 * held across fs_backplane_put, whose call back takes it.
 */
#ifndef FS_AGENT_AVAIL_H
#define FS_AGENT_AVAIL_H

#include <jansson.h>

#include "agent.h"
#include "avail/fs_avail_page.h"
#include "avail_table.h"
#include "backplane.h"
#include "monitor.h"
#include "net/fs_http_server.h"

#define FS_AVAIL_PROBE_SIZE 33

#define FS_AVAIL_TELL_WAIT    (1 * FS_USEC_PER_SEC) /* for the others' confirmations */
#define FS_AVAIL_TELL_MOST    (10 * FS_USEC_PER_SEC)
#define FS_AVAIL_EXPIRES_LATE (3600 * FS_USEC_PER_SEC) /* records outlive their notices so long */

/* One monitor at work. */
typedef struct fs_monitor_t {
    fs_agent_t *agent;
    const fs_monitor_config_t *config;
    char id[FS_NOTICE_NAME_SIZE];
    char key[FS_NOTICE_KEY_SIZE];
    pthread_t thread;
    int started, joined;
    pthread_mutex_t lock; /* all below */
    fs_monitor_state_t state;
    fs_usec_t since; /* farm time when it fell */
    char said[FS_MONITOR_SAID_SIZE];
} fs_monitor_t;

typedef struct fs_avail_task_t fs_avail_task_t;

typedef struct fs_avail_agent_t {
    pthread_mutex_t lock; /* table, writer, publication */
    fs_avail_table_t *table;
    fs_avail_writer_t *writer;
    pthread_cond_t due;
    int dirty;         /* something waits to be published */
    fs_usec_t first;   /* mono: from then on an empty table is published, too */
    fs_usec_t cost;    /* of the latest publication */
    unsigned left_out; /* monitors' notices that aren't heeded */
    fs_trouble_t publishing;
    pthread_t thread;
    int started, joined;

    /* A writer of its own, and a thread, for conditions: httpd may take a second to answer. */
    fs_avail_writer_t *checker;
    pthread_mutex_t tasks_lock;
    pthread_cond_t tasks_due;
    fs_avail_task_t *tasks;
    pthread_t check_thread;
    int check_started, check_joined;

    int own_is_operator; /* httpd wasn't started by root */
    fs_avail_bucket_t bucket;
    fs_log_gate_t refused_gate, told_gate; /* the loop's */
    uint64_t told, refused, limited;       /* the loop's */
    char probe[FS_AVAIL_PROBE_SIZE];

    pthread_mutex_t history_lock; /* the file, and what follows */
    fs_avail_bucket_t history_bucket;
    unsigned history_left_out;

    unsigned monitor_count;
    fs_monitor_t monitors[FS_MONITORS_MAX];
} fs_avail_agent_t;

/* --- the part --------------------------------------------------------------------------------- */

apr_status_t fs_avail_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_avail_start(fs_agent_t *agent, fs_result_t *result);
void fs_avail_wake(fs_agent_t *agent);
int fs_avail_join(fs_agent_t *agent);

/* --- avail.c ---------------------------------------------------------------------------------- */

/* When the record of a notice may go; 0: never. */
fs_usec_t fs_avail_expires(const fs_notice_t *notice);
/* When the notice of this key began, if it is in force at `farm`; else 0. */
fs_usec_t fs_avail_since(fs_avail_agent_t *avail, const char *key, fs_usec_t farm);

/* --- avail_http.c, avail_tell.c: the loop's thread ------------------------------- */

apr_status_t fs_avail_routes(fs_agent_t *agent, fs_result_t *result);
void fs_avail_post(void *agent, fs_http_call_t *call);
void fs_avail_delete(void *agent, fs_http_call_t *call);
/* Who calls, for the log: "uid 0", "web3 at 10.0.0.3:4711". */
void fs_avail_caller(fs_agent_t *agent, fs_http_call_t *call, fs_avail_role_t *role, char *text,
                     size_t size);
/* The notice and how it stands, as the interface shows it. avail->lock is held. */
json_t *fs_avail_describe(const fs_avail_entry_t *entry, fs_usec_t farm);

apr_status_t fs_avail_start_checks(fs_agent_t *agent, fs_result_t *result);

/* --- avail_history.c -------------------------------------------------------------------------- */

#define FS_AVAIL_HISTORY_LIMIT (1024 * 1024) /* of the file, and of the one before it */
#define FS_AVAIL_HISTORY_SHOWN 200

/* One more line: what was done (told, changed, taken back, over) with which notice (NULL none), by
 * whom. Any lock. */
void fs_avail_remember(fs_agent_t *agent, const char *act, const char *key,
                       const fs_notice_t *notice, const char *origin, const char *by,
                       const char *why);
/* The last `most` lines as a JSON array, oldest first. */
json_t *fs_avail_history(fs_agent_t *agent, unsigned most);

/* --- monitor_run.c ---------------------------------------------------------------------------- */

void fs_monitors_open(fs_agent_t *agent);
apr_status_t fs_monitors_start(fs_agent_t *agent, fs_result_t *result);
int fs_monitors_join(fs_agent_t *agent);
json_t *fs_monitors_describe(fs_agent_t *agent);
/* 1 if one of them looks at an application by HTTP. */
int fs_monitors_look_by_http(const fs_agent_t *agent);

#endif
