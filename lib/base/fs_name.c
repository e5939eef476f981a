/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_name.h"

#include <string.h>

int fs_name_is_good(const char *name)
{
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    size_t length = strspn(name, all);

    return length && length < FS_NAME_SIZE && !name[length] && name[0] != '.';
}
