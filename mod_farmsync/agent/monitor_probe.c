/* SPDX-License-Identifier: Apache-2.0 */
/* One look at an application: HTTP, TCP, or a script. Waits for a network: in a thread of its own.
 */
#include "monitor.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_MS    20            /* how soon an end of the agent is noticed */
#define BODY_LIMIT (256u * 1024) /* of an answer that is looked through for a text */
#define FIRST_FD   3

static int failed(char said[FS_MONITOR_SAID_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int failed(char said[FS_MONITOR_SAID_SIZE], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(said, FS_MONITOR_SAID_SIZE, format, args);
    va_end(args);
    for (char *c = said; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
    return 0;
}

static long ms_left(fs_usec_t until)
{
    fs_usec_t left = until - fs_time_mono();

    return left > 0 ? (long)((left + 999) / 1000) : 0;
}

/* --- HTTP ------------------------------------------------------------------------------------- */

typedef struct answer_t {
    char *body;
    size_t length;
    const volatile int *stop;
} answer_t;

static size_t keep_body(char *data, size_t size, size_t count, void *baton)
{
    answer_t *answer = baton;
    size_t take = size * count;

    /* What comes beyond the limit isn't looked through, but the answer is one. */
    if (take > BODY_LIMIT - answer->length)
        take = BODY_LIMIT - answer->length;
    memcpy(answer->body + answer->length, data, take);
    answer->length += take;
    return size * count;
}

static int look_whether_to_stop(void *baton, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const answer_t *answer = baton;

    return *answer->stop != 0;
}

static void set_up(CURL *curl, const fs_monitor_config_t *config, answer_t *answer,
                   struct curl_slist *headers, char *error)
{
    curl_easy_setopt(curl, CURLOPT_URL, config->target);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L); /* new visitors need a new connection, too */
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(config->timeout / FS_USEC_PER_MSEC));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_whether_to_stop);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, answer);
}

static int judge_answer(const fs_monitor_config_t *config, const answer_t *answer, long status,
                        char said[FS_MONITOR_SAID_SIZE])
{
    if (status < (long)config->status_least || status > (long)config->status_most)
        return failed(said, "%s answers %ld, %u to %u is wanted", config->target, status,
                      config->status_least, config->status_most);
    if (config->text && !memmem(answer->body, answer->length, config->text, strlen(config->text)))
        return failed(said, "the answer of %s doesn't have the text that is wanted",
                      config->target);
    return 1;
}

static int probe_http(const fs_monitor_config_t *config, const char *header_value,
                      const volatile int *stop, char said[FS_MONITOR_SAID_SIZE])
{
    answer_t answer = {.body = malloc(BODY_LIMIT), .stop = stop};
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "", header[128];
    long status = 0;
    CURLcode code;
    int passed;

    snprintf(header, sizeof(header), "FarmSync-Probe: %s", header_value);
    headers = curl_slist_append(NULL, header);
    if (!answer.body || !curl || !headers) {
        passed = failed(said, "out of memory");
    } else {
        set_up(curl, config, &answer, headers, error);
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        passed = code == CURLE_OK ? judge_answer(config, &answer, status, said)
                                  : failed(said, "%s: %s", config->target,
                                           *error ? error : curl_easy_strerror(code));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    free(answer.body);
    return passed;
}

/* --- TCP -------------------------------------------------------------------------------------- */

/* 1 if it connects before `until`; else errno says why not. */
static int try_address(const struct addrinfo *address, fs_usec_t until, const volatile int *stop)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd waits = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(int);
    int error = 0, ready = 0;

    if (fd < 0)
        return 0;
    if (connect(fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS)
        error = errno;
    while (!error && !ready && !*stop && ms_left(until)) {
        long left = ms_left(until);

        ready = poll(&waits, 1, (int)(left < STEP_MS ? left : STEP_MS)) > 0;
    }
    if (!error && ready)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    errno = error ? error : ETIMEDOUT;
    return !error && ready;
}

static int probe_tcp(const fs_monitor_config_t *config, const volatile int *stop,
                     char said[FS_MONITOR_SAID_SIZE])
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    fs_usec_t until = fs_time_mono() + config->timeout;
    const char *colon = strrchr(config->target, ':');
    struct addrinfo *addresses = NULL;
    char host[256];
    int bracket = config->target[0] == '[' && colon[-1] == ']';
    int error, connected = 0;

    snprintf(host, sizeof(host), "%.*s", (int)(colon - config->target) - 2 * bracket,
             config->target + bracket);
    error = getaddrinfo(host, colon + 1, &hints, &addresses);
    if (error)
        return failed(said, "%s: %s", config->target, gai_strerror(error));
    for (const struct addrinfo *one = addresses; one && !connected; one = one->ai_next)
        connected = try_address(one, until, stop);
    if (!connected)
        failed(said, "%s: %s", config->target, strerror(errno));
    freeaddrinfo(addresses);
    return connected;
}

