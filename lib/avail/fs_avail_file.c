/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a publication:
 *
 *   farmsync-notices 1
 *   probe TOKEN                             only if there is one
 *   notice APPLICATION ID
 *   is STATE ROLE REASON TIME
 *   window FROM UNTIL                       microseconds of farm time, 0 is open
 *   weekly DAYS START END ZONE              only if it is weekly
 *   component|condition|who|link TEXT       only those that it has
 *   message LANGUAGE TEXT
 *   end SHA-256                             of all bytes before this line
 *
 * Bytes of a text that would end or begin a line are written %XX. A line that begins with another
 * word is passed over, so that a newer agent can tell more than an older child understands.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "avail/fs_avail_internal.h"
#include "base/fs_digest.h"

const char fs_avail_first_line[] = "farmsync-notices 1";

#define WORDS_MAX 4

/* --- writing -------------------------------------------------------------------------------------
 */

static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f || c == '%')
            fprintf(out, "%%%02X", c);
        else
            fputc(c, out);
    }
    fputc('\n', out);
}

static void put_line(FILE *out, const char *word, const char *text)
{
    if (!text)
        return;
    fprintf(out, "%s ", word);
    put_text(out, text);
}

void fs_avail_print(FILE *out, const fs_notice_t *notice)
{
    const fs_window_t *window = &notice->window;

    fprintf(out, "notice %s %s\n", notice->application, fs_notice_id(notice));
    fprintf(out, "is %s %s %s %" PRId64 "\n", fs_notice_state_name(notice->state),
            fs_notice_role_name(notice->role), fs_notice_reason(notice), notice->time);
    fprintf(out, "window %" PRId64 " %" PRId64 "\n", window->from, window->until);
    if (window->days)
        fprintf(out, "weekly %u %d %d %s\n", window->days, window->start_minute, window->end_minute,
                window->zone[0] ? window->zone : "UTC0");
    put_line(out, "component", notice->component);
    put_line(out, "condition", notice->condition);
    put_line(out, "who", notice->who);
    put_line(out, "link", notice->link);
    for (unsigned i = 0; i < notice->message_count; i++) {
        fprintf(out, "message %s ", notice->messages[i].language);
        put_text(out, notice->messages[i].text);
    }
}

/* --- reading -------------------------------------------------------------------------------------
 */

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes in place; 0, or -1 if an escape is malformed. */
static int decode(char *text)
{
    char *to = text;

    for (; *text; text++) {
        int high, low;

        if (*text != '%') {
            *to++ = *text;
            continue;
        }
        if ((high = hex_value(text[1])) < 0 || (low = hex_value(text[2])) < 0 || !(high | low))
            return -1;
        *to++ = (char)(high * 16 + low);
        text += 2;
    }
    *to = '\0';
    return 0;
}

/* Cuts a line into words, the last of which goes to the end of the line; how many there were. */
static int cut(char *line, char *words[], int most)
{
    int count = 0;

    while (count < most) {
        words[count++] = line;
        line = count < most ? strchr(line, ' ') : NULL;
        if (!line)
            break;
        *line++ = '\0';
    }
    return count;
}

/* A whole number of at least 0; -1 if it is none. */
static int64_t number(const char *text)
{
    char *end;
    int64_t value;

    if (*text < '0' || *text > '9' || strlen(text) > 18)
        return -1;
    value = strtoll(text, &end, 10);
    return *end ? -1 : value;
}

static int small_number(const char *text, int most)
{
    int64_t value = number(text);

    return value < 0 || value > most ? -1 : (int)value;
}

static int read_is(fs_notice_t *notice, char *rest)
{
    char *words[WORDS_MAX];

    if (cut(rest, words, 4) != 4 || fs_notice_state_parse(words[0], &notice->state) ||
        fs_notice_role_parse(words[1], &notice->role))
        return -1;
    notice->reason = words[2];
    notice->time = number(words[3]);
    return notice->time < 0 ? -1 : 0;
}

static int read_window(fs_notice_t *notice, char *rest)
{
    char *words[WORDS_MAX];

    if (cut(rest, words, 2) != 2)
        return -1;
    notice->window.from = number(words[0]);
    notice->window.until = number(words[1]);
    return notice->window.from < 0 || notice->window.until < 0 ? -1 : 0;
}

static int read_weekly(fs_notice_t *notice, char *rest)
{
    fs_window_t *window = &notice->window;
    char *words[WORDS_MAX];
    int days;

    if (cut(rest, words, 4) != 4 || strlen(words[3]) >= sizeof(window->zone))
        return -1;
    days = small_number(words[0], (int)FS_WINDOW_ALL_DAYS);
    window->days = days > 0 ? (unsigned)days : 0;
    window->start_minute = small_number(words[1], 1440);
    window->end_minute = small_number(words[2], 1440);
    memcpy(window->zone, words[3], strlen(words[3]) + 1);
    return days > 0 ? 0 : -1;
}

