/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's lines in httpd's error log: its stderr is that of httpd, and a line looks like
 * httpd's own, so that one pair of eyes, or one log shipper, reads both.
 */
#ifndef FS_AGENT_LOG_H
#define FS_AGENT_LOG_H

#include "base/fs_log.h"

/* Sends all messages of `level` and more important to stderr, one write a line. Before threads. */
void fs_agent_log_start(fs_log_level_t level);

#endif
