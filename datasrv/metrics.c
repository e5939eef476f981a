/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: the text format 0.0.4 of Prometheus. Units are seconds and bytes, as it asks. */
#include "service.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <config.h>

#include "health.h"
#include <stdlib.h>

#define SECONDS(usec) ((double)(usec) / FS_USEC_PER_SEC)

/* One look at everything, so that the numbers of one answer agree. */
typedef struct look_t {
    unsigned count;
    fs_group_facts_t facts[FS_BOARD_GROUPS];
    fs_published_t *published[FS_BOARD_GROUPS];
} look_t;

static void head(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    evbuffer_add_printf(out, "# HELP farmsync_%s %s\n# TYPE farmsync_%s %s\n", name, help, name,
                        type);
}

static void one(struct evbuffer *out, const char *name, const char *type, const char *help,
                double value)
{
    head(out, name, type, help);
    evbuffer_add_printf(out, "farmsync_%s %.15g\n", name, value);
}

/* A label's value, escaped as the format demands. */
static const char *label_fit(const char *text, char *out, size_t size)
{
    char *to = out;

    for (; *text && to < out + size - 3; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n')
            *to++ = '\\';
        *to++ = *text == '\n' ? 'n' : *text;
    }
    *to = '\0';
    return out;
}

static const char *label(const char *text, char out[2 * FS_IMAGE_NAME_SIZE])
{
    return label_fit(text, out, 2 * FS_IMAGE_NAME_SIZE);
}

static void print_server(fs_service_t *service, struct evbuffer *out)
{
    const fs_service_counts_t *counts = &service->counts;
    char name[2 * FS_IMAGE_NAME_SIZE];
    fs_health_t *health = fs_health_look(service);

    head(out, "datasrv_info", "gauge", "Always 1; says name and release.");
    evbuffer_add_printf(out, "farmsync_datasrv_info{name=\"%s\",version=\"%s\"} 1\n",
                        label(service->name, name), PACKAGE_VERSION);
    one(out, "datasrv_healthy", "gauge", "1 if /healthz answers 200.", health && health->ok);
    free(health);
    one(out, "datasrv_uptime_seconds", "gauge", "Seconds since the start.",
        SECONDS(fs_time_mono() - service->started));
    head(out, "datasrv_answers_total", "counter", "Answers by kind.");
    evbuffer_add_printf(out,
                        "farmsync_datasrv_answers_total{kind=\"time\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"manifest\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"unchanged\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"image\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"delta\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"busy\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"report\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"page\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"unknown\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"unready\"} %" PRIu64 "\n"
                        "farmsync_datasrv_answers_total{kind=\"refused\"} %" PRIu64 "\n",
                        counts->times, counts->manifests, counts->unchanged, counts->images,
                        counts->deltas, counts->busy, counts->reports, counts->pages,
                        counts->unknown, counts->unready, counts->refused);
    one(out, "datasrv_image_bytes_total", "counter",
        "Bytes of the images that were asked for, ranges counted whole.",
        (double)counts->image_bytes);
    one(out, "datasrv_delta_bytes_total", "counter",
        "Bytes of the deltas that were asked for, ranges counted whole.",
        (double)counts->delta_bytes);
    one(out, "datasrv_transfers", "gauge", "Images and deltas that are being sent.",
        fs_http_server_files(service->server));
    one(out, "datasrv_waiting", "gauge", "Long polls for a manifest that are open.",
        counts->waiting);
}

static void print_clock(fs_service_t *service, struct evbuffer *out)
{
    fs_database_facts_t database;
    fs_usec_t now = fs_time_mono(), offset = 0, bound = 0;
    int known = fs_board_clock(service->board, now, &offset, &bound, NULL);

    fs_board_database(service->board, &database);
    one(out, "database_up", "gauge", "1 while the database answers.", database.up);
    one(out, "database_connects_total", "counter", "How often it became reachable.",
        (double)database.connects);
    one(out, "database_failures_total", "counter", "Failed tries to reach or use it.",
        (double)database.failures);
    if (database.answered)
        one(out, "database_silent_seconds", "gauge", "Seconds since its latest answer.",
            SECONDS(now - database.answered));
    one(out, "clock_known", "gauge", "1 if farm time is known here.", known);
    if (!known)
        return;
    one(out, "clock_bound_seconds", "gauge", "Farm time is known to within this.", SECONDS(bound));
    one(out, "clock_wall_offset_seconds", "gauge", "Farm time minus this host's wall clock.",
        SECONDS(now + offset - fs_time_wall()));
}

