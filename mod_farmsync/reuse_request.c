/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a conditional request says, in a form that everybody understands, and where the filter is
 * put in. Clients that have seen a page compressed hold its tag with "-gzip" or "-br" behind it;
 * handlers (static files, proxied servers) compare it with the tag before compression, and so never
 * answer 304. Such tags are listed in both forms, which leaves who does know them as he was.
 */
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>

#include "module.h"
#include "reuse.h"

int fs_reuse_fixup(request_rec *r)
{
    fs_reuse_place_t place;
    const char *field;
    char *plain;

    if (r->main || r->method_number != M_GET || !fs_reuse_place(r, &place))
        return DECLINED;
    fs_reuse_known_begin(r);
    field = apr_table_get(r->headers_in, "If-None-Match");
    if (!field)
        return DECLINED;
    plain = apr_palloc(r->pool, strlen(field) + 1);
    if (fs_reuse_plain(field, plain))
        apr_table_setn(r->headers_in, "If-None-Match",
                       apr_pstrcat(r->pool, field, ",", plain, NULL));
    return DECLINED;
}
