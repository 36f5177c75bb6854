/* test_attribution - who of a process's kin listens: in a /proc that is made up, and among real
 * processes with a driver that is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/nvml_fake.h"
#include "../helpers/tree.h"
#include "gpu/attribution_net.h"
#include "gpu/nvml.h"

#define MIB 1048576.0
#define ID  "4f5c0ad1b1c24e31a3a8a6b0c0d3a0e94f5c0ad1b1c24e31a3a8a6b0c0d3a0e9"

static struct tree tree;
static struct ps_attribution *found;

static int prepare(void **state)
{
    (void)state;
    tree_open(&tree);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    ps_attribution_unref(found);
    found = NULL;
    tree_close(&tree);
    return 0;
}

/* --- a made-up machine ------------------------------------------------------------------------ */

static void put(uint32_t pid, const char *part, const char *text)
{
    char path[64];
    (void)snprintf(path, sizeof path, "proc/%u/%s", pid, part);
    tree_put(&tree, path, text);
}

/* A process that started at its pid's tick. */
static void add_process(uint32_t pid, uint32_t parent, const char *name)
{
    char text[256];
    (void)snprintf(text, sizeof text,
                   "%u (%s) S %u 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 %u 1000 200\n", pid,
                   name, parent, pid);
    put(pid, "stat", text);
}

static void add_container(uint32_t pid, const char *id)
{
    char text[160];
    (void)snprintf(text, sizeof text, "0::/system.slice/docker-%s.scope\n", id);
    put(pid, "cgroup", text);
}

/* Holds the socket with this inode. */
static void add_socket(uint32_t pid, unsigned descriptor, unsigned inode)
{
    char path[64];
    char target[64];
    (void)snprintf(path, sizeof path, "proc/%u/fd/%u", pid, descriptor);
    (void)snprintf(target, sizeof target, "socket:[%u]", inode);
    tree_link(&tree, path, target);
}

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when ...\n"
#define TAIL " 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 "

/* 8000 on every address has inode 100, 8001 on the loopback address 101, 8002 on [::] 102; 8003 is
 * an accepted connection, behind which the kernel lists nothing that listens. */
static void add_net(uint32_t pid)
{
    put(pid, "net/tcp",
        HEAD "   0: 00000000:1F40" TAIL "100 1 0\n"
             "   1: 0100007F:1F41" TAIL "101 1 0\n"
             "   2: 0100007F:1F43 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000    "
             "    0 103 1 0\n");
    put(pid, "net/tcp6",
        HEAD "   0: 00000000000000000000000000000000:1F42 "
             "00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     "
             "0        0 102 1 0\n");
    put(pid, "net/fib_trie",
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.7\n        /32 host LOCAL\n"
        "     |-- 192.0.2.255\n        /32 link BROADCAST\n");
    put(pid, "net/if_inet6", "20010db8000000000000000000000007 02 40 20 80     eth0\n");
}

static struct ps_attribution_address at(const char *host, uint16_t port)
{
    struct ps_attribution_address address = {.bytes = {[10] = 0xff, [11] = 0xff}, .port = port};
    if (inet_pton(AF_INET, host, address.bytes + 12) != 1) {
        assert_int_equal(inet_pton(AF_INET6, host, address.bytes), 1);
    }
    return address;
}

static void scan(const uint32_t *pids, size_t count)
{
    struct ps_attribution_user users[8];
    for (size_t i = 0; i < count; i++) {
        users[i] = (struct ps_attribution_user){pids[i], pids[i]};
    }
    ps_attribution_unref(found);
    assert_int_equal(ps_attribution_scan(&found, tree.root, users, count), PS_OK);
}

static enum ps_attribution_kin kin_of(uint32_t pid, const char *host, uint16_t port)
{
    unsigned steps = 0;
    struct ps_attribution_address address = at(host, port);
    size_t place = ps_attribution_place(found, pid, pid);
    assert_true(place < ps_attribution_count(found));
    return ps_attribution_find(found, place, &address, &steps);
}

/* --- what /proc says -------------------------------------------------------------------------- */

