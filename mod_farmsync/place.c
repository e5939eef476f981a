/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key may hold a slash, which a client sends as %2F, and httpd's decoded r->uri no longer tells
 * the two apart. So the path is taken as it was sent, but only if decoding it gives exactly r->uri:
 * then whatever was decided about r->uri (access, location) was decided about this very path. A
 * path that httpd or mod_rewrite changed on the way is taken as r->uri has it.
 */
#include "place.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>

#include "text.h"

/* Length of the longest plain <Location> that covers the request. */
static apr_size_t location_length(const request_rec *r)
{
    const core_server_config *core = ap_get_core_module_config(r->server->module_config);
    apr_size_t longest = 0;

    for (int i = 0; i < core->sec_url->nelts; i++) {
        const core_dir_config *section =
            ap_get_core_module_config(APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *));
        apr_size_t length;

        if (section->r || section->d_is_fnmatch || !(section->handler || section->expr_handler))
            continue;
        length = strlen(section->d);
        while (length && section->d[length - 1] == '/')
            length--;
        if (length >= longest && !strncmp(r->uri, section->d, length) &&
            (r->uri[length] == '/' || !r->uri[length]))
            longest = length;
    }
    return longest;
}

/* The path as it was sent, if it means r->uri under either rule of AllowEncodedSlashes; else NULL.
 */
static const char *path_as_sent(request_rec *r)
{
    for (int decode_slashes = 0; r->parsed_uri.path && decode_slashes < 2; decode_slashes++) {
        char *decoded = apr_pstrdup(r->pool, r->parsed_uri.path);

        if (ap_unescape_url_keep2f(decoded, decode_slashes) == OK && !strcmp(decoded, r->uri))
            return r->parsed_uri.path;
    }
    return NULL;
}

/* Skips what decodes to `length` characters. */
static const char *skip_decoded(const char *path, apr_size_t length)
{
    while (length-- && *path)
        path += *path == '%' && path[1] && path[2] ? 3 : 1;
    return path;
}

static const char *encoded(request_rec *r, const char *path)
{
    fs_text_t text;

    fs_text_init(&text, r->pool);
    for (;;) {
        apr_size_t length = strcspn(path, "/");

        fs_text_part(&text, path, length);
        if (!path[length])
            return text.data;
        fs_text_puts(&text, "/");
        path += length + 1;
    }
}

/* Below a <Directory> or Alias there is a file name: what is below it is the path info. */
static const char *from_path_info(request_rec *r)
{
    return encoded(r, r->path_info ? r->path_info : "");
}

const char *fs_place_rest(request_rec *r)
{
    apr_size_t skip = location_length(r);
    const char *sent = path_as_sent(r);
    char *rest;

    if (!skip)
        rest = apr_pstrdup(r->pool, from_path_info(r));
    else if (sent)
        rest = apr_pstrdup(r->pool, skip_decoded(sent, skip));
    else
        rest = apr_pstrdup(r->pool, encoded(r, r->uri + skip));
    while (*rest == '/')
        rest++;
    if (*rest && rest[strlen(rest) - 1] == '/')
        rest[strlen(rest) - 1] = '\0';
    return rest;
}
