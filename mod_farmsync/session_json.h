/* SPDX-License-Identifier: Apache-2.0 */
/* Entries as JSON: an object whose values are strings. Pure; any thread. */
#ifndef FS_SESSION_JSON_H
#define FS_SESSION_JSON_H

#include "session/fs_session_merge.h"
#include "text.h"

/* Values that aren't UTF-8 are taken as ISO 8859-1. */
void fs_session_json_write(fs_text_t *text, const fs_session_entry_t *entries, uint32_t count);

/*
 * Reads an object as changes, sorted by key; null is one that takes the key out. Returns NULL, or
 * what is wrong. Everything is the pool's.
 */
const char *fs_session_json_read(const char *json, size_t length, fs_session_change_t **changes,
                                 uint32_t *count, apr_pool_t *pool);

#endif
