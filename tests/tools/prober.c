/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prober: asks several servers for one path, all the time and all on one clock, and tells when each
 * of them changed its version. With it a checker can prove promise 2 of the design: no old answer
 * to a request sent after activation + bound, no new answer received before activation - bound.
 *
 * One thread a server, one keep-alive connection each, `rate` requests a second each. The version
 * is a whole number taken from a header (FarmSync-Version: default=42) or from the body behind a
 * prefix.
 *
 * Writes one JSON object a line to standard output, as it happens:
 *   {"event":"start","now":NS}
 *   {"event":"switch","server":0,"from":41,"to":42,"last_old_sent":NS,"last_old_received":NS,
 *    "first_new_sent":NS,"first_new_received":NS}
 *   {"event":"error","server":0,"at":NS,"text":"..."}       at most 20 a server
 *   {"event":"end","server":0,"url":"...","answers":N,"errors":N,"not_200":N,"no_version":N,
 *    "mixed":N,"reconnects":N,"late":N,"version":42,"worst_ns":NS}    one a server, last
 * Times are nanoseconds of CLOCK_MONOTONIC, the clock of Python's time.monotonic_ns().
 * A server may close a connection at any time, and a request that it hadn't begun to answer may
 * then be sent again on a new one (RFC 9110 9.2.2, RFC 9112 9.3.1): this is done once, and counted
 * as a reconnect, not as an error.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "prober_http.h"

#define MAX_SERVERS    64
#define MAX_ERRORS     20
#define NS_PER_SECOND  INT64_C(1000000000)
#define ANSWER_TIMEOUT 10000 /* ms */

typedef struct options_t {
    const char *path;
    const char *header; /* the version's header, unless prefix is given */
    const char *group;
    const char *prefix; /* in the body */
    const char *agree;  /* all numbers in the body behind this text must be the same */
    const char *host;
    double rate;
    double duration;
} options_t;

typedef struct server_t {
    unsigned index;
    const char *url;
    const options_t *options;
    prober_link_t link;
    pthread_t thread;
    uint64_t answers, errors, not_200, no_version, mixed, reconnects, late;
    int64_t version; /* -1: none seen yet */
    int64_t worst;   /* longest answer */
    prober_answer_t last;
} server_t;

static atomic_int stopping;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static void stop(int number)
{
    (void)number;
    atomic_store(&stopping, 1);
}

