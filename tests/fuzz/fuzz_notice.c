/* SPDX-License-Identifier: Apache-2.0 */
/* A notice from anybody: refused or taken, and what is taken prints and reads back the same. */
#include <stdlib.h>
#include <string.h>

#include "avail/fs_notice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a request process would do with it. */
static void use(const fs_notice_t *notice)
{
    static const fs_usec_t moments[] = {0, 1774746000000000, 1795252169000000, INT64_MAX};
    char key[FS_NOTICE_KEY_SIZE];
    const char *language;
    fs_window_at_t at;

    fs_notice_key(notice, key);
    fs_notice_message(notice, "de;q=0.5, en-GB, *;q=0.1", "fr", &language);
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        fs_window_at(&notice->window, moments[i], &at);
        if (at.in_force && at.end && at.end <= moments[i])
            abort();
        if (at.change != INT64_MAX && at.change <= moments[i])
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_notice_t *notice, *again;
    char *text, *text_again;
    size_t length, length_again;
    fs_result_t result;

    if (fs_notice_parse(&notice, (const char *)data, size, size & 1, &result)) {
        if (notice || strcmp(result.problem, "FS1500") != 0)
            abort();
        return 0;
    }
    use(notice);
    text = fs_notice_print(notice, &length, &result);
    if (!text && strcmp(result.problem, "FS1501") != 0)
        abort();
    if (text) {
        if (length > FS_NOTICE_BYTES || fs_notice_parse(&again, text, length, 1, &result))
            abort();
        text_again = fs_notice_print(again, &length_again, &result);
        if (!text_again || length != length_again || memcmp(text, text_again, length) != 0)
            abort();
        free(again);
        free(text_again);
    }
    free(text);
    free(notice);
    return 0;
}
