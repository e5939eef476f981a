/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of a JSON object from the wire, checked one by one. Each reader returns 0, or -1 when the
 * field is missing, of another type or out of range; then `field` of the cursor names it.
 * Private to lib/sync.
 */
#ifndef FS_JSON_FIELD_H
#define FS_JSON_FIELD_H

#include <jansson.h>
#include <stdint.h>

typedef struct fs_json_cursor_t {
    const json_t *object;
    const char *field; /* the one that was last asked for */
} fs_json_cursor_t;

int fs_json_integer(fs_json_cursor_t *cursor, const char *name, int64_t least, int64_t most,
                    int64_t *value);
/* As fs_json_integer; null gives `if_null`. */
int fs_json_integer_or_null(fs_json_cursor_t *cursor, const char *name, int64_t least, int64_t most,
                            int64_t if_null, int64_t *value);
/* Text of at most size - 1 bytes without control characters; empty only if `may_be_empty`. */
int fs_json_text(fs_json_cursor_t *cursor, const char *name, int may_be_empty, char *out,
                 size_t size);
/* As fs_json_text without a copy; *length is 0 if it is empty. */
int fs_json_string(fs_json_cursor_t *cursor, const char *name, const char **text, size_t *length);

#endif
