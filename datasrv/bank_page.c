/* SPDX-License-Identifier: Apache-2.0 */
/* The session bank in /metrics, on the dashboard and in /healthz. */
#include <event2/buffer.h>
#include <inttypes.h>

#include "html.h"
#include "service.h"

#define SECONDS(usec) ((double)(usec) / FS_USEC_PER_SEC)
#define MIB(bytes)    ((double)(bytes) / (1 << 20))
#define BEHIND_AFTER  (10 * FS_USEC_PER_SEC) /* a pass takes its time */

/* One look at everything, so that what is said of it agrees. */
typedef struct look_t {
    fs_bank_totals_t totals;
    fs_bank_sync_t sync;
    fs_usec_t now;
    unsigned count;
    fs_bank_peer_facts_t peers[FS_BANK_PEERS];
} look_t;

static void look_at(fs_service_t *service, look_t *look)
{
    look->now = fs_time_mono();
    fs_bank_totals(service->bank, &look->totals);
    fs_bank_hosts_sync(service->bank->hosts, look->now, &look->sync);
    look->count = fs_bank_peers_facts(service->bank_peers, look->peers);
}

static fs_usec_t lag_of(const look_t *look)
{
    return look->sync.behind ? look->now - look->sync.behind_since : 0;
}

/* --- metrics -------------------------------------------------------------------------------------
 */

static void print_gauges(struct evbuffer *out, const look_t *look)
{
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"sessions", "Sessions held, ended ones included.", (double)look->totals.sessions},
        {"aside", "Second copies that a host has to merge.", (double)look->totals.aside},
        {"bytes", "Bytes that they take.", (double)look->totals.bytes},
        {"limit_bytes", "SessionMemory in bytes.", (double)look->totals.limit_bytes},
        {"full", "1 if new sessions find no room.", look->totals.full},
        {"in_sync", "1 if what is unknown here isn't known by others.", look->sync.in_sync},
        {"hosts", "Web servers whose lease runs.", look->sync.hosts},
        {"behind", "Web servers and bank servers that have not brought what they have yet.",
         look->sync.behind},
        {"lag_seconds", "Since when the first of these is behind.", SECONDS(lag_of(look))},
    };

    for (unsigned i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
        evbuffer_add_printf(out,
                            "# HELP farmsync_bank_%s %s\n# TYPE farmsync_bank_%s gauge\n"
                            "farmsync_bank_%s %.15g\n",
                            gauges[i].name, gauges[i].help, gauges[i].name, gauges[i].name,
                            gauges[i].value);
}

static void print_counters(struct evbuffer *out, fs_bank_counts_t *counts)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } counters[] = {
        {"requests_total", "Requests of web servers and bank servers.", counts->asked},
        {"stored_total", "Copies stored and confirmed.", counts->stored},
        {"merges_total", "Copies sent back for their host to merge.", counts->merges},
        {"granted_total", "Sessions given to who wanted them.", counts->granted},
        {"refused_total", "Sessions not given because their owner lives.", counts->refused},
        {"no_room_total", "Copies that found no room.", counts->full},
        {"expired_total", "Sessions removed at their end.", counts->expired},
        {"copied_total", "Copies fetched from other bank servers.", counts->copied},
        {"busy_total", "Requests put off because too many waited.", counts->busy},
        {"failed_total", "Transactions that failed.", counts->failed},
    };

    for (unsigned i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
        evbuffer_add_printf(out,
                            "# HELP farmsync_bank_%s %s\n# TYPE farmsync_bank_%s counter\n"
                            "farmsync_bank_%s %" PRIu64 "\n",
                            counters[i].name, counters[i].help, counters[i].name, counters[i].name,
                            counters[i].value);
}

static void print_peers(struct evbuffer *out, const look_t *look)
{
    static const char *const kinds[][3] = {
        {"peer_up", "gauge", "1 if the bank server answers."},
        {"peer_done", "gauge", "1 if all that it has is here."},
        {"peer_received_total", "counter", "Copies that came from it."},
        {"peer_sent_total", "counter", "Copies sent to it in the place of a dead one."}};

    for (unsigned k = 0; look->count && k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        evbuffer_add_printf(out, "# HELP farmsync_bank_%s %s\n# TYPE farmsync_bank_%s %s\n",
                            kinds[k][0], kinds[k][2], kinds[k][0], kinds[k][1]);
        for (unsigned i = 0; i < look->count; i++) {
            const fs_bank_peer_facts_t *peer = &look->peers[i];
            const uint64_t values[] = {(uint64_t)peer->up, (uint64_t)peer->done, peer->received,
                                       peer->sent};

            evbuffer_add_printf(out, "farmsync_bank_%s{peer=\"%s\"} %" PRIu64 "\n", kinds[k][0],
                                peer->name, values[k]);
        }
    }
}