static void reads_lines_of_sockets(void **state)
{
    (void)state;
    struct ps_attribution_address address;
    char text[PS_ATTRIBUTION_TEXT];
    uint64_t inode = 0;
    bool listens = false;
    assert_true(ps_attribution_parse_socket(PS_STR("   0: 0100007F:1F40" TAIL "4711 1 0"), &address,
                                            &inode, &listens));
    assert_true(listens);
    assert_int_equal(inode, 4711);
    assert_string_equal(ps_attribution_text(&address, text), "127.0.0.1:8000");
    assert_true(ps_attribution_parse_socket(
        PS_STR("  12: 0000000000000000FFFF00000100007F:1F40 "
               "00000000000000000000000000000000:0000 01 0:0 0:0 0 0 0 9 1"),
        &address, &inode, &listens));
    assert_false(listens);
    assert_string_equal(ps_attribution_text(&address, text), "127.0.0.1:8000");
    assert_true(ps_attribution_parse_socket(
        PS_STR("0: B80D0120000000000000000001000000:0050 "
               "00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9"),
        &address, &inode, &listens));
    assert_string_equal(ps_attribution_text(&address, text), "[2001:db8::1]:80");
}

static void refuses_lines_that_are_no_sockets(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        HEAD,
        "0: 0100007F:1F40",
        "0: 0100007F 00000000:0000 0A 0:0 0:0 0 0 0 9",
        "0: 0100007F:12345 00000000:0000 0A 0:0 0:0 0 0 0 9",
        "0: 0100007:1F40 00000000:0000 0A 0:0 0:0 0 0 0 9",
        "0: 0100007G:1F40 00000000:0000 0A 0:0 0:0 0 0 0 9",
        "0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 -9",
        "0: 0100007F:1F40 00000000:0000 0A0A0A0A0A 0:0 0:0 0 0 0 9",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct ps_attribution_address address;
        uint64_t inode;
        bool listens;
        assert_false(
            ps_attribution_parse_socket(ps_str_from(lines[i]), &address, &inode, &listens));
    }
}

static void reads_what_docker_publishes(void **state)
{
    (void)state;
    static const char good[] = "/usr/bin/docker-proxy\0-proto\0tcp\0-host-ip\0"
                               "0.0.0.0\0-host-port\0"
                               "8000\0-container-ip\0"
                               "172.17.0.2\0-container-port\0"
                               "80";
    struct ps_attribution_address from;
    struct ps_attribution_address to;
    char text[PS_ATTRIBUTION_TEXT];
    assert_true(ps_attribution_parse_proxy((struct ps_str){good, sizeof good}, &from, &to));
    assert_true(ps_attribution_is_any(&from));
    assert_int_equal(from.port, 8000);
    assert_string_equal(ps_attribution_text(&to, text), "172.17.0.2:80");
    for (size_t len = 0; len < sizeof good - 3; len++) {
        assert_false(ps_attribution_parse_proxy((struct ps_str){good, len}, &from, &to));
    }
}

/* --- kin -------------------------------------------------------------------------------------- */

static void finds_those_who_listen_themselves_and_by_which_address(void **state)
{
    (void)state;
    add_process(50, 1, "llama-server");
    add_net(50);
    add_socket(50, 3, 100);
    add_socket(50, 4, 101);
    add_socket(50, 5, 102);
    add_socket(50, 6, 103);
    scan((const uint32_t[]){50}, 1);
    assert_int_equal(kin_of(50, "127.0.0.1", 8000), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "192.0.2.7", 8000), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "192.0.2.8", 8000), PS_ATTRIBUTION_NONE); /* another machine */
    assert_int_equal(kin_of(50, "192.0.2.255", 8000), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(50, "127.0.0.1", 8001), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "192.0.2.7", 8001), PS_ATTRIBUTION_NONE); /* loopback only */
    assert_int_equal(kin_of(50, "::1", 8002), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "127.0.0.1", 8002), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "2001:db8::7", 8002), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(50, "2001:db8::8", 8002), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(50, "127.0.0.1", 8003), PS_ATTRIBUTION_NONE); /* does not listen */
    struct ps_attribution_address address;
    assert_true(ps_attribution_listens(found, 0, 2, &address));
    assert_false(ps_attribution_listens(found, 0, 3, &address));
    assert_int_equal(ps_attribution_cost(found).seen, 1);
    assert_int_equal(ps_attribution_cost(found).read, 1);
}

