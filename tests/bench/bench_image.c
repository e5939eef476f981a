/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast an image answers, beside what else there is and beside what memory allows.
 *
 *   bench_image [-o FILE] [-r ROUNDS] [-d DIR] [ROWS...]
 *
 * dependent    each answer names the next key, so that no two look-ups overlap: what a page waits
 * for independent  keys known ahead: what a loop over many keys sees floor        a chain of reads
 * of one random cache line each, of a file as large as the image
 *
 * All stores are measured in turn within each round, so that whatever else the machine does hits
 * all of them alike. The table gives the median of the rounds and their range, in nanoseconds a
 * look-up.
 */
#include "bench_image.h"

#include <apr_general.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "image/fs_delta.h"

#define LINE       64
#define MOST_ROUND 99
#define LOOK_UPS   400000u
#define BATCH      16
#define SERIES     16
#define APPLIED    5

/* The rounds' times of one store in one way of asking. */
typedef struct series_t {
    const char *name;
    double times[2][MOST_ROUND]; /* dependent, independent */
    unsigned rounds;
} series_t;

static FILE *output;

void bench_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
    if (output) {
        va_start(args, format);
        vfprintf(output, format, args);
        va_end(args);
    }
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(((random_state >> 32) * limit) >> 32);
}

/* A random permutation of 0..count-1. */
static uint32_t *shuffled(unsigned count)
{
    uint32_t *numbers = malloc(count * sizeof(*numbers));

    for (unsigned i = 0; i < count; i++) {
        uint32_t j = random_below(i + 1);

        numbers[i] = numbers[j];
        numbers[j] = i;
    }
    return numbers;
}

/* A random cycle through all of 0..count-1. */
static uint32_t *random_cycle(unsigned count)
{
    uint32_t *way = shuffled(count), *next = malloc(count * sizeof(*next));

    for (unsigned i = 0; i < count; i++)
        next[way[i]] = way[(i + 1) % count];
    free(way);
    return next;
}

void bench_key(char out[BENCH_KEY + 1], unsigned number)
{
    snprintf(out, BENCH_KEY + 1, "price:sku:%09u", number % 1000000000u);
}

void bench_value(const bench_rows_t *rows, unsigned number, char out[BENCH_VALUE + 1])
{
    bench_key(out, rows->next[number]);
    snprintf(out + BENCH_KEY, BENCH_VALUE + 1 - BENCH_KEY, "%08u.%02u in stock: %06u, a short note",
             number, number % 100, number % 1000000u);
    for (size_t used = strlen(out); used < BENCH_VALUE; used++)
        out[used] = '.';
    out[BENCH_VALUE] = '\0';
}

/* --- the image ----------------------------------------------------------------------------------
 */

static fs_column_t columns[] = {
    {"sku", FS_COLUMN_TEXT, 1},
    {"next", FS_COLUMN_TEXT, 0},
    {"price", FS_COLUMN_DECIMAL, 0},
    {"note", FS_COLUMN_TEXT, 0},
};
static const fs_image_schema_t schema = {"default", "prices", 4, 1, columns};

static void must(apr_status_t status, const fs_result_t *result)
{
    if (status != APR_SUCCESS)
        bench_fail("%s: %s", result->problem, result->detail);
}

static apr_status_t add_row(fs_image_builder_t *builder, const bench_rows_t *rows, unsigned number,
                            const char *note, fs_result_t *result)
{
    char key[BENCH_KEY + 1], value[BENCH_VALUE + 1];
    uint32_t length = BENCH_VALUE - BENCH_KEY - 11;

    bench_key(key, number);
    bench_value(rows, number, value);
    fs_slice_t values[] = {{key, BENCH_KEY},
                           {value, BENCH_KEY},
                           {value + BENCH_KEY, 11},
                           {note ? note : value + BENCH_KEY + 11, length}};
    return fs_image_builder_add(builder, values, result);
}

/* Builds and opens the image; its path is "<dir>/<digest>.fsi". */
static fs_image_t *build_image(const bench_rows_t *rows, double *seconds, char path[512])
{
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_image_t *image;
    fs_result_t result;
    char hex[FS_DIGEST_HEX_SIZE];
    double start = now_ns();

    must(fs_image_builder_create(&builder, rows->dir, &schema, 1, &result), &result);
    for (unsigned i = 0; i < rows->count; i++)
        must(add_row(builder, rows, i, NULL, &result), &result);
    must(fs_image_builder_finish(builder, &made, &result), &result);
    *seconds = (now_ns() - start) / 1e9;
    snprintf(path, 512, "%s/%s.fsi", rows->dir, fs_digest_hex(&made.digest, hex));
    must(fs_image_open(&image, path, &result), &result);
    return image;
}

