/* SPDX-License-Identifier: Apache-2.0 */
/* What of fs_sql needs no server: the option file and the making of statements. */
#include "fs_test.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_file.h"
#include "net/fs_sql.h"
#include "net/fs_sql_format.h"
#include "net/fs_sql_options.h"

static apr_status_t parse(fs_sql_options_t *options, const char *text, fs_result_t *result)
{
    return fs_sql_options_parse(options, "my.cnf", text, strlen(text), result);
}

START_TEST(options_are_read_as_the_manual_says)
{
    fs_sql_options_t options;
    fs_result_t result;

    ck_assert_int_eq(parse(&options,
                           "# a comment\n; another\n[client]\nhost=wrong\nno-beep\n\n[farmsync]\r\n"
                           " host = db1, db2:3307 ,[2001:db8::3]:3308, 2001:db8::4,[::1]\n"
                           "port=3310\nuser = 'agent' # inline\npassword=\"a#b\\\\c\\\"d \"\n"
                           "ssl_ca=/etc/ca.pem\nssl-cert=/etc/c\nssl-key=/etc/k\n[mysqld]\nport=1\n"
                           "[farmsync]\nssl-verify-server-cert=off\nsocket=/run/a\\sb",
                           &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(options.host_count, 5);
    ck_assert_str_eq(options.hosts[0].name, "db1");
    ck_assert_uint_eq(options.hosts[0].port, 0);
    ck_assert_str_eq(options.hosts[1].name, "db2");
    ck_assert_uint_eq(options.hosts[1].port, 3307);
    ck_assert_str_eq(options.hosts[2].name, "2001:db8::3");
    ck_assert_uint_eq(options.hosts[2].port, 3308);
    ck_assert_str_eq(options.hosts[3].name, "2001:db8::4");
    ck_assert_uint_eq(options.hosts[3].port, 0);
    ck_assert_str_eq(options.hosts[4].name, "::1");
    ck_assert_uint_eq(options.port, 3310);
    ck_assert_str_eq(options.user, "agent");
    ck_assert_str_eq(options.password, "a#b\\c\"d ");
    ck_assert_str_eq(options.ssl_ca, "/etc/ca.pem");
    ck_assert_int_eq(options.ssl_verify, 0);
    ck_assert_str_eq(options.socket, "/run/a b");
}
END_TEST

START_TEST(options_default_to_the_local_server)
{
    fs_sql_options_t options;
    fs_result_t result;

    ck_assert_int_eq(parse(&options, "[farmsync]", &result), APR_SUCCESS);
    ck_assert_uint_eq(options.host_count, 1);
    ck_assert_str_eq(options.hosts[0].name, "localhost");
    ck_assert_int_eq(options.ssl_verify, 1);
}
END_TEST

START_TEST(option_errors_name_the_line)
{
    static const struct {
        const char *text;
        const char *said;
    } bad[] = {{"", "no group [farmsync]"},
               {"[client]\nuser=x\n", "no group [farmsync]"},
               {"[farmsync]\nport=0\n", "line 2: port"},
               {"[farmsync]\nport=65536\n", "line 2: port"},
               {"[farmsync]\nport=+1\n", "line 2: port"},
               {"[farmsync]\nport=33o6\n", "line 2: port"},
               {"[farmsync]\n\nhost=\n", "line 3: host"},
               {"[farmsync]\nhost=db1,\n", "line 2: host"},
               {"[farmsync]\nhost=db1:\n", "line 2: host"},
               {"[farmsync]\nhost=[::1\n", "line 2: host"},
               {"[farmsync]\nhost=a b\n", "line 2: host"},
               {"[farmsync]\nhost=a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\n", "more than 16"},
               {"[farmsync]\nuser='x\n", "closing quote"},
               {"[farmsync]\nssl-cq=x\n", "unknown option"},
               {"[farmsync]\n=x\n", "name = value"},
               {"[farmsync\n", "closing ]"},
               {"!include /etc/mysql/my.cnf\n[farmsync]\n", "!include"},
               {"[farmsync]\nssl-cert=x\n", "belong together"},
               {"[farmsync]\nssl-verify-server-cert=maybe\n", "on or off"}};
    fs_sql_options_t options;
    fs_result_t result;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(parse(&options, bad[i].text, &result) != APR_SUCCESS, "%s", bad[i].text);
        ck_assert_str_eq(result.problem, "FS0302");
        ck_assert_msg(strstr(result.detail, bad[i].said), "%s", result.detail);
    }
}
END_TEST

START_TEST(option_values_have_a_bound)
{
    fs_sql_options_t options;
    fs_result_t result;
    char text[700] = "[farmsync]\nuser=", *end = text + strlen(text);

    memset(end, 'x', FS_SQL_OPTION_SIZE - 1);
    ck_assert_int_eq(parse(&options, text, &result), APR_SUCCESS);
    ck_assert_uint_eq(strlen(options.user), FS_SQL_OPTION_SIZE - 1);
    end[FS_SQL_OPTION_SIZE - 1] = 'x';
    ck_assert_int_ne(parse(&options, text, &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(result.detail, "too long"));
    ck_assert_int_ne(fs_sql_options_parse(&options, "x", "[farmsync]\nuser=a\0b", 19, &result),
                     APR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(result.detail, "NUL"));
}
END_TEST

START_TEST(option_file_open_to_everybody_is_refused)
{
    char *dir = fs_test_mkdir(), path[256];
    const char text[] = "[farmsync]\npassword=secret\n";
    fs_sql_t *sql;
    fs_result_t result;

    snprintf(path, sizeof(path), "%s/my.cnf", dir);
    ck_assert_int_ne(fs_sql_create(&sql, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0301");
    ck_assert_ptr_null(sql);
    ck_assert_int_eq(fs_file_write(path, text, strlen(text), &result), APR_SUCCESS);
    ck_assert_int_eq(fs_sql_create(&sql, path, &result), APR_SUCCESS);
    ck_assert_str_eq(fs_sql_peer(sql), "");
    fs_sql_destroy(sql);
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_ne(fs_sql_create(&sql, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0303");
    fs_test_rmdir(dir);
}
END_TEST

static char *format(const char *text, ...)
{
    va_list args;
    size_t length = 0;
    char *made;

    va_start(args, text);
    made = fs_sql_format(&length, text, args);
    va_end(args);
    if (made)
        ck_assert_uint_eq(strlen(made), length);
    return made;
}

static void expect(char *made, const char *wanted)
{
    ck_assert_str_eq(made, wanted);
    free(made);
}

START_TEST(values_cannot_leave_their_quotes)
{
    expect(format("SELECT %s, %s", "a'b\\", (const char *)NULL), "SELECT 'a''b\\\\', NULL");
    expect(format("%s", "'; DROP TABLE x; -- "), "'''; DROP TABLE x; -- '");
    expect(format("%s", "\\'"), "'\\\\'''");
    expect(format("SELECT %i FROM %i", "a`b", "\\'"), "SELECT `a``b` FROM `\\'`");
    expect(format("%d %d%%", INT64_MIN, (int64_t)42), "-9223372036854775808 42%");
    expect(format("SELECT %r FROM t", "a, b"), "SELECT a, b FROM t");
    expect(format("", 0), "");
}
END_TEST

START_TEST(unknown_directives_are_refused)
{
    ck_assert_ptr_null(format("SELECT %u", 1));
    ck_assert_ptr_null(format("SELECT %"));
    ck_assert_ptr_null(format("SELECT %5d", (int64_t)1));
}
END_TEST

START_TEST(long_values_are_kept_whole)
{
    char *value = malloc(100001), *made;

    memset(value, '\'', 100000);
    value[100000] = '\0';
    made = format("%s", value);
    ck_assert_uint_eq(strlen(made), 200002);
    free(made);
    free(value);
}
END_TEST

/* Nothing may connect by itself: a statement would run outside its transaction. */
START_TEST(statement_without_a_connection_is_refused)
{
    char *dir = fs_test_mkdir(), path[256];
    const char text[] = "[farmsync]\nhost=127.0.0.1:1\n";
    fs_sql_t *sql;
    fs_result_t result;

    snprintf(path, sizeof(path), "%s/my.cnf", dir);
    ck_assert_int_eq(fs_file_write(path, text, strlen(text), &result), APR_SUCCESS);
    fs_sql_global_init();
    ck_assert_int_eq(fs_sql_create(&sql, path, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_sql_run(sql, NULL, &result, "DO 1"), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0306");
    ck_assert_int_eq(fs_sql_error(sql), FS_SQL_LOST);
    ck_assert_int_ne(fs_sql_connect(sql, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0304");
    ck_assert_ptr_nonnull(strstr(result.detail, "127.0.0.1:1: "));
    ck_assert_int_eq(fs_sql_error(sql), FS_SQL_LOST);
    fs_sql_destroy(sql);
    fs_sql_thread_end();
    fs_test_rmdir(dir);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net-sql");
    TCase *one = tcase_create("sql");

    tcase_add_test(one, options_are_read_as_the_manual_says);
    tcase_add_test(one, options_default_to_the_local_server);
    tcase_add_test(one, option_errors_name_the_line);
    tcase_add_test(one, option_values_have_a_bound);
    tcase_add_test(one, option_file_open_to_everybody_is_refused);
    tcase_add_test(one, values_cannot_leave_their_quotes);
    tcase_add_test(one, unknown_directives_are_refused);
    tcase_add_test(one, long_values_are_kept_whole);
    tcase_add_test(one, statement_without_a_connection_is_refused);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
