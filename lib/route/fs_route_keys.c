/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_base64url.h"
#include "base/fs_known.h"
#include "base/fs_mac.h"

#define SECRET_MIN_BYTES  16
#define SECRET_MOST_BYTES 1024
#define VISITOR_LABEL     "farmsync-visitor-1"
#define VISITOR_TEXT_MOST 8192 /* more of what a visitor is known by isn't looked at */

typedef struct derived_t {
    fs_mac_t mac;
    uint8_t mark; /* tells texts that it signed, mostly, from those of the other key */
    uint8_t secret[SECRET_MOST_BYTES];
    size_t length;
} derived_t;

struct fs_route_keys_t {
    uint64_t epoch;
    unsigned count;
    derived_t derived[FS_ROUTE_KEYS];
};

/* --- keys ---------------------------------------------------------------------------------------
 */

static int derive(derived_t *derived, const fs_route_secret_t *secret)
{
    static const char mark[] = "farmsync-route-key";
    uint8_t key[FS_MAC_BYTES], mac[FS_MAC_BYTES];
    int failed;

    memcpy(derived->secret, secret->bytes, secret->length);
    derived->length = secret->length;
    failed = fs_mac_derive(secret->bytes, secret->length, "farmsync-route-1", key) ||
             fs_mac_begin(&derived->mac, key) ||
             fs_mac_of(&derived->mac, mark, sizeof(mark) - 1, mac);
    OPENSSL_cleanse(key, sizeof(key));
    if (!failed)
        derived->mark = mac[0];
    return failed;
}

apr_status_t fs_route_keys_make(fs_route_keys_t **keys, const fs_route_secret_t *secrets,
                                unsigned count, fs_result_t *result)
{
    *keys = NULL;
    for (unsigned i = 0; i < count && i < FS_ROUTE_KEYS; i++)
        if (secrets[i].length < SECRET_MIN_BYTES || secrets[i].length > SECRET_MOST_BYTES)
            count = 0;
    if (!count || count > FS_ROUTE_KEYS)
        return fs_result_set(result, APR_EINVAL, "FS1602",
                             "routing needs one or two keys of the farm, of %d bytes or more; set "
                             "FarmSyncKeyFile",
                             SECRET_MIN_BYTES);
    *keys = calloc(1, sizeof(**keys));
    if (!*keys)
        return fs_result_set(result, APR_ENOMEM, "FS1602",
                             "no memory for the keys of routing; free some memory");
    (*keys)->epoch = fs_known_epoch();
    (*keys)->count = count;
    for (unsigned i = 0; i < count; i++) {
        if (!derive(&(*keys)->derived[i], &secrets[i]))
            continue;
        fs_route_keys_free(*keys);
        *keys = NULL;
        return fs_result_set(result, APR_EGENERAL, "FS1602",
                             "libcrypto cannot compute HMAC-SHA-256; check the host's OpenSSL "
                             "configuration");
    }
    return APR_SUCCESS;
}

void fs_route_keys_free(fs_route_keys_t *keys)
{
    if (!keys)
        return;
    for (unsigned i = 0; i < keys->count; i++)
        fs_mac_drop(&keys->derived[i].mac);
    OPENSSL_cleanse(keys, sizeof(*keys));
    free(keys);
}

uint64_t fs_route_keys_epoch(const fs_route_keys_t *keys)
{
    return keys->epoch;
}

unsigned fs_route_keys_count(const fs_route_keys_t *keys)
{
    return keys->count;
}

/* --- ids ----------------------------------------------------------------------------------------
 */

int fs_route_id_random(fs_route_id_t *id)
{
    return RAND_bytes(id->bytes, sizeof(id->bytes)) == 1 ? 0 : -1;
}

int fs_route_id_of(fs_route_id_t *id, const fs_route_keys_t *keys, unsigned key, const void *text,
                   size_t length)
{
    uint8_t data[sizeof(VISITOR_LABEL) - 1 + VISITOR_TEXT_MOST], mac[FS_MAC_BYTES];
    const derived_t *derived = &keys->derived[key];

    if (key >= keys->count)
        return -1;
    if (length > VISITOR_TEXT_MOST)
        length = VISITOR_TEXT_MOST;
    memcpy(data, VISITOR_LABEL, sizeof(VISITOR_LABEL) - 1);
    memcpy(data + sizeof(VISITOR_LABEL) - 1, text, length);
    if (!HMAC(EVP_sha256(), derived->secret, (int)derived->length, data,
              sizeof(VISITOR_LABEL) - 1 + length, mac, NULL))
        return -1;
    memcpy(id->bytes, mac, sizeof(id->bytes));
    return 0;
}

/* --- signed texts -------------------------------------------------------------------------------
 */

int fs_route_sign(const fs_route_keys_t *keys, uint8_t *data, size_t length, char *text)
{
    uint8_t mac[FS_MAC_BYTES];

    data[1] = keys->derived[0].mark;
    if (fs_mac_of(&keys->derived[0].mac, data, length, mac))
        return -1;
    memcpy(data + length, mac, FS_ROUTE_MAC_BYTES);
    *fs_base64url_write(data, length + FS_ROUTE_MAC_BYTES, text) = '\0';
    return 0;
}

size_t fs_route_check(const fs_route_keys_t *keys, uint8_t kind, const char *text, size_t length,
                      uint8_t *data, size_t room)
{
    size_t bytes = fs_base64url_read(text, length, data, room);
    uint8_t mac[FS_MAC_BYTES];

    if (bytes < 2 + FS_ROUTE_MAC_BYTES || data[0] != kind)
        return 0;
    bytes -= FS_ROUTE_MAC_BYTES;
    for (unsigned i = 0; i < keys->count; i++)
        if (data[1] == keys->derived[i].mark &&
            !fs_mac_of(&keys->derived[i].mac, data, bytes, mac) &&
            !CRYPTO_memcmp(mac, data + bytes, FS_ROUTE_MAC_BYTES))
            return bytes;
    return 0;
}

uint8_t *fs_route_put_number(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    return at + bytes;
}

uint8_t *fs_route_put_name(uint8_t *at, const char *name)
{
    size_t length = strlen(name);

    if (length >= FS_ROUTE_NAME_SIZE)
        length = FS_ROUTE_NAME_SIZE - 1;
    *at++ = (uint8_t)length;
    memcpy(at, name, length);
    return at + length;
}

uint64_t fs_route_get_number(fs_route_reader_t *reader, unsigned bytes)
{
    uint8_t data[8] = {0};
    uint64_t number = 0;

    fs_route_get_bytes(reader, data, bytes);
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | data[i];
    return number;
}

void fs_route_get_bytes(fs_route_reader_t *reader, uint8_t *bytes, size_t count)
{
    if (reader->bad || (size_t)(reader->end - reader->at) < count) {
        reader->bad = 1;
        return;
    }
    memcpy(bytes, reader->at, count);
    reader->at += count;
}

void fs_route_get_name(fs_route_reader_t *reader, char *name, size_t size, int optional)
{
    size_t length = (size_t)fs_route_get_number(reader, 1);

    *name = '\0';
    if (length >= size || (!length && !optional))
        reader->bad = 1;
    if (reader->bad)
        return;
    fs_route_get_bytes(reader, (uint8_t *)name, length);
    for (size_t i = 0; i < length && !reader->bad; i++)
        if (name[i] <= ' ' || name[i] > '~' || strchr("\",;\\", name[i]))
            reader->bad = 1; /* it will stand in headers */
    name[reader->bad ? 0 : length] = '\0';
}
