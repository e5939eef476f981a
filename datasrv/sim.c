/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farmsync-sim: tries routing settings on a simulated farm before they are used on a real one.
 *
 * Exit status: 0 done, 2 it couldn't be done.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim_farm.h"

enum { EXIT_DONE = 0, EXIT_TROUBLE = 2 };
#define BAD_OPTION "FS1601"

enum { SAMPLES = 60, BAR = 40 };

typedef struct options_t {
    fs_sim_settings_t farm;
    uint32_t capacity[FS_SIM_SERVERS];
    uint32_t racks[FS_SIM_SERVERS];
    uint32_t rack_count;
    uint32_t kill; /* FS_ROUTE_NOBODY: none */
    int back;
    int plot;
    int csv;
} options_t;

static const char usage[] =
    "usage: farmsync-sim [OPTION...]\n"
    "  --capacity LIST    of each server: 1000,2000,4000, or 500x1000 for 500 of 1000\n"
    "                     (1000,1000,1000,1000,2000,2000,2000,4000,4000,8000)\n"
    "  --racks LIST       number of each server's rack\n"
    "  --visitors N       that arrive (20000)\n"
    "  --status N         requests between two status messages (100)\n"
    "  --slack X          FarmSyncSlack (1.05)\n"
    "  --busy X           FarmSyncBusy (0.8)\n"
    "  --bounces N        FarmSyncBounces (1)\n"
    "  --refuse           503 when all are full, instead of serving\n"
    "  --door WHICH       round-robin, random, one, weighted (round-robin)\n"
    "  --kill SERVER      dies when all have arrived; every visitor then comes once more\n"
    "  --detect N         requests until the death is noticed (100)\n"
    "  --return           the one that died returns, and a tenth as many visitors arrive\n"
    "  --ramp N           requests until it takes its full share (1000)\n"
    "  --seed N           (1)\n"
    "  --plot             imbalance, bounces and moves over time\n"
    "  --csv              the same as numbers, and nothing else\n";

static int refuse(const char *what, const char *text)
{
    fprintf(stderr, "farmsync-sim: " BAD_OPTION ": %s: %s\n", what, text);
    return -1;
}

static int read_number(const char *option, const char *text, uint64_t least, uint64_t most,
                       uint64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || *number < least || *number > most) {
        fprintf(stderr,
                "farmsync-sim: " BAD_OPTION ": --%s %s: give a whole number from %" PRIu64
                " to %" PRIu64 "\n",
                option, text, least, most);
        return -1;
    }
    return 0;
}

static int read_share(const char *option, const char *text, double least, double most,
                      double *share)
{
    char *end;

    *share = strtod(text, &end);
    if (end == text || *end || !(*share >= least && *share <= most)) {
        fprintf(stderr, "farmsync-sim: " BAD_OPTION ": --%s %s: give a number from %g to %g\n",
                option, text, least, most);
        return -1;
    }
    return 0;
}

/* "3,4,2x5" → 3 4 5 5. */
static int read_list(const char *option, const char *text, uint32_t *list, uint32_t *count)
{
    const char *at = text;

    *count = 0;
    for (;;) {
        char *end;
        unsigned long value, times = 1;

        errno = 0;
        value = strtoul(at, &end, 10);
        if (end > at && *end == 'x') {
            times = value;
            at = end + 1;
            value = strtoul(at, &end, 10);
        }
        if (errno || end == at || *at == '-' || value < 1 || value > UINT32_MAX / 2 || times < 1 ||
            times > FS_SIM_SERVERS - *count || (*end && *end != ',')) {
            fprintf(stderr,
                    "farmsync-sim: " BAD_OPTION
                    ": --%s %s: give numbers from 1 on, with commas, for at "
                    "most %d servers\n",
                    option, text, FS_SIM_SERVERS);
            return -1;
        }
        for (; times; times--)
            list[(*count)++] = (uint32_t)value;
        if (!*end)
            return 0;
        at = end + 1;
    }
}

static int read_door(const char *text, fs_sim_door_t *door)
{
    static const char *const names[] = {"round-robin", "random", "one", "weighted"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(text, names[i])) {
            *door = (fs_sim_door_t)i;
            return 0;
        }
    return refuse(text, "there is no such door; take round-robin, random, one or weighted");
}

enum {
    CAPACITY = 1,
    RACKS,
    VISITORS,
    STATUS,
    SLACK,
    BUSY,
    BOUNCES,
    REFUSE,
    DOOR,
    KILL,
    DETECT,
    RETURN,
    RAMP,
    SEED,
    PLOT,
    CSV,
    HELP
};

