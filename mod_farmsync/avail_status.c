/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What status page, metrics, /server-status and DUMP_FARMSYNC tell of availability: the
 * applications of this server, the notices it was told, and how it stands with the other servers.
 */
#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "avail.h"
#include "avail/fs_avail_peers.h"
#include "avail_settings.h"
#include "avail_state.h"
#include "parts_own.h"

typedef struct facts_t {
    server_rec *server;
    fs_avail_reader_t *reader;
    fs_avail_pin_t pin;
    fs_usec_t now;
    int applications;
    const char *trouble;
    fs_avail_peers_t *peers; /* NULL: not told */
} facts_t;

/* --- gathering ----------------------------------------------------------------------------------
 */

static facts_t *gather(apr_pool_t *pool, server_rec *server)
{
    facts_t *facts = apr_pcalloc(pool, sizeof(*facts));

    facts->server = server;
    facts->now = fs_avail_now();
    facts->applications = fs_avail_application_count(server);
    facts->trouble = fs_avail_trouble(pool);
    facts->reader = fs_avail_reader();
    facts->peers = apr_palloc(pool, sizeof(*facts->peers));
    if (fs_avail_read_peers(fs_child()->settings->state_dir, facts->peers))
        facts->peers = NULL;
    if (facts->reader)
        fs_avail_pin(&facts->pin);
    return facts;
}

static const fs_avail_rule_t *rule_of(const facts_t *facts, int index)
{
    return facts->pin.snapshot ? fs_avail_decisive(&facts->pin.snapshot->plans[index]) : NULL;
}

static const char *state_of(const fs_avail_rule_t *rule)
{
    return rule ? fs_notice_state_name(rule->notice->state) : "up";
}

static const fs_avail_marks_t *marks_of(const facts_t *facts, int index)
{
    return fs_avail_marks(facts->reader, fs_avail_application(facts->server, index)->name);
}

static const char *key_of(apr_pool_t *pool, const fs_notice_t *notice)
{
    return apr_pstrcat(pool, notice->application, "/", fs_notice_id(notice), NULL);
}

/* Why a notice has no effect here; NULL if it has. */
static const char *unusable(const facts_t *facts, const fs_notice_t *notice)
{
    const fs_avail_snapshot_t *snapshot = facts->pin.snapshot;

    for (int i = 0; i < snapshot->unusable_count; i++) {
        if (snapshot->unusable[i].notice == notice)
            return snapshot->unusable[i].problem;
    }
    return NULL;
}

static unsigned notice_count(const facts_t *facts)
{
    return facts->pin.snapshot ? facts->pin.snapshot->avail->count : 0;
}

static const char *time_text(apr_pool_t *pool, fs_usec_t time)
{
    char text[FS_TIME_TEXT_SIZE];

    return time ? apr_pstrdup(pool, fs_time_format(time, text)) : "open";
}

/* --- HTML ---------------------------------------------------------------------------------------
 */

static void cell(fs_text_t *text, const char *value)
{
    fs_text_puts(text, "<td>");
    fs_text_html(text, value ? value : "");
    fs_text_puts(text, "</td>");
}

static void html_application(fs_text_t *text, const facts_t *facts, int index)
{
    const fs_avail_rule_t *rule = rule_of(facts, index);
    const fs_avail_marks_t *marks = marks_of(facts, index);

    fs_text_puts(text, "<tr>");
    cell(text, fs_avail_application(facts->server, index)->name);
    fs_text_printf(text, "<td class=\"%s\">%s</td>", rule ? "bad" : "good", state_of(rule));
    cell(text, rule ? fs_notice_reason(rule->notice) : "");
    cell(text, rule ? time_text(text->pool, rule->end) : "");
    cell(text, rule ? key_of(text->pool, rule->notice) : "");
    fs_text_printf(text, "<td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64 "</td></tr>\n",
                   atomic_load(&marks->refused), atomic_load(&marks->passed));
}

