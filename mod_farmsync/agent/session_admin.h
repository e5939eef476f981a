/* SPDX-License-Identifier: Apache-2.0 */
/* What farmsyncctl asks of sessions; JSON, see doc/agent.md. */
#ifndef FS_AGENT_SESSION_ADMIN_H
#define FS_AGENT_SESSION_ADMIN_H

#include "session.h"

apr_status_t fs_session_admin_open(fs_sessions_t *sessions, fs_result_t *result);

#endif
