/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy_status.h"

#include <apr_strings.h>

#include "proxy_module.h"

static const char *span_text(apr_pool_t *pool, const char *name, apr_interval_time_t span)
{
    if (span < 0)
        return apr_pstrcat(pool, name, "ProxyTimeout", NULL);
    return apr_psprintf(pool, "%s%" APR_TIME_T_FMT "ms", name, apr_time_as_msec(span));
}

int fs_proxy_section(apr_pool_t *pool, server_rec *main_server, farmsync_form_t form,
                     apr_array_header_t *sections)
{
    const fs_proxy_settings_t *settings =
        ap_get_module_config(main_server->module_config, &proxy_farmsync_module);

    if (form != FARMSYNC_DUMP)
        return DECLINED;
    APR_ARRAY_PUSH(sections, const char *) = apr_psprintf(
        pool, "  %-26s %s %s %s\n", "FarmSyncForward",
        span_text(pool, "connect=", settings->connect),
        span_text(pool, "answer=", settings->answer), span_text(pool, "idle=", settings->idle));
    return OK;
}
