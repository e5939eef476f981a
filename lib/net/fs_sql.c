/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to whichever of the farm's database servers answers first in the order of the
 * option file. Nothing reconnects by itself: a statement on a connection that went away must not
 * run outside the transaction that the caller believes to be in.
 *
 * Both connectors announce errors late (in store, use, fetch and next_result), so each of these is
 * followed by a look at mysql_errno. After any statement the connection is either drained and ready
 * for the next one, or closed.
 */
#include "net/fs_sql.h"

#include <mysql.h>
#include <errmsg.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/fs_sql_format.h"
#include "net/fs_sql_options.h"

#define CONNECT_TIMEOUT_S 2
#define READ_TIMEOUT_S    30
#define WRITE_TIMEOUT_S   30
#define MAX_PACKET        (256ul * 1024 * 1024) /* a row of 16 MiB values is far below it */
#define DRAIN_ROWS        100000 /* what is read and thrown away rather than closing the connection */

/* Server errors that mean something here; the headers of the two connectors name them differently.
 */
#define SERVER_UNKNOWN_VARIABLE 1193

struct fs_sql_t {
    fs_sql_options_t options;
    MYSQL *mysql; /* NULL: not connected */
    unsigned read_timeout_s;
    fs_sql_error_t error;
    char peer[FS_SQL_OPTION_SIZE];
};

static void library_init(void)
{
    signal(SIGPIPE, SIG_IGN);
    mysql_library_init(0, NULL, NULL);
}

void fs_sql_global_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, library_init);
}

void fs_sql_thread_end(void)
{
    mysql_thread_end();
}

apr_status_t fs_sql_create(fs_sql_t **sql, const char *option_file, fs_result_t *result)
{
    apr_status_t status;

    *sql = calloc(1, sizeof(**sql));
    if (!*sql)
        return fs_result_set(result, APR_ENOMEM, "FS0301",
                             "cannot read the option file %s: out of memory", option_file);
    (*sql)->read_timeout_s = READ_TIMEOUT_S;
    status = fs_sql_options_read(&(*sql)->options, option_file, result);
    if (status != APR_SUCCESS) {
        fs_sql_destroy(*sql);
        *sql = NULL;
    }
    return status;
}

void fs_sql_destroy(fs_sql_t *sql)
{
    if (!sql)
        return;
    fs_sql_disconnect(sql);
    explicit_bzero(&sql->options, sizeof(sql->options));
    free(sql);
}

void fs_sql_set_read_timeout(fs_sql_t *sql, unsigned seconds)
{
    sql->read_timeout_s = seconds ? seconds : READ_TIMEOUT_S;
}

void fs_sql_disconnect(fs_sql_t *sql)
{
    if (sql->mysql)
        mysql_close(sql->mysql);
    sql->mysql = NULL;
    sql->peer[0] = '\0';
}

const char *fs_sql_peer(const fs_sql_t *sql)
{
    return sql->peer;
}

fs_sql_error_t fs_sql_error(const fs_sql_t *sql)
{
    return sql->error;
}

/* --- errors -------------------------------------------------------------------------------------
 */

/*
 * 1213 deadlock (also a Galera certification conflict), 1205 lock wait timeout, 1020 record changed
 * since last read, 1047 Galera node not ready, 3101 group replication rolled back.
 */
static int is_conflict(unsigned code)
{
    return code == 1213 || code == 1205 || code == 1020 || code == 1047 || code == 3101;
}

/*
 * The server, not the statement, is the reason: the client library's own errors; 1040 and 1203 too
 * many connections, 1053 shutting down, 1152, 1184 aborted, 1158..1161 network, 1290 and 1836 read
 * only, 1317 interrupted (KILL), 1927 and 3169 connection killed, 4031 idle for too long.
 */
static int is_lost(unsigned code)
{
    static const unsigned codes[] = {1040, 1053, 1152, 1158, 1159, 1160, 1161, 1184,
                                     1203, 1290, 1317, 1836, 1927, 3169, 4031};

    if (code >= CR_MIN_ERROR && code < 3000)
        return 1;
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (code == codes[i])
            return 1;
    return 0;
}

