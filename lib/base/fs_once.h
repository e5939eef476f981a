/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that several processes map, and that whoever comes first makes: httpd, an agent that it
 * started, one that was started by hand. However many come at once, all have the same file in the
 * end: one that is good is never replaced, and only one process at a time looks and makes.
 */
#ifndef FS_ONCE_H
#define FS_ONCE_H

#include <sys/types.h>

/* What the file is. */
typedef struct fs_once_t {
    int (*good)(int fd, void *baton); /* 1 if this file can be used */
    int (*fill)(int fd, void *baton); /* writes a new one; 0 or an error of the system */
    void *baton;
    mode_t mode;
    uid_t uid; /* whose a new one is; (uid_t)-1, (gid_t)-1: as it is */
    gid_t gid;
} fs_once_t;

/*
 * The file, open for reading and writing: the one that is there if it is good, else one that is
 * made beside it and put in its place; who has the other one mapped keeps that. -1 with errno set;
 * EBUSY: another process has been making files in this directory for too long.
 */
int fs_once_open(const char *path, const fs_once_t *how);

/*
 * Locks a directory for making things in it, until the descriptor is closed or the process ends.
 * -1 with errno EBUSY as above; without an error if its file system has no such locks: then all is
 * as good as it can be there.
 */
int fs_once_lock(const char *directory);

#endif
