/* attribution_scan - one look at /proc: who is whose child, and who holds which sockets.
 *
 *      tasks      every process: parent, start; sorted by id
 *      wanted     the users' kin: above, below, and their groups
 *      holds      of each wanted one the listening sockets among its descriptors
 *      bonds      which user is kin to which holder, and how
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/attribution_found.h"
#include "gpu/file.h"
#include "gpu/owner.h"

#define TASKS_MAX       65536
#define STEPS_MAX       64 /* up the tree */
#define SPACES_MAX      64
#define LISTENERS_MAX   4096 /* of all name spaces */
#define HOLDS_MAX       16384
#define DESCRIPTORS_MAX 65536 /* of one process */
#define TEXT_MAX        ((size_t)256 * 1024)
#define LINK_MAX        64
#define PATH_BYTES      64
#define FIRST_PROCESS   1 /* everybody's ancestor, and no server */
#define KERNEL_PROCESS  2 /* whose children are the kernel's threads */
#define NOBODY          SIZE_MAX

struct task {
    uint32_t pid, parent;
    uint64_t started;
    size_t above;    /* place of the parent, or NOBODY */
    unsigned group;  /* a number for each that has users; 0 = none of these */
    unsigned space;  /* network name space: its place */
    size_t user;     /* its place among the users, or NOBODY */
    size_t hold;     /* the first of its holds */
    size_t holds;    /* how many */
    bool wanted;
    bool denied;
    bool is_proxy; /* calls itself docker-proxy */
};

struct scan {
    const char *root;
    struct ps_attribution *found;
    struct task *tasks;
    size_t task_count;
    char (*groups)[PS_OWNER_GROUP]; /* of users; group n has place n - 1 */
    size_t group_count;
    uint32_t *holds; /* places of listeners */
    size_t hold_count;
    char *text; /* of TEXT_MAX bytes */
    uint64_t own; /* network name space; 0 = nobody says */
    bool out_of_memory;
};

/* --- growing ---------------------------------------------------------------------------------- */

/* Room for one more of `size` bytes behind `count`: doubles whenever a power of two is reached. */
static bool grow(struct scan *scan, void **items, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0) {
        return true;
    }
    void *grown = realloc(*items, (count == 0 ? 1 : 2 * count) * size);
    scan->out_of_memory = scan->out_of_memory || grown == NULL;
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    return true;
}

/* --- tasks ------------------------------------------------------------------------------------ */

static int read_part(struct scan *scan, uint32_t pid, const char *part, struct ps_str *all)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "proc/%u/%s", pid, part);
    return ps_file_read(scan->root, path, scan->text, TEXT_MAX, all);
}

static void add_task(struct scan *scan, uint32_t pid)
{
    struct ps_str all;
    struct ps_owner owner;
    void *items = scan->tasks;
    if (read_part(scan, pid, "stat", &all) != PS_OK ||
        ps_owner_parse_stat(all, &owner) != PS_OK || owner.parent == KERNEL_PROCESS ||
        pid == KERNEL_PROCESS || !grow(scan, &items, scan->task_count, sizeof *scan->tasks)) {
        return;
    }
    scan->tasks = items;
    scan->tasks[scan->task_count++] =
        (struct task){.pid = pid,
                      .parent = owner.parent,
                      .started = owner.started,
                      .above = NOBODY,
                      .user = NOBODY,
                      .is_proxy = strcmp(owner.name, "docker-proxy") == 0};
}

