/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thousand agents in one process: what one datasrv bears.
 *
 * Each simulated agent does what farmsync-agent does towards a data server: it follows the manifest
 * by long poll, waits its part of the herd's spread, takes what is new (asking for a delta from
 * what it holds), comes back when told to, measures farm time and reports itself each second. It
 * joins as one that holds the version that is staged now. Each has a source address of its own, and
 * so its own connections. What comes is not kept, but all must receive the same bytes.
 *
 * Prints a line a cycle and a JSON summary: how many had the staged version before its activation,
 * how long after the announcement (p50, p99, max), what was left until the activation, bytes a
 * cycle.
 */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <jansson.h>
#include <xxhash.h>

#include "base/fs_log.h"
#include "base/fs_time.h"
#include "mod_farmsync/agent/plan.h"
#include "net/fs_key.h"
#include "sync/fs_cycle.h"
#include "sync/fs_manifest.h"
#include "sync/fs_source.h"

#define WAIT_MS          20000
#define TIMEOUT_MS       60000L
#define REPORT_EVERY     (1 * FS_USEC_PER_SEC)
#define RETRY_AFTER      (200 * FS_USEC_PER_MSEC)
#define LOOK_MS          5 /* for what is due by the clock */
#define EVENTS           256
#define MAX_CYCLES       1000
#define MAX_NEW_DATASETS 32
#define USAGE                                                                                      \
    "usage: --datasrv URL [--group G] [--agents N] [--cycles C] [--seconds S] [--key FILE] "       \
    "[--out FILE]"

typedef enum step_t { STEP_MANIFEST, STEP_SPREAD, STEP_IMAGE } step_t;

typedef struct body_t {
    char *data;
    size_t length, room;
    int keep; /* 0: only the length and the checksum count */
    XXH3_state_t *sum;
} body_t;

typedef struct agent_t agent_t;

/* One connection: the follower, the reporter or the clock of an agent. */
typedef struct line_t {
    agent_t *agent;
    CURL *easy;
    struct curl_slist *headers;
    body_t body;
    int busy;
    fs_usec_t start_at; /* mono; when the next request is due */
} line_t;

struct agent_t {
    char name[32];
    unsigned seed;
    step_t step;
    fs_manifest_t *held; /* what it has staged */
    fs_manifest_t *next; /* what it was told of, while it retrieves */
    fs_usec_t told;      /* mono */
    unsigned wanted[MAX_NEW_DATASETS], wanted_count, wanted_done;
    line_t follow, report, clock;
};

typedef struct cycle_t {
    int64_t version;
    fs_usec_t activation;
    fs_usec_t *took;   /* per agent, from being told to staged */
    fs_usec_t *margin; /* per agent, left until the activation */
    unsigned staged, late;
    uint64_t bytes, requests, deltas, told_to_wait;
    XXH64_hash_t body; /* of the first answer */
    int body_known;
} cycle_t;

static struct {
    const char *base, *group, *out;
    unsigned agents, cycles, seconds;
    fs_keyring_t ring;
    CURLM *multi;
    int epoll;
    fs_usec_t curl_due; /* mono, when libcurl wants to be called */
    agent_t *all;
    cycle_t done[MAX_CYCLES];
    unsigned cycle_count;
    fs_usec_t farm_offset;
    uint64_t errors, reports, times, different;
} bench;

static void die(const char *text)
{
    fprintf(stderr, "bench_agents: %s\n", text);
    exit(2);
}

static size_t take_body(char *data, size_t size, size_t count, void *baton)
{
    body_t *body = baton;
    size_t length = size * count;

    XXH3_64bits_update(body->sum, data, length);
    if (body->keep && body->length + length + 1 > body->room) {
        body->room = (body->length + length + 1) * 2;
        body->data = realloc(body->data, body->room);
        if (!body->data)
            die("out of memory");
    }
    if (body->keep)
        memcpy(body->data + body->length, data, length);
    body->length += length;
    if (body->keep)
        body->data[body->length] = '\0';
    return length;
}

/* --- requests --------------------------------------------------------------------------------- */

