/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request process asks the agent of its host, on StateDir/agent.sock (doc/agent.md):
 *
 *   POST /session/fetch?wait=MS             body: key, seal key
 *       200 the session is in the store and may be served; 404 nobody has it; 503 nobody could say
 *       in time. For a session that isn't there, that was released, or that is in doubt.
 *   POST /session/ack?copies=N&wait=MS      body: key, version
 *       200 as many copies of that version as N, or as can be had now, are on the bank; 504 the
 *       time is over. Both with {"copies": how many, "possible": how many can be had}.
 *
 * Numbers are little endian. Any thread.
 */
#ifndef FS_SESSION_ASK_H
#define FS_SESSION_ASK_H

#include "session/fs_session_record.h"

#define FS_SESSION_FETCH_BYTES (FS_SESSION_KEY_BYTES + FS_SESSION_SEAL_BYTES)
#define FS_SESSION_ACK_BYTES   (FS_SESSION_KEY_BYTES + 20)
#define FS_SESSION_WAIT_LIMIT  60000 /* ms, of `wait` */

void fs_session_fetch_write(uint8_t body[FS_SESSION_FETCH_BYTES], const fs_session_key_t *key,
                            const uint8_t seal[FS_SESSION_SEAL_BYTES]);
/* 0, or -1 if it has another length. */
int fs_session_fetch_read(const void *body, size_t length, fs_session_key_t *key,
                          uint8_t seal[FS_SESSION_SEAL_BYTES]);

void fs_session_ack_write(uint8_t body[FS_SESSION_ACK_BYTES], const fs_session_key_t *key,
                          const fs_session_stamp_t *version);
/* 0, or -1 if it has another length. */
int fs_session_ack_read(const void *body, size_t length, fs_session_key_t *key,
                        fs_session_stamp_t *version);

#endif
