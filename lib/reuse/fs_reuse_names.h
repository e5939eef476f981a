/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was said to have changed: names that pages depend on, each with the number of the last time
 * it was invalidated. One mapped file a host; the agent writes, request processes read without a
 * lock.
 *
 *   [ head: sequence, floor | slots: hash of the name, number ]
 *
 * Numbers only grow. A page that was begun when `sequence` was n is as it would be made now if none
 * of the names it depends on has a number above n. A name that isn't in the table counts as
 * invalidated at `floor`: when a slot is needed for another name, the floor rises to its number, so
 * that forgetting a name makes pages anew but never keeps an old one.
 *
 * A name may have parts, "prices/sku-1": who invalidates "prices" means all below it.
 */
#ifndef FS_REUSE_NAMES_H
#define FS_REUSE_NAMES_H

#include <stdint.h>

#include "base/fs_result.h"

#define FS_REUSE_NAME_LIMIT 128 /* bytes */

typedef struct fs_reuse_names_t fs_reuse_names_t;

/*
 * Makes the file unless it is there, for this user and group ((uint32_t)-1: as they are). Whoever
 * makes it, at whatever time: all have the same one. Errors: FS1712.
 */
apr_status_t fs_reuse_names_prepare(const char *path, uint32_t uid, uint32_t gid,
                                    fs_result_t *result);
/*
 * Maps the file for writing, making it if it isn't there or isn't one; all names count as
 * invalidated from now on, for something may have been missed. Errors: FS1712.
 */
apr_status_t fs_reuse_names_open_writer(fs_reuse_names_t **names, const char *path,
                                        fs_result_t *result);
/*
 * The writer, now and then: if its file isn't the one at `path` any more, maps that one, making it
 * if need be (`anew` is 1 then); all names count as invalidated, and those who still read the
 * former find nothing unchanged in it. Errors: FS1712; then the former stays, and stays so.
 */
apr_status_t fs_reuse_names_follow(fs_reuse_names_t *names, const char *path, int *anew,
                                   fs_result_t *result);
/* Maps it for reading. Errors: FS1712; APR_ENOENT: nobody has made it yet. */
apr_status_t fs_reuse_names_open_reader(fs_reuse_names_t **names, const char *path,
                                        fs_result_t *result);
void fs_reuse_names_close(fs_reuse_names_t *names);
/* The process that has this very file open for writing, or had; 0 none. */
int64_t fs_reuse_names_writer(const fs_reuse_names_t *names);
/* 1 if `path` is still the file that is mapped. */
int fs_reuse_names_current(const fs_reuse_names_t *names, const char *path);

/* 1 if it is 1 to FS_REUSE_NAME_LIMIT bytes of visible ASCII without comma, and has no empty part.
 */
int fs_reuse_name_ok(const char *name, size_t length);

/* One writer at a time. */
void fs_reuse_names_invalidate(fs_reuse_names_t *names, const char *name, size_t length);

/* Any number of readers. */
uint64_t fs_reuse_names_sequence(const fs_reuse_names_t *names);
/* The number of a name: the highest of it and of what it is a part of. */
uint64_t fs_reuse_names_number(const fs_reuse_names_t *names, const char *name, size_t length);

#endif
