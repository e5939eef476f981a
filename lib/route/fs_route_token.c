/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route_token.h"

#include <openssl/rand.h>
#include <string.h>

/* Clocks of two servers may differ by this where the farm's time isn't known. */
#define CLOCK_SLACK (2 * FS_USEC_PER_SEC)

fs_usec_t fs_route_token_span(fs_route_token_kind_t kind)
{
    return kind == FS_ROUTE_TOKEN_REDIRECT ? FS_ROUTE_REDIRECT_SPAN : FS_ROUTE_PROXY_SPAN;
}

/*
 * What makes each token another one. That of a redirect must not be guessed, and is remembered by
 * who takes it. Nobody remembers those of passed on requests: random numbers for each would be the
 * better part of what passing on costs the sender.
 */
static int take_nonce(fs_route_token_kind_t kind, uint8_t nonce[FS_ROUTE_TOKEN_NONCE])
{
    static _Thread_local uint8_t first[FS_ROUTE_TOKEN_NONCE];
    static _Thread_local uint32_t taken;

    if (kind == FS_ROUTE_TOKEN_REDIRECT)
        return RAND_bytes(nonce, FS_ROUTE_TOKEN_NONCE) == 1 ? 0 : -1;
    if (!taken && RAND_bytes(first, sizeof(first)) != 1)
        return -1;
    memcpy(nonce, first, FS_ROUTE_TOKEN_NONCE);
    fs_route_put_number(nonce, taken++, sizeof(taken));
    return 0;
}

int fs_route_token_write(const fs_route_keys_t *keys, fs_route_token_kind_t kind,
                         fs_route_token_t *token, char text[FS_ROUTE_TOKEN_SIZE])
{
    uint8_t data[FS_ROUTE_TOKEN_BYTES], *at = data;

    if (take_nonce(kind, token->nonce))
        return -1;
    *at++ = (uint8_t)kind;
    *at++ = 0;
    memcpy(at, token->id.bytes, sizeof(token->id.bytes));
    at += sizeof(token->id.bytes);
    at = fs_route_put_number(at, token->generation, 4);
    *at++ = token->hops;
    *at++ = token->flags;
    at = fs_route_put_number(at, (uint64_t)token->expires, 8);
    memcpy(at, token->nonce, sizeof(token->nonce));
    at += sizeof(token->nonce);
    at = fs_route_put_name(at, token->from);
    at = fs_route_put_name(at, token->to);
    at = fs_route_put_name(at, token->primary);
    at = fs_route_put_name(at, token->alternate);
    at = fs_route_put_name(at, token->address);
    return fs_route_sign(keys, data, (size_t)(at - data), text);
}

fs_route_token_is_t fs_route_token_read(const fs_route_keys_t *keys, fs_route_token_kind_t kind,
                                        const char *text, size_t length, fs_usec_t now,
                                        fs_route_token_t *token)
{
    uint8_t data[FS_ROUTE_TOKEN_BYTES];
    size_t bytes = fs_route_check(keys, (uint8_t)kind, text, length, data, sizeof(data));
    fs_route_reader_t reader = {data + 2, data + bytes, bytes < 2};

    if (!bytes)
        return FS_ROUTE_TOKEN_FORGED;
    fs_route_get_bytes(&reader, token->id.bytes, sizeof(token->id.bytes));
    token->generation = (uint32_t)fs_route_get_number(&reader, 4);
    token->hops = (uint8_t)fs_route_get_number(&reader, 1);
    token->flags = (uint8_t)fs_route_get_number(&reader, 1);
    token->expires = (fs_usec_t)fs_route_get_number(&reader, 8);
    fs_route_get_bytes(&reader, token->nonce, sizeof(token->nonce));
    fs_route_get_name(&reader, token->from, sizeof(token->from), 0);
    fs_route_get_name(&reader, token->to, sizeof(token->to), 0);
    fs_route_get_name(&reader, token->primary, sizeof(token->primary), 1);
    fs_route_get_name(&reader, token->alternate, sizeof(token->alternate), 1);
    fs_route_get_name(&reader, token->address, sizeof(token->address), 1);
    if (reader.bad || reader.at != reader.end)
        return FS_ROUTE_TOKEN_FORGED;
    if (now > token->expires || token->expires - now > fs_route_token_span(kind) + CLOCK_SLACK)
        return FS_ROUTE_TOKEN_EXPIRED;
    return FS_ROUTE_TOKEN_GOOD;
}
