/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent does beside data: each part (backplane, sessions, availability) brings its own
 * threads, routes and state, and is known to main.c only through this. A part without configuration
 * opens as nothing.
 *
 * The order of the table in parts.c is that of opening and starting; the end goes backwards.
 */
#ifndef FS_AGENT_PARTS_H
#define FS_AGENT_PARTS_H

#include "agent.h"

typedef struct fs_agent_part_t {
    const char *name;
    /*
     * Before any thread runs and after the control page is open and the key is read: makes the
     * state and adds routes (fs_agent_listen_add). NULL: nothing to open.
     */
    apr_status_t (*open)(fs_agent_t *agent, fs_result_t *result);
    /* Starts the threads. */
    apr_status_t (*start)(fs_agent_t *agent, fs_result_t *result);
    /*
     * The agent is to stop (fs_agent_stopping says so): wakes whoever waits and ends what waits for
     * a network. Called again every 20 ms until `join` has returned 1, from the main thread; must
     * not wait.
     */
    void (*wake)(fs_agent_t *agent);
    /* 1 if all threads of the part have ended and are joined; must not wait. */
    int (*join)(fs_agent_t *agent);
} fs_agent_part_t;

/* pthread_create with a sentence for people. Errors: FS0622. */
apr_status_t fs_agent_start_thread(pthread_t *thread, void *(*run)(void *), void *baton,
                                   fs_result_t *result);

apr_status_t fs_agent_parts_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_agent_parts_start(fs_agent_t *agent, fs_result_t *result);
/* Ends the parts before `until` (mono). 0 if one of them hangs. */
int fs_agent_parts_end(fs_agent_t *agent, fs_usec_t until);

#endif