static void start(line_t *line, const char *method, const char *path, const char *body, int keep)
{
    char url[1024], header[FS_AUTH_SIZE + 32], auth[FS_AUTH_SIZE], nonce[FS_NONCE_SIZE];
    size_t length = body ? strlen(body) : 0;

    snprintf(url, sizeof(url), "%s%s", bench.base, path);
    curl_slist_free_all(line->headers);
    line->headers = curl_slist_append(NULL, "Expect:");
    if (bench.ring.count) {
        fs_auth_sign_request(&bench.ring, line->agent->name, method, path, body, length, nonce,
                             auth);
        snprintf(header, sizeof(header), "FarmSync-Auth: %s", auth);
        line->headers = curl_slist_append(line->headers, header);
    }
    line->body.length = 0;
    line->body.keep = keep;
    XXH3_64bits_reset(line->body.sum);
    curl_easy_setopt(line->easy, CURLOPT_URL, url);
    curl_easy_setopt(line->easy, CURLOPT_HTTPHEADER, line->headers);
    if (body) {
        curl_easy_setopt(line->easy, CURLOPT_POSTFIELDSIZE, (long)length);
        curl_easy_setopt(line->easy, CURLOPT_COPYPOSTFIELDS, body);
        curl_easy_setopt(line->easy, CURLOPT_CUSTOMREQUEST, method);
    } else {
        curl_easy_setopt(line->easy, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(line->easy, CURLOPT_CUSTOMREQUEST, NULL);
    }
    line->busy = 1;
    curl_multi_add_handle(bench.multi, line->easy);
}

static void ask_manifest(agent_t *agent)
{
    char path[256];

    agent->step = STEP_MANIFEST;
    snprintf(path, sizeof(path), "/v1/groups/%s/manifest?epoch=%" PRId64 "&wait=%d", bench.group,
             agent->held ? agent->held->epoch : 0, agent->held ? WAIT_MS : 0);
    start(&agent->follow, "GET", path, NULL, 1);
}

static void ask_image(agent_t *agent)
{
    const fs_manifest_dataset_t *want =
        &agent->next->staged.datasets[agent->wanted[agent->wanted_done]];
    char path[256], hex[FS_DIGEST_HEX_SIZE], from[FS_DIGEST_HEX_SIZE] = "";

    agent->step = STEP_IMAGE;
    for (unsigned i = 0; i < agent->held->staged.dataset_count; i++) {
        if (!strcmp(agent->held->staged.datasets[i].name, want->name))
            fs_digest_hex(&agent->held->staged.datasets[i].digest, from);
    }
    snprintf(path, sizeof(path), "/v1/images/%s%s%s", fs_digest_hex(&want->digest, hex),
             *from ? "?from=" : "", from);
    start(&agent->follow, "GET", path, NULL, 0);
}

static void ask_report(agent_t *agent)
{
    fs_member_t member = {.kind = "agent", .clock_bound = 500};
    char path[128], *json;
    size_t length;

    snprintf(member.name, sizeof(member.name), "%s", agent->name);
    snprintf(member.group, sizeof(member.group), "%s", bench.group);
    snprintf(member.address, sizeof(member.address), "127.0.0.1:1");
    member.version_staged = agent->held ? agent->held->staged.version : 0;
    member.version_active = agent->held ? agent->held->active.version : 0;
    json = fs_member_print(&member, &length);
    snprintf(path, sizeof(path), "/v1/members/%s", agent->name);
    start(&agent->report, "PUT", path, json, 0);
    free(json);
}

/* --- what an answer means --------------------------------------------------------------------- */

static cycle_t *cycle_of(const fs_manifest_t *manifest)
{
    cycle_t *cycle;

    for (unsigned i = 0; i < bench.cycle_count; i++) {
        if (bench.done[i].version == manifest->staged.version)
            return &bench.done[i];
    }
    if (bench.cycle_count == MAX_CYCLES)
        die("too many cycles");
    cycle = &bench.done[bench.cycle_count++];
    cycle->version = manifest->staged.version;
    cycle->activation = manifest->activation_time;
    cycle->took = calloc(bench.agents, sizeof(fs_usec_t));
    cycle->margin = calloc(bench.agents, sizeof(fs_usec_t));
    if (!cycle->took || !cycle->margin)
        die("out of memory");
    return cycle;
}

static void staged(agent_t *agent, fs_usec_t now)
{
    if (agent->next->staged.version > agent->held->staged.version) {
        cycle_t *cycle = cycle_of(agent->next);

        cycle->took[cycle->staged] = now - agent->told;
        cycle->margin[cycle->staged] = cycle->activation - (now + bench.farm_offset);
        cycle->late += cycle->margin[cycle->staged] < 0;
        cycle->staged++;
    }
    fs_manifest_free(agent->held);
    agent->held = agent->next;
    agent->next = NULL;
    ask_manifest(agent);
}

static void plan_retrieval(agent_t *agent, fs_usec_t now)
{
    const fs_manifest_version_t *old = &agent->held->staged, *new = &agent->next->staged;
    double chance = (double)rand_r(&agent->seed) / RAND_MAX;

    agent->wanted_count = agent->wanted_done = 0;
    for (unsigned i = 0; i < new->dataset_count; i++) {
        int same = 0;

        for (unsigned k = 0; k < old->dataset_count && !same; k++)
            same = fs_digest_equal(&old->datasets[k].digest, &new->datasets[i].digest);
        if (!same && agent->wanted_count < MAX_NEW_DATASETS)
            agent->wanted[agent->wanted_count++] = i;
    }
    if (!agent->wanted_count) {
        staged(agent, now);
        return;
    }
    agent->step = STEP_SPREAD;
    agent->follow.start_at =
        now + fs_plan_herd_delay(agent->next->activation_time - (now + bench.farm_offset), chance);
}

static void manifest_came(agent_t *agent, long status, fs_usec_t now)
{
    fs_manifest_t *manifest = NULL;
    fs_result_t result;

    if (status == 304) {
        ask_manifest(agent);
        return;
    }
    if (status != 200 || fs_manifest_parse(&manifest, agent->follow.body.data,
                                           agent->follow.body.length, &result) != APR_SUCCESS) {
        bench.errors++;
        agent->follow.start_at = now + RETRY_AFTER;
        return;
    }
    agent->told = now;
    if (!agent->held) {
        agent->held = manifest;
        ask_manifest(agent);
        return;
    }
    agent->next = manifest;
    plan_retrieval(agent, now);
}

static void image_came(agent_t *agent, long status, XXH64_hash_t sum, fs_usec_t now)
{
    cycle_t *cycle = cycle_of(agent->next);
    line_t *line = &agent->follow;
    curl_off_t wait = 0;
    char *type = NULL;

    cycle->requests++;
    cycle->bytes += line->body.length;
    if (status == 503) {
        cycle->told_to_wait++;
        curl_easy_getinfo(line->easy, CURLINFO_RETRY_AFTER, &wait);
        line->start_at =
            now + fs_plan_come_again((unsigned)wait, cycle->activation - (now + bench.farm_offset),
                                     (double)rand_r(&agent->seed) / RAND_MAX);
        return;
    }
    if (status != 200) {
        bench.errors++;
        line->start_at = now + RETRY_AFTER;
        return;
    }
    curl_easy_getinfo(line->easy, CURLINFO_CONTENT_TYPE, &type);
    if (type && strstr(type, "delta"))
        cycle->deltas++;
    if (!cycle->body_known) {
        cycle->body = sum;
        cycle->body_known = 1;
    } else if (agent->wanted_count == 1 && cycle->body != sum) {
        bench.different++;
    }
    if (++agent->wanted_done < agent->wanted_count)
        ask_image(agent);
    else
        staged(agent, now);
}

static void answered(line_t *line, CURLcode code)
{
    agent_t *agent = line->agent;
    fs_usec_t now = fs_time_mono();
    XXH64_hash_t sum = XXH3_64bits_digest(line->body.sum);
    long status = 0;

    line->busy = 0;
    line->start_at = 0;
    curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &status);
    if (line == &agent->clock) {
        bench.times++;
        bench.errors += code != CURLE_OK || status != 200;
        line->start_at = now + REPORT_EVERY;
        return;
    }
    if (line == &agent->report) {
        bench.reports++;
        bench.errors += code != CURLE_OK || status != 204;
        line->start_at = now + REPORT_EVERY;
        return;
    }
    if (code != CURLE_OK) {
        bench.errors++;
        line->start_at = now + RETRY_AFTER;
    } else if (agent->step == STEP_MANIFEST) {
        manifest_came(agent, status, now);
    } else {
        image_came(agent, status, sum, now);
    }
}

