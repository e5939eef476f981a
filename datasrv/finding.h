/* SPDX-License-Identifier: Apache-2.0 */
/* What was found to be wrong with this data server. */
#ifndef FS_DATASRV_FINDING_H
#define FS_DATASRV_FINDING_H

#include "bank.h"
#include "board.h"

#define FS_HEALTH_FINDINGS (4 + 3 * FS_BOARD_GROUPS + FS_BANK_PEERS)

typedef struct fs_finding_t {
    int failing; /* 1: agents should prefer another data server; 0: worth knowing */
    char group[FS_IMAGE_NAME_SIZE]; /* "" the whole server */
    fs_result_t what;
} fs_finding_t;

typedef struct fs_health_t {
    int ok; /* no finding is failing */
    unsigned count;
    fs_finding_t findings[FS_HEALTH_FINDINGS];
} fs_health_t;

/* Adds a finding, if there is room. */
void fs_health_find(fs_health_t *health, int failing, const char *group, const char *number,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
