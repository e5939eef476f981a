/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest from anybody: refused or taken, and what is taken prints and reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "sync/fs_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_manifest_t *manifest, *again;
    size_t length, length_again;
    char *text, *text_again;
    char hex[FS_DIGEST_HEX_SIZE];
    fs_result_t result;

    if (fs_manifest_parse(&manifest, (const char *)data, size, &result)) {
        if (manifest || strcmp(result.problem, "FS0360") != 0)
            abort();
        return 0;
    }
    fs_manifest_version_digest(&manifest->staged, hex);
    text = fs_manifest_print(manifest, &length);
    if (!text || fs_manifest_parse(&again, text, length, &result))
        abort();
    text_again = fs_manifest_print(again, &length_again);
    if (!text_again || length != length_again || memcmp(text, text_again, length) != 0)
        abort();
    free(text);
    free(text_again);
    fs_manifest_free(manifest);
    fs_manifest_free(again);
    return 0;
}
