/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One agent to a state directory, and how long an agent without a parent stays.
 *
 *   StateDir/agent.lock      flock'ed by the agent; holds its pid
 *   StateDir/children.lock   flock'ed (shared) by every httpd child that reads the control page
 *
 * A new agent ends the old one of the same httpd: after a graceful restart, or when the old one
 * hangs. The control page stays published meanwhile, so no request notices.
 */
#ifndef FS_AGENT_LOCK_H
#define FS_AGENT_LOCK_H

#include "base/fs_result.h"

/*
 * Who takes over: `take` is called before the holder is ended, and gets from it what mustn't be
 * lost; 1 if it has that. `another`: the holder isn't that of the last call, whose things may be
 * stale.
 */
typedef struct fs_agent_heir_t {
    int (*take)(void *baton, int another);
    void *baton;
} fs_agent_heir_t;

/*
 * Takes StateDir/agent.lock, ending whoever holds it: SIGTERM, after 2 s SIGKILL. An agent whose
 * own httpd is alive and isn't ours is left alone: two httpd must not share a state directory. The
 * lock is held until the process ends. Errors: FS0610 cannot open, FS0611 another httpd's, FS0612
 * won't go, FS0628 (APR_EOF) a newer agent of the same httpd has it: this one is to end, all is
 * well.
 */
apr_status_t fs_agent_lock_take(const char *state_dir, int standalone, const fs_agent_heir_t *heir,
                                fs_result_t *result);

/*
 * Those who take over do so one after the other, so that none ends a holder whose sockets another
 * is about to get: waits for StateDir/agent.heir, for some seconds at most. Close what is returned
 * when the listeners are open; -1 is fine.
 */
int fs_agent_heir_begin(const char *state_dir);

/* Whether any httpd child still holds StateDir/children.lock. Not being able to tell counts as yes.
 */
int fs_agent_children_left(const char *state_dir);

#endif
