/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anything as a Cookie header: each value found lies inside it and belongs to a cookie of that
 * name; anything as a cookie's attributes: refused with a reason, or sent without one twice and
 * without a character that would begin another header. Anything as a session's JSON: refused, or
 * changes that come back the same.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "session_cookie.h"
#include "session_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static void read_cookies(const char *header, size_t size)
{
    const char *at = header, *value;
    unsigned found = 0;
    size_t length;

    while (fs_cookie_next(&at, "s", &value, &length)) {
        check(value > header && value + length <= header + size && at <= header + size);
        check(!memchr(value, ';', length) && !memchr(value, ',', length));
        check(++found <= size);
    }
}

static unsigned count_of(const char *text, const char *name)
{
    size_t length = strlen(name);
    unsigned count = 0;

    for (const char *at = strcasestr(text, name); at; at = strcasestr(at + 1, name))
        count += at >= text + 2 && !memcmp(at - 2, "; ", 2) &&
                 (at[length] == '\0' || at[length] == ';' || at[length] == '=');
    return count;
}

static void check_sent(const char *text, int cleared)
{
    static const char *const once[] = {"Path",     "HttpOnly", "Secure",
                                       "SameSite", "Max-Age",  "Expires"};

    for (unsigned i = 0; i < sizeof(once) / sizeof(once[0]); i++)
        check(count_of(text, once[i]) <= 1);
    check(!cleared || count_of(text, "Max-Age") == 1);
    check(!strpbrk(text, "\r\n"));
}

static void make_cookie(const char *text, apr_pool_t *pool)
{
    const char *problem;
    fs_cookie_t cookie;

    problem = fs_cookie_make(&cookie, "s", text, pool);
    if (problem) {
        check(*problem != '\0');
        return;
    }
    for (int tls = 0; tls < 2; tls++) {
        check_sent(fs_cookie_text(&cookie, "ID", tls, pool), 0);
        check_sent(fs_cookie_text(&cookie, NULL, tls, pool), 1);
    }
}

static void read_json(const char *json, size_t size, apr_pool_t *pool)
{
    fs_session_change_t *changes, *again;
    fs_session_entry_t *entries;
    uint32_t count, same, filled = 0;
    fs_text_t text;

    if (fs_session_json_read(json, size, &changes, &count, pool))
        return;
    entries = apr_pcalloc(pool, (count + 1) * sizeof(*entries));
    for (uint32_t i = 0; i < count; i++) {
        check(!i || strcmp(changes[i - 1].key, changes[i].key) < 0);
        if (!changes[i].value)
            continue;
        entries[filled].key = changes[i].key;
        entries[filled].key_length = changes[i].key_length;
        entries[filled].value = changes[i].value;
        entries[filled++].value_length = changes[i].value_length;
    }
    fs_text_init(&text, pool);
    fs_session_json_write(&text, entries, filled);
    check(!fs_session_json_read(text.data, text.length, &again, &same, pool) && same == filled);
    for (uint32_t i = 0; i < filled; i++)
        check(!strcmp(again[i].key, entries[i].key) &&
              again[i].value_length == entries[i].value_length &&
              !memcmp(again[i].value, entries[i].value, entries[i].value_length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *root;
    apr_pool_t *pool;
    char *text;

    if (!root) {
        apr_initialize();
        apr_pool_create(&root, NULL);
    }
    apr_pool_create(&pool, root);
    text = apr_pstrmemdup(pool, (const char *)data, size);
    read_cookies(text, strlen(text));
    make_cookie(text, pool);
    read_json((const char *)data, size, pool);
    apr_pool_destroy(pool);
    return 0;
}