/* vLLM: the API server (60) has an EngineCore (61) with two workers; beside it a job of a shell. */
static void follows_the_tree_up_and_down(void **state)
{
    (void)state;
    add_process(2, 0, "kthreadd");
    add_process(3, 2, "kworker/0:0");
    add_process(40, 1, "bash");
    add_process(60, 40, "vllm");
    add_process(61, 60, "VLLM::EngineCore");
    add_process(62, 61, "VLLM::Worker_TP0");
    add_process(63, 61, "VLLM::Worker_TP1");
    add_process(70, 40, "train.py");
    add_process(80, 40, "launcher");
    add_process(81, 80, "server");
    add_net(60);
    add_net(81);
    add_socket(60, 3, 100);
    add_socket(61, 9, 101); /* its own, among its kin only */
    add_socket(81, 7, 102);
    add_net(61);
    scan((const uint32_t[]){62, 63, 61, 70, 80}, 5);
    unsigned steps = 0;
    struct ps_attribution_address address = at("127.0.0.1", 8000);
    assert_int_equal(kin_of(61, "127.0.0.1", 8000), PS_ATTRIBUTION_ABOVE);
    assert_int_equal(kin_of(62, "127.0.0.1", 8000), PS_ATTRIBUTION_ABOVE);
    assert_int_equal(
        ps_attribution_find(found, ps_attribution_place(found, 63, 63), &address, &steps),
        PS_ATTRIBUTION_ABOVE);
    assert_int_equal(steps, 2);
    assert_int_equal(kin_of(70, "127.0.0.1", 8000),
                     PS_ATTRIBUTION_NONE); /* only the shell is shared */
    assert_int_equal(kin_of(70, "127.0.0.1", 8002), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(80, "127.0.0.1", 8002), PS_ATTRIBUTION_BELOW);
    assert_int_equal(ps_attribution_cost(found).seen, 8); /* without the kernel's threads */
    assert_false(ps_attribution_denied(found, 0));
}

static void counts_a_socket_that_was_handed_down_once_and_nearest(void **state)
{
    (void)state;
    add_process(60, 1, "server");
    add_process(61, 60, "worker");
    add_net(60);
    add_socket(60, 3, 100);
    add_socket(61, 3, 100);
    scan((const uint32_t[]){61}, 1);
    struct ps_attribution_address address;
    assert_int_equal(kin_of(61, "127.0.0.1", 8000), PS_ATTRIBUTION_SELF);
    assert_true(ps_attribution_listens(found, 0, 0, &address));
    assert_false(ps_attribution_listens(found, 0, 1, &address));
}

/* Ranks under mpirun: the one that listens is neither above nor below the others. */
static void keeps_containers_and_services_together_but_not_logins(void **state)
{
    (void)state;
    for (uint32_t pid = 60; pid < 68; pid++) {
        add_process(pid, 1, "rank");
    }
    add_net(60);
    add_socket(60, 3, 100);
    add_socket(62, 3, 101);
    add_socket(64, 3, 102);
    add_container(60, ID);
    add_container(61, ID);
    put(62, "cgroup", "0::/system.slice/trtllm.service\n");
    put(63, "cgroup", "0::/system.slice/trtllm.service\n");
    put(64, "cgroup", "0::/user.slice/user-1000.slice/session-3.scope\n");
    put(65, "cgroup", "0::/user.slice/user-1000.slice/session-3.scope\n");
    put(66, "cgroup", "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n");
    put(67, "cgroup", "0::/\n");
    scan((const uint32_t[]){61, 63, 65, 66, 67}, 5);
    assert_int_equal(kin_of(61, "127.0.0.1", 8000), PS_ATTRIBUTION_GROUP);
    assert_int_equal(kin_of(61, "127.0.0.1", 8001), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(63, "127.0.0.1", 8001), PS_ATTRIBUTION_GROUP);
    assert_int_equal(kin_of(65, "127.0.0.1", 8002), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(66, "127.0.0.1", 8002), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(67, "127.0.0.1", 8002), PS_ATTRIBUTION_NONE);
    struct ps_attribution_address address;
    assert_false(ps_attribution_listens(found, 0, 0, &address)); /* that is the others' */
}