static DIR *open_folder(const char *root, const char *path)
{
    char whole[PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s/%s", root, path);
    errno = ENAMETOOLONG;
    return len > 0 && (size_t)len < sizeof whole ? opendir(whole) : NULL;
}

static int compare_tasks(const void *a, const void *b)
{
    uint32_t left = ((const struct task *)a)->pid;
    uint32_t right = ((const struct task *)b)->pid;
    return left < right ? -1 : left > right ? 1 : 0;
}

static size_t find_task(const struct scan *scan, uint32_t pid)
{
    struct task key = {.pid = pid};
    const struct task *task = scan->task_count == 0
                                  ? NULL
                                  : bsearch(&key, scan->tasks, scan->task_count,
                                            sizeof *scan->tasks, compare_tasks);
    return task == NULL ? NOBODY : (size_t)(task - scan->tasks);
}

static int list_tasks(struct scan *scan)
{
    DIR *folder = open_folder(scan->root, "proc");
    if (folder == NULL) {
        return errno == ENOENT ? PS_ENOTFOUND : errno == EACCES ? PS_EDENIED : PS_EIO;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL && scan->task_count < TASKS_MAX;
         entry = readdir(folder)) {
        uint64_t pid;
        if (ps_str_to_u64(ps_str_from(entry->d_name), &pid) == PS_OK && pid < UINT32_MAX) {
            add_task(scan, (uint32_t)pid);
        }
    }
    (void)closedir(folder);
    qsort(scan->tasks, scan->task_count, sizeof *scan->tasks, compare_tasks);
    for (size_t i = 0; i < scan->task_count; i++) {
        struct task *task = &scan->tasks[i];
        task->above = task->pid == FIRST_PROCESS || task->parent == FIRST_PROCESS
                          ? NOBODY
                          : find_task(scan, task->parent);
    }
    return PS_OK;
}

/* --- users ------------------------------------------------------------------------------------ */

static int compare_users(const void *a, const void *b)
{
    uint32_t left = ((const struct ps_attribution_user *)a)->pid;
    uint32_t right = ((const struct ps_attribution_user *)b)->pid;
    return left < right ? -1 : left > right ? 1 : 0;
}

/* Sorted, each once: one process may use several cards. */
static int take_users(struct scan *scan, const struct ps_attribution_user *users, size_t count)
{
    struct ps_attribution *found = scan->found;
    count = count < PS_ATTRIBUTION_USERS_MAX ? count : PS_ATTRIBUTION_USERS_MAX;
    found->users = calloc(count + 1, sizeof *found->users);
    found->denied = calloc(count + 1, sizeof *found->denied);
    if (found->users == NULL || found->denied == NULL) {
        return PS_ENOMEM;
    }
    if (count > 0) {
        memcpy(found->users, users, count * sizeof *users);
        qsort(found->users, count, sizeof *users, compare_users);
    }
    for (size_t i = 0; i < count; i++) {
        if (found->user_count == 0 || found->users[found->user_count - 1].pid != found->users[i].pid) {
            found->users[found->user_count++] = found->users[i];
        }
    }
    return PS_OK;
}

/* A number that was given to another process meanwhile is not the user. */
static void find_users(struct scan *scan)
{
    for (size_t i = 0; i < scan->found->user_count; i++) {
        size_t at = find_task(scan, scan->found->users[i].pid);
        if (at != NOBODY && scan->tasks[at].started == scan->found->users[i].started) {
            scan->tasks[at].user = i;
        }
    }
}

/* --- groups ----------------------------------------------------------------------------------- */

static unsigned group_number(struct scan *scan, const char *name, bool add)
{
    for (size_t i = 0; i < scan->group_count; i++) {
        if (strcmp(scan->groups[i], name) == 0) {
            return (unsigned)i + 1;
        }
    }
    void *items = scan->groups;
    if (!add || !grow(scan, &items, scan->group_count, sizeof *scan->groups)) {
        return 0;
    }
    scan->groups = items;
    memcpy(scan->groups[scan->group_count++], name, PS_OWNER_GROUP);
    return (unsigned)scan->group_count;
}

static void read_group(struct scan *scan, struct task *task, bool add)
{
    struct ps_str all;
    char name[PS_OWNER_GROUP];
    if (read_part(scan, task->pid, "cgroup", &all) == PS_OK && ps_owner_parse_group(all, name)) {
        task->group = group_number(scan, name, add);
    }
}

/* Those of the users, and then who else is in them. */
static void read_groups(struct scan *scan)
{
    for (size_t i = 0; i < scan->task_count; i++) {
        if (scan->tasks[i].user != NOBODY) {
            read_group(scan, &scan->tasks[i], true);
        }
    }
    for (size_t i = 0; scan->group_count > 0 && i < scan->task_count; i++) {
        if (scan->tasks[i].user == NOBODY) {
            read_group(scan, &scan->tasks[i], false);
        }
    }
}

/* --- kin -------------------------------------------------------------------------------------- */

/* How many steps up from one it is to the other; 0: it is not above it. */
static unsigned steps_up(const struct scan *scan, size_t from, size_t to)
{
    size_t at = scan->tasks[from].above;
    for (unsigned steps = 1; at != NOBODY && steps <= STEPS_MAX; steps++) {
        if (at == to) {
            return steps;
        }
        at = scan->tasks[at].above;
    }
    return 0;
}

static bool is_below_a_user(const struct scan *scan, size_t i)
{
    size_t at = scan->tasks[i].above;
    for (unsigned steps = 1; at != NOBODY && steps <= STEPS_MAX; steps++) {
        if (scan->tasks[at].user != NOBODY) {
            return true;
        }
        at = scan->tasks[at].above;
    }
    return false;
}

static void want_above(struct scan *scan, size_t i)
{
    for (unsigned steps = 0; i != NOBODY && steps <= STEPS_MAX; steps++) {
        scan->tasks[i].wanted = true;
        i = scan->tasks[i].above;
    }
}

static void choose_wanted(struct scan *scan)
{
    for (size_t i = 0; i < scan->task_count; i++) {
        struct task *task = &scan->tasks[i];
        if (task->user != NOBODY) {
            want_above(scan, i);
        } else if (task->group > 0 || is_below_a_user(scan, i)) {
            task->wanted = true;
        }
    }
}

/* --- network name spaces ---------------------------------------------------------------------- */

/* The number in a link such as "net:[4026531840]"; 0: nobody says. */
static uint64_t read_number(const char *path, const char *prefix)
{
    char text[LINK_MAX];
    ssize_t len = readlink(path, text, sizeof text);
    struct ps_str link = {text, len > 0 ? (size_t)len : 0};
    uint64_t number = 0;
    if (link.len == 0 || link.len == sizeof text || !ps_str_starts_with(link, ps_str_from(prefix))) {
        return 0;
    }
    link = ps_str_skip(link, strlen(prefix));
    return ps_str_to_u64(ps_str_first(link, ps_str_find(link, ']')), &number) == PS_OK ? number : 0;
}

static uint64_t space_of(const struct scan *scan, uint32_t pid)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/proc/%u/ns/net", scan->root, pid);
    return len > 0 && (size_t)len < sizeof path ? read_number(path, "net:[") : 0;
}