static void print_store(fs_service_t *service, struct evbuffer *out)
{
    fs_deltas_totals_t deltas;
    unsigned images;
    uint64_t bytes, disk_free;

    fs_store_totals(service->store, &images, &bytes, &disk_free);
    one(out, "datasrv_images", "gauge", "Verified images in ImageDir.", images);
    one(out, "datasrv_images_bytes", "gauge", "Bytes of these images.", (double)bytes);
    fs_deltas_totals(service->deltas, &deltas);
    one(out, "datasrv_deltas", "gauge", "Deltas in ImageDir.", deltas.files);
    one(out, "datasrv_deltas_bytes", "gauge", "Bytes of these deltas.", (double)deltas.bytes);
    one(out, "datasrv_deltas_made_total", "counter", "Deltas made.", (double)deltas.made);
    one(out, "datasrv_deltas_failed_total", "counter", "Deltas that could not be made.",
        (double)deltas.failed);
    one(out, "datasrv_delta_seconds", "gauge", "How long the latest delta took to make.",
        SECONDS(deltas.took));
    one(out, "datasrv_disk_free_bytes", "gauge", "Free bytes on the disk of ImageDir.",
        (double)disk_free);
}

/* What a manifest says, a number per group. */
typedef double manifest_number_fn(const fs_manifest_t *manifest);
static double epoch_of(const fs_manifest_t *m)
{
    return (double)m->epoch;
}
static double active_of(const fs_manifest_t *m)
{
    return (double)m->active.version;
}
static double staged_of(const fs_manifest_t *m)
{
    return (double)m->staged.version;
}
static double activation_of(const fs_manifest_t *m)
{
    return SECONDS(m->activation_time);
}
static double interval_of(const fs_manifest_t *m)
{
    return SECONDS(m->interval);
}
static double held_of(const fs_manifest_t *m)
{
    return m->state == FS_GROUP_HELD;
}
static double pinned_of(const fs_manifest_t *m)
{
    return (double)m->pinned_version;
}
static double failed_of(const fs_manifest_t *m)
{
    return m->state == FS_GROUP_FAILED;
}

static double waiting_of(const fs_manifest_t *m)
{
    return m->state == FS_GROUP_WAITING;
}

static void print_manifests(const look_t *look, struct evbuffer *out)
{
    static const struct {
        const char *name, *help;
        manifest_number_fn *number;
    } kinds[] = {
        {"group_epoch", "Counts every change of the group's row in farmsync.sync.", epoch_of},
        {"group_active_version", "In force before the activation time.", active_of},
        {"group_staged_version", "In force from the activation time on.", staged_of},
        {"group_activation_timestamp_seconds", "The activation time, farm time.", activation_of},
        {"group_interval_seconds", "Between two activations.", interval_of},
        {"group_held", "1 while held by an operator.", held_of},
        {"group_pinned_version", "Version that an operator pinned it to, 0 if none.", pinned_of},
        {"group_failed", "1 if the last promotion was refused.", failed_of},
        {"group_waiting", "1 while the staged version waits for servers to be ready.", waiting_of},
    };
    char name[2 * FS_IMAGE_NAME_SIZE];

    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        head(out, kinds[k].name, "gauge", kinds[k].help);
        for (unsigned i = 0; i < look->count; i++)
            if (look->published[i])
                evbuffer_add_printf(out, "farmsync_%s{group=\"%s\"} %.15g\n", kinds[k].name,
                                    label(look->facts[i].name, name),
                                    kinds[k].number(look->published[i]->manifest));
    }
}