static const char *image_get(void *store, const char *key)
{
    fs_slice_t slice = {key, BENCH_KEY};
    fs_row_t row;

    return fs_image_find(store, &slice, 1, &row) ? fs_row_value(&row, 1).data : NULL;
}

/* --- measuring ----------------------------------------------------------------------------------
 */

static double dependent(const bench_store_t *store, void *data, unsigned look_ups, unsigned rows)
{
    char key[BENCH_KEY + 1];
    const char *next = key;
    double start;

    bench_key(key, random_below(rows));
    start = now_ns();
    for (unsigned i = 0; i < look_ups; i++)
        if (!(next = store->get(data, next)))
            bench_fail("%s: lost a key", store->name);
    return (now_ns() - start) / look_ups;
}

static double independent(const bench_store_t *store, void *data, unsigned look_ups, unsigned rows)
{
    char(*keys)[BENCH_KEY + 1] = malloc(look_ups * sizeof(*keys));
    uint64_t sum = 0;
    double start;

    for (unsigned i = 0; i < look_ups; i++)
        bench_key(keys[i], random_below(rows));
    start = now_ns();
    for (unsigned i = 0; i < look_ups; i++) {
        const char *value = store->get(data, keys[i]);

        if (!value)
            bench_fail("%s: lost a key", store->name);
        sum += (unsigned char)value[BENCH_KEY - 1];
    }
    start = (now_ns() - start) / look_ups;
    if (!sum)
        bench_fail("%s: values are lost", store->name);
    free(keys);
    return start;
}

/* Look-ups in batches of 16; nanoseconds a key. */
static double batched(const fs_image_t *image, unsigned look_ups, unsigned rows)
{
    char(*text)[BENCH_KEY + 1] = malloc(look_ups * sizeof(*text));
    fs_slice_t *keys = malloc(look_ups * sizeof(*keys));
    uint64_t sum = 0;
    double start;

    for (unsigned i = 0; i < look_ups; i++) {
        bench_key(text[i], random_below(rows));
        keys[i] = (fs_slice_t){text[i], BENCH_KEY};
    }
    start = now_ns();
    for (unsigned i = 0; i + BATCH <= look_ups; i += BATCH) {
        fs_row_t found[BATCH];

        if (fs_image_find_batch(image, keys + i, 1, BATCH, found) != BATCH)
            bench_fail("batch: lost a key");
        for (unsigned j = 0; j < BATCH; j++)
            sum += (unsigned char)fs_row_value(&found[j], 1).data[BENCH_KEY - 1];
    }
    start = (now_ns() - start) / (look_ups / BATCH * BATCH);
    if (!sum)
        bench_fail("batch: values are lost");
    free(keys);
    free(text);
    return start;
}

/* A file of `bytes` bytes whose cache lines name each other in a random cycle. */
typedef struct floor_t {
    const uint32_t *base;
    size_t bytes;
    uint32_t *order;
} floor_t;

/* The file is written in pieces of 2 MiB, as an image is, so that both get the same pages. */
static void write_floor(const char *path, const uint32_t *next, unsigned lines)
{
    enum { PIECE = 2 << 20 };
    char *piece = calloc(1, PIECE);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    for (unsigned i = 0; i < lines; i += PIECE / LINE) {
        unsigned count = lines - i < PIECE / LINE ? lines - i : PIECE / LINE;

        for (unsigned j = 0; j < count; j++)
            memcpy(piece + (size_t)j * LINE, &next[i + j], sizeof(*next));
        if (write(fd, piece, (size_t)count * LINE) != (ssize_t)count * LINE)
            bench_fail("floor: cannot write %s", path);
    }
    free(piece);
    close(fd);
}

