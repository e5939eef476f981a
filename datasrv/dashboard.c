/* SPDX-License-Identifier: Apache-2.0 */
/* GET /: the dashboard, what stands on it. html.c makes it a page. */
#include "service.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <config.h>

#include "health.h"
#include "html.h"
#include "sync/fs_cycle.h"

/* "1.2 MB" for people. */
static const char *size_text(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double size = (double)bytes;
    unsigned unit = 0;

    while (size >= 1000 && unit < 4) {
        size /= 1000;
        unit++;
    }
    snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", size, units[unit]);
    return out;
}

static void print_health(struct evbuffer *out, const fs_health_t *health)
{
    evbuffer_add_printf(out, "<p id=\"state\" class=\"%s\">%s</p>\n", health->ok ? "good" : "bad",
                        health->ok ? "This data server is well."
                                   : "This data server has a problem:");
    for (unsigned i = 0; i < health->count; i++) {
        const fs_finding_t *finding = &health->findings[i];

        evbuffer_add_printf(out, "<p class=\"%s\"><code>%s</code> ",
                            finding->failing ? "bad" : "warn", finding->what.problem);
        fs_html_text(out, finding->group);
        evbuffer_add_printf(out, "%s", finding->group[0] ? ": " : "");
        fs_html_text(out, finding->what.detail);
        evbuffer_add_printf(out, "</p>\n");
    }
}

static void print_clock(struct evbuffer *out, fs_service_t *service)
{
    fs_usec_t now = fs_time_mono(), offset, bound;
    char stamp[FS_TIME_TEXT_SIZE], source[64];

    if (!fs_board_clock(service->board, now, &offset, &bound, source)) {
        evbuffer_add_printf(out, "<p class=\"soft\">Farm time isn't known yet.</p>\n");
        return;
    }
    evbuffer_add_printf(out, "<p>Farm time <b>%s</b> <span class=\"soft\">&plusmn; %.3f ms, by ",
                        fs_time_format(now + offset, stamp), (double)bound / FS_USEC_PER_MSEC);
    fs_html_text(out, source);
    evbuffer_add_printf(out, "</span></p>\n");
}

static void print_datasets(struct evbuffer *out, fs_service_t *service,
                           const fs_manifest_version_t *version, const char *role)
{
    char size[24], hex[FS_DIGEST_HEX_SIZE];

    for (unsigned i = 0; i < version->dataset_count; i++) {
        const fs_manifest_dataset_t *dataset = &version->datasets[i];
        int here = fs_store_has(service->store, &dataset->digest);

        evbuffer_add_printf(out, "<tr><td>%s %" PRId64 "</td>", role, version->version);
        fs_html_cell(out, "", dataset->name);
        evbuffer_add_printf(out,
                            "<td class=\"n\">%" PRIu64 "</td><td class=\"n\">%s</td>"
                            "<td><code>%.12s</code></td><td class=\"%s\">%s</td></tr>\n",
                            dataset->rows, size_text(dataset->bytes, size),
                            fs_digest_hex(&dataset->digest, hex), here ? "good" : "warn",
                            here ? "here" : "not here yet");
    }
}

static const char *state_text(const fs_manifest_t *manifest)
{
    switch (manifest->state) {
    case FS_GROUP_HELD:
        return "held by an operator";
    case FS_GROUP_FAILED:
        return "running; the last promotion was refused";
    case FS_GROUP_WAITING:
        return "waiting for servers to be ready";
    case FS_GROUP_RUNNING:
        break;
    }
    return "running";
}

static void print_in_force(struct evbuffer *out, int64_t version)
{
    if (version > 0)
        evbuffer_add_printf(out, "<p>In force: <b>version %" PRId64 "</b>. ", version);
    else
        evbuffer_add_printf(out, "<p>Nothing is in force yet. ");
}

static void print_activation(struct evbuffer *out, const fs_manifest_t *manifest)
{
    char stamp[FS_TIME_TEXT_SIZE];

    if (manifest->activation_time >= FS_CYCLE_UNDECIDED)
        evbuffer_add_printf(out, "<p>No activation before the group is resumed.</p>\n");
    else
        evbuffer_add_printf(
            out,
            "<p>%s <span class=\"count\" data-until=\"%" PRId64 "\"></span> "
            "<span class=\"soft\">at %s</span></p>\n",
            manifest->state == FS_GROUP_WAITING ? "Planned activation" : "Activation",
            manifest->activation_time, fs_time_format(manifest->activation_time, stamp));
}

