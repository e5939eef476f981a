/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: puts the parts together, starts and stops them, reloads.
 *
 *   main thread        HTTP (service.h) and signals
 *   database thread    follower.h: clock, state of the groups; only reads
 *   scribe             scribe.h: members' rows, the dashboard's tables, tidying; may take its time
 *   a thread a group   worker.h: promotion, images, pruning
 */
#ifndef FS_DATASRV_SERVER_H
#define FS_DATASRV_SERVER_H

/* Checks the configuration and the files it names; says what is wrong on standard error. Exit
 * status. */
int fs_server_check(const char *config);
/* Runs until SIGTERM or SIGINT. Exit status. */
int fs_server_run(const char *config, int background);

#endif