static const struct option known[] = {
    {"capacity", 1, NULL, CAPACITY}, {"racks", 1, NULL, RACKS},   {"visitors", 1, NULL, VISITORS},
    {"status", 1, NULL, STATUS},     {"slack", 1, NULL, SLACK},   {"busy", 1, NULL, BUSY},
    {"bounces", 1, NULL, BOUNCES},   {"refuse", 0, NULL, REFUSE}, {"door", 1, NULL, DOOR},
    {"kill", 1, NULL, KILL},         {"detect", 1, NULL, DETECT}, {"return", 0, NULL, RETURN},
    {"ramp", 1, NULL, RAMP},         {"seed", 1, NULL, SEED},     {"plot", 0, NULL, PLOT},
    {"csv", 0, NULL, CSV},           {"help", 0, NULL, HELP},     {NULL, 0, NULL, 0}};

static int read_option(options_t *options, int option, const char *name, const char *text)
{
    fs_sim_settings_t *farm = &options->farm;
    uint64_t number = 0;
    int failed = 0;

    switch (option) {
    case CAPACITY:
        return read_list(name, text, options->capacity, &farm->count);
    case RACKS:
        return read_list(name, text, options->racks, &options->rack_count);
    case VISITORS:
        return read_number(name, text, 1, FS_SIM_VISITORS, &farm->visitors);
    case STATUS:
        return read_number(name, text, 1, FS_SIM_VISITORS, &farm->status);
    case SLACK:
        return read_share(name, text, 1, 100, &farm->route.slack);
    case BUSY:
        return read_share(name, text, 0.01, 1, &farm->route.busy);
    case BOUNCES:
        failed = read_number(name, text, 0, 100, &number);
        farm->route.bounces = (unsigned)number;
        return failed;
    case REFUSE:
        return farm->route.full_refuses = 1, 0;
    case DOOR:
        return read_door(text, &farm->door);
    case KILL:
        failed = read_number(name, text, 1, FS_SIM_SERVERS, &number);
        options->kill = (uint32_t)number - 1;
        return failed;
    case DETECT:
        return read_number(name, text, 0, FS_SIM_VISITORS, &farm->detect);
    case RETURN:
        return options->back = 1, 0;
    case RAMP:
        return read_number(name, text, 0, FS_SIM_VISITORS, &farm->ramp);
    case SEED:
        return read_number(name, text, 0, UINT64_MAX, &farm->seed);
    case PLOT:
        return options->plot = 1, 0;
    case CSV:
        return options->csv = 1, 0;
    default:
        return -1;
    }
}

static int check_options(options_t *options)
{
    fs_sim_settings_t *farm = &options->farm;

    if (options->rack_count && options->rack_count != farm->count)
        return refuse("--racks", "name as many racks as there are servers in --capacity");
    if (options->kill != FS_ROUTE_NOBODY && options->kill >= farm->count)
        return refuse("--kill", "there is no such server; the first one is 1");
    if (options->back && options->kill == FS_ROUTE_NOBODY)
        return refuse("--return", "say with --kill which server dies before");
    if (options->back)
        farm->visitors += farm->visitors / 10;
    farm->capacity = options->capacity;
    farm->rack = options->rack_count ? options->racks : NULL;
    return 0;
}

/* 0, -1 after saying what is wrong, 1 after showing the usage. */
static int read_options(options_t *options, int argc, char **argv)
{
    int option, index = 0;

    while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
        if (option == HELP) {
            fputs(usage, stdout);
            return 1;
        }
        if (option == '?' || read_option(options, option, known[index].name, optarg)) {
            if (option == '?')
                fputs(usage, stderr);
            return -1;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return refuse(argv[optind], "only options are understood");
    }
    return check_options(options);
}

static double share(uint64_t part, uint64_t of)
{
    return of ? 100.0 * (double)part / (double)of : 0;
}

/* A bar for 0 to 1, filled up with spaces. */
static void show_bar(double part)
{
    int length = part < 0 ? 0 : part > 1 ? BAR : (int)(part * BAR);

    printf("%-*.*s", BAR, length, "########################################");
}

static void plot_sample(const fs_sim_farm_t *farm, const fs_sim_counts_t *shown)
{
    const fs_sim_counts_t *counts = fs_sim_counts(farm);
    uint32_t worst;
    double imbalance = fs_sim_imbalance(farm, &worst);
    double bounced = share(counts->bounces - shown->bounces, counts->arrivals - shown->arrivals);

    printf("%12" PRIu64 "  %6.3f ", fs_sim_at(farm), imbalance);
    show_bar(imbalance - 1);
    printf("  %5.1f %% ", bounced);
    show_bar(bounced / 100);
    printf("  %" PRIu64 "\n", counts->moved - shown->moved);
}

/* What happened since the sample before, of which `shown` has the counts. */
static void show_sample(const options_t *options, const fs_sim_farm_t *farm, fs_sim_counts_t *shown)
{
    uint32_t worst;

    if (options->csv)
        printf("%" PRIu64 ",%.4f,%" PRIu64 ",%" PRIu64 "\n", fs_sim_at(farm),
               fs_sim_imbalance(farm, &worst), fs_sim_counts(farm)->bounces,
               fs_sim_counts(farm)->moved);
    else if (options->plot)
        plot_sample(farm, shown);
    *shown = *fs_sim_counts(farm);
}

