/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_tag.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>

#define PURPOSE_PAGE "farmsync-reuse-2-page"
#define PURPOSE_TAG  "farmsync-reuse-2-tag"
#define SECRET_LEAST 16
#define MAC_BYTES    32
#define HASH_BYTES   16
#define NONCE_BYTES  12
#define TAG_BYTES    16

struct fs_reuse_sum_t {
    const fs_reuse_key_t *key;
    EVP_MAC_CTX *context;
};

/* Looked up once: by name, each time, it costs more than a small page. NULL: libcrypto hasn't it.
 */
static EVP_MAC *hmac, *gmac;

static void fetch(void)
{
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    gmac = EVP_MAC_fetch(NULL, "GMAC", NULL);
}

static EVP_MAC_CTX *begin(EVP_MAC *mac, const uint8_t key[MAC_BYTES], const OSSL_PARAM *parameters)
{
    EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;

    if (context && EVP_MAC_init(context, key, MAC_BYTES, parameters) == 1)
        return context;
    EVP_MAC_CTX_free(context);
    return NULL;
}

static EVP_MAC_CTX *begin_page(const fs_reuse_key_t *key)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint8_t nonce[NONCE_BYTES] = {0};
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, "AES-256-GCM", 0),
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce, sizeof(nonce)),
        OSSL_PARAM_construct_end()};

    pthread_once(&once, fetch);
    return begin(gmac, key->page, parameters);
}

static EVP_MAC_CTX *begin_tag(const fs_reuse_key_t *key)
{
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
                               OSSL_PARAM_construct_end()};

    return begin(hmac, key->tag, parameters);
}

static int derive(uint8_t key[MAC_BYTES], const void *secret, size_t length, const char *purpose)
{
    unsigned made = 0;

    return HMAC(EVP_sha256(), secret, (int)length, (const unsigned char *)purpose, strlen(purpose),
                key, &made) &&
           made == MAC_BYTES;
}

static int works(const fs_reuse_key_t *key)
{
    char tag[FS_REUSE_TAG_SIZE];

    return !fs_reuse_sum_end(fs_reuse_sum_begin(key), tag);
}

apr_status_t fs_reuse_key_make(fs_reuse_key_t *key, const void *secret, size_t length,
                               fs_result_t *result)
{
    if (length < SECRET_LEAST || length > INT32_MAX)
        return fs_result_set(result, APR_EINVAL, "FS1700",
                             "a secret of %zu bytes is too short for check values; give %d or more",
                             length, SECRET_LEAST);
    if (!derive(key->page, secret, length, PURPOSE_PAGE) ||
        !derive(key->tag, secret, length, PURPOSE_TAG) || !works(key))
        return fs_result_set(result, APR_EGENERAL, "FS1700",
                             "libcrypto makes no HMAC-SHA-256 or no GMAC of AES-256; check the "
                             "host's OpenSSL configuration");
    return APR_SUCCESS;
}

fs_reuse_sum_t *fs_reuse_sum_begin(const fs_reuse_key_t *key)
{
    fs_reuse_sum_t *sum = calloc(1, sizeof(*sum));

    if (!sum)
        return NULL;
    sum->key = key;
    sum->context = begin_page(key);
    if (sum->context)
        return sum;
    fs_reuse_sum_drop(sum);
    return NULL;
}

/* A sum that failed is left without its context. */
void fs_reuse_sum_add(fs_reuse_sum_t *sum, const void *bytes, size_t length)
{
    if (sum && sum->context && EVP_MAC_update(sum->context, bytes, length) != 1) {
        EVP_MAC_CTX_free(sum->context);
        sum->context = NULL;
    }
}

/* base64url (RFC 4648 §5) without padding: 16 bytes are 22 characters. */
static void write_tag(const uint8_t bytes[TAG_BYTES], char tag[FS_REUSE_TAG_SIZE])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *out = tag;

    *out++ = '"';
    for (unsigned bit = 0; bit < 8 * TAG_BYTES; bit += 6) {
        unsigned at = bit / 8, two = (unsigned)bytes[at] << 8;

        if (at + 1 < TAG_BYTES)
            two |= bytes[at + 1];
        *out++ = digits[two >> (10 - bit % 8) & 63];
    }
    *out++ = '"';
    *out = 0;
}

static int finish(EVP_MAC_CTX *context, uint8_t *bytes, size_t wanted)
{
    size_t length = 0;

    return context && EVP_MAC_final(context, bytes, &length, wanted) == 1 && length == wanted;
}

