/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int fs_agent_stopping(const fs_agent_t *agent)
{
    return __atomic_load_n(&agent->stop, __ATOMIC_ACQUIRE);
}

int fs_agent_has_source(const fs_agent_t *agent)
{
    return agent->config.database || agent->config.server_count;
}

void fs_agent_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void fs_agent_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, fs_usec_t span)
{
    struct timespec until;
    fs_usec_t nanoseconds;

    if (span <= 0)
        return;
    if (span > 3600 * FS_USEC_PER_SEC)
        span = 3600 * FS_USEC_PER_SEC;
    clock_gettime(CLOCK_MONOTONIC, &until);
    nanoseconds = until.tv_nsec + span % FS_USEC_PER_SEC * 1000;
    until.tv_sec += (time_t)(span / FS_USEC_PER_SEC + nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_cond_timedwait(cond, lock, &until);
}

void fs_agent_sleep(fs_agent_t *agent, fs_usec_t span)
{
    pthread_mutex_lock(&agent->stop_lock);
    if (!fs_agent_stopping(agent))
        fs_agent_cond_wait(&agent->stopped, &agent->stop_lock, span);
    pthread_mutex_unlock(&agent->stop_lock);
}

double fs_agent_chance(void)
{
    static _Thread_local unsigned short state[3];
    static _Thread_local int seeded;

    if (!seeded) {
        struct timespec now;
        uintptr_t here = (uintptr_t)&state;

        clock_gettime(CLOCK_REALTIME, &now);
        state[0] = (unsigned short)now.tv_nsec;
        state[1] = (unsigned short)(now.tv_nsec >> 16);
        state[2] = (unsigned short)(here >> 12);
        seeded = 1;
    }
    return erand48(state);
}

int fs_agent_farm(const fs_agent_t *agent, fs_usec_t *farm, fs_usec_t *bound, int *measured)
{
    fs_control_clock_t clock;
    fs_usec_t error;
    int known;

    if (measured)
        *measured = 0;
    *farm = 0;
    if (!fs_control_clock(agent->control, &clock))
        return 0;
    known = fs_control_now(&clock, fs_time_mono(), farm, &error);
    if (bound)
        *bound = error;
    if (measured)
        *measured = known && clock.state == FS_CLOCK_MEASURED;
    return known;
}

void fs_agent_trouble(fs_trouble_t *trouble, fs_log_level_t level, const fs_result_t *problem,
                      const char *number, const char *format, ...)
{
    char text[FS_DETAIL_SIZE];
    va_list args;

    if (problem)
        trouble->now = *problem;
    else
        fs_result_clear(&trouble->now);
    switch (fs_plan_say(&trouble->repeat, trouble->now.problem, fs_time_mono())) {
    case FS_SAY_PROBLEM:
        fs_log_result(level, &trouble->now);
        break;
    case FS_SAY_OVER:
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        fs_log(FS_LOG_NOTICE, number, "%s", text);
        break;
    case FS_SAY_NOTHING:
        break;
    }
}

fs_http_client_t *fs_agent_client(fs_agent_t *agent)
{
    fs_http_settings_t settings = {.ring = agent->ring.count ? &agent->ring : NULL,
                                   .origin = agent->config.server,
                                   .ca_file = agent->config.ca_file,
                                   .cert_file = agent->config.cert_file,
                                   .connect_timeout_ms = 1000};

    return fs_http_client_create(&settings);
}

void fs_agent_wake_follower(fs_agent_group_t *group)
{
    pthread_mutex_lock(&group->follow_lock);
    group->woken = 1;
    if (group->follow_http)
        fs_http_client_abort(group->follow_http);
    pthread_mutex_unlock(&group->follow_lock);
}

int fs_agent_server(fs_agent_t *agent)
{
    int index;

    pthread_mutex_lock(&agent->servers_lock);
    index = fs_servers_next(&agent->servers, fs_time_mono());
    pthread_mutex_unlock(&agent->servers_lock);
    return index;
}

void fs_agent_server_worked(fs_agent_t *agent, int index)
{
    pthread_mutex_lock(&agent->servers_lock);
    fs_servers_worked(&agent->servers, (unsigned)index);
    pthread_mutex_unlock(&agent->servers_lock);
}

void fs_agent_server_why(fs_agent_t *agent, char why[FS_DETAIL_SIZE])
{
    pthread_mutex_lock(&agent->servers_lock);
    memcpy(why, agent->server_why, FS_DETAIL_SIZE);
    pthread_mutex_unlock(&agent->servers_lock);
}

void fs_agent_server_failed(fs_agent_t *agent, int index, const fs_result_t *why)
{
    pthread_mutex_lock(&agent->servers_lock);
    if (why)
        snprintf(agent->server_why, sizeof(agent->server_why), "%s", why->detail);
    fs_servers_failed(&agent->servers, (unsigned)index, fs_time_mono(), fs_agent_chance());
    pthread_mutex_unlock(&agent->servers_lock);
}

int fs_agent_server_return(fs_agent_t *agent)
{
    int returned;

    pthread_mutex_lock(&agent->servers_lock);
    returned = fs_servers_return(&agent->servers, fs_time_mono());
    pthread_mutex_unlock(&agent->servers_lock);
    return returned;
}
