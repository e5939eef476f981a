/* SPDX-License-Identifier: Apache-2.0 */
/* Monitors: verdicts under times that tests make up; checks against real sockets and scripts. */
#include "fs_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "monitor.h"

#define SEC FS_USEC_PER_SEC
#define T0  (1000 * SEC)

static fs_monitor_config_t usual(void)
{
    return (fs_monitor_config_t){.name = (char *)"check",
                                 .application = (char *)"shop",
                                 .interval = 5 * SEC,
                                 .timeout = 2 * SEC,
                                 .rise = 2,
                                 .fall = 3,
                                 .status_least = 200,
                                 .status_most = 399};
}

/* Gives the results one by one ('+' passed, '-' failed) and writes the verdicts. */
static const char *verdicts(fs_monitor_state_t *state, const fs_monitor_config_t *config,
                            const char *results)
{
    static char out[256];
    size_t i = 0;

    for (; results[i] && i < sizeof(out) - 1; i++)
        out[i] = ".FRn"[fs_monitor_judge(state, config, results[i] == '+', state->due)];
    out[i] = '\0';
    return out;
}

/* A lease that is so long that no renewal comes between. */
static fs_monitor_config_t without_renewal(void)
{
    fs_monitor_config_t config = usual();

    config.interval = SEC / 10;
    return config;
}

START_TEST(test_falls_after_fall_failures_in_a_row)
{
    fs_monitor_config_t config = without_renewal();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 0, T0, 0);
    ck_assert_str_eq(verdicts(&state, &config, "+--+--+---"), ".........F");
    ck_assert_int_eq(state.down, 1);
}
END_TEST

START_TEST(test_rises_after_rise_successes_in_a_row)
{
    fs_monitor_config_t config = without_renewal();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 0, T0, 0);
    ck_assert_str_eq(verdicts(&state, &config, "---+-+-++"), "..F.....R");
    ck_assert_int_eq(state.down, 0);
}
END_TEST

START_TEST(test_flapping_says_nothing)
{
    fs_monitor_config_t config = without_renewal();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 0, T0, 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_str_eq(verdicts(&state, &config, "+--"), "...");
    ck_assert_uint_eq(state.passed, 1000);
    ck_assert_uint_eq(state.failed, 2000);
}
END_TEST

START_TEST(test_one_check_decides_where_counts_are_one)
{
    fs_monitor_config_t config = without_renewal();
    fs_monitor_state_t state;

    config.rise = config.fall = 1;
    fs_monitor_start(&state, &config, 0, T0, 0);
    ck_assert_str_eq(verdicts(&state, &config, "+-+-"), ".FRF");
}
END_TEST

START_TEST(test_a_start_takes_nobody_down)
{
    fs_monitor_config_t config = usual();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 0, T0, 0.5);
    ck_assert_int_eq(state.down, 0);
    ck_assert_int_eq(state.due, T0 + config.interval / 2);
}
END_TEST

START_TEST(test_a_monitor_that_starts_again_keeps_to_what_it_told)
{
    fs_monitor_config_t config = usual();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 1, T0, 0);
    /* It doesn't know how old its lease is: the first failure renews it. */
    ck_assert_str_eq(verdicts(&state, &config, "--++"), "n..R");
}
END_TEST

START_TEST(test_renewed_before_the_lease_ends)
{
    fs_monitor_config_t config = usual();
    fs_monitor_state_t state;
    fs_usec_t told = 0, lease = fs_monitor_lease(&config);

    fs_monitor_start(&state, &config, 0, T0, 0);
    for (int i = 0; i < 10000; i++) {
        fs_usec_t now = state.due + config.timeout;
        fs_monitor_verdict_t verdict = fs_monitor_judge(&state, &config, 0, now);

        if (verdict == FS_MONITOR_FELL || verdict == FS_MONITOR_RENEW)
            told = now;
        if (i > 2)
            ck_assert_int_lt(now - told, lease * 3 / 4);
    }
}
END_TEST

START_TEST(test_lease_outlasts_slow_checks)
{
    fs_monitor_config_t config = usual();

    ck_assert_int_eq(fs_monitor_lease(&config), FS_MONITOR_LEASE_LEAST_S * SEC);
    config.interval = 600 * SEC;
    ck_assert_int_gt(fs_monitor_lease(&config), 4 * config.interval);
}
END_TEST

START_TEST(test_not_told_is_told_with_the_next_check)
{
    fs_monitor_config_t config = usual();
    fs_monitor_state_t state;

    fs_monitor_start(&state, &config, 0, T0, 0);
    ck_assert_str_eq(verdicts(&state, &config, "---"), "..F");
    fs_monitor_not_told(&state, FS_MONITOR_FELL);
    ck_assert_int_eq(state.down, 0);
    ck_assert_str_eq(verdicts(&state, &config, "-"), "F");
    fs_monitor_not_told(&state, FS_MONITOR_FELL);
    /* It recovered meanwhile: there is nothing to tell any more. */
    ck_assert_str_eq(verdicts(&state, &config, "+--"), "...");
}
END_TEST

