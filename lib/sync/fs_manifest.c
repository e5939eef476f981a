/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_manifest.h"

#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {"running", "held", "failed", "waiting"};
#define STATE_COUNT (sizeof(state_names) / sizeof(state_names[0]))

const char *fs_group_state_name(fs_group_state_t state)
{
    return (unsigned)state < STATE_COUNT ? state_names[state] : state_names[FS_GROUP_FAILED];
}

int fs_group_state_parse(const char *text, size_t length, fs_group_state_t *state)
{
    for (unsigned i = 0; i < STATE_COUNT; i++) {
        if (length == strlen(state_names[i]) && memcmp(text, state_names[i], length) == 0) {
            *state = (fs_group_state_t)i;
            return 0;
        }
    }
    return -1;
}

/* Bytes of the UTF-8 character (RFC 3629) at `text`, 0 if there is none. */
static size_t character(const unsigned char *text, size_t left)
{
    unsigned first = text[0];
    size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;

    if (length == 1)
        return 1;
    if (length > left || first < 0xc2 || first > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

void fs_text_fit(char *out, size_t size, const char *text, size_t length)
{
    size_t used = 0, step;

    for (size_t i = 0; i < length; i += step) {
        size_t wide = character((const unsigned char *)text + i, length - i);

        step = wide ? wide : 1;
        if (used + step >= size)
            break;
        if (!wide)
            out[used] = '?';
        else if (wide == 1 && ((unsigned char)text[i] < 0x20 || text[i] == 0x7f))
            out[used] = ' ';
        else
            memcpy(out + used, text + i, wide);
        used += step;
    }
    out[used] = '\0';
}

/* A name that can be logged and shown as it is. */
static int name_is_fit(const char *name, size_t length)
{
    if (length == 0 || length >= FS_IMAGE_NAME_SIZE)
        return 0;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return 0;
    }
    return 1;
}

apr_status_t fs_manifest_add_dataset(fs_manifest_version_t *version, const char *name,
                                     size_t name_length, const fs_digest_t *digest, uint64_t bytes,
                                     uint64_t rows)
{
    fs_manifest_dataset_t one, *grown;
    unsigned place = version->dataset_count;

    if (!name_is_fit(name, name_length))
        return APR_EINVAL;
    if (version->dataset_count >= FS_MANIFEST_MAX_DATASETS)
        return APR_ENOSPC;
    memset(&one, 0, sizeof(one));
    memcpy(one.name, name, name_length);
    one.digest = *digest;
    one.bytes = bytes;
    one.rows = rows;
    while (place > 0) {
        int order = strcmp(version->datasets[place - 1].name, one.name);

        if (order == 0)
            return APR_EEXIST;
        if (order < 0)
            break;
        place--;
    }
    grown = realloc(version->datasets, (version->dataset_count + 1) * sizeof(*grown));
    if (!grown)
        return APR_ENOMEM;
    memmove(grown + place + 1, grown + place, (version->dataset_count - place) * sizeof(*grown));
    grown[place] = one;
    version->datasets = grown;
    version->dataset_count++;
    return APR_SUCCESS;
}

void fs_manifest_free(fs_manifest_t *manifest)
{
    if (!manifest)
        return;
    if (manifest->staged.datasets != manifest->active.datasets)
        free(manifest->staged.datasets);
    free(manifest->active.datasets);
    free(manifest);
}

const fs_manifest_version_t *fs_manifest_in_force(const fs_manifest_t *manifest, fs_usec_t now)
{
    return now < manifest->activation_time || manifest->state == FS_GROUP_WAITING
               ? &manifest->active
               : &manifest->staged;
}

void fs_manifest_version_digest(const fs_manifest_version_t *version, char hex[FS_DIGEST_HEX_SIZE])
{
    fs_digest_sum_t *sum;
    fs_digest_t digest;

    hex[0] = '\0';
    if (version->version == 0)
        return;
    sum = fs_digest_begin();
    for (unsigned i = 0; i < version->dataset_count; i++) {
        const fs_manifest_dataset_t *dataset = &version->datasets[i];

        fs_digest_add(sum, dataset->name, strlen(dataset->name) + 1);
        fs_digest_add(sum, dataset->digest.bytes, sizeof(dataset->digest.bytes));
    }
    fs_digest_end(sum, &digest);
    fs_digest_hex(&digest, hex);
}
