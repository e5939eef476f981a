/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the threads of datasrv tell each other: farm time, the groups' manifests, how the database
 * and each group's work are doing.
 *
 *   database thread ──▶ clock, database, manifests ──▶ ┌───────┐ ──▶ HTTP thread: answers, health,
 * metrics group threads   ──▶ facts of their work        ──▶ │ board │ ──▶ group threads: clock
 *                                                      └───────┘
 * One lock, held for copying only; manifests leave it by reference. Any thread may call anything
 * here.
 */
#ifndef FS_DATASRV_BOARD_H
#define FS_DATASRV_BOARD_H

#include "base/fs_result.h"
#include "published.h"
#include "sync/fs_farm_clock.h"

#define FS_BOARD_GROUPS 64

/* How a group's thread is doing. Times of people are farm time, 0 for never. */
typedef struct fs_group_facts_t {
    char name[FS_IMAGE_NAME_SIZE];
    char building[FS_IMAGE_NAME_SIZE]; /* the dataset whose image is being built now, "" none */
    int promoting;
    unsigned images_missing;                           /* of the published versions */
    uint64_t staged, unchanged, lost, refused, failed; /* outcomes of promotions tried here */
    uint64_t builds, build_failures, images_verified;
    fs_usec_t promoted; /* when the latest successful promotion of this process was done */
    fs_usec_t promotion_took, build_took;
    fs_result_t promotion_problem, image_problem; /* of the work here; problem[0] == 0: none */
} fs_group_facts_t;

typedef struct fs_database_facts_t {
    int up;
    int ever_up;
    fs_usec_t answered; /* mono time of its latest answer, 0 never */
    fs_usec_t polled;   /* mono time at which the groups as they are on the board were asked for */
    uint64_t connects, failures;
    fs_result_t problem; /* why it is away */
} fs_database_facts_t;

typedef struct fs_board_t fs_board_t;

fs_board_t *fs_board_create(unsigned keep_versions);
void fs_board_destroy(fs_board_t *board);
void fs_board_set_keep(fs_board_t *board, unsigned keep_versions);

/* Farm time: farm now = mono `now` + *offset. 0 while it isn't known; source may be NULL. */
void fs_board_set_clock(fs_board_t *board, const fs_farm_clock_t *clock);
int fs_board_clock(fs_board_t *board, fs_usec_t now, fs_usec_t *offset, fs_usec_t *bound,
                   char source[64]);
/* Farm time now, 0 while it isn't known. */
fs_usec_t fs_board_farm_time(fs_board_t *board);

void fs_board_database_answered(fs_board_t *board);
/* All that the database had at mono time `asked` is on the board. */
void fs_board_database_polled(fs_board_t *board, fs_usec_t asked);
/* Returns 1 if this is a change, so that it is logged once. */
int fs_board_database_up(fs_board_t *board);
int fs_board_database_away(fs_board_t *board, const fs_result_t *why);
void fs_board_database(fs_board_t *board, fs_database_facts_t *facts);

/*
 * Groups. `listed` says that the set of groups is complete, so that any other name is unknown
 * rather than not known yet. fs_board_add returns 0 when there is no room.
 */
int fs_board_add(fs_board_t *board, const char *group);
void fs_board_remove(fs_board_t *board, const char *group);
void fs_board_set_listed(fs_board_t *board);
int fs_board_listed(fs_board_t *board);
/* Puts up a manifest; takes over the reference. The former one is kept for its images' sake. */
void fs_board_publish(fs_board_t *board, const char *group, fs_published_t *published);
/* Whether the group is served here; *published (hold) is NULL while its manifest isn't known. */
int fs_board_group(fs_board_t *board, const char *group, fs_published_t **published);
void fs_board_set_facts(fs_board_t *board, const fs_group_facts_t *facts);
/* All groups, ordered by name; the caller drops each published[i] (which may be NULL). */
unsigned fs_board_groups(fs_board_t *board, fs_group_facts_t facts[FS_BOARD_GROUPS],
                         fs_published_t *published[FS_BOARD_GROUPS]);

/* Whether any group's current manifest names the image; with `kept`, or one of those kept. */
int fs_board_names(fs_board_t *board, const fs_digest_t *digest, int kept);
/* Whether every group's manifest is known, without which nothing may be removed. */
int fs_board_complete(fs_board_t *board);

#endif