static void arrive(const options_t *options, fs_sim_farm_t *farm, uint64_t visitors,
                   fs_sim_counts_t *shown)
{
    uint64_t step = visitors / SAMPLES + 1;

    for (uint64_t done = 0; done < visitors; done += step) {
        fs_sim_arrive(farm, step < visitors - done ? step : visitors - done);
        show_sample(options, farm, shown);
    }
}

static void show_servers(const fs_sim_farm_t *farm, const fs_sim_settings_t *settings)
{
    if (settings->count > 50)
        return;
    printf("  server  capacity  home to   ratio  alternate of\n");
    for (uint32_t i = 0; i < settings->count; i++)
        printf("  %6" PRIu32 "  %8" PRIu32 "  %7" PRIu64 "  %6.3f  %12" PRIu64 "%s\n", i + 1,
               settings->capacity[i], fs_sim_primaries(farm, i),
               (double)fs_sim_primaries(farm, i) / settings->capacity[i],
               fs_sim_alternates(farm, i), fs_sim_lives(farm, i) ? "" : "  dead");
}

static void show_balance(const fs_sim_farm_t *farm)
{
    const fs_sim_counts_t *counts = fs_sim_counts(farm);
    uint32_t worst;
    double imbalance = fs_sim_imbalance(farm, &worst);

    printf("worst ratio / mean %.3f (server %" PRIu32 "), bounces %.1f %% of %" PRIu64
           " arrivals, refused %" PRIu64 "\n",
           imbalance, worst + 1, share(counts->bounces, counts->arrivals), counts->arrivals,
           counts->refused);
}

static void play_death(const options_t *options, fs_sim_farm_t *farm, fs_sim_counts_t *shown)
{
    const fs_sim_settings_t *settings = &options->farm;
    uint64_t had = fs_sim_primaries(farm, options->kill);
    fs_sim_counts_t counts;

    fs_sim_kill(farm, options->kill);
    fs_sim_round(farm);
    show_sample(options, farm, shown);
    if (options->csv)
        return;
    counts = *fs_sim_counts(farm);
    printf("\nserver %" PRIu32 " died, which was home to %" PRIu64 "; then everybody came once\n",
           options->kill + 1, had);
    printf("moved %" PRIu64 ": %" PRIu64 " to their alternate, %" PRIu64 " of servers that live\n",
           counts.moved, counts.to_alternate, counts.astray);
    show_servers(farm, settings);
    show_balance(farm);
}

static void play_return(const options_t *options, fs_sim_farm_t *farm, uint64_t visitors,
                        fs_sim_counts_t *shown)
{
    fs_sim_return(farm, options->kill);
    arrive(options, farm, visitors, shown);
    if (options->csv)
        return;
    printf("\nserver %" PRIu32 " returned, and %" PRIu64 " more arrived\n", options->kill + 1,
           visitors);
    show_servers(farm, &options->farm);
    show_balance(farm);
}

static int play(const options_t *options)
{
    uint64_t later = options->back ? options->farm.visitors / 11 : 0;
    fs_sim_counts_t shown = {0};
    fs_sim_farm_t *farm;
    fs_result_t result;

    if (fs_sim_create(&farm, &options->farm, &result) != APR_SUCCESS) {
        fprintf(stderr, "farmsync-sim: %s: %s\n", result.problem, result.detail);
        return EXIT_TROUBLE;
    }
    if (options->csv)
        puts("requests,imbalance,bounces,moved");
    else if (options->plot)
        printf("%12s  %-*s  %-*s  %s\n", "requests", BAR + 7, "imbalance", BAR + 8, "bounced",
               "moved");
    arrive(options, farm, options->farm.visitors - later, &shown);
    if (!options->csv) {
        show_servers(farm, &options->farm);
        show_balance(farm);
        printf("memory %.1f MB\n", (double)fs_sim_bytes(farm) / 1e6);
    }
    if (options->kill != FS_ROUTE_NOBODY)
        play_death(options, farm, &shown);
    if (options->back)
        play_return(options, farm, later, &shown);
    fs_sim_destroy(farm);
    return fflush(stdout) || ferror(stdout) ? EXIT_TROUBLE : EXIT_DONE;
}

int main(int argc, char **argv)
{
    static options_t options = {
        .farm = {.route = {.slack = 1.05, .busy = 0.8, .bounces = 1},
                 .count = 10,
                 .visitors = 20000,
                 .status = 100,
                 .detect = 100,
                 .ramp = 1000,
                 .seed = 1},
        .capacity = {1000, 1000, 1000, 1000, 2000, 2000, 2000, 4000, 4000, 8000},
        .kill = FS_ROUTE_NOBODY};
    int read = read_options(&options, argc, argv);

    if (read)
        return read > 0 ? EXIT_DONE : EXIT_TROUBLE;
    return play(&options);
}
