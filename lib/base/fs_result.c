/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fs_result_clear(fs_result_t *result)
{
    result->status = APR_SUCCESS;
    result->problem[0] = '\0';
    result->detail[0] = '\0';
}

apr_status_t fs_result_set(fs_result_t *result, apr_status_t status, const char *problem,
                           const char *format, ...)
{
    if (result) {
        va_list args;

        result->status = status;
        snprintf(result->problem, sizeof(result->problem), "%s", problem);
        va_start(args, format);
        vsnprintf(result->detail, sizeof(result->detail), format, args);
        va_end(args);
    }
    return status;
}
