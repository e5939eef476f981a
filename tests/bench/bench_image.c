/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast an image answers, beside what else there is and beside what memory allows.
 *
 *   bench_image [-j FILE] [-r ROUNDS] [-d DIR] [ROWS...]
 *   bench_image -a [-j FILE] [-d DIR] OLD NEW     the delta between two images: made, and applied
 *
 * - dependent: each answer is the next key, so that no two look-ups overlap: what a page waits for
 * - independent: keys known ahead: what a loop over many keys sees
 * - floor: a chain of reads of one random cache line each, of a file as large as the image
 * - loop: the loop around the look-ups with a store that answers nothing; no key is made in it
 *
 * All stores are measured in turn within each round, so that whatever else the machine does hits
 * all of them alike; ratios are medians of the rounds' own ratios, as measured and with the loop's
 * time taken off both sides. Times are medians and ranges, in nanoseconds a look-up. -j writes the
 * figures as JSON.
 */
#include "bench_image.h"

#include <apr_general.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define LINE       64
#define MOST_ROUND 99
#define LOOK_UPS   400000u
#define BATCH      16
#define SERIES     16
#define FLOOR      0 /* places in the table of series */
#define LOOP       1
#define IMAGE      2
#define BATCHES    3
#define OTHERS     4

/* The rounds' times of one store in one way of asking. */
typedef struct series_t {
    const char *name;
    const char *word;            /* in JSON */
    double times[2][MOST_ROUND]; /* dependent, independent; 0: not measured */
    unsigned rounds;
} series_t;

static const char *image_get(void *store, const char *key)
{
    return fs_image_value(store, (fs_slice_t){key, BENCH_KEY}, 1).data;
}

static const char *loop_get(void *store, const char *key)
{
    (void)store;
    return key;
}

/* Processor time, so that what else the machine runs doesn't count; but all of the time where
 * another process answers. */
