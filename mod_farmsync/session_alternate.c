/* SPDX-License-Identifier: Apache-2.0 */
#include "session_alternate.h"

#include <http_log.h>

#include "parts.h"
#include "session_say.h"

static APR_OPTIONAL_FN_TYPE(farmsync_visitor) * visitor_of;

void fs_session_alternate_init(void)
{
    visitor_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_visitor);
}

int fs_session_alternate_of(request_rec *r, const fs_session_host_t *host,
                            fs_session_ahead_t *ahead, int *moved)
{
    farmsync_visitor_t visitor;

    if (!visitor_of || !visitor_of(r, &visitor) || !visitor.here)
        return 0;
    ahead->alternate = visitor.alternate ? fs_session_server_hash(visitor.alternate) : 0;
    ahead->each = (uint32_t)host->farm->host->alternate_sync;
    *moved = visitor.moved;
    return 1;
}

void fs_session_alternate_tell(request_rec *r, const fs_session_request_t *session)
{
    fs_session_ahead_t ahead;
    fs_result_t result;
    apr_status_t status;
    int moved;

    if (session->found.what != FS_SESSION_FOUND_LIVE || session->ended ||
        !fs_session_alternate_of(r, session->host, &ahead, &moved) || !moved)
        return;
    status = fs_session_store_alternate(session->host->store, &session->found.key, &ahead,
                                        fs_session_now(), &result);
    if (status != APR_SUCCESS && status != APR_NOTFOUND)
        fs_session_say(session->host, r, FS_SESSION_FAILED, APLOG_ERR, &result);
}