/* --- the loop --------------------------------------------------------------------------------- */

static void run_due(fs_usec_t now)
{
    for (unsigned i = 0; i < bench.agents; i++) {
        agent_t *agent = &bench.all[i];

        if (!agent->follow.busy && agent->follow.start_at <= now) {
            if (agent->step == STEP_MANIFEST)
                ask_manifest(agent);
            else
                ask_image(agent);
        }
        if (!agent->report.busy && agent->report.start_at <= now)
            ask_report(agent);
        if (!agent->clock.busy && agent->clock.start_at <= now)
            start(&agent->clock, "GET", "/v1/time", NULL, 0);
    }
}

static void reap(void)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(bench.multi, &left))) {
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;
        line_t *line = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&line);
        curl_multi_remove_handle(bench.multi, easy);
        answered(line, code);
    }
}

/* Only what moves is looked at: most of the connections wait, most of the time. */
static int socket_changed(CURL *easy, curl_socket_t fd, int what, void *baton, void *known)
{
    struct epoll_event event = {.data.fd = fd};

    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE)
        epoll_ctl(bench.epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(bench.epoll, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
        epoll_ctl(bench.epoll, EPOLL_CTL_ADD, fd, &event);
    return 0;
}

static int timer_changed(CURLM *multi, long ms, void *baton)
{
    bench.curl_due = ms < 0 ? INT64_MAX : fs_time_mono() + ms * FS_USEC_PER_MSEC;
    return 0;
}

static void transfer(void)
{
    struct epoll_event events[EVENTS];
    fs_usec_t left = bench.curl_due - fs_time_mono();
    int wait = left <= 0 ? 0 : left < LOOK_MS * FS_USEC_PER_MSEC ? 1 : LOOK_MS;
    int running, count = epoll_wait(bench.epoll, events, EVENTS, wait);

    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].events;
        int mask = (what & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (what & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

        curl_multi_socket_action(bench.multi, events[i].data.fd, mask, &running);
    }
    if (bench.curl_due <= fs_time_mono())
        curl_multi_socket_action(bench.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap();
}

static unsigned cycles_complete(void)
{
    unsigned complete = 0;

    for (unsigned i = 0; i < bench.cycle_count; i++)
        complete += bench.done[i].staged == bench.agents;
    return complete;
}

static void make_line(line_t *line, agent_t *agent, fs_usec_t start_at)
{
    unsigned number = bench.all ? (unsigned)(agent - bench.all) : 0;
    char address[40];

    line->agent = agent;
    line->start_at = start_at;
    line->easy = curl_easy_init();
    line->body.sum = XXH3_createState();
    if (!line->easy || !line->body.sum)
        die("out of memory");
    curl_easy_setopt(line->easy, CURLOPT_PRIVATE, line);
    curl_easy_setopt(line->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(line->easy, CURLOPT_WRITEDATA, &line->body);
    curl_easy_setopt(line->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(line->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(line->easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    if (!bench.all)
        return;
    snprintf(address, sizeof(address), "host!127.1.%u.%u", number / 250, number % 250 + 1);
    curl_easy_setopt(line->easy, CURLOPT_INTERFACE, address);
}

static void make_agents(void)
{
    fs_usec_t now = fs_time_mono();

    bench.all = calloc(bench.agents, sizeof(*bench.all));
    if (!bench.all)
        die("out of memory");
    for (unsigned i = 0; i < bench.agents; i++) {
        agent_t *agent = &bench.all[i];
        fs_usec_t place = REPORT_EVERY * i / bench.agents;

        snprintf(agent->name, sizeof(agent->name), "sim%u", i);
        agent->seed = i + 1;
        make_line(&agent->follow, agent, now + place);
        make_line(&agent->report, agent, now + place);
        make_line(&agent->clock, agent, now + place);
    }
}

/* Farm time, well enough for margins: one exchange on a warm connection. */
static void read_clock(void)
{
    CURL *easy = curl_easy_init();
    line_t line = {.easy = easy};
    agent_t agent = {.name = "sim0"};

    line.agent = &agent;
    make_line(&line, &agent, 0);
    curl_easy_cleanup(easy);
    for (int i = 0; i < 2; i++) {
        fs_usec_t sent, received;
        json_t *json;

        start(&line, "GET", "/v1/time", NULL, 1);
        curl_multi_remove_handle(bench.multi, line.easy);
        sent = fs_time_mono();
        if (curl_easy_perform(line.easy) != CURLE_OK)
            die("datasrv does not answer /v1/time");
        received = fs_time_mono();
        json = json_loadb(line.body.data, line.body.length, 0, NULL);
        if (!json || !json_is_integer(json_object_get(json, "farm_time")))
            die("datasrv does not know farm time yet");
        bench.farm_offset =
            json_integer_value(json_object_get(json, "farm_time")) - (sent + received) / 2;
        json_decref(json);
    }
    curl_easy_cleanup(line.easy);
    XXH3_freeState(line.body.sum);
    curl_slist_free_all(line.headers);
    free(line.body.data);
}

/* --- the report ------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    fs_usec_t left = *(const fs_usec_t *)a, right = *(const fs_usec_t *)b;

    return left < right ? -1 : left > right;
}

static json_t *cycle_json(cycle_t *cycle)
{
    unsigned n = cycle->staged;

    qsort(cycle->took, n, sizeof(fs_usec_t), by_size);
    qsort(cycle->margin, n, sizeof(fs_usec_t), by_size);
    printf("version %" PRId64 ": %u staged, %u late; told to staged p50 %" PRId64
           " ms, p99 %" PRId64 " ms, max %" PRId64 " ms; least left %" PRId64
           " ms; %.2f MB, %" PRIu64 " requests, %" PRIu64 " deltas, %" PRIu64
           " told to come back\n",
           cycle->version, n, cycle->late, cycle->took[n / 2] / 1000,
           cycle->took[n * 99 / 100] / 1000, cycle->took[n - 1] / 1000, cycle->margin[0] / 1000,
           (double)cycle->bytes / 1e6, cycle->requests, cycle->deltas, cycle->told_to_wait);
    return json_pack(
        "{sI si si sI sI sI sI sI sI sI sI}", "version", (json_int_t)cycle->version, "staged",
        (int)n, "late", (int)cycle->late, "p50_us", (json_int_t)cycle->took[n / 2], "p99_us",
        (json_int_t)cycle->took[n * 99 / 100], "max_us", (json_int_t)cycle->took[n - 1],
        "least_left_us", (json_int_t)cycle->margin[0], "bytes", (json_int_t)cycle->bytes,
        "requests", (json_int_t)cycle->requests, "deltas", (json_int_t)cycle->deltas,
        "told_to_come_back", (json_int_t)cycle->told_to_wait);
}

static int report(void)
{
    json_t *root = json_object(), *cycles = json_array();
    unsigned late = 0;

    for (unsigned i = 0; i < bench.cycle_count; i++) {
        if (!bench.done[i].staged)
            continue;
        late += bench.done[i].late;
        json_array_append_new(cycles, cycle_json(&bench.done[i]));
    }
    json_object_set_new(root, "agents", json_integer(bench.agents));
    json_object_set_new(root, "cycles", cycles);
    json_object_set_new(root, "reports", json_integer((json_int_t)bench.reports));
    json_object_set_new(root, "times", json_integer((json_int_t)bench.times));
    json_object_set_new(root, "errors", json_integer((json_int_t)bench.errors));
    json_object_set_new(root, "different_bytes", json_integer((json_int_t)bench.different));
    printf("%u agents, %" PRIu64 " reports, %" PRIu64 " times, %" PRIu64 " errors, %" PRIu64
           " different answers\n",
           bench.agents, bench.reports, bench.times, bench.errors, bench.different);
    if (bench.out && json_dump_file(root, bench.out, JSON_INDENT(2)))
        die("cannot write the summary");
    json_decref(root);
    return late || bench.different || cycles_complete() < bench.cycles ? 1 : 0;
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || *end || value < least || value > most)
        die("a number is missing or out of range; see the usage");
    return (unsigned)value;
}

static void read_arguments(int argc, char **argv)
{
    fs_result_t result;

    bench.group = "default";
    bench.agents = 1000;
    bench.cycles = 10;
    bench.seconds = 900;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--datasrv"))
            bench.base = argv[i + 1];
        else if (!strcmp(argv[i], "--group"))
            bench.group = argv[i + 1];
        else if (!strcmp(argv[i], "--agents"))
            bench.agents = number(argv[i + 1], 1, 10000);
        else if (!strcmp(argv[i], "--cycles"))
            bench.cycles = number(argv[i + 1], 1, MAX_CYCLES - 2);
        else if (!strcmp(argv[i], "--seconds"))
            bench.seconds = number(argv[i + 1], 1, 3600);
        else if (!strcmp(argv[i], "--out"))
            bench.out = argv[i + 1];
        else if (strcmp(argv[i], "--key") ||
                 fs_keyring_read(&bench.ring, argv[i + 1], &result) != APR_SUCCESS)
            die(USAGE);
    }
    if (!bench.base)
        die(USAGE);
}

int main(int argc, char **argv)
{
    struct rlimit files = {16384, 16384};
    fs_usec_t end;

    read_arguments(argc, argv);
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_ALL);
    bench.multi = curl_multi_init();
    bench.epoll = epoll_create1(EPOLL_CLOEXEC);
    bench.curl_due = INT64_MAX;
    if (!bench.multi || bench.epoll < 0)
        die("cannot begin");
    curl_multi_setopt(bench.multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    curl_multi_setopt(bench.multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    curl_multi_setopt(bench.multi, CURLMOPT_MAXCONNECTS, (long)bench.agents * 3 + 8);
    read_clock();
    make_agents();
    end = fs_time_mono() + (fs_usec_t)bench.seconds * FS_USEC_PER_SEC;
    while (cycles_complete() < bench.cycles && fs_time_mono() < end) {
        run_due(fs_time_mono());
        transfer();
    }
    return report();
}
