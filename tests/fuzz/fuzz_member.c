/* SPDX-License-Identifier: Apache-2.0 */
/* A member's report from anybody: refused or taken, and what is taken prints and reads back the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "sync/fs_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_member_t member, again;
    size_t length, length_again;
    char *text, *text_again;
    fs_result_t result;

    if (fs_member_parse(&member, (const char *)data, size, &result)) {
        if (strcmp(result.problem, "FS0375") != 0)
            abort();
        return 0;
    }
    text = fs_member_print(&member, &length);
    if (!text || fs_member_parse(&again, text, length, &result))
        abort();
    text_again = fs_member_print(&again, &length_again);
    if (!text_again || length != length_again || memcmp(text, text_again, length) != 0)
        abort();
    free(text);
    free(text_again);
    return 0;
}
