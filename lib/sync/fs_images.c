/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of images: names, and cleaning up what nobody needs. */
#include "sync/fs_retrieve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_log.h"
#include "sync/fs_part.h"

#define IMAGE_SUFFIX ".fsi"
#define HEX_LENGTH   (FS_DIGEST_HEX_SIZE - 1)

int fs_images_path(char *out, size_t size, const char *dir, const fs_digest_t *digest)
{
    char hex[FS_DIGEST_HEX_SIZE];
    int length = snprintf(out, size, "%s/%s" IMAGE_SUFFIX, dir, fs_digest_hex(digest, hex));

    return length < 0 || (size_t)length >= size ? -1 : 0;
}

typedef struct cleaning_t {
    int dir_fd;
    const char *dir;
    const fs_digest_t *keep;
    unsigned keep_count;
    fs_usec_t oldest; /* wall time: leftovers last touched before this are nobody's */
    unsigned removed;
} cleaning_t;

/* Whether `name` is prefix, 64 hex digits, suffix. */
static int named_by_digest(const char *name, const char *prefix, const char *suffix,
                           fs_digest_t *digest)
{
    size_t before = strlen(prefix);
    char hex[FS_DIGEST_HEX_SIZE];

    if (strncmp(name, prefix, before) != 0 || strlen(name + before) < HEX_LENGTH ||
        strcmp(name + before + HEX_LENGTH, suffix) != 0)
        return 0;
    memcpy(hex, name + before, HEX_LENGTH);
    hex[HEX_LENGTH] = '\0';
    return fs_digest_parse(digest, hex) == 0;
}

/* Whether `name` is the part of a delta: prefix, the digest that it leads to, '-', the one before.
 */
static int named_delta_part(const char *name, fs_digest_t *digest, fs_digest_t *from)
{
    char first[sizeof(FS_PART_PREFIX) + HEX_LENGTH];
    const char *dash = name + sizeof(first) - 1;

    if (strlen(name) != 2 * HEX_LENGTH + sizeof(FS_PART_PREFIX) || *dash != '-')
        return 0;
    memcpy(first, name, sizeof(first) - 1);
    first[sizeof(first) - 1] = '\0';
    return named_by_digest(first, FS_PART_PREFIX, "", digest) &&
           named_by_digest(dash, "-", "", from);
}

static int is_kept(const cleaning_t *cleaning, const fs_digest_t *digest)
{
    for (unsigned i = 0; i < cleaning->keep_count; i++) {
        if (fs_digest_equal(&cleaning->keep[i], digest))
            return 1;
    }
    return 0;
}

static void remove_file(cleaning_t *cleaning, const char *name)
{
    if (unlinkat(cleaning->dir_fd, name, 0) == 0)
        cleaning->removed++;
    else if (errno != ENOENT)
        fs_log(FS_LOG_WARNING, "FS0359",
               "cannot remove %s/%s, which nobody needs any more: %s; check the directory's owner",
               cleaning->dir, name, strerror(errno));
}

/* A part goes if nobody fills it, and the image (NULL: of no use) isn't wanted or is here already.
 */
static void clean_part(cleaning_t *cleaning, const char *name, const fs_digest_t *digest)
{
    char whole[PATH_MAX];
    int fd = openat(cleaning->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        (!digest || !is_kept(cleaning, digest) ||
         (fs_images_path(whole, sizeof(whole), cleaning->dir, digest) == 0 &&
          access(whole, F_OK) == 0)))
        remove_file(cleaning, name);
    close(fd);
}

/* What a builder that was killed left behind: hidden files that nobody has written to for long. */
static void clean_leftover(cleaning_t *cleaning, const char *name)
{
    struct stat info;

    if (name[0] != '.' || fstatat(cleaning->dir_fd, name, &info, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(info.st_mode))
        return;
    if ((fs_usec_t)info.st_mtim.tv_sec * FS_USEC_PER_SEC < cleaning->oldest)
        remove_file(cleaning, name);
}

static void clean_one(cleaning_t *cleaning, const char *name)
{
    fs_digest_t digest, from;

    if (named_by_digest(name, "", IMAGE_SUFFIX, &digest)) {
        if (!is_kept(cleaning, &digest))
            remove_file(cleaning, name);
    } else if (named_by_digest(name, FS_PART_PREFIX, "", &digest)) {
        clean_part(cleaning, name, &digest);
    } else if (named_delta_part(name, &digest, &from)) {
        clean_part(cleaning, name, is_kept(cleaning, &from) ? &digest : NULL);
    } else {
        clean_leftover(cleaning, name);
    }
}

unsigned fs_images_clean(const char *dir, const fs_digest_t *keep, unsigned count,
                         fs_usec_t wall_now, fs_usec_t leftover_age)
{
    cleaning_t cleaning = {-1, dir, keep, count, wall_now - leftover_age, 0};
    DIR *stream = opendir(dir);
    const struct dirent *entry;

    if (!stream)
        return 0;
    cleaning.dir_fd = dirfd(stream);
    while ((entry = readdir(stream)) != NULL)
        clean_one(&cleaning, entry->d_name);
    closedir(stream);
    return cleaning.removed;
}

void fs_images_each(const char *dir, void (*see)(void *baton, const fs_digest_t *digest),
                    void *baton)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;
    fs_digest_t digest;

    if (!stream)
        return;
    while ((entry = readdir(stream)) != NULL) {
        if (named_by_digest(entry->d_name, "", IMAGE_SUFFIX, &digest))
            see(baton, &digest);
    }
    closedir(stream);
}