START_TEST(test_a_clock_that_jumps_ahead_brings_no_burst)
{
    fs_monitor_config_t config = usual();
    fs_monitor_state_t state;
    fs_usec_t now = T0 + 3600 * SEC; /* as after a machine was suspended */

    fs_monitor_start(&state, &config, 0, T0, 0);
    fs_monitor_judge(&state, &config, 1, now);
    ck_assert_int_eq(state.due, now + config.interval);
}
END_TEST

/* --- configuration ---------------------------------------------------------------------------- */

static apr_status_t read_config(const char *text, fs_monitor_config_t *monitors, unsigned *count,
                                fs_result_t *result)
{
    json_t *json = json_loads(text, 0, NULL);
    apr_status_t status;

    ck_assert_ptr_nonnull(json);
    fs_result_clear(result);
    status = fs_monitors_read(monitors, count, json, "agent.json", result);
    json_decref(json);
    return status;
}

START_TEST(test_configuration_is_read)
{
    fs_monitor_config_t monitors[FS_MONITORS_MAX];
    fs_result_t result;
    unsigned count;

    ck_assert_int_eq(
        read_config("[{\"name\":\"a\",\"application\":\"shop\",\"kind\":\"script\","
                    "\"target\":\"/bin/check\",\"arguments\":[\"-v\",\"x y\"],\"scope\":\"farm\","
                    "\"interval_ms\":700,\"timeout_ms\":600,\"rise\":1,\"fall\":9}]",
                    monitors, &count, &result),
        APR_SUCCESS);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(monitors[0].kind, FS_MONITOR_SCRIPT);
    ck_assert_str_eq(monitors[0].arguments[0], "/bin/check");
    ck_assert_str_eq(monitors[0].arguments[2], "x y");
    ck_assert_ptr_null(monitors[0].arguments[3]);
    ck_assert_int_eq(monitors[0].whole_farm, 1);
    ck_assert_int_eq(monitors[0].interval, 700000);
    ck_assert_uint_eq(monitors[0].fall, 9);
    fs_monitors_clear(monitors, count);
}
END_TEST

static const char *const bad_configs[] = {
    "{}",
    "[1]",
    "[{\"name\":\"a\"}]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"ftp\",\"scope\":\"server\",\"target\":\"x\"}"
    "]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"http\",\"scope\":\"server\","
    "\"target\":\"file:///etc/passwd\"}]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"tcp\",\"scope\":\"server\","
    "\"target\":\"host\"}]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"script\",\"scope\":\"server\","
    "\"target\":\"relative\"}]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"tcp\",\"scope\":\"server\","
    "\"target\":\"h:1\",\"rise\":0}]",
    "[{\"name\":\"a\",\"application\":\"s\",\"kind\":\"tcp\",\"scope\":\"server\","
    "\"target\":\"h:1\",\"interval_ms\":1000,\"timeout_ms\":2000}]",
};

