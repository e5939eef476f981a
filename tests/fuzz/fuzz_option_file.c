/* SPDX-License-Identifier: Apache-2.0 */
/* A MySQL option file with anything in it: refused by number, or options within their bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/fs_sql_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_text(const char *text, size_t size)
{
    if (!memchr(text, '\0', size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fs_sql_options_t options;
    fs_result_t result;

    if (fs_sql_options_parse(&options, "my.cnf", (const char *)data, size, &result)) {
        if (strcmp(result.problem, "FS0302") != 0)
            abort();
        return 0;
    }
    if (options.host_count < 1 || options.host_count > FS_SQL_MAX_HOSTS || options.port > 65535)
        abort();
    for (unsigned i = 0; i < options.host_count; i++) {
        expect_text(options.hosts[i].name, FS_SQL_NAME_SIZE);
        if (!options.hosts[i].name[0] || options.hosts[i].port > 65535)
            abort();
    }
    expect_text(options.user, FS_SQL_OPTION_SIZE);
    expect_text(options.password, FS_SQL_OPTION_SIZE);
    expect_text(options.socket, FS_SQL_OPTION_SIZE);
    expect_text(options.ssl_ca, FS_SQL_OPTION_SIZE);
    return 0;
}
