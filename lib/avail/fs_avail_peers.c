/* SPDX-License-Identifier: Apache-2.0 */
#include "avail/fs_avail_peers.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "avail/fs_avail_internal.h"
#include "base/fs_file.h"

#define PEERS_FILE FS_AVAIL_DIR "/peers"
#define FIRST_LINE "farmsync-peers 1"
#define WORDS      4

static const char *same_word(int same)
{
    return same > 0 ? "yes" : same ? "unknown" : "no";
}

apr_status_t fs_avail_write_peers(const char *state_dir, const fs_avail_peers_t *peers,
                                  fs_result_t *result)
{
    char path[PATH_MAX], *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    apr_status_t status = APR_ENOMEM;

    if (out) {
        fprintf(out, FIRST_LINE "\nself %s %" PRId64 " %" PRId64 "\n", peers->state, peers->records,
                peers->written);
        for (unsigned i = 0; i < peers->count; i++)
            fprintf(out, "peer %s %s %" PRId64 " %s\n", peers->peers[i].name, peers->peers[i].state,
                    peers->peers[i].heard, same_word(peers->peers[i].same));
        if (!fclose(out) && fs_avail_path(path, sizeof(path), state_dir, PEERS_FILE))
            status = fs_avail_put(path, text, length);
    }
    free(text);
    return status ? fs_result_set(result, status, "FS1506",
                                  "what the status page tells of the other servers can't be "
                                  "written to %s/" PEERS_FILE ": %s",
                                  state_dir, strerror(status))
                  : APR_SUCCESS;
}

/* Copies a word that can be shown as it is; -1 if it isn't one. */
static int copy_word(char *to, size_t size, const char *word)
{
    size_t length = strlen(word);

    if (!length || length >= size)
        return -1;
    for (const char *at = word; *at; at++) {
        if (*at <= ' ' || *at > '~')
            return -1;
    }
    memcpy(to, word, length + 1);
    return 0;
}

static int read_number(int64_t *value, const char *word)
{
    char *end;

    if (*word < '0' || *word > '9' || strlen(word) > 18)
        return -1;
    *value = strtoll(word, &end, 10);
    return *end ? -1 : 0;
}

static int read_line(fs_avail_peers_t *peers, char *words[WORDS + 1], int count)
{
    fs_avail_peer_t *peer = &peers->peers[peers->count];

    if (!strcmp(words[0], "self"))
        return count == 4 ? copy_word(peers->state, sizeof(peers->state), words[1]) |
                                read_number(&peers->records, words[2]) |
                                read_number(&peers->written, words[3])
                          : -1;
    if (strcmp(words[0], "peer") != 0)
        return 0; /* of a newer agent */
    if (count != 5 || peers->count == FS_AVAIL_PEERS ||
        copy_word(peer->name, sizeof(peer->name), words[1]) ||
        copy_word(peer->state, sizeof(peer->state), words[2]) ||
        read_number(&peer->heard, words[3]))
        return -1;
    peer->same = !strcmp(words[4], "yes") ? 1 : !strcmp(words[4], "no") ? 0 : -1;
    peers->count++;
    return 0;
}

int fs_avail_parse_peers(char *text, fs_avail_peers_t *peers)
{
    char *line = strsep(&text, "\n");

    memset(peers, 0, sizeof(*peers));
    if (strcmp(line, FIRST_LINE) != 0)
        return -1;
    while ((line = strsep(&text, "\n")) && *line) {
        char *words[WORDS + 1];
        int count = 0;

        while (count <= WORDS && line)
            words[count++] = strsep(&line, " ");
        if (line || read_line(peers, words, count))
            return -1;
    }
    return peers->state[0] ? 0 : -1;
}

int fs_avail_read_peers(const char *state_dir, fs_avail_peers_t *peers)
{
    char path[PATH_MAX], *text;
    fs_result_t ignored;
    size_t length;
    int read;

    memset(peers, 0, sizeof(*peers));
    if (!fs_avail_path(path, sizeof(path), state_dir, PEERS_FILE) ||
        fs_file_read(path, FS_AVAIL_SMALL_LIMIT, &text, &length, &ignored))
        return -1;
    read = fs_avail_parse_peers(text, peers);
    free(text);
    return read;
}