/* A container with a network of its own, whose port 8000 is published as 9000. */
static void reaches_into_other_networks_by_their_addresses(void **state)
{
    (void)state;
    static const char proxy[] = "docker-proxy\0-proto\0tcp\0-host-ip\0"
                                "0.0.0.0\0-host-port\0"
                                "9000\0-container-ip\0"
                                "192.0.2.7\0-container-port\0"
                                "8000";
    char path[512];
    add_process(60, 1, "vllm");
    add_net(60);
    add_socket(60, 3, 100);
    tree_link(&tree, "proc/60/ns/net", "net:[7]");
    add_process(61, 1, "vllm"); /* the same inside another one */
    add_net(61);
    put(61, "net/fib_trie", "     |-- 192.0.2.9\n        /32 host LOCAL\n");
    add_socket(61, 3, 100);
    tree_link(&tree, "proc/61/ns/net", "net:[8]");
    add_process(62, 1, "docker-proxy");
    (void)snprintf(path, sizeof path, "%s/proc/62/cmdline", tree.root);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(proxy, 1, sizeof proxy, file), sizeof proxy);
    fclose(file);
    scan((const uint32_t[]){60, 61}, 2);
    assert_int_equal(kin_of(60, "192.0.2.7", 8000), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(60, "192.0.2.9", 8000), PS_ATTRIBUTION_NONE);
    assert_int_equal(kin_of(61, "192.0.2.9", 8000), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(60, "127.0.0.1", 8000),
                     PS_ATTRIBUTION_NONE); /* its loopback, not ours */
    assert_int_equal(kin_of(60, "127.0.0.1", 9000), PS_ATTRIBUTION_SELF);
    assert_int_equal(kin_of(61, "127.0.0.1", 9000), PS_ATTRIBUTION_NONE);
}

static void mistakes_nobody_for_who_had_the_number_before(void **state)
{
    (void)state;
    struct ps_attribution_user user = {60, 59}; /* started earlier than what is there now */
    struct ps_attribution_address address = at("127.0.0.1", 8000);
    unsigned steps;
    add_process(60, 1, "server");
    add_net(60);
    add_socket(60, 3, 100);
    assert_int_equal(ps_attribution_scan(&found, tree.root, &user, 1), PS_OK);
    assert_int_equal(ps_attribution_place(found, 60, 60), SIZE_MAX);
    assert_int_equal(ps_attribution_place(found, 60, 59), 0);
    assert_int_equal(ps_attribution_find(found, 0, &address, &steps), PS_ATTRIBUTION_NONE);
}

static void looks_at_nobody_where_ids_are_not_the_hosts(void **state)
{
    (void)state;
    add_process(60, 1, "server");
    add_net(60);
    add_socket(60, 3, 100);
    tree_link(&tree, "proc/self/ns/pid", "pid:[4026532836]");
    scan((const uint32_t[]){60}, 1);
    assert_int_equal(kin_of(60, "127.0.0.1", 8000), PS_ATTRIBUTION_NONE);
    assert_int_equal(ps_attribution_cost(found).seen, 0);
    put(2, "stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n");
    scan((const uint32_t[]){60}, 1); /* but the host's /proc may be mounted there */
    assert_int_equal(kin_of(60, "127.0.0.1", 8000), PS_ATTRIBUTION_SELF);
}

static void says_that_there_is_no_proc(void **state)
{
    (void)state;
    assert_int_equal(ps_attribution_scan(&found, "/nowhere", NULL, 0), PS_ENOTFOUND);
    found = NULL;
}

/* --- when ------------------------------------------------------------------------------------- */

