/* SPDX-License-Identifier: Apache-2.0 */
#include "session_status.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "session_host.h"
#include "session_module.h"
#include "text.h"

typedef struct facts_t {
    const fs_session_host_t *host;
    fs_session_counts_t counts;
    const char *problem; /* NULL: the store could be counted */
    double oldest;       /* seconds that the oldest change waits for its copies */
    fs_session_trusted_t trusted;
    int is_trusted;
} facts_t;

static void gather(facts_t *facts, const fs_session_host_t *host, apr_pool_t *pool)
{
    fs_usec_t now = fs_session_now();
    fs_result_t result;

    memset(facts, 0, sizeof(*facts));
    facts->host = host;
    if (fs_session_store_count(host->store, &facts->counts, &result) != APR_SUCCESS)
        facts->problem = apr_psprintf(pool, "%s: %s", result.problem, result.detail);
    if (facts->counts.oldest_dirty && now > facts->counts.oldest_dirty)
        facts->oldest = (double)(now - facts->counts.oldest_dirty) / FS_USEC_PER_SEC;
    if (host->trust)
        fs_session_trust_read(host->trust, &facts->trusted);
    facts->is_trusted = fs_session_trust_clock() < facts->trusted.until;
}

static uint64_t counted(const facts_t *facts, unsigned which)
{
    return fs_session_counters_get(facts->host->counters, (fs_session_count_t)which);
}

static const char *bank_state(const facts_t *facts)
{
    return !facts->host->farm->bank->nelts ? "none is configured"
           : !facts->is_trusted            ? "not reached, or the agent is away"
           : facts->trusted.alone          ? "not reached: this host works on with what it has"
                                           : "reached";
}

/* --- HTML ---------------------------------------------------------------------------------------
 */

static void html_rows(fs_text_t *text, const facts_t *facts)
{
    const fs_session_counts_t *counts = &facts->counts;

    fs_text_printf(text,
                   "<tr><th scope=\"row\">sessions here</th><td>%" PRIu64 " (%" PRIu64
                   " bytes)</td></tr>\n",
                   counts->sessions, counts->bytes);
    fs_text_printf(text,
                   "<tr><th scope=\"row\">wait for their copies</th><td>%" PRIu64
                   ", the oldest for %.3f s</td></tr>\n",
                   counts->dirty, facts->oldest);
    fs_text_printf(text, "<tr><th scope=\"row\">bank</th><td>%s</td></tr>\n", bank_state(facts));
    if (facts->problem) {
        fs_text_puts(text, "<tr><th scope=\"row\">problem</th><td class=\"bad\">");
        fs_text_html(text, facts->problem);
        fs_text_puts(text, "</td></tr>\n");
    }
    for (unsigned i = 0; i < FS_SESSION_COUNTERS; i++)
        if (counted(facts, i))
            fs_text_printf(text, "<tr><th scope=\"row\">%s</th><td>%" PRIu64 "</td></tr>\n",
                           fs_session_counters_name((fs_session_count_t)i), counted(facts, i));
}

static void tell_html(fs_text_t *text, const facts_t *facts)
{
    fs_text_puts(text, "<h2>sessions</h2>\n<table>\n");
    html_rows(text, facts);
    fs_text_puts(text, "</table>\n");
}

/* --- for programs -------------------------------------------------------------------------------
 */

static void tell_json(fs_text_t *text, const facts_t *facts)
{
    const fs_session_counts_t *counts = &facts->counts;

    fs_text_printf(text,
                   "\"sessions\":{\"held\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"unprotected\":%" PRIu64 ",\"oldest_unprotected_s\":%.6f,\"bank\":",
                   counts->sessions, counts->bytes, counts->dirty, facts->oldest);
    fs_text_json_string(text, bank_state(facts));
    fs_text_puts(text, ",\"problem\":");
    if (facts->problem)
        fs_text_json_string(text, facts->problem);
    else
        fs_text_puts(text, "null");
    for (unsigned i = 0; i < FS_SESSION_COUNTERS; i++)
        fs_text_printf(text, ",\"%s\":%" PRIu64, fs_session_counters_name((fs_session_count_t)i),
                       counted(facts, i));
    fs_text_puts(text, "}");
}

static void gauge(fs_text_t *text, const char *name, const char *help, double value)
{
    fs_text_printf(text, "# HELP %s %s\n# TYPE %s gauge\n%s %.15g\n", name, help, name, name,
                   value);
}

static void tell_metrics(fs_text_t *text, const facts_t *facts)
{
    const fs_session_counts_t *counts = &facts->counts;

    if (!facts->problem) {
        gauge(text, "farmsync_sessions", "Sessions on this host.", (double)counts->sessions);
        gauge(text, "farmsync_sessions_bytes", "Bytes of all sessions on this host.",
              (double)counts->bytes);
        gauge(text, "farmsync_sessions_unprotected", "Sessions that wait for their copies.",
              (double)counts->dirty);
        gauge(text, "farmsync_sessions_unprotected_seconds", "How long the oldest of them waits.",
              facts->oldest);
    }
    gauge(text, "farmsync_sessions_bank_reached", "1 if this host has a lease at the bank.",
          facts->is_trusted && !facts->trusted.alone);
    for (unsigned i = 0; i < FS_SESSION_COUNTERS; i++) {
        const char *name = fs_session_counters_name((fs_session_count_t)i);

        fs_text_printf(text,
                       "# HELP farmsync_sessions_%s_total %s\n# TYPE farmsync_sessions_%s_total "
                       "counter\nfarmsync_sessions_%s_total %" PRIu64 "\n",
                       name, fs_session_counters_help((fs_session_count_t)i), name, name,
                       counted(facts, i));
    }
}

