/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a request is refused.
 *
 * Asked in the quick handler, which runs directly after post_read_request: everything that reads
 * the request alone has been done by then (mod_remoteip, mod_setenvif, the choice of the virtual
 * host), and nothing that belongs to the application. A refusal in post_read_request itself would
 * end the connection. Conditions that ask for more, such as REMOTE_USER, are asked first thing in
 * fixups.
 */
#include "avail.h"

#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <openssl/crypto.h>

#include "avail_answer.h"
#include "avail_settings.h"
#include "avail_state.h"
#include "module.h"

#define PROBE_HEADER "FarmSync-Probe"

typedef enum verdict_t { PASS, REFUSE, LATER } verdict_t;

/* The path of a request as the configuration means it: decoded, without //, /./ and /../. */
static const char *plain_path(request_rec *r)
{
    char *path;

    if (!strchr(r->uri, '%') && !strstr(r->uri, "//") && !strstr(r->uri, "/."))
        return r->uri;
    path = apr_pstrdup(r->pool, r->uri);
    if (ap_unescape_url_keep2f(path, 0) != OK)
        return r->uri; /* httpd refuses it */
    ap_getparents(path);
    ap_no2slash(path);
    return path;
}

static int covers(const core_dir_config *section, const char *path)
{
    apr_size_t length = strlen(section->d);

    if (section->r)
        return !ap_regexec(section->r, path, 0, NULL, 0);
    if (section->d_is_fnmatch)
        return !apr_fnmatch(section->d, path, APR_FNM_PATHNAME);
    while (length && section->d[length - 1] == '/')
        length--;
    return !strncmp(path, section->d, length) && (path[length] == '/' || !path[length]);
}

/* The handler that a section gives; SetHandler is an expression, though mostly just a name. */
static const char *handler_of(request_rec *r, const core_dir_config *section)
{
    const char *error = NULL, *handler = section->handler;

    if (section->expr_handler)
        handler = ap_expr_str_exec(r, section->expr_handler, &error);
    return handler && !error ? handler : "";
}

/* The status page must be seen above all when something is down. */
static int is_status_page(request_rec *r, const char *path)
{
    const core_server_config *core = ap_get_core_module_config(r->server->module_config);

    for (int i = 0; i < core->sec_url->nelts; i++) {
        const core_dir_config *section =
            ap_get_core_module_config(APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *));

        if ((section->handler || section->expr_handler) && covers(section, path) &&
            !strcmp(handler_of(r, section), "farmsync-status"))
            return 1;
    }
    return 0;
}

static int evaluate(request_rec *r, const ap_expr_info_t *condition)
{
    const char *error;

    return ap_expr_exec(r, condition, &error) > 0; /* an error is in the log, and holds nothing */
}

/* Whether the administrator lets this request through whatever is told. */
static verdict_t ask_bypasses(request_rec *r, const fs_avail_settings_t *settings, int late)
{
    verdict_t verdict = REFUSE;

    for (int i = 0; settings->bypasses && i < settings->bypasses->nelts; i++) {
        const fs_avail_bypass_t *bypass = &APR_ARRAY_IDX(settings->bypasses, i, fs_avail_bypass_t);

        if (bypass->late && !late)
            verdict = LATER;
        else if (evaluate(r, bypass->expression))
            return PASS;
    }
    return verdict;
}

/* Whether a further notice of the same role keeps the application down longer than `*end`. */
static void stretch_end(request_rec *r, const fs_avail_plan_t *plan, int from, fs_usec_t *end,
                        int late)
{
    const fs_notice_t *first = plan->rules[from]->notice;

    for (int i = from + 1; i < plan->count && *end; i++) {
        const fs_avail_rule_t *rule = plan->rules[i];

        if (rule->notice->role != first->role || rule->notice->state == FS_NOTICE_UP)
            return;
        if (rule->notice->state != FS_NOTICE_DOWN || (rule->late && !late) ||
            (rule->condition && !evaluate(r, rule->condition)))
            continue;
        if (!rule->end || rule->end > *end)
            *end = rule->end;
    }
}

/* What the visitor may be told of a notice, copied out of the snapshot. */
static void describe(request_rec *r, const fs_avail_settings_t *settings,
                     const fs_avail_rule_t *rule, const char *application,
                     fs_avail_refusal_t *refusal)
{
    const fs_notice_t *notice = rule->notice;
    const char *language;
    const char *message = fs_notice_message(notice, apr_table_get(r->headers_in, "Accept-Language"),
                                            settings->language, &language);

    refusal->application = application;
    refusal->notice = apr_pstrcat(r->pool, notice->application, "/", fs_notice_id(notice), NULL);
    refusal->reason = apr_pstrdup(r->pool, fs_notice_reason(notice));
    refusal->component = apr_pstrdup(r->pool, notice->component);
    refusal->message = apr_pstrdup(r->pool, message);
    refusal->language = apr_pstrdup(r->pool, language);
    refusal->link = apr_pstrdup(r->pool, notice->link);
    refusal->now = fs_avail_now();
    refusal->start = rule->start;
    refusal->end = rule->end;
}

