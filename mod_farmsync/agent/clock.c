/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures farm time, and publishes it.
 *
 * A datasrv is asked because it measures the database for many; the database itself only when no
 * datasrv answers. Either way the clock that is measured is the database's, so the samples of both
 * stay in one filter, and going from one to another costs nothing. Only an exchange on a connection
 * that was open already is a round trip; the first one on a new connection just opens it.
 *
 * This thread asks each second, so it is also the first to notice that a data server has stopped
 * answering, which a follower in a long poll would notice only at its end: it is woken.
 */
#include "agent.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "sync/fs_farm_clock.h"
#include "sync/fs_source.h"

#define QUICK_SAMPLES 8
#define QUICK_PERIOD  (20 * FS_USEC_PER_MSEC)
#define WALL_BOUND    (1 * FS_USEC_PER_SEC) /* what hosts with NTP differ by, and more */
#define PERIOD        FS_USEC_PER_SEC
#define TIMEOUT_MS    1000
#define ANSWER_LIMIT  4096
#define SAVE_PERIOD   (60 * FS_USEC_PER_SEC)
#define BAD_BOUND     (10 * FS_USEC_PER_SEC) /* a datasrv this unsure of the time is not asked */

typedef struct measurement_t {
    fs_agent_t *agent;
    fs_servers_t servers; /* whom this thread asks */
    fs_farm_clock_t filter;
    fs_control_clock_t published;
    unsigned samples; /* taken since the last change of source */
    fs_usec_t saved;
} measurement_t;

/* Reads the answer of /v1/time. */
static apr_status_t read_answer(const fs_http_answer_t *answer, const char *url,
                                fs_clock_sample_t *sample, char source[64], fs_result_t *result)
{
    json_t *json = json_loadb(answer->body ? answer->body : "", answer->length, 0, NULL);
    json_int_t farm = -1, bound = -1;
    const char *name = NULL;
    int good = json &&
               !json_unpack(json, "{s:I, s:I, s:s}", "farm_time", &farm, "bound", &bound, "source",
                            &name) &&
               farm > 0 && bound >= 0 && bound <= BAD_BOUND && name[0];

    if (good) {
        sample->sent = answer->sent;
        sample->received = answer->received;
        sample->remote = farm;
        sample->remote_bound = bound;
        fs_text_fit(source, 64, name, strlen(name));
    }
    json_decref(json);
    return good
               ? APR_SUCCESS
               : fs_result_set(result, APR_EGENERAL, "FS0570",
                               "%s gave no usable farm time (it has none itself, or is no datasrv)",
                               url);
}

/* One exchange; *fresh 1 if it only opened the connection. */
static apr_status_t exchange(measurement_t *m, int index, fs_clock_sample_t *sample,
                             char source[64], int *fresh, int *dead, fs_result_t *result)
{
    fs_agent_t *agent = m->agent;
    fs_http_answer_t answer;
    char url[320];
    apr_status_t status;

    snprintf(url, sizeof(url), "%s/v1/time", agent->config.servers[index]);
    status = fs_http_exchange(agent->clock_http, "GET", url, NULL, 0, ANSWER_LIMIT, TIMEOUT_MS,
                              &answer, result);
    *dead = status != APR_SUCCESS;
    if (status)
        return status;
    *fresh = !answer.reused;
    if (answer.status == 200)
        status = read_answer(&answer, url, sample, source, result);
    else
        status = fs_result_set(result, APR_EGENERAL, "FS0571", "%s answered status %d", url,
                               answer.status);
    fs_http_answer_clear(&answer);
    return status;
}

/* Wakes followers that wait for a server which doesn't answer this thread. */
static void wake_followers(measurement_t *m)
{
    fs_agent_t *agent = m->agent;

    for (unsigned i = 0; i < agent->group_count; i++) {
        int asking = atomic_load(&agent->groups[i].asking);

        if (asking >= 0 && m->servers.servers[asking].failures && m->servers.current != asking)
            fs_agent_wake_follower(&agent->groups[i]);
    }
}

