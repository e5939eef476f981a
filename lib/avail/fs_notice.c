/* SPDX-License-Identifier: Apache-2.0 */
/* What a notice may hold, the order of several, and which message a visitor is to read. */
#include "avail/fs_notice.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fs_name.h"

#define YEAR_10000 (INT64_C(253402300800) * FS_USEC_PER_SEC)

static const char *const state_names[] = {"down", "up", "degraded"};
static const char *const role_names[] = {"monitor", "operator"};

const char *fs_notice_state_name(fs_notice_state_t state)
{
    return state_names[state];
}

const char *fs_notice_role_name(fs_notice_role_t role)
{
    return role_names[role];
}

static int place_of(const char *name, const char *const *names, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(name, names[i]))
            return (int)i;
    }
    return -1;
}

int fs_notice_state_parse(const char *name, fs_notice_state_t *state)
{
    int place = place_of(name, state_names, 3);

    if (place >= 0)
        *state = (fs_notice_state_t)place;
    return place >= 0 ? 0 : -1;
}

int fs_notice_role_parse(const char *name, fs_notice_role_t *role)
{
    int place = place_of(name, role_names, 2);

    if (place >= 0)
        *role = (fs_notice_role_t)place;
    return place >= 0 ? 0 : -1;
}

const char *fs_notice_id(const fs_notice_t *notice)
{
    return notice->id ? notice->id : fs_notice_role_name(notice->role);
}

const char *fs_notice_reason(const fs_notice_t *notice)
{
    return notice->reason ? notice->reason : "unknown";
}

void fs_notice_key(const fs_notice_t *notice, char key[FS_NOTICE_KEY_SIZE])
{
    snprintf(key, FS_NOTICE_KEY_SIZE, "%s/%s", notice->application, fs_notice_id(notice));
}

/* --- checking ------------------------------------------------------------------------------------
 */

static int consists_of(const char *text, size_t size, int lower_only, const char *others)
{
    size_t length = strnlen(text, size);

    if (!length || length >= size)
        return 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x80 || (!isalnum(c) && !strchr(others, c)) || (lower_only && isupper(c)))
            return 0;
    }
    return 1;
}

/* Length of the UTF-8 sequence at `text`, 0 if it is none (RFC 3629). */
static size_t utf8_length(const unsigned char *text)
{
    size_t length = text[0] < 0x80                      ? 1
                    : text[0] >= 0xc2 && text[0] < 0xe0 ? 2
                    : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
                    : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
                                                        : 0;

    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* Text of less than `size` bytes, UTF-8, without control characters but those in `allowed`. */
static int is_text(const char *text, size_t size, const char *allowed)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length;

    if (!*text || strnlen(text, size) >= size)
        return 0;
    for (; *at; at += length) {
        length = utf8_length(at);
        if (!length || ((*at < 0x20 || *at == 0x7f) && !strchr(allowed, *at)))
            return 0;
    }
    return 1;
}

static int is_link(const char *link)
{
    size_t scheme = !strncmp(link, "http://", 7) ? 7 : !strncmp(link, "https://", 8) ? 8 : 0;

    return scheme && link[scheme] && link[scheme] != '/' &&
           is_text(link, FS_NOTICE_LINK_SIZE, "") && !strpbrk(link, " \"'<>\\");
}

static apr_status_t refuse(fs_result_t *result, const char *why)
{
    return fs_result_set(result, APR_EINVAL, "FS1500", "notice refused: %s", why);
}

static apr_status_t check_messages(const fs_notice_t *notice, fs_result_t *result)
{
    if (notice->message_count > FS_NOTICE_MESSAGES)
        return refuse(result, "messages: at most 8 languages");
    for (unsigned i = 0; i < notice->message_count; i++) {
        const fs_notice_message_t *message = &notice->messages[i];

        if (strcmp(message->language, FS_NOTICE_EVERY) != 0 &&
            !consists_of(message->language, FS_NOTICE_LANGUAGE_SIZE, 0, "-"))
            return refuse(result, "messages: a language is a tag such as en or pt-BR, or *");
        if (!is_text(message->text, FS_NOTICE_TEXT_SIZE, "\n\t"))
            return refuse(result, "message: a text of 1 to 1024 bytes in UTF-8, without control "
                                  "characters");
        for (unsigned j = 0; j < i; j++) {
            if (!strcasecmp(message->language, notice->messages[j].language))
                return refuse(result, "messages: a language is there twice");
        }
    }
    return APR_SUCCESS;
}

