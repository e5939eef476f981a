/* SPDX-License-Identifier: Apache-2.0 */
/* A FarmSync-Auth header of anybody: refused, or taken and the same when written and read again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/fs_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const fs_auth_t *auth, int is_request, char out[FS_AUTH_SIZE])
{
    int length = is_request ? snprintf(out, FS_AUTH_SIZE,
                                       "key=%s, origin=%s, time=%" PRId64 ", nonce=%s, mac=%s",
                                       auth->key, auth->origin, auth->time, auth->nonce, auth->mac)
                            : snprintf(out, FS_AUTH_SIZE, "key=%s, nonce=%s, mac=%s", auth->key,
                                       auth->nonce, auth->mac);

    if (length >= FS_AUTH_SIZE)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *header = calloc(1, size + 1), again[FS_AUTH_SIZE];
    fs_auth_t auth, second;
    fs_result_t result;

    memcpy(header, data, size);
    for (int is_request = 0; is_request < 2; is_request++) {
        if (fs_auth_parse(&auth, header, is_request, &result)) {
            if (strcmp(result.problem, "FS0210") != 0)
                abort();
            continue;
        }
        write_again(&auth, is_request, again);
        if (fs_auth_parse(&second, again, is_request, &result) ||
            memcmp(&auth, &second, sizeof(auth)) != 0)
            abort();
    }
    free(header);
    return 0;
}
