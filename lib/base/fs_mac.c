/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_mac.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define BLOCK_BYTES 64 /* of SHA-256 */

int fs_mac_derive(const void *key, size_t length, const char *label, uint8_t derived[FS_MAC_BYTES])
{
    return HMAC(EVP_sha256(), key, (int)length, (const unsigned char *)label, strlen(label),
                derived, NULL)
               ? 0
               : -1;
}

static EVP_MD_CTX *begin_digest(const uint8_t key[FS_MAC_BYTES], uint8_t pad)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t block[BLOCK_BYTES];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < FS_MAC_BYTES; i++)
        block[i] ^= key[i];
    if (digest && (!EVP_DigestInit_ex(digest, EVP_sha256(), NULL) ||
                   !EVP_DigestUpdate(digest, block, sizeof(block)))) {
        EVP_MD_CTX_free(digest);
        digest = NULL;
    }
    OPENSSL_cleanse(block, sizeof(block));
    return digest;
}

int fs_mac_begin(fs_mac_t *mac, const uint8_t key[FS_MAC_BYTES])
{
    mac->inner = begin_digest(key, 0x36);
    mac->outer = begin_digest(key, 0x5c);
    return mac->inner && mac->outer ? 0 : -1;
}

void fs_mac_drop(fs_mac_t *mac)
{
    EVP_MD_CTX_free(mac->inner);
    EVP_MD_CTX_free(mac->outer);
    mac->inner = mac->outer = NULL;
}

int fs_mac_of(const fs_mac_t *mac, const void *data, size_t length, uint8_t out[FS_MAC_BYTES])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int done = digest && EVP_MD_CTX_copy_ex(digest, mac->inner) &&
               EVP_DigestUpdate(digest, data, length) && EVP_DigestFinal_ex(digest, out, NULL) &&
               EVP_MD_CTX_copy_ex(digest, mac->outer) &&
               EVP_DigestUpdate(digest, out, FS_MAC_BYTES) && EVP_DigestFinal_ex(digest, out, NULL);

    EVP_MD_CTX_free(digest);
    return done ? 0 : -1;
}
