/* SPDX-License-Identifier: Apache-2.0 */
/* FarmSyncReuse's part of the status page, of /server-status, and of DUMP_FARMSYNC. */
#include <apr_strings.h>

#include "module.h"
#include "parts.h"
#include "reuse.h"
#include "settings.h"

typedef struct line_t {
    const char *name; /* in JSON and, after "farmsync_reuse_" and before "_total", as metric */
    const char *text;
    apr_uint64_t value;
} line_t;

#define LINES (FS_REUSE_COUNTS + 1)

static void fill_lines(line_t lines[LINES], const apr_uint64_t counts[FS_REUSE_COUNTS])
{
    static const struct {
        const char *name, *text;
        fs_reuse_count_t count;
    } all[FS_REUSE_COUNTS] = {
        {"not_modified", "answers 304 instead of a page", FS_REUSE_HELD},
        {"not_modified_early", "answers 304 before the page was made", FS_REUSE_EARLY},
        {"not_modified_mirror", "answers 304 because a mirror says what the client has",
         FS_REUSE_MIRRORED},
        {"differences", "pages sent as a difference", FS_REUSE_DIFFERED},
        {"bytes_not_sent", "bytes of pages that were not sent", FS_REUSE_SPARED},
        {"pages_tagged", "pages that got a check value", FS_REUSE_TAGGED},
        {"pages_streamed", "pages left alone because they came in pieces", FS_REUSE_STREAMED},
        {"pages_too_large", "pages left alone because they were above the limit", FS_REUSE_LARGE},
        {"dictionaries_unknown", "dictionaries that clients named and this server hasn't",
         FS_REUSE_DICTIONARY},
        {"files_remapped", "files that were replaced under a process, which mapped them anew",
         FS_REUSE_REMAPPED},
    };

    fs_reuse_totals_t kept = {0, 0, 0};

    for (unsigned i = 0; i < FS_REUSE_COUNTS; i++)
        lines[i] = (line_t){all[i].name, all[i].text, counts[all[i].count]};
    if (fs_reuse_store())
        fs_reuse_store_totals(fs_reuse_store(), &kept);
    lines[FS_REUSE_COUNTS] =
        (line_t){"bodies_kept", "different pages that were kept for differences", kept.bodies};
}

static const char *as_table(apr_pool_t *pool, const line_t lines[LINES])
{
    const char *text = "<h2>Reuse</h2>\n<table>\n";

    for (unsigned i = 0; i < LINES; i++)
        text = apr_psprintf(pool, "%s<tr><td>%s</td><td>%" APR_UINT64_T_FMT "</td></tr>\n", text,
                            lines[i].text, lines[i].value);
    return apr_pstrcat(pool, text, "</table>\n", NULL);
}

static const char *as_json(apr_pool_t *pool, const line_t lines[LINES])
{
    const char *text = "\"reuse\":{";

    for (unsigned i = 0; i < LINES; i++)
        text = apr_psprintf(pool, "%s%s\"%s\":%" APR_UINT64_T_FMT, text, i ? "," : "",
                            lines[i].name, lines[i].value);
    return apr_pstrcat(pool, text, "}", NULL);
}

static const char *as_metrics(apr_pool_t *pool, const line_t lines[LINES])
{
    const char *text = "";

    for (unsigned i = 0; i < LINES; i++)
        text = apr_psprintf(pool,
                            "%s# HELP farmsync_reuse_%s_total %s\n"
                            "# TYPE farmsync_reuse_%s_total counter\n"
                            "farmsync_reuse_%s_total %" APR_UINT64_T_FMT "\n",
                            text, lines[i].name, lines[i].text, lines[i].name, lines[i].name,
                            lines[i].value);
    return text;
}

static const char *mirror_text(apr_pool_t *pool, int mirror)
{
    return !mirror                         ? "Off"
           : mirror == 1                   ? "change"
           : mirror == FS_REUSE_MIRROR_END ? "end"
                                           : apr_itoa(pool, mirror);
}

static const char *as_dump(apr_pool_t *pool, server_rec *server)
{
    const fs_settings_t *settings = fs_settings(server);
    fs_reuse_place_t place = fs_settings_main_place(server)->reuse;

    fs_reuse_fill_place(&place);
    return apr_psprintf(pool,
                        "  %-24s %s\n  %-24s %" APR_OFF_T_FMT "\n  %-24s %d ms\n  %-24s %s\n"
                        "  %-24s %s\n  %-24s %s\n  %-24s %" APR_OFF_T_FMT "\n",
                        "FarmSyncReuse", place.on == 1 ? "On" : "Off", "FarmSyncReuseLimit",
                        place.limit, "FarmSyncReuseWait", place.wait_ms, "FarmSyncReuseDifferences",
                        place.differences ? "On" : "Off", "FarmSyncReuseMirror",
                        mirror_text(pool, place.mirror), "FarmSyncReuseMatch",
                        place.match ? place.match : "(each page itself)", "FarmSyncReuseStore",
                        settings->reuse_store == FS_UNSET ? (apr_off_t)FS_REUSE_STORE_DEFAULT
                                                          : settings->reuse_store);
}

static const char *as_text(apr_pool_t *pool, const line_t lines[LINES], const char *format)
{
    const char *text = "";

    for (unsigned i = 0; i < LINES; i++)
        text = apr_pstrcat(pool, text, apr_psprintf(pool, format, lines[i].name, lines[i].value),
                           NULL);
    return text;
}

static int section(apr_pool_t *pool, server_rec *server, farmsync_form_t form,
                   apr_array_header_t *sections)
{
    apr_uint64_t counts[FS_REUSE_COUNTS], any = 0;
    line_t lines[LINES];
    const char *text = NULL;

    if (form == FARMSYNC_DUMP) {
        APR_ARRAY_PUSH(sections, const char *) = as_dump(pool, server);
        return OK;
    }
    if (!fs_reuse_counts(counts))
        return DECLINED;
    for (unsigned i = 0; i < FS_REUSE_COUNTS; i++)
        any |= counts[i];
    if (!any && (form == FARMSYNC_HTML || form == FARMSYNC_REPORT))
        return DECLINED; /* people needn't read that there is nothing */
    fill_lines(lines, counts);
    if (form == FARMSYNC_HTML)
        text = as_table(pool, lines);
    else if (form == FARMSYNC_JSON)
        text = as_json(pool, lines);
    else if (form == FARMSYNC_METRICS)
        text = as_metrics(pool, lines);
    else if (form == FARMSYNC_REPORT)
        text = apr_psprintf(pool,
                            "<dt>FarmSync reuse: %" APR_UINT64_T_FMT
                            " answers 304, %" APR_UINT64_T_FMT " bytes not sent</dt>\n",
                            counts[FS_REUSE_HELD], counts[FS_REUSE_SPARED]);
    else
        text = as_text(pool, lines, "FarmSyncReuse_%s: %" APR_UINT64_T_FMT "\n");
    APR_ARRAY_PUSH(sections, const char *) = text;
    return OK;
}

void fs_reuse_status_register(void)
{
    APR_OPTIONAL_HOOK(farmsync, farmsync_section, section, NULL, NULL, APR_HOOK_MIDDLE);
}
