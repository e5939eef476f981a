/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_sum.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "base/fs_base64url.h"
#include "base/fs_mac.h"

#define PURPOSE_PAGE "farmsync-reuse-3-page"
#define PURPOSE_TAG  "farmsync-reuse-3-tag"
#define SECRET_LEAST 16
#define TAG_BYTES    16 /* also of GHASH, and a block of AES */
#define PIECE        (1 << 30)

struct fs_reuse_sum_t {
    fs_reuse_key_t *key;
    fs_reuse_sum_t *next; /* while it waits to be used again */
    EVP_CIPHER_CTX *page; /* AES-256-GCM */
    EVP_CIPHER_CTX *tag;  /* AES-256, block by block */
    int failed;
};

struct fs_reuse_key_t {
    uint8_t page[FS_MAC_BYTES], tag[FS_MAC_BYTES];
    pthread_mutex_t lock;
    fs_reuse_sum_t *idle;
};

/* --- keys ---------------------------------------------------------------------------------------
 */

static int works(fs_reuse_key_t *key)
{
    char tag[FS_REUSE_TAG_SIZE];

    return !fs_reuse_sum_end(fs_reuse_sum_begin(key), tag);
}

apr_status_t fs_reuse_key_make(fs_reuse_key_t **made, const void *secret, size_t length,
                               fs_result_t *result)
{
    fs_reuse_key_t *key;

    *made = NULL;
    if (length < SECRET_LEAST || length > INT32_MAX)
        return fs_result_set(result, APR_EINVAL, "FS1700",
                             "a secret of %zu bytes is too short for check values; give %d or more",
                             length, SECRET_LEAST);
    key = calloc(1, sizeof(*key));
    if (!key || pthread_mutex_init(&key->lock, NULL)) {
        free(key);
        return fs_result_set(result, APR_ENOMEM, "FS1700",
                             "there is no memory for the key of check values");
    }
    if (fs_mac_derive(secret, length, PURPOSE_PAGE, key->page) ||
        fs_mac_derive(secret, length, PURPOSE_TAG, key->tag) || !works(key)) {
        fs_reuse_key_free(key);
        return fs_result_set(result, APR_EGENERAL, "FS1700",
                             "libcrypto makes no HMAC-SHA-256, AES-256-GCM or AES-256-ECB; check "
                             "the host's OpenSSL configuration");
    }
    *made = key;
    return APR_SUCCESS;
}

static void free_sum(fs_reuse_sum_t *sum)
{
    EVP_CIPHER_CTX_free(sum->page);
    EVP_CIPHER_CTX_free(sum->tag);
    free(sum);
}

void fs_reuse_key_free(fs_reuse_key_t *key)
{
    if (!key)
        return;
    for (fs_reuse_sum_t *next, *sum = key->idle; sum; sum = next) {
        next = sum->next;
        free_sum(sum);
    }
    pthread_mutex_destroy(&key->lock);
    OPENSSL_cleanse(key, sizeof(*key));
    free(key);
}

/* --- sums ---------------------------------------------------------------------------------------
 */

static fs_reuse_sum_t *make_sum(fs_reuse_key_t *key)
{
    fs_reuse_sum_t *sum = calloc(1, sizeof(*sum));

    if (!sum)
        return NULL;
    sum->key = key;
    sum->page = EVP_CIPHER_CTX_new();
    sum->tag = EVP_CIPHER_CTX_new();
    if (sum->page && sum->tag &&
        EVP_EncryptInit_ex(sum->page, EVP_aes_256_gcm(), NULL, key->page, NULL) == 1 &&
        EVP_EncryptInit_ex(sum->tag, EVP_aes_256_ecb(), NULL, key->tag, NULL) == 1 &&
        EVP_CIPHER_CTX_set_padding(sum->tag, 0) == 1)
        return sum;
    free_sum(sum);
    return NULL;
}

static fs_reuse_sum_t *take_idle(fs_reuse_key_t *key)
{
    fs_reuse_sum_t *sum;

    pthread_mutex_lock(&key->lock);
    sum = key->idle;
    if (sum)
        key->idle = sum->next;
    pthread_mutex_unlock(&key->lock);
    return sum;
}

fs_reuse_sum_t *fs_reuse_sum_begin(fs_reuse_key_t *key)
{
    static const uint8_t nonce[12];
    fs_reuse_sum_t *sum = take_idle(key);

    if (!sum && (sum = make_sum(key)) == NULL)
        return NULL;
    if (EVP_EncryptInit_ex(sum->page, NULL, NULL, NULL, nonce) == 1)
        return sum;
    free_sum(sum);
    return NULL;
}

void fs_reuse_sum_add(fs_reuse_sum_t *sum, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    if (!sum)
        return;
    while (length && !sum->failed) {
        int taken, piece = length < PIECE ? (int)length : PIECE;

        sum->failed = EVP_EncryptUpdate(sum->page, NULL, &taken, at, piece) != 1;
        at += piece;
        length -= (size_t)piece;
    }
}

void fs_reuse_sum_drop(fs_reuse_sum_t *sum)
{
    if (!sum)
        return;
    if (sum->failed) {
        free_sum(sum);
        return;
    }
    pthread_mutex_lock(&sum->key->lock);
    sum->next = sum->key->idle;
    sum->key->idle = sum;
    pthread_mutex_unlock(&sum->key->lock);
}

static int finish(fs_reuse_sum_t *sum, uint8_t tag[TAG_BYTES])
{
    uint8_t hash[TAG_BYTES];
    int length;

    return EVP_EncryptFinal_ex(sum->page, hash, &length) == 1 &&
           EVP_CIPHER_CTX_ctrl(sum->page, EVP_CTRL_AEAD_GET_TAG, sizeof(hash), hash) == 1 &&
           EVP_EncryptUpdate(sum->tag, tag, &length, hash, sizeof(hash)) == 1 &&
           length == TAG_BYTES;
}

static void write_tag(const uint8_t bytes[TAG_BYTES], char tag[FS_REUSE_TAG_SIZE])
{
    char *end;

    tag[0] = '"';
    end = fs_base64url_write(bytes, TAG_BYTES, tag + 1);
    memcpy(end, "\"", 2);
}

int fs_reuse_sum_end(fs_reuse_sum_t *sum, char tag[FS_REUSE_TAG_SIZE])
{
    uint8_t bytes[TAG_BYTES];
    int made;

    if (!sum)
        return -1;
    if (!sum->failed && !finish(sum, bytes))
        sum->failed = 1;
    made = !sum->failed;
    fs_reuse_sum_drop(sum);
    if (made)
        write_tag(bytes, tag);
    return made ? 0 : -1;
}
