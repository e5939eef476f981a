/* SPDX-License-Identifier: Apache-2.0 */
/* FarmSyncMonitor and FarmSyncMonitorShare: what the agent is to look at, and what it may do. */
#ifndef FS_MONITORS_H
#define FS_MONITORS_H

#include "settings.h"
#include "text.h"

#define FS_MONITOR_SHARE_DEFAULT 50 /* percent of the servers */

/* Directives: FS1560, FS1563, or NULL. */
const char *fs_monitors_add(cmd_parms *cmd, void *unused, int count, char *const arguments[]);
const char *fs_monitors_set_share(cmd_parms *cmd, void *unused, const char *value);

/* What only the whole configuration shows, as fs_settings_problem: FS1561, or NULL. */
const char *fs_monitors_problem(apr_pool_t *pool, const fs_settings_t *settings);

/* The members "monitors" and "monitor_share" of agent.json, with a comma behind each. */
void fs_monitors_json(fs_text_t *text, const fs_settings_t *settings);
/* A line for each monitor, for DUMP_FARMSYNC. */
const char *fs_monitors_line(apr_pool_t *pool, const fs_settings_t *settings, int index);

#endif