static void looks_at_once_for_somebody_new_and_ever_less_often(void **state)
{
    (void)state;
    struct ps_attribution_user users[] = {{60, 60}, {61, 61}};
    struct ps_attribution_watch watch = {0};
    struct ps_clock clock;
    ps_clock_init_manual(&clock, PS_SECOND, PS_SECOND);
    add_process(60, 1, "server");
    add_process(61, 1, "server");
    assert_int_equal(ps_attribution_watch_step(&watch, tree.root, &clock, users, 0), PS_NEVER);
    assert_null(watch.latest);
    ps_time due = ps_attribution_watch_step(&watch, tree.root, &clock, users, 1);
    struct ps_attribution *first = ps_attribution_ref(watch.latest);
    assert_int_equal(due, 6 * PS_SECOND);
    for (ps_span wait = 10 * PS_SECOND; wait < 200 * PS_SECOND; wait *= 2) {
        ps_clock_advance(&clock, due - ps_clock_now(&clock) - 1);
        struct ps_attribution *before = watch.latest;
        assert_int_equal(ps_attribution_watch_step(&watch, tree.root, &clock, users, 1), due);
        assert_ptr_equal(watch.latest, before);
        ps_clock_advance(&clock, 1);
        due = ps_attribution_watch_step(&watch, tree.root, &clock, users, 1);
        assert_int_equal(due - ps_clock_now(&clock), wait < PS_MINUTE ? wait : PS_MINUTE);
    }
    ps_clock_advance(&clock, 500 * PS_MILLISECOND);
    struct ps_attribution *before = watch.latest;
    due = ps_attribution_watch_step(&watch, tree.root, &clock, users, 2);
    assert_ptr_equal(watch.latest, before); /* not twice within a second */
    assert_int_equal(due - ps_clock_now(&clock), 500 * PS_MILLISECOND);
    ps_clock_advance(&clock, 500 * PS_MILLISECOND);
    due = ps_attribution_watch_step(&watch, tree.root, &clock, users, 2);
    assert_int_not_equal(ps_attribution_place(watch.latest, 61, 61), SIZE_MAX);
    assert_int_equal(due - ps_clock_now(&clock), 5 * PS_SECOND);
    assert_int_equal(ps_attribution_count(first), 1); /* whoever has it, keeps it */
    ps_attribution_unref(first);
    ps_attribution_watch_fini(&watch);
}

/* --- the truth -------------------------------------------------------------------------------- */

/* A real server that listens, with a child that does not: what it is told to be. */
struct server {
    pid_t pid, child;
    uint16_t port;
};

static void say(int pipe_end, const void *data, size_t size)
{
    if (write(pipe_end, data, size) != (ssize_t)size) {
        _exit(1);
    }
}

/* Runs in the child: never returns. */
static void serve(int pipe_end)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody outlives a test that fails */
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(fd); /* before it listens, and it is not one's own any more */
        for (;;) {
            (void)pause();
        }
    }
    if (fd < 0 || child < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        listen(fd, 4) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        _exit(1);
    }
    struct server server = {getpid(), child, ntohs(address.sin_port)};
    say(pipe_end, &server, sizeof server);
    for (;;) {
        (void)pause();
    }
}

static struct server start_server(void)
{
    int ends[2];
    struct server server = {0};
    char path[64];
    char target[64];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        serve(ends[1]);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &server, sizeof server), sizeof server);
    (void)close(ends[0]);
    const pid_t pids[] = {server.pid, server.child};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "proc/%d", pids[i]);
        (void)snprintf(target, sizeof target, "/proc/%d", pids[i]);
        tree_link(&tree, path, target);
    }
    return server;
}

static void stop_server(const struct server *server)
{
    (void)kill(server->child, SIGKILL);
    (void)kill(server->pid, SIGKILL);
    (void)waitpid(server->pid, NULL, 0);
}

static void name_process(struct nvml_fake *fake, pid_t pid, long card, long mib)
{
    nvml_fake_set(fake, "own_pid", pid);
    nvml_fake_set(fake, "own_card", card);
    nvml_fake_set(fake, "own_mib", mib);
}

static const struct ps_device_process *process_of(const struct ps_device_snapshot *snapshot,
                                                  pid_t pid, uint32_t device)
{
    for (size_t i = 0; i < snapshot->process_count; i++) {
        if (snapshot->processes[i].pid == (uint32_t)pid &&
            snapshot->processes[i].device == device) {
            return &snapshot->processes[i];
        }
    }
    fail_msg("nobody told of process %d on card %u", (int)pid, device);
    return NULL;
}

static void assert_belongs(const struct ps_device_snapshot *snapshot, pid_t pid, uint32_t device,
                           double mib, const struct server *server, enum ps_attribution_kin kin)
{
    const struct ps_device_process *process = process_of(snapshot, pid, device);
    struct ps_attribution_address address = at("127.0.0.1", server->port);
    unsigned steps;
    size_t place = ps_device_place(snapshot, process);
    assert_int_not_equal(place, SIZE_MAX);
    assert_int_equal(ps_attribution_find(snapshot->attribution, place, &address, &steps), kin);
    assert_true(process->memory.known);
    assert_float_equal(process->memory.value, mib * MIB, 0.01 * mib * MIB);
}

