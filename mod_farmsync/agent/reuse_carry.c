/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries mirrors to the alternates of their clients (fs_reuse_mirrors.h says which, and when), and
 * takes those that come:
 *
 *   POST /v1/reuse/mirrors   from another agent (FarmSyncListen; signed)
 *
 * One thread; at most one batch is on its way to each server, so that one that is slow or away
 * delays nobody else. What didn't arrive is shown again by the file. The thread also looks after
 * the files of reuse that may be replaced while this agent runs.
 */
#include "reuse_carry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane.h"
#include "base/fs_log.h"
#include "listen.h"
#include "net/fs_http_fan.h"
#include "parts.h"
#include "reuse.h"
#include "reuse/fs_reuse_mirrors.h"
#include "route.h"

#define PATH       "/v1/reuse/mirrors"
#define TYPE       "application/octet-stream"
#define PERIOD     (50 * FS_USEC_PER_MSEC)
#define LOOK_AGAIN FS_USEC_PER_SEC        /* at the files */
#define REST       FS_USEC_PER_SEC        /* for a server that didn't answer */
#define LONG_REST  (10 * FS_USEC_PER_SEC) /* for one that has no mirrors, or none yet */
#define TIMEOUT_MS 2000
#define LAST_MS    500 /* for what is carried when this server stops */
#define STEP       64  /* shown by the file at a time */

typedef struct target_t {
    char name[FS_REUSE_SERVER_SIZE];
    int busy;
    fs_usec_t rests; /* mono, until when */
    unsigned count;
    fs_reuse_carry_t carries[FS_REUSE_CARRY_MOST];
} target_t;

struct fs_reuse_carrier_t {
    fs_agent_t *agent;
    char path[1024];
    pthread_mutex_t lock;
    fs_reuse_mirrors_t *mirrors; /* never closed: the other thread may be using it */
    fs_usec_t look_again;        /* at the names */
    fs_http_fan_t *fan;
    pthread_t thread;
    int runs;
    unsigned target_count;
    target_t *targets[FS_PEERS_MAX];
    unsigned arrived; /* batches, in the last run of the fan */
    fs_log_gate_t gate, unusable;
};

/* --- the file -----------------------------------------------------------------------------------
 */

/*
 * What httpd's processes use now; NULL: nothing. They make the file: before the agent is started,
 * with a later configuration, or again when it was removed.
 */
static fs_reuse_mirrors_t *mapped(fs_reuse_carrier_t *carrier)
{
    fs_reuse_mirrors_t *mirrors;
    fs_result_t result;

    pthread_mutex_lock(&carrier->lock);
    if (!carrier->mirrors || !fs_reuse_mirrors_current(carrier->mirrors, carrier->path)) {
        carrier->mirrors = NULL;
        if (fs_reuse_mirrors_open(&carrier->mirrors, carrier->path, &result) != APR_SUCCESS &&
            !APR_STATUS_IS_ENOENT(result.status)) {
            const char *kept = fs_log_gate(&carrier->unusable, fs_time_mono());

            if (kept)
                fs_log(FS_LOG_WARNING, result.problem, "%s%s", result.detail, kept);
        }
    }
    mirrors = carrier->mirrors;
    pthread_mutex_unlock(&carrier->lock);
    return mirrors;
}

/* --- to others ----------------------------------------------------------------------------------
 */

static target_t *find_target(fs_reuse_carrier_t *carrier, const char *name)
{
    target_t *target;

    for (unsigned i = 0; i < carrier->target_count; i++)
        if (!strcmp(carrier->targets[i]->name, name))
            return carrier->targets[i];
    if (carrier->target_count == FS_PEERS_MAX || !(target = calloc(1, sizeof(*target))))
        return NULL;
    snprintf(target->name, sizeof(target->name), "%s", name);
    return carrier->targets[carrier->target_count++] = target;
}

