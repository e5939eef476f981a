/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated bank servers. */
#include "session_sim.h"

static fs_usec_t left_of(const server_t *server, const char *owner)
{
    unsigned host = sim_node_of(owner);

    return host < HOSTS
               ? fs_session_lease_left(&server->leases[host], server->started, LEASE, world.now)
               : 0;
}

void sim_begin_server(server_t *server)
{
    server->started = world.now;
    memset(server->leases, 0, sizeof(server->leases));
    server->wanted[0] = '\0';
    server->greeted = 0;
    fs_session_resync_start(&server->resync, LEASE, world.now);
    for (unsigned i = 0; i < SERVERS; i++)
        if (server != &world.servers[i])
            fs_session_resync_named(&server->resync, sim_names[HOSTS + i], world.now);
}

static void hear_take(server_t *server, const message_t *asked)
{
    message_t answer = sim_message(TAKEN, asked->to, asked->from);

    answer.round = asked->round;
    answer.left = left_of(server, server->hold.owner);
    answer.what =
        (int)fs_session_hold_take(&server->hold, answer.left, sim_names[asked->from], asked->name);
    if (answer.what != FS_SESSION_OWNED)
        server->wanted[0] = '\0';
    else if (asked->flag)
        snprintf(server->wanted, sizeof(server->wanted), "%s", sim_names[asked->from]);
    answer.hold = server->hold;
    answer.flag = fs_session_resync_in_sync(&server->resync, world.now);
    answer.copy = server->copy;
    answer.aside = server->hold.aside ? server->aside : NULL;
    sim_send(&answer);
}

static void hear_offer(server_t *server, const message_t *asked)
{
    fs_session_offering_t offering = {.origin = sim_names[asked->from],
                                      .owner = asked->name,
                                      .base = asked->has_base ? &asked->base : NULL,
                                      .version = asked->copy->version};
    message_t answer = sim_message(OFFERED, asked->to, asked->from);

    answer.what = (int)fs_session_hold_offer(&server->hold, left_of(server, server->hold.owner),
                                             &offering, &answer.flag);
    if (answer.what == FS_SESSION_TAKE)
        server->copy = asked->copy;
    answer.hold = server->hold;
    answer.base = asked->copy->version;
    if (answer.what == FS_SESSION_MERGE)
        answer.copy = server->hold.aside ? server->aside : server->copy;
    sim_send(&answer);
}

static void hear_renew(server_t *server, const message_t *asked)
{
    message_t answer = sim_message(RENEWED, asked->to, asked->from);
    int done;

    server->leases[asked->from].heard = world.now;
    server->leases[asked->from].length = LEASE;
    done = fs_session_resync_heard(&server->resync, sim_names[asked->from], LEASE, world.now);
    if (!done && asked->flag) {
        fs_session_resync_done(&server->resync, sim_names[asked->from], asked->left, world.now);
        done = fs_session_resync_heard(&server->resync, sim_names[asked->from], LEASE, world.now);
    }
    answer.time = asked->time;
    answer.left = world.now;
    answer.flag = !done;
    answer.hold = server->hold;
    if (server->wanted[0] && !strcmp(server->hold.owner, sim_names[asked->from])) {
        if (strcmp(server->wanted, sim_names[asked->from]) != 0)
            memcpy(answer.name, server->wanted, sizeof(answer.name));
        server->wanted[0] = '\0';
    }
    sim_send(&answer);
}

static void hear_pulled(server_t *server, const message_t *answer)
{
    if (answer->hold.held) {
        copy_t *before = server->copy;

        switch (fs_session_hold_copy(&server->hold, &answer->hold)) {
        case FS_SESSION_COPY_ASIDE:
            server->aside = before;
            server->copy = answer->copy;
            break;
        case FS_SESSION_COPIED:
            server->copy = answer->copy;
            break;
        case FS_SESSION_COPY_ASIDE_THEIRS:
            server->aside = answer->copy;
            break;
        case FS_SESSION_COPY_IGNORED:
            break;
        }
    }
    if (answer->time)
        fs_session_resync_done(&server->resync, sim_names[answer->from], answer->time, world.now);
}

static void bring(const server_t *server, unsigned self, unsigned to, fs_usec_t began)
{
    message_t answer = sim_message(PULLED, self, to);

    answer.time = began;
    answer.hold = server->hold;
    answer.copy = server->copy;
    sim_send(&answer);
}

void sim_tell_server(unsigned self, const message_t *message)
{
    server_t *server = &world.servers[self - HOSTS];
    message_t answer = sim_message(CHECKED, self, message->from);

    fs_session_resync_step(&server->resync, world.now);
    switch (message->kind) {
    case TAKE:
        hear_take(server, message);
        break;
    case OFFER:
        hear_offer(server, message);
        break;
    case RENEW:
        hear_renew(server, message);
        break;
    case CHECK:
        answer.generation = message->generation;
        answer.hold = server->hold;
        sim_send(&answer);
        break;
    case HELLO:
        if (!fs_session_resync_heard(&server->resync, sim_names[message->from], LEASE, world.now)) {
            answer.kind = PULL;
            answer.time = world.now;
            sim_send(&answer);
        }
        break;
    case PULL:
        bring(server, self, message->from, message->time);
        break;
    case PULLED:
        hear_pulled(server, message);
        break;
    default:
        ck_abort();
    }
}

/* What a server does by itself: it greets the others, and sees to it that a session whose owner is
 * gone has k copies. */
void sim_step_server(unsigned self)
{
    server_t *server = &world.servers[self - HOSTS];
    uint8_t usable[SERVERS];
    unsigned chosen[SERVERS], count;

    fs_session_resync_step(&server->resync, world.now);
    if (world.now - server->greeted < LEASE / 3)
        return;
    server->greeted = world.now;
    memset(usable, 1, sizeof(usable));
    for (unsigned i = 0; i < server->resync.count; i++)
        if (server->resync.partners[i].state == FS_SESSION_PARTNER_GONE &&
            sim_node_of(server->resync.partners[i].name) >= HOSTS)
            usable[sim_node_of(server->resync.partners[i].name) - HOSTS] = 0;
    for (unsigned i = 0; i < SERVERS; i++)
        if (HOSTS + i != self) {
            message_t hello = sim_message(HELLO, self, HOSTS + i);

            sim_send(&hello);
        }
    if (!server->hold.held || left_of(server, server->hold.owner))
        return;
    count = fs_session_bank_choose(sim.bank, &sim.key, COPIES, usable, chosen);
    for (unsigned i = 0; i < count; i++)
        if (HOSTS + chosen[i] != self)
            bring(server, self, HOSTS + chosen[i], 0);
}
