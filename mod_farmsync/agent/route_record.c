/* SPDX-License-Identifier: Apache-2.0 */
#include "route_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_SIZE 17

static char *dump(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

char *fs_routing_record_print(const fs_routing_record_t *record)
{
    char digest[DIGEST_SIZE], generation[DIGEST_SIZE];

    snprintf(digest, sizeof(digest), "%016" PRIx64, record->digest);
    snprintf(generation, sizeof(generation), "%016" PRIx64, record->generation);
    return dump(json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:I, s:I, s:s, s:s}", "url",
        record->url, "public", record->public_url, "rack", record->rack, "capacity",
        (json_int_t)record->capacity, "primaries", (json_int_t)record->primaries, "alternates",
        (json_int_t)record->alternates, "busy", (json_int_t)record->busy, "workers",
        (json_int_t)record->workers, "shed", (json_int_t)record->shed, "drain", record->draining,
        "ready", record->ready, "since", (json_int_t)record->since, "sequence",
        (json_int_t)record->sequence, "digest", digest, "generation", generation));
}

/* --- reading ------------------------------------------------------------------------------------
 */

static int get_text(const json_t *json, const char *field, char *out, size_t size)
{
    const json_t *value = json_object_get(json, field);
    const char *text = json_string_value(value);

    if (!text || json_string_length(value) >= size || strlen(text) != json_string_length(value))
        return -1;
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int get_number(const json_t *json, const char *field, uint64_t least, uint64_t most,
                      uint64_t *out)
{
    const json_t *value = json_object_get(json, field);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number < least ||
        (uint64_t)number > most)
        return -1;
    *out = (uint64_t)number;
    return 0;
}

static int get_flag(const json_t *json, const char *field, int *out)
{
    const json_t *value = json_object_get(json, field);

    *out = json_is_true(value);
    return json_is_boolean(value) ? 0 : -1;
}

/* All 64 bits, which JSON numbers don't have. */
static int get_bits(const json_t *json, const char *field, uint64_t *out)
{
    char text[DIGEST_SIZE], *end;

    if (get_text(json, field, text, sizeof(text)) || strlen(text) != DIGEST_SIZE - 1 ||
        strspn(text, "0123456789abcdef") != DIGEST_SIZE - 1)
        return -1;
    *out = strtoull(text, &end, 16);
    return 0;
}

static const char *read_places(fs_routing_record_t *record, const json_t *json)
{
    if (get_text(json, "url", record->url, sizeof(record->url)) ||
        (record->url[0] && !fs_agent_route_is_url(record->url)))
        return "url";
    if (get_text(json, "public", record->public_url, sizeof(record->public_url)) ||
        (record->public_url[0] && !fs_agent_route_is_url(record->public_url)))
        return "public";
    if (get_text(json, "rack", record->rack, sizeof(record->rack)) ||
        (record->rack[0] && !fs_agent_route_is_rack(record->rack)))
        return "rack";
    return NULL;
}

static const char *read_numbers(fs_routing_record_t *record, const json_t *json)
{
    uint64_t capacity, busy, workers, shed = 0, since;
    const struct {
        const char *field;
        uint64_t least, most, *out;
    } numbers[] = {{"capacity", 0, FS_ROUTE_CAPACITY_MAX, &capacity},
                   {"primaries", 0, UINT32_MAX, &record->primaries},
                   {"alternates", 0, UINT32_MAX, &record->alternates},
                   {"busy", 0, UINT32_MAX, &busy},
                   {"workers", 0, UINT32_MAX, &workers},
                   {"since", 0, INT64_MAX, &since},
                   {"sequence", 0, INT64_MAX, &record->sequence}};

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (get_number(json, numbers[i].field, numbers[i].least, numbers[i].most, numbers[i].out))
            return numbers[i].field;
    if (json_object_get(json, "shed") && get_number(json, "shed", 0, FS_ROUTE_SHED_ALL, &shed))
        return "shed";
    record->capacity = (uint32_t)capacity;
    record->busy = (uint32_t)busy;
    record->workers = (uint32_t)workers;
    record->shed = (uint32_t)shed;
    record->since = (fs_usec_t)since;
    return NULL;
}

int fs_routing_record_parse(fs_routing_record_t *record, const void *json, size_t length,
                            const char **field)
{
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL);

    memset(record, 0, sizeof(*record));
    *field = json_is_object(root) ? read_places(record, root) : "JSON";
    if (!*field)
        *field = read_numbers(record, root);
    if (!*field && get_flag(root, "drain", &record->draining))
        *field = "drain";
    if (!*field && get_flag(root, "ready", &record->ready))
        *field = "ready";
    if (!*field && get_bits(root, "digest", &record->digest))
        *field = "digest";
    if (!*field && get_bits(root, "generation", &record->generation))
        *field = "generation";
    json_decref(root);
    return *field ? -1 : 0;
}

/* --- differences --------------------------------------------------------------------------------
 */

static int moved(uint64_t told, uint64_t now, double limit)
{
    return (double)(told > now ? told - now : now - told) > limit;
}

int fs_routing_record_is_news(const fs_routing_record_t *told, const fs_routing_record_t *now)
{
    return told->draining != now->draining || told->ready != now->ready ||
           told->since != now->since || told->shed != now->shed ||
           told->capacity != now->capacity || told->generation != now->generation ||
           strcmp(told->url, now->url) != 0 || strcmp(told->public_url, now->public_url) != 0 ||
           strcmp(told->rack, now->rack) != 0 ||
           moved(told->primaries, now->primaries, FS_ROUTING_NEWS_SHARE * now->capacity) ||
           moved(told->alternates, now->alternates, FS_ROUTING_NEWS_SHARE * now->capacity) ||
           (now->workers && moved(told->busy, now->busy, FS_ROUTING_NEWS_SHARE * now->workers));
}

int fs_routing_record_differs(const fs_routing_record_t *told, const fs_routing_record_t *now)
{
    return fs_routing_record_is_news(told, now) || told->primaries != now->primaries ||
           told->alternates != now->alternates || told->busy != now->busy ||
           told->workers != now->workers || told->sequence != now->sequence ||
           told->digest != now->digest;
}

/* --- orders -------------------------------------------------------------------------------------
 */

char *fs_routing_order_print(const fs_routing_order_t *order)
{
    return dump(json_pack("{s:s, s:s, s:I}", "order", "drain", "who", order->who, "at",
                          (json_int_t)order->at));
}

int fs_routing_order_parse(fs_routing_order_t *order, const void *json, size_t length)
{
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL);
    const char *what = json_string_value(json_object_get(root, "order"));
    uint64_t at = 0;
    int bad = !what || strcmp(what, "drain") ||
              get_text(root, "who", order->who, sizeof(order->who)) ||
              get_number(root, "at", 0, INT64_MAX, &at);

    order->at = (fs_usec_t)at;
    json_decref(root);
    return bad ? -1 : 0;
}
