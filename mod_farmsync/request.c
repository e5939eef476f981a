/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "module.h"

fs_request_t *fs_request(const request_rec *first)
{
    return ap_get_module_config(first->request_config, &farmsync_module);
}

fs_request_t *fs_request_make(request_rec *first)
{
    fs_request_t *request = fs_request(first);

    if (!request) {
        request = apr_pcalloc(first->pool, sizeof(*request));
        ap_set_module_config(first->request_config, &farmsync_module, request);
    }
    return request;
}
