/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fs_key.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_digest.h"
#include "base/fs_file.h"
#include "base/fs_time.h"

#define KEY_MIN_BYTES 32
#define NONCE_BYTES   16

static const char hex_digits[] = "0123456789abcdef";

/* Value of a hex digit of either case, -1 if it is none. */
static int hex_value(char c)
{
    const char *at = c ? strchr(hex_digits, tolower((unsigned char)c)) : NULL;

    return at ? (int)(at - hex_digits) : -1;
}

static void write_hex(const unsigned char *bytes, size_t length, char *out)
{
    for (size_t i = 0; i < length; i++) {
        *out++ = hex_digits[bytes[i] >> 4];
        *out++ = hex_digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* --- the key file -------------------------------------------------------------------------------
 */

static int is_id(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-')
            return 0;
    return length > 0 && length < FS_KEY_ID_SIZE;
}

/* Returns NULL, or what is wrong. */
static const char *parse_secret(fs_key_t *key, const char *hex, size_t digits)
{
    if (digits < 2 * KEY_MIN_BYTES || digits > 2 * FS_KEY_MAX_BYTES || digits % 2)
        return "the secret must have 64 to 128 hex digits, an even number";
    for (size_t i = 0; i < digits; i += 2) {
        int high = hex_value(hex[i]), low = hex_value(hex[i + 1]);

        if (high < 0 || low < 0)
            return "the secret holds a character that is no hex digit";
        key->secret[i / 2] = (unsigned char)(high << 4 | low);
    }
    key->length = digits / 2;
    return NULL;
}

static size_t word_length(const char *text, size_t length)
{
    size_t n = 0;

    while (n < length && text[n] != ' ' && text[n] != '\t' && text[n] != '\r')
        n++;
    return n;
}

static size_t space_length(const char *text, size_t length)
{
    size_t n = 0;

    while (n < length && (text[n] == ' ' || text[n] == '\t' || text[n] == '\r'))
        n++;
    return n;
}

/* Reads "ID HEX" without its comment. *found 0: nothing on the line. Returns NULL or what is wrong.
 */
static const char *parse_key(fs_key_t *key, const char *text, size_t length, int *found)
{
    const char *comment = memchr(text, '#', length);
    const char *end = comment ? comment : text + length, *id, *hex;
    size_t id_length, digits;

    id = text + space_length(text, (size_t)(end - text));
    id_length = word_length(id, (size_t)(end - id));
    *found = id_length > 0;
    if (!*found)
        return NULL;
    if (!is_id(id, id_length))
        return "the key's name must be 1 to 32 letters, digits, '_' or '-'";
    hex = id + id_length;
    hex += space_length(hex, (size_t)(end - hex));
    digits = word_length(hex, (size_t)(end - hex));
    if (hex + digits + space_length(hex + digits, (size_t)(end - hex) - digits) != end)
        return "expected a name and a secret and nothing else";
    memset(key, 0, sizeof(*key));
    memcpy(key->id, id, id_length);
    return parse_secret(key, hex, digits);
}

apr_status_t fs_keyring_parse(fs_keyring_t *ring, const char *name, const char *text, size_t length,
                              fs_result_t *result)
{
    unsigned line = 0;
    fs_key_t key;

    memset(ring, 0, sizeof(*ring));
    while (length) {
        const char *end = memchr(text, '\n', length);
        size_t used = end ? (size_t)(end - text) : length;
        int found;
        const char *problem = parse_key(&key, text, used, &found);

        line++;
        if (!problem && found && ring->count && !strcmp(key.id, ring->keys[0].id))
            problem = "this key's name stands on an earlier line too";
        if (problem)
            return fs_result_set(result, APR_EINVAL, "FS0203", "key file %s line %u: %s", name,
                                 line, problem);
        if (found && ring->count < 2)
            ring->keys[ring->count++] = key;
        if (end)
            used++;
        text += used;
        length -= used;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    if (!ring->count)
        return fs_result_set(
            result, APR_EINVAL, "FS0203",
            "key file %s holds no key; put a line \"ID HEX\" into it, HEX made with "
            "openssl rand -hex 32",
            name);
    return APR_SUCCESS;
}

apr_status_t fs_keyring_read(fs_keyring_t *ring, const char *path, fs_result_t *result)
{
    struct stat info;
    char *text;
    size_t length;
    apr_status_t status;
    fs_result_t cause;

    memset(ring, 0, sizeof(*ring));
    if (stat(path, &info))
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0201",
                             "cannot read the key file %s: %s", path, strerror(errno));
    if (info.st_mode & (S_IROTH | S_IWOTH))
        return fs_result_set(result, APR_EACCES, "FS0202",
                             "every user of this host can read or change the key file %s; chmod "
                             "0640 and make it owned by the group of the web server",
                             path);
    status = fs_file_read(path, FS_KEY_FILE_LIMIT, &text, &length, &cause);
    if (status != APR_SUCCESS)
        return fs_result_set(result, status, "FS0201", "cannot read the key file: %s",
                             cause.detail);
    status = fs_keyring_parse(ring, path, text, length, result);
    OPENSSL_cleanse(text, length);
    free(text);
    return status;
}

static const fs_key_t *find_key(const fs_keyring_t *ring, const char *id)
{
    for (unsigned i = 0; i < ring->count; i++)
        if (!strcmp(ring->keys[i].id, id))
            return &ring->keys[i];
    return NULL;
}

/* --- the header ---------------------------------------------------------------------------------
 */

int fs_auth_is_origin(const char *name)
{
    size_t length = 0;

    for (; name[length]; length++)
        if (name[length] <= ' ' || name[length] > '~' || strchr(",=\"\\", name[length]))
            return 0;
    return length > 0 && length < FS_ORIGIN_SIZE;
}

static int is_lower_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, hex_digits) == digits;
}

