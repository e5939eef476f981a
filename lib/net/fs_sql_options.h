/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The [farmsync] group of a MySQL option file. Pure but for fs_sql_options_read; any thread.
 *
 * The connectors can read option files themselves, but neither takes a list of hosts with a port
 * each, says which line is wrong, or notices a password that the whole machine can read.
 */
#ifndef FS_SQL_OPTIONS_H
#define FS_SQL_OPTIONS_H

#include <stddef.h>

#include "base/fs_result.h"

#define FS_SQL_MAX_HOSTS     16
#define FS_SQL_NAME_SIZE     256
#define FS_SQL_OPTION_SIZE   512
#define FS_SQL_OPTIONS_LIMIT 65536 /* bytes of an option file */
#define FS_SQL_DEFAULT_PORT  3306

typedef struct fs_sql_host_t {
    char name[FS_SQL_NAME_SIZE]; /* name or address, without brackets */
    unsigned port; /* 0: none was given with the host: the file's port, or the socket */
} fs_sql_host_t;

typedef struct fs_sql_options_t {
    unsigned host_count; /* at least 1 after reading: localhost if none is named */
    fs_sql_host_t hosts[FS_SQL_MAX_HOSTS];
    unsigned port;                   /* for hosts without one of their own */
    char socket[FS_SQL_OPTION_SIZE]; /* "" = the connector's default */
    char user[FS_SQL_OPTION_SIZE];   /* "" = the connector's default */
    char password[FS_SQL_OPTION_SIZE];
    char ssl_ca[FS_SQL_OPTION_SIZE]; /* set: TLS is demanded and the server's certificate checked */
    char ssl_cert[FS_SQL_OPTION_SIZE];
    char ssl_key[FS_SQL_OPTION_SIZE];
    int ssl_verify; /* ssl-verify-server-cert; 0: its CA is checked, the host name in it is not */
} fs_sql_options_t;

/*
 * Reads `path`. Errors: FS0301 cannot read, FS0302 bad line or value (its line is named), FS0303
 * readable or writable by every user of the host.
 */
apr_status_t fs_sql_options_read(fs_sql_options_t *options, const char *path, fs_result_t *result);

/* The same from text; `name` is only for messages. `text` need not end with a NUL. Errors: FS0302.
 */
apr_status_t fs_sql_options_parse(fs_sql_options_t *options, const char *name, const char *text,
                                  size_t length, fs_result_t *result);

#endif