static void emit(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void emit(const char *format, ...)
{
    va_list arguments;

    pthread_mutex_lock(&output);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
    pthread_mutex_unlock(&output);
}

static void record_error(server_t *server, int64_t at, const char *text)
{
    char clean[160];
    size_t i;

    if (server->errors++ >= MAX_ERRORS)
        return;
    for (i = 0; i < sizeof(clean) - 1 && text[i]; i++)
        clean[i] = text[i] == '"' || text[i] == '\\' || text[i] < ' ' ? '\'' : text[i];
    clean[i] = '\0';
    emit("{\"event\":\"error\",\"server\":%u,\"at\":%" PRId64 ",\"text\":\"%s\"}\n", server->index,
         at, clean);
}

/* Reads a whole number that stands behind `before` in `text`; -1 if there is none. */
static int64_t number_behind(const char *text, const char *before)
{
    const char *found = strstr(text, before);
    char *end;
    long long value;

    if (!found)
        return -1;
    found += strlen(before);
    errno = 0;
    value = strtoll(found, &end, 10);
    return end == found || errno || value < 0 ? -1 : value;
}

static int64_t version_of(const options_t *options, const prober_answer_t *answer)
{
    char value[256], before[80];

    if (options->prefix)
        return number_behind(answer->body, options->prefix);
    if (prober_header(answer, options->header, value, sizeof(value)) != 0)
        return -1;
    snprintf(before, sizeof(before), "%s=", options->group);
    return number_behind(value, before);
}

/* Whether the numbers behind `text` in a body are all the same, and there is more than one. */
static int agrees(const char *body, const char *text)
{
    int64_t first = number_behind(body, text);
    unsigned count = 0;

    for (const char *at = strstr(body, text); at; at = strstr(at + 1, text), count++)
        if (number_behind(at, text) != first)
            return 0;
    return count > 1 && first >= 0;
}

static void check_agreement(server_t *server, const prober_answer_t *answer)
{
    char text[150];

    if (!server->options->agree || answer->status != 200 ||
        agrees(answer->body, server->options->agree))
        return;
    server->mixed++;
    snprintf(text, sizeof(text), "mixed: %.140s", answer->body);
    record_error(server, answer->received_ns, text);
}

static void take_answer(server_t *server, const prober_answer_t *answer)
{
    int64_t version = version_of(server->options, answer);

    server->answers++;
    if (answer->received_ns - answer->sent_ns > server->worst)
        server->worst = answer->received_ns - answer->sent_ns;
    if (answer->status != 200) {
        char text[48];

        server->not_200++;
        snprintf(text, sizeof(text), "status %d", answer->status);
        record_error(server, answer->received_ns, text);
    }
    check_agreement(server, answer);
    if (version < 0) {
        server->no_version++;
        return;
    }
    if (version != server->version && server->version >= 0)
        emit("{\"event\":\"switch\",\"server\":%u,\"from\":%" PRId64 ",\"to\":%" PRId64
             ",\"last_old_sent\":%" PRId64 ",\"last_old_received\":%" PRId64
             ",\"first_new_sent\":%" PRId64 ",\"first_new_received\":%" PRId64 "}\n",
             server->index, server->version, version, server->last.sent_ns,
             server->last.received_ns, answer->sent_ns, answer->received_ns);
    server->version = version;
    server->last = *answer;
}

static void ask_once(server_t *server, const char *request, size_t length)
{
    prober_answer_t answer;
    int rc = prober_ask(&server->link, request, length, &answer);

    if (rc < 0 && answer.closed) {
        server->reconnects++;
        rc = prober_ask(&server->link, request, length, &answer);
    }
    if (rc < 0)
        record_error(server, prober_now(), answer.error);
    else
        take_answer(server, &answer);
}

static void sleep_until(int64_t when)
{
    struct timespec until = {when / NS_PER_SECOND, when % NS_PER_SECOND};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        if (atomic_load(&stopping))
            return;
}

static void *probe(void *baton)
{
    server_t *server = baton;
    const options_t *options = server->options;
    int64_t period = (int64_t)(NS_PER_SECOND / options->rate);
    int64_t next = prober_now() + period * server->index / MAX_SERVERS;
    int64_t end = next + (int64_t)(options->duration * NS_PER_SECOND);
    char request[2048];
    int length = snprintf(request, sizeof(request),
                          "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: farmsync-prober\r\n\r\n",
                          options->path, options->host ? options->host : server->link.host);

    while (!atomic_load(&stopping) && next < end && length < (int)sizeof(request)) {
        int64_t now;

        sleep_until(next);
        ask_once(server, request, (size_t)length);
        now = prober_now();
        next += period;
        if (next < now) { /* behind: the missed ones are counted, not sent in a burst */
            server->late += (uint64_t)((now - next) / period);
            next = now;
        }
    }
    return NULL;
}

static void print_end(const server_t *server)
{
    emit("{\"event\":\"end\",\"server\":%u,\"url\":\"%s\",\"answers\":%" PRIu64
         ",\"errors\":%" PRIu64 ",\"not_200\":%" PRIu64 ",\"no_version\":%" PRIu64
         ",\"mixed\":%" PRIu64 ",\"reconnects\":%" PRIu64 ",\"late\":%" PRIu64
         ",\"version\":%" PRId64 ",\"worst_ns\":%" PRId64 "}\n",
         server->index, server->url, server->answers, server->errors, server->not_200,
         server->no_version, server->mixed, server->reconnects, server->late, server->version,
         server->worst);
}

static const char usage[] =
    "usage: prober [options] http://HOST:PORT ...\n"
    "  --path PATH        what to ask for (default /)\n"
    "  --header NAME      the header that tells the version (default FarmSync-Version)\n"
    "  --group NAME       its group (default default)\n"
    "  --body-prefix TEXT take the version from the body, behind this text\n"
    "  --agree TEXT       the numbers behind this text in the body must all be the same\n"
    "  --host NAME        Host header\n"
    "  --rate N           requests a second to each server (default 1000)\n"
    "  --duration S       seconds (default 10); SIGINT or SIGTERM end it earlier\n";

static double positive(const char *text, const char *what)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value > 0 && value <= 1e6)) {
        fprintf(stderr, "prober: %s must be a number above 0 and at most 1000000, not \"%s\"\n",
                what, text);
        exit(2);
    }
    return value;
}

static void read_options(options_t *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"path", 1, NULL, 'p'},        {"header", 1, NULL, 'H'},   {"group", 1, NULL, 'g'},
        {"body-prefix", 1, NULL, 'b'}, {"agree", 1, NULL, 'a'},    {"host", 1, NULL, 'o'},
        {"rate", 1, NULL, 'r'},        {"duration", 1, NULL, 'd'}, {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p':
            options->path = optarg;
            break;
        case 'H':
            options->header = optarg;
            break;
        case 'g':
            options->group = optarg;
            break;
        case 'b':
            options->prefix = optarg;
            break;
        case 'a':
            options->agree = optarg;
            break;
        case 'o':
            options->host = optarg;
            break;
        case 'r':
            options->rate = positive(optarg, "--rate");
            break;
        case 'd':
            options->duration = positive(optarg, "--duration");
            break;
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    options_t options = {.path = "/",
                         .header = "FarmSync-Version",
                         .group = "default",
                         .rate = 1000,
                         .duration = 10};
    static server_t servers[MAX_SERVERS];
    unsigned count = 0;

    read_options(&options, argc, argv);
    for (int i = optind; i < argc && count < MAX_SERVERS; i++, count++) {
        server_t *server = &servers[count];

        *server = (server_t){.index = count, .url = argv[i], .options = &options, .version = -1};
        if (prober_link_init(&server->link, argv[i], ANSWER_TIMEOUT) < 0) {
            fprintf(stderr, "prober: \"%s\" is not http://HOST:PORT\n", argv[i]);
            return 2;
        }
    }
    if (count == 0 || optind + (int)count < argc) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    emit("{\"event\":\"start\",\"now\":%" PRId64 "}\n", prober_now());
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&servers[i].thread, NULL, probe, &servers[i]) != 0)
            abort();
    for (unsigned i = 0; i < count; i++)
        pthread_join(servers[i].thread, NULL);
    for (unsigned i = 0; i < count; i++) {
        print_end(&servers[i]);
        prober_link_free(&servers[i].link);
    }
    return 0;
}