/* Takes "name=value" up to a comma or the end; moves *text behind it. Returns 0, or -1. */
static int next_part(const char **text, char name[8], char value[FS_ORIGIN_SIZE])
{
    size_t length;

    *text += strspn(*text, " \t");
    length = strcspn(*text, "=");
    if (!(*text)[length] || length >= 8)
        return -1;
    memcpy(name, *text, length);
    name[length] = '\0';
    *text += length + 1;
    length = strcspn(*text, ", \t");
    if (!length || length >= FS_ORIGIN_SIZE)
        return -1;
    memcpy(value, *text, length);
    value[length] = '\0';
    *text += length;
    *text += strspn(*text, " \t");
    if (**text && **text != ',')
        return -1;
    if (**text)
        (*text)++;
    return 0;
}

static int parse_time(int64_t *time, const char *text)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return -1;
    errno = 0;
    *time = strtoll(text, &end, 10);
    return *end || errno ? -1 : 0;
}

/* Copies a value whose form, and with it its length, has been checked. Returns 0. */
static int copy_part(char *out, const char *value)
{
    memcpy(out, value, strlen(value) + 1);
    return 0;
}

/* Takes one part; its bit goes into *seen. Returns 0, or -1 if it is unknown, repeated or
 * malformed. */
static int take_part(fs_auth_t *auth, unsigned *seen, const char *name, const char *value)
{
    static const char *const names[] = {"key", "nonce", "mac", "origin", "time"};
    unsigned which = 0;

    while (which < 5 && strcmp(name, names[which]))
        which++;
    if (which == 5 || *seen & 1u << which)
        return -1;
    *seen |= 1u << which;
    switch (which) {
    case 0:
        return is_id(value, strlen(value)) ? copy_part(auth->key, value) : -1;
    case 1:
        return is_lower_hex(value, 2 * NONCE_BYTES) ? copy_part(auth->nonce, value) : -1;
    case 2:
        return is_lower_hex(value, 2 * FS_DIGEST_BYTES) ? copy_part(auth->mac, value) : -1;
    case 3:
        return fs_auth_is_origin(value) ? copy_part(auth->origin, value) : -1;
    default:
        return parse_time(&auth->time, value);
    }
}

