/* SPDX-License-Identifier: Apache-2.0 */
/* A key file with anything in it: refused by number, or one or two keys that can sign. */
#include <stdlib.h>
#include <string.h>

#include "net/fs_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_keyring_t ring;
    fs_result_t result;

    if (fs_keyring_parse(&ring, "key", (const char *)data, size, &result)) {
        if (strcmp(result.problem, "FS0203") != 0)
            abort();
        return 0;
    }
    if (ring.count < 1 || ring.count > 2)
        abort();
    for (unsigned i = 0; i < ring.count; i++)
        if (ring.keys[i].length < 32 || ring.keys[i].length > FS_KEY_MAX_BYTES ||
            !strlen(ring.keys[i].id) || strlen(ring.keys[i].id) >= FS_KEY_ID_SIZE)
            abort();
    return 0;
}
