/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with this data server just now, for /healthz, /metrics and the dashboard alike. */
#ifndef FS_DATASRV_HEALTH_H
#define FS_DATASRV_HEALTH_H

#include "service.h"

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
/* bank_page.c: what is wrong with the session bank; nothing of it makes the data server fail. */
void fs_bank_find(fs_service_t *service, fs_health_t *health);

/* malloc'ed; NULL when out of memory. */
fs_health_t *fs_health_look(fs_service_t *service);

#endif
