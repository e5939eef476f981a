/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the agent in tests of availability: publishes notices, checks conditions, with
 * lines on its standard input. Each is answered with one line, "ok ..." or "error NUMBER: ...".
 *
 *   fs_notice STATEDIR SERVER [OFFSET_S]
 *
 *   put JSON           a notice; replaces the one with its key       not published yet
 *   remove KEY | clear                                               not published yet
 *   publish            all of them                                   ok GENERATION
 *   check MS CONDITION has httpd compile a condition
 *   problems           what httpd here can't use, as one line
 *   probe TOKEN        from the next publication on
 *   now                farm time in microseconds
 *   peers STATE [NAME STATE yes|no|unknown]...
 *   many N APPLICATION publishes that many notices one after the other, each another message
 *
 * Farm time is the monotonic clock and OFFSET_S (or that the wall clock is ahead of it), published
 * in the control page.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avail/fs_avail_page.h"
#include "avail/fs_avail_peers.h"

#define LINE_SIZE (1 << 20)
#define NOTICES   20000

static fs_notice_t *notices[NOTICES];
static unsigned count;
static fs_avail_writer_t *writer;
static fs_control_t *control;
static fs_control_clock_t farm_clock = {.state = FS_CLOCK_MEASURED, .bound = 100};
static fs_result_t result;
static const char *state_dir;

static fs_usec_t farm_now(void)
{
    return fs_time_mono() + farm_clock.offset;
}

static void answer(apr_status_t status)
{
    if (status)
        printf("error %s: %s\n", result.problem, result.detail);
    else
        printf("ok %" PRIu64 "\n", fs_avail_published(writer));
}

static void forget(const char *key)
{
    char other[FS_NOTICE_KEY_SIZE];

    for (unsigned i = 0; i < count; i++) {
        fs_notice_key(notices[i], other);
        if (key && strcmp(key, other) != 0)
            continue;
        free(notices[i]);
        notices[i--] = notices[--count];
    }
}

static void put(const char *json)
{
    char key[FS_NOTICE_KEY_SIZE];
    fs_notice_t *notice;
    apr_status_t status = fs_notice_parse(&notice, json, strlen(json), 1, &result);

    if (!status) {
        fs_notice_key(notice, key);
        forget(key);
        if (!notice->time)
            notice->time = farm_now();
        notices[count++ % NOTICES] = notice;
    }
    answer(status);
}

static apr_status_t publish(void)
{
    fs_avail_begin(writer, farm_now());
    for (unsigned i = 0; i < count; i++) {
        if (fs_avail_add(writer, notices[i], &result))
            return result.status;
    }
    return fs_avail_commit(writer, &result);
}

static void many(char *arguments)
{
    fs_notice_t notice = {.role = FS_NOTICE_OPERATOR, .message_count = 1};
    char message[64], *application = arguments;
    long rounds = strtol(arguments, &application, 10);
    apr_status_t status = APR_SUCCESS;

    notice.application = application + 1;
    notice.condition = "%{REQUEST_URI} =~ m#^/(a+)[0-9]{1,5}b?$# && req('X') == 'y'";
    for (long i = 0; i < rounds && !status; i++) {
        snprintf(message, sizeof(message), "change %ld", i);
        notice.messages[0] = (fs_notice_message_t){"en", message};
        fs_avail_begin(writer, farm_now());
        status = fs_avail_add(writer, &notice, &result);
        if (!status)
            status = fs_avail_commit(writer, &result);
    }
    answer(status);
}

static void check(char *arguments)
{
    char *condition;
    long timeout = strtol(arguments, &condition, 10);

    answer(fs_avail_check(writer, condition + 1, timeout * FS_USEC_PER_MSEC, &result));
}

static void problems(void)
{
    char *text = fs_avail_problems(writer);

    for (char *at = text; (at = strchr(at, '\n'));)
        *at = ';';
    printf("ok %s\n", text);
    free(text);
}

static void write_peers(char *rest)
{
    static fs_avail_peers_t peers;
    char *word;

    memset(&peers, 0, sizeof(peers));
    snprintf(peers.state, sizeof(peers.state), "%s", strsep(&rest, " "));
    peers.written = fs_time_mono();
    peers.records = count;
    while ((word = strsep(&rest, " "))) {
        fs_avail_peer_t *peer = &peers.peers[peers.count++];

        snprintf(peer->name, sizeof(peer->name), "%s", word);
        snprintf(peer->state, sizeof(peer->state), "%s", strsep(&rest, " "));
        word = strsep(&rest, " ");
        peer->same = !strcmp(word, "yes") ? 1 : !strcmp(word, "no") ? 0 : -1;
        peer->heard = fs_time_mono();
    }
    answer(fs_avail_write_peers(state_dir, &peers, &result));
}

static void obey(char *line)
{
    char *rest = strchr(line, ' ');

    if (rest)
        *rest++ = '\0';
    if (!strcmp(line, "put") && rest)
        put(rest);
    else if (!strcmp(line, "remove") && rest)
        forget(rest), answer(APR_SUCCESS);
    else if (!strcmp(line, "clear"))
        forget(NULL), answer(APR_SUCCESS);
    else if (!strcmp(line, "publish"))
        answer(publish());
    else if (!strcmp(line, "check") && rest)
        check(rest);
    else if (!strcmp(line, "problems"))
        problems();
    else if (!strcmp(line, "now"))
        printf("ok %" PRId64 "\n", farm_now());
    else if (!strcmp(line, "probe"))
        fs_avail_set_probe(writer, rest ? rest : ""), answer(APR_SUCCESS);
    else if (!strcmp(line, "peers") && rest)
        write_peers(rest);
    else if (!strcmp(line, "many") && rest)
        many(rest);
    else
        puts("error: no such command");
}

int main(int argc, char **argv)
{
    static char line[LINE_SIZE];

    if (argc < 3) {
        fprintf(stderr, "usage: fs_notice STATEDIR SERVER [OFFSET_S]\n");
        return EXIT_FAILURE;
    }
    state_dir = argv[1];
    farm_clock.offset =
        argc > 3 ? strtoll(argv[3], NULL, 10) * FS_USEC_PER_SEC : fs_time_wall() - fs_time_mono();
    if (fs_control_open_writer(&control, state_dir, &result) ||
        fs_avail_open_writer(&writer, state_dir, argv[2], control, &result)) {
        fprintf(stderr, "%s: %s\n", result.problem, result.detail);
        return EXIT_FAILURE;
    }
    fs_control_set_clock(control, &farm_clock);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
        fflush(stdout);
    }
    forget(NULL);
    fs_avail_close_writer(writer);
    fs_control_close(control);
    return EXIT_SUCCESS;
}
