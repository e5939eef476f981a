/* SPDX-License-Identifier: Apache-2.0 */
/* Conditional and dictionary fields of any client: read within their bounds, and the same twice. */
#include <stdlib.h>
#include <string.h>

#include "reuse/fs_reuse_dictionary.h"
#include "reuse/fs_reuse_mirrors.h"
#include "reuse/fs_reuse_tag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_suffixes(const char *field, size_t size)
{
    char *plain = malloc(size + 1);

    if (!fs_reuse_plain(field, plain) != !*plain || strlen(plain) > size)
        abort();
    free(plain);
}

static void read_mirror(const char *field)
{
    char text[FS_REUSE_MIRROR_SIZE];
    fs_reuse_mirror_t mirror;
    uint32_t crc;
    int has_crc;

    fs_reuse_mirror_read(&mirror, field);
    fs_reuse_mirror_write(&mirror, text);
    if (mirror.count && strcmp(text, field))
        abort();
    fs_reuse_have(field, &has_crc, &crc);
}

static void read_carried(const uint8_t *data, size_t size)
{
    static fs_reuse_carry_t carries[FS_REUSE_CARRY_MOST];
    static uint8_t bytes[FS_REUSE_CARRY_BYTES];
    int count = fs_reuse_carry_read(data, size, carries);

    if (count >= 0 && (fs_reuse_carry_write(carries, (unsigned)count, bytes) != size ||
                       memcmp(bytes, data, size) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *field = calloc(1, size + 1);
    const char *held;
    size_t length;
    fs_digest_t digest;

    read_carried(data, size);
    memcpy(field, data, size);
    size = strlen(field);
    if (fs_reuse_match(field, "\"abc\"", &held, &length) == FS_REUSE_SAME &&
        (held < field || held + length > field + size || length < 5))
        abort();
    take_suffixes(field, size);
    fs_reuse_available(field, &digest);
    fs_reuse_accepts_dcz(field);
    read_mirror(field);
    free(field);
    return 0;
}
