/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_session STATEDIR SERVER KEYFILE [COMMAND ...]: does with the session store of a host what a
 * request process does, for tests that need no httpd. Without a command it reads commands from its
 * input, one a line, and answers each with one line of JSON. A store that isn't there is made.
 *
 *   new [k=v ...]          begins a session
 *   save ID [! ][k=v ...]  changes keys ("k" alone takes it out); '!' : urgent
 *   read ID                what is in the store
 *   load ID [MS]           as a request: from the store if that may be served, else by the agent
 *   fetch ID [MS]          only asks the agent
 *   ack ID COPIES [MS]     waits until the present version is on the bank
 *   alternate NAME EACH    the visitors' alternate from now on ("-" nobody), and how often it gets
 * copies move ID                login: another id end ID hold ID | done ID      a request that may
 * change it begins, is done count                  numbers of the store
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_unix.h"
#include "control/fs_control.h"
#include "net/fs_key.h"
#include "session/fs_session_ask.h"
#include "session/fs_session_store.h"
#include "session/fs_session_trust.h"

#define WORDS   64
#define TRIES   10 /* to load what other hosts want, too */
#define LINE    65536
#define IDLE    (3600 * FS_USEC_PER_SEC)
#define WAIT_MS "2000"

typedef struct host_t {
    const char *state_dir;
    fs_session_store_t *store;
    fs_session_keys_t *keys;
    fs_control_t *control;
    fs_session_trust_t *trust;
    apr_pool_t *pool; /* of one command */
} host_t;

/* Of all visitors; each of this process's saves says it. */
static fs_session_ahead_t ahead;
static int has_ahead;

typedef struct command_t {
    unsigned count;
    char *words[WORDS];
} command_t;

static fs_usec_t farm_time(const host_t *host)
{
    fs_control_clock_t clock;
    fs_usec_t farm = 0, bound;

    fs_control_refresh(host->control);
    if (fs_control_attached(host->control) && fs_control_clock(host->control, &clock) &&
        fs_control_now(&clock, fs_time_mono(), &farm, &bound))
        return farm;
    return fs_time_wall();
}

static json_t *failed(const fs_result_t *result, apr_status_t status)
{
    return json_pack("{s:s, s:s, s:i}", "error", result->problem, "detail", result->detail,
                     "status", (int)status);
}

static json_t *not_found(void)
{
    return json_pack("{s:s}", "error", "NOTFOUND");
}

static json_t *version_json(const fs_session_stamp_t *version)
{
    char text[80];

    snprintf(text, sizeof(text), "%" PRIu32 ".%" PRIu64 ".%016" PRIx64, version->epoch,
             version->sequence, version->writer);
    return json_string(text);
}

static json_t *record_json(const fs_session_record_t *record)
{
    static const char *const states[] = {"none", "live", "alias", "ended"};
    json_t *json = json_pack("{s:s, s:o, s:s, s:i}", "state", states[record->state], "version",
                             version_json(&record->version), "owner", record->owner.name, "epoch",
                             (int)record->owner.epoch);
    json_t *values = json_object();

    for (uint32_t i = 0; record->state == FS_SESSION_LIVE && i < record->count; i++) {
        const fs_session_entry_t *entry = &record->entries[i];
        char key[FS_SESSION_KEY_LIMIT + 1];

        if (!entry->value)
            continue;
        snprintf(key, sizeof(key), "%.*s", (int)entry->key_length, entry->key);
        json_object_set_new(values, key, json_stringn(entry->value, entry->value_length));
    }
    json_object_set_new(json, "values", values);
    return json;
}

/* What the bank and the agent call it. */
static void name_session(json_t *json, const fs_session_id_t *id)
{
    char key[2 * FS_SESSION_KEY_BYTES + 1];

    for (unsigned i = 0; i < FS_SESSION_KEY_BYTES; i++)
        snprintf(key + 2 * i, 3, "%02x", id->key.bytes[i]);
    json_object_set_new(json, "id", json_string(id->text));
    json_object_set_new(json, "key", json_string(key));
}

/* --- the agent -------------------------------------------------------------------------------- */

static int send_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t sent = write(fd, bytes, length);

        if (sent <= 0)
            return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* One request on a connection of its own. The answer's HTTP status, 0 if there was none. */
