/* SPDX-License-Identifier: Apache-2.0 */
/* The handler farmsync-status and its page. */
#include "status.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>
#include <http_request.h>

#include "child.h"
#include "module.h"
#include "parts_own.h"
#include "sync/fs_manifest.h"

const char fs_status_release[] = FS_RELEASE;

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<meta http-equiv=\"refresh\" content=\"5\">\n<title>farmsync: ";
static const char page_style[] =
    "</title>\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2430;background:#fff}\n"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde2e8;"
    "vertical-align:top}\n"
    "th{font-weight:600;width:16rem}thead th{width:auto}td.n{text-align:right;"
    "font-variant-numeric:tabular-nums}\n"
    ".good{color:#0a6b35}.bad{color:#b00020}.note{color:#5a6573}\n"
    "@media(prefers-color-scheme:dark){body{color:#dde2e8;background:#15191f}"
    "th,td{border-color:#333b46}.good{color:#5fd38d}.bad{color:#ff8a80}.note{color:#9aa5b1}}\n"
    "</style></head><body>\n";

static void row(fs_text_t *text, const char *name, const char *value)
{
    fs_text_puts(text, "<tr><th scope=\"row\">");
    fs_text_html(text, name);
    fs_text_puts(text, "</th><td>");
    fs_text_html(text, value);
    fs_text_puts(text, "</td></tr>\n");
}

#define ROW(text, name, ...) row(text, name, apr_psprintf((text)->pool, __VA_ARGS__))

static const char *time_text(apr_pool_t *pool, fs_usec_t time)
{
    char buffer[FS_TIME_TEXT_SIZE];

    return time ? apr_pstrdup(pool, fs_time_format(time, buffer)) : "unknown";
}

/* How far that farm time may have been from the database's. */
static const char *bound_text(apr_pool_t *pool, fs_usec_t bound)
{
    return bound != INT64_MAX ? apr_psprintf(pool, " +- %.3f ms", (double)bound / 1000)
                              : ", farm time not measured";
}

/* "in 3.2 s", "since 8.0 s", or nothing without a clock. */
static const char *activation_text(apr_pool_t *pool, const fs_facts_t *facts,
                                   const fs_group_facts_t *group)
{
    fs_usec_t until = group->until_activation;

    if (!facts->clock_known)
        return "";
    if (until >= 0)
        return apr_psprintf(pool, " (in %s)", fs_facts_span(pool, until));
    return apr_psprintf(pool, " (%s ago)", fs_facts_span(pool, -until));
}

static void html_datasets(fs_text_t *text, const fs_view_t *view)
{
    char hex[FS_DIGEST_HEX_SIZE];

    fs_text_puts(text, "<table><thead><tr><th>dataset</th><th>rows</th><th>bytes</th>"
                       "<th>image</th></tr></thead>\n");
    for (unsigned i = 0; i < view->dataset_count; i++) {
        fs_text_puts(text, "<tr><td>");
        fs_text_html(text, view->datasets[i].name);
        fs_text_printf(text,
                       "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
                       "</td><td><code>%.12s</code></td></tr>\n",
                       fs_image_rows(view->images[i]), fs_image_bytes(view->images[i]),
                       fs_digest_hex(&view->datasets[i].digest, hex));
    }
    fs_text_puts(text, "</table>\n");
}

static void html_switch(fs_text_t *text, const fs_facts_t *facts, const fs_group_facts_t *group)
{
    const fs_control_group_t *record = &group->record;

    ROW(text, "active version", "%" PRId64 "%s", record->active_version,
        record->active_view ? "" : " (not here)");
    if (record->staged_version != record->active_version)
        ROW(text, "staged version", "%" PRId64 "%s", record->staged_version,
            record->staged_view ? "" : " (not here yet)");
    ROW(text, record->undecided ? "planned activation" : "activation time", "%s%s",
        time_text(text->pool, record->activation_time), activation_text(text->pool, facts, group));
    ROW(text, "interval", "%s", fs_facts_span(text->pool, record->interval));
    ROW(text, "last confirmed", "%s%s", fs_facts_span(text->pool, group->heard_age),
        group->heard_age >= 0 ? " ago" : "");
    if (group->first_new)
        ROW(text, "newest version served", "%" PRId64 ", first at %s%s", group->floor,
            time_text(text->pool, group->first_new),
            bound_text(text->pool, group->first_new_bound));
    if (group->last_old)
        ROW(text, "last answer from the version before", "%s%s",
            time_text(text->pool, group->last_old), bound_text(text->pool, group->last_old_bound));
}

