/* SPDX-License-Identifier: Apache-2.0 */
/* Names of servers, groups, applications and the like: the same characters everywhere, as they go
 * into URLs, file names and SQL. */
#ifndef FS_NAME_H
#define FS_NAME_H

#define FS_NAME_SIZE 65 /* with a NUL */

/* 1 for 1 to 64 of ASCII letters, digits, '.', '_', ':' and '-' that don't begin with '.'. */
int fs_name_is_good(const char *name);

#endif