static double clock_ns(const bench_store_t *store)
{
    struct timespec now;

    clock_gettime(store && store->waits ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* --- measuring ----------------------------------------------------------------------------------
 */

static double dependent(const bench_store_t *store, void *data, unsigned look_ups, unsigned rows)
{
    char key[BENCH_KEY + 1];
    const char *next = key;
    double start;

    bench_key(key, bench_random(rows));
    start = clock_ns(store);
    for (unsigned i = 0; i < look_ups; i++)
        if (!(next = store->get(data, next)))
            bench_fail("%s: lost a key", store->name);
    return (clock_ns(store) - start) / look_ups;
}

static double independent(const bench_store_t *store, void *data, unsigned look_ups, unsigned rows)
{
    char(*keys)[BENCH_KEY + 1] = malloc(look_ups * sizeof(*keys));
    uint64_t sum = 0;
    double start;

    for (unsigned i = 0; i < look_ups; i++)
        bench_key(keys[i], bench_random(rows));
    start = clock_ns(store);
    for (unsigned i = 0; i < look_ups; i++) {
        const char *value = store->get(data, keys[i]);

        if (!value)
            bench_fail("%s: lost a key", store->name);
        sum += (unsigned char)value[BENCH_KEY - 1];
    }
    start = (clock_ns(store) - start) / look_ups;
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
        bench_key(text[i], bench_random(rows));
        keys[i] = (fs_slice_t){text[i], BENCH_KEY};
    }
    start = clock_ns(NULL);
    for (unsigned i = 0; i + BATCH <= look_ups; i += BATCH) {
        fs_row_t found[BATCH];

        if (fs_image_find_batch(image, keys + i, 1, BATCH, found) != BATCH)
            bench_fail("batch: lost a key");
        for (unsigned j = 0; j < BATCH; j++)
            sum += (unsigned char)fs_row_value(&found[j], 1).data[BENCH_KEY - 1];
    }
    start = (clock_ns(NULL) - start) / (look_ups / BATCH * BATCH);
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
    uint32_t *next = bench_cycle(lines);
    floor_t made = {NULL, (size_t)lines * LINE, bench_shuffled(lines)};
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
    uint32_t at = bench_random((uint32_t)(lines->bytes / LINE));
    double start = clock_ns(NULL);

    for (unsigned i = 0; i < look_ups; i++)
        at = lines->base[(size_t)at * (LINE / 4)];
    start = (clock_ns(NULL) - start) / look_ups;
    return at == UINT32_MAX ? 0 : start;
}

static double floor_independent(const floor_t *lines, unsigned look_ups)
{
    uint32_t count = (uint32_t)(lines->bytes / LINE), sum = 0;
    double start = clock_ns(NULL);

    for (unsigned i = 0; i < look_ups; i++)
        sum += lines->base[(size_t)lines->order[i % count] * (LINE / 4)];
    start = (clock_ns(NULL) - start) / look_ups;
    return sum == 1 ? 0 : start;
}

/* --- the table ----------------------------------------------------------------------------------
 */

static double median(const series_t *series, int way)
{
    double sorted[MOST_ROUND];

    memcpy(sorted, series->times[way], sizeof(sorted));
    return bench_middle(sorted, series->rounds);
}

/* Median of the rounds' ratios of two series, the loop's time taken off both if it is given. */
static double ratio(const series_t *series, const series_t *to, const series_t *loop, int way)
{
    double ratios[MOST_ROUND];

    for (unsigned i = 0; i < series->rounds; i++) {
        double off = loop ? loop->times[way][i] : 0;

        ratios[i] = (series->times[way][i] - off) / (to->times[way][i] - off);
    }
    return bench_middle(ratios, series->rounds);
}

static void say_way(const series_t *series, const series_t *all, int way)
{
    double sorted[MOST_ROUND], middle;

    memcpy(sorted, series->times[way], sizeof(sorted));
    middle = bench_middle(sorted, series->rounds);
    if (middle == 0) {
        bench_say("  %43s", "");
        return;
    }
    bench_say("  %8.1f (%7.1f -%8.1f)", middle, sorted[0], sorted[series->rounds - 1]);
    if (series == &all[FLOOR] || series == &all[LOOP])
        bench_say(" %16s", "");
    else
        bench_say(" %7.2fx %7.2fx", ratio(series, &all[IMAGE], NULL, way),
                  ratio(series, &all[IMAGE], &all[LOOP], way));
}

static void note_way(const char *prefix, const series_t *series, const series_t *all, int way)
{
    static const char *const ways[] = {"dependent", "independent"};
    char name[64];

    if (median(series, way) == 0)
        return;
    snprintf(name, sizeof(name), "%s_%s_ns", series->word, ways[way]);
    bench_note(prefix, name, median(series, way));
    snprintf(name, sizeof(name), "%s_%s", series->word, ways[way]);
    bench_note(prefix, name, ratio(series, &all[IMAGE], NULL, way));
    snprintf(name, sizeof(name), "%s_%s_net", series->word, ways[way]);
    if (series != &all[FLOOR] && series != &all[LOOP])
        bench_note(prefix, name, ratio(series, &all[IMAGE], &all[LOOP], way));
}

static void say_series(const char *prefix, const series_t *series, const series_t *all)
{
    bench_say("  %-22s", series->name);
    for (int way = 0; way < 2; way++) {
        say_way(series, all, way);
        note_way(prefix, series, all, way);
    }
    if (median(series, 0) > 0 && series != &all[LOOP])
        bench_say("  %6.2f", ratio(series, &all[FLOOR], NULL, 0));
    bench_say("\n");
}

static const bench_store_t image_store = {"farmsync image", "image", NULL, image_get, NULL,
                                          LOOK_UPS,         0};
static const bench_store_t loop_store = {"loop", "loop", NULL, loop_get, NULL, LOOK_UPS, 0};

static void one_round(series_t *all, unsigned count, unsigned at, void **stores,
                      const bench_rows_t *rows, const floor_t *lines)
{
    fs_image_t *image = stores[IMAGE];

    all[FLOOR].times[0][at] = floor_dependent(lines, LOOK_UPS);
    all[FLOOR].times[1][at] = floor_independent(lines, LOOK_UPS);
    for (unsigned i = LOOP; i < count; i++) {
        const bench_store_t *store = i == LOOP    ? &loop_store
                                     : i == IMAGE ? &image_store
                                                  : &bench_stores[i - OTHERS];

        if (i == BATCHES) {
            all[i].times[1][at] = batched(image, LOOK_UPS, rows->count);
            continue;
        }
        all[i].times[0][at] = dependent(store, stores[i], store->look_ups, rows->count);
        all[i].times[1][at] = independent(store, stores[i], store->look_ups, rows->count);
    }
    for (unsigned i = 0; i < count; i++)
        all[i].rounds = at + 1;
}

static void measure(bench_rows_t *rows, unsigned rounds)
{
    series_t all[SERIES] = {{"floor", "floor", {{0}}, 0},
                            {"loop", "loop", {{0}}, 0},
                            {"farmsync image", "image", {{0}}, 0},
                            {"  batch of 16", "batch", {{0}}, 0}};
    void *stores[SERIES] = {NULL};
    double seconds, overhead;
    char path[512], prefix[16];
    fs_image_t *image = bench_build(rows, &seconds, path);
    floor_t lines = floor_open(rows->dir, fs_image_bytes(image));
    unsigned count = OTHERS;

    stores[IMAGE] = image;
    for (unsigned i = 0; bench_stores[i].name; i++, count++) {
        all[count].name = bench_stores[i].name;
        all[count].word = bench_stores[i].word;
        stores[count] = bench_stores[i].open(rows);
    }
    for (unsigned round = 0; round <= rounds; round++) /* round 0 only warms up */
        one_round(all, count, round ? round - 1 : 0, stores, rows, &lines);
    overhead = (double)fs_image_bytes(image) / rows->count - BENCH_VALUE - BENCH_KEY;
    bench_say(
        "\n%u rows of %d bytes, key %d bytes; built in %.2f s; %.1f bytes a row beyond key and "
        "values\n",
        rows->count, BENCH_VALUE, BENCH_KEY, seconds, overhead);
    bench_say("  %-22s  %-43s  %-43s  %s\n", "", "dependent (range), of the image, loop off",
              "independent (range), of the image, loop off", "of floor");
    snprintf(prefix, sizeof(prefix), "%u", rows->count);
    bench_note(prefix, "build_ms", seconds * 1e3);
    bench_note(prefix, "overhead", overhead);
    bench_note(prefix, "of_floor", ratio(&all[IMAGE], &all[FLOOR], NULL, 0));
    for (unsigned i = 0; i < count; i++)
        say_series(prefix, &all[i], all);
    bench_changes(prefix, rows, path, seconds);
    for (unsigned i = OTHERS; i < count; i++)
        bench_stores[i - OTHERS].close(stores[i]);
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
    bench_say("farmsync image benchmark, %s, Linux %s, %ld CPUs", when, name.release,
              sysconf(_SC_NPROCESSORS_ONLN));
    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, "model name", 10)) {
            bench_say(", %s", strchr(line, ':') + 2);
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

static void measure_rows(const char *text, const char *dir, unsigned rounds)
{
    bench_rows_t rows = {(unsigned)strtoul(text, NULL, 10), NULL, dir};

    if (!rows.count)
        bench_fail("cannot measure %s rows", text);
    rows.next = bench_cycle(rows.count);
    measure(&rows, rounds);
    free(rows.next);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"1000", "100000", "1000000"};
    static const char usage[] = "usage: bench_image [-j FILE] [-r ROUNDS] [-d DIR] [ROWS...]\n"
                                "       bench_image -a [-j FILE] [-d DIR] OLD NEW";
    const char *base = "/tmp";
    unsigned rounds = 9, delta = 0;
    int option, count;
    const char *const *sizes;

    while ((option = getopt(argc, argv, "aj:r:d:")) != -1) {
        if (option == 'a')
            delta = 1;
        else if (option == 'j')
            bench_json = fopen(optarg, "w");
        else if (option == 'r')
            rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            base = optarg;
        else
            bench_fail("%s", usage);
    }
    if (rounds < 1 || rounds > MOST_ROUND)
        bench_fail("rounds: 1 to %d", MOST_ROUND);
    if (delta && argc - optind != 2)
        bench_fail("%s", usage);
    apr_initialize();
    if (!delta)
        say_machine();
    count = delta ? 1 : optind < argc ? argc - optind : 3;
    sizes = optind < argc ? (const char *const *)argv + optind : usual;
    for (int i = 0; i < count; i++) {
        char dir[512];

        snprintf(dir, sizeof(dir), "%s/farmsync-bench-XXXXXX", base);
        if (!mkdtemp(dir))
            bench_fail("cannot measure in %s", base);
        if (delta)
            bench_delta(dir, sizes[0], sizes[1]);
        else
            measure_rows(sizes[i], dir, rounds);
        remove_dir(dir);
    }
    if (bench_json && (fputs("\n}\n", bench_json) < 0 || fclose(bench_json)))
        bench_fail("cannot write the figures");
    return 0;
}
