/* SPDX-License-Identifier: Apache-2.0 */
#include "finding.h"

#include <stdarg.h>
#include <stdio.h>

void fs_health_find(fs_health_t *health, int failing, const char *group, const char *number,
                    const char *format, ...)
{
    fs_finding_t *finding = &health->findings[health->count];
    char text[FS_DETAIL_SIZE];
    va_list args;

    if (health->count == FS_HEALTH_FINDINGS)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    health->count++;
    finding->failing = failing;
    snprintf(finding->group, sizeof(finding->group), "%s", group);
    fs_result_set(&finding->what, APR_EGENERAL, number, "%s", text);
    if (failing)
        health->ok = 0;
}
