/* SPDX-License-Identifier: Apache-2.0 */
/* What a Unix service owes its supervisor: a pid file, the background, word to systemd. */
#ifndef FS_DATASRV_DAEMON_H
#define FS_DATASRV_DAEMON_H

#include "base/fs_result.h"

/*
 * Goes to the background before any thread starts. Returns in the child with a descriptor in
 * *ready_fd; the parent waits until fs_daemon_ready() is called there and exits 0, or 1 if the
 * child ended before, so that `datasrv --daemon && ...` tells the truth. FS0811: cannot fork.
 */
apr_status_t fs_daemon_detach(int *ready_fd, fs_result_t *result);
/* Lets the waiting parent go and gives up standard input, output and error. */
void fs_daemon_ready(int ready_fd);

/*
 * Writes and locks the pid file; the lock is what counts, so that a file left by a kill -9 is no
 * obstacle. FS0807: a running datasrv holds it (its pid is named), FS0808: cannot write.
 */
apr_status_t fs_pid_file_take(const char *path, int *fd, fs_result_t *result);
void fs_pid_file_remove(const char *path, int fd);

/*
 * Locks `dir` for this process, so that two data servers never tidy up each other's images. FS0809.
 */
apr_status_t fs_dir_lock(const char *dir, int *fd, fs_result_t *result);

/* sd_notify(3) without libsystemd: one datagram to NOTIFY_SOCKET; nothing without it. */
void fs_notify(const char *state);
/* The watchdog's period in microseconds, 0 if systemd asked for none (WATCHDOG_USEC). */
unsigned long long fs_notify_watchdog(void);

#endif
