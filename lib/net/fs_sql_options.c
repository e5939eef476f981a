/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows "Using Option Files" of the MySQL and MariaDB manuals, so that `mysql
 * --defaults-group-suffix` or a copy of the lines under [client] mean the same there: '#' starts a
 * comment anywhere outside quotes, ';' only at the start of a line; values may stand in single or
 * double quotes; \b \t \n \r \\ \s are escapes; '-' and '_' are the same in names. Other groups are
 * skipped, unknown names in ours are refused: a misspelt ssl-ca must not pass for no TLS.
 */
#include "net/fs_sql_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_file.h"

#define GROUP "farmsync"

/* Where the parser is, for messages. */
typedef struct place_t {
    const char *name;
    unsigned line;
    fs_result_t *result;
} place_t;

static apr_status_t refuse(const place_t *place, const char *problem)
{
    return fs_result_set(place->result, APR_EINVAL, "FS0302", "%s line %u: %s", place->name,
                         place->line, problem);
}

static void trim(const char **text, size_t *length)
{
    while (*length && isspace((unsigned char)**text)) {
        (*text)++;
        (*length)--;
    }
    while (*length && isspace((unsigned char)(*text)[*length - 1]))
        (*length)--;
}

/* Length of the line up to a '#' outside quotes. A backslash keeps the next character from
 * counting. */
static size_t without_comment(const char *text, size_t length)
{
    char quote = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\' && i + 1 < length)
            i++;
        else if (quote && text[i] == quote)
            quote = 0;
        else if (!quote && (text[i] == '\'' || text[i] == '"'))
            quote = text[i];
        else if (!quote && text[i] == '#')
            return i;
    }
    return length;
}

static char unescape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 's':
        return ' ';
    default:
        return c;
    }
}

/* Copies a value without its quotes and escapes into `out`. Returns NULL, or what is wrong with it.
 */
static const char *copy_value(const char *text, size_t length, char *out, size_t size)
{
    size_t used = 0;

    if (length && (*text == '\'' || *text == '"')) {
        if (length < 2 || text[length - 1] != *text)
            return "the closing quote is missing";
        text++;
        length -= 2;
    }
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (!c)
            return "the value holds a NUL byte";
        if (c == '\\' && i + 1 < length && strchr("btnrs\\'\"", text[i + 1]))
            c = unescape(text[++i]);
        if (used + 1 >= size)
            return "the value is too long";
        out[used++] = c;
    }
    out[used] = '\0';
    return NULL;
}

static int parse_port(const char *text, unsigned *port)
{
    char *end;
    unsigned long value;

    if (!isdigit((unsigned char)*text))
        return -1;
    value = strtoul(text, &end, 10);
    if (*end || value < 1 || value > 65535)
        return -1;
    *port = (unsigned)value;
    return 0;
}

/* "name", "name:port", "[address]", "[address]:port"; an address with several colons has no port.
 */
