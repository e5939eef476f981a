/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs_digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct fs_digest_sum_t {
    EVP_MD_CTX *context;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

char *fs_digest_hex(const fs_digest_t *digest, char out[FS_DIGEST_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < FS_DIGEST_BYTES; i++) {
        out[2 * i] = digits[digest->bytes[i] >> 4];
        out[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    out[FS_DIGEST_HEX_SIZE - 1] = '\0';
    return out;
}

int fs_digest_parse(fs_digest_t *digest, const char *hex)
{
    for (int i = 0; i < FS_DIGEST_BYTES; i++) {
        int high = hex_value(hex[2 * i]);
        int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);

        if (low < 0)
            return -1;
        digest->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * FS_DIGEST_BYTES] ? -1 : 0;
}

int fs_digest_equal(const fs_digest_t *a, const fs_digest_t *b)
{
    return memcmp(a->bytes, b->bytes, FS_DIGEST_BYTES) == 0;
}

int fs_digest_is_zero(const fs_digest_t *digest)
{
    static const fs_digest_t zero;

    return fs_digest_equal(digest, &zero);
}

static const EVP_MD *sha256;

static void find_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256)
        sha256 = EVP_sha256();
}

/* Looked up once: by name, each time, it costs more than a short text's digest. */
static const EVP_MD *get_sha256(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_sha256);
    return sha256;
}

void fs_digest_of(fs_digest_t *digest, const void *data, size_t length)
{
    EVP_Digest(data, length, digest->bytes, NULL, get_sha256(), NULL);
}

fs_digest_sum_t *fs_digest_begin(void)
{
    fs_digest_sum_t *sum = malloc(sizeof(*sum));

    if (!sum || !(sum->context = EVP_MD_CTX_new()))
        abort(); /* out of memory: no caller can go on; never reached inside httpd's children */
    EVP_DigestInit_ex(sum->context, get_sha256(), NULL);
    return sum;
}

void fs_digest_add(fs_digest_sum_t *sum, const void *data, size_t length)
{
    EVP_DigestUpdate(sum->context, data, length);
}

void fs_digest_end(fs_digest_sum_t *sum, fs_digest_t *digest)
{
    EVP_DigestFinal_ex(sum->context, digest->bytes, NULL);
    EVP_MD_CTX_free(sum->context);
    free(sum);
}
