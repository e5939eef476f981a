/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting and supervising farmsync-agent.
 *
 *   start        post_config writes agent.json, forks, becomes httpd's user, and starts the
 * program; the agent's stderr is the server's error log death        the parent's other-child hook
 * starts it again; if it was started a moment ago, the new process first sleeps (the parent never
 * waits) graceful     pconf goes, and with it this registration; the agent is left running, so that
 * nothing is interrupted. post_config of the new generation starts a new agent, which takes over
 *                from the old one by itself, and registers the old one to be reaped
 *   stop         SIGTERM when pconf is destroyed because httpd is exiting; with httpd -X, which
 *                never destroys it, when the pool of its only "child" goes
 *   kill -9      the agent ends by itself when the last child's lock (children.lock) is gone
 *
 * What must outlive the module's code (it is unloaded at each restart) is plain data kept by
 * ap_retained_data_create.
 */
#include "agent_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_core.h>
#include <unixd.h>

#include "base/fs_file.h"
#include "base/fs_time.h"
#include "control/fs_control.h"
#include "module.h"
#include "monitors.h"
#include "settings.h"
#include "text.h"

#define RETAINED_KEY    "mod_farmsync.agent"
#define CONFIG_FILE     "agent.json"
#define STEADY_USEC     (60 * FS_USEC_PER_SEC) /* an agent that ran so long didn't fail at once */
#define DELAY_FIRST_MS  100
#define DELAY_MAX_MS    10000
#define EXIT_CANNOT_RUN 127

/* Kept over restarts: plain data. */
typedef struct retained_t {
    pid_t pid;         /* the agent that was started last; 0 if it is known to be gone */
    fs_usec_t started; /* mono time */
    unsigned failures; /* in a row */
} retained_t;

/* One agent process, registered with the MPM in this generation. Lives in pconf. */
typedef struct agent_t {
    server_rec *server;
    const fs_settings_t *settings;
    retained_t *retained;
    pid_t parent; /* httpd's; its children have copies of this that must do nothing */
    apr_proc_t proc;
    apr_pool_t *registration; /* cleared with each new process */
    int former;               /* started by an earlier generation: only to be reaped */
} agent_t;

static int spawn(agent_t *agent, unsigned delay_ms);

/* --- files --------------------------------------------------------------------------------------
 */

static int as_root(void)
{
    return geteuid() == 0;
}

/*
 * What is written below the state directory is written as httpd's user, who owns it: root must not
 * follow what that user may have put there. Only called in the parent, which has one thread.
 */
static int act_as_httpd_user(void)
{
    if (!as_root())
        return 0;
    return setegid(ap_unixd_config.group_id) || seteuid(ap_unixd_config.user_id);
}

static void act_as_myself(uid_t user, gid_t group)
{
    if (seteuid(user) || setegid(group))
        ap_log_error(APLOG_MARK, APLOG_CRIT, errno, NULL,
                     "FS0650: cannot go back to user %d after writing the state directory",
                     (int)user);
}

/* The directory itself: made, and given to httpd's user if root made it. */
apr_status_t fs_agent_make_state_dir(const fs_settings_t *settings, fs_result_t *result)
{
    apr_status_t status = fs_dir_make(settings->state_dir, result);

    if (status == APR_SUCCESS && as_root() &&
        lchown(settings->state_dir, ap_unixd_config.user_id, ap_unixd_config.group_id))
        status = fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0650",
                               "cannot give %s to httpd's user: %s", settings->state_dir,
                               strerror(errno));
    return status;
}

static apr_status_t make_parts(const fs_settings_t *settings, apr_pool_t *pool, fs_result_t *result)
{
    static const char *const parts[] = {"/images", "/views"};
    apr_status_t status = APR_SUCCESS;

    for (unsigned i = 0; i < 2 && status == APR_SUCCESS; i++)
        status = fs_dir_make(apr_pstrcat(pool, settings->state_dir, parts[i], NULL), result);
    return status;
}

static void json_field(fs_text_t *text, const char *name, const char *value)
{
    fs_text_printf(text, "  \"%s\": ", name);
    if (value)
        fs_text_json_string(text, value);
    else
        fs_text_puts(text, "null");
    fs_text_puts(text, ",\n");
}

static void json_list(fs_text_t *text, const char *name, const apr_array_header_t *values)
{
    fs_text_printf(text, "  \"%s\": [", name);
    for (int i = 0; i < values->nelts; i++) {
        fs_text_puts(text, i ? ", " : "");
        fs_text_json_string(text, APR_ARRAY_IDX(values, i, const char *));
    }
    fs_text_puts(text, "],\n");
}

static const char *level_name(int level)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};

    return names[level];
}