static const char *notice_state(const facts_t *facts, const fs_notice_t *notice,
                                const fs_window_at_t *at)
{
    return unusable(facts, notice) ? "no effect" : at->in_force ? "in force" : "to come";
}

static void html_notice(fs_text_t *text, const facts_t *facts, const fs_notice_t *notice)
{
    fs_window_at_t at;

    fs_window_at(&notice->window, facts->now, &at);
    fs_text_puts(text, "<tr>");
    cell(text, key_of(text->pool, notice));
    cell(text, apr_pstrcat(text->pool, fs_notice_state_name(notice->state), ", ",
                           notice_state(facts, notice, &at), NULL));
    cell(text, apr_pstrcat(text->pool, fs_notice_role_name(notice->role), " ",
                           notice->who ? notice->who : "", NULL));
    cell(text, time_text(text->pool, at.start));
    cell(text, time_text(text->pool, at.end));
    cell(text, notice->condition);
    cell(text, unusable(facts, notice));
    fs_text_puts(text, "</tr>\n");
}

static const char *same_text(int same)
{
    return same > 0 ? "the same" : same ? "unknown" : "differs";
}

static void html_peers(fs_text_t *text, const facts_t *facts)
{
    fs_text_printf(text,
                   "<p>This server: %s, %" PRId64 " records.</p>\n<table><thead><tr><th>server</th>"
                   "<th>state</th><th>heard</th><th>what it knows</th></tr></thead>\n",
                   facts->peers->state, facts->peers->records);
    for (unsigned i = 0; i < facts->peers->count; i++) {
        const fs_avail_peer_t *peer = &facts->peers->peers[i];
        fs_usec_t age = peer->heard ? fs_time_mono() - peer->heard : -1;

        fs_text_puts(text, "<tr>");
        cell(text, peer->name);
        fs_text_printf(text, "<td class=\"%s\">%s</td>",
                       strcmp(peer->state, "alive") ? "bad" : "good", peer->state);
        cell(text, age < 0 ? "never"
                           : apr_psprintf(text->pool, "%.1f s ago", (double)age / FS_USEC_PER_SEC));
        fs_text_printf(text, "<td class=\"%s\">%s</td></tr>\n", peer->same == 0 ? "bad" : "good",
                       same_text(peer->same));
    }
    fs_text_puts(text, "</table>\n");
}

static void html_tables(fs_text_t *text, const facts_t *facts)
{
    fs_text_puts(text, "<table><thead><tr><th>application</th><th>state</th><th>reason</th>"
                       "<th>until</th><th>notice</th><th>refused</th><th>let through</th></tr>"
                       "</thead>\n");
    for (int i = 0; i < facts->applications; i++)
        html_application(text, facts, i);
    fs_text_puts(text, "</table>\n");
    if (!notice_count(facts))
        return;
    fs_text_puts(text, "<table><thead><tr><th>notice</th><th>says</th><th>told by</th><th>start"
                       "</th><th>end</th><th>condition</th><th>trouble</th></tr></thead>\n");
    for (unsigned i = 0; i < notice_count(facts); i++)
        html_notice(text, facts, &facts->pin.snapshot->avail->notices[i]);
    fs_text_puts(text, "</table>\n");
}

