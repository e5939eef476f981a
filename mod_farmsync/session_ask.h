/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the agent of this host (lib/session/fs_session_ask.h says what), with a deadline. A few
 * connections are kept by each process; a kept one that the agent has closed is replaced once.
 *
 * While the agent is being started again, a request waits for it, within its time; once that was in
 * vain, nobody waits again until the agent is back.
 *
 * Any thread; nothing is held while waiting.
 */
#ifndef FS_SESSION_ASKING_H
#define FS_SESSION_ASKING_H

#include "session_host.h"

typedef enum fs_session_answer_t {
    FS_SESSION_YES,  /* fetch: it is in the store and may be served; ack: confirmed */
    FS_SESSION_NO,   /* fetch: nobody has it */
    FS_SESSION_LATE, /* nobody could say in time */
    FS_SESSION_AWAY  /* there is no agent to ask */
} fs_session_answer_t;

fs_session_answer_t fs_session_fetch(const fs_session_host_t *host, const fs_session_key_t *key,
                                     const uint8_t seal[FS_SESSION_SEAL_BYTES], int wait_ms);
fs_session_answer_t fs_session_ack(const fs_session_host_t *host, const fs_session_key_t *key,
                                   const fs_session_stamp_t *version, int copies, int wait_ms);

#endif