static void gather(fs_reuse_carrier_t *carrier, fs_reuse_mirrors_t *mirrors, int all)
{
    static _Thread_local fs_reuse_carry_t shown[STEP];
    fs_usec_t now = fs_time_mono();
    unsigned at = 0;

    while (at < FS_REUSE_MIRRORS) {
        unsigned count = fs_reuse_mirrors_due(mirrors, now, all, shown, STEP, &at);

        for (unsigned i = 0; i < count; i++) {
            target_t *target = find_target(carrier, shown[i].to);

            if (target && !target->busy && target->rests <= now &&
                target->count < FS_REUSE_CARRY_MOST)
                target->carries[target->count++] = shown[i];
        }
    }
}

static void start(fs_reuse_carrier_t *carrier, unsigned number, unsigned timeout_ms)
{
    static _Thread_local uint8_t bytes[FS_REUSE_CARRY_BYTES];
    target_t *target = carrier->targets[number];
    char url[FS_PEER_URL_SIZE + sizeof(PATH)];
    fs_http_fan_request_t request = {.id = number,
                                     .method = "POST",
                                     .url = url,
                                     .content_type = TYPE,
                                     .body = bytes,
                                     .limit = 1024,
                                     .timeout_ms = timeout_ms};
    fs_result_t result;

    if (!fs_peers_address(carrier->agent, target->name, url, NULL)) {
        target->count = 0; /* it isn't heard of any more, or not yet */
        target->rests = fs_time_mono() + REST;
        return;
    }
    strcat(url, PATH);
    request.length = fs_reuse_carry_write(target->carries, target->count, bytes);
    target->busy = fs_http_fan_start(carrier->fan, &request, &result) == APR_SUCCESS;
    if (!target->busy)
        target->count = 0;
}

/*
 * A server that has no mirrors (404) may be about to have them: it has just been started, or is yet
 * to be given the same configuration.
 */
static void arrived(void *baton, uint64_t id, apr_status_t status, const fs_http_answer_t *answer,
                    const fs_result_t *result)
{
    fs_reuse_carrier_t *carrier = baton;
    fs_reuse_mirrors_t *mirrors = mapped(carrier);
    target_t *target = carrier->targets[id];
    int good = status == APR_SUCCESS && answer->status == 200;
    int none = status == APR_SUCCESS && answer->status == 404;
    const char *kept = good || none ? NULL : fs_log_gate(&carrier->gate, fs_time_mono());

    for (unsigned i = 0; good && mirrors && i < target->count; i++)
        fs_reuse_mirrors_carried(mirrors, &target->carries[i]);
    if (!good)
        target->rests = fs_time_mono() + (none ? LONG_REST : REST);
    if (kept && !fs_agent_stopping(carrier->agent))
        fs_log(
            FS_LOG_INFO, "FS1724",
            "%s didn't take what %u clients were last sent (%s): they are sent their pages again "
            "if they come there%s",
            target->name, target->count, status ? result->detail : "it refused", kept);
    target->busy = 0;
    target->count = 0;
    carrier->arrived++;
}

static void carry(fs_reuse_carrier_t *carrier, int all, unsigned timeout_ms)
{
    fs_reuse_mirrors_t *mirrors = mapped(carrier);

    if (!mirrors)
        return;
    gather(carrier, mirrors, all);
    for (unsigned i = 0; i < carrier->target_count; i++)
        if (carrier->targets[i]->count && !carrier->targets[i]->busy)
            start(carrier, i, timeout_ms);
}

/* What is left goes before this server does: full batches, until nothing more arrives. */
static void carry_last(fs_reuse_carrier_t *carrier)
{
    fs_usec_t until = fs_time_mono() + LAST_MS * FS_USEC_PER_MSEC;

    do {
        carrier->arrived = 0;
        carry(carrier, 1, LAST_MS);
        if (fs_http_fan_count(carrier->fan))
            fs_http_fan_run(carrier->fan, LAST_MS, arrived, carrier);
    } while ((carrier->arrived || fs_http_fan_count(carrier->fan)) && fs_time_mono() < until);
}

