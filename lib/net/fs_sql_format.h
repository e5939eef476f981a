/* SPDX-License-Identifier: Apache-2.0 */
/* Statements with their values in place. Pure; any thread. Used by fs_sql.c. */
#ifndef FS_SQL_FORMAT_H
#define FS_SQL_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Formats a statement as fs_sql_run describes. Returns malloc'ed text with a NUL behind, NULL when
 * memory is short or the format has a directive that isn't one of %s %d %i %r %%.
 * Relies on what fs_sql sets for each session: character set utf8mb4 (no byte of a longer character
 * looks like a quote or a backslash) and a sql_mode without NO_BACKSLASH_ESCAPES.
 */
char *fs_sql_format(size_t *length, const char *format, va_list args);

#endif
