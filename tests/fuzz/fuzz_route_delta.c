/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message about visitors from anybody: refused, or written again it says the same, and what is
 * written so is stable.
 */
#include <stdlib.h>
#include <string.h>

#include "route/fs_route_delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const fs_route_delta_t *a, const fs_route_delta_t *b)
{
    if (a->kind != b->kind || a->more != b->more || a->generation != b->generation ||
        a->first != b->first || a->last != b->last || a->count != b->count ||
        strcmp(a->from, b->from) != 0 || strcmp(a->of, b->of) != 0)
        abort();
    for (unsigned i = 0; i < a->count; i++)
        if (memcmp(a->visitors[i].id, b->visitors[i].id, FS_ROUTE_ID_BYTES) != 0 ||
            fs_route_visitor_compare(&a->visitors[i], &b->visitors[i]))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[FS_ROUTE_DELTA_LIMIT];
    uint8_t *copy = malloc(size + !size); /* of its own, so that a read behind it is seen */
    fs_route_delta_t delta, again;

    if (size)
        memcpy(copy, data, size);
    if (!fs_route_delta_read(&delta, copy, size)) {
        size_t length = fs_route_delta_write(&delta, out);

        if (length > sizeof(out) || fs_route_delta_read(&again, out, length))
            abort();
        same(&delta, &again);
        fs_route_delta_clear(&again);
        fs_route_delta_clear(&delta);
    }
    free(copy);
    return 0;
}
