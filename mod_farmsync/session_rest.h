/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions for applications in any language: SetHandler farmsync-session (doc/session-module.md).
 *
 *   GET     ID   the entries, a JSON object of strings; ETag
 *   PUT     ID   these entries and no others             If-Match: only if it still is that version
 *   PATCH   ID   changes these; null takes one out (RFC 7396)                        "
 *   POST    ID   as PATCH, and gives it a new id, as at a login
 *   POST         a new session
 *   DELETE  ID   ends it                                                             "
 *
 * Whoever may reach it may read and change any session whose id he knows.
 */
#ifndef FS_SESSION_REST_H
#define FS_SESSION_REST_H

#include <httpd.h>

int fs_session_rest(request_rec *r);

#endif