/* Asks the notices one after the other, until one decides. */
static verdict_t ask_plan(request_rec *r, const fs_avail_plan_t *plan, int late, int *decisive)
{
    for (int i = 0; i < plan->count; i++) {
        const fs_avail_rule_t *rule = plan->rules[i];

        if (rule->late && !late)
            return LATER;
        if (rule->condition && !evaluate(r, rule->condition))
            continue;
        if (rule->notice->state == FS_NOTICE_UP)
            return PASS;
        if (rule->notice->state == FS_NOTICE_DEGRADED) {
            apr_table_setn(r->notes, "farmsync-degraded",
                           apr_pstrdup(r->pool, rule->notice->application));
            continue;
        }
        *decisive = i;
        return REFUSE;
    }
    return PASS;
}

static void count(const fs_avail_plan_t *plan, verdict_t verdict)
{
    if (verdict == REFUSE)
        atomic_fetch_add_explicit(&plan->marks->refused, 1, memory_order_relaxed);
    else if (verdict == PASS)
        atomic_fetch_add_explicit(&plan->marks->passed, 1, memory_order_relaxed);
}

/* The agent looks whether an application that is down is well again. */
static int is_probe(request_rec *r, const char *token)
{
    const char *shown = apr_table_get(r->headers_in, PROBE_HEADER);

    return shown && token && strlen(shown) == strlen(token) &&
           !CRYPTO_memcmp(shown, token, strlen(token));
}

int fs_avail_is_probe(request_rec *r)
{
    fs_avail_pin_t pin;
    int is;

    if (!apr_table_get(r->headers_in, PROBE_HEADER) || !fs_child() || !fs_avail_reader())
        return 0;
    fs_avail_pin(&pin);
    is = pin.snapshot && is_probe(r, pin.snapshot->avail->probe);
    fs_avail_unpin(&pin);
    return is;
}

/* All who have a say: the notices, the administrator's exceptions, the status page. */
static verdict_t judge(request_rec *r, const fs_avail_settings_t *settings,
                       const fs_avail_plan_t *plan, const char *path, int late, int *decisive)
{
    verdict_t verdict = ask_plan(r, plan, late, decisive);

    if (verdict == REFUSE)
        verdict = ask_bypasses(r, settings, late);
    return verdict == REFUSE && is_status_page(r, path) ? PASS : verdict;
}

static verdict_t ask(request_rec *r, const fs_avail_settings_t *settings, const char *path,
                     int index, int late, fs_avail_refusal_t *refusal)
{
    const char *application = fs_avail_application(fs_child()->server, index)->name;
    const fs_avail_plan_t *plan;
    verdict_t verdict = PASS;
    fs_avail_pin_t pin;
    int decisive = 0;

    fs_avail_pin(&pin);
    plan = pin.snapshot ? &pin.snapshot->plans[index] : NULL;
    if (plan && plan->count && is_probe(r, pin.snapshot->avail->probe))
        plan = NULL;
    /* At fixups only for what was put off. */
    if (plan && plan->count && (!late || judge(r, settings, plan, path, 0, &decisive) == LATER)) {
        verdict = judge(r, settings, plan, path, late, &decisive);
        if (verdict == REFUSE) {
            describe(r, settings, plan->rules[decisive], application, refusal);
            stretch_end(r, plan, decisive, &refusal->end, late);
        }
        count(plan, verdict);
    }
    fs_avail_unpin(&pin);
    return verdict;
}

static int look(request_rec *r, int late)
{
    const fs_avail_settings_t *settings;
    fs_avail_refusal_t refusal;
    const char *path;
    int index;

    if (r->main || r->prev || !r->uri || r->proxyreq == PROXYREQ_PROXY || !fs_child())
        return DECLINED;
    settings = fs_avail_settings(r->server);
    path = plain_path(r);
    index = fs_avail_settings_match(settings, path);
    if (index < 0 || ask(r, settings, path, index, late, &refusal) != REFUSE)
        return DECLINED;
    apr_table_setn(r->notes, "farmsync-application", refusal.application);
    apr_table_setn(r->notes, "farmsync-notice", refusal.notice);
    apr_table_setn(r->subprocess_env, "FARMSYNC_REFUSED", refusal.notice);
    return fs_avail_refuse(r, settings, &refusal);
}

static int quick_handler(request_rec *r, int lookup)
{
    return lookup || fs_avail_quiet() ? DECLINED : look(r, 0);
}

static int fixups(request_rec *r)
{
    if (!(fs_avail_any_late() || fs_avail_settings(r->server)->late_bypass) || fs_avail_quiet())
        return DECLINED;
    return look(r, 1);
}

void fs_avail_register(void)
{
    ap_hook_quick_handler(quick_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(fixups, NULL, NULL, APR_HOOK_REALLY_FIRST);
    fs_avail_answer_register();
    fs_avail_status_register();
}