/* The kernel lists what listens first, so the first line that does not is the end. */
static void add_listeners(struct scan *scan, uint32_t pid, const char *part, uint32_t space)
{
    struct ps_attribution *found = scan->found;
    struct ps_attribution_listener listener = {.space = space};
    struct ps_str all;
    struct ps_str line;
    bool listens = true;
    if (read_part(scan, pid, part, &all) != PS_OK) {
        return;
    }
    (void)ps_str_split(&all, '\n', &line); /* the head of the table */
    while (listens && found->listener_count < LISTENERS_MAX && ps_str_split(&all, '\n', &line) &&
           ps_attribution_parse_socket(line, &listener.at, &listener.inode, &listens)) {
        void *items = found->listeners;
        if (listens && grow(scan, &items, found->listener_count, sizeof listener)) {
            found->listeners = items;
            found->listeners[found->listener_count++] = listener;
        }
    }
}

static void read_locals(struct scan *scan, uint32_t pid, struct ps_attribution_space *space)
{
    struct ps_str trie;
    struct ps_str inet6;
    if (read_part(scan, pid, "net/fib_trie", &trie) == PS_OK) {
        space->local_count =
            ps_attribution_parse_locals(trie, (struct ps_str){NULL, 0}, space->locals,
                                        PS_ATTRIBUTION_LOCALS_MAX);
    }
    if (read_part(scan, pid, "net/if_inet6", &inet6) == PS_OK) {
        space->local_count += ps_attribution_parse_locals(
            (struct ps_str){NULL, 0}, inet6, space->locals + space->local_count,
            PS_ATTRIBUTION_LOCALS_MAX - space->local_count);
    }
}

/* The place of the name space with this number, whose first process we meet; SPACES_MAX: no room. */
static unsigned find_space(struct scan *scan, uint64_t id, uint32_t pid)
{
    struct ps_attribution *found = scan->found;
    for (size_t i = 0; i < found->space_count; i++) {
        if (found->spaces[i].id == id) {
            return (unsigned)i;
        }
    }
    void *items = found->spaces;
    if (found->space_count == SPACES_MAX ||
        !grow(scan, &items, found->space_count, sizeof *found->spaces)) {
        return SPACES_MAX;
    }
    found->spaces = items;
    unsigned at = (unsigned)found->space_count++;
    found->spaces[at] = (struct ps_attribution_space){.id = id, .own = id == 0 || id == scan->own};
    read_locals(scan, pid, &found->spaces[at]);
    add_listeners(scan, pid, "net/tcp", at);
    add_listeners(scan, pid, "net/tcp6", at);
    return at;
}