static apr_status_t write_config(const fs_settings_t *settings, apr_pool_t *pool,
                                 fs_result_t *result)
{
    fs_text_t text;

    fs_text_init(&text, pool);
    fs_text_puts(&text, "{\n");
    json_field(&text, "server", settings->server);
    json_field(&text, "address", settings->address);
    json_field(&text, "state_dir", settings->state_dir);
    json_list(&text, "groups", settings->groups);
    json_field(&text, "database", settings->database);
    json_list(&text, "data_servers", settings->data_servers);
    json_field(&text, "key_file", settings->key_file);
    json_field(&text, "ca_file", settings->ca_file);
    json_field(&text, "cert_file", settings->certificate_file);
    json_field(&text, "listen", settings->listen);
    json_field(&text, "advertise", settings->advertise);
    json_list(&text, "peers", settings->peers);
    fs_text_printf(&text, "  \"suspect_ms\": %d,\n  \"dead_ms\": %d,\n  \"outage_s\": %d,\n",
                   settings->suspect_ms, settings->dead_ms, settings->outage_s);
    fs_monitors_json(&text, settings);
    if (settings->agent_members)
        fs_text_puts(&text, settings->agent_members);
    json_field(&text, "log_level", level_name(settings->agent_log_level));
    fs_text_printf(&text, "  \"poll_ms\": %d\n}\n", settings->agent_poll_ms);
    return fs_file_write(apr_pstrcat(pool, settings->state_dir, "/" CONFIG_FILE, NULL), text.data,
                         text.length, result);
}

/* The state directory with all that the agent needs to start. */
static apr_status_t prepare(const fs_settings_t *settings, apr_pool_t *pool, fs_result_t *result)
{
    apr_status_t status = fs_agent_make_state_dir(settings, result);
    uid_t user = geteuid();
    gid_t group = getegid();

    if (status != APR_SUCCESS)
        return status;
    if (act_as_httpd_user())
        status = fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0650",
                               "cannot become httpd's user: %s", strerror(errno));
    if (status == APR_SUCCESS)
        status = make_parts(settings, pool, result);
    if (status == APR_SUCCESS && fs_settings_have_work(settings))
        status = write_config(settings, pool, result);
    act_as_myself(user, group);
    return status;
}

/* --- in the new process: only what is safe between fork and exec --------------------------------
 */

static void sleep_ms(unsigned ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&span, &span) && errno == EINTR)
        ;
}

static void close_from(int first)
{
    long limit = sysconf(_SC_OPEN_MAX);

#ifdef SYS_close_range
    if (!syscall(SYS_close_range, first, ~0U, 0))
        return;
#endif
    for (int fd = first; fd < (limit > 0 ? limit : 1024); fd++)
        close(fd);
}

static void default_signals(void)
{
    sigset_t none;

    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int become_httpd_user(void)
{
    if (!as_root())
        return 0;
    return setgid(ap_unixd_config.group_id) ||
           initgroups(ap_unixd_config.user_name, ap_unixd_config.group_id) ||
           setuid(ap_unixd_config.user_id);
}

static void complain(const char *what)
{
    char line[512];
    int length = snprintf(line, sizeof(line), "FS0654: farmsync-agent: cannot %s: %s\n", what,
                          strerror(errno));

    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        _exit(EXIT_CANNOT_RUN);
}

static void run_agent(const char *program, const char *config, unsigned delay_ms)
{
    const char *const arguments[] = {program, "--config", config, NULL};
    int null;

    default_signals();
    close_from(3);
    null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    sleep_ms(delay_ms);
    umask(027);
    if (become_httpd_user())
        complain("become httpd's user");
    else if (execv(program, (char *const *)arguments))
        complain(program);
    _exit(EXIT_CANNOT_RUN);
}

/* --- supervision in the parent ------------------------------------------------------------------
 */

/* How long the next process waits before it starts the agent: longer with each quick failure. */
static unsigned next_delay_ms(retained_t *retained)
{
    unsigned delay = DELAY_FIRST_MS;

    if (!retained->started || fs_time_mono() - retained->started >= STEADY_USEC) {
        retained->failures = 0;
        return 0;
    }
    for (unsigned i = 0; i < retained->failures && delay < DELAY_MAX_MS; i++)
        delay *= 2;
    retained->failures++;
    return delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS;
}

static int httpd_is_stopping(void)
{
    int state;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS || state == AP_MPMQ_STOPPING;
}

static void agent_is_gone(agent_t *agent, apr_wait_t status)
{
    pid_t pid = agent->proc.pid;
    unsigned delay;

    agent->proc.pid = 0;
    if (agent->retained->pid == pid)
        agent->retained->pid = 0;
    apr_proc_other_child_unregister(agent);
    if (agent->former || httpd_is_stopping())
        return;
    delay = next_delay_ms(agent->retained);
    /* The MPM hands over exit status or signal number without saying which. */
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, agent->server,
                 "FS0655: farmsync-agent (pid %d) ended, with exit status or signal %d; it is "
                 "started again in %u ms, see its messages above for the reason",
                 (int)pid, (int)status, delay);
    spawn(agent, delay);
}

