/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farmsync-agent: start, beat and end. What it does between is in the threads; see agent.h.
 */
#include "agent.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "lock.h"
#include "log.h"
#include "listen.h"
#include "parts.h"
#include "sync/fs_farm_clock.h"

#define BEAT_NS     250000000L /* children may wonder after some seconds */
#define STOP_FOR    (1 * FS_USEC_PER_SEC)
#define ALONE_FOR   (5 * FS_USEC_PER_SEC)
#define ABORT_AGAIN (20 * FS_USEC_PER_MSEC)
#define EXIT_CONFIG 2

typedef struct options_t {
    const char *config;
    int standalone;
} options_t;

static void usage(FILE *out)
{
    fputs("Usage: farmsync-agent --config STATEDIR/agent.json [--standalone]\n"
          "  --config FILE   what mod_farmsync writes, or the like; see farmsync-agent(8)\n"
          "  --standalone    run by hand: stay although no httpd is the parent\n"
          "  --version\n",
          out);
}

static int read_options(int argc, char **argv, options_t *options)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"standalone", no_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    int option;

    memset(options, 0, sizeof(*options));
    while ((option = getopt_long(argc, argv, "c:s", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 's':
            options->standalone = 1;
            break;
        case 'h':
            usage(stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            puts("farmsync-agent " FARMSYNC_VERSION);
            exit(EXIT_SUCCESS);
        default:
            return -1;
        }
    }
    return options->config && optind == argc ? 0 : -1;
}

/* --- start ------------------------------------------------------------------------------------ */

static void init_group(fs_agent_t *agent, unsigned index)
{
    fs_agent_group_t *group = &agent->groups[index];

    group->agent = agent;
    group->name = agent->config.groups[index];
    pthread_mutex_init(&group->taking, NULL);
    pthread_mutex_init(&group->lock, NULL);
    pthread_mutex_init(&group->follow_lock, NULL);
    fs_agent_cond_init(&group->changed);
    fs_agent_cond_init(&group->own.due);
    atomic_store(&group->asking, -1);
}

static void init_shared(fs_agent_t *agent)
{
    agent->started = fs_time_mono();
    pthread_mutex_init(&agent->stop_lock, NULL);
    pthread_mutex_init(&agent->page_lock, NULL);
    pthread_mutex_init(&agent->servers_lock, NULL);
    pthread_mutex_init(&agent->report_lock, NULL);
    pthread_mutex_init(&agent->timing_lock, NULL);
    fs_agent_cond_init(&agent->stopped);
    fs_agent_cond_init(&agent->report_due);
    fs_agent_sql_init(&agent->sql, agent->config.database);
    fs_servers_init(&agent->servers, agent->config.server_count, agent->config.servers,
                    agent->config.server);
    agent->servers.home_after = agent->config.home_after_ms * FS_USEC_PER_MSEC;
    agent->group_count = fs_agent_has_source(agent) ? agent->config.group_count : 0;
    for (unsigned i = 0; i < agent->group_count; i++)
        init_group(agent, i);
}

/* Farm time for the children until it is measured: what the page has, else an educated guess. */
static void load_clock(fs_agent_t *agent)
{
    fs_control_clock_t clock;
    char when[FS_TIME_TEXT_SIZE];

    agent->cold = !fs_control_clock(agent->control, &clock) || clock.state == FS_CLOCK_NONE;
    if (!agent->cold || !fs_saved_clock_read(agent, &clock))
        return;
    fs_control_set_clock(agent->control, &clock);
    fs_log(FS_LOG_NOTICE, "FS0620",
           "farm time is guessed to be %s, from the wall clock and what was known before, until "
           "somebody answers",
           fs_time_format(fs_time_mono() + clock.offset, when));
}

static apr_status_t open_state(fs_agent_t *agent, const options_t *options, fs_result_t *result)
{
    const char *state_dir = agent->config.state_dir;
    const fs_agent_heir_t heir = {fs_listen_take_over, agent};
    apr_status_t status = fs_dir_make(state_dir, result);

    if (!status && asprintf(&agent->image_dir, "%s/images", state_dir) < 0)
        status = fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    if (!status)
        status = fs_agent_lock_take(state_dir, options->standalone, &heir, result);
    if (!status)
        status = fs_control_open_writer(&agent->control, state_dir, result);
    if (status)
        return status;
    agent->beaten = fs_control_beaten(agent->control);
    load_clock(agent);
    fs_control_set_agent(agent->control, agent->config.server, (int64_t)getpid());
    fs_control_keep_groups(agent->control, (const char *const *)agent->config.groups,
                           agent->group_count);
    for (unsigned i = 0; i < agent->group_count; i++)
        fs_group_load(&agent->groups[i]);
    return APR_SUCCESS;
}

static apr_status_t open_network(fs_agent_t *agent, fs_result_t *result)
{
    int complete;

    fs_http_global_init();
    fs_sql_global_init();
    if (agent->config.key_file) {
        apr_status_t status = fs_keyring_read(&agent->ring, agent->config.key_file, result);

        if (status)
            return status;
    }
    agent->clock_http = fs_agent_client(agent);
    agent->report_http = fs_agent_client(agent);
    complete = agent->clock_http && agent->report_http;
    for (unsigned i = 0; i < agent->group_count; i++) {
        agent->groups[i].follow_http = fs_agent_client(agent);
        agent->groups[i].fetch_http = fs_agent_client(agent);
        complete = complete && agent->groups[i].follow_http && agent->groups[i].fetch_http;
    }
    return complete ? APR_SUCCESS : fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
}

static apr_status_t start_threads(fs_agent_t *agent, fs_result_t *result)
{
    apr_status_t status = fs_agent_start_thread(&agent->clock_thread, fs_clock_run, agent, result);

    if (!status)
        status = fs_agent_start_thread(&agent->report_thread, fs_report_run, agent, result);
    for (unsigned i = 0; i < agent->group_count && !status; i++) {
        status = fs_agent_start_thread(&agent->groups[i].follower, fs_follow_run, &agent->groups[i],
                                       result);
        if (!status)
            status = fs_agent_start_thread(&agent->groups[i].promoter, fs_promote_run,
                                           &agent->groups[i], result);
        if (!status)
            status = fs_agent_start_thread(&agent->groups[i].fetcher, fs_fetch_run,
                                           &agent->groups[i], result);
    }
    return status;
}

/* --- end -------------------------------------------------------------------------------------- */

/* Whatever waits for a network is told not to; again and again, as it may just be about to begin.
 */
static void abort_exchanges(fs_agent_t *agent)
{
    fs_http_client_abort(agent->clock_http);
    fs_http_client_abort(agent->report_http);
    for (unsigned i = 0; i < agent->group_count; i++) {
        fs_agent_wake_follower(&agent->groups[i]);
        fs_http_client_abort(agent->groups[i].fetch_http);
    }
}

static void tell_all(fs_agent_t *agent)
{
    pthread_mutex_lock(&agent->stop_lock);
    __atomic_store_n(&agent->stop, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&agent->stopped);
    pthread_mutex_unlock(&agent->stop_lock);
    fs_report_soon(agent);
    for (unsigned i = 0; i < agent->group_count; i++) {
        pthread_mutex_lock(&agent->groups[i].lock);
        pthread_cond_broadcast(&agent->groups[i].changed);
        pthread_cond_broadcast(&agent->groups[i].own.due);
        pthread_mutex_unlock(&agent->groups[i].lock);
    }
}

/* Joins a thread before `until` (CLOCK_REALTIME is what pthread_timedjoin_np has, hence the steps).
 */
static int join(fs_agent_t *agent, pthread_t thread, fs_usec_t until)
{
    while (pthread_tryjoin_np(thread, NULL)) {
        if (fs_time_mono() >= until)
            return 0;
        abort_exchanges(agent);
        fs_time_sleep_until(fs_time_mono() + ABORT_AGAIN);
    }
    return 1;
}

/*
 * Ends the threads within STOP_FOR. One that hangs in the database or on a disk is left behind:
 * what is on disk is whole at each moment, and the database rolls back what wasn't committed.
 */
static int stop_threads(fs_agent_t *agent)
{
    fs_usec_t until = fs_time_mono() + STOP_FOR;
    int all;

    tell_all(agent);
    all = fs_agent_parts_end(agent, until);
    all &= join(agent, agent->clock_thread, until);
    all &= join(agent, agent->report_thread, until);
    for (unsigned i = 0; i < agent->group_count; i++) {
        all &= join(agent, agent->groups[i].follower, until);
        all &= join(agent, agent->groups[i].promoter, until);
        all &= join(agent, agent->groups[i].fetcher, until);
    }
    return all;
}

/* --- between ---------------------------------------------------------------------------------- */

static void block_signals(sigset_t *ends)
{
    static const int ignored[] = {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};

    /* httpd sends its own signals to its whole process group; only an end is meant for us, too. */
    for (unsigned i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(ends);
    sigaddset(ends, SIGTERM);
    sigaddset(ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, ends, NULL);
}

/*
 * Whether nobody needs this agent although httpd runs: its children held the lock, and none has for
 * a while, as after a restart with a configuration that doesn't load the module. Should that be
 * wrong, httpd starts another one.
 */
static int is_unneeded(const fs_agent_t *agent, int *had_children, fs_usec_t *alone_since)
{
    fs_usec_t now = fs_time_mono();

    if (fs_agent_children_left(agent->config.state_dir)) {
        *had_children = 1;
        *alone_since = 0;
    } else if (!*alone_since) {
        *alone_since = now;
    }
    return *had_children && *alone_since && now - *alone_since > ALONE_FOR;
}

/*
 * Its page was removed or replaced: new request processes don't see what it publishes. httpd starts
 * another agent, which makes all anew; one that was started by hand goes on for those who see it.
 */
static int is_cut_off(const fs_agent_t *agent, int *said)
{
    if (*said || fs_control_is_there(agent->control))
        return 0;
    *said = 1;
    fs_log(FS_LOG_ERROR, "FS0630",
           "control or marks in %s was removed or replaced while it was in use: %s",
           agent->config.state_dir,
           agent->standalone ? "start this agent again, new request processes can't see it"
                             : "ends, httpd starts another agent");
    return !agent->standalone;
}

/* Beats until a signal, or until nobody is left to work for. */
static void beat(fs_agent_t *agent, const options_t *options, const sigset_t *ends, pid_t parent)
{
    static const struct timespec period = {.tv_nsec = BEAT_NS};
    fs_usec_t alone_since = 0;
    int orphan = 0, had_children = 0, said = 0;

    for (;;) {
        int sig = sigtimedwait(ends, NULL, &period);

        if (sig > 0) {
            fs_log(FS_LOG_INFO, "FS0623", "ends on signal %d", sig);
            return;
        }
        fs_control_beat(agent->control);
        if (is_cut_off(agent, &said))
            return;
        if (options->standalone)
            continue;
        if (getppid() == parent) {
            if (!is_unneeded(agent, &had_children, &alone_since))
                continue;
            fs_log(FS_LOG_NOTICE, "FS0629",
                   "httpd runs, but no child of it has used farm data for a while, as when the "
                   "module isn't loaded any more: ends");
            return;
        }
        if (!orphan)
            fs_log(FS_LOG_WARNING, "FS0624",
                   "httpd's parent process %ld is gone; going on for the children that are left",
                   (long)parent);
        orphan = 1;
        if (!fs_agent_children_left(agent->config.state_dir)) {
            fs_log(FS_LOG_NOTICE, "FS0625", "no child of httpd is left: ends");
            return;
        }
    }
}

static int run(fs_agent_t *agent, const options_t *options, const sigset_t *ends, pid_t parent)
{
    fs_result_t result;
    apr_status_t status;
    int heir;

    (void)fs_dir_make(agent->config.state_dir, &result); /* open_state says why it can't be */
    heir = fs_agent_heir_begin(agent->config.state_dir);
    status = open_state(agent, options, &result);

    if (!status)
        status = open_network(agent, &result);
    if (!status)
        status = fs_agent_parts_open(agent, &result);
    if (heir >= 0)
        close(heir);
    if (!status)
        status = start_threads(agent, &result);
    if (!status)
        status = fs_agent_parts_start(agent, &result);
    if (status == APR_EOF && !strcmp(result.problem, "FS0628")) {
        fs_log_result(FS_LOG_INFO, &result);
        return EXIT_SUCCESS;
    }
    if (status) {
        fs_log_result(FS_LOG_ERROR, &result);
        return EXIT_FAILURE;
    }
    fs_log(FS_LOG_NOTICE, "FS0626", "farmsync-agent " FARMSYNC_VERSION " runs for %s in %s",
           agent->config.server, agent->config.state_dir);
    beat(agent, options, ends, parent);
    if (!stop_threads(agent))
        fs_log(FS_LOG_INFO, "FS0627", "did not wait for the database or the disk");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static fs_agent_t agent;
    pid_t parent = getppid();
    options_t options;
    fs_result_t result;
    sigset_t ends;

    fs_time_init();
    if (read_options(argc, argv, &options)) {
        usage(stderr);
        return EXIT_CONFIG;
    }
    umask(0027);
    block_signals(&ends);
    fs_agent_log_start(FS_LOG_NOTICE);
    if (fs_agent_config_read(&agent.config, options.config, &result)) {
        fs_log_result(FS_LOG_ERROR, &result);
        return EXIT_CONFIG;
    }
    fs_agent_log_start(agent.config.log_level);
    init_shared(&agent);
    agent.standalone = options.standalone;
    /* The threads may still run if they hang: no destructors. */
    _exit(run(&agent, &options, &ends, parent));
}
