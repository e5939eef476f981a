/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define FORMAT      1
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define LABEL_BYTES (1 + FS_SESSION_KEY_BYTES + 4 * 8)

static uint8_t *put(uint8_t *at, uint64_t number)
{
    for (int shift = 0; shift < 64; shift += 8)
        *at++ = (uint8_t)(number >> shift);
    return at;
}

static void write_label(const fs_session_label_t *label, uint8_t bytes[LABEL_BYTES])
{
    uint8_t *at = bytes;

    *at++ = FORMAT;
    memcpy(at, label->key.bytes, FS_SESSION_KEY_BYTES);
    at = put(at + FS_SESSION_KEY_BYTES, label->version.epoch);
    at = put(at, label->version.sequence);
    at = put(at, label->version.writer);
    put(at, (uint64_t)label->expires);
}

static int encrypt(EVP_CIPHER_CTX *cipher, const uint8_t *seal, const fs_session_label_t *label,
                   const uint8_t *bytes, int length, uint8_t *out)
{
    uint8_t *nonce = out + 1, *text = nonce + NONCE_BYTES, aad[LABEL_BYTES];
    int done;

    write_label(label, aad);
    *out = FORMAT;
    return RAND_bytes(nonce, NONCE_BYTES) == 1 &&
           EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, seal, nonce) &&
           EVP_EncryptUpdate(cipher, NULL, &done, aad, sizeof(aad)) &&
           EVP_EncryptUpdate(cipher, text, &done, bytes, length) && done == length &&
           EVP_EncryptFinal_ex(cipher, text + length, &done) &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, text + length);
}

apr_status_t fs_session_seal(const uint8_t seal[FS_SESSION_SEAL_BYTES],
                             const fs_session_label_t *label, const void *bytes, size_t length,
                             apr_pool_t *pool, const uint8_t **sealed, size_t *sealed_length,
                             fs_result_t *result)
{
    EVP_CIPHER_CTX *cipher;
    uint8_t *out;
    int done;

    if (length > FS_SESSION_RECORD_LIMIT)
        return fs_result_set(
            result, APR_EINVAL, "FS1250",
            "a session of %zu bytes cannot be sealed for the bank: it is too large; "
            "store less in it",
            length);
    out = apr_palloc(pool, length + FS_SESSION_SEAL_OVERHEAD);
    cipher = EVP_CIPHER_CTX_new();
    done = cipher && encrypt(cipher, seal, label, bytes, (int)length, out);
    EVP_CIPHER_CTX_free(cipher);
    if (!done)
        return fs_result_set(
            result, APR_EGENERAL, "FS1250",
            "libcrypto cannot seal a session for the bank; check the host's OpenSSL "
            "configuration");
    *sealed = out;
    *sealed_length = length + FS_SESSION_SEAL_OVERHEAD;
    return APR_SUCCESS;
}

static int decrypt(EVP_CIPHER_CTX *cipher, const uint8_t *seal, const fs_session_label_t *label,
                   const uint8_t *sealed, int length, uint8_t *out)
{
    const uint8_t *nonce = sealed + 1, *text = nonce + NONCE_BYTES;
    uint8_t aad[LABEL_BYTES], tag[TAG_BYTES];
    int done;

    write_label(label, aad);
    memcpy(tag, text + length, TAG_BYTES);
    return EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, seal, nonce) &&
           EVP_DecryptUpdate(cipher, NULL, &done, aad, sizeof(aad)) &&
           EVP_DecryptUpdate(cipher, out, &done, text, length) && done == length &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) &&
           EVP_DecryptFinal_ex(cipher, out + length, &done) > 0;
}

apr_status_t fs_session_unseal(const uint8_t seal[FS_SESSION_SEAL_BYTES],
                               const fs_session_label_t *label, const void *sealed,
                               size_t sealed_length, apr_pool_t *pool, const uint8_t **bytes,
                               size_t *length, fs_result_t *result)
{
    EVP_CIPHER_CTX *cipher;
    uint8_t *out;
    int done = 0;

    if (sealed_length >= FS_SESSION_SEAL_OVERHEAD &&
        sealed_length <= FS_SESSION_RECORD_LIMIT + FS_SESSION_SEAL_OVERHEAD &&
        *(const uint8_t *)sealed == FORMAT) {
        *length = sealed_length - FS_SESSION_SEAL_OVERHEAD;
        out = apr_palloc(pool, *length + 1);
        cipher = EVP_CIPHER_CTX_new();
        done = cipher && decrypt(cipher, seal, label, sealed, (int)*length, out);
        EVP_CIPHER_CTX_free(cipher);
    }
    if (!done)
        return fs_result_set(result, APR_EINVAL, "FS1251",
                             "a session's copy from the bank cannot be opened: it was altered, or "
                             "sealed with another key; another copy is used");
    *bytes = out;
    return APR_SUCCESS;
}
