/* SPDX-License-Identifier: Apache-2.0 */
#include "control/fs_page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_once.h"

static void fill_head(fs_page_head_t *head, const char *magic, size_t size)
{
    memset(head, 0, sizeof(*head));
    memcpy(head->magic, magic, sizeof(head->magic));
    head->layout = FS_PAGE_LAYOUT;
    head->groups = FS_CONTROL_GROUPS;
    head->group_bytes = sizeof(fs_control_group_t);
    head->clock_bytes = sizeof(fs_control_clock_t);
    head->size = size;
}

void fs_page_head_control(fs_page_head_t *head)
{
    fill_head(head, "FSCTL\r\n\x1a", sizeof(fs_control_page_t));
}

void fs_page_head_marks(fs_page_head_t *head)
{
    fill_head(head, "FSMRK\r\n\x1a", sizeof(fs_marks_page_t));
}

static int path_of(char path[PATH_MAX], const char *state_dir, const char *name)
{
    return snprintf(path, PATH_MAX, "%s/%s", state_dir, name) < PATH_MAX;
}

/* Maps an open file after looking at its size and head. */
static fs_mapping_t *map_open_file(int fd, const char *path, const fs_page_head_t *expected,
                                   int writable, const char *problem, fs_result_t *result)
{
    fs_mapping_t *mapping;
    struct stat info;

    if (fstat(fd, &info) || !S_ISREG(info.st_mode) ||
        (unsigned long long)info.st_size != expected->size) {
        fs_result_set(result, APR_EGENERAL, problem,
                      "%s is not a farmsync file of this release (its size differs); the agent "
                      "of this release replaces it when it starts",
                      path);
        return NULL;
    }
    mapping = calloc(1, sizeof(*mapping));
    if (!mapping) {
        fs_result_set(result, APR_ENOMEM, problem, "cannot map %s: out of memory", path);
        return NULL;
    }
    mapping->size = (size_t)expected->size;
    mapping->device = info.st_dev;
    mapping->inode = info.st_ino;
    mapping->base =
        mmap(NULL, mapping->size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (mapping->base == MAP_FAILED) {
        fs_result_set(result, APR_FROM_OS_ERROR(errno), problem, "cannot map %s: %s", path,
                      strerror(errno));
        free(mapping);
        return NULL;
    }
    if (memcmp(mapping->base, expected, sizeof(*expected)) != 0) {
        fs_result_set(result, APR_EGENERAL, problem,
                      "%s is not a farmsync file of this release (its head differs); the agent "
                      "of this release replaces it when it starts",
                      path);
        fs_page_unmap_all(mapping);
        return NULL;
    }
    return mapping;
}

fs_mapping_t *fs_page_map(const char *state_dir, const char *name, const fs_page_head_t *expected,
                          int writable, const char *problem, fs_result_t *result)
{
    fs_mapping_t *mapping;
    char path[PATH_MAX];
    int fd;

    if (!path_of(path, state_dir, name)) {
        fs_result_set(result, APR_ENAMETOOLONG, problem, "%s: path too long", state_dir);
        return NULL;
    }
    fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        fs_result_set(result, APR_FROM_OS_ERROR(errno), problem, "cannot open %s: %s%s", path,
                      strerror(errno), errno == ENOENT ? "; has farmsync-agent been started?" : "");
        return NULL;
    }
    mapping = map_open_file(fd, path, expected, writable, problem, result);
    close(fd);
    return mapping;
}

/*
 * Reserves the space, so that a full disk is an error here and not a SIGBUS later, and writes the
 * head.
 */
static int fill_file(int fd, void *baton)
{
    const fs_page_head_t *head = baton;
    int error = posix_fallocate(fd, 0, (off_t)head->size);

    if (!error && pwrite(fd, head, sizeof(*head), 0) != (ssize_t)sizeof(*head))
        error = errno ? errno : EIO;
    return error;
}

static int has_head(int fd, void *baton)
{
    const fs_page_head_t *expected = baton;
    fs_page_head_t head;
    struct stat info;

    return !fstat(fd, &info) && S_ISREG(info.st_mode) &&
           (unsigned long long)info.st_size == expected->size &&
           pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
           !memcmp(&head, expected, sizeof(head));
}

apr_status_t fs_page_create(const char *state_dir, const char *name, const fs_page_head_t *head,
                            fs_result_t *result)
{
    fs_once_t how = {has_head, fill_file, (void *)head, 0640, (uid_t)-1, (gid_t)-1};
    char path[PATH_MAX];
    int fd;

    if (!path_of(path, state_dir, name))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0501", "%s: path too long", state_dir);
    fd = fs_once_open(path, &how);
    if (fd < 0)
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0501",
                             "cannot make %s: %s; check owner and free space of the state "
                             "directory",
                             path, strerror(errno));
    close(fd);
    return APR_SUCCESS;
}

int fs_page_is_current(const char *state_dir, const char *name, const fs_mapping_t *mapping)
{
    char path[PATH_MAX];
    struct stat info;

    return path_of(path, state_dir, name) && !stat(path, &info) && info.st_dev == mapping->device &&
           info.st_ino == mapping->inode;
}

void fs_page_unmap_all(fs_mapping_t *mapping)
{
    while (mapping) {
        fs_mapping_t *older = mapping->older;

        munmap(mapping->base, mapping->size);
        free(mapping);
        mapping = older;
    }
}

void fs_latch_store(_Atomic uint64_t *sequence, _Atomic uint64_t *words, size_t word_count,
                    const void *data, size_t bytes)
{
    uint64_t now = atomic_load_explicit(sequence, memory_order_relaxed);
    _Atomic uint64_t *copy = words + ((now + 1) & 1) * word_count;

    /* A reader that sees a word of this copy must also see that `sequence` had left it. */
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < word_count; i++) {
        size_t left = bytes - i * sizeof(uint64_t);
        uint64_t word = 0;

        memcpy(&word, (const char *)data + i * sizeof(word),
               left < sizeof(word) ? left : sizeof(word));
        atomic_store_explicit(copy + i, word, memory_order_relaxed);
    }
    atomic_store_explicit(sequence, now + 1, memory_order_release);
}

int fs_latch_load(const _Atomic uint64_t *sequence, const _Atomic uint64_t *words,
                  size_t word_count, void *data, size_t bytes)
{
    for (int attempt = 0; attempt < FS_LATCH_RETRIES; attempt++) {
        uint64_t before = atomic_load_explicit(sequence, memory_order_acquire);
        const _Atomic uint64_t *copy = words + (before & 1) * word_count;
        size_t whole = bytes / sizeof(uint64_t), rest = bytes % sizeof(uint64_t);
        char *to = data;
        uint64_t word;

        for (size_t i = 0; i < whole; i++, to += sizeof(word)) {
            word = atomic_load_explicit(copy + i, memory_order_relaxed);
            memcpy(to, &word, sizeof(word));
        }
        if (rest) {
            word = atomic_load_explicit(copy + whole, memory_order_relaxed);
            memcpy(to, &word, rest);
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(sequence, memory_order_relaxed) == before)
            return 1;
    }
    return 0;
}