apr_status_t fs_notice_check(const fs_notice_t *notice, fs_result_t *result)
{
    const char *problem = fs_window_problem(&notice->window);

    if (!notice->application || (strcmp(notice->application, FS_NOTICE_EVERY) != 0 &&
                                 !fs_name_is_good(notice->application)))
        return refuse(result, "application: a name of 1 to 64 letters, digits, '.', '_', ':' or "
                              "'-', as FarmSyncApplication has it, or * for all");
    if (notice->id && !fs_name_is_good(notice->id))
        return refuse(result, "id: 1 to 64 letters, digits, '.', '_', ':' or '-'");
    if (notice->state > FS_NOTICE_DEGRADED)
        return refuse(result, "state: down, up or degraded");
    if (notice->role > FS_NOTICE_OPERATOR)
        return refuse(result, "role: operator or monitor");
    if (notice->reason && !consists_of(notice->reason, FS_NOTICE_REASON_SIZE, 1, "_-"))
        return refuse(result, "reason: unknown, planned, outage, testing or an own word of 1 to 32 "
                              "lower case letters, digits, '-' or '_'");
    if (notice->component && !fs_name_is_good(notice->component))
        return refuse(result, "component: 1 to 64 letters, digits, '.', '_', ':' or '-'");
    if (problem)
        return refuse(result, problem);
    if (notice->condition && !is_text(notice->condition, FS_NOTICE_TEXT_SIZE, ""))
        return refuse(result, "condition: an expression of httpd in one line of 1 to 1024 bytes");
    if (notice->server_count > FS_NOTICE_SERVERS)
        return refuse(result, "servers: at most 32, or none for the whole farm");
    for (unsigned i = 0; i < notice->server_count; i++) {
        if (!fs_name_is_good(notice->servers[i]))
            return refuse(result, "servers: names as FarmSyncServer has them");
    }
    if (notice->who && !is_text(notice->who, FS_NOTICE_WHO_SIZE, ""))
        return refuse(result, "who: a text of 1 to 128 bytes in UTF-8");
    if (notice->link && !is_link(notice->link))
        return refuse(result,
                      "link: a URL that begins with http:// or https://, at most 512 bytes");
    if (notice->time < 0 || notice->time > YEAR_10000)
        return refuse(result, "time: must be between the years 1970 and 9999");
    return check_messages(notice, result);
}

/* --- merging -------------------------------------------------------------------------------------
 */

int fs_notice_for_server(const fs_notice_t *notice, const char *server)
{
    for (unsigned i = 0; i < notice->server_count; i++) {
        if (!strcmp(notice->servers[i], server))
            return 1;
    }
    return !notice->server_count;
}

int fs_notice_about(const fs_notice_t *notice, const char *application)
{
    return !strcmp(notice->application, application) ||
           !strcmp(notice->application, FS_NOTICE_EVERY);
}

int fs_notice_compare(const fs_notice_t *one, const fs_notice_t *other)
{
    int order;

    if (one->role != other->role)
        return one->role > other->role ? -1 : 1;
    if (one->time != other->time)
        return one->time > other->time ? -1 : 1;
    order = strcmp(one->application, other->application);
    return order ? order : strcmp(fs_notice_id(one), fs_notice_id(other));
}

/* --- messages ------------------------------------------------------------------------------------
 */

/* How well a language fits a wish, both as tags: 0 not at all, 3 the same (RFC 4647). */
static int fit(const char *language, const char *wish, size_t wish_length)
{
    size_t length = strlen(language);
    size_t common = length < wish_length ? length : wish_length;

    if (!common || strncasecmp(language, wish, common) != 0)
        return 0;
    if (length == wish_length)
        return 3;
    if (length < wish_length)
        return wish[length] == '-' ? 2 : 0;
    return language[wish_length] == '-' ? 1 : 0;
}

/* The weight behind ";q=", in thousandths; 1000 if there is none. Not strtod: it follows the
 * locale.
 */
static int weight_of(const char *at)
{
    int value = 0, unit = 1000;

    at += strspn(at, " \t");
    if (*at != ';')
        return 1000;
    at += 1 + strspn(at + 1, " \t");
    if (strncasecmp(at, "q=", 2) != 0)
        return 1000;
    at += 2;
    if (*at == '1')
        return 1000;
    if (at[0] != '0' || at[1] != '.')
        return 0;
    for (at += 2; isdigit((unsigned char)*at) && unit > 1; at++) {
        unit /= 10;
        value += (*at - '0') * unit;
    }
    return value;
}

/* The best message for one wish of the header; *best is raised if it beats what was found so far.
 */
static int choose(const fs_notice_t *notice, const char *wish, size_t length, int weight, int *best)
{
    int chosen = -1;

    for (unsigned i = 0; i < notice->message_count && weight; i++) {
        int score = fit(notice->messages[i].language, wish, length);

        if (score && weight * 4 + score > *best) {
            *best = weight * 4 + score;
            chosen = (int)i;
        }
    }
    return chosen;
}

static int for_accept(const fs_notice_t *notice, const char *accept)
{
    int chosen = -1, best = 0, found;

    while (*accept) {
        size_t length;

        accept += strspn(accept, " \t,");
        length = strcspn(accept, " \t,;");
        found = choose(notice, accept, length, weight_of(accept + length), &best);
        if (found >= 0)
            chosen = found;
        accept += strcspn(accept, ",");
    }
    return chosen;
}

static int for_language(const fs_notice_t *notice, const char *language)
{
    int best = 0;

    return choose(notice, language, strlen(language), 1000, &best);
}

const char *fs_notice_message(const fs_notice_t *notice, const char *accept, const char *preset,
                              const char **language)
{
    int chosen = accept ? for_accept(notice, accept) : -1;

    if (chosen < 0 && preset)
        chosen = for_language(notice, preset);
    if (chosen < 0)
        chosen = for_language(notice, FS_NOTICE_EVERY);
    if (chosen < 0)
        chosen = 0;
    *language = notice->message_count ? notice->messages[chosen].language : FS_NOTICE_EVERY;
    return notice->message_count ? notice->messages[chosen].text : NULL;
}
