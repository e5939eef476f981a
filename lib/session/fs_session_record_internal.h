/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoding, version 1. Numbers are LEB128 of the shortest length unless said otherwise.
 *
 *   "FSR" 1          format
 *   state            1 byte
 *   writers          number, then 8 bytes little endian each, rising; stamps name them by index
 *   version          epoch, sequence, writer's index
 *   owner            epoch, writer's index, length of the name, name
 *   created, ends, used, idle
 *   alias:           16 bytes key, 32 bytes seal key, until
 *   live:            floor (as version), number of entries, then each:
 *                    key length, value length + 1 (0: tombstone), stamp, key, value
 */
#ifndef FS_SESSION_RECORD_INTERNAL_H
#define FS_SESSION_RECORD_INTERNAL_H

#include "session/fs_session_record.h"

#define FS_RECORD_FORMAT        1
#define FS_RECORD_FIXED_WRITERS 3 /* version, owner, floor */

/* What is wrong with the record, or NULL. `bytes`: no encoding of it is longer. */
const char *fs_session_record_check(const fs_session_record_t *record, size_t *bytes);

#endif
