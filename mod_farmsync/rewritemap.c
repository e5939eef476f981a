/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RewriteMap farm int:farmsync, then ${farm:prices/sku-1/price|default}; int:farmsync_part encodes
 * text from elsewhere so that it is one part of a path. A map that lives in httpd must be known
 * before the configuration is read, so that it is registered in pre_config.
 */
#include "expr.h"

#include <apr_optional.h>
#include <apr_strings.h>
#include <mod_rewrite.h>

#include "data.h"

/* mod_rewrite takes NULL for "not there" and then uses the default. */
static char *map_value(request_rec *r, char *key)
{
    const char *value = fs_data_string(r, key);

    return value ? apr_pstrdup(r->pool, value) : NULL;
}

static char *part_of(request_rec *r, char *key)
{
    return fs_text_part_of(r->pool, key);
}

void fs_rewritemap_register(void)
{
    APR_OPTIONAL_FN_TYPE(ap_register_rewrite_mapfunc) *register_function =
        APR_RETRIEVE_OPTIONAL_FN(ap_register_rewrite_mapfunc);

    if (!register_function)
        return;
    register_function("farmsync", map_value);
    register_function("farmsync_part", part_of);
}