static void print_group(struct evbuffer *out, fs_service_t *service, const fs_group_facts_t *facts,
                        const fs_published_t *published, fs_usec_t now)
{
    const fs_manifest_version_t *versions[2];
    const fs_manifest_t *manifest;
    unsigned count;

    evbuffer_add_printf(out, "<h2>Group ");
    fs_html_text(out, facts->name);
    evbuffer_add_printf(out, "</h2>\n");
    if (!published) {
        evbuffer_add_printf(out, "<p class=\"soft\">Not known yet.</p>\n");
        return;
    }
    manifest = published->manifest;
    print_in_force(out, fs_manifest_in_force(manifest, now)->version);
    if (manifest->staged.version != manifest->active.version &&
        fs_manifest_in_force(manifest, now) == &manifest->active)
        evbuffer_add_printf(out, "Version <b>%" PRId64 "</b> is staged. ",
                            manifest->staged.version);
    if (manifest->pinned_version)
        evbuffer_add_printf(out, "<b class=\"warn\">Pinned to version %" PRId64 "</b>. ",
                            manifest->pinned_version);
    evbuffer_add_printf(
        out, "<span class=\"soft\">%s, every %.6g s, epoch %" PRId64 "%s</span></p>\n",
        manifest->pinned_version && manifest->state == FS_GROUP_RUNNING ? "nothing is promoted"
                                                                        : state_text(manifest),
        (double)manifest->interval / FS_USEC_PER_SEC, manifest->epoch,
        facts->promoting ? ", being promoted here" : "");
    print_activation(out, manifest);
    if (manifest->reason[0]) {
        evbuffer_add_printf(out, "<p class=\"warn\">");
        fs_html_text(out, manifest->reason);
        evbuffer_add_printf(out, "</p>\n");
    }
    evbuffer_add_printf(out, "<table><tr><th>Version</th><th>Dataset</th><th class=\"n\">Rows</th>"
                             "<th class=\"n\">Size</th><th>Digest</th><th>Image</th></tr>\n");
    count = fs_published_versions(published, now, versions);
    for (unsigned i = 0; i < count; i++)
        print_datasets(out, service, versions[i],
                       versions[i] == &manifest->staged &&
                               fs_manifest_in_force(manifest, now) == &manifest->active
                           ? "staged"
                           : "active");
    evbuffer_add_printf(out, "</table>\n");
}

static const char *at(const fs_table_t *table, unsigned row, unsigned column)
{
    return table->cells[(size_t)row * table->columns + column];
}

static double number_at(const fs_table_t *table, unsigned row, unsigned column)
{
    const char *text = at(table, row, column);

    return text ? strtod(text, NULL) : 0;
}

static void print_members(struct evbuffer *out, const fs_table_t *members)
{
    evbuffer_add_printf(out,
                        "<h2>Members</h2><table><tr><th>Name</th><th>Kind</th><th>Group</th>"
                        "<th>Address</th><th class=\"n\">In force</th><th class=\"n\">Staged</th>"
                        "<th class=\"n\">Clock within</th><th class=\"n\">Seen</th>"
                        "<th>Problem</th></tr>\n");
    for (unsigned i = 0; i < members->rows; i++) {
        double silent = number_at(members, i, FS_MEMBER_SILENT) / FS_USEC_PER_SEC;

        evbuffer_add_printf(out, "<tr>");
        fs_html_cell(out, "", at(members, i, FS_MEMBER_NAME));
        fs_html_cell(out, "", at(members, i, FS_MEMBER_KIND));
        fs_html_cell(out, "", at(members, i, FS_MEMBER_GROUP));
        fs_html_cell(out, "", at(members, i, FS_MEMBER_ADDRESS));
        fs_html_cell(out, "n", at(members, i, FS_MEMBER_ACTIVE));
        fs_html_cell(out, "n", at(members, i, FS_MEMBER_STAGED));
        if (at(members, i, FS_MEMBER_BOUND))
            evbuffer_add_printf(out, "<td class=\"n\">%.3f ms</td>",
                                number_at(members, i, FS_MEMBER_BOUND) / FS_USEC_PER_MSEC);
        else
            fs_html_cell(out, "n warn", "unknown");
        evbuffer_add_printf(out, "<td class=\"n %s\">%.0f s ago</td>", silent > 30 ? "bad" : "",
                            silent > 0 ? silent : 0);
        fs_html_cell(out, "warn", at(members, i, FS_MEMBER_PROBLEM));
        evbuffer_add_printf(out, "</tr>\n");
    }
    evbuffer_add_printf(out, "</table>\n");
    if (members->rows == FS_OVERVIEW_MEMBERS)
        evbuffer_add_printf(out,
                            "<p class=\"soft\">The first %d; SELECT * FROM farmsync.farm shows "
                            "all.</p>\n",
                            FS_OVERVIEW_MEMBERS);
}