static apr_status_t ask_server(measurement_t *m, int index, fs_clock_sample_t *sample,
                               char source[64], fs_result_t *result)
{
    int fresh = 0, dead = 0;
    apr_status_t status = exchange(m, index, sample, source, &fresh, &dead, result);

    if (!status && fresh)
        status = exchange(m, index, sample, source, &fresh, &dead, result);
    /* Twice a new connection: somebody in between closes them. Its round trip is still an upper
     * bound, only a worse one. */
    if (!status) {
        fs_servers_worked(&m->servers, (unsigned)index);
        return APR_SUCCESS;
    }
    fs_servers_failed(&m->servers, (unsigned)index, fs_time_mono(), fs_agent_chance());
    if (dead && !fs_agent_stopping(m->agent)) {
        fs_agent_server_failed(m->agent, index, result);
        wake_followers(m);
    }
    return status;
}

/*
 * Looks from time to time whether the data server that this agent should ask is back. Nobody else
 * does, so that a dead one costs no follower its patience.
 */
static apr_status_t ask_home(measurement_t *m, fs_clock_sample_t *sample, char source[64])
{
    int home = fs_servers_home(&m->servers, fs_time_mono());
    fs_result_t unwanted;

    if (home < 0 || ask_server(m, home, sample, source, &unwanted))
        return APR_EGENERAL;
    (void)fs_servers_return(&m->servers, fs_time_mono());
    return APR_SUCCESS;
}

/* The followers have their own reasons to be away, and may come later. */
static void return_followers(measurement_t *m)
{
    if (m->servers.current == (int)m->servers.home && fs_agent_server_return(m->agent))
        fs_log(FS_LOG_NOTICE, "FS0579", "data server %s is back and asked again",
               m->agent->config.servers[m->servers.home]);
}

static apr_status_t ask_sql(measurement_t *m, fs_clock_sample_t *sample, char source[64],
                            fs_result_t *result)
{
    fs_sql_t *sql = fs_agent_sql_begin(&m->agent->sql, result);
    apr_status_t status;

    if (!sql)
        return result->status;
    status = fs_source_clock(sql, sample, result);
    fs_text_fit(source, 64, fs_sql_peer(sql), strlen(fs_sql_peer(sql)));
    fs_agent_sql_end(&m->agent->sql);
    return status;
}

/* Says what changed about the clock, if it is more than it can have been wrong. */
static void log_change(const fs_control_clock_t *before, const fs_control_clock_t *now)
{
    fs_usec_t farm, error, apart = now->offset - before->offset;

    if (before->state == FS_CLOCK_NONE || strcmp(before->source, now->source) != 0)
        fs_log(FS_LOG_NOTICE, "FS0572", "farm time is measured against the database %s, +- %lld us",
               now->source, (long long)now->bound);
    if (before->state == FS_CLOCK_NONE)
        return;
    if (before->state == FS_CLOCK_GUESSED) {
        fs_log(FS_LOG_NOTICE, "FS0573", "farm time had been guessed %lld us %s",
               (long long)(apart < 0 ? -apart : apart), apart < 0 ? "fast" : "slow");
        return;
    }
    fs_control_now(before, now->measured, &farm, &error);
    if ((apart < 0 ? -apart : apart) > error + now->bound)
        fs_log(FS_LOG_WARNING, "FS0574",
               "farm time went %lld us %s against what was measured from %s before: the database's "
               "clock was set, or another database with another clock answers now; keep the "
               "database hosts' clocks together with NTP",
               (long long)(apart < 0 ? -apart : apart), apart < 0 ? "back" : "on", before->source);
}

static void save(measurement_t *m)
{
    fs_result_t result;

    if (m->saved && m->published.measured - m->saved < SAVE_PERIOD)
        return;
    m->saved = m->published.measured;
    if (fs_saved_clock_write(m->agent, &m->published, &result))
        fs_log_result(FS_LOG_WARNING, &result);
}

static void publish(measurement_t *m)
{
    fs_control_clock_t now = {.state = FS_CLOCK_MEASURED, .drift_ppm = FS_CLOCK_DRIFT_PPM};

    now.measured = fs_time_mono();
    if (!fs_farm_clock_read(&m->filter, now.measured, &now.offset, &now.bound))
        return;
    memcpy(now.source, m->filter.source, sizeof(now.source));
    log_change(&m->published, &now);
    /* This thread alone writes the clock's record. */
    fs_control_set_clock(m->agent->control, &now);
    if (m->published.state != FS_CLOCK_MEASURED)
        fs_report_soon(m->agent);
    m->published = now;
    save(m);
}