static int read_message(fs_notice_t *notice, char *rest)
{
    char *words[WORDS_MAX];

    if (notice->message_count == FS_NOTICE_MESSAGES || cut(rest, words, 2) != 2 || decode(words[1]))
        return -1;
    notice->messages[notice->message_count].language = words[0];
    notice->messages[notice->message_count++].text = words[1];
    return 0;
}

static int read_text(const char **text, char *rest)
{
    *text = rest;
    return decode(rest);
}

/* One line of a notice. */
static int read_line(fs_notice_t *notice, const char *word, char *rest)
{
    if (!strcmp(word, "is"))
        return read_is(notice, rest);
    if (!strcmp(word, "window"))
        return read_window(notice, rest);
    if (!strcmp(word, "weekly"))
        return read_weekly(notice, rest);
    if (!strcmp(word, "component"))
        return read_text(&notice->component, rest);
    if (!strcmp(word, "condition"))
        return read_text(&notice->condition, rest);
    if (!strcmp(word, "who"))
        return read_text(&notice->who, rest);
    if (!strcmp(word, "link"))
        return read_text(&notice->link, rest);
    if (!strcmp(word, "message"))
        return read_message(notice, rest);
    return 0;
}

static unsigned count_notices(const char *text)
{
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, "\nnotice ")); at++)
        count++;
    return count;
}

/* The last line is the digest of all before it; cuts it off. */
static int check_end(char *text, size_t length)
{
    const size_t tail = strlen("end ") + FS_DIGEST_HEX_SIZE; /* the newline counts as the NUL */
    fs_digest_t promised, digest;
    char *end;

    if (length < tail || memchr(text, '\0', length) || text[length - 1] != '\n')
        return -1;
    end = text + length - tail;
    text[length - 1] = '\0';
    if (strncmp(end, "end ", 4) != 0 || fs_digest_parse(&promised, end + 4))
        return -1;
    fs_digest_of(&digest, text, length - tail);
    *end = '\0';
    return fs_digest_equal(&digest, &promised) ? 0 : -1;
}

static int begin_notice(fs_notice_t *notice, char *rest)
{
    char *words[WORDS_MAX];

    if (cut(rest, words, 2) != 2)
        return -1;
    notice->application = words[0];
    notice->id = words[1];
    return 0;
}

/* Reads the lines into avail->notices, which has room. */
static int read_lines(fs_avail_t *avail, char *text)
{
    char *line = strsep(&text, "\n");

    if (!line || strcmp(line, fs_avail_first_line) != 0)
        return -1;
    while ((line = strsep(&text, "\n")) && *line) {
        char *words[WORDS_MAX];

        if (cut(line, words, 2) != 2)
            return -1;
        if (!strcmp(words[0], "notice")) {
            if (begin_notice(&avail->notices[avail->count++], words[1]))
                return -1;
        } else if (!strcmp(words[0], "probe") && !avail->count) {
            avail->probe = words[1];
        } else if (!avail->count ||
                   read_line(&avail->notices[avail->count - 1], words[0], words[1])) {
            return -1;
        }
    }
    return 0;
}

static int by_order(const void *one, const void *other)
{
    return fs_notice_compare(one, other);
}

static apr_status_t damaged(fs_avail_t *avail, fs_result_t *result, const char *why)
{
    free(avail ? avail->notices : NULL);
    free(avail);
    return fs_result_set(result, APR_EINVAL, "FS1511", "the published notices are damaged: %s",
                         why);
}

apr_status_t fs_avail_parse(fs_avail_t **parsed, char *text, size_t length, fs_result_t *result)
{
    fs_avail_t *avail = calloc(1, sizeof(*avail));
    fs_result_t why;
    unsigned room;

    *parsed = NULL;
    if (!avail)
        return damaged(avail, result, "there is no memory to read them");
    if (check_end(text, length))
        return damaged(avail, result, "their digest is missing or differs");
    room = count_notices(text);
    avail->notices = room > FS_AVAIL_NOTICES ? NULL : calloc(room + 1, sizeof(*avail->notices));
    if (!avail->notices)
        return damaged(avail, result, "there are more than there can be, or no memory is left");
    if (read_lines(avail, text))
        return damaged(avail, result, "a line is not as it should be");
    for (unsigned i = 0; i < avail->count; i++) {
        if (fs_notice_check(&avail->notices[i], &why))
            return damaged(avail, result, why.detail);
    }
    if (avail->count)
        qsort(avail->notices, avail->count, sizeof(*avail->notices), by_order);
    avail->text = text;
    *parsed = avail;
    return APR_SUCCESS;
}

void fs_avail_free(fs_avail_t *avail)
{
    if (!avail)
        return;
    free(avail->notices);
    free(avail->text);
    free(avail);
}
