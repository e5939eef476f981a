/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include <stdlib.h>
#include <string.h>

void fs_reply_json(fs_http_call_t *call, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    fs_http_call_set_header(call, "Cache-Control", "no-store");
    if (text)
        fs_http_call_answer(call, 200, "application/json", text, strlen(text));
    else
        fs_http_call_answer(call, 503, "text/plain", "out of memory\n", 14);
    free(text);
    json_decref(body);
}

void fs_reply_add_missed(json_t *missed, const fs_told_t *told)
{
    for (unsigned i = 0; i < told->peer_count; i++)
        if (!told->peers[i].confirmed)
            json_array_append_new(missed, json_string(*told->peers[i].name ? told->peers[i].name
                                                                           : told->peers[i].url));
}