static int ask(const host_t *host, const char *target, const void *body, size_t length,
               char *answer, size_t size)
{
    char path[PATH_MAX], head[256];
    size_t got = 0;
    ssize_t came;
    int fd, status = 0, used;

    snprintf(path, sizeof(path), "%s/agent.sock", host->state_dir);
    fd = fs_unix_connect(path);
    answer[0] = '\0';
    if (fd < 0)
        return 0;
    used =
        snprintf(head, sizeof(head),
                 "POST %s HTTP/1.1\r\nHost: agent\r\nContent-Length: %zu\r\nConnection: close\r\n"
                 "\r\n",
                 target, length);
    if (!send_all(fd, head, (size_t)used) && !send_all(fd, body, length))
        while (got + 1 < size && (came = read(fd, answer + got, size - 1 - got)) > 0)
            got += (size_t)came;
    answer[got] = '\0';
    close(fd);
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

static json_t *asked(int status, const char *answer)
{
    const char *body = strstr(answer, "\r\n\r\n");
    json_t *json = json_pack("{s:i}", "http", status);
    json_t *more = body ? json_loads(body + 4, 0, NULL) : NULL;

    if (more)
        json_object_set_new(json, "answer", more);
    return json;
}

/* --- commands --------------------------------------------------------------------------------- */

static json_t *read_one(const host_t *host, const fs_session_id_t *id)
{
    fs_session_record_t record;
    fs_session_note_t note;
    fs_result_t result = {0};
    apr_status_t status = fs_session_store_read(host->store, &id->key, farm_time(host), host->pool,
                                                &record, &note, &result);
    json_t *json;

    if (status == APR_NOTFOUND)
        return not_found();
    if (status)
        return failed(&result, status);
    json = record_json(&record);
    json_object_set_new(json, "dirty", json_boolean(note.dirty_since != 0));
    json_object_set_new(json, "copies", json_integer(note.copies));
    return json;
}

static json_t *fetch_one(const host_t *host, const fs_session_id_t *id, const char *wait)
{
    uint8_t body[FS_SESSION_FETCH_BYTES], seal[FS_SESSION_SEAL_BYTES];
    char target[80], answer[4096];
    fs_result_t result;

    if (fs_session_id_seal_key(id, host->keys, seal, &result))
        return failed(&result, 1);
    fs_session_fetch_write(body, &id->key, seal);
    snprintf(target, sizeof(target), "/session/fetch?wait=%s", wait);
    return asked(ask(host, target, body, sizeof(body), answer, sizeof(answer)), answer);
}

/* Another host may take it between the agent's answer and the look at the store. */
static json_t *load_one(const host_t *host, const fs_session_id_t *id, const char *wait)
{
    json_t *json = NULL;

    for (unsigned attempt = 0; attempt < TRIES; attempt++) {
        json_t *asked = fetch_one(host, id, wait);

        if (json_integer_value(json_object_get(asked, "http")) != 200)
            return asked;
        json_decref(asked);
        json_decref(json);
        json = read_one(host, id);
        if (json_object_get(json, "state"))
            break;
    }
    json_object_set_new(json, "http", json_integer(200));
    return json;
}

static json_t *ack_one(const host_t *host, const fs_session_id_t *id, const char *copies,
                       const char *wait)
{
    uint8_t body[FS_SESSION_ACK_BYTES];
    char target[80], answer[4096];
    fs_session_record_t record;
    fs_result_t result = {0};
    apr_status_t status = fs_session_store_read(host->store, &id->key, farm_time(host), host->pool,
                                                &record, NULL, &result);

    if (status)
        return status == APR_NOTFOUND ? not_found() : failed(&result, status);
    fs_session_ack_write(body, &id->key, &record.version);
    snprintf(target, sizeof(target), "/session/ack?copies=%s&wait=%s", copies, wait);
    return asked(ask(host, target, body, sizeof(body), answer, sizeof(answer)), answer);
}

static unsigned read_changes(const command_t *command, unsigned from, fs_session_change_t *changes)
{
    unsigned count = 0;

    for (unsigned i = from; i < command->count; i++) {
        char *word = command->words[i], *equals = strchr(word, '=');
        fs_session_change_t *change = &changes[count++];

        change->key = word;
        change->key_length = (uint32_t)(equals ? equals - word : (ptrdiff_t)strlen(word));
        change->value = equals ? equals + 1 : NULL;
        change->value_length = equals ? (uint32_t)strlen(equals + 1) : 0;
    }
    return count;
}

static uint64_t generation(const host_t *host)
{
    fs_session_trusted_t trusted;

    fs_session_trust_read(host->trust, &trusted);
    return trusted.generation;
}

static json_t *save_one(const host_t *host, const fs_session_id_t *id, const command_t *command,
                        unsigned from, int fresh)
{
    fs_usec_t now = farm_time(host);
    fs_session_writer_t writer = fs_session_store_writer(host->store, now);
    fs_session_change_t changes[WORDS];
    fs_session_record_t begun, record;
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    fs_session_save_t save = {
        .key = id->key, .changes = changes, .ahead = has_ahead ? &ahead : NULL};
    fs_result_t result = {0};
    apr_status_t status = fs_session_id_seal_key(id, host->keys, seal, &result);
    json_t *json;

    if (from < command->count && !strcmp(command->words[from], "!")) {
        save.urgent = 1;
        from++;
    }
    save.count = read_changes(command, from, changes);
    if (fresh) {
        fs_session_begin(&begun, &writer, 0, IDLE);
        save.fresh = &begun;
        save.seal = seal;
        save.checked = generation(host);
    }
    fs_session_store_begin(host->store, &id->key);
    if (!status)
        status = fs_session_store_save(host->store, &save, now, host->pool, &record, &result);
    fs_session_store_done(host->store, &id->key);
    if (status)
        return status == APR_NOTFOUND ? not_found() : failed(&result, status);
    json = record_json(&record);
    name_session(json, id);
    return json;
}

static json_t *name_alternate(const char *name, const char *each)
{
    has_ahead = 1;
    ahead.alternate = strcmp(name, "-") ? fs_session_server_hash(name) : 0;
    ahead.each = (uint32_t)strtoul(each, NULL, 10);
    return json_object();
}

static json_t *move_one(const host_t *host, const fs_session_id_t *id)
{
    fs_usec_t now = farm_time(host);
    fs_session_save_t save = {.key = id->key, .urgent = 1, .ahead = has_ahead ? &ahead : NULL};
    fs_session_target_t target = {.until = now + 10 * FS_USEC_PER_SEC};
    fs_session_record_t record;
    fs_session_id_t made;
    fs_result_t result = {0};
    apr_status_t status = fs_session_id_make(&made, host->keys, &result);
    json_t *json;

    target.key = made.key;
    if (!status)
        status = fs_session_id_seal_key(&made, host->keys, target.seal, &result);
    if (!status)
        status =
            fs_session_store_move(host->store, &save, &target, now, host->pool, &record, &result);
    if (status)
        return status == APR_NOTFOUND ? not_found() : failed(&result, status);
    json = record_json(&record);
    name_session(json, &made);
    return json;
}

static json_t *end_one(const host_t *host, const fs_session_id_t *id)
{
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    fs_result_t result = {0};
    apr_status_t status = fs_session_id_seal_key(id, host->keys, seal, &result);

    if (!status)
        status =
            fs_session_store_end(host->store, &id->key, seal, farm_time(host), host->pool, &result);
    return status ? failed(&result, status) : json_pack("{s:s}", "state", "ended");
}

static json_t *count_all(const host_t *host)
{
    fs_session_counts_t counts;
    fs_result_t result;
    apr_status_t status = fs_session_store_count(host->store, &counts, &result);

    if (status)
        return failed(&result, status);
    return json_pack("{s:I, s:I, s:I, s:I}", "sessions", (json_int_t)counts.sessions, "dirty",
                     (json_int_t)counts.dirty, "safe", (json_int_t)counts.safe, "bytes",
                     (json_int_t)counts.bytes);
}

static json_t *new_one(const host_t *host, const command_t *command)
{
    fs_session_id_t id;
    fs_result_t result;
    apr_status_t status = fs_session_id_make(&id, host->keys, &result);

    return status ? failed(&result, status) : save_one(host, &id, command, 1, 1);
}

static json_t *run(const host_t *host, const command_t *command)
{
    const char *name = command->words[0];
    const char *third = command->count > 2 ? command->words[2] : NULL;
    fs_session_id_t id;
    fs_result_t result;

    if (!strcmp(name, "new"))
        return new_one(host, command);
    if (!strcmp(name, "count"))
        return count_all(host);
    if (command->count < 2)
        return json_pack("{s:s}", "error", "no such command, or it needs an id");
    if (!strcmp(name, "alternate"))
        return name_alternate(command->words[1], third ? third : "1");
    if (fs_session_id_read(&id, host->keys, command->words[1], strlen(command->words[1]), &result))
        return failed(&result, 1);
    if (!strcmp(name, "save"))
        return save_one(host, &id, command, 2, 0);
    if (!strcmp(name, "read"))
        return read_one(host, &id);
    if (!strcmp(name, "fetch"))
        return fetch_one(host, &id, third ? third : WAIT_MS);
    if (!strcmp(name, "load"))
        return load_one(host, &id, third ? third : WAIT_MS);
    if (!strcmp(name, "ack"))
        return ack_one(host, &id, third ? third : "1",
                       command->count > 3 ? command->words[3] : WAIT_MS);
    if (!strcmp(name, "move"))
        return move_one(host, &id);
    if (!strcmp(name, "end"))
        return end_one(host, &id);
    if (!strcmp(name, "hold"))
        fs_session_store_begin(host->store, &id.key);
    else if (!strcmp(name, "done"))
        fs_session_store_done(host->store, &id.key);
    else
        return json_pack("{s:s}", "error", "no such command");
    return json_object();
}

static void answer(host_t *host, const command_t *command)
{
    json_t *json = run(host, command);
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

    puts(text ? text : "{\"error\":\"not text\"}");
    fflush(stdout);
    free(text);
    json_decref(json);
    apr_pool_clear(host->pool);
}

/* --- main ------------------------------------------------------------------------------------- */

static void split(char *line, command_t *command)
{
    char *rest, *word = strtok_r(line, " \n", &rest);

    for (command->count = 0; word && command->count < WORDS; word = strtok_r(NULL, " \n", &rest))
        command->words[command->count++] = word;
}

static apr_status_t make_keys(host_t *host, const char *path, fs_result_t *result)
{
    fs_keyring_t ring;
    fs_session_secret_t secrets[FS_SESSION_SECRETS];
    apr_status_t status = fs_keyring_read(&ring, path, result);

    if (status)
        return status;
    for (unsigned i = 0; i < ring.count; i++) {
        secrets[i].bytes = ring.keys[i].secret;
        secrets[i].length = ring.keys[i].length;
    }
    return fs_session_keys_make(&host->keys, secrets, ring.count, result);
}

static apr_status_t open_host(host_t *host, char **argv, fs_result_t *result)
{
    fs_session_limits_t limits = {.flush = 200 * FS_USEC_PER_MSEC};
    char dir[PATH_MAX], data[PATH_MAX + 16];
    apr_status_t status = APR_SUCCESS;

    host->state_dir = argv[1];
    snprintf(dir, sizeof(dir), "%s/sessions", argv[1]);
    snprintf(data, sizeof(data), "%s/data.mdb", dir);
    if (access(data, F_OK))
        status = fs_session_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, NULL, result);
    if (!status)
        status = fs_session_store_open(&host->store, dir, argv[2], &limits, result);
    if (!status)
        status = make_keys(host, argv[3], result);
    if (!status)
        status = fs_control_open_reader(&host->control, argv[1], result);
    if (!status)
        status = fs_session_trust_open(&host->trust, dir, 0, result);
    return status;
}

int main(int argc, char **argv)
{
    static char line[LINE];
    host_t host = {0};
    command_t command;
    fs_result_t result = {0};

    if (argc < 4) {
        fputs("Usage: fs_session STATEDIR SERVER KEYFILE [COMMAND ...]\n", stderr);
        return 2;
    }
    fs_time_init();
    apr_initialize();
    apr_pool_create(&host.pool, NULL);
    if (open_host(&host, argv, &result)) {
        fprintf(stderr, "%s: %s\n", result.problem, result.detail);
        return 1;
    }
    if (argc > 4) {
        command.count = 0;
        for (int i = 4; i < argc && command.count < WORDS; i++)
            command.words[command.count++] = argv[i];
        answer(&host, &command);
    } else {
        while (fgets(line, sizeof(line), stdin)) {
            split(line, &command);
            if (command.count)
                answer(&host, &command);
        }
    }
    fs_session_store_close(host.store);
    fs_session_keys_free(host.keys);
    fs_control_close(host.control);
    fs_session_trust_close(host.trust);
    apr_pool_destroy(host.pool);
    apr_terminate();
    return 0;
}
