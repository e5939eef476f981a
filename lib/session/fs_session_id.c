/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_id.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_base64url.h"
#include "base/fs_known.h"
#include "base/fs_mac.h"

#define RANDOM_BYTES     20
#define TAG_BYTES        4
#define RAW_BYTES        (RANDOM_BYTES + TAG_BYTES)
#define SECRET_MIN_BYTES 16
#define KNOWN_IDS        256 /* a thread */

typedef struct derived_t {
    fs_mac_t id;
    uint8_t seal[FS_MAC_BYTES];
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

/* --- keys ----------------------------------------------------------------------------------------
 */

static int derive(derived_t *derived, const fs_session_secret_t *secret)
{
    uint8_t key[FS_MAC_BYTES];
    int failed =
        fs_mac_derive(secret->bytes, secret->length, "farmsync-session-seal-1", derived->seal) ||
        fs_mac_derive(secret->bytes, secret->length, "farmsync-session-id-1", key) ||
        fs_mac_begin(&derived->id, key);

    OPENSSL_cleanse(key, sizeof(key));
    return failed;
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
    for (unsigned i = 0; i < keys->count; i++)
        fs_mac_drop(&keys->derived[i].id);
    OPENSSL_cleanse(keys, sizeof(*keys));
    free(keys);
}

/* --- ids -----------------------------------------------------------------------------------------
 */

static void take_key(fs_session_key_t *key, const uint8_t mac[FS_MAC_BYTES])
{
    memcpy(key->bytes, mac + FS_MAC_BYTES - FS_SESSION_KEY_BYTES, FS_SESSION_KEY_BYTES);
}

apr_status_t fs_session_id_make(fs_session_id_t *id, const fs_session_keys_t *keys,
                                fs_result_t *result)
{
    uint8_t raw[RAW_BYTES], mac[FS_MAC_BYTES];

    if (RAND_bytes(raw, RANDOM_BYTES) != 1 ||
        fs_mac_of(&keys->derived[0].id, raw, RANDOM_BYTES, mac))
        return fs_result_set(
            result, APR_EGENERAL, "FS1202",
            "libcrypto gives no random numbers or no HMAC for a session's id; check "
            "the host's OpenSSL configuration");
    memcpy(raw + RANDOM_BYTES, mac, TAG_BYTES);
    *fs_base64url_write(raw, RAW_BYTES, id->text) = '\0';
    take_key(&id->key, mac);
    id->secret = 0;
    return APR_SUCCESS;
}

static int check(known_t *known, const fs_session_keys_t *keys, const uint8_t raw[RAW_BYTES])
{
    uint8_t mac[FS_MAC_BYTES];
    int found = 0;

    for (unsigned i = 0; i < keys->count; i++)
        if (!fs_mac_of(&keys->derived[i].id, raw, RANDOM_BYTES, mac) &&
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
        /* 24 bytes are 32 characters exactly: no spare bits, so each id has one spelling. */
        if (length != FS_SESSION_ID_LENGTH || !fs_base64url_read(text, length, raw, sizeof(raw)))
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
        fs_mac_derive(keys->derived[id->secret].seal, FS_MAC_BYTES, id->text, seal))
        return fs_result_set(result, APR_EGENERAL, "FS1202",
                             "libcrypto gives no key for a session; check the host's OpenSSL "
                             "configuration");
    return APR_SUCCESS;
}

int fs_session_key_compare(const fs_session_key_t *a, const fs_session_key_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