static void print_history(struct evbuffer *out, const fs_table_t *history)
{
    evbuffer_add_printf(out, "<h2>History</h2><table><tr><th>When (UTC)</th><th>Group</th>"
                             "<th>What</th><th class=\"n\">Version</th><th>Who</th>"
                             "<th class=\"n\">Rows changed</th><th>Detail</th></tr>\n");
    for (unsigned i = 0; i < history->rows; i++) {
        const char *action = at(history, i, FS_HISTORY_ACTION);

        evbuffer_add_printf(out, "<tr>");
        fs_html_cell(out, "", at(history, i, FS_HISTORY_AT));
        fs_html_cell(out, "", at(history, i, FS_HISTORY_GROUP));
        fs_html_cell(out, action && !strcmp(action, "refused") ? "bad" : "", action);
        fs_html_cell(out, "n", at(history, i, FS_HISTORY_VERSION));
        fs_html_cell(out, "", at(history, i, FS_HISTORY_WHO));
        fs_html_cell(out, "n", at(history, i, FS_HISTORY_ROWS));
        fs_html_cell(out, "", at(history, i, FS_HISTORY_DETAIL));
        evbuffer_add_printf(out, "</tr>\n");
    }
    evbuffer_add_printf(out, "</table>\n");
}

/* What only the database knows, from the scribe's latest look. */
static void print_glance(struct evbuffer *out, fs_service_t *service)
{
    fs_glance_t *glance = fs_overview_look(service->overview);

    if (!glance) {
        fs_bell_ring(service->looked); /* somebody looks: read the tables now */
        evbuffer_add_printf(out, "<p class=\"soft\">Members and history are being read.</p>\n");
        return;
    }
    if (fs_time_mono() - glance->read > 10 * FS_USEC_PER_SEC)
        evbuffer_add_printf(out, "<p class=\"soft\">The following was read %lld s ago.</p>\n",
                            (long long)((fs_time_mono() - glance->read) / FS_USEC_PER_SEC));
    print_members(out, &glance->members);
    print_history(out, &glance->history);
    fs_glance_drop(glance);
}

static void print_page(struct evbuffer *out, fs_service_t *service, const fs_health_t *health)
{
    fs_group_facts_t facts[FS_BOARD_GROUPS];
    fs_published_t *published[FS_BOARD_GROUPS];
    fs_usec_t now = fs_board_farm_time(service->board);
    unsigned count = fs_board_groups(service->board, facts, published);

    fs_html_begin(out, now);
    evbuffer_add_printf(out, "<h1>farmsync <small>data server ");
    fs_html_text(out, service->name);
    evbuffer_add_printf(out, ", " PACKAGE_VERSION "</small></h1>\n");
    print_health(out, health);
    print_clock(out, service);
    for (unsigned i = 0; i < count; i++) {
        print_group(out, service, &facts[i], published[i], now);
        fs_published_drop(published[i]);
    }
    fs_bank_print_page(service, out);
    print_glance(out, service);
    fs_html_end(out);
}

void fs_service_dashboard(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    fs_health_t *health = fs_health_look(service);
    struct evbuffer *out = evbuffer_new();

    if (health && out) {
        print_page(out, service, health);
        service->counts.pages++;
        fs_http_call_set_header(call, "Content-Security-Policy", FS_HTML_POLICY);
        fs_http_call_set_header(call, "X-Content-Type-Options", "nosniff");
        fs_http_call_set_header(call, "Cache-Control", "no-store");
        fs_http_call_answer(call, 200, "text/html; charset=utf-8", evbuffer_pullup(out, -1),
                            evbuffer_get_length(out));
    } else {
        fs_http_call_answer(call, 503, NULL, NULL, 0);
    }
    if (out)
        evbuffer_free(out);
    free(health);
}