static floor_t floor_open(const char *dir, uint64_t bytes)
{
    unsigned lines = (unsigned)(bytes / LINE);
    uint32_t *next = random_cycle(lines);
    floor_t made = {NULL, (size_t)lines * LINE, shuffled(lines)};
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/floor", dir);
    write_floor(path, next, lines);
    free(next);
    if ((fd = open(path, O_RDONLY)) < 0 ||
        (made.base = mmap(NULL, made.bytes, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        bench_fail("floor: cannot map %s", path);
    madvise((void *)(uintptr_t)made.base, made.bytes, MADV_HUGEPAGE);
    close(fd);
    return made;
}

static double floor_dependent(const floor_t *lines, unsigned look_ups)
{
    uint32_t at = random_below((uint32_t)(lines->bytes / LINE));
    double start = now_ns();

    for (unsigned i = 0; i < look_ups; i++)
        at = lines->base[(size_t)at * (LINE / 4)];
    start = (now_ns() - start) / look_ups;
    return at == UINT32_MAX ? 0 : start;
}

static double floor_independent(const floor_t *lines, unsigned look_ups)
{
    uint32_t count = (uint32_t)(lines->bytes / LINE), sum = 0;
    double start = now_ns();

    for (unsigned i = 0; i < look_ups; i++)
        sum += lines->base[(size_t)lines->order[i % count] * (LINE / 4)];
    start = (now_ns() - start) / look_ups;
    return sum == 1 ? 0 : start;
}

/* --- the table ----------------------------------------------------------------------------------
 */

static double median(series_t *series, int way)
{
    qsort(series->times[way], series->rounds, sizeof(double), compare_times);
    return series->times[way][series->rounds / 2];
}

static void say_series(series_t *series, series_t *image, series_t *lines)
{
    double floor_time = median(lines, 0), dependent_time = median(series, 0);

    say("  %-22s", series->name);
    for (int way = 0; way < 2; way++) {
        double middle = median(series, way);

        if (middle == 0)
            say("  %35s", "");
        else
            say("  %8.1f (%7.1f-%8.1f) %6.2fx", middle, series->times[way][0],
                series->times[way][series->rounds - 1], middle / median(image, way));
    }
    if (dependent_time > 0)
        say("  %6.2f", dependent_time / floor_time);
    say("\n");
}

static const bench_store_t image_store = {"farmsync image", NULL, image_get, NULL, LOOK_UPS};

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

/* Changes one row in a thousand: the next image by changes, the delta, and the image from it. */
static void measure_changes(const bench_rows_t *rows, const char *old_path, double build_seconds)
{
    unsigned count = rows->count < 1000 ? 1 : rows->count / 1000;
    uint32_t *changed = shuffled(rows->count);
    char(*notes)[BENCH_VALUE] = malloc(count * sizeof(*notes)), host[600], new_path[700], path[700];
    char hex[FS_DIGEST_HEX_SIZE];
    fs_image_builder_t *builder;
    fs_image_made_t made, again;
    fs_delta_info_t info;
    fs_result_t result;
    double times[3], applied[APPLIED];

    snprintf(host, sizeof(host), "%s/host", rows->dir);
    snprintf(path, sizeof(path), "%s/delta", rows->dir);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < BENCH_VALUE; j++)
            notes[i][j] = (char)('a' + random_below(26));
    times[0] = now_ns();
    must(fs_image_builder_update(&builder, rows->dir, old_path, 2, &result), &result);
    for (unsigned i = 0; i < count; i++)
        must(add_row(builder, rows, changed[i], notes[i], &result), &result);
    must(fs_image_builder_finish(builder, &made, &result), &result);
    snprintf(new_path, sizeof(new_path), "%s/%s.fsi", rows->dir, fs_digest_hex(&made.digest, hex));
    times[1] = now_ns();
    must(fs_delta_make(old_path, new_path, path, &info, &result), &result);
    times[2] = now_ns();
    if (mkdir(host, 0700))
        bench_fail("cannot make %s", host);
    for (unsigned i = 0; i < APPLIED; i++) {
        double start = now_ns();

        must(fs_delta_apply(old_path, path, host, &made.digest, made.bytes, &again, &result),
             &result);
        applied[i] = (now_ns() - start) / 1e9;
    }
    qsort(applied, APPLIED, sizeof(*applied), compare_times);
    say("  %u rows changed: next image from changes %.0f ms, delta made %.0f ms, applied %.0f ms "
        "(%.2fx of the build without SQL)\n",
        count, (times[1] - times[0]) / 1e6, (times[2] - times[1]) / 1e6, applied[APPLIED / 2] * 1e3,
        applied[APPLIED / 2] / build_seconds);
    say("  delta %llu bytes, the changed rows themselves %zu compressed: %.2fx\n",
        (unsigned long long)info.file_bytes, compressed_rows(rows, changed, count, notes),
        (double)info.file_bytes / (double)compressed_rows(rows, changed, count, notes));
    free(changed);
    free(notes);
}

static void measure(bench_rows_t *rows, unsigned rounds)
{
    series_t all[SERIES] = {
        {"floor", {{0}}, 0}, {"farmsync image", {{0}}, 0}, {"  batch of 16", {{0}}, 0}};
    void *stores[SERIES] = {NULL};
    double seconds;
    char path[512];
    fs_image_t *image = build_image(rows, &seconds, path);
    floor_t lines = floor_open(rows->dir, fs_image_bytes(image));
    unsigned count = 3;

    for (unsigned i = 0; bench_stores[i].name; i++, count++) {
        all[count].name = bench_stores[i].name;
        stores[count] = bench_stores[i].open(rows);
    }
    for (unsigned round = 0; round <= rounds; round++) {
        unsigned at = round ? round - 1 : 0; /* round 0 only warms up */

        all[0].times[0][at] = floor_dependent(&lines, LOOK_UPS);
        all[0].times[1][at] = floor_independent(&lines, LOOK_UPS);
        all[1].times[0][at] = dependent(&image_store, image, LOOK_UPS, rows->count);
        all[1].times[1][at] = independent(&image_store, image, LOOK_UPS, rows->count);
        all[2].times[1][at] = batched(image, LOOK_UPS, rows->count);
        for (unsigned i = 3; i < count; i++) {
            const bench_store_t *store = &bench_stores[i - 3];

            all[i].times[0][at] = dependent(store, stores[i], store->look_ups, rows->count);
            all[i].times[1][at] = independent(store, stores[i], store->look_ups, rows->count);
        }
        for (unsigned i = 0; i < count; i++)
            all[i].rounds = at + 1;
    }
    say("\n%u rows of %d bytes, key %d bytes; built in %.2f s; %.1f bytes a row beyond key and "
        "values\n",
        rows->count, BENCH_VALUE, BENCH_KEY, seconds,
        (double)fs_image_bytes(image) / rows->count - BENCH_VALUE - BENCH_KEY);
    say("  %-22s  %-35s  %-35s  %s\n", "ns a look-up", "dependent (range), of the image",
        "independent (range), of the image", "of floor");
    for (unsigned i = 0; i < count; i++)
        say_series(&all[i], &all[1], &all[0]);
    measure_changes(rows, path, seconds);
    for (unsigned i = 3; i < count; i++)
        bench_stores[i - 3].close(stores[i]);
    munmap((void *)(uintptr_t)lines.base, lines.bytes);
    free(lines.order);
    fs_image_close(image);
}

static void say_machine(void)
{
    struct utsname name;
    char line[256], when[32];
    time_t now = time(NULL);
    FILE *file = fopen("/proc/cpuinfo", "r");

    uname(&name);
    strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", gmtime(&now));
    say("farmsync image benchmark, %s, Linux %s, %ld CPUs", when, name.release,
        sysconf(_SC_NPROCESSORS_ONLN));
    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, "model name", 10)) {
            say(", %s", strchr(line, ':') + 2);
            break;
        }
    if (file)
        fclose(file);
}

