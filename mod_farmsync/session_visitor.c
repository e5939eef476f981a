/* SPDX-License-Identifier: Apache-2.0 */
/* Who a visitor without an affinity cookie is, by his session's: an optional function of parts.h.
 */
#include <string.h>

#include "parts.h"
#include "session_request.h"
#include "session_settings.h"
#include "session_visitor.h"

#define COOKIES_TRIED 8 /* of our name, in one request */

/* The first of the cookies that is an id of this farm. Nothing is looked up: whether there is such
 * a session doesn't matter for telling visitors apart. */
static int farmsync_session_visitor(request_rec *r, unsigned char bytes[FARMSYNC_VISITOR_BYTES])
{
    const fs_session_place_t *place = fs_session_place(r);
    const char *at = apr_table_get(r->headers_in, "Cookie"), *value;
    fs_session_id_t id;
    size_t length;

    if (!at || !place->cookie || !fs_session_host() || !fs_session_is_on(r))
        return 0;
    for (unsigned tried = 0; tried < COOKIES_TRIED; tried++) {
        if (!fs_cookie_next(&at, place->cookie->name, &value, &length))
            return 0;
        if (fs_session_id_read(&id, fs_session_host()->keys, value, length, NULL) == APR_SUCCESS) {
            memcpy(bytes, id.key.bytes, FARMSYNC_VISITOR_BYTES);
            return 1;
        }
    }
    return 0;
}

void fs_session_visitor_register(void)
{
    APR_REGISTER_OPTIONAL_FN(farmsync_session_visitor);
}
