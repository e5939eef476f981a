/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anything as an affinity cookie or a token: refused, or, once it is signed by the farm, read into
 * fields that come back as the same text. The first byte says which of it is tried: the text as
 * it is, or signed before, so that what stands behind the signature is looked at too.
 */
#include <stdlib.h>
#include <string.h>

#include "route/fs_route_cookie.h"
#include "route/fs_route_token.h"

#define NOW  (1700000000 * FS_USEC_PER_SEC)
#define ROOM (FS_ROUTE_TOKEN_BYTES + FS_ROUTE_MAC_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static void check_name(const char *name, size_t size)
{
    check(memchr(name, '\0', size) != NULL && !strpbrk(name, " \r\n\";,"));
}

static void read_cookie(const fs_route_keys_t *keys, const char *text, size_t length)
{
    char again[FS_ROUTE_COOKIE_SIZE];
    fs_route_cookie_t cookie;

    length = fs_route_cookie_signed(text, length);
    if (fs_route_cookie_read(keys, text, length, &cookie))
        return;
    check_name(cookie.primary, sizeof(cookie.primary));
    check_name(cookie.alternate, sizeof(cookie.alternate));
    check(cookie.primary[0] != '\0');
    check(!fs_route_cookie_write(keys, &cookie, again));
    check(fs_route_cookie_signed(again, strlen(again)) == length && !memcmp(again, text, length));
}

static void read_token(const fs_route_keys_t *keys, const char *text, size_t length)
{
    char again[FS_ROUTE_TOKEN_SIZE];
    fs_route_token_t token, same;
    fs_route_token_kind_t kind;

    for (kind = FS_ROUTE_TOKEN_REDIRECT; kind <= FS_ROUTE_TOKEN_PROXY; kind++) {
        if (fs_route_token_read(keys, kind, text, length, NOW, &token) == FS_ROUTE_TOKEN_FORGED)
            continue;
        check_name(token.from, sizeof(token.from));
        check_name(token.to, sizeof(token.to));
        check_name(token.primary, sizeof(token.primary));
        check_name(token.alternate, sizeof(token.alternate));
        check_name(token.address, sizeof(token.address));
        check(!fs_route_token_write(keys, kind, &token, again));
        check(fs_route_token_read(keys, kind, again, strlen(again), NOW, &same) !=
              FS_ROUTE_TOKEN_FORGED);
        check(same.expires == token.expires && same.hops == token.hops);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const fs_route_secret_t secret = {"the secret of a farm that is fuzzed", 35};
    static fs_route_keys_t *keys;
    uint8_t signed_data[ROOM];
    char text[FS_ROUTE_TEXT_SIZE(ROOM)];
    fs_result_t result;

    if (!keys)
        check(!fs_route_keys_make(&keys, &secret, 1, &result));
    if (!size)
        return 0;
    if (data[0] == 't') {
        read_cookie(keys, (const char *)data + 1, size - 1);
        read_token(keys, (const char *)data + 1, size - 1);
        return 0;
    }
    if (size < 2 || size > FS_ROUTE_TOKEN_BYTES)
        return 0;
    memcpy(signed_data, data, size);
    check(!fs_route_sign(keys, signed_data, size, text));
    read_cookie(keys, text, strlen(text));
    read_token(keys, text, strlen(text));
    return 0;
}
