/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_dictionary.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>
#include <zstd.h>

#define DIGEST_TEXT  44 /* base64 of 32 bytes */
#define WINDOW_LEAST 23 /* 8 MB */
#define WINDOW_MOST  27 /* 128 MB */

struct fs_reuse_coder_t {
    ZSTD_CCtx *context;
    int level;
};

int fs_reuse_available(const char *field, fs_digest_t *digest)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t bytes[DIGEST_TEXT / 4 * 3];
    size_t length = strlen(field);

    while (length && (field[length - 1] == ' ' || field[length - 1] == '\t'))
        length--;
    for (; length && (*field == ' ' || *field == '\t'); length--)
        field++;
    /* 32 bytes in base64 end with one '='; the decoder would let more pass than is permitted. */
    if (length != DIGEST_TEXT + 2 || field[0] != ':' || field[length - 1] != ':' ||
        field[length - 2] != '=' || strspn(field + 1, base64) != DIGEST_TEXT - 1)
        return -1;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)field + 1, DIGEST_TEXT) != (int)sizeof(bytes))
        return -1;
    memcpy(digest->bytes, bytes, sizeof(digest->bytes));
    return 0;
}

static int is_token_end(char c)
{
    return !c || c == ',' || c == ';' || c == ' ' || c == '\t';
}

/* Whether the parameters of a coding, from `at` to the next comma, leave it a quality above 0. */
static int has_quality(const char *at)
{
    const char *end = at + strcspn(at, ",");

    for (; at < end; at++) {
        if (strncasecmp(at, "q=", 2))
            continue;
        for (at += 2; at < end; at++)
            if (*at >= '1' && *at <= '9')
                return 1;
        return 0;
    }
    return 1;
}

int fs_reuse_accepts_dcz(const char *field)
{
    for (const char *at = field; *at;) {
        at += strspn(at, " \t,");
        if (!strncasecmp(at, "dcz", 3) && is_token_end(at[3]) && has_quality(at + 3))
            return 1;
        at += strcspn(at, ",");
    }
    return 0;
}

fs_reuse_coder_t *fs_reuse_coder_create(int level)
{
    fs_reuse_coder_t *coder = calloc(1, sizeof(*coder));

    if (!coder)
        return NULL;
    coder->level = level;
    coder->context = ZSTD_createCCtx();
    if (coder->context)
        return coder;
    free(coder);
    return NULL;
}

void fs_reuse_coder_destroy(fs_reuse_coder_t *coder)
{
    if (!coder)
        return;
    ZSTD_freeCCtx(coder->context);
    free(coder);
}

/*
 * A window from which as much of the dictionary as possible can be referred to. A decoder must take
 * 8 MB, or 1.25 times the dictionary if that is more, and may refuse anything above; a smaller one
 * costs both sides less.
 */
static int window_for(size_t dictionary, size_t body)
{
    size_t most = dictionary + dictionary / 4;
    int log = 10, most_log = WINDOW_LEAST;

    while (most_log < WINDOW_MOST && ((size_t)2 << most_log) <= most)
        most_log++;
    while (log < most_log && ((size_t)1 << log) < dictionary + body)
        log++;
    return log;
}

static size_t code(fs_reuse_coder_t *coder, const void *dictionary, size_t dictionary_length,
                   const void *body, size_t length, void *out, size_t room)
{
    ZSTD_CCtx *context = coder->context;
    size_t status;

    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    status = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, coder->level);
    if (!ZSTD_isError(status))
        status = ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog,
                                        window_for(dictionary_length, length));
    if (!ZSTD_isError(status))
        status = ZSTD_CCtx_refPrefix(context, dictionary, dictionary_length);
    return ZSTD_isError(status) ? status : ZSTD_compress2(context, out, room, body, length);
}

apr_status_t fs_reuse_dcz(fs_reuse_coder_t *coder, const void *dictionary, size_t dictionary_length,
                          const fs_digest_t *digest, const void *body, size_t length, size_t worth,
                          void **coded, size_t *coded_length, fs_result_t *result)
{
    static const uint8_t magic[8] = {0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0};
    uint8_t *out;
    size_t room, made;

    if (dictionary_length > FS_REUSE_DICTIONARY_MAX)
        return fs_result_set(result, APR_EINVAL, "FS1710",
                             "a dictionary of %zu bytes is more than a client must take; use one "
                             "of at most %d",
                             dictionary_length, FS_REUSE_DICTIONARY_MAX);
    room = FS_REUSE_DCZ_HEAD + ZSTD_compressBound(length);
    out = malloc(room);
    if (!out)
        return fs_result_set(result, APR_ENOMEM, "FS1710",
                             "there is no memory for the difference of a page of %zu bytes",
                             length);
    memcpy(out, magic, sizeof(magic));
    memcpy(out + sizeof(magic), digest->bytes, sizeof(digest->bytes));
    made = code(coder, dictionary, dictionary_length, body, length, out + FS_REUSE_DCZ_HEAD,
                room - FS_REUSE_DCZ_HEAD);
    if (ZSTD_isError(made) || made + FS_REUSE_DCZ_HEAD >= worth) {
        free(out);
        if (!ZSTD_isError(made))
            return APR_EMISMATCH;
        return fs_result_set(result, APR_EGENERAL, "FS1710",
                             "zstd makes no difference of a page of %zu bytes: %s", length,
                             ZSTD_getErrorName(made));
    }
    *coded = out;
    *coded_length = made + FS_REUSE_DCZ_HEAD;
    return APR_SUCCESS;
}
