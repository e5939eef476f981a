/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_offer.h"

fs_session_offered_t fs_session_offer(const fs_session_stamp_t *held,
                                      const fs_session_stamp_t *base,
                                      const fs_session_stamp_t *offered)
{
    int order = held ? fs_session_stamp_compare(held, offered) : -1;

    if (!order)
        return FS_SESSION_HAVE;
    if (order > 0)
        return FS_SESSION_MERGE;
    if (!held || (base && !fs_session_stamp_compare(held, base)))
        return FS_SESSION_TAKE;
    return FS_SESSION_MERGE;
}
