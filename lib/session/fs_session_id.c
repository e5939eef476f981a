/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_id.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_known.h"

#define RANDOM_BYTES     20
#define TAG_BYTES        4
#define RAW_BYTES        (RANDOM_BYTES + TAG_BYTES)
#define MAC_BYTES        32
#define BLOCK_BYTES      64 /* of SHA-256 */
#define SECRET_MIN_BYTES 16
#define KNOWN_IDS        256 /* a thread */

/* HMAC's two digests with the key already in them, so that a request pays for two blocks only. */
typedef struct derived_t {
    EVP_MD_CTX *inner, *outer;
    uint8_t seal[MAC_BYTES];
} derived_t;

struct fs_session_keys_t {
    uint64_t epoch;
    unsigned count;
    derived_t derived[FS_SESSION_SECRETS];
};

/* What is known of an id that this thread has read before. */
typedef struct known_t {
    fs_session_key_t key;
    uint32_t secret;
} known_t;

static const fs_known_shape_t known_shape = {KNOWN_IDS, FS_SESSION_ID_LENGTH, sizeof(known_t)};
static _Thread_local fs_known_memory_t
    known_ids[FS_KNOWN_MEMORY(KNOWN_IDS, FS_SESSION_ID_LENGTH, sizeof(known_t))];

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* --- text ----------------------------------------------------------------------------------------
 */

static void write_text(const uint8_t raw[RAW_BYTES], char *out)
{
    for (size_t i = 0; i < RAW_BYTES; i += 3) {
        uint32_t bits = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];

        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = alphabet[bits >> shift & 63];
    }
    *out = '\0';
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

/* 24 bytes are 32 characters exactly: no spare bits, so each id has one spelling. */
static int read_text(const char *text, size_t length, uint8_t raw[RAW_BYTES])
{
    if (length != FS_SESSION_ID_LENGTH)
        return -1;
    for (size_t i = 0; i < RAW_BYTES; i += 3) {
        uint32_t bits = 0;

        for (int j = 0; j < 4; j++) {
            int value = text_value(*text++);

            if (value < 0)
                return -1;
            bits = bits << 6 | (uint32_t)value;
        }
        raw[i] = (uint8_t)(bits >> 16);
        raw[i + 1] = (uint8_t)(bits >> 8);
        raw[i + 2] = (uint8_t)bits;
    }
    return 0;
}

/* --- keys ----------------------------------------------------------------------------------------
 */

static int hmac(const void *key, size_t length, const char *label, uint8_t out[MAC_BYTES])
{
    return HMAC(EVP_sha256(), key, (int)length, (const unsigned char *)label, strlen(label), out,
                NULL)
               ? 0
               : -1;
}

static EVP_MD_CTX *begin_digest(const uint8_t key[MAC_BYTES], uint8_t pad)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t block[BLOCK_BYTES];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < MAC_BYTES; i++)
        block[i] ^= key[i];
    if (digest && (!EVP_DigestInit_ex(digest, EVP_sha256(), NULL) ||
                   !EVP_DigestUpdate(digest, block, sizeof(block)))) {
        EVP_MD_CTX_free(digest);
        digest = NULL;
    }
    OPENSSL_cleanse(block, sizeof(block));
    return digest;
}

static int derive(derived_t *derived, const fs_session_secret_t *secret)
{
    uint8_t key[MAC_BYTES];

    if (hmac(secret->bytes, secret->length, "farmsync-session-seal-1", derived->seal) ||
        hmac(secret->bytes, secret->length, "farmsync-session-id-1", key))
        return -1;
    derived->inner = begin_digest(key, 0x36);
    derived->outer = begin_digest(key, 0x5c);
    OPENSSL_cleanse(key, sizeof(key));
    return derived->inner && derived->outer ? 0 : -1;
}

apr_status_t fs_session_keys_make(fs_session_keys_t **keys, const fs_session_secret_t *secrets,
                                  unsigned count, fs_result_t *result)
{
    *keys = NULL;
    for (unsigned i = 0; i < count; i++)
        if (secrets[i].length < SECRET_MIN_BYTES || secrets[i].length > 1024)
            count = 0;
    if (!count || count > FS_SESSION_SECRETS)
        return fs_result_set(
            result, APR_EINVAL, "FS1200",
            "sessions need one or two secrets of the farm, of %d bytes or more; set "
            "FarmSyncKeyFile",
            SECRET_MIN_BYTES);
    *keys = calloc(1, sizeof(**keys));
    if (!*keys)
        return fs_result_set(result, APR_ENOMEM, "FS1200",
                             "no memory for the keys of the sessions; free some memory");
    (*keys)->epoch = fs_known_epoch();
    (*keys)->count = count;
    for (unsigned i = 0; i < count; i++) {
        if (!derive(&(*keys)->derived[i], &secrets[i]))
            continue;
        fs_session_keys_free(*keys);
        *keys = NULL;
        return fs_result_set(result, APR_EGENERAL, "FS1200",
                             "libcrypto cannot compute HMAC-SHA-256; check the host's OpenSSL "
                             "configuration");
    }
    return APR_SUCCESS;
}

