/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a text may stand in JSON (RFC 8259) as it is. Looks at the text, makes nothing of it. */
#ifndef FS_JSON_SCAN_H
#define FS_JSON_SCAN_H

#include <stddef.h>

/* 1 if `data` is exactly one JSON number: what SQL writes as 007 or .5 is none. */
int fs_json_is_number(const char *data, size_t length);
/* 1 if `data` is exactly one JSON value, nested at most 64 deep; white space around it is fine. */
int fs_json_is_value(const char *data, size_t length);

#endif
