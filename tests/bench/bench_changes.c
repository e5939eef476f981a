/* SPDX-License-Identifier: Apache-2.0 */
/* What changes cost: making and applying deltas. */
#include "bench_image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include "image/fs_delta.h"

#define APPLIED 5

/* What changed rows weigh by themselves: key and columns, compressed like a delta. */
static size_t compressed_rows(const bench_rows_t *rows, const uint32_t *changed, unsigned count,
                              char (*notes)[BENCH_VALUE])
{
    size_t room = ZSTD_compressBound((size_t)count * (BENCH_KEY + BENCH_VALUE)), used = 0;
    char *plain = malloc((size_t)count * (BENCH_KEY + BENCH_VALUE)), *packed = malloc(room);

    for (unsigned i = 0; i < count; i++) {
        char text[BENCH_VALUE + 1];

        bench_key(text, changed[i]);
        memcpy(plain + used, text, BENCH_KEY);
        bench_value(rows, changed[i], text);
        memcpy(plain + used + BENCH_KEY, text, BENCH_VALUE);
        memcpy(plain + used + BENCH_KEY + BENCH_KEY + 11, notes[i], BENCH_VALUE - BENCH_KEY - 11);
        used += BENCH_KEY + BENCH_VALUE;
    }
    used = ZSTD_compress(packed, room, plain, used, 6);
    free(plain);
    free(packed);
    return used;
}

/* Median time of applying a delta, in seconds. */
static double apply_often(const char *old_path, const char *delta, const char *dir,
                          const fs_digest_t *digest, uint64_t bytes)
{
    double applied[APPLIED];
    fs_image_made_t again;
    fs_result_t result;

    if (mkdir(dir, 0700))
        bench_fail("cannot make %s", dir);
    for (unsigned i = 0; i < APPLIED; i++) {
        double start = bench_now();

        bench_must(fs_delta_apply(old_path, delta, dir, digest, bytes, &again, &result), &result);
        applied[i] = (bench_now() - start) / 1e9;
    }
    return bench_middle(applied, APPLIED);
}

/* Changes one row in a thousand: the next image by changes, the delta, and the image from it. */
void bench_changes(const char *prefix, const bench_rows_t *rows, const char *old_path,
                   double build_seconds)
{
    unsigned count = rows->count < 1000 ? 1 : rows->count / 1000;
    uint32_t *changed = bench_shuffled(rows->count);
    char(*notes)[BENCH_VALUE] = malloc(count * sizeof(*notes)), host[600], new_path[700], path[700];
    char hex[FS_DIGEST_HEX_SIZE];
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_delta_info_t info;
    fs_result_t result;
    double times[3], applied;
    size_t packed;

    snprintf(host, sizeof(host), "%s/host", rows->dir);
    snprintf(path, sizeof(path), "%s/delta", rows->dir);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < BENCH_VALUE; j++)
            notes[i][j] = (char)('a' + bench_random(26));
    times[0] = bench_now();
    bench_must(fs_image_builder_update(&builder, rows->dir, old_path, 2, &result), &result);
    for (unsigned i = 0; i < count; i++)
        bench_must(bench_add_row(builder, rows, changed[i], notes[i], &result), &result);
    bench_must(fs_image_builder_finish(builder, &made, &result), &result);
    snprintf(new_path, sizeof(new_path), "%s/%s.fsi", rows->dir, fs_digest_hex(&made.digest, hex));
    times[1] = bench_now();
    bench_must(fs_delta_make(old_path, new_path, path, &info, &result), &result);
    times[2] = bench_now();
    applied = apply_often(old_path, path, host, &made.digest, made.bytes);
    packed = compressed_rows(rows, changed, count, notes);
    bench_say(
        "  %u rows changed: next image from changes %.0f ms, delta made %.0f ms, applied %.0f ms "
        "(%.2fx of the build without SQL)\n",
        count, (times[1] - times[0]) / 1e6, (times[2] - times[1]) / 1e6, applied * 1e3,
        applied / build_seconds);
    bench_say("  delta %llu bytes, the changed rows themselves %zu compressed: %.2fx\n",
              (unsigned long long)info.file_bytes, packed,
              (double)info.file_bytes / (double)packed);
    bench_note(prefix, "applied_ms", applied * 1e3);
    bench_note(prefix, "applied_of_build", applied / build_seconds);
    bench_note(prefix, "wire", (double)info.file_bytes / (double)packed);
    free(changed);
    free(notes);
}

/* Peak of this process's memory in MiB, mapped files included. */
static double peak_memory(void)
{
    char line[256];
    double peak = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, "VmHWM:", 6))
            peak = strtod(line + 6, NULL) / 1024;
    if (file)
        fclose(file);
    return peak;
}

/* In a process of its own: its memory isn't that of applying. Returns when it is done. */
static void make_delta(const char *old_path, const char *new_path, const char *delta)
{
    pid_t pid = fork();
    fs_result_t result;
    int status;

    if (pid == 0) {
        bench_must(fs_delta_make(old_path, new_path, delta, NULL, &result), &result);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        bench_fail("cannot make the delta");
}

void bench_delta(const char *dir, const char *old_path, const char *new_path)
{
    char delta[600], host[600];
    fs_delta_info_t info;
    fs_result_t result;
    double start = bench_now(), made, applied;
    struct stat file;

    snprintf(delta, sizeof(delta), "%s/delta", dir);
    snprintf(host, sizeof(host), "%s/host", dir);
    make_delta(old_path, new_path, delta);
    made = (bench_now() - start) / 1e9;
    bench_must(fs_delta_read(delta, &info, &result), &result);
    if (stat(new_path, &file))
        bench_fail("cannot read %s", new_path);
    applied = apply_often(old_path, delta, host, &info.new_digest, (uint64_t)file.st_size);
    bench_say(
        "%llu rows put, %llu removed, %llu bytes: made in %.0f ms, applied in %.0f ms, peak %.0f "
        "MiB\n",
        (unsigned long long)info.put_rows, (unsigned long long)info.removed_rows,
        (unsigned long long)info.file_bytes, made * 1e3, applied * 1e3, peak_memory());
    bench_note("delta", "made_ms", made * 1e3);
    bench_note("delta", "applied_ms", applied * 1e3);
    bench_note("delta", "peak_mib", peak_memory());
    bench_note("delta", "bytes", (double)info.file_bytes);
    bench_note("delta", "rows", (double)info.put_rows);
}
