/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that aren't synced are worth nothing after the host went down. A small file beside them
 * says in which boot of the host they were opened, and whether they were settled (synced) before it
 * ended.
 */
#ifndef FS_BOOT_H
#define FS_BOOT_H

#include "base/fs_result.h"

#define FS_BOOT_SIZE 64

/* The name of this boot of the host: `given`, or if NULL what the kernel says. */
void fs_boot_name(char name[FS_BOOT_SIZE], const char *given);
/* Errors: FS0010. */
apr_status_t fs_boot_write(const char *path, const char *boot, int settled, fs_result_t *result);
/* 1 if what the file stands for was opened in this boot, or settled. */
int fs_boot_is_good(const char *path, const char *boot);

#endif