static void remove_dir(const char *dir)
{
    char command[600];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (system(command))
        fprintf(stderr, "cannot remove %s\n", dir);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"1000", "100000", "1000000"};
    char dir[512] = "";
    const char *base = "/tmp";
    unsigned rounds = 9;
    int option, count;
    const char *const *sizes;

    while ((option = getopt(argc, argv, "o:r:d:")) != -1) {
        if (option == 'o')
            output = fopen(optarg, "w");
        else if (option == 'r')
            rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            base = optarg;
        else
            bench_fail("usage: bench_image [-o FILE] [-r ROUNDS] [-d DIR] [ROWS...]");
    }
    if (rounds < 1 || rounds > MOST_ROUND)
        bench_fail("rounds: 1 to %d", MOST_ROUND);
    apr_initialize();
    say_machine();
    count = optind < argc ? argc - optind : 3;
    sizes = optind < argc ? (const char *const *)argv + optind : usual;
    for (int i = 0; i < count; i++) {
        bench_rows_t rows = {(unsigned)strtoul(sizes[i], NULL, 10), NULL, dir};

        snprintf(dir, sizeof(dir), "%s/farmsync-bench-XXXXXX", base);
        if (!rows.count || !mkdtemp(dir))
            bench_fail("cannot measure %s rows in %s", sizes[i], base);
        rows.next = random_cycle(rows.count);
        measure(&rows, rounds);
        free(rows.next);
        remove_dir(dir);
    }
    if (output)
        fclose(output);
    return 0;
}
