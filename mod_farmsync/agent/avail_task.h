/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of availability on its way, as avail_tell.c drives it and avail_take.c uses it. All
 * functions are of the listeners' loop, unless they say otherwise.
 */
#ifndef FS_AGENT_AVAIL_TASK_H
#define FS_AGENT_AVAIL_TASK_H

#include "avail.h"

struct fs_avail_task_t {
    fs_avail_task_t *next;
    fs_agent_t *agent;
    fs_http_call_t *call; /* NULL: whoever asked has gone */
    fs_notice_t *notice;  /* NULL: something is taken back */
    char id[FS_NOTICE_NAME_SIZE];
    char who[FS_NOTICE_WHO_SIZE];
    char by[FS_NOTICE_WHO_SIZE]; /* from where */
    char application[FS_NOTICE_NAME_SIZE];
    fs_avail_role_t role;
    fs_usec_t began, wait; /* mono; span */
    json_t *keys;          /* that were put or taken back */
    json_t *servers;
    unsigned told, servers_count;
    int saved;
    apr_status_t status; /* of the condition's check */
    fs_result_t result;
};

/* Reads what every request says of itself. NULL when memory is short. */
fs_avail_task_t *fs_avail_task_make(fs_agent_t *agent, fs_http_call_t *call);
/*
 * What holds for whatever is said: who may, how often, and until when. A data server that passes on
 * what was said in the database says until when it may (?before=): if it was held up, another one
 * has done it since, and something later may have been said. *status is that of the answer. Errors:
 * FS1570, FS1579, FS1587.
 */
apr_status_t fs_avail_task_check(fs_avail_task_t *task, int *status, fs_result_t *result);
/* Copies what somebody says of himself; control characters would end a line of the log. */
void fs_avail_task_copy(char *out, size_t size, const char *text);
/* The status of an answer to an error. */
int fs_avail_task_status(apr_status_t status);

/* Answers with what is wrong; the task is over. */
void fs_avail_task_refuse(fs_avail_task_t *task, int status, const fs_result_t *result);
/* Answers; the task is over. */
void fs_avail_task_finish(void *task);
/* For fs_http_call_defer: whoever asked has gone. */
void fs_avail_task_gone(void *task, fs_http_call_t *call);

/* This server is the first who was told, after `took`. */
void fs_avail_task_begin(fs_avail_task_t *task, fs_usec_t took);
/* Puts a notice into the map; the last one of a task carries it. */
apr_status_t fs_avail_task_put(fs_avail_task_t *task, const fs_notice_t *notice, int last,
                               fs_result_t *result);
/* fs_backplane_told_fn: in the backplane's thread. */
void fs_avail_task_told(void *task, const fs_told_t *told);
/* After the last put of the task: what is wrong with it ends the task here. */
void fs_avail_task_put_done(fs_avail_task_t *task, apr_status_t status, const fs_result_t *result);

#endif
