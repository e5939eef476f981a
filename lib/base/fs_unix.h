/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets by path, of any length: the kernel takes 107 characters, a state directory may have
 * more. Any thread.
 */
#ifndef FS_UNIX_H
#define FS_UNIX_H

#include <sys/types.h>

#include "base/fs_result.h"

/*
 * Listens at `path` with the permissions `mode`, non-blocking, not inherited over exec. The name
 * appears with a socket behind it that already takes connections; the file that a process left
 * behind is replaced. Returns the descriptor, or -1. Errors: FS0253 (somebody listens there, or
 * what is there is no socket, or the directory can't be written).
 */
int fs_unix_listen(const char *path, mode_t mode, int backlog, fs_result_t *result);

/* Connects, blocking; not inherited over exec. Returns the descriptor, or -1 with errno. */
int fs_unix_connect(const char *path);

#define FS_UNIX_FDS 8 /* in one message */

/* Sends `data` with copies of descriptors. Returns 0, or -1 with errno. */
int fs_unix_send(int socket, const void *data, size_t length, const int *fds, unsigned count);
/*
 * Receives one message: `data` with at most `length` bytes and at most FS_UNIX_FDS descriptors (not
 * inherited over exec), which are the caller's. Returns how many bytes, 0 at the end, or -1 with
 * errno; then there are no descriptors.
 */
ssize_t fs_unix_receive(int socket, void *data, size_t length, int fds[FS_UNIX_FDS],
                        unsigned *count);

#endif