static void html(fs_text_t *text, const facts_t *facts)
{
    fs_text_puts(text, "<h2>availability</h2>\n");
    if (facts->trouble) {
        fs_text_puts(text, "<p class=\"bad\">");
        fs_text_html(text, facts->trouble);
        fs_text_puts(text, "</p>\n");
    }
    if (facts->applications && facts->reader)
        html_tables(text, facts);
    if (facts->peers)
        html_peers(text, facts);
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static void member(fs_text_t *text, const char *before, const char *name, const char *value)
{
    fs_text_printf(text, "%s\"%s\":", before, name);
    if (value)
        fs_text_json_string(text, value);
    else
        fs_text_puts(text, "null");
}

static void moment(fs_text_t *text, const char *name, fs_usec_t time)
{
    member(text, ",", name, time ? time_text(text->pool, time) : NULL);
}

static void json_application(fs_text_t *text, const facts_t *facts, int index)
{
    const fs_avail_rule_t *rule = rule_of(facts, index);
    const fs_avail_marks_t *marks = marks_of(facts, index);

    member(text, "{", "name", fs_avail_application(facts->server, index)->name);
    member(text, ",", "state", state_of(rule));
    member(text, ",", "reason", rule ? fs_notice_reason(rule->notice) : NULL);
    moment(text, "until", rule ? rule->end : 0);
    member(text, ",", "notice", rule ? key_of(text->pool, rule->notice) : NULL);
    fs_text_printf(text, ",\"refused\":%" PRIu64 ",\"passed\":%" PRIu64 "}",
                   atomic_load(&marks->refused), atomic_load(&marks->passed));
}

static void json_notice(fs_text_t *text, const facts_t *facts, const fs_notice_t *notice)
{
    fs_window_at_t at;

    fs_window_at(&notice->window, facts->now, &at);
    member(text, "{", "notice", key_of(text->pool, notice));
    member(text, ",", "state", fs_notice_state_name(notice->state));
    member(text, ",", "role", fs_notice_role_name(notice->role));
    member(text, ",", "reason", fs_notice_reason(notice));
    member(text, ",", "component", notice->component);
    member(text, ",", "who", notice->who);
    fs_text_printf(text, ",\"in_force\":%s", at.in_force ? "true" : "false");
    moment(text, "start", at.start);
    moment(text, "end", at.end);
    moment(text, "told", notice->time);
    member(text, ",", "condition", notice->condition);
    member(text, ",", "trouble", unusable(facts, notice));
    fs_text_puts(text, "}");
}

static void json_peers(fs_text_t *text, const fs_avail_peers_t *peers)
{
    fs_text_puts(text, ",\"backplane\":{");
    member(text, "", "state", peers->state);
    fs_text_printf(text, ",\"records\":%" PRId64 ",\"peers\":[", peers->records);
    for (unsigned i = 0; i < peers->count; i++) {
        const fs_avail_peer_t *peer = &peers->peers[i];

        member(text, i ? ",{" : "{", "server", peer->name);
        member(text, ",", "state", peer->state);
        if (peer->heard)
            fs_text_printf(text, ",\"age_us\":%" PRId64, fs_time_mono() - peer->heard);
        else
            fs_text_puts(text, ",\"age_us\":null");
        fs_text_printf(text, ",\"same\":%s}",
                       peer->same < 0 ? "null"
                       : peer->same   ? "true"
                                      : "false");
    }
    fs_text_puts(text, "]}");
}

static void json(fs_text_t *text, const facts_t *facts)
{
    fs_text_printf(text, "\"availability\":{\"publication\":%" PRIu64,
                   facts->pin.snapshot ? facts->pin.snapshot->avail->generation : 0);
    member(text, ",", "trouble", facts->trouble);
    fs_text_puts(text, ",\"applications\":[");
    for (int i = 0; facts->reader && i < facts->applications; i++) {
        fs_text_puts(text, i ? ",\n" : "\n");
        json_application(text, facts, i);
    }
    fs_text_puts(text, "],\"notices\":[");
    for (unsigned i = 0; i < notice_count(facts); i++) {
        fs_text_puts(text, i ? ",\n" : "\n");
        json_notice(text, facts, &facts->pin.snapshot->avail->notices[i]);
    }
    fs_text_puts(text, "]");
    if (facts->peers)
        json_peers(text, facts->peers);
    fs_text_puts(text, "}");
}

/* --- metrics ------------------------------------------------------------------------------------
 */

static void head(fs_text_t *text, const char *name, const char *type, const char *help)
{
    fs_text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metrics_applications(fs_text_t *text, const facts_t *facts)
{
    head(text, "farmsync_application_up", "gauge",
         "1 if no notice without a condition has the application down on this server.");
    for (int i = 0; i < facts->applications; i++) {
        const fs_avail_rule_t *rule = rule_of(facts, i);

        fs_text_printf(text, "farmsync_application_up{application=\"%s\"} %d\n",
                       fs_avail_application(facts->server, i)->name,
                       !rule || rule->notice->state != FS_NOTICE_DOWN);
    }
    head(text, "farmsync_application_refused_total", "counter",
         "Requests that were refused because the application is down.");
    for (int i = 0; i < facts->applications; i++)
        fs_text_printf(text, "farmsync_application_refused_total{application=\"%s\"} %" PRIu64 "\n",
                       fs_avail_application(facts->server, i)->name,
                       atomic_load(&marks_of(facts, i)->refused));
    head(text, "farmsync_application_passed_total", "counter",
         "Requests that were let through although a notice was in force.");
    for (int i = 0; i < facts->applications; i++)
        fs_text_printf(text, "farmsync_application_passed_total{application=\"%s\"} %" PRIu64 "\n",
                       fs_avail_application(facts->server, i)->name,
                       atomic_load(&marks_of(facts, i)->passed));
    head(text, "farmsync_notices", "gauge", "Notices that this server was told.");
    fs_text_printf(text, "farmsync_notices %u\n", notice_count(facts));
    head(text, "farmsync_notices_without_effect", "gauge",
         "Notices whose condition httpd doesn't understand on this server.");
    fs_text_printf(text, "farmsync_notices_without_effect %d\n",
                   facts->pin.snapshot ? facts->pin.snapshot->unusable_count : 0);
    head(text, "farmsync_notices_damaged", "gauge",
         "1 if the published notices are damaged and older ones stay in force.");
    fs_text_printf(text, "farmsync_notices_damaged %d\n", facts->trouble != NULL);
}

static void metrics_peers(fs_text_t *text, const fs_avail_peers_t *peers)
{
    head(text, "farmsync_backplane_ready", "gauge",
         "0 while this server has not yet heard from the others what it missed.");
    fs_text_printf(text, "farmsync_backplane_ready %d\n", strcmp(peers->state, "syncing") != 0);
    head(text, "farmsync_peer_alive", "gauge", "1 if the other server is heard of.");
    for (unsigned i = 0; i < peers->count; i++)
        fs_text_printf(text, "farmsync_peer_alive{peer=\"%s\"} %d\n", peers->peers[i].name,
                       !strcmp(peers->peers[i].state, "alive"));
    head(text, "farmsync_peer_age_seconds", "gauge", "Since the other server was heard of.");
    for (unsigned i = 0; i < peers->count; i++) {
        if (peers->peers[i].heard)
            fs_text_printf(text, "farmsync_peer_age_seconds{peer=\"%s\"} %.3f\n",
                           peers->peers[i].name,
                           (double)(fs_time_mono() - peers->peers[i].heard) / FS_USEC_PER_SEC);
    }
    head(text, "farmsync_peer_same_state", "gauge",
         "1 if the other server has the same notices and members as this one.");
    for (unsigned i = 0; i < peers->count; i++) {
        if (peers->peers[i].same >= 0)
            fs_text_printf(text, "farmsync_peer_same_state{peer=\"%s\"} %d\n", peers->peers[i].name,
                           peers->peers[i].same);
    }
}

static void metrics(fs_text_t *text, const facts_t *facts)
{
    if (facts->applications && facts->reader)
        metrics_applications(text, facts);
    if (facts->peers)
        metrics_peers(text, facts->peers);
}

/* --- /server-status?auto ------------------------------------------------------------------------
 */

static void lines(fs_text_t *text, const facts_t *facts)
{
    for (int i = 0; facts->reader && i < facts->applications; i++) {
        const char *name = fs_avail_application(facts->server, i)->name;

        fs_text_printf(
            text, "FarmSyncApplication[%s]State: %s\nFarmSyncApplication[%s]Refused: %" PRIu64 "\n",
            name, state_of(rule_of(facts, i)), name, atomic_load(&marks_of(facts, i)->refused));
    }
    for (unsigned i = 0; facts->peers && i < facts->peers->count; i++)
        fs_text_printf(text, "FarmSyncPeer[%s]State: %s\nFarmSyncPeer[%s]Same: %s\n",
                       facts->peers->peers[i].name, facts->peers->peers[i].state,
                       facts->peers->peers[i].name, same_text(facts->peers->peers[i].same));
}

/* --- DUMP_FARMSYNC ------------------------------------------------------------------------------
 */

static void dump_line(fs_text_t *text, const char *directive, const char *value)
{
    fs_text_printf(text, "  %-24s %s\n", directive, value);
}

static void dump_prefixes(fs_text_t *text, const fs_avail_settings_t *settings)
{
    for (int i = 0; settings->prefixes && i < settings->prefixes->nelts; i++) {
        const fs_avail_prefix_t *prefix = &APR_ARRAY_IDX(settings->prefixes, i, fs_avail_prefix_t);

        dump_line(text, "FarmSyncApplication",
                  apr_psprintf(text->pool, "%s %s", prefix->application,
                               *prefix->path ? prefix->path : "/"));
    }
    if (!settings->prefixes)
        dump_line(text, "FarmSyncApplication", "(none)");
}

static void dump_answers(fs_text_t *text, const fs_avail_settings_t *settings)
{
    dump_line(text, "FarmSyncAvailable",
              apr_psprintf(text->pool, "%d expressions",
                           settings->bypasses ? settings->bypasses->nelts : 0));
    for (int i = 0; settings->documents && i < settings->documents->nelts; i++) {
        const fs_avail_document_t *document =
            &APR_ARRAY_IDX(settings->documents, i, fs_avail_document_t);

        dump_line(text, "FarmSyncAvailDocument",
                  apr_pstrcat(text->pool, document->name,
                              document->application ? " application=" : "",
                              document->application ? document->application : "",
                              document->language ? " language=" : "",
                              document->language ? document->language : "", NULL));
    }
    if (!settings->documents)
        dump_line(text, "FarmSyncAvailDocument", "(built in)");
    dump_line(text, "FarmSyncAvailStatus",
              apr_psprintf(text->pool, "%d", fs_avail_settings_status(settings, "")));
    dump_line(text, "FarmSyncAvailLanguage", settings->language ? settings->language : "en");
    dump_line(text, "FarmSyncAvailRetry", apr_psprintf(text->pool, "%d s", settings->retry));
    dump_line(text, "FarmSyncAvailBody",
              apr_psprintf(text->pool, "%" APR_OFF_T_FMT " bytes", settings->body));
}

static void dump(fs_text_t *text, const server_rec *main_server)
{
    const fs_avail_settings_t *settings = fs_avail_settings(main_server);

    dump_prefixes(text, settings);
    for (int i = 0; settings->uses && i < settings->uses->nelts; i++) {
        const char **pair = (const char **)settings->uses->elts + 2 * i;

        dump_line(text, "FarmSyncApplicationUses",
                  apr_pstrcat(text->pool, pair[0], " ", pair[1], NULL));
    }
    dump_answers(text, settings);
}

/* --- the section --------------------------------------------------------------------------------
 */

static int section(apr_pool_t *pool, server_rec *server, farmsync_form_t form,
                   apr_array_header_t *sections)
{
    facts_t *facts;
    fs_text_t text;

    fs_text_init(&text, pool);
    if (form == FARMSYNC_DUMP) {
        dump(&text, server);
        APR_ARRAY_PUSH(sections, const char *) = text.data;
        return OK;
    }
    facts = gather(pool, server);
    if (form == FARMSYNC_JSON)
        json(&text, facts);
    else if (facts->applications || facts->peers)
        (form == FARMSYNC_METRICS ? metrics : form == FARMSYNC_AUTO ? lines : html)(&text, facts);
    if (facts->reader)
        fs_avail_unpin(&facts->pin);
    if (text.length)
        APR_ARRAY_PUSH(sections, const char *) = text.data;
    return OK;
}

void fs_avail_status_register(void)
{
    APR_OPTIONAL_HOOK(farmsync, farmsync_section, section, NULL, NULL, APR_HOOK_FIRST);
}
