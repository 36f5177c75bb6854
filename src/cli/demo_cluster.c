/* demo_cluster - see demo_cluster.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_cluster.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/str.h"
#include "cli/demo_place.h"

#define NODES PS_DEMO_CLUSTER_NODES

/* -------------------------------------------------------------------------------- programs */

static bool is_program(struct ps_str folder, const char *name, char *path, size_t size)
{
    int len = snprintf(path, size, "%.*s/%s", PS_STR_ARG(folder), name);
    return folder.len > 0 && len > 0 && (size_t)len < size && access(path, X_OK) == 0;
}

/* Along PATH, and where daemons live, which an ordinary user's PATH may lack. */
static bool find(const char *name, char *path, size_t size)
{
    const char *search = getenv("PATH");
    struct ps_str list = ps_str_from(search == NULL ? "" : search);
    struct ps_str folder;
    while (ps_str_split(&list, ':', &folder)) {
        if (is_program(folder, name, path, size)) {
            return true;
        }
    }
    return is_program(PS_STR("/usr/sbin"), name, path, size) ||
           is_program(PS_STR("/usr/local/sbin"), name, path, size);
}

/* ------------------------------------------------------------------------------- starting */

static int make_folder(const char *path)
{
    return mkdir(path, 0700) == 0 ? PS_OK : ps_err_from_errno(errno);
}

/* A node, and where it speaks to the others: `port` and `bus` are ports in digits. */
static int start_node(struct ps_demo_cluster *cluster, size_t which, const char *server,
                      const char *port, const char *bus)
{
    char name[32];
    char folder[96];
    char log[128];
    snprintf(name, sizeof name, "Redis node 127.0.0.1:%s", port);
    snprintf(folder, sizeof folder, "%s/node-%zu", cluster->folder, which + 1);
    snprintf(log, sizeof log, "%s/log", folder);
    const char *const words[] = {
        "redis-server",
        "--port",
        port,
        "--cluster-port",
        bus,
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-node-timeout",
        "2000",
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxmemory",
        "256mb",
        "--maxmemory-policy",
        "allkeys-lru",
        "--shutdown-timeout",
        "0",
        NULL,
    };
    char *argv[PS_ARRAY_LEN(words)];
    memcpy(argv, words, sizeof argv);
    int err = make_folder(folder);
    return err != PS_OK ? err
                        : ps_child_start_program(&cluster->nodes[which], name, server, argv, log);
}

/* Two ports of a node, neither of which another one has. */
static int find_ports(struct ps_loop *loop, struct ps_address *ports)
{
    for (size_t i = 0; i < 2 * NODES; i++) {
        int err = ps_demo_place_free(loop, &ports[i]);
        for (size_t k = 0; err == PS_OK && k < i; k++) {
            err = ps_address_eq(&ports[i], &ports[k]) ? PS_EINUSE : PS_OK;
        }
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int start_nodes(struct ps_demo_cluster *cluster, struct ps_loop *loop, const char *server)
{
    struct ps_address ports[2 * NODES];
    char text[PS_ADDRESS_TEXT];
    int err = find_ports(loop, ports);
    for (size_t i = 0; err == PS_OK && i < NODES; i++) {
        char port[8];
        char bus[8];
        snprintf(port, sizeof port, "%u", ps_address_port(&ports[i]));
        snprintf(bus, sizeof bus, "%u", ps_address_port(&ports[NODES + i]));
        cluster->addresses[i] = ports[i];
        size_t len = strlen(cluster->list);
        snprintf(cluster->list + len, sizeof cluster->list - len, "%s%s", i == 0 ? "" : ", ",
                 ps_address_text(&ports[i], text));
        err = start_node(cluster, i, server, port, bus);
    }
    return err;
}

int ps_demo_cluster_start(struct ps_demo_cluster *cluster, struct ps_loop *loop, const char *folder)
{
    char server[256];
    snprintf(cluster->folder, sizeof cluster->folder, "%s", folder);
    bool found = (find("redis-server", server, sizeof server) ||
                  find("valkey-server", server, sizeof server)) &&
                 (find("redis-cli", cluster->client, sizeof cluster->client) ||
                  find("valkey-cli", cluster->client, sizeof cluster->client));
    return found ? start_nodes(cluster, loop, server) : PS_ENOTFOUND;
}

/* -------------------------------------------------------------------------------- joining */

static bool all_listen(const struct ps_demo_cluster *cluster)
{
    bool listen = true;
    for (size_t i = 0; i < NODES; i++) {
        listen = listen && ps_demo_place_is_taken(&cluster->addresses[i]);
    }
    return listen;
}

static int join(struct ps_demo_cluster *cluster)
{
    static char program[] = "redis-cli";
    static char section[] = "--cluster";
    static char create[] = "create";
    static char replicas[] = "--cluster-replicas";
    static char one[] = "1";
    static char yes[] = "--cluster-yes";
    char texts[NODES][PS_ADDRESS_TEXT];
    char log[128];
    char *argv[NODES + 7] = {program, section, create};
    size_t count = 3;
    for (size_t i = 0; i < NODES; i++) {
        ps_address_text(&cluster->addresses[i], texts[i]);
        argv[count++] = texts[i];
    }
    argv[count++] = replicas;
    argv[count++] = one;
    argv[count++] = yes;
    snprintf(log, sizeof log, "%s/join.log", cluster->folder);
    return ps_child_start_program(&cluster->joiner, "redis-cli --cluster create", cluster->client,
                                  argv, log);
}

enum ps_demo_cluster_state ps_demo_cluster_step(struct ps_demo_cluster *cluster)
{
    if (cluster->state == PS_DEMO_CLUSTER_STARTING && all_listen(cluster)) {
        cluster->state = join(cluster) == PS_OK ? PS_DEMO_CLUSTER_JOINING : PS_DEMO_CLUSTER_FAILED;
    } else if (cluster->state == PS_DEMO_CLUSTER_JOINING && !ps_child_poll(&cluster->joiner)) {
        cluster->state =
            cluster->joiner.status == 0 ? PS_DEMO_CLUSTER_READY : PS_DEMO_CLUSTER_FAILED;
    }
    return cluster->state;
}