/* Two servers on two cards, a process that is nobody's, 600 MiB (2.5 %) of the driver's own. */
static void explains_what_real_processes_have(void **state)
{
    (void)state;
    struct nvml_fake fake;
    struct ps_nvml_opts opts;
    struct ps_nvml *nvml;
    struct ps_device_snapshot *snapshot = NULL;
    char why[PS_SAMPLER_WHY];
    struct server first = start_server();
    struct server second = start_server();
    nvml_fake_open(&fake, "nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    nvml_fake_set(&fake, "rest_mib", 600);
    nvml_fake_set(&fake, "total_mib", 80000);
    name_process(&fake, first.pid, 0, 500);
    name_process(&fake, first.child, 0, 20000);
    name_process(&fake, first.child, 1, 18000);
    name_process(&fake, second.pid, 1, 4000);
    name_process(&fake, getpid(), 0, 3000);
    ps_nvml_opts_init(&opts);
    struct ps_clock clock; /* stands still, so nothing is too dear for one step */
    ps_clock_init_manual(&clock, PS_SECOND, PS_SECOND);
    opts.clock = &clock;
    opts.library = fake.path;
    opts.root = tree.root;
    char target[64];
    char path[64];
    (void)snprintf(path, sizeof path, "proc/%d", (int)getpid());
    (void)snprintf(target, sizeof target, "/proc/%d", (int)getpid());
    tree_link(&tree, path, target);
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_OK);
    assert_int_equal(ps_nvml_source.start(nvml, ps_clock_now(opts.clock), why), PS_OK);
    (void)ps_nvml_source.step(nvml, &snapshot);
    assert_non_null(snapshot);
    assert_int_equal(snapshot->process_count, 5);
    assert_belongs(snapshot, first.pid, 0, 500, &first, PS_ATTRIBUTION_SELF);
    assert_belongs(snapshot, first.child, 0, 20000, &first, PS_ATTRIBUTION_ABOVE);
    assert_belongs(snapshot, first.child, 1, 18000, &first, PS_ATTRIBUTION_ABOVE);
    assert_belongs(snapshot, second.pid, 1, 4000, &second, PS_ATTRIBUTION_SELF);
    assert_belongs(snapshot, first.child, 0, 20000, &second, PS_ATTRIBUTION_NONE);
    assert_belongs(snapshot, getpid(), 0, 3000, &first, PS_ATTRIBUTION_BELOW); /* their parent */
    for (size_t i = 0; i < 2; i++) {
        struct ps_device_account account = ps_device_account(snapshot, i);
        double used = snapshot->devices[i].readings[PS_DEVICE_MEMORY_USED].value;
        assert_true(account.known);
        assert_float_equal(account.held + account.unexplained, used, 1);
        assert_float_equal(account.unexplained, 600 * MIB, 0.01 * 600 * MIB);
        assert_true(account.unexplained <= 0.03 * used);
        assert_int_equal(account.without_size, 0);
        assert_true(snapshot->devices[i].readings[PS_DEVICE_MEMORY_RESERVED].known);
    }
    ps_device_snapshot_unref(snapshot);
    ps_nvml_source.close(nvml);
    nvml_fake_close(&fake);
    stop_server(&second);
    stop_server(&first);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_lines_of_sockets),
        cmocka_unit_test(refuses_lines_that_are_no_sockets),
        cmocka_unit_test(reads_what_docker_publishes),
        CASE(finds_those_who_listen_themselves_and_by_which_address),
        CASE(follows_the_tree_up_and_down),
        CASE(counts_a_socket_that_was_handed_down_once_and_nearest),
        CASE(keeps_containers_and_services_together_but_not_logins),
        CASE(reaches_into_other_networks_by_their_addresses),
        CASE(mistakes_nobody_for_who_had_the_number_before),
        CASE(looks_at_nobody_where_ids_are_not_the_hosts),
        CASE(says_that_there_is_no_proc),
        CASE(looks_at_once_for_somebody_new_and_ever_less_often),
        CASE(explains_what_real_processes_have),
    };
    return cmocka_run_group_tests_name("attribution", tests, NULL, NULL);
}
