/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include "base/fs_file.h"
#include "base/fs_name.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_LIMIT (64 * 1024)
#define HOST_SIZE  56 /* leaves room for ":65535" within a member's name */
#define DIGITS_MAX 9

typedef enum kind_t { TEXT, NUMBER, LEVEL, GROUPS, SWITCH, PEERS } kind_t;

/* Every setting, once: how it is read, where it goes, and whether a reload can change it. */
typedef struct setting_t {
    const char *name;
    kind_t kind;
    size_t offset;
    unsigned least, most; /* of a number */
    int needs_restart;
} setting_t;

#define AT(field) offsetof(fs_settings_t, field)
static const setting_t known[] = {
    {"Listen", TEXT, AT(listen), 0, 0, 1},
    {"Name", TEXT, AT(name), 0, 0, 1},
    {"Database", TEXT, AT(database), 0, 0, 1},
    {"ImageDir", TEXT, AT(image_dir), 0, 0, 1},
    {"KeyFile", TEXT, AT(key_file), 0, 0, 0},
    {"Group", GROUPS, AT(groups), 0, 0, 0},
    {"LogLevel", LEVEL, AT(log_level), 0, 0, 0},
    {"LogFile", TEXT, AT(log_file), 0, 0, 0},
    {"PidFile", TEXT, AT(pid_file), 0, 0, 1},
    {"TLSCertificateFile", TEXT, AT(tls_certificate_file), 0, 0, 1},
    {"TLSKeyFile", TEXT, AT(tls_key_file), 0, 0, 1},
    {"ClientCAFile", TEXT, AT(client_ca_file), 0, 0, 1},
    {"KeepImages", NUMBER, AT(keep_images), 0, 1000, 0},
    {"MaxConnections", NUMBER, AT(max_connections), 16, 1000000, 1},
    {"MaxTransfers", NUMBER, AT(max_transfers), 1, 100000, 0},
    {"IdleTimeout", NUMBER, AT(idle_timeout), 1, 3600, 1},
    {"SessionDir", TEXT, AT(session_dir), 0, 0, 1},
    {"SessionName", TEXT, AT(session_name), 0, 0, 1},
    {"SessionRack", TEXT, AT(session_rack), 0, 0, 1},
    {"SessionMemory", NUMBER, AT(session_memory), 1, 4194304, 1},
    {"SessionLimit", NUMBER, AT(session_limit), 0, 999999999, 1},
    {"SessionCopies", NUMBER, AT(session_copies), 1, 4, 1},
    {"SessionSync", SWITCH, AT(session_sync), 0, 0, 1},
    {"Peer", PEERS, AT(peers), 0, 0, 1},
};
#define KNOWN (sizeof(known) / sizeof(known[0]))

typedef struct reader_t {
    fs_settings_t *settings;
    const char *file;
    unsigned line;
    unsigned seen[KNOWN]; /* the line that gave it, 0 if none */
    fs_result_t *result;
} reader_t;

static char **text_at(const fs_settings_t *settings, const setting_t *setting)
{
    return (char **)((char *)settings + setting->offset);
}

static unsigned *number_at(const fs_settings_t *settings, const setting_t *setting)
{
    return (unsigned *)((char *)settings + setting->offset);
}

static apr_status_t unknown_setting(reader_t *reader, const char *name)
{
    char list[400] = "";
    size_t used = 0;

    for (size_t i = 0; i < KNOWN && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
                                 known[i].name);
    return fs_result_set(reader->result, APR_EGENERAL, "FS0801",
                         "%s, line %u: there is no setting \"%.64s\"; the settings are %s",
                         reader->file, reader->line, name, list);
}

static apr_status_t bad_value(reader_t *reader, const setting_t *setting, const char *value,
                              const char *remedy)
{
    return fs_result_set(reader->result, APR_EGENERAL, "FS0802", "%s, line %u: %s %s: %s",
                         reader->file, reader->line, setting->name, value, remedy);
}

static apr_status_t take_number(reader_t *reader, const setting_t *setting, const char *value)
{
    char remedy[80];
    size_t length = strlen(value);
    unsigned long number;

    snprintf(remedy, sizeof(remedy), "give a whole number from %u to %u", setting->least,
             setting->most);
    if (!length || length > DIGITS_MAX || strspn(value, "0123456789") != length)
        return bad_value(reader, setting, value, remedy);
    number = strtoul(value, NULL, 10);
    if (number < setting->least || number > setting->most)
        return bad_value(reader, setting, value, remedy);
    *number_at(reader->settings, setting) = (unsigned)number;
    return APR_SUCCESS;
}

static apr_status_t take_groups(reader_t *reader, const setting_t *setting, char *value)
{
    fs_settings_t *settings = reader->settings;
    char *rest = NULL;

    for (char *name = strtok_r(value, " \t", &rest); name; name = strtok_r(NULL, " \t", &rest)) {
        if (strlen(name) >= FS_IMAGE_NAME_SIZE)
            return bad_value(reader, setting, name, "a group's name has at most 64 bytes");
        if (settings->group_count == FS_SETTINGS_GROUPS)
            return bad_value(reader, setting, name,
                             "one data server serves at most 64 groups; run another for the rest");
        for (unsigned i = 0; i < settings->group_count; i++)
            if (!strcmp(settings->groups[i], name))
                return bad_value(reader, setting, name,
                                 "the group was named before; once is enough");
        snprintf(settings->groups[settings->group_count++], FS_IMAGE_NAME_SIZE, "%s", name);
    }
    return APR_SUCCESS;
}