static int mac_of_hash(const fs_reuse_key_t *key, const uint8_t hash[HASH_BYTES],
                       uint8_t mac[MAC_BYTES])
{
    EVP_MAC_CTX *context = begin_tag(key);
    int made = context && EVP_MAC_update(context, hash, HASH_BYTES) == 1 &&
               finish(context, mac, MAC_BYTES);

    EVP_MAC_CTX_free(context);
    return made;
}

int fs_reuse_sum_end(fs_reuse_sum_t *sum, char tag[FS_REUSE_TAG_SIZE])
{
    uint8_t hash[HASH_BYTES], mac[MAC_BYTES];
    int made = sum && finish(sum->context, hash, sizeof(hash)) && mac_of_hash(sum->key, hash, mac);

    fs_reuse_sum_drop(sum);
    if (!made)
        return -1;
    write_tag(mac, tag);
    return 0;
}

void fs_reuse_sum_drop(fs_reuse_sum_t *sum)
{
    if (!sum)
        return;
    EVP_MAC_CTX_free(sum->context);
    free(sum);
}

/* --- If-None-Match ------------------------------------------------------------------------------
 */

/* One tag of a list. */
typedef struct found_t {
    const char *whole; /* with W/ and quotes */
    size_t whole_length;
    const char *opaque; /* between the quotes */
    size_t length;
} found_t;

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

static int is_tag_character(unsigned char c)
{
    return c == 0x21 || (c >= 0x23 && c != 0x7f);
}

/*
 * Reads the tag at `at` and what separates it from the next. Returns where that begins, or NULL if
 * this is no list of tags. Empty elements are passed over (RFC 9110 §5.6.1.2).
 */
static const char *next_tag(const char *at, found_t *found)
{
    while (*(at = skip_blanks(at)) == ',')
        at++;
    found->whole = at;
    if (!*at)
        return at;
    if (at[0] == 'W' && at[1] == '/')
        at += 2;
    if (*at != '"')
        return NULL;
    found->opaque = ++at;
    while (is_tag_character((unsigned char)*at))
        at++;
    if (*at != '"')
        return NULL;
    found->length = (size_t)(at++ - found->opaque);
    found->whole_length = (size_t)(at - found->whole);
    at = skip_blanks(at);
    return *at && *at != ',' ? NULL : at;
}

/* The length of a tag without what a compressing filter added to it. */
static size_t plain_length(const char *opaque, size_t length)
{
    static const char *const suffixes[] = {"-gzip", "-br", "-zstd", "-dcz", "-deflate"};

    for (unsigned i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        size_t tail = strlen(suffixes[i]);

        if (length > tail && !memcmp(opaque + length - tail, suffixes[i], tail))
            return length - tail;
    }
    return length;
}

static int is_star(const char *field)
{
    const char *at = skip_blanks(field);

    return *at == '*' && !*skip_blanks(at + 1);
}

static int is_list(const char *field)
{
    found_t found;

    for (const char *at = field; (at = next_tag(at, &found)) != NULL;)
        if (!*found.whole)
            return 1;
    return 0;
}

fs_reuse_match_t fs_reuse_match(const char *field, const char *tag, const char **held,
                                size_t *held_length)
{
    size_t length = strlen(tag);
    found_t found;

    if (is_star(field))
        return FS_REUSE_ANY;
    if (length < 2 || !is_list(field))
        return FS_REUSE_DIFFERENT;
    length -= 2;
    for (const char *at = next_tag(field, &found); *found.whole; at = next_tag(at, &found)) {
        if (memcmp(found.opaque, tag + 1, length < found.length ? length : found.length) ||
            (found.length != length && plain_length(found.opaque, found.length) != length))
            continue;
        if (held)
            *held = found.whole;
        if (held_length)
            *held_length = found.whole_length;
        return FS_REUSE_SAME;
    }
    return FS_REUSE_DIFFERENT;
}

const char *fs_reuse_next(const char *at, const char **opaque, size_t *length)
{
    found_t found;

    at = next_tag(at, &found);
    if (!at || !*found.whole)
        return NULL;
    *opaque = found.opaque;
    *length = plain_length(found.opaque, found.length);
    return at;
}

unsigned fs_reuse_plain(const char *field, char *out)
{
    unsigned changed = 0;
    size_t length = 0;
    found_t found;

    *out = 0;
    if (!is_list(field))
        return 0;
    for (const char *at = next_tag(field, &found); *found.whole; at = next_tag(at, &found)) {
        size_t head = (size_t)(found.opaque - found.whole);
        size_t plain = plain_length(found.opaque, found.length);

        changed += plain < found.length;
        if (length)
            out[length++] = ',';
        memcpy(out + length, found.whole, head + plain);
        length += head + plain;
        out[length++] = '"';
    }
    out[changed ? length : 0] = 0;
    return changed;
}