apr_status_t fs_auth_parse(fs_auth_t *auth, const char *header, int is_request, fs_result_t *result)
{
    unsigned seen = 0;
    char name[8], value[FS_ORIGIN_SIZE];

    memset(auth, 0, sizeof(*auth));
    if (!header)
        return fs_result_set(
            result, APR_EACCES, "FS0210",
            "there is no FarmSync-Auth header; give all parts of the farm the same "
            "key file");
    while (*header) {
        if (next_part(&header, name, value) || take_part(auth, &seen, name, value))
            seen = ~0u;
        if (seen == ~0u)
            break;
    }
    if (seen != (is_request ? 31u : 7u))
        return fs_result_set(result, APR_EACCES, "FS0210",
                             "the FarmSync-Auth header is malformed; is the other side of another "
                             "version of farmsync?");
    return APR_SUCCESS;
}

/* --- signatures ---------------------------------------------------------------------------------
 */

#define BLOCK_BYTES 64 /* of SHA-256; a key is at most as long (FS_KEY_MAX_BYTES) */

static void pad_key(const fs_key_t *key, unsigned char pad, unsigned char block[BLOCK_BYTES])
{
    memset(block, pad, BLOCK_BYTES);
    for (size_t i = 0; i < key->length; i++)
        block[i] ^= key->secret[i];
}

/* HMAC-SHA-256 (RFC 2104) of `text`, which has room for a block before it. libcrypto's own sets up
 * more for each use than there is to hash. */
static void hmac(const fs_key_t *key, unsigned char *with_room, size_t length, fs_digest_t *mac)
{
    unsigned char outer[BLOCK_BYTES + FS_DIGEST_BYTES];
    fs_digest_t inner;

    pad_key(key, 0x36, with_room);
    fs_digest_of(&inner, with_room, BLOCK_BYTES + length);
    pad_key(key, 0x5c, outer);
    memcpy(outer + BLOCK_BYTES, inner.bytes, FS_DIGEST_BYTES);
    fs_digest_of(mac, outer, sizeof(outer));
    OPENSSL_cleanse(with_room, BLOCK_BYTES);
    OPENSSL_cleanse(outer, sizeof(outer));
}

/* HMAC-SHA-256 of `head` followed by the hex digest of the body. Returns 0 and 64 hex digits, or
 * -1. */
static int make_mac(const fs_key_t *key, const void *body, size_t length, char mac[65],
                    const char *head_format, ...) __attribute__((format(printf, 5, 6)));
static int make_mac(const fs_key_t *key, const void *body, size_t length, char mac[65],
                    const char *head_format, ...)
{
    char *text = NULL, hex[FS_DIGEST_HEX_SIZE];
    fs_digest_t digest;
    unsigned char *room;
    va_list args;
    int head_length, made;

    fs_digest_of(&digest, length ? body : "", length);
    fs_digest_hex(&digest, hex);
    va_start(args, head_format);
    head_length = vasprintf(&text, head_format, args);
    va_end(args);
    if (head_length < 0)
        return -1;
    room = malloc(BLOCK_BYTES + (size_t)head_length + sizeof(hex));
    if (room) {
        memcpy(room + BLOCK_BYTES, text, (size_t)head_length);
        memcpy(room + BLOCK_BYTES + head_length, hex, sizeof(hex));
        hmac(key, room, (size_t)head_length + sizeof(hex) - 1, &digest);
        write_hex(digest.bytes, FS_DIGEST_BYTES, mac);
    }
    made = room != NULL;
    free(text);
    free(room);
    return made ? 0 : -1;
}

static int mac_request(const fs_key_t *key, const fs_auth_t *auth, const char *method,
                       const char *path, const void *body, size_t length, char mac[65])
{
    return make_mac(key, body, length, mac, "farmsync-request-1\n%s\n%s\n%s\n%" PRId64 "\n%s\n",
                    method, path, auth->origin, auth->time, auth->nonce);
}

static int mac_answer(const fs_key_t *key, int status, const char *nonce, const void *body,
                      size_t length, char mac[65])
{
    return make_mac(key, body, length, mac, "farmsync-answer-1\n%d\n%s\n", status, nonce);
}

