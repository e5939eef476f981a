/* SPDX-License-Identifier: Apache-2.0 */
/* Whether anybody has the sessions of a host open: who prepares or settles a store must know. */
#ifndef FS_SESSION_USE_H
#define FS_SESSION_USE_H

/*
 * 1 if another process has the store in `dir` open, 0 if none has or there is no store. By the lock
 * that LMDB holds on lock.mdb in each process that has it open, which ends with the process. Not for
 * a process that has the store open itself. Any thread.
 */
int fs_session_store_in_use(const char *dir);

#endif
