/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Farm data for other modules, as optional functions, so that a module that uses them works without
 * mod_farmsync too:
 *
 *   static APR_OPTIONAL_FN_TYPE(farmsync_get) *get;
 *   get = APR_RETRIEVE_OPTIONAL_FN(farmsync_get);          in hook optional_fn_retrieve
 *   if (get && get(r, "prices/sku-1/price", &value, &length) == FARMSYNC_FOUND) ...
 *
 * All of a request's reads, whoever makes them and in whatever subrequest, come from one version of
 * a group: the one that is in force when the request first reads from it. Nothing waits, locks or
 * allocates more than a decoded path.
 *
 * Threads: as with any use of a request_rec, one thread at a time for one request.
 * Ownership: values belong to mod_farmsync and stay valid and unchanged to the end of the main
 * request; each is followed by a NUL that its length doesn't count.
 */
#ifndef MOD_FARMSYNC_H
#define MOD_FARMSYNC_H

#include <apr_optional.h>
#include <httpd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FARMSYNC_FOUND       0
#define FARMSYNC_MISSING     1 /* no such dataset, row or column */
#define FARMSYNC_UNAVAILABLE 2 /* this server has no data, or only stale data that it refuses */
#define FARMSYNC_BAD_KEY     3 /* not as many key parts as the dataset has, or not decodable */

/*
 * One value by path: DATASET/KEY/COLUMN, parts percent-encoded. SQL NULL: FARMSYNC_FOUND, *value
 * NULL. A path that means a row (DATASET/KEY) gives it as a JSON object.
 */
APR_DECLARE_OPTIONAL_FN(int, farmsync_get,
                        (request_rec * r, const char *path, const char **value,
                         apr_size_t *length));

/* The same by parts, nothing encoded; key_lengths NULL: the parts are C strings. */
APR_DECLARE_OPTIONAL_FN(int, farmsync_value,
                        (request_rec * r, const char *dataset, const char *const *key,
                         const apr_size_t *key_lengths, unsigned key_count, const char *column,
                         const char **value, apr_size_t *length));

/*
 * All columns of a row in the source's order; `each` returns 0 to go on. `value` is NULL for SQL
 * NULL.
 */
typedef int farmsync_column_fn(void *baton, const char *name, const char *value, apr_size_t length);
APR_DECLARE_OPTIONAL_FN(int, farmsync_row,
                        (request_rec * r, const char *dataset, const char *const *key,
                         const apr_size_t *key_lengths, unsigned key_count,
                         farmsync_column_fn *each, void *baton));

/* The version of the group that this request is served from; 0 if there is none. */
APR_DECLARE_OPTIONAL_FN(apr_int64_t, farmsync_version, (request_rec * r, const char *group));

#ifdef __cplusplus
}
#endif

#endif