void fs_bank_print_metrics(fs_service_t *service, struct evbuffer *out)
{
    look_t look;

    evbuffer_add_printf(out,
                        "# HELP farmsync_bank_up 1 if sessions are kept here.\n"
                        "# TYPE farmsync_bank_up gauge\nfarmsync_bank_up %d\n",
                        service->bank != NULL);
    if (!service->bank)
        return;
    look_at(service, &look);
    print_gauges(out, &look);
    print_counters(out, &service->bank->counts);
    print_peers(out, &look);
}

/* --- dashboard -----------------------------------------------------------------------------------
 */

static void print_sync(struct evbuffer *out, const look_t *look)
{
    if (look->sync.in_sync) {
        evbuffer_add_printf(out, "<span class=\"good\">in sync</span>");
    } else if (look->sync.behind) {
        evbuffer_add_printf(out, "<span class=\"warn\">not in sync, waits for ");
        fs_html_text(out, look->sync.waits_for);
        evbuffer_add_printf(out, " for %.0f s</span>", SECONDS(lag_of(look)));
    } else {
        evbuffer_add_printf(out, "<span class=\"soft\">no web server has brought sessions "
                                 "yet</span>");
    }
}

static void print_peer_rows(struct evbuffer *out, const look_t *look)
{
    evbuffer_add_printf(out, "<table><tr><th>Bank server</th><th>State</th>"
                             "<th class=\"n\">Copies from it</th><th class=\"n\">Copies to it</th>"
                             "</tr>\n");
    for (unsigned i = 0; i < look->count; i++) {
        const fs_bank_peer_facts_t *peer = &look->peers[i];

        evbuffer_add_printf(out, "<tr><td>");
        fs_html_text(out, peer->name);
        evbuffer_add_printf(out, "</td><td class=\"%s\">", peer->up ? "good" : "bad");
        if (peer->up)
            evbuffer_add_printf(out, "%s",
                                peer->done ? "answers" : "answers; being read for what it has");
        else
            fs_html_text(out, peer->problem.detail[0] ? peer->problem.detail : "not heard yet");
        evbuffer_add_printf(
            out, "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64 "</td></tr>\n",
            peer->received, peer->sent);
    }
    evbuffer_add_printf(out, "</table>\n");
}

void fs_bank_print_page(fs_service_t *service, struct evbuffer *out)
{
    look_t look;

    evbuffer_add_printf(out, "<h2>Sessions</h2>\n");
    if (!service->bank) {
        evbuffer_add_printf(out, "<p class=\"warn\">None are kept here.</p>\n");
        return;
    }
    look_at(service, &look);
    evbuffer_add_printf(out, "<p><b>%" PRIu64 "</b> held in %.1f of %.0f MiB%s, ",
                        look.totals.sessions, MIB(look.totals.bytes), MIB(look.totals.limit_bytes),
                        look.totals.full ? " <b class=\"bad\">(full)</b>" : "");
    print_sync(out, &look);
    evbuffer_add_printf(out, " <span class=\"soft\">%u web servers</span></p>\n", look.sync.hosts);
    if (look.count)
        print_peer_rows(out, &look);
}

/* --- health --------------------------------------------------------------------------------------
 */

void fs_bank_find(fs_service_t *service, fs_health_t *health)
{
    look_t look;

    if (!service->bank) {
        fs_health_find(health, 0, "", "FS1406",
                       "no sessions are kept here: the session bank could not be opened; the log "
                       "says why");
        return;
    }
    look_at(service, &look);
    if (look.totals.full)
        fs_health_find(health, 0, "", "FS1409",
                       "the session bank is full: %" PRIu64 " sessions in %.0f MiB",
                       look.totals.sessions, MIB(look.totals.bytes));
    if (!look.sync.in_sync && lag_of(&look) > BEHIND_AFTER)
        fs_health_find(health, 0, "", "FS1412",
                       "the session bank isn't in sync: %.64s has not brought what it has for %.0f "
                       "s",
                       look.sync.waits_for, SECONDS(lag_of(&look)));
    for (unsigned i = 0; i < look.count; i++)
        if (!look.peers[i].up && look.peers[i].problem.problem[0])
            fs_health_find(health, 0, "", "FS1420", "bank server %s doesn't answer: %s",
                           look.peers[i].name, look.peers[i].problem.detail);
}