void fs_session_keys_free(fs_session_keys_t *keys)
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

static int mac_of(const derived_t *derived, const uint8_t random[RANDOM_BYTES],
                  uint8_t mac[MAC_BYTES])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int done = digest && EVP_MD_CTX_copy_ex(digest, derived->inner) &&
               EVP_DigestUpdate(digest, random, RANDOM_BYTES) &&
               EVP_DigestFinal_ex(digest, mac, NULL) &&
               EVP_MD_CTX_copy_ex(digest, derived->outer) &&
               EVP_DigestUpdate(digest, mac, MAC_BYTES) && EVP_DigestFinal_ex(digest, mac, NULL);

    EVP_MD_CTX_free(digest);
    return done ? 0 : -1;
}

/* --- ids -----------------------------------------------------------------------------------------
 */

static void take_key(fs_session_key_t *key, const uint8_t mac[MAC_BYTES])
{
    memcpy(key->bytes, mac + MAC_BYTES - FS_SESSION_KEY_BYTES, FS_SESSION_KEY_BYTES);
}

apr_status_t fs_session_id_make(fs_session_id_t *id, const fs_session_keys_t *keys,
                                fs_result_t *result)
{
    uint8_t raw[RAW_BYTES], mac[MAC_BYTES];

    if (RAND_bytes(raw, RANDOM_BYTES) != 1 || mac_of(&keys->derived[0], raw, mac))
        return fs_result_set(
            result, APR_EGENERAL, "FS1202",
            "libcrypto gives no random numbers or no HMAC for a session's id; check "
            "the host's OpenSSL configuration");
    memcpy(raw + RANDOM_BYTES, mac, TAG_BYTES);
    write_text(raw, id->text);
    take_key(&id->key, mac);
    id->secret = 0;
    return APR_SUCCESS;
}

static int check(known_t *known, const fs_session_keys_t *keys, const uint8_t raw[RAW_BYTES])
{
    uint8_t mac[MAC_BYTES];
    int found = 0;

    for (unsigned i = 0; i < keys->count; i++)
        if (!mac_of(&keys->derived[i], raw, mac) &&
            !CRYPTO_memcmp(mac, raw + RANDOM_BYTES, TAG_BYTES) && !found) {
            take_key(&known->key, mac);
            known->secret = i;
            found = 1;
        }
    return found;
}

apr_status_t fs_session_id_read(fs_session_id_t *id, const fs_session_keys_t *keys,
                                const char *text, size_t length, fs_result_t *result)
{
    uint8_t raw[RAW_BYTES];
    known_t known;

    if (!fs_known_find(&known_shape, known_ids, keys->epoch, text, length, &known)) {
        if (read_text(text, length, raw))
            return fs_result_set(
                result, APR_EINVAL, "FS1201",
                "what was sent is no session id: it has another length or characters; a new "
                "session begins with the next change");
        if (!check(&known, keys, raw))
            return fs_result_set(result, APR_EINVAL, "FS1201",
                                 "the session id was not made by this farm, or with a key that is "
                                 "retired; a new session begins with the next change");
        fs_known_add(&known_shape, known_ids, keys->epoch, text, length, &known);
    }
    id->key = known.key;
    id->secret = known.secret;
    memcpy(id->text, text, FS_SESSION_ID_LENGTH);
    id->text[FS_SESSION_ID_LENGTH] = '\0';
    return APR_SUCCESS;
}

apr_status_t fs_session_id_seal_key(const fs_session_id_t *id, const fs_session_keys_t *keys,
                                    uint8_t seal[FS_SESSION_SEAL_BYTES], fs_result_t *result)
{
    if (id->secret >= keys->count ||
        hmac(keys->derived[id->secret].seal, MAC_BYTES, id->text, seal))
        return fs_result_set(result, APR_EGENERAL, "FS1202",
                             "libcrypto gives no key for a session; check the host's OpenSSL "
                             "configuration");
    return APR_SUCCESS;
}

int fs_session_key_compare(const fs_session_key_t *a, const fs_session_key_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
