/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trust page and the table of turns with anything in their files: nothing crashes or hangs, no
 * promise beyond the limit is believed, and a turn is had by one at a time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session/fs_session_trust.h"
#include "session/fs_session_turn.h"

#define TABLE_BYTES (1 << 20) /* more than it has */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file holds the data, again and again. */
static void scribble(const char *dir, const char *name, const uint8_t *data, size_t size,
                     size_t bytes)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (size_t at = 0; fd >= 0 && size && at < bytes; at += size)
        if (pwrite(fd, data, size, (off_t)at) < 0)
            abort();
    close(fd);
}

static void use_trust(const char *dir)
{
    fs_usec_t now = fs_session_trust_clock();
    fs_session_trusted_t page;
    fs_session_trust_t *trust;

    if (fs_session_trust_open(&trust, dir, 0, NULL))
        abort();
    fs_session_trust_read(trust, &page);
    if (fs_session_trust_allows(trust, page.generation, now) &&
        page.until - now > FS_SESSION_TRUST_LIMIT)
        abort();
    fs_session_trust_close(trust);
    if (fs_session_trust_open(&trust, dir, 1, NULL))
        abort();
    fs_session_trust_read(trust, &page);
    if (page.until || !page.generation)
        abort();
    fs_session_trust_close(trust);
}

static void use_turns(const char *dir, const uint8_t *data, size_t size)
{
    fs_session_key_t key = {{0}};
    fs_session_turns_t *turns;
    fs_session_turn_t first, second;

    memcpy(key.bytes, data, size < sizeof(key.bytes) ? size : sizeof(key.bytes));
    if (fs_session_turns_open(&turns, dir, NULL))
        abort();
    fs_session_turn_count(turns, &key);
    if (!fs_session_turn_take(turns, &key, 25 * FS_USEC_PER_MSEC, &first, NULL)) {
        if (!fs_session_turn_take(turns, &key, 0, &second, NULL))
            abort();
        fs_session_turn_leave(turns, &first);
    }
    fs_session_turns_close(turns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-session-map-XXXXXX";
    static const char *const files[] = {"trust", "turns"};
    char path[64];

    if (!mkdtemp(dir))
        abort();
    scribble(dir, "trust", data, size, 64);
    scribble(dir, "turns", data, size, TABLE_BYTES);
    use_trust(dir);
    use_turns(dir, data, size);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    return 0;
}
