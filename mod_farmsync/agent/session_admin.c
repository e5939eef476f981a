/* SPDX-License-Identifier: Apache-2.0 */
#include "session_admin.h"

apr_status_t fs_session_admin_open(fs_sessions_t *sessions, fs_result_t *result)
{
    return APR_SUCCESS;
}