static void supervise(int reason, void *data, apr_wait_t status)
{
    agent_t *agent = data;

    switch (reason) {
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST:
        agent_is_gone(agent, status);
        break;
    case APR_OC_REASON_UNREGISTER:
        if (agent->proc.pid > 0 && agent->parent == getpid() &&
            ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
            kill(agent->proc.pid, SIGTERM);
        break;
    default: /* a restart: the agent goes on until the next one takes over */
        break;
    }
}

static void register_process(agent_t *agent, pid_t pid)
{
    apr_pool_clear(agent->registration);
    memset(&agent->proc, 0, sizeof(agent->proc));
    agent->proc.pid = pid;
    apr_proc_other_child_register(&agent->proc, supervise, agent, NULL, agent->registration);
}

static int spawn(agent_t *agent, unsigned delay_ms)
{
    const char *config =
        apr_pstrcat(agent->registration, agent->settings->state_dir, "/" CONFIG_FILE, NULL);
    char *kept = strdup(config); /* the registration's pool is cleared */
    pid_t pid = kept ? fork() : -1;

    if (pid == 0)
        run_agent(agent->settings->agent, kept, delay_ms);
    free(kept);
    if (pid < 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, errno, agent->server,
                     "FS0654: cannot start farmsync-agent: data stays as it is until httpd is "
                     "restarted");
        return 0;
    }
    agent->retained->pid = pid;
    agent->retained->started = fs_time_mono() + delay_ms * FS_USEC_PER_MSEC;
    register_process(agent, pid);
    return 1;
}

/* --- the start ----------------------------------------------------------------------------------
 */

static retained_t *retained_data(void)
{
    retained_t *retained = ap_retained_data_get(RETAINED_KEY);

    return retained ? retained : ap_retained_data_create(RETAINED_KEY, sizeof(*retained));
}

static agent_t *make_agent(apr_pool_t *pconf, server_rec *server)
{
    agent_t *agent = apr_pcalloc(pconf, sizeof(*agent));

    agent->server = server;
    agent->settings = fs_settings(server);
    agent->retained = retained_data();
    agent->parent = getpid();
    apr_pool_create(&agent->registration, pconf);
    return agent;
}

/* The agent of the generation before: reaped when it goes; told to, if there will be no other. */
static void adopt_former(apr_pool_t *pconf, server_rec *server, int end)
{
    retained_t *retained = retained_data();
    agent_t *former;

    if (retained->pid <= 0)
        return;
    former = make_agent(pconf, server);
    former->former = 1;
    register_process(former, retained->pid);
    if (end)
        kill(retained->pid, SIGTERM);
}

void fs_agent_start(apr_pool_t *pconf, server_rec *server)
{
    const fs_settings_t *settings = fs_settings(server);
    int wanted = fs_settings_start_agent(settings);
    fs_result_t result;
    agent_t *agent;

    if (prepare(settings, pconf, &result) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, result.status, server,
                     "FS0650: the state directory cannot be used, farmsync-agent is not started: "
                     "%s; correct FarmSyncStateDir, or its owner",
                     result.detail);
        adopt_former(pconf, server, 0);
        return;
    }
    adopt_former(pconf, server, !wanted);
    if (!wanted) {
        if (strcmp(settings->agent, "none") != 0)
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, server,
                         "FS0653: farmsync-agent is not started, as there is nothing to get data "
                         "from: give FarmSyncDataServer, FarmSyncDatabase or FarmSyncListen");
        return;
    }
    agent = make_agent(pconf, server);
    agent->retained->failures = 0;
    fs_settings(server)->agent_parent = agent->parent;
    if (spawn(agent, 0))
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, server, "FS0656: farmsync-agent started (pid %d)",
                     (int)agent->proc.pid);
}

/* May run in a signal handler (prefork): only what is safe there. */
static apr_status_t end_agent(void *data)
{
    const retained_t *retained = data;

    if (retained->pid > 0)
        kill(retained->pid, SIGTERM);
    return APR_SUCCESS;
}

void fs_agent_child_init(apr_pool_t *pchild, server_rec *server)
{
    if (fs_settings(server)->agent_parent == getpid())
        apr_pool_cleanup_register(pchild, retained_data(), end_agent, apr_pool_cleanup_null);
}
