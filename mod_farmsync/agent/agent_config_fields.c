/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_config_fields.h"

#include <stdio.h>
#include <string.h>

apr_status_t fs_agent_field_bad(const char *path, const char *part, const char *field,
                                const char *remedy, fs_result_t *result)
{
    if (part)
        return fs_result_set(result, APR_EINVAL, "FS0552", "%s: \"%s\": \"%s\" is not usable: %s",
                             path, part, field, remedy);
    return fs_result_set(result, APR_EINVAL, "FS0552", "%s: \"%s\" is not usable: %s", path, field,
                         remedy);
}

apr_status_t fs_agent_fields_known(const json_t *json, const char *const *known, unsigned count,
                                   const char *path, const char *part, fs_result_t *result)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)json, name, value)
    {
        unsigned i = 0;

        while (i < count && strcmp(known[i], name) != 0)
            i++;
        if (i == count)
            return fs_result_set(result, APR_EINVAL, "FS0551",
                                 "%s: unknown field \"%.60s\"%s%s; remove it, or if mod_farmsync "
                                 "wrote it, install modules and agent of the same release",
                                 path, name, part ? " in " : "", part ? part : "");
    }
    return APR_SUCCESS;
}

apr_status_t fs_agent_field_number(const json_t *json, const char *field, uint64_t least,
                                   uint64_t most, uint64_t *number, const char *path,
                                   const char *part, fs_result_t *result)
{
    const json_t *value = json_object_get(json, field);
    json_int_t given = json_integer_value(value);
    char remedy[96];

    if (!value || json_is_null(value))
        return APR_SUCCESS;
    if (json_is_integer(value) && given >= 0 && (uint64_t)given >= least &&
        (uint64_t)given <= most) {
        *number = (uint64_t)given;
        return APR_SUCCESS;
    }
    snprintf(remedy, sizeof(remedy), "give a whole number, %llu to %llu", (unsigned long long)least,
             (unsigned long long)most);
    return fs_agent_field_bad(path, part, field, remedy, result);
}

int fs_agent_is_base_url(const char *url)
{
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;

    return scheme && url[scheme] && url[scheme] != '/' && strlen(url) < 256 &&
           !strpbrk(url, " \t\r\n?#@\"");
}
