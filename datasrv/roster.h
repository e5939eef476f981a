/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What members told of themselves since it was last written to the database: the newest word of
 * each member and group. Collected by the HTTP thread, taken by the scribe once a second,
 * so that a thousand agents cost the database the same one statement as one. Bounded; any thread.
 */
#ifndef FS_DATASRV_ROSTER_H
#define FS_DATASRV_ROSTER_H

#include "sync/fs_source.h"

#define FS_ROSTER_MEMBERS 4096

typedef struct fs_roster_t fs_roster_t;

fs_roster_t *fs_roster_create(void);
void fs_roster_destroy(fs_roster_t *roster);
/* Returns 0 if there is no room, which is when the database is away and too many members report. */
int fs_roster_put(fs_roster_t *roster, const fs_member_t *member);
/* Takes everything: *members is malloc'ed (NULL if none). */
unsigned fs_roster_take(fs_roster_t *roster, fs_member_t **members);
/* Gives back what could not be written, unless newer word has come meanwhile; frees `members`. */
void fs_roster_give_back(fs_roster_t *roster, fs_member_t *members, unsigned count);

#endif
