/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_tag.h"

#include <string.h>

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
