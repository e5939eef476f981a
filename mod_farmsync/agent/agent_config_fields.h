/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of agent.json have in common. `path` is the file's, `part` the member that an
 * object is, as "routing"; NULL: the whole.
 */
#ifndef FS_AGENT_CONFIG_FIELDS_H
#define FS_AGENT_CONFIG_FIELDS_H

#include <jansson.h>
#include <stdint.h>

#include "base/fs_result.h"

/* FS0552: a field can't be used. `remedy`: what to give. */
apr_status_t fs_agent_field_bad(const char *path, const char *part, const char *field,
                                const char *remedy, fs_result_t *result);
/* All fields of an object are among `known`. FS0551. */
apr_status_t fs_agent_fields_known(const json_t *json, const char *const *known, unsigned count,
                                   const char *path, const char *part, fs_result_t *result);
/* A whole number from `least` to `most`; a missing field and null leave it as it is. FS0552. */
apr_status_t fs_agent_field_number(const json_t *json, const char *field, uint64_t least,
                                   uint64_t most, uint64_t *number, const char *path,
                                   const char *part, fs_result_t *result);
/* 1 for "http://host[:port]" or https, perhaps with a path, in at most 255 characters. */
int fs_agent_is_base_url(const char *url);

#endif
