/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to and from the application and the visitor beside the entries. */
#ifndef FS_SESSION_REPLY_H
#define FS_SESSION_REPLY_H

#include "session_request.h"

typedef enum fs_session_wish_t {
    FS_SESSION_WISH_NONE,
    FS_SESSION_WISH_RENEW, /* another id, as at a login */
    FS_SESSION_WISH_END
} fs_session_wish_t;

/*
 * What the application asks for: "renew" or "end" in the response header FarmSync-Session (which
 * isn't sent on), in the request note or in the environment variable farmsync-session.
 */
fs_session_wish_t fs_session_wish(request_rec *r, request_rec *first);

/* Gives the visitor the id, or takes it back (NULL). There is one Set-Cookie of the name, in the
 * headers that are sent whatever becomes of the request. */
void fs_session_set_cookie(request_rec *r, const fs_cookie_t *cookie, const char *id);

#endif