static void look_at_names(fs_reuse_carrier_t *carrier)
{
    fs_usec_t now = fs_time_mono();

    if (now < carrier->look_again)
        return;
    carrier->look_again = now + LOOK_AGAIN;
    fs_reuse_look(carrier->agent);
}

static void *carry_run(void *baton)
{
    fs_reuse_carrier_t *carrier = baton;

    while (!fs_agent_stopping(carrier->agent)) {
        carrier->arrived = 0;
        look_at_names(carrier);
        carry(carrier, fs_route_drains(carrier->agent), TIMEOUT_MS);
        if (fs_http_fan_count(carrier->fan))
            fs_http_fan_run(carrier->fan, PERIOD / FS_USEC_PER_MSEC, arrived, carrier);
        if (!carrier->arrived)
            fs_agent_sleep(carrier->agent, mapped(carrier) ? PERIOD : LOOK_AGAIN);
    }
    carry_last(carrier);
    return NULL;
}

/* --- from others --------------------------------------------------------------------------------
 */

static void answer_mirrors(void *baton, fs_http_call_t *call)
{
    static fs_reuse_carry_t came[FS_REUSE_CARRY_MOST]; /* handlers never run at the same time */
    fs_agent_t *agent = baton;
    fs_reuse_mirrors_t *mirrors = mapped(agent->carrier);
    size_t length;
    const char *body = fs_http_call_body(call, &length);
    int count = fs_reuse_carry_read(body ? body : "", body ? length : 0, came);
    unsigned news = 0;
    fs_result_t result;
    char text[64];

    if (count < 0) {
        fs_result_set(&result, APR_EINVAL, "FS1722",
                      "that is no message of mirrors; install agents of the same release");
        fs_http_call_problem(call, 400, &result);
        return;
    }
    if (!mirrors) {
        fs_result_set(&result, APR_NOTFOUND, "FS1723",
                      "no place of this server has FarmSyncReuseMirror");
        fs_http_call_problem(call, 404, &result);
        return;
    }
    for (int i = 0; i < count; i++)
        news += (unsigned)fs_reuse_mirrors_take(mirrors, &came[i], fs_time_mono());
    snprintf(text, sizeof(text), "{\"mirrors\":%d,\"news\":%u}\n", count, news);
    fs_http_call_answer(call, 200, "application/json", text, strlen(text));
}

static const fs_http_route_t routes[] = {
    {"POST", PATH, 0, FS_REUSE_CARRY_BYTES, answer_mirrors},
};

/* --- the thread ----------------------------------------------------------------------------------
 */

apr_status_t fs_reuse_carry_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_http_settings_t settings = {.ring = agent->ring.count ? &agent->ring : NULL,
                                   .origin = agent->config.server,
                                   .ca_file = agent->config.ca_file,
                                   .cert_file = agent->config.cert_file,
                                   .connect_timeout_ms = 1000};
    fs_reuse_carrier_t *carrier = calloc(1, sizeof(*carrier));

    agent->carrier = carrier;
    if (!carrier || !(carrier->fan = fs_http_fan_create(&settings)))
        return fs_result_set(result, APR_ENOMEM, "FS1721", "the agent has no memory; try again");
    carrier->agent = agent;
    snprintf(carrier->path, sizeof(carrier->path), "%s/reuse-mirrors", agent->config.state_dir);
    pthread_mutex_init(&carrier->lock, NULL);
    return fs_agent_listen_add(agent, routes, sizeof(routes) / sizeof(*routes), result);
}

apr_status_t fs_reuse_carry_start(fs_agent_t *agent, fs_result_t *result)
{
    apr_status_t status =
        fs_agent_start_thread(&agent->carrier->thread, carry_run, agent->carrier, result);

    agent->carrier->runs = !status;
    return status;
}

void fs_reuse_carry_wake(fs_agent_t *agent)
{
    fs_http_fan_wake(agent->carrier->fan);
}

int fs_reuse_carry_join(fs_agent_t *agent)
{
    if (agent->carrier->runs && !pthread_tryjoin_np(agent->carrier->thread, NULL))
        agent->carrier->runs = 0;
    return !agent->carrier->runs;
}
