/* SPDX-License-Identifier: Apache-2.0 */
/* Who a visitor is by the cookie of his session, for routing. */
#ifndef FS_SESSION_VISITOR_H
#define FS_SESSION_VISITOR_H

/* Registers farmsync_session_visitor (parts.h). */
void fs_session_visitor_register(void);

#endif
