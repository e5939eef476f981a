/* SPDX-License-Identifier: Apache-2.0 */
/* What clients were last sent goes to their alternates, and comes from their homes. */
#ifndef FS_AGENT_REUSE_CARRY_H
#define FS_AGENT_REUSE_CARRY_H

#include "agent.h"

typedef struct fs_reuse_carrier_t fs_reuse_carrier_t;

/* After the backplane's. */
apr_status_t fs_reuse_carry_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_reuse_carry_start(fs_agent_t *agent, fs_result_t *result);
void fs_reuse_carry_wake(fs_agent_t *agent);
int fs_reuse_carry_join(fs_agent_t *agent);

#endif