static int make_nonce(char nonce[FS_NONCE_SIZE])
{
    unsigned char bytes[NONCE_BYTES];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return -1;
    write_hex(bytes, sizeof(bytes), nonce);
    return 0;
}

void fs_auth_sign_request(const fs_keyring_t *ring, const char *origin, const char *method,
                          const char *path, const void *body, size_t length,
                          char nonce[FS_NONCE_SIZE], char header[FS_AUTH_SIZE])
{
    fs_auth_t auth = {.time = fs_time_wall()};

    header[0] = nonce[0] = '\0';
    if (!fs_auth_is_origin(origin) || make_nonce(auth.nonce))
        return;
    strcpy(auth.origin, origin);
    if (mac_request(&ring->keys[0], &auth, method, path, body, length, auth.mac))
        return;
    strcpy(nonce, auth.nonce);
    snprintf(header, FS_AUTH_SIZE, "key=%s, origin=%s, time=%" PRId64 ", nonce=%s, mac=%s",
             ring->keys[0].id, auth.origin, auth.time, auth.nonce, auth.mac);
}

static apr_status_t unknown_key(const char *id, fs_result_t *result)
{
    return fs_result_set(
        result, APR_EACCES, "FS0211",
        "the key \"%s\" isn't in the key file here; give all parts of the farm the "
        "same key file",
        id);
}

static apr_status_t compare_macs(const char *made, const char *received, const char *key,
                                 fs_result_t *result)
{
    if (!CRYPTO_memcmp(made, received, 2 * FS_DIGEST_BYTES))
        return APR_SUCCESS;
    return fs_result_set(result, APR_EACCES, "FS0212",
                         "the signature by key \"%s\" is wrong: its secret differs between the two "
                         "key files, or the message was changed on its way",
                         key);
}

apr_status_t fs_auth_check_request(const fs_keyring_t *ring, const char *header, const char *method,
                                   const char *path, const void *body, size_t length,
                                   char nonce[FS_NONCE_SIZE], char origin[FS_ORIGIN_SIZE],
                                   fs_result_t *result)
{
    fs_auth_t auth;
    char mac[65] = "";
    const fs_key_t *key;
    apr_status_t status = fs_auth_parse(&auth, header, 1, result);

    nonce[0] = origin[0] = '\0';
    if (status != APR_SUCCESS)
        return status;
    key = find_key(ring, auth.key);
    if (!key)
        return unknown_key(auth.key, result);
    if (mac_request(key, &auth, method, path, body, length, mac))
        mac[0] = '\0'; /* differs from any hex digit */
    status = compare_macs(mac, auth.mac, auth.key, result);
    if (status == APR_SUCCESS) {
        strcpy(nonce, auth.nonce);
        strcpy(origin, auth.origin);
    }
    return status;
}

void fs_auth_sign_answer(const fs_keyring_t *ring, int status, const char *nonce, const void *body,
                         size_t length, char header[FS_AUTH_SIZE])
{
    char mac[65];

    header[0] = '\0';
    if (!mac_answer(&ring->keys[0], status, nonce, body, length, mac))
        snprintf(header, FS_AUTH_SIZE, "key=%s, nonce=%s, mac=%s", ring->keys[0].id, nonce, mac);
}

apr_status_t fs_auth_check_answer(const fs_keyring_t *ring, const char *header, int status,
                                  const char *nonce, const void *body, size_t length,
                                  fs_result_t *result)
{
    fs_auth_t auth;
    char mac[65] = "";
    const fs_key_t *key;
    apr_status_t parsed = fs_auth_parse(&auth, header, 0, result);

    if (parsed != APR_SUCCESS)
        return parsed;
    key = find_key(ring, auth.key);
    if (!key)
        return unknown_key(auth.key, result);
    if (strcmp(auth.nonce, nonce))
        return fs_result_set(result, APR_EACCES, "FS0213",
                             "the answer is signed for another request; something between the two "
                             "sides stores or replays answers");
    if (mac_answer(key, status, nonce, body, length, mac))
        mac[0] = '\0';
    return compare_macs(mac, auth.mac, auth.key, result);
}