/*
 * Records the connection's error and leaves the connection in the state that the header promises:
 * closed if it is lost, without a transaction after a conflict (1205 alone would keep one open).
 */
static apr_status_t failed(fs_sql_t *sql, fs_result_t *result)
{
    unsigned code = mysql_errno(sql->mysql);
    apr_status_t status = APR_EGENERAL;

    fs_result_set(result, status, "FS0305", "database %s: error %u (%s): %s", sql->peer, code,
                  mysql_sqlstate(sql->mysql), mysql_error(sql->mysql));
    sql->error = is_conflict(code) ? FS_SQL_CONFLICT : is_lost(code) ? FS_SQL_LOST : FS_SQL_REFUSED;
    if (code == CR_NET_PACKET_TOO_LARGE) { /* a row that is too large will be so next time, too */
        sql->error = FS_SQL_REFUSED;
        fs_sql_disconnect(sql);
        return status;
    }
    if (sql->error == FS_SQL_CONFLICT && mysql_query(sql->mysql, "ROLLBACK"))
        fs_sql_disconnect(sql); /* the server rolls back what it can no longer be told about */
    if (sql->error == FS_SQL_LOST)
        fs_sql_disconnect(sql);
    return status;
}

/* --- connecting ---------------------------------------------------------------------------------
 */

static void set_tls(MYSQL *mysql, const fs_sql_options_t *options)
{
    if (options->ssl_cert[0]) {
        mysql_options(mysql, MYSQL_OPT_SSL_CERT, options->ssl_cert);
        mysql_options(mysql, MYSQL_OPT_SSL_KEY, options->ssl_key);
    }
    if (!options->ssl_ca[0])
        return;
    mysql_options(mysql, MYSQL_OPT_SSL_CA, options->ssl_ca);
#ifdef MARIADB_BASE_VERSION
    {
        char enforce = 1, verify = (char)options->ssl_verify; /* my_bool */

        mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &enforce);
        mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    }
#else
    {
        unsigned mode = options->ssl_verify ? SSL_MODE_VERIFY_IDENTITY : SSL_MODE_VERIFY_CA;

        mysql_options(mysql, MYSQL_OPT_SSL_MODE, &mode);
    }
#endif
}

static MYSQL *new_handle(const fs_sql_t *sql)
{
    unsigned connect = CONNECT_TIMEOUT_S, io_write = WRITE_TIMEOUT_S, local_infile = 0;
    unsigned long max_packet = MAX_PACKET;
    MYSQL *mysql = mysql_init(NULL);

    if (!mysql)
        return NULL;
    mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect);
    mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &sql->read_timeout_s);
    mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &io_write);
    mysql_options(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &max_packet);
    mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    /* A server must not be able to ask for this host's files. */
    mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &local_infile);
    mysql_options4(mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name",
                   program_invocation_short_name);
    set_tls(mysql, &sql->options);
    return mysql;
}

/*
 * A Galera node that has lost its cluster accepts connections and then refuses every statement but
 * SET and SHOW: the last query finds that out here, while there is another host to try.
 * A promoter whose host hangs or vanishes in the middle of its transaction would hold the group's
 * row, and with it the whole farm, until TCP gives up: the server is to end that transaction.
 */