/* One sample from whoever answers. */
static apr_status_t measure(measurement_t *m, fs_result_t *result)
{
    fs_clock_sample_t sample;
    char source[64] = "";
    int index = fs_servers_next(&m->servers, fs_time_mono());
    apr_status_t status = ask_home(m, &sample, source);

    if (status && index >= 0)
        status = ask_server(m, index, &sample, source, result);
    if (!status)
        return_followers(m);
    if (status && m->servers.current == FS_SERVERS_SQL &&
        (m->agent->config.database || index < 0)) {
        fs_result_t first = *result;

        status = ask_sql(m, &sample, source, result);
        if (status && !m->agent->config.database && m->agent->config.server_count)
            *result = first;
    }
    if (status)
        return status;
    if (strcmp(m->filter.source, source) != 0)
        m->samples = 0;
    if (!fs_farm_clock_add(&m->filter, source, &sample))
        return fs_result_set(result, APR_EGENERAL, "FS0575",
                             "%s gave a farm time that can't be; it is not used", source);
    m->samples++;
    publish(m);
    return APR_SUCCESS;
}

static void note_trouble(measurement_t *m, const fs_result_t *cause)
{
    fs_result_t result;

    if (m->published.state == FS_CLOCK_MEASURED)
        fs_result_set(&result, cause->status, "FS0577",
                      "farm time is not measured now, it goes on with a growing bound: %s",
                      cause->detail);
    else
        fs_result_set(&result, cause->status, "FS0578", "farm time is not known: %s",
                      cause->detail);
    pthread_mutex_lock(&m->agent->timing_lock);
    fs_agent_trouble(&m->agent->timing, FS_LOG_WARNING, &result, NULL, "%s", "");
    pthread_mutex_unlock(&m->agent->timing_lock);
}

static void note_success(measurement_t *m)
{
    pthread_mutex_lock(&m->agent->timing_lock);
    fs_agent_trouble(&m->agent->timing, FS_LOG_WARNING, NULL, "FS0576",
                     "farm time is measured again, against %s", m->published.source);
    pthread_mutex_unlock(&m->agent->timing_lock);
}

/* Quickly until the filter is full, then each second, somewhere in it. */
static fs_usec_t pace(const measurement_t *m)
{
    if (m->samples < QUICK_SAMPLES)
        return QUICK_PERIOD;
    return PERIOD * 9 / 10 + (fs_usec_t)(PERIOD / 5 * fs_agent_chance());
}

/* Nobody can be asked, nor will be: farm time is what this host's clock says. */
static void go_by_wall(fs_agent_t *agent)
{
    while (!fs_agent_stopping(agent)) {
        fs_control_clock_t clock = {.state = FS_CLOCK_GUESSED,
                                    .bound = WALL_BOUND,
                                    .drift_ppm = FS_CLOCK_DRIFT_PPM,
                                    .source = "this host's clock"};

        clock.measured = fs_time_mono();
        clock.offset = fs_time_wall() - clock.measured;
        fs_control_set_clock(agent->control, &clock);
        fs_agent_sleep(agent, PERIOD);
    }
}

void *fs_clock_run(void *baton)
{
    measurement_t m = {.agent = baton};
    fs_result_t result;

    fs_result_clear(&result);
    fs_servers_init(&m.servers, m.agent->config.server_count, m.agent->config.servers,
                    m.agent->config.server);
    m.servers.home_after = m.agent->config.home_after_ms * FS_USEC_PER_MSEC;
    fs_farm_clock_init(&m.filter);
    if (!fs_agent_has_source(m.agent)) {
        go_by_wall(m.agent);
        return NULL;
    }
    (void)fs_control_clock(m.agent->control, &m.published);
    while (!fs_agent_stopping(m.agent)) {
        int asked = fs_servers_next(&m.servers, fs_time_mono());
        apr_status_t status = measure(&m, &result);

        wake_followers(&m);
        if (fs_agent_stopping(m.agent))
            break;
        if (!status) {
            note_success(&m);
            fs_agent_sleep(m.agent, pace(&m));
        } else if (m.servers.current == FS_SERVERS_SQL || m.servers.current == asked) {
            /* Everybody was asked. */
            if (result.problem[0])
                note_trouble(&m, &result);
            fs_agent_sleep(m.agent, m.agent->config.poll_ms * FS_USEC_PER_MSEC);
        }
    }
    fs_sql_thread_end();
    return NULL;
}
