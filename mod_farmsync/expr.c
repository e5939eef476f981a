/* SPDX-License-Identifier: Apache-2.0 */
/*
 * %{farmsync:prices/sku-1/price} gives the value where it lies in the image, without a copy;
 * %{farmsync:prices/sku-1} gives the row as JSON. What isn't there is the empty string, as with any
 * other variable; a note says when it was for want of data.
 * %{farmsync_version:GROUP} is the version that this request is served from.
 * %{farmsync_app:NAME} is "up", "down" or "degraded": what is in force for an application now.
 * farmsync_part(TEXT) encodes text from elsewhere so that it is one part of a path, whatever it
 * holds.
 */
#include "expr.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "avail.h"
#include "child.h"
#include "data.h"

static const char *value_of(ap_expr_eval_ctx_t *context, const void *data, const char *path)
{
    const char *value = context->r ? fs_data_string(context->r, path) : NULL;

    return value ? value : "";
}

static const char *version_of(ap_expr_eval_ctx_t *context, const void *data, const char *group)
{
    const fs_child_t *child = fs_child();
    fs_data_t found = {0};

    for (int i = 0; context->r && child && i < child->settings->groups->nelts; i++) {
        if (strcmp(fs_settings_group(child->settings, i), group) != 0)
            continue;
        if (fs_data_group(context->r, i, &found) == FS_DATA_FOUND)
            return apr_psprintf(context->p, "%" PRId64, found.pin->version);
    }
    return "";
}

static const char *part_of(ap_expr_eval_ctx_t *context, const void *data, const char *value)
{
    return fs_text_part_of(context->p, value);
}

static const char *application_state(ap_expr_eval_ctx_t *context, const void *data,
                                     const char *application)
{
    return fs_avail_state(application);
}

int fs_expr_lookup(ap_expr_lookup_parms *parms)
{
    if (parms->type != AP_EXPR_FUNC_STRING)
        return DECLINED;
    if (!strcasecmp(parms->name, "farmsync"))
        *parms->func = (const void *)value_of;
    else if (!strcasecmp(parms->name, "farmsync_version"))
        *parms->func = (const void *)version_of;
    else if (!strcasecmp(parms->name, "farmsync_app"))
        *parms->func = (const void *)application_state;
    else if (!strcasecmp(parms->name, "farmsync_part"))
        *parms->func = (const void *)part_of;
    else
        return DECLINED;
    *parms->data = NULL;
    return OK;
}
