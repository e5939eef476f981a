/* SPDX-License-Identifier: Apache-2.0 */
/* A member as a JSON value, for those that send many at once. Private to lib/sync. */
#ifndef FS_MEMBER_H
#define FS_MEMBER_H

#include <jansson.h>

#include "sync/fs_source.h"

/* A new reference, NULL without memory or when a text isn't UTF-8. */
json_t *fs_member_json(const fs_member_t *member);

#endif
