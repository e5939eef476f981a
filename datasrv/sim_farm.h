/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated farm for farmsync-sim: servers that route with the product's own code
 * (route/fs_route.h), each with a table of its own that is as stale as it would be. Time is counted
 * in requests. The same seed gives the same run.
 */
#ifndef FS_SIM_FARM_H
#define FS_SIM_FARM_H

#include <stdint.h>
#include <stdio.h>

#include "base/fs_result.h"
#include "route/fs_route.h"

#define FS_SIM_SERVERS  4096
#define FS_SIM_VISITORS UINT64_C(100000000)

typedef enum fs_sim_door_t {
    FS_SIM_DOOR_ROUND_ROBIN, /* as DNS or a plain balancer does */
    FS_SIM_DOOR_RANDOM,
    FS_SIM_DOOR_ONE,     /* everybody comes in at the first server that lives */
    FS_SIM_DOOR_WEIGHTED /* the same, and that one deals them out by weighted round robin */
} fs_sim_door_t;

typedef struct fs_sim_settings_t {
    fs_route_settings_t route;
    uint32_t count; /* servers */
    const uint32_t *capacity;
    const uint32_t *rack; /* NULL: none are known */
    uint64_t visitors;    /* at most */
    uint64_t status;      /* requests between two status messages of all */
    uint64_t detect;      /* requests until a death is noticed */
    uint64_t ramp;        /* requests until a returned server takes its full share; 0: at once */
    fs_sim_door_t door;
    uint64_t seed;
} fs_sim_settings_t;

typedef struct fs_sim_counts_t {
    uint64_t arrivals; /* of visitors without a home */
    uint64_t bounces;
    uint64_t refused;
    uint64_t forwarded;    /* requests of visitors with a home that came in elsewhere */
    uint64_t moved;        /* visitors whose home changed */
    uint64_t astray;       /* ... although the old one lived */
    uint64_t to_alternate; /* ... to their alternate */
    uint64_t alone;        /* visitors that were left without an alternate */
} fs_sim_counts_t;

typedef struct fs_sim_farm_t fs_sim_farm_t;

/* The caller destroys. Errors: FS1600. */
apr_status_t fs_sim_create(fs_sim_farm_t **farm, const fs_sim_settings_t *settings,
                           fs_result_t *result);
void fs_sim_destroy(fs_sim_farm_t *farm);

/* `count` new visitors arrive, one after the other. Fewer if there is no room for more. */
void fs_sim_arrive(fs_sim_farm_t *farm, uint64_t count);
/* Every visitor makes one request, at a random door that lives. */
void fs_sim_round(fs_sim_farm_t *farm);
/* Death, and return with nothing; 0 if there is no such server or it is so already. */
int fs_sim_kill(fs_sim_farm_t *farm, uint32_t server);
int fs_sim_return(fs_sim_farm_t *farm, uint32_t server);

uint64_t fs_sim_at(const fs_sim_farm_t *farm); /* requests until now */
const fs_sim_counts_t *fs_sim_counts(const fs_sim_farm_t *farm);
int fs_sim_lives(const fs_sim_farm_t *farm, uint32_t server);
uint64_t fs_sim_primaries(const fs_sim_farm_t *farm, uint32_t server);
uint64_t fs_sim_alternates(const fs_sim_farm_t *farm, uint32_t server);
/* Highest ratio of a living server, divided by the mean of all that live; 0 without visitors. */
double fs_sim_imbalance(const fs_sim_farm_t *farm, uint32_t *worst);
/* Bytes that the simulation holds. */
uint64_t fs_sim_bytes(const fs_sim_farm_t *farm);

#endif