static void html_group(fs_text_t *text, const fs_facts_t *facts, const fs_group_facts_t *group)
{
    fs_text_puts(text, "<h2>group ");
    fs_text_html(text, group->name);
    fs_text_puts(text, "</h2>\n");
    if (group->trouble) {
        fs_text_puts(text, "<p class=\"bad\">");
        fs_text_html(text, group->trouble);
        fs_text_puts(text, "</p>\n");
    }
    if (!group->known)
        return;
    fs_text_puts(text, "<table>\n");
    ROW(text, "serving version", "%" PRId64 "%s", group->choice.version,
        group->choice.stale ? " (stale)" : "");
    row(text, "state", fs_facts_group_state(group));
    if (fs_facts_pinned(group))
        ROW(text, "pinned", "to version %" PRId64 ": nothing newer comes until farmsync.unpin",
            fs_facts_pinned(group));
    if (group->record.reason[0])
        row(text,
            group->record.state == FS_GROUP_FAILED ? "the last promotion was refused" : "cycle",
            group->record.reason);
    html_switch(text, facts, group);
    ROW(text, "requests", "%" PRIu64 ", look-ups %" PRIu64 ", misses %" PRIu64 ", refused %" PRIu64,
        group->requests, group->lookups, group->misses, group->refused);
    if (group->record.problem[0] && !group->trouble)
        ROW(text, "latest difficulty", "%s: %s", group->record.problem, group->record.detail);
    fs_text_puts(text, "</table>\n");
    if (group->view)
        html_datasets(text, group->view);
}

static void html_server(fs_text_t *text, const fs_facts_t *facts)
{
    fs_text_puts(text, "<table>\n");
    if (facts->agent_age < 0)
        row(text, "agent", "never seen since the start of this host");
    else
        ROW(text, "agent", "%s, pid %" PRId64 ", sign of life %s ago",
            facts->agent_alive ? "running" : "silent", facts->agent_pid,
            fs_facts_span(text->pool, facts->agent_age));
    row(text, "farm time",
        facts->clock.state == FS_CLOCK_NONE ? "unknown" : time_text(text->pool, facts->farm));
    if (facts->clock_known)
        ROW(text, "clock", "measured %s ago against %s, bound %.3f ms",
            fs_facts_span(text->pool, facts->measured_age), facts->clock.source,
            (double)facts->bound / 1000);
    else
        row(text, "clock", fs_facts_clock_state(facts));
    row(text, "state directory", facts->settings->state_dir);
    ROW(text, "this process", "%u views mapped, %u pins", facts->views_mapped, facts->views_pinned);
    fs_text_puts(text, "</table>\n");
}

static void write_html(fs_text_t *text, const fs_facts_t *facts)
{
    fs_text_puts(text, page_head);
    fs_text_html(text, facts->settings->server);
    fs_text_puts(text, page_style);
    fs_text_puts(text, "<h1>");
    fs_text_html(text, facts->settings->server);
    fs_text_printf(text, ": <span class=\"%s\">", facts->healthy ? "good" : "bad");
    fs_text_html(text, facts->healthy ? "healthy" : "not healthy");
    fs_text_puts(text, "</span></h1>\n");
    if (strcmp(facts->reason, "ok")) {
        fs_text_printf(text, "<p class=\"%s\">", facts->healthy ? "note" : "bad");
        fs_text_html(text, facts->reason);
        fs_text_puts(text, "</p>\n");
    }
    html_server(text, facts);
    for (int i = 0; i < facts->group_count; i++)
        html_group(text, facts, &facts->groups[i]);
    fs_parts_tell(text, fs_child()->server, FARMSYNC_HTML, "");
    fs_text_printf(text,
                   "<p class=\"note\">farmsync %s &middot; <a href=\"?json\">JSON</a> &middot; "
                   "<a href=\"?metrics\">metrics</a></p>\n</body></html>\n",
                   fs_status_release);
}

/* --- the handler --------------------------------------------------------------------------------
 */

static int send_text(request_rec *r, const char *type, const fs_text_t *text)
{
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    ap_set_content_type(r, type);
    ap_set_content_length(r, (apr_off_t)text->length);
    ap_rwrite(text->data, (int)text->length, r);
    return OK;
}

static int ends_with(const char *uri, const char *ending)
{
    size_t length = strlen(uri), wanted = strlen(ending);

    return length >= wanted && !strcmp(uri + length - wanted, ending);
}

static int send_health(request_rec *r, const fs_facts_t *facts, fs_text_t *text)
{
    fs_text_printf(text, "%s\n", facts->reason);
    r->status = facts->healthy ? HTTP_OK : HTTP_SERVICE_UNAVAILABLE;
    return send_text(r, "text/plain; charset=utf-8", text);
}

static int send_facts(request_rec *r, const fs_facts_t *facts)
{
    fs_text_t text;

    fs_text_init(&text, r->pool);
    if (ends_with(r->uri, "/health"))
        return send_health(r, facts, &text);
    if (r->args && !strcmp(r->args, "json")) {
        fs_status_json(&text, facts);
        return send_text(r, "application/json", &text);
    }
    if (r->args && !strcmp(r->args, "metrics")) {
        fs_status_metrics(&text, facts);
        return send_text(r, "text/plain; version=0.0.4; charset=utf-8", &text);
    }
    write_html(&text, facts);
    return send_text(r, "text/html; charset=utf-8", &text);
}

int fs_handler_status(request_rec *r)
{
    const fs_child_t *child = fs_child();
    fs_facts_t *facts;
    int status;

    if (!r->handler || strcmp(r->handler, "farmsync-status") != 0)
        return DECLINED;
    if (r->method_number != M_GET) {
        ap_allow_methods(r, REPLACE_ALLOW, "GET", "HEAD", NULL);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (!child)
        return HTTP_SERVICE_UNAVAILABLE;
    facts = fs_facts_gather(r->pool, child->settings, child->control, child->cache,
                            fs_settings_on_stale(r));
    status = send_facts(r, facts);
    fs_facts_done(facts, child->cache);
    return status;
}
