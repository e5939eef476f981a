/* SPDX-License-Identifier: Apache-2.0 */
#include "published.h"

#include <stdlib.h>

fs_published_t *fs_published_make(fs_manifest_t *manifest)
{
    fs_published_t *made = calloc(1, sizeof(*made));

    if (made)
        made->json = fs_manifest_print(manifest, &made->length);
    if (!made || !made->json) {
        free(made);
        fs_manifest_free(manifest);
        return NULL;
    }
    atomic_init(&made->references, 1);
    made->manifest = manifest;
    return made;
}

fs_published_t *fs_published_hold(fs_published_t *published)
{
    if (published)
        atomic_fetch_add(&published->references, 1);
    return published;
}

void fs_published_drop(fs_published_t *published)
{
    if (!published || atomic_fetch_sub(&published->references, 1) != 1)
        return;
    fs_manifest_free(published->manifest);
    free(published->json);
    free(published);
}

static int version_names(const fs_manifest_version_t *version, const fs_digest_t *digest)
{
    for (unsigned i = 0; i < version->dataset_count; i++)
        if (fs_digest_equal(&version->datasets[i].digest, digest))
            return 1;
    return 0;
}

int fs_published_names(const fs_published_t *published, const fs_digest_t *digest)
{
    return version_names(&published->manifest->active, digest) ||
           version_names(&published->manifest->staged, digest);
}

unsigned fs_published_versions(const fs_published_t *published, fs_usec_t now,
                               const fs_manifest_version_t *versions[2])
{
    const fs_manifest_t *manifest = published->manifest;
    const fs_manifest_version_t *first = &manifest->active, *second = &manifest->staged;
    unsigned count = 0;

    if (now && fs_manifest_in_force(manifest, now) == second) {
        first = &manifest->staged;
        second = &manifest->active;
    }
    if (first->version > 0)
        versions[count++] = first;
    if (second->version > 0 && second->version != first->version)
        versions[count++] = second;
    return count;
}
