/* SPDX-License-Identifier: Apache-2.0 */
/* Which server is to hold a visitor's session ahead, as routing says. */
#ifndef FS_MOD_SESSION_ALTERNATE_H
#define FS_MOD_SESSION_ALTERNATE_H

#include "session_request.h"

/* In child_init. */
void fs_session_alternate_init(void);
/* 0: routing says nothing about this request's visitor. `*moved`: his home or his alternate changed
 * with this request. */
int fs_session_alternate_of(request_rec *r, const fs_session_host_t *host,
                            fs_session_ahead_t *ahead, int *moved);
/* The request is at its end: if the visitor moved, the alternate gets the session, though nothing
 * in it changed. */
void fs_session_alternate_tell(request_rec *r, const fs_session_request_t *session);

#endif