START_TEST(test_bad_configuration_is_refused)
{
    fs_monitor_config_t monitors[FS_MONITORS_MAX];
    fs_result_t result;
    unsigned count;

    ck_assert_int_ne(read_config(bad_configs[_i], monitors, &count, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1550");
    ck_assert_uint_eq(count, 0);
}
END_TEST

/* --- checks ----------------------------------------------------------------------------------- */

static volatile int go_on = 0;

START_TEST(test_tcp_connects_or_says_why_not)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    fs_monitor_config_t config = usual();
    char target[64], said[FS_MONITOR_SAID_SIZE];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(target, sizeof(target), "127.0.0.1:%d", ntohs(address.sin_port));
    config.kind = FS_MONITOR_TCP;
    config.target = target;
    ck_assert_int_eq(fs_monitor_probe(&config, "x", &go_on, said), 0);
    ck_assert_ptr_nonnull(strstr(said, strerror(ECONNREFUSED)));
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(fs_monitor_probe(&config, "x", &go_on, said), 1);
    close(fd);
}
END_TEST

/* Runs a shell script that is made of `text`. */
static int run_script(const char *text, fs_usec_t timeout, const volatile int *stop,
                      char said[FS_MONITOR_SAID_SIZE], const char *argument)
{
    char *dir = fs_test_mkdir(), path[256];
    fs_monitor_config_t config = usual();
    FILE *file;
    int passed;

    snprintf(path, sizeof(path), "%s/check", dir);
    file = fopen(path, "w");
    fprintf(file, "#!/bin/sh\n%s\n", text);
    fclose(file);
    chmod(path, 0700);
    config.kind = FS_MONITOR_SCRIPT;
    config.target = config.arguments[0] = path;
    config.arguments[1] = (char *)argument;
    config.timeout = timeout;
    passed = fs_monitor_probe(&config, "x", stop, said);
    fs_test_rmdir(dir);
    return passed;
}

START_TEST(test_script_passes_and_fails)
{
    char said[FS_MONITOR_SAID_SIZE];

    ck_assert_int_eq(run_script("exit 0", 20 * SEC, &go_on, said, NULL), 1);
    ck_assert_int_eq(run_script("test \"$1\" = 'a b'", 20 * SEC, &go_on, said, "a b"), 1);
    ck_assert_int_eq(run_script("echo no room; echo more; exit 7", 20 * SEC, &go_on, said, NULL),
                     0);
    ck_assert_ptr_nonnull(strstr(said, "status 7: no room"));
    ck_assert_ptr_null(strstr(said, "more"));
    ck_assert_int_eq(run_script("kill -9 $$", 20 * SEC, &go_on, said, NULL), 0);
    ck_assert_ptr_nonnull(strstr(said, "signal 9"));
}
END_TEST

START_TEST(test_script_that_hangs_is_ended_with_its_children)
{
    char said[FS_MONITOR_SAID_SIZE], *dir = fs_test_mkdir(), text[512];
    FILE *file;
    long pid = 0;

    snprintf(text, sizeof(text), "sleep 1000 & echo $! >%s/pid; wait", dir);
    ck_assert_int_eq(run_script(text, SEC / 2, &go_on, said, NULL), 0);
    ck_assert_ptr_nonnull(strstr(said, "did not end within"));
    snprintf(text, sizeof(text), "%s/pid", dir);
    file = fopen(text, "r");
    if (file) { /* on a busy machine it may not have got that far */
        ck_assert_int_eq(fscanf(file, "%ld", &pid), 1);
        fclose(file);
        for (int i = 0; i < 1000 && !kill((pid_t)pid, 0); i++)
            usleep(10000); /* until init has reaped it */
        ck_assert_int_eq(kill((pid_t)pid, 0), -1);
    }
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no zombie of ours */
    ck_assert_int_eq(errno, ECHILD);
    fs_test_rmdir(dir);
}
END_TEST

START_TEST(test_script_leaves_nobody_behind)
{
    char said[FS_MONITOR_SAID_SIZE];

    /* A child that keeps the output open doesn't delay the verdict. */
    ck_assert_int_eq(run_script("sleep 1000 & exit 0", 20 * SEC, &go_on, said, NULL), 1);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}
END_TEST

START_TEST(test_script_that_prints_much_is_read)
{
    char said[FS_MONITOR_SAID_SIZE];

    ck_assert_int_eq(run_script("yes | head -c 300000; exit 1", 20 * SEC, &go_on, said, NULL), 0);
    ck_assert_ptr_nonnull(strstr(said, "status 1: y"));
}
END_TEST

START_TEST(test_end_of_the_agent_ends_the_check)
{
    char said[FS_MONITOR_SAID_SIZE];
    volatile int stop = 1;

    ck_assert_int_eq(run_script("sleep 1000", 1000 * SEC, &stop, said, NULL), 0);
}
END_TEST

START_TEST(test_missing_script_is_named)
{
    char said[FS_MONITOR_SAID_SIZE];
    fs_monitor_config_t config = usual();

    config.kind = FS_MONITOR_SCRIPT;
    config.target = config.arguments[0] = (char *)"/nonexistent/check";
    ck_assert_int_eq(fs_monitor_probe(&config, "x", &go_on, said), 0);
    ck_assert_ptr_nonnull(strstr(said, "/nonexistent/check"));
}
END_TEST

static Suite *monitor_suite(void)
{
    Suite *suite = suite_create("monitor");
    TCase *verdict = tcase_create("verdicts");
    TCase *config = tcase_create("configuration");
    TCase *check = tcase_create("checks");

    tcase_add_test(verdict, test_falls_after_fall_failures_in_a_row);
    tcase_add_test(verdict, test_rises_after_rise_successes_in_a_row);
    tcase_add_test(verdict, test_flapping_says_nothing);
    tcase_add_test(verdict, test_one_check_decides_where_counts_are_one);
    tcase_add_test(verdict, test_a_start_takes_nobody_down);
    tcase_add_test(verdict, test_a_monitor_that_starts_again_keeps_to_what_it_told);
    tcase_add_test(verdict, test_renewed_before_the_lease_ends);
    tcase_add_test(verdict, test_lease_outlasts_slow_checks);
    tcase_add_test(verdict, test_not_told_is_told_with_the_next_check);
    tcase_add_test(verdict, test_a_clock_that_jumps_ahead_brings_no_burst);
    tcase_add_test(config, test_configuration_is_read);
    tcase_add_loop_test(config, test_bad_configuration_is_refused, 0,
                        sizeof(bad_configs) / sizeof(bad_configs[0]));
    tcase_set_timeout(check, 120);
    tcase_add_test(check, test_tcp_connects_or_says_why_not);
    tcase_add_test(check, test_script_passes_and_fails);
    tcase_add_test(check, test_script_that_hangs_is_ended_with_its_children);
    tcase_add_test(check, test_script_leaves_nobody_behind);
    tcase_add_test(check, test_script_that_prints_much_is_read);
    tcase_add_test(check, test_end_of_the_agent_ends_the_check);
    tcase_add_test(check, test_missing_script_is_named);
    suite_add_tcase(suite, verdict);
    suite_add_tcase(suite, config);
    suite_add_tcase(suite, check);
    return suite;
}

FS_TEST_MAIN(monitor_suite)