/* --- descriptors ------------------------------------------------------------------------------ */

static void add_hold(struct scan *scan, struct task *task, uint64_t inode)
{
    const struct ps_attribution *found = scan->found;
    for (size_t i = 0; i < found->listener_count; i++) {
        void *items = scan->holds;
        if (found->listeners[i].inode == inode && found->listeners[i].space == task->space &&
            scan->hold_count < HOLDS_MAX && grow(scan, &items, scan->hold_count, sizeof(uint32_t))) {
            scan->holds = items;
            scan->holds[scan->hold_count++] = (uint32_t)i;
            task->holds++;
            return;
        }
    }
}

static void read_descriptor(struct scan *scan, struct task *task, DIR *folder, const char *name)
{
    char text[LINK_MAX];
    ssize_t len = readlinkat(dirfd(folder), name, text, sizeof text);
    struct ps_str link = {text, len > 0 ? (size_t)len : 0};
    uint64_t inode;
    if (link.len < sizeof text && ps_str_starts_with(link, PS_STR("socket:["))) {
        link = ps_str_skip(link, 8);
        if (ps_str_to_u64(ps_str_first(link, ps_str_find(link, ']')), &inode) == PS_OK) {
            add_hold(scan, task, inode);
        }
    }
}

static void read_holds(struct scan *scan, struct task *task)
{
    char path[PATH_BYTES];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "proc/%u/fd", task->pid);
    DIR *folder = open_folder(scan->root, path);
    task->hold = scan->hold_count;
    if (folder == NULL) {
        task->denied = errno == EACCES || errno == EPERM;
        return;
    }
    task->space = find_space(scan, space_of(scan, task->pid), task->pid);
    for (struct dirent *entry = readdir(folder);
         entry != NULL && count < DESCRIPTORS_MAX && task->space < SPACES_MAX;
         entry = readdir(folder), count++) {
        read_descriptor(scan, task, folder, entry->d_name);
    }
    (void)closedir(folder);
    scan->found->cost.read++;
}

static void read_proxy(struct scan *scan, const struct task *task)
{
    struct ps_attribution *found = scan->found;
    struct ps_attribution_forward forward = {0};
    struct ps_str all;
    void *items = found->forwards;
    if (read_part(scan, task->pid, "cmdline", &all) == PS_OK &&
        ps_attribution_parse_proxy(all, &forward.from, &forward.to) &&
        (forward.space = find_space(scan, space_of(scan, task->pid), task->pid)) < SPACES_MAX &&
        grow(scan, &items, found->forward_count, sizeof forward)) {
        found->forwards = items;
        found->forwards[found->forward_count++] = forward;
    }
}

static void read_sockets(struct scan *scan)
{
    scan->own = read_number("/proc/self/ns/net", "net:[");
    for (size_t i = 0; i < scan->task_count; i++) {
        if (scan->tasks[i].wanted) {
            read_holds(scan, &scan->tasks[i]);
        }
        if (scan->tasks[i].is_proxy) {
            read_proxy(scan, &scan->tasks[i]);
        }
    }
}

/* --- bonds ------------------------------------------------------------------------------------ */

static enum ps_attribution_kin kin_of(const struct scan *scan, size_t user, size_t holder,
                                      unsigned *steps)
{
    *steps = 0;
    if (user == holder) {
        return PS_ATTRIBUTION_SELF;
    }
    if ((*steps = steps_up(scan, user, holder)) > 0) {
        return PS_ATTRIBUTION_ABOVE;
    }
    if ((*steps = steps_up(scan, holder, user)) > 0) {
        return PS_ATTRIBUTION_BELOW;
    }
    unsigned group = scan->tasks[user].group;
    return group > 0 && group == scan->tasks[holder].group ? PS_ATTRIBUTION_GROUP
                                                           : PS_ATTRIBUTION_NONE;
}

