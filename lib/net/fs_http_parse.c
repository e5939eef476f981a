/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fs_http_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- head ---------------------------------------------------------------------------------------
 */

static int is_token(const char *text)
{
    if (!*text)
        return 0;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text))
            return 0;
    return 1;
}

/* Decimal digits only, no sign, no space. Returns 0, or -1. */
static int parse_number(const char *text, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return -1;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return *end || errno ? -1 : 0;
}

/* Cuts the line at its CRLF and moves *text behind it; NULL if a bare CR or LF or a NUL is in it.
 */
static char *next_line(char **text, const char *end)
{
    char *line = *text;
    size_t length = strcspn(line, "\r\n");

    if (line + length + 2 > end || line[length] != '\r' || line[length + 1] != '\n')
        return NULL;
    line[length] = '\0';
    *text = line + length + 2;
    return line;
}

/* Takes "http://host" off an absolute target. Returns NULL if what is left is no path. */
static const char *origin_form(char *target)
{
    if (!strncasecmp(target, "http://", 7) || !strncasecmp(target, "https://", 8)) {
        char *path = strstr(target, "://") + 3;

        path += strcspn(path, "/");
        target = path;
    }
    for (const char *c = target; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '#')
            return NULL;
    return *target == '/' ? target : NULL;
}

static int parse_request_line(fs_http_head_t *head, char *line)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

    if (!version)
        return 400;
    *target++ = *version++ = '\0';
    if (strncmp(version, "HTTP/", 5))
        return 400;
    if (strncmp(version + 5, "1.", 2) || !isdigit((unsigned char)version[7]) || version[8])
        return 505;
    head->method = line;
    head->target = origin_form(target);
    head->keep_alive = version[7] != '0';
    return is_token(line) && head->target ? 0 : 400;
}

static int parse_field(fs_http_head_t *head, char *line)
{
    char *colon = strchr(line, ':'), *value, *end;

    if (!colon)
        return 400;
    *colon = '\0';
    if (!is_token(line)) /* a space before the colon, or a folded line */
        return 400;
    value = colon + 1;
    value += strspn(value, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < ' ' ? *c != '\t' : *c == 127)
            return 400;
    if (head->field_count == FS_HTTP_MAX_FIELDS)
        return 431;
    head->fields[head->field_count++] = (fs_http_field_t){line, value};
    return 0;
}

static int has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (*list) {
        list += strspn(list, ", \t");
        if (!strncasecmp(list, word, length) && strspn(list + length, ", \t") + !list[length])
            return 1;
        list += strcspn(list, ",");
    }
    return 0;
}

/* What the fields mean for the connection and the length of the body. */
static int apply_fields(fs_http_head_t *head)
{
    int lengths = 0, hosts = 0;

    for (unsigned i = 0; i < head->field_count; i++) {
        const char *name = head->fields[i].name, *value = head->fields[i].value;

        if (!strcasecmp(name, "Transfer-Encoding"))
            return 411;
        if (!strcasecmp(name, "Content-Length") &&
            (lengths++ || parse_number(value, &head->content_length)))
            return 400;
        if (!strcasecmp(name, "Host") && hosts++)
            return 400;
        if (!strcasecmp(name, "Connection")) {
            if (has_word(value, "close"))
                head->keep_alive = 0;
            else if (has_word(value, "keep-alive"))
                head->keep_alive = 1;
        }
        if (!strcasecmp(name, "Expect")) {
            if (strcasecmp(value, "100-continue"))
                return 417;
            head->expects_continue = 1;
        }
    }
    return 0;
}

int fs_http_parse_head(fs_http_head_t *head, char *text, size_t length)
{
    const char *end = text + length;
    char *line = next_line(&text, end);
    int status;

    memset(head, 0, sizeof(*head));
    if (!line)
        return 400;
    status = parse_request_line(head, line);
    while (!status) {
        line = next_line(&text, end);
        if (!line)
            return 400;
        if (!*line)
            return text == end ? apply_fields(head) : 400;
        status = parse_field(head, line);
    }
    return status;
}

const char *fs_http_head_field(const fs_http_head_t *head, const char *name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (!strcasecmp(head->fields[i].name, name))
            return head->fields[i].value;
    return NULL;
}

/* --- target -------------------------------------------------------------------------------------
 */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int fs_http_decode(char *text, int plus)
{
    char *out = text;

    for (; *text; text++) {
        if (*text == '%') {
            int high = hex_value(text[1]), low = high < 0 ? -1 : hex_value(text[2]);

            if (low < 0 || !(high | low))
                return -1;
            *out++ = (char)(high << 4 | low);
            text += 2;
        } else {
            *out++ = plus && *text == '+' ? ' ' : *text;
        }
    }
    *out = '\0';
    return 0;
}

int fs_http_parse_query(char *query, fs_http_field_t params[FS_HTTP_MAX_PARAMS])
{
    int count = 0;

    while (query && *query) {
        char *next = strchr(query, '&'), *value;

        if (next)
            *next++ = '\0';
        value = strchr(query, '=');
        if (value)
            *value++ = '\0';
        if (*query) {
            if (count == FS_HTTP_MAX_PARAMS || fs_http_decode(query, 1) ||
                (value && fs_http_decode(value, 1)))
                return -1;
            params[count++] = (fs_http_field_t){query, value ? value : ""};
        }
        query = next;
    }
    return count;
}

/* --- conditions ---------------------------------------------------------------------------------
 */

int fs_http_parse_range(const char *value, uint64_t size, uint64_t *first, uint64_t *last)
{
    char text[48];
    char *dash;
    uint64_t from = 0, to = 0;

    if (!value || strncasecmp(value, "bytes=", 6) || strlen(value + 6) >= sizeof(text))
        return 0;
    strcpy(text, value + 6);
    dash = strchr(text, '-');
    if (!dash)
        return 0;
    *dash++ = '\0';
    if ((*text && parse_number(text, &from)) || (*dash && parse_number(dash, &to)) ||
        (!*text && !*dash))
        return 0;
    if (!*text) { /* the last `to` bytes */
        if (!to || !size)
            return -1;
        *first = to < size ? size - to : 0;
        *last = size - 1;
        return 1;
    }
    if (*dash && to < from)
        return 0;
    if (from >= size)
        return -1;
    *first = from;
    *last = *dash && to < size ? to : size - 1;
    return 1;
}

int fs_http_etag_matches(const char *list, const char *etag)
{
    if (!strncmp(etag, "W/", 2))
        etag += 2;
    while (*list) {
        size_t length;

        list += strspn(list, ", \t");
        if (*list == '*')
            return 1;
        if (!strncmp(list, "W/", 2))
            list += 2;
        if (*list != '"')
            return 0;
        length = strcspn(list + 1, "\"") + 1;
        if (!list[length])
            return 0;
        length++;
        if (length == strlen(etag) && !strncmp(list, etag, length))
            return 1;
        list += length;
    }
    return 0;
}

int fs_http_parse_listen(const char *listen, char *host, size_t host_size, unsigned *port)
{
    const char *colon = strrchr(listen, ':'), *start = listen;
    size_t length;
    uint64_t number;

    if (!colon || parse_number(colon + 1, &number) || number > 65535)
        return -1;
    length = (size_t)(colon - listen);
    if (*listen == '[') {
        if (length < 3 || listen[length - 1] != ']')
            return -1;
        start++;
        length -= 2;
    } else if (memchr(listen, ':', length)) {
        return -1;
    }
    if (!length || length >= host_size)
        return -1;
    memcpy(host, start, length);
    host[length] = '\0';
    *port = (unsigned)number;
    return 0;
}
