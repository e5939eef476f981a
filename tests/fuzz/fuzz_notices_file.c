/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A published file that may hold anything. So that not only its digest is tried, the text is read a
 * second time with the right digest behind it. What is taken is written and read back the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avail/fs_avail_internal.h"
#include "avail/fs_avail_peers.h"
#include "base/fs_digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes with an end line of their own; malloc'ed. */
static char *with_end(const char *data, size_t size, size_t *length)
{
    char hex[FS_DIGEST_HEX_SIZE], *text;
    fs_digest_t digest;

    fs_digest_of(&digest, data, size);
    text = malloc(size + 80);
    if (!text)
        abort();
    memcpy(text, data, size);
    *length = size + (size_t)snprintf(text + size, 80, "end %s\n", fs_digest_hex(&digest, hex));
    return text;
}

static char *print(const fs_avail_t *avail, size_t *length)
{
    char *text = NULL, *whole;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        abort();
    fprintf(out, "%s\n", fs_avail_first_line);
    for (unsigned i = 0; i < avail->count; i++)
        fs_avail_print(out, &avail->notices[i]);
    fclose(out);
    whole = with_end(text, size, length);
    free(text);
    return whole;
}

static void read_as_notices(char *text, size_t length)
{
    fs_avail_t *avail, *again;
    size_t size, size_again;
    fs_result_t result;
    char *first, *second, *copy;

    if (fs_avail_parse(&avail, text, length, &result)) {
        if (avail || strcmp(result.problem, "FS1511") != 0)
            abort();
        free(text);
        return;
    }
    first = print(avail, &size);
    copy = malloc(size + 1);
    if (!copy)
        abort();
    memcpy(copy, first, size);
    copy[size] = '\0';
    if (fs_avail_parse(&again, copy, size, &result) || again->count != avail->count)
        abort();
    second = print(again, &size_again);
    if (size != size_again || memcmp(first, second, size) != 0)
        abort();
    free(first);
    free(second);
    fs_avail_free(again);
    fs_avail_free(avail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fs_avail_peers_t peers;
    size_t length;
    char *text = with_end((const char *)data, size, &length), *peers_text;

    read_as_notices(text, length);
    text = malloc(size + 1);
    peers_text = malloc(size + 1);
    if (!text || !peers_text)
        abort();
    memcpy(text, data, size);
    memcpy(peers_text, data, size);
    text[size] = peers_text[size] = '\0';
    read_as_notices(text, size);
    if (!fs_avail_parse_peers(peers_text, &peers) && peers.count > FS_AVAIL_PEERS)
        abort();
    free(peers_text);
    return 0;
}
