/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_file.h"

void fs_boot_name(char name[FS_BOOT_SIZE], const char *given)
{
    FILE *file = given ? NULL : fopen("/proc/sys/kernel/random/boot_id", "re");

    snprintf(name, FS_BOOT_SIZE, "%s", given ? given : "unknown");
    if (file && !fgets(name, FS_BOOT_SIZE, file))
        snprintf(name, FS_BOOT_SIZE, "unknown");
    if (file)
        fclose(file);
    name[strcspn(name, "\n")] = '\0';
}

apr_status_t fs_boot_write(const char *path, const char *boot, int settled, fs_result_t *result)
{
    char text[FS_BOOT_SIZE + 16];

    snprintf(text, sizeof(text), "%s %s\n", boot, settled ? "settled" : "open");
    return fs_file_write(path, text, strlen(text), result);
}

int fs_boot_is_good(const char *path, const char *boot)
{
    char *text, *space;
    size_t length;
    int good;

    if (fs_file_read(path, 2 * FS_BOOT_SIZE, &text, &length, NULL))
        return 0;
    space = strrchr(text, ' ');
    good =
        space && (!strcmp(space, " settled\n") || ((size_t)(space - text) == strlen(boot) &&
                                                   !strncmp(text, boot, (size_t)(space - text))));
    free(text);
    return good;
}
