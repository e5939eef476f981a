/* SPDX-License-Identifier: Apache-2.0 */
#include "session_cookie.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#define ATTRIBUTES_MAX 16
#define CLEARED        "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"

/* --- what the visitor sent ----------------------------------------------------------------------
 */

static int is_space(char character)
{
    return character == ' ' || character == '\t';
}

/* Where a pair ends. By memchr, which looks at many characters at once; strcspn makes a table
 * first. */
static const char *end_of_pair(const char *at)
{
    const char *end = strchrnul(at, ';');
    const char *comma = memchr(at, ',', (size_t)(end - at));

    return comma ? comma : end;
}

/* One pair from `at` on; returns where it ends. */
static const char *take_pair(const char *at, const char **value, size_t *length,
                             size_t *name_length)
{
    const char *end = end_of_pair(at);
    const char *equals = memchr(at, '=', (size_t)(end - at));
    const char *stop = end;

    *name_length = 0;
    if (!equals)
        return end;
    *name_length = (size_t)(equals - at);
    while (*name_length && is_space(at[*name_length - 1]))
        (*name_length)--;
    *value = equals + 1;
    while (*value < stop && is_space(**value))
        (*value)++;
    while (stop > *value && is_space(stop[-1]))
        stop--;
    if (stop - *value >= 2 && **value == '"' && stop[-1] == '"') {
        (*value)++;
        stop--;
    }
    *length = (size_t)(stop - *value);
    return end;
}

int fs_cookie_next(const char **at, const char *name, const char **value, size_t *length)
{
    size_t wanted = strlen(name), name_length;

    while (*at && **at) {
        const char *begin = *at;

        while (is_space(*begin) || *begin == ';' || *begin == ',')
            begin++;
        *at = take_pair(begin, value, length, &name_length);
        if (name_length == wanted && !memcmp(begin, name, wanted))
            return 1;
    }
    return 0;
}

/* --- what is sent -------------------------------------------------------------------------------
 */

typedef struct attributes_t {
    unsigned count;
    const char *names[ATTRIBUTES_MAX];  /* without '!' */
    const char *values[ATTRIBUTES_MAX]; /* NULL: none */
    int left_out[ATTRIBUTES_MAX];
} attributes_t;

static int find(const attributes_t *attributes, const char *name)
{
    for (unsigned i = 0; i < attributes->count; i++)
        if (!strcasecmp(attributes->names[i], name))
            return (int)i;
    return -1;
}

static int has(const attributes_t *attributes, const char *name)
{
    int i = find(attributes, name);

    return i >= 0 && !attributes->left_out[i];
}

static int is_sendable(const char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return 0;
    return 1;
}

static int is_name(const char *text)
{
    return *text && is_sendable(text) && !strpbrk(text, " \t()<>@,;:\\\"/[]?={}");
}

static char *trimmed(char *text)
{
    size_t length;

    while (is_space(*text))
        text++;
    for (length = strlen(text); length && is_space(text[length - 1]); length--)
        text[length - 1] = '\0';
    return text;
}

static const char *split(attributes_t *attributes, const char *given, apr_pool_t *pool)
{
    char *last = NULL, *part = apr_strtok(apr_pstrdup(pool, given), ";", &last);

    for (; part; part = apr_strtok(NULL, ";", &last)) {
        char *name = trimmed(part), *value = strchr(name, '=');
        int left_out = *name == '!';

        if (!*name)
            continue;
        name += left_out;
        if (value) {
            *value++ = '\0';
            value = trimmed(value);
        }
        name = trimmed(name);
        if (!is_name(name) || (value && !is_sendable(value)) || (left_out && value))
            return apr_psprintf(pool, "\"%s\" is no attribute of a cookie", name);
        if (find(attributes, name) >= 0)
            return apr_psprintf(pool, "%s is given twice", name);
        if (attributes->count == ATTRIBUTES_MAX)
            return "there are too many attributes";
        attributes->names[attributes->count] = name;
        attributes->values[attributes->count] = value;
        attributes->left_out[attributes->count++] = left_out;
    }
    return NULL;
}

static const char *joined(const attributes_t *attributes, const char *added, int clearing,
                          apr_pool_t *pool)
{
    const char *text = "";

    for (unsigned i = 0; i < attributes->count; i++) {
        const char *name = attributes->names[i], *value = attributes->values[i];

        if (attributes->left_out[i] ||
            (clearing && (!strcasecmp(name, "Max-Age") || !strcasecmp(name, "Expires"))))
            continue;
        text = apr_pstrcat(pool, text, "; ", name, value ? "=" : "", value ? value : "", NULL);
    }
    return apr_pstrcat(pool, text, added, clearing ? CLEARED : "", NULL);
}

static int needs_secure(const char *name, const attributes_t *attributes)
{
    int same_site = find(attributes, "SameSite");

    return !strncmp(name, "__Host-", 7) || !strncmp(name, "__Secure-", 9) ||
           (same_site >= 0 && attributes->values[same_site] &&
            !strcasecmp(attributes->values[same_site], "None"));
}

static const char *contradiction(const char *name, const attributes_t *attributes)
{
    int path = find(attributes, "Path"), secure = find(attributes, "Secure");

    if (!is_name(name))
        return "a cookie's name has no spaces and none of ()<>@,;:\\\"/[]?={}";
    if (!strncmp(name, "__Host-", 7) &&
        (has(attributes, "Domain") ||
         (path >= 0 && (!attributes->values[path] || strcmp(attributes->values[path], "/")))))
        return "a cookie named __Host-... has Path=/ and no Domain";
    if (secure >= 0 && attributes->left_out[secure] && needs_secure(name, attributes))
        return "SameSite=None and names with __Host- or __Secure- need Secure";
    return NULL;
}

const char *fs_cookie_make(fs_cookie_t *cookie, const char *name, const char *given,
                           apr_pool_t *pool)
{
    attributes_t attributes = {0};
    const char *problem = given ? split(&attributes, given, pool) : NULL;
    const char *added, *added_secure;

    if (!problem)
        problem = contradiction(name, &attributes);
    if (problem)
        return problem;
    added = apr_pstrcat(pool, find(&attributes, "Path") < 0 ? "; Path=/" : "",
                        find(&attributes, "HttpOnly") < 0 ? "; HttpOnly" : "",
                        find(&attributes, "SameSite") < 0 ? "; SameSite=Lax" : "", NULL);
    added_secure =
        find(&attributes, "Secure") < 0 ? apr_pstrcat(pool, added, "; Secure", NULL) : added;
    if (needs_secure(name, &attributes))
        added = added_secure;
    cookie->name = name;
    cookie->plain = joined(&attributes, added, 0, pool);
    cookie->secure = joined(&attributes, added_secure, 0, pool);
    cookie->clear_plain = joined(&attributes, added, 1, pool);
    cookie->clear_secure = joined(&attributes, added_secure, 1, pool);
    cookie->lasts = has(&attributes, "Max-Age") || has(&attributes, "Expires");
    return NULL;
}

const char *fs_cookie_text(const fs_cookie_t *cookie, const char *id, int tls, apr_pool_t *pool)
{
    if (!id)
        return apr_pstrcat(pool, cookie->name, "=",
                           tls ? cookie->clear_secure : cookie->clear_plain, NULL);
    return apr_pstrcat(pool, cookie->name, "=", id, tls ? cookie->secure : cookie->plain, NULL);
}