/* --- scripts ---------------------------------------------------------------------------------- */

/* Starts the script as leader of a process group of its own, with default signals and no files of
 * ours but the pipe. Returns 0, or why it could not. */
static int start_script(const fs_monitor_config_t *config, int out, pid_t *pid)
{
    static char *const environment[] = {
        (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)"LANG=C.UTF-8", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t all, none;
    int error;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                       POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, FIRST_FD);
    error = posix_spawn(pid, config->target, &files, &how, config->arguments, environment);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return error;
}

/* Reads what is there now behind `line`; what comes after a first line, or its room, is dropped. */
static void read_line(int in, char *line, size_t size)
{
    char buffer[512];
    ssize_t count;

    while ((count = read(in, buffer, sizeof(buffer))) > 0) {
        size_t length = strlen(line);

        if (length < size - 1 && !memchr(line, '\n', length))
            snprintf(line + length, size - length, "%.*s", (int)count, buffer);
    }
}

/* Whether the process has ended. It isn't reaped: until then its group's number is its own. */
static int has_ended(pid_t pid)
{
    siginfo_t info = {0};

    return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

/* Waits until the script has ended, but not longer than it may. Returns 1 if it has. */
static int wait_script(pid_t pid, int in, fs_usec_t until, const volatile int *stop, char *line,
                       size_t size)
{
    struct pollfd waits = {.fd = in, .events = POLLIN};

    while (!*stop && ms_left(until)) {
        if (has_ended(pid)) {
            read_line(in, line, size);
            return 1;
        }
        if (poll(&waits, 1, STEP_MS) > 0) {
            read_line(in, line, size);
            if (waits.revents & POLLHUP)
                waits.fd = -1; /* it closed its output and goes on */
        }
    }
    return 0;
}

static int judge_exit(const fs_monitor_config_t *config, int status, const char *line,
                      char said[FS_MONITOR_SAID_SIZE])
{
    if (WIFEXITED(status) && !WEXITSTATUS(status))
        return 1;
    if (WIFEXITED(status))
        return failed(said, "%s ended with status %d%s%.150s", config->target, WEXITSTATUS(status),
                      *line ? ": " : "", line);
    return failed(said, "%s was ended by signal %d", config->target, WTERMSIG(status));
}

static int probe_script(const fs_monitor_config_t *config, const volatile int *stop,
                        char said[FS_MONITOR_SAID_SIZE])
{
    fs_usec_t until = fs_time_mono() + config->timeout;
    char line[FS_MONITOR_SAID_SIZE] = "";
    int pipes[2], status = 0, ended, error;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK))
        return failed(said, "cannot run %s: %s", config->target, strerror(errno));
    error = start_script(config, pipes[1], &pid);
    close(pipes[1]);
    if (error) {
        close(pipes[0]);
        return failed(said, "cannot run %s: %s", config->target, strerror(error));
    }
    ended = wait_script(pid, pipes[0], until, stop, line, sizeof(line));
    kill(-pid, SIGKILL); /* and what it has left behind */
    waitpid(pid, &status, 0);
    close(pipes[0]);
    line[strcspn(line, "\n")] = '\0';
    if (!ended)
        return failed(said, "%s did not end within %lld ms", config->target,
                      (long long)(config->timeout / FS_USEC_PER_MSEC));
    return judge_exit(config, status, line, said);
}

int fs_monitor_probe(const fs_monitor_config_t *config, const char *header_value,
                     const volatile int *stop, char said[FS_MONITOR_SAID_SIZE])
{
    said[0] = '\0';
    switch (config->kind) {
    case FS_MONITOR_HTTP:
        return probe_http(config, header_value, stop, said);
    case FS_MONITOR_TCP:
        return probe_tcp(config, stop, said);
    default:
        return probe_script(config, stop, said);
    }
}
