/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with this data server just now, for /healthz, /metrics and the dashboard alike. */
#ifndef FS_DATASRV_HEALTH_H
#define FS_DATASRV_HEALTH_H

#include "service.h"

/* malloc'ed; NULL when out of memory. */
fs_health_t *fs_health_look(fs_service_t *service);

#endif
