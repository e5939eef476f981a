/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_condition.h"

#include <string.h>

#include "module.h"

apr_pool_t *fs_avail_condition_pool(void)
{
    apr_allocator_t *allocator;
    apr_pool_t *pool;

    if (apr_allocator_create(&allocator))
        return NULL;
    if (apr_pool_create_unmanaged_ex(&pool, NULL, allocator)) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    return pool;
}

const char *fs_avail_condition_compile(apr_pool_t *pool, const char *condition,
                                       ap_expr_info_t **info)
{
    *info = apr_pcalloc(pool, sizeof(**info));
    (*info)->filename = "notice";
    (*info)->module_index = APLOG_MODULE_INDEX;
    (*info)->flags = AP_EXPR_FLAG_DONT_VARY | AP_EXPR_FLAG_RESTRICTED;
    return ap_expr_parse(pool, pool, *info, condition, NULL);
}

/* -U, -F or -A as an operator, not within a word such as User-Agent. */
static int has_subrequest(const char *condition)
{
    for (const char *at = condition; (at = strchr(at, '-')); at++) {
        if (at[1] && strchr("UFA", at[1]) && at[2] && strchr(" \t'\"(%", at[2]) &&
            (at == condition || strchr(" \t(!", at[-1])))
            return 1;
    }
    return 0;
}

int fs_avail_condition_is_late(const char *condition)
{
    static const char *const words[] = {
        "REMOTE_USER",     "AUTH_TYPE",    "REMOTE_IDENT", "REQUEST_FILENAME",
        "SCRIPT_FILENAME", "PATH_INFO",    "PATH_TRANS",   "HANDLER",
        "SCRIPT_USER",     "SCRIPT_GROUP", "CONTENT_TYPE", "CONTEXT_",
        "LAST_MODIFIED",   "DOCUMENT_",    "env",          "note",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasestr(condition, words[i]))
            return 1;
    }
    return has_subrequest(condition);
}