static void tell_auto(fs_text_t *text, const facts_t *facts)
{
    fs_text_printf(text,
                   "FarmSyncSessions: %" PRIu64 "\nFarmSyncSessionsUnprotected: %" PRIu64
                   "\nFarmSyncSessionsUnprotectedSeconds: %.3f\n",
                   facts->counts.sessions, facts->counts.dirty, facts->oldest);
    for (unsigned i = 0; i < FS_SESSION_COUNTERS; i++)
        fs_text_printf(text, "FarmSyncSessions[%s]: %" PRIu64 "\n",
                       fs_session_counters_name((fs_session_count_t)i), counted(facts, i));
}

static void tell_report(fs_text_t *text, const facts_t *facts)
{
    fs_text_puts(text, "<h3>sessions</h3>\n<table border=\"0\">\n");
    html_rows(text, facts);
    fs_text_puts(text, "</table>\n");
}

/* --- DUMP_FARMSYNC ------------------------------------------------------------------------------
 */

#define LINE(text, name, ...)                                                                      \
    fs_text_printf(text, "  %-26s %s\n", name, apr_psprintf((text)->pool, __VA_ARGS__))

static void dump_place(fs_text_t *text, const fs_session_place_t *place)
{
    if (place->cookie)
        LINE(text, "SessionFarmSyncCookieName", "%s%s", place->cookie->name, place->cookie->plain);
    else
        LINE(text, "SessionFarmSyncCookieName", "%s", "(none here)");
    LINE(text, "SessionFarmSyncAck", "%d", fs_session_or(place->ack, FS_SESSION_ACK_DEFAULT));
    if (place->lock == FS_SESSION_LOCK_EXCLUSIVE)
        LINE(text, "SessionFarmSyncLock", "exclusive %d ms",
             fs_session_or(place->lock_ms, FS_SESSION_LOCK_MS_DEFAULT));
    else
        LINE(text, "SessionFarmSyncLock", "%s", "none");
    LINE(text, "SessionFarmSyncTimeout", "%d ms",
         fs_session_or(place->timeout_ms, FS_SESSION_TIMEOUT_DEFAULT));
    LINE(text, "SessionFarmSyncOnUnknown", "%s",
         place->on_unknown == FS_SESSION_UNKNOWN_NEW ? "new" : "503");
    if (place->idle_s != FS_UNSET)
        LINE(text, "SessionFarmSyncIdle", "%d s", place->idle_s);
    else
        LINE(text, "SessionFarmSyncIdle", "SessionMaxAge, or %d s", FS_SESSION_IDLE_DEFAULT);
    LINE(text, "SessionFarmSyncLifetime", "%d s", fs_session_or(place->lifetime_s, 0));
    LINE(text, "SessionFarmSyncAlias", "%d s",
         fs_session_or(place->alias_s, FS_SESSION_ALIAS_DEFAULT));
}

static void dump_farm(fs_text_t *text, const fs_session_farm_t *farm)
{
    for (int i = 0; i < farm->bank->nelts; i++) {
        const fs_session_bank_server_t *server =
            &APR_ARRAY_IDX(farm->bank, i, fs_session_bank_server_t);

        LINE(text, "SessionFarmSyncBank", "%s name=%s%s%s", server->url, server->name,
             server->rack ? " rack=" : "", server->rack ? server->rack : "");
    }
    if (!farm->bank->nelts)
        LINE(text, "SessionFarmSyncBank", "%s", "(none: sessions end with this host)");
    LINE(text, "SessionFarmSyncCopies", "%d", farm->copies);
    LINE(text, "SessionFarmSyncFlush", "%d ms", farm->flush_ms);
    LINE(text, "SessionFarmSyncLease", "%d ms", farm->lease_ms);
    LINE(text, "SessionFarmSyncMaxSize", "%lld", (long long)farm->session_bytes);
    LINE(text, "SessionFarmSyncMaxSessions", "%lld", (long long)farm->sessions);
    LINE(text, "SessionFarmSyncMemory", "%lld", (long long)farm->store_bytes);
}

int fs_session_section(apr_pool_t *pool, server_rec *main_server, farmsync_form_t form,
                       apr_array_header_t *sections)
{
    static void (*const tellers[])(fs_text_t *, const facts_t *) = {
        [FARMSYNC_HTML] = tell_html,       [FARMSYNC_JSON] = tell_json,
        [FARMSYNC_METRICS] = tell_metrics, [FARMSYNC_REPORT] = tell_report,
        [FARMSYNC_AUTO] = tell_auto,
    };
    const fs_session_farm_t *farm = fs_session_farm(main_server);
    const fs_session_host_t *host = fs_session_host();
    fs_text_t text;
    facts_t facts;

    if (form == FARMSYNC_DUMP && farm->used && farm->bank) {
        fs_text_init(&text, pool);
        dump_farm(&text, farm);
        dump_place(&text, fs_session_main_place(main_server));
        APR_ARRAY_PUSH(sections, const char *) = text.data;
        return OK;
    }
    if (form == FARMSYNC_DUMP || !host)
        return DECLINED;
    gather(&facts, host, pool);
    fs_text_init(&text, pool);
    tellers[form](&text, &facts);
    APR_ARRAY_PUSH(sections, const char *) = text.data;
    return OK;
}