/* Why a group isn't as usual: a check that failed with its first keys, what it waits for, who holds
 * it. */
static void print_reasons(const look_t *look, struct evbuffer *out)
{
    const fs_manifest_t *manifest;
    char name[2 * FS_IMAGE_NAME_SIZE], reason[2 * sizeof(manifest->reason)];

    head(out, "group_reason", "gauge",
         "1 with the reason why the group isn't as usual, if there is one.");
    for (unsigned i = 0; i < look->count; i++) {
        if (!look->published[i] || !look->published[i]->manifest->reason[0])
            continue;
        manifest = look->published[i]->manifest;
        evbuffer_add_printf(out,
                            "farmsync_group_reason{group=\"%s\",state=\"%s\",reason=\"%s\"} 1\n",
                            label(look->facts[i].name, name), fs_group_state_name(manifest->state),
                            label_fit(manifest->reason, reason, sizeof(reason)));
    }
}

static void print_promotions(const look_t *look, struct evbuffer *out)
{
    char name[2 * FS_IMAGE_NAME_SIZE];

    head(out, "datasrv_promotions_total", "counter", "Promotions tried here, by outcome.");
    for (unsigned i = 0; i < look->count; i++) {
        const fs_group_facts_t *facts = &look->facts[i];
        const struct {
            const char *outcome;
            uint64_t number;
        } outcomes[] = {{"staged", facts->staged},
                        {"unchanged", facts->unchanged},
                        {"lost", facts->lost},
                        {"refused", facts->refused},
                        {"failed", facts->failed}};

        label(facts->name, name);
        for (unsigned k = 0; k < sizeof(outcomes) / sizeof(outcomes[0]); k++)
            evbuffer_add_printf(
                out, "farmsync_datasrv_promotions_total{group=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                name, outcomes[k].outcome, outcomes[k].number);
    }
}

static void print_work(const look_t *look, struct evbuffer *out)
{
    static const struct {
        const char *name, *type, *help;
    } kinds[] = {
        {"datasrv_images_missing", "gauge", "Images of the published versions not here yet."},
        {"datasrv_builds_total", "counter", "Images built from SQL, those of promotions aside."},
        {"datasrv_build_failures_total", "counter", "Images that could not be built."},
        {"datasrv_promotion_seconds", "gauge", "How long the latest promotion here took."},
        {"datasrv_build_seconds", "gauge", "How long the latest build of one image took."},
    };
    char name[2 * FS_IMAGE_NAME_SIZE];

    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        head(out, kinds[k].name, kinds[k].type, kinds[k].help);
        for (unsigned i = 0; i < look->count; i++) {
            const fs_group_facts_t *facts = &look->facts[i];
            const double numbers[] = {facts->images_missing, (double)facts->builds,
                                      (double)facts->build_failures, SECONDS(facts->promotion_took),
                                      SECONDS(facts->build_took)};

            evbuffer_add_printf(out, "farmsync_%s{group=\"%s\"} %.15g\n", kinds[k].name,
                                label(facts->name, name), numbers[k]);
        }
    }
}

void fs_service_metrics(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    struct evbuffer *out = evbuffer_new();
    look_t look;

    if (!out) {
        fs_http_call_answer(call, 503, NULL, NULL, 0);
        return;
    }
    look.count = fs_board_groups(service->board, look.facts, look.published);
    service->counts.pages++;
    print_server(service, out);
    print_clock(service, out);
    print_store(service, out);
    print_manifests(&look, out);
    print_reasons(&look, out);
    print_promotions(&look, out);
    print_work(&look, out);
    fs_bank_print_metrics(service, out);
    for (unsigned i = 0; i < look.count; i++)
        fs_published_drop(look.published[i]);
    fs_http_call_answer(call, 200, "text/plain; version=0.0.4; charset=utf-8",
                        evbuffer_pullup(out, -1), evbuffer_get_length(out));
    evbuffer_free(out);
}
