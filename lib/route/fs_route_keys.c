/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_known.h"

#define SECRET_MIN_BYTES  16
#define SECRET_MOST_BYTES 1024
#define DIGEST_BYTES      32
#define BLOCK_BYTES       64 /* of SHA-256 */
#define VISITOR_LABEL     "farmsync-visitor-1"
#define VISITOR_TEXT_MOST 8192 /* more of what a visitor is known by isn't looked at */

/* HMAC's two digests with the key already in them, so that a text pays for its own blocks only. */
typedef struct derived_t {
    EVP_MD_CTX *inner, *outer;
    uint8_t mark; /* tells texts that it signed, mostly, from those of the other key */
    uint8_t secret[SECRET_MOST_BYTES];
    size_t length;
} derived_t;

struct fs_route_keys_t {
    uint64_t epoch;
    unsigned count;
    derived_t derived[FS_ROUTE_KEYS];
};

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* --- text ---------------------------------------------------------------------------------------
 */

static void write_text(const uint8_t *data, size_t length, char *text)
{
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0);

        *text++ = alphabet[bits >> 18];
        *text++ = alphabet[bits >> 12 & 63];
        if (left > 1)
            *text++ = alphabet[bits >> 6 & 63];
        if (left > 2)
            *text++ = alphabet[bits & 63];
    }
    *text = '\0';
}

static int text_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* How many bytes it means; 0 if it isn't such a text, or not in its only spelling. */
static size_t read_text(const char *text, size_t length, uint8_t *data, size_t room)
{
    size_t bytes = length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0), out = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    if (length % 4 == 1 || bytes > room)
        return 0;
    for (size_t i = 0; i < length; i++) {
        int value = text_value(text[i]);

        if (value < 0)
            return 0;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            data[out++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    return bits ? 0 : out;
}

/* --- keys ---------------------------------------------------------------------------------------
 */

static EVP_MD_CTX *begin_digest(const uint8_t key[DIGEST_BYTES], uint8_t pad)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t block[BLOCK_BYTES];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        block[i] ^= key[i];
    if (digest && (!EVP_DigestInit_ex(digest, EVP_sha256(), NULL) ||
                   !EVP_DigestUpdate(digest, block, sizeof(block)))) {
        EVP_MD_CTX_free(digest);
        digest = NULL;
    }
    OPENSSL_cleanse(block, sizeof(block));
    return digest;
}

static int mac_of(const derived_t *derived, const uint8_t *data, size_t length,
                  uint8_t mac[DIGEST_BYTES])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int done = digest && EVP_MD_CTX_copy_ex(digest, derived->inner) &&
               EVP_DigestUpdate(digest, data, length) && EVP_DigestFinal_ex(digest, mac, NULL) &&
               EVP_MD_CTX_copy_ex(digest, derived->outer) &&
               EVP_DigestUpdate(digest, mac, DIGEST_BYTES) && EVP_DigestFinal_ex(digest, mac, NULL);

    EVP_MD_CTX_free(digest);
    return done ? 0 : -1;
}

static int derive(derived_t *derived, const fs_route_secret_t *secret)
{
    static const char label[] = "farmsync-route-1", mark[] = "farmsync-route-key";
    uint8_t key[DIGEST_BYTES], mac[DIGEST_BYTES];

    memcpy(derived->secret, secret->bytes, secret->length);
    derived->length = secret->length;
    if (!HMAC(EVP_sha256(), secret->bytes, (int)secret->length, (const unsigned char *)label,
              sizeof(label) - 1, key, NULL))
        return -1;
    derived->inner = begin_digest(key, 0x36);
    derived->outer = begin_digest(key, 0x5c);
    OPENSSL_cleanse(key, sizeof(key));
    if (!derived->inner || !derived->outer ||
        mac_of(derived, (const uint8_t *)mark, sizeof(mark) - 1, mac))
        return -1;
    derived->mark = mac[0];
    return 0;
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
    for (unsigned i = 0; i < keys->count; i++) {
        EVP_MD_CTX_free(keys->derived[i].inner);
        EVP_MD_CTX_free(keys->derived[i].outer);
    }
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
    uint8_t data[sizeof(VISITOR_LABEL) - 1 + VISITOR_TEXT_MOST], mac[DIGEST_BYTES];
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
    uint8_t mac[DIGEST_BYTES];

    data[1] = keys->derived[0].mark;
    if (mac_of(&keys->derived[0], data, length, mac))
        return -1;
    memcpy(data + length, mac, FS_ROUTE_MAC_BYTES);
    write_text(data, length + FS_ROUTE_MAC_BYTES, text);
    return 0;
}

size_t fs_route_check(const fs_route_keys_t *keys, uint8_t kind, const char *text, size_t length,
                      uint8_t *data, size_t room)
{
    size_t bytes = read_text(text, length, data, room);
    uint8_t mac[DIGEST_BYTES];

    if (bytes < 2 + FS_ROUTE_MAC_BYTES || data[0] != kind)
        return 0;
    bytes -= FS_ROUTE_MAC_BYTES;
    for (unsigned i = 0; i < keys->count; i++)
        if (data[1] == keys->derived[i].mark && !mac_of(&keys->derived[i], data, bytes, mac) &&
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
