/* SPDX-License-Identifier: Apache-2.0 */
/* A request of anybody: refused with a status, or a head whose parts lie within what was sent. */
#include <stdlib.h>
#include <string.h>

#include "net/fs_http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_within(const char *part, const char *text, size_t size)
{
    if (part < text || part + strlen(part) > text + size)
        abort();
}

static void try_target(const char *target)
{
    fs_http_field_t params[FS_HTTP_MAX_PARAMS];
    char *path = strdup(target), *query = strchr(path, '?');

    if (query) {
        *query++ = '\0';
        if (fs_http_parse_query(query, params) > FS_HTTP_MAX_PARAMS)
            abort();
    }
    fs_http_decode(path, 0);
    free(path);
}

static void try_range(const char *value)
{
    uint64_t first = 0, last = 0, size = 1000;

    if (fs_http_parse_range(value, size, &first, &last) == 1 && (first > last || last >= size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    fs_http_head_t head;
    int status;

    memcpy(text, data, size);
    status = fs_http_parse_head(&head, text, size);
    if (status && (status < 400 || status > 505))
        abort();
    if (!status) {
        expect_within(head.method, text, size);
        expect_within(head.target, text, size);
        for (unsigned i = 0; i < head.field_count; i++) {
            expect_within(head.fields[i].name, text, size);
            expect_within(head.fields[i].value, text, size);
            try_range(head.fields[i].value);
            fs_http_etag_matches(head.fields[i].value, "\"etag\"");
        }
        try_target(head.target);
    }
    free(text);
    return 0;
}