static void add_bonds(struct scan *scan, size_t user, size_t holder)
{
    struct ps_attribution *found = scan->found;
    const struct task *task = &scan->tasks[holder];
    unsigned steps;
    enum ps_attribution_kin kin = kin_of(scan, user, holder, &steps);
    for (size_t i = 0; kin != PS_ATTRIBUTION_NONE && i < task->holds &&
                       found->bond_count < PS_ATTRIBUTION_BONDS_MAX;
         i++) {
        void *items = found->bonds;
        if (!grow(scan, &items, found->bond_count, sizeof *found->bonds)) {
            return;
        }
        found->bonds = items;
        found->bonds[found->bond_count++] =
            (struct ps_attribution_bond){.user = (uint32_t)scan->tasks[user].user,
                                         .listener = scan->holds[task->hold + i],
                                         .kin = kin,
                                         .steps = steps};
    }
}

static int compare_bonds(const void *a, const void *b)
{
    const struct ps_attribution_bond *left = a;
    const struct ps_attribution_bond *right = b;
    if (left->user != right->user) {
        return left->user < right->user ? -1 : 1;
    }
    if (left->kin != right->kin) {
        return left->kin < right->kin ? -1 : 1;
    }
    return left->steps < right->steps ? -1 : left->steps > right->steps ? 1 : 0;
}

/* A socket that was handed down is held by several: the nearest counts. */
static void drop_repeats(struct ps_attribution *found)
{
    size_t kept = 0;
    size_t first = 0; /* of the user */
    for (size_t i = 0; i < found->bond_count; i++) {
        const struct ps_attribution_bond bond = found->bonds[i];
        first = kept > 0 && found->bonds[first].user == bond.user ? first : kept;
        size_t j = first;
        while (j < kept && found->bonds[j].listener != bond.listener) {
            j++;
        }
        if (j == kept) {
            found->bonds[kept++] = bond;
        }
    }
    found->bond_count = kept;
}

static void say_denied(struct scan *scan, size_t user)
{
    size_t at = user;
    for (unsigned steps = 0; at != NOBODY && steps <= STEPS_MAX; steps++) {
        bool *denied = &scan->found->denied[scan->tasks[user].user];
        *denied = *denied || scan->tasks[at].denied;
        at = scan->tasks[at].above;
    }
}

static void tie(struct scan *scan)
{
    for (size_t user = 0; user < scan->task_count; user++) {
        for (size_t i = 0; scan->tasks[user].user != NOBODY && i < scan->task_count; i++) {
            if (scan->tasks[i].holds > 0) {
                add_bonds(scan, user, i);
            }
        }
        if (scan->tasks[user].user != NOBODY) {
            say_denied(scan, user);
        }
    }
    if (scan->found->bond_count > 0) {
        qsort(scan->found->bonds, scan->found->bond_count, sizeof *scan->found->bonds,
              compare_bonds);
        drop_repeats(scan->found);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static int look(struct scan *scan, const struct ps_attribution_user *users, size_t count)
{
    int err = take_users(scan, users, count);
    scan->text = err == PS_OK ? malloc(TEXT_MAX) : NULL;
    if (scan->text == NULL) {
        return PS_ENOMEM;
    }
    /* Elsewhere these numbers are other processes'. */
    err = ps_owner_sees_host(scan->root) ? list_tasks(scan) : PS_OK;
    if (err != PS_OK) {
        return err;
    }
    find_users(scan);
    read_groups(scan);
    choose_wanted(scan);
    read_sockets(scan);
    tie(scan);
    scan->found->cost.seen = scan->task_count;
    return scan->out_of_memory ? PS_ENOMEM : PS_OK;
}

int ps_attribution_scan(struct ps_attribution **out, const char *root,
                        const struct ps_attribution_user *users, size_t count)
{
    struct scan scan = {.root = root, .found = calloc(1, sizeof *scan.found)};
    if (scan.found == NULL) {
        return PS_ENOMEM;
    }
    atomic_init(&scan.found->refs, 1);
    int err = look(&scan, users, count);
    free(scan.tasks);
    free(scan.groups);
    free(scan.holds);
    free(scan.text);
    if (err != PS_OK) {
        ps_attribution_unref(scan.found);
        return err;
    }
    *out = scan.found;
    return PS_OK;
}