static int set_session(MYSQL *mysql)
{
    /* Of Galera, and of MariaDB. */
    static const char *const optional[] = {
        "SET SESSION wsrep_sync_wait = 1",
        "SET SESSION idle_transaction_timeout = 30",
    };
    static const char *const statements[] = {
        "SET SESSION time_zone = '+00:00', autocommit = 1",
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "SET SESSION innodb_lock_wait_timeout = 2",
        "SET SESSION net_write_timeout = 30",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "DO 1",
    };

    for (unsigned i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        if (mysql_query(mysql, optional[i]) && mysql_errno(mysql) != SERVER_UNKNOWN_VARIABLE)
            return -1;
    for (unsigned i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
        if (mysql_query(mysql, statements[i]))
            return -1;
    return 0;
}

/* As the connectors do: localhost without a port of its own means the Unix socket. */
static int uses_socket(const fs_sql_host_t *host)
{
    return !host->port && !strcmp(host->name, "localhost");
}

static void name_peer(const fs_sql_t *sql, const fs_sql_host_t *host, unsigned port, char *out,
                      size_t size)
{
    int is_v6 = strchr(host->name, ':') != NULL;

    if (uses_socket(host))
        snprintf(out, size, "%s", sql->options.socket[0] ? sql->options.socket : "localhost");
    else
        snprintf(out, size, "%s%s%s:%u", is_v6 ? "[" : "", host->name, is_v6 ? "]" : "", port);
}

/* Tries one host; on failure appends its cause to `causes`. */
static int connect_host(fs_sql_t *sql, const fs_sql_host_t *host, char *causes, size_t size)
{
    const fs_sql_options_t *o = &sql->options;
    unsigned port = host->port ? host->port : o->port ? o->port : FS_SQL_DEFAULT_PORT;
    unsigned tcp = MYSQL_PROTOCOL_TCP;
    MYSQL *mysql = new_handle(sql);
    char peer[FS_SQL_OPTION_SIZE];
    size_t used = strlen(causes);

    name_peer(sql, host, port, peer, sizeof(peer));
    if (mysql && !uses_socket(host))
        mysql_options(mysql, MYSQL_OPT_PROTOCOL, &tcp);
    if (mysql &&
        mysql_real_connect(mysql, host->name, o->user[0] ? o->user : NULL,
                           o->password[0] ? o->password : NULL, NULL, port,
                           uses_socket(host) && o->socket[0] ? o->socket : NULL,
                           CLIENT_MULTI_RESULTS) &&
        !set_session(mysql)) {
        sql->mysql = mysql;
        strcpy(sql->peer, peer);
        return 0;
    }
    snprintf(causes + used, size - used, "%s%s: %s", used ? "; " : "", peer,
             mysql ? mysql_error(mysql) : "out of memory");
    if (mysql)
        mysql_close(mysql);
    return -1;
}

apr_status_t fs_sql_connect(fs_sql_t *sql, fs_result_t *result)
{
    char causes[FS_DETAIL_SIZE - 128] = "";

    sql->error = FS_SQL_OK;
    if (sql->mysql)
        return APR_SUCCESS;
    for (unsigned i = 0; i < sql->options.host_count; i++)
        if (!connect_host(sql, &sql->options.hosts[i], causes, sizeof(causes)))
            return APR_SUCCESS;
    sql->error = FS_SQL_LOST;
    return fs_result_set(result, APR_ECONNREFUSED, "FS0304",
                         "no database can be reached: %s; check host, user, password and, for "
                         "TLS, ssl-ca in the option file",
                         causes);
}

/* --- statements ---------------------------------------------------------------------------------
 */

/* Sends one statement. Its results are still to be read. */
static apr_status_t send_statement(fs_sql_t *sql, fs_result_t *result, const char *format,
                                   va_list args)
{
    size_t length = 0;
    char *statement;
    int bad;

    sql->error = FS_SQL_OK;
    if (!sql->mysql) {
        sql->error = FS_SQL_LOST;
        return fs_result_set(result, APR_ENOTSOCK, "FS0306",
                             "the database connection is closed; it is opened again with the next "
                             "attempt");
    }
    statement = fs_sql_format(&length, format, args);
    if (!statement) {
        sql->error = FS_SQL_REFUSED;
        return fs_result_set(result, APR_ENOMEM, "FS0307",
                             "a statement could not be made: out of memory or bad format \"%.64s\"",
                             format);
    }
    bad = mysql_real_query(sql->mysql, statement, (unsigned long)length);
    free(statement);
    return bad ? failed(sql, result) : APR_SUCCESS;
}

static int socket_of(MYSQL *mysql)
{
#ifdef MARIADB_BASE_VERSION
    return mysql_get_socket(mysql);
#else
    return mysql->net.fd;
#endif
}

/*
 * Reads and forgets the rest of a result. mysql_free_result would do it too, but with no bound: a
 * caller that gave up on the first of many million rows would wait for all of them. Returns 0, or 1
 * if the connection had to be closed.
 */
static int drop_result(fs_sql_t *sql, MYSQL_RES *rows, int ended)
{
    unsigned dropped = 0;

    while (!ended && dropped++ < DRAIN_ROWS)
        ended = mysql_fetch_row(rows) == NULL;
    if (ended) {
        mysql_free_result(rows);
        return 0;
    }
    /* With its socket shut, freeing the result no longer waits for the server. */
    sql->error = FS_SQL_LOST;
    shutdown(socket_of(sql->mysql), SHUT_RDWR);
    mysql_free_result(rows);
    fs_sql_disconnect(sql);
    return 1;
}

/* Hands the rows of one result set to `fn`; `fn` NULL throws them away. */
static apr_status_t read_rows(fs_sql_t *sql, MYSQL_RES *rows, fs_sql_row_fn *fn, void *baton,
                              fs_result_t *result)
{
    unsigned count = mysql_num_fields(rows);
    fs_slice_t *values = calloc(count ? count : 1, sizeof(*values));
    apr_status_t status = values ? APR_SUCCESS : APR_ENOMEM;
    MYSQL_ROW row = NULL;

    if (!values)
        fs_result_set(result, status, "FS0307", "a result of %u columns: out of memory", count);
    while (status == APR_SUCCESS && (row = mysql_fetch_row(rows))) {
        const unsigned long *lengths = mysql_fetch_lengths(rows);

        for (unsigned i = 0; i < count; i++)
            values[i] = (fs_slice_t){row[i], (uint32_t)lengths[i]};
        if (fn)
            status = fn(baton, values, count, result);
    }
    free(values);
    if (status == APR_SUCCESS && mysql_errno(sql->mysql)) {
        mysql_free_result(rows);
        return failed(sql, result);
    }
    drop_result(sql, rows, status == APR_SUCCESS);
    return status;
}

/*
 * Reads all result sets of the statement that was sent. `fn` gets the rows of the first. After the
 * caller's own refusal the rest is still read, so that the connection can be used again.
 */
static apr_status_t read_results(fs_sql_t *sql, uint64_t *affected, fs_sql_row_fn *fn, void *baton,
                                 fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;
    int more;

    do {
        MYSQL_RES *rows = mysql_use_result(sql->mysql);

        if (rows) {
            apr_status_t read = read_rows(sql, rows, fn, baton, result);

            fn = NULL;
            if (read != APR_SUCCESS && (!sql->mysql || sql->error != FS_SQL_OK))
                return status == APR_SUCCESS ? read : status;
            if (status == APR_SUCCESS)
                status = read;
        } else if (mysql_errno(sql->mysql)) {
            return failed(sql, status == APR_SUCCESS ? result : NULL);
        } else if (affected) {
            *affected = mysql_affected_rows(sql->mysql);
        }
        more = mysql_next_result(sql->mysql);
    } while (!more);
    if (more > 0) {
        apr_status_t late = failed(sql, status == APR_SUCCESS ? result : NULL);

        return status == APR_SUCCESS ? late : status;
    }
    return status;
}

apr_status_t fs_sql_run(fs_sql_t *sql, uint64_t *affected, fs_result_t *result, const char *format,
                        ...)
{
    apr_status_t status;
    va_list args;

    if (affected)
        *affected = 0;
    va_start(args, format);
    status = send_statement(sql, result, format, args);
    va_end(args);
    return status == APR_SUCCESS ? read_results(sql, affected, NULL, NULL, result) : status;
}

apr_status_t fs_sql_rows(fs_sql_t *sql, fs_sql_row_fn *fn, void *baton, fs_result_t *result,
                         const char *format, ...)
{
    apr_status_t status;
    va_list args;

    va_start(args, format);
    status = send_statement(sql, result, format, args);
    va_end(args);
    return status == APR_SUCCESS ? read_results(sql, NULL, fn, baton, result) : status;
}