static int parse_host(fs_sql_host_t *host, char *text)
{
    char *colon, *name = text;

    host->port = 0;
    if (*text == '[') {
        char *end = strchr(text, ']');

        if (!end || (end[1] && end[1] != ':'))
            return -1;
        colon = end[1] ? end + 1 : NULL;
        *end = '\0';
        name++;
    } else {
        colon = strchr(text, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL;
    }
    if (colon) {
        *colon = '\0';
        if (parse_port(colon + 1, &host->port))
            return -1;
    }
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-._:%", *c))
            return -1;
    if (!*name || strlen(name) >= sizeof(host->name))
        return -1;
    strcpy(host->name, name);
    return 0;
}

static apr_status_t parse_hosts(fs_sql_options_t *options, char *list, const place_t *place)
{
    char *next = list;

    options->host_count = 0;
    while (next) {
        const char *text = next;
        char *comma = strchr(next, ',');
        size_t length;

        next = NULL;
        if (comma) {
            *comma = '\0';
            next = comma + 1;
        }
        length = strlen(text);
        trim(&text, &length);
        ((char *)text)[length] = '\0';
        if (options->host_count == FS_SQL_MAX_HOSTS)
            return refuse(place, "host names more than 16 hosts");
        if (parse_host(&options->hosts[options->host_count], (char *)text))
            return refuse(place, "host must be a list like \"db1, db2:3307, [2001:db8::3]:3306\"");
        options->host_count++;
    }
    return APR_SUCCESS;
}

static apr_status_t parse_switch(int *out, const char *value, const place_t *place)
{
    if (!*value || !strcasecmp(value, "1") || !strcasecmp(value, "on") ||
        !strcasecmp(value, "true"))
        *out = 1;
    else if (!strcasecmp(value, "0") || !strcasecmp(value, "off") || !strcasecmp(value, "false"))
        *out = 0;
    else
        return refuse(place, "ssl-verify-server-cert must be on or off");
    return APR_SUCCESS;
}

/* Where a text option of this name goes; NULL if there is none. */
static char *text_option(fs_sql_options_t *options, const char *name)
{
    if (!strcmp(name, "user"))
        return options->user;
    if (!strcmp(name, "password"))
        return options->password;
    if (!strcmp(name, "socket"))
        return options->socket;
    if (!strcmp(name, "ssl-ca"))
        return options->ssl_ca;
    if (!strcmp(name, "ssl-cert"))
        return options->ssl_cert;
    if (!strcmp(name, "ssl-key"))
        return options->ssl_key;
    return NULL;
}

static apr_status_t set_option(fs_sql_options_t *options, const char *name, char *value,
                               const place_t *place)
{
    char *text = text_option(options, name);

    if (text) {
        strcpy(text, value); /* both FS_SQL_OPTION_SIZE */
        return APR_SUCCESS;
    }
    if (!strcmp(name, "host"))
        return parse_hosts(options, value, place);
    if (!strcmp(name, "port"))
        return parse_port(value, &options->port)
                   ? refuse(place, "port must be a number from 1 to 65535")
                   : APR_SUCCESS;
    if (!strcmp(name, "ssl-verify-server-cert"))
        return parse_switch(&options->ssl_verify, value, place);
    return refuse(place, "unknown option in group [" GROUP "]; known are host, port, socket, user, "
                         "password, ssl-ca, ssl-cert, ssl-key and ssl-verify-server-cert");
}

/* "name = value" or "name" alone. */
static apr_status_t parse_option(fs_sql_options_t *options, const char *text, size_t length,
                                 const place_t *place)
{
    const char *equals = memchr(text, '=', length);
    const char *value = equals ? equals + 1 : text + length;
    size_t name_length = (size_t)((equals ? equals : text + length) - text);
    size_t value_length = (size_t)(text + length - value);
    char name[32], copy[FS_SQL_OPTION_SIZE];
    const char *problem;

    trim(&text, &name_length);
    trim(&value, &value_length);
    if (!name_length || name_length >= sizeof(name))
        return refuse(place, "expected \"name = value\"");
    for (size_t i = 0; i < name_length; i++)
        name[i] = text[i] == '_' ? '-' : text[i];
    name[name_length] = '\0';
    problem = copy_value(value, value_length, copy, sizeof(copy));
    if (problem)
        return refuse(place, problem);
    return set_option(options, name, copy, place);
}

static apr_status_t parse_line(fs_sql_options_t *options, int *ours, int *seen, const char *text,
                               size_t length, const place_t *place)
{
    trim(&text, &length);
    if (length && *text == ';')
        return APR_SUCCESS;
    length = without_comment(text, length);
    trim(&text, &length);
    if (!length)
        return APR_SUCCESS;
    if (*text == '[') {
        if (text[length - 1] != ']')
            return refuse(place, "the closing ] of the group is missing");
        *ours = length == sizeof(GROUP) + 1 && !memcmp(text + 1, GROUP, sizeof(GROUP) - 1);
        *seen |= *ours;
        return APR_SUCCESS;
    }
    if (*text == '!')
        return refuse(place,
                      "!include is not followed here; put the group [" GROUP "] into this file");
    return *ours ? parse_option(options, text, length, place) : APR_SUCCESS;
}

/* What only shows when the whole group has been read. */
static apr_status_t complete(fs_sql_options_t *options, int seen, const place_t *place)
{
    if (!seen)
        return fs_result_set(place->result, APR_EINVAL, "FS0302",
                             "%s has no group [" GROUP "]; add it with at least host and user",
                             place->name);
    if (!options->ssl_cert[0] != !options->ssl_key[0])
        return fs_result_set(place->result, APR_EINVAL, "FS0302",
                             "%s: ssl-cert and ssl-key belong together; give both or none",
                             place->name);
    if (!options->host_count) {
        strcpy(options->hosts[0].name, "localhost");
        options->host_count = 1;
    }
    return APR_SUCCESS;
}

apr_status_t fs_sql_options_parse(fs_sql_options_t *options, const char *name, const char *text,
                                  size_t length, fs_result_t *result)
{
    place_t place = {name, 0, result};
    int ours = 0, seen = 0;

    memset(options, 0, sizeof(*options));
    options->ssl_verify = 1;
    while (length) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) : length;
        apr_status_t status;

        place.line++;
        status = parse_line(options, &ours, &seen, text, line, &place);
        if (status != APR_SUCCESS)
            return status;
        if (end)
            line++;
        text += line;
        length -= line;
    }
    return complete(options, seen, &place);
}

apr_status_t fs_sql_options_read(fs_sql_options_t *options, const char *path, fs_result_t *result)
{
    struct stat info;
    char *text;
    size_t length;
    apr_status_t status;
    fs_result_t cause;

    if (stat(path, &info))
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0301",
                             "cannot read the option file %s: %s", path, strerror(errno));
    if (info.st_mode & (S_IROTH | S_IWOTH))
        return fs_result_set(result, APR_EACCES, "FS0303",
                             "%s holds a password but every user of this host can read or change "
                             "it; chmod 0640 and make it owned by the group of the web server",
                             path);
    status = fs_file_read(path, FS_SQL_OPTIONS_LIMIT, &text, &length, &cause);
    if (status != APR_SUCCESS)
        return fs_result_set(result, status, "FS0301", "cannot read the option file: %s",
                             cause.detail);
    status = fs_sql_options_parse(options, path, text, length, result);
    explicit_bzero(text, length);
    free(text);
    return status;
}