/* The rest of a URL behind its scheme, or NULL. */
static const char *host_of(const char *url)
{
    const char *host = !strncmp(url, "http://", 7)    ? url + 7
                       : !strncmp(url, "https://", 8) ? url + 8
                                                      : NULL;

    return host && *host && !strpbrk(host, "/?#@") && strrchr(host, ':') ? host : NULL;
}

/* URL [name=N] [rack=R] */
static apr_status_t take_peer(reader_t *reader, const setting_t *setting, char *value)
{
    fs_settings_t *settings = reader->settings;
    fs_settings_peer_t *peer = &settings->peers[settings->peer_count];
    char *rest = NULL, *url = strtok_r(value, " \t", &rest);

    if (settings->peer_count == FS_SETTINGS_PEERS)
        return bad_value(reader, setting, url, "a data server has at most 32 peers");
    if (!url || !host_of(url))
        return bad_value(reader, setting, url ? url : "",
                         "give the other data server as http://HOST:PORT or https://HOST:PORT");
    settings->peer_count++;
    peer->url = strdup(url);
    for (char *word = strtok_r(NULL, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        char **to = !strncmp(word, "name=", 5)   ? &peer->name
                    : !strncmp(word, "rack=", 5) ? &peer->rack
                                                 : NULL;

        if (!to || *to || !fs_name_is_good(word + 5))
            return bad_value(reader, setting, word,
                             "behind the URL, name=NAME and rack=RACK may follow, once each, of "
                             "letters, digits, '.', '_', ':' and '-'");
        *to = strdup(word + 5);
    }
    if (!peer->name)
        peer->name = strdup(host_of(url));
    return peer->url && peer->name ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t take_switch(reader_t *reader, const setting_t *setting, const char *value)
{
    int on = !strcasecmp(value, "on");

    if (!on && strcasecmp(value, "off") != 0)
        return bad_value(reader, setting, value, "give on or off");
    *number_at(reader->settings, setting) = (unsigned)on;
    return APR_SUCCESS;
}

static apr_status_t take(reader_t *reader, const setting_t *setting, char *value)
{
    switch (setting->kind) {
    case TEXT:
        *text_at(reader->settings, setting) = strdup(value);
        return APR_SUCCESS;
    case NUMBER:
        return take_number(reader, setting, value);
    case GROUPS:
        return take_groups(reader, setting, value);
    case SWITCH:
        return take_switch(reader, setting, value);
    case PEERS:
        return take_peer(reader, setting, value);
    case LEVEL:
        if (fs_log_parse_level(value, &reader->settings->log_level))
            return bad_value(reader, setting, value,
                             "give one of error, warning, notice, info, debug");
        return APR_SUCCESS;
    }
    return APR_SUCCESS;
}

/* Cuts blanks at both ends and one pair of double quotes. */
static char *trimmed(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    if (end - text >= 2 && *text == '"' && end[-1] == '"') {
        end[-1] = '\0';
        text++;
    }
    return text;
}

static apr_status_t read_line(reader_t *reader, char *line)
{
    char *name = line + strspn(line, " \t\r");
    size_t length = strcspn(name, " \t\r");
    char *value = name[length] ? name + length + 1 : name + length;
    const setting_t *setting = NULL;

    if (!*name || *name == '#')
        return APR_SUCCESS;
    name[length] = '\0';
    value = trimmed(value);
    for (size_t i = 0; i < KNOWN && !setting; i++)
        setting = strcasecmp(known[i].name, name) ? NULL : &known[i];
    if (!setting)
        return unknown_setting(reader, name);
    if (!*value)
        return bad_value(reader, setting, "",
                         "it needs a value; leave the line out for the default");
    if (reader->seen[setting - known] && setting->kind != GROUPS && setting->kind != PEERS)
        return fs_result_set(reader->result, APR_EGENERAL, "FS0803",
                             "%s, line %u: %s was given in line %u already; keep one of them",
                             reader->file, reader->line, setting->name,
                             reader->seen[setting - known]);
    reader->seen[setting - known] = reader->line;
    return take(reader, setting, value);
}

static apr_status_t read_lines(reader_t *reader, char *text)
{
    char *next;

    for (char *line = text; line; line = next) {
        apr_status_t status;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        reader->line++;
        status = read_line(reader, line);
        if (status != APR_SUCCESS)
            return status;
    }
    return APR_SUCCESS;
}

/* The host's name with the port: two data servers of one host must not share a member row. */
static char *default_name(const char *address)
{
    char host[HOST_SIZE] = "datasrv";
    const char *port = strrchr(address, ':');
    char *name = NULL;

    if (gethostname(host, sizeof(host)))
        snprintf(host, sizeof(host), "datasrv");
    host[sizeof(host) - 1] = '\0';
    if (asprintf(&name, "%s:%.5s", host, port ? port + 1 : "") < 0)
        return NULL;
    return name;
}

static apr_status_t set_defaults(fs_settings_t *settings)
{
    if (!settings->listen)
        settings->listen = strdup(FS_DEFAULT_LISTEN);
    if (!settings->image_dir)
        settings->image_dir = strdup(FS_DEFAULT_IMAGE_DIR);
    if (settings->listen && !settings->name)
        settings->name = default_name(settings->listen);
    if (settings->image_dir && !settings->session_dir &&
        asprintf(&settings->session_dir, "%s/sessions", settings->image_dir) < 0)
        settings->session_dir = NULL;
    if (settings->listen && !settings->session_name)
        settings->session_name = strdup(settings->listen);
    return settings->listen && settings->image_dir && settings->name && settings->session_dir &&
                   settings->session_name
               ? APR_SUCCESS
               : APR_ENOMEM;
}

static apr_status_t check_together(const fs_settings_t *settings, fs_result_t *result)
{
    if (!settings->database)
        return fs_result_set(result, APR_EGENERAL, "FS0804",
                             "%s: Database is missing; name the MySQL option file whose group "
                             "[farmsync] says how to log in, such as /etc/farmsync/my.cnf",
                             settings->file);
    if (!fs_name_is_good(settings->name))
        return fs_result_set(result, APR_EGENERAL, "FS0802",
                             "%s: Name %s: give 1 to 64 letters, digits, '.', '_', ':' or '-'",
                             settings->file, settings->name);
    for (unsigned i = 0; i < settings->peer_count; i++)
        if (!strcmp(settings->peers[i].name, settings->session_name))
            return fs_result_set(result, APR_EGENERAL, "FS0805",
                                 "%s: Peer %s is this data server itself, or has its SessionName; "
                                 "name only the others",
                                 settings->file, settings->peers[i].name);
    if (!settings->tls_certificate_file != !settings->tls_key_file)
        return fs_result_set(result, APR_EGENERAL, "FS0805",
                             "%s: TLSCertificateFile and TLSKeyFile go together; give both or none",
                             settings->file);
    if (settings->client_ca_file && !settings->tls_certificate_file)
        return fs_result_set(result, APR_EGENERAL, "FS0805",
                             "%s: ClientCAFile needs TLSCertificateFile and TLSKeyFile as well",
                             settings->file);
    return APR_SUCCESS;
}

apr_status_t fs_settings_read(fs_settings_t **settings, const char *file, fs_result_t *result)
{
    fs_settings_t *made = calloc(1, sizeof(*made));
    reader_t reader = {made, file, 0, {0}, result};
    char *text = NULL;
    size_t length;
    apr_status_t status;

    *settings = NULL;
    if (!made || !(made->file = strdup(file))) {
        free(made);
        return APR_ENOMEM;
    }
    made->log_level = FS_LOG_NOTICE;
    made->keep_images = 2;
    made->max_connections = 4096;
    made->max_transfers = 64;
    made->idle_timeout = 60;
    made->session_memory = 1024;
    made->session_copies = 2;
    status = fs_file_read(file, FILE_LIMIT, &text, &length, result);
    if (status == APR_SUCCESS)
        status = read_lines(&reader, text);
    if (status == APR_SUCCESS)
        status = set_defaults(made);
    if (status == APR_SUCCESS)
        status = check_together(made, result);
    free(text);
    if (status == APR_SUCCESS)
        *settings = made;
    else
        fs_settings_free(made);
    return status;
}

void fs_settings_free(fs_settings_t *settings)
{
    if (!settings)
        return;
    for (size_t i = 0; i < KNOWN; i++)
        if (known[i].kind == TEXT)
            free(*text_at(settings, &known[i]));
    for (unsigned i = 0; i < FS_SETTINGS_PEERS; i++) {
        free(settings->peers[i].url);
        free(settings->peers[i].name);
        free(settings->peers[i].rack);
    }
    free(settings->file);
    free(settings);
}

static int same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static int peers_differ(const fs_settings_t *a, const fs_settings_t *b)
{
    int differ = a->peer_count != b->peer_count;

    for (unsigned i = 0; !differ && i < a->peer_count; i++)
        differ = !same_text(a->peers[i].url, b->peers[i].url) ||
                 !same_text(a->peers[i].name, b->peers[i].name) ||
                 !same_text(a->peers[i].rack, b->peers[i].rack);
    return differ;
}

static int differs(const fs_settings_t *a, const fs_settings_t *b, const setting_t *setting)
{
    if (setting->kind == NUMBER || setting->kind == SWITCH)
        return *number_at(a, setting) != *number_at(b, setting);
    if (setting->kind == PEERS)
        return peers_differ(a, b);
    return !same_text(*text_at(a, setting), *text_at(b, setting));
}

void fs_settings_need_restart(const fs_settings_t *before, const fs_settings_t *after,
                              void (*changed)(const char *setting))
{
    for (size_t i = 0; i < KNOWN; i++)
        if (known[i].needs_restart && differs(before, after, &known[i]))
            changed(known[i].name);
}
